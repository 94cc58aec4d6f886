//! Reading fields of objects that may be absent or of the wrong type: both read as empty.

use model::flow::Health;
use model::{Observation, Verdict};
use serde_json::Value;

/// A view of a live object.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a>(pub &'a Value);

impl<'a> Fields<'a> {
    pub fn text(self, pointer: &str) -> &'a str {
        self.0.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }
    pub fn number(self, pointer: &str) -> Option<i64> {
        self.0.pointer(pointer).and_then(Value::as_i64)
    }
    /// Counters of a status: absent means 0, because the API leaves zeros out.
    pub fn count(self, pointer: &str) -> i64 {
        self.number(pointer).unwrap_or(0)
    }
    pub fn flag(self, pointer: &str) -> bool {
        self.0.pointer(pointer).and_then(Value::as_bool).unwrap_or(false)
    }
    pub fn list(self, pointer: &str) -> impl Iterator<Item = Fields<'a>> {
        self.0.pointer(pointer).and_then(Value::as_array).into_iter().flatten().map(Fields)
    }
    pub fn name(self) -> &'a str {
        self.text("/metadata/name")
    }
    /// The condition of this type in `status.conditions`.
    pub fn condition(self, kind: &str) -> Option<Condition<'a>> {
        self.list("/status/conditions").find(|c| c.text("/type") == kind).map(|c| Condition {
            status: c.text("/status"),
            reason: c.text("/reason"),
            message: c.text("/message"),
        })
    }
    /// True when the controller has not seen the newest spec.
    pub fn is_behind(self) -> bool {
        match (self.number("/metadata/generation"), self.number("/status/observedGeneration")) {
            (Some(generation), Some(observed)) => observed < generation,
            _ => false,
        }
    }
    /// Objects of this kind that `self` controls.
    pub fn owned(self, kind: &'static str, related: &'a Observation) -> impl Iterator<Item = Fields<'a>> {
        let uid = self.text("/metadata/uid");
        let namespace = self.text("/metadata/namespace");
        related
            .objects
            .iter()
            .filter(move |(id, _)| id.kind == kind && id.namespace == namespace && !uid.is_empty())
            .map(|(_, object)| Fields(object))
            .filter(move |object| object.list("/metadata/ownerReferences").any(|o| o.text("/uid") == uid))
    }
}

/// One entry of `status.conditions`.
pub(crate) struct Condition<'a> {
    pub status: &'a str,
    pub reason: &'a str,
    pub message: &'a str,
}

impl Condition<'_> {
    pub fn is(&self, status: &str) -> bool {
        self.status == status
    }
    /// A verdict in the condition's own words, or `reason` where it has none.
    pub fn verdict(&self, health: Health, reason: &str) -> Verdict {
        make(health, if self.reason.is_empty() { reason } else { self.reason }, self.message.to_owned())
    }
}

pub(crate) fn make(health: Health, reason: &str, message: String) -> Verdict {
    Verdict { health, reason: reason.to_owned(), message }
}
