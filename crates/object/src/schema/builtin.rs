//! The schemas of Kubernetes itself, unpacked once when first asked for.

use super::compile::{self, Definitions};
use super::{Schema, Table, TypeId, facts};
use crate::meta::Gvk;
use flate2::read::GzDecoder;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

/// Where the schemas come from; what `/version` tells.
pub const KUBERNETES_VERSION: &str = "v1.34.4";

/// Shapes and defaults; what merges how stands in the table of [`facts`]. Made by `cargo xtask schema`.
static PACKED: &[u8] = include_bytes!("../../data/schema.json.gz");

struct Builtin {
    common: Definitions,
    table: Arc<Table>,
    kinds: HashMap<Gvk, TypeId>,
}

fn load() -> &'static Builtin {
    static LOADED: OnceLock<Builtin> = OnceLock::new();
    LOADED.get_or_init(|| {
        let definitions = unpack();
        let (table, names) = compile::definitions(&definitions).expect("the committed schemas compile; a test does it");
        let kinds = definitions.iter().flat_map(|(name, schema)| kinds(schema).map(|gvk| (gvk, names[name]))).collect();
        let common = compile::common(&definitions).expect("as all of them");
        Builtin { common, table, kinds }
    })
}

fn unpack() -> Definitions {
    let shapes = serde_json::from_reader(GzDecoder::new(PACKED));
    let mut definitions = shapes.expect("the committed schemas are JSON; a test reads them");
    facts::apply(&mut definitions);
    definitions
}

/// The kinds that a definition says it is.
pub(super) fn kinds(schema: &Value) -> impl Iterator<Item = Gvk> {
    let list = schema.get("x-kubernetes-group-version-kind").and_then(Value::as_array);
    list.into_iter().flatten().map(|kind| {
        let text = |key: &str| kind.get(key).and_then(Value::as_str).unwrap_or_default();
        Gvk::new(text("group"), text("version"), text("kind"))
    })
}

/// The definitions as OpenAPI publishes them, without descriptions. Unpacked each time: they take megabytes, and who asks
/// for them does so now and then.
pub(super) fn definitions() -> Definitions {
    unpack()
}

/// Of these, what custom resources refer to.
pub(super) fn common() -> &'static Definitions {
    &load().common
}

/// The schema of a built-in kind.
pub fn schema_for(gvk: &Gvk) -> Option<Schema> {
    let builtin = load();
    builtin.kinds.get(gvk).map(|id| Schema { table: builtin.table.clone(), id: *id })
}

/// All built-in kinds, in no order.
pub fn builtin() -> impl Iterator<Item = (&'static Gvk, Schema)> {
    let builtin = load();
    builtin.kinds.iter().map(|(gvk, id)| (gvk, Schema { table: builtin.table.clone(), id: *id }))
}
