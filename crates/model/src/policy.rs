//! `policies/<name>.yaml`: what must hold of every object that would stand, written in CEL.

use crate::names::{Component, Environment};
use serde::{Deserialize, Serialize};

/// One file of `policies/`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicyFile {
    /// `trimtab.dev/v1alpha1`, if it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    /// `Policy`, if it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// What it is for, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// What becomes of a movement that breaks it.
    #[serde(default)]
    pub action: PolicyAction,
    /// Where it holds; absent: everywhere.
    #[serde(rename = "match", default, skip_serializing_if = "is_default")]
    pub matches: PolicyMatch,
    /// Worked out in this order before the rules, which name them `variables.<name>`. A later one may use an earlier one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub variables: Vec<PolicyVariable>,
    /// All of them must be true.
    pub rules: Vec<PolicyRule>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What becomes of a movement that breaks a policy. The words are shown to people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub enum PolicyAction {
    /// It happens, and that is said.
    Warn,
    /// It waits until somebody else has approved it.
    RequireApproval,
    /// It does not happen.
    #[default]
    Deny,
}

impl PolicyAction {
    /// `requireApproval`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Warn => "warn",
            Self::RequireApproval => "requireApproval",
            Self::Deny => "deny",
        }
    }
}

impl std::fmt::Display for PolicyAction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a policy holds: in all that is named, of each list that is not empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PolicyMatch {
    /// Empty: all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub environments: Vec<Environment>,
    /// Only those that are production, or only those that are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub production: Option<bool>,
    /// Empty: all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<Component>,
    /// Kinds of objects, `Deployment` or `Deployment.apps`. Empty: all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<String>,
}

/// A part of the rules with a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicyVariable {
    /// Its name.
    pub name: String,
    /// CEL.
    pub expression: String,
}

/// Something that must be true.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicyRule {
    /// CEL; a truth value.
    pub expression: String,
    /// What people are told when it is false; absent: the expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The same in CEL; wins over `message`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_expression: Option<String>,
}

impl PolicyMatch {
    /// Whether it holds for anything of an environment.
    pub fn environment(&self, environment: &Environment, production: bool) -> bool {
        (self.environments.is_empty() || self.environments.contains(environment))
            && self.production.is_none_or(|wanted| wanted == production)
    }

    /// Whether it holds for a component. What belongs to none is everybody's.
    pub fn component(&self, component: Option<&Component>) -> bool {
        self.components.is_empty() || component.is_some_and(|component| self.components.contains(component))
    }

    /// Whether it holds for objects of a kind.
    pub fn kind(&self, group: &str, kind: &str) -> bool {
        self.kinds.is_empty()
            || self.kinds.iter().any(|wanted| match wanted.split_once('.') {
                Some((wanted, of)) => wanted == kind && of == group,
                None => wanted == kind,
            })
    }
}
