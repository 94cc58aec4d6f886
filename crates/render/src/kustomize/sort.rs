//! The order of what is printed.

use super::config::{FIRST, LAST, place, sort_text};
use super::file::SortOptions;
use super::id::{Gvk, Id};
use super::resource::Resource;
use std::cmp::Ordering;

/// Sorts as the options say.
pub(super) fn by_options(list: &mut Vec<Resource>, options: &SortOptions) -> Result<(), String> {
    match (options.order.as_str(), &options.legacy) {
        ("fifo", None) => {}
        ("fifo", Some(_)) => return Err("legacySortOptions goes with the order legacy only".into()),
        ("legacy", None) => legacy(list),
        ("legacy", Some((first, last))) => by_kinds(list, first, last),
        (other, _) => return Err(format!("order {other:?} is none of legacy and fifo")),
    }
    Ok(())
}

/// What others need comes first.
pub(super) fn legacy(list: &mut Vec<Resource>) {
    by_kinds(list, &FIRST, &LAST);
}

fn by_kinds(list: &mut Vec<Resource>, first: &[impl AsRef<str>], last: &[impl AsRef<str>]) {
    let mut keyed: Vec<(Id, isize, String, Resource)> = std::mem::take(list)
        .into_iter()
        .map(|resource| {
            let id = resource.id();
            let part = |text: &str, none: &str| if text.is_empty() { none.to_owned() } else { text.to_owned() };
            let text = format!("{}|{}|{}", id.gvk, part(&id.namespace, "~X"), part(&id.name, "~N"));
            (id.clone(), place(&id.gvk.kind, first, last), text, resource)
        })
        .collect();
    keyed.sort_by(|(a, a_place, a_text, _), (b, b_place, b_text, _)| {
        if a.gvk == b.gvk { a_text.cmp(b_text) } else { a_place.cmp(b_place).then_with(|| kinds(&a.gvk, &b.gvk)) }
    });
    list.extend(keyed.into_iter().map(|(.., resource)| resource));
}

fn kinds(a: &Gvk, b: &Gvk) -> Ordering {
    let order = sort_text(a).cmp(&sort_text(b));
    // Namespaces of the core come before others of that name.
    let are_namespaces = a.kind == "Namespace" && b.kind == "Namespace" && (a.group.is_empty() || b.group.is_empty());
    if are_namespaces { order.reverse() } else { order }
}
