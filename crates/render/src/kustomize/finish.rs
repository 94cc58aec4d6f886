//! What is done once, at the end of a build.

use super::accumulate::{Accumulator, Target};
use super::config::{Config, FieldSpec, Section};
use super::read::located;
use super::resource::{Origin, Resource};
use super::set::Resources;
use super::transform::set_texts;
use super::{Built, Options, Order, VERSION, names, plugin, sort, vars};
use crate::error::Error;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Annotations that tools leave behind and that are not printed.
const INTERNAL: [&str; 19] = [
    "internal.config.kubernetes.io/previousKinds",
    "internal.config.kubernetes.io/previousNames",
    "internal.config.kubernetes.io/previousNamespaces",
    "internal.config.kubernetes.io/prefixes",
    "internal.config.kubernetes.io/suffixes",
    "internal.config.kubernetes.io/allowNameChange",
    "internal.config.kubernetes.io/allowKindChange",
    "internal.config.kubernetes.io/refBy",
    "internal.config.kubernetes.io/generatorBehavior",
    "internal.config.kubernetes.io/needsHashSuffix",
    "internal.config.kubernetes.io/path",
    "internal.config.kubernetes.io/index",
    "internal.config.kubernetes.io/seqindent",
    "internal.config.kubernetes.io/id",
    "internal.config.kubernetes.io/annotations-migration-resource-id",
    "internal.config.kubernetes.io/helm-generated",
    "config.kubernetes.io/path",
    "config.kubernetes.io/index",
    "config.k8s.io/id",
];
/// An object that has it, unless it says `false`, is for the build alone.
const LOCAL: &str = "config.kubernetes.io/local-config";
const ORIGIN: &str = "config.kubernetes.io/origin";
const TRANSFORMATIONS: &str = "alpha.config.kubernetes.io/transformations";

/// The objects as they are printed.
pub(super) fn finish(target: &Target<'_>, gathered: Accumulator, options: &Options) -> Result<Built, Error> {
    let Accumulator { mut resources, config, vars } = gathered;
    let config = config.unwrap_or_else(Config::standard);
    plugin::add_hashes(&mut resources)?;
    names::fix(&mut resources, &config)?;
    vars::resolve(&mut resources, &vars, config.section(Section::VarReference))
        .map_err(|error| target.placed(error))?;
    resources.list.retain(|resource| resource.texts("annotations").get(LOCAL).is_none_or(|word| word == "false"));
    order(target, &mut resources, options)?;
    if options.managed_by_label || target.kustomization.tells("managedByLabel") {
        let label = ("app.kubernetes.io/managed-by".to_owned(), format!("kustomize-{VERSION}"));
        let specs = [FieldSpec::everywhere("metadata/labels", true)];
        set_texts(&mut resources, &BTreeMap::from([label]), &specs)?;
    }
    let from_charts = resources.list.iter().map(Resource::is_from_chart).collect();
    let print = |mut resource: Resource| {
        annotate(target, &mut resource);
        let id = resource.id();
        resource.node.into_json().map_err(|problem| located(&resource.place, format!("{id}: {problem}")))
    };
    let objects = resources.list.into_iter().map(print).collect::<Result<_, Error>>()?;
    Ok(Built { objects, from_charts })
}

fn order(target: &Target<'_>, resources: &mut Resources, options: &Options) -> Result<(), Error> {
    match &target.kustomization.sort_options {
        Some(options) => {
            sort::by_options(&mut resources.list, options).or_else(|problem| target.fail("sortOptions", &problem))
        }
        None => {
            if options.order == Order::Legacy {
                sort::legacy(&mut resources.list);
            }
            Ok(())
        }
    }
}

/// Annotations become texts; those for the build go, and those that were asked for come.
fn annotate(target: &Target<'_>, resource: &mut Resource) {
    let mut annotations = resource.texts("annotations");
    annotations.retain(|key, _| !INTERNAL.contains(&key.as_str()) && key != ORIGIN && key != TRANSFORMATIONS);
    if let Some(origin) = resource.origin.as_ref().filter(|_| target.kustomization.tells("originAnnotations")) {
        annotations.insert(ORIGIN.to_owned(), yaml::to_string_in_order(&described(origin)));
    }
    let transformations = &resource.transformations;
    if !transformations.is_empty() && target.kustomization.tells("transformerAnnotations") {
        let list: Value = transformations.iter().map(described).collect();
        annotations.insert(TRANSFORMATIONS.to_owned(), yaml::to_string_in_order(&list));
    }
    resource.set_texts("annotations", &annotations);
}

fn described(origin: &Origin) -> Value {
    let mut map = Map::new();
    for (key, text) in [
        ("path", &origin.path),
        ("repo", &origin.repository),
        ("ref", &origin.reference),
        ("configuredIn", &origin.configured_in),
    ] {
        if !text.is_empty() {
            map.insert(key.to_owned(), text.clone().into());
        }
    }
    if let Some(by) = &origin.configured_by {
        let names = ["apiVersion", "kind", "name", "namespace"].iter().zip(by);
        let by: Map<String, Value> = names
            .filter(|(_, text)| !text.is_empty())
            .map(|(name, text)| ((*name).to_owned(), text.clone().into()))
            .collect();
        map.insert("configuredBy".to_owned(), by.into());
    }
    Value::Object(map)
}
