//! People and what they may do. One function answers, [`allowed`]; git over HTTP and SSH, the registry, the API, the
//! pages and the Kubernetes API ask it with what they know.

use crate::flow::Repository;
use crate::names::{Environment, NameError, Project};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// What somebody is, in one project or everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads.
    Viewer,
    /// Reads, pushes to application repositories, moves builds where it is not production.
    Developer,
    /// Reads, pushes everywhere, moves builds and suspends everywhere.
    Operator,
    /// Reads and approves.
    Approver,
    /// Everything.
    Admin,
}

impl Role {
    /// All of them, weakest first.
    pub const ALL: [Self; 5] = [Self::Viewer, Self::Developer, Self::Operator, Self::Approver, Self::Admin];

    /// `developer`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Developer => "developer",
            Self::Operator => "operator",
            Self::Approver => "approver",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let found = Self::ALL.into_iter().find(|role| role.as_str() == text);
        found.ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|role| role.as_str()).collect();
            NameError(format!("role {text:?} is none of: {}", names.join(", ")))
        })
    }
}

/// Which branches a grant lets somebody write: `main`, `feature/*`, `refs/tags/v*`. At most one `*`, which stands for
/// anything.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct BranchPattern(String);

impl BranchPattern {
    /// True if the pattern names this reference. Without `refs/` in front it speaks of branches.
    pub fn names(&self, reference: &str) -> bool {
        let text = if self.0.starts_with("refs/") { Some(reference) } else { reference.strip_prefix("refs/heads/") };
        text.is_some_and(|text| match self.0.split_once('*') {
            None => text == self.0,
            Some((begin, end)) => {
                text.len() >= begin.len() + end.len() && text.starts_with(begin) && text.ends_with(end)
            }
        })
    }
}

impl fmt::Display for BranchPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for BranchPattern {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let bad = |c: char| c.is_whitespace() || c.is_control() || "~^:?[\\,".contains(c);
        if text.is_empty() || text.len() > 200 || text.contains(bad) || text.matches('*').count() > 1 {
            return Err(NameError(format!("{text:?} is no branch and no pattern such as main, feature/* or *")));
        }
        Ok(Self(text.to_owned()))
    }
}

impl Serialize for BranchPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for BranchPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What somebody is in a project, as `project.yaml` has it: `developer`, or
/// `{role: operator, environments: [dev, staging]}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// What.
    pub role: Role,
    /// Only there; empty: everywhere in the project.
    pub environments: Vec<Environment>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Limited {
    role: Role,
    environments: Vec<Environment>,
}

impl Serialize for Membership {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.environments.is_empty() {
            true => self.role.serialize(serializer),
            false => Limited { role: self.role, environments: self.environments.clone() }.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Membership {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> serde::de::Visitor<'de> for Either {
            type Value = Membership;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a role, or {role, environments}")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Membership, E> {
                Ok(Membership { role: text.parse().map_err(E::custom)?, environments: Vec::new() })
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Membership, A::Error> {
                let limited = Limited::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
                Ok(Membership { role: limited.role, environments: limited.environments })
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// A role, and how far it reaches.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Grant {
    /// What.
    pub role: Role,
    /// Only in this project; absent: in all, and on the instance itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<Project>,
    /// Only these branches may be written; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub branches: Vec<BranchPattern>,
    /// Only in these environments; empty: in all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub environments: Vec<Environment>,
}

impl Grant {
    /// As `project.yaml` has it.
    pub fn of(project: &Project, membership: &Membership) -> Self {
        let Membership { role, environments } = membership;
        Self { role: *role, project: Some(project.clone()), branches: Vec::new(), environments: environments.clone() }
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.role)?;
        if let Some(project) = &self.project {
            write!(f, " in {project}")?;
        }
        if !self.branches.is_empty() {
            let names: Vec<String> = self.branches.iter().map(ToString::to_string).collect();
            write!(f, " (branches {})", names.join(", "))?;
        }
        if !self.environments.is_empty() {
            let names: Vec<&str> = self.environments.iter().map(Environment::as_str).collect();
            write!(f, " (environments {})", names.join(", "))?;
        }
        Ok(())
    }
}

/// Somebody who is known, with what they were granted when they came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Goes into commits, the journal and denials.
    pub name: String,
    /// None: known, and may nothing.
    pub grants: Vec<Grant>,
    /// They came with a token that only reads.
    pub read_only: bool,
}

impl Person {
    /// Somebody who may do everything.
    pub fn admin(name: impl Into<String>) -> Self {
        let grant = Grant { role: Role::Admin, project: None, branches: Vec::new(), environments: Vec::new() };
        Self { name: name.into(), grants: vec![grant], read_only: false }
    }

    /// Groups in Kubernetes: `trimtab:developer` for a role everywhere, `trimtab:developer:shop` for one project,
    /// `trimtab:developer:shop:dev` for one environment. A token that only reads gives nothing but viewers' groups.
    pub fn groups(&self) -> Vec<String> {
        let role = |grant: &Grant| if self.read_only { Role::Viewer } else { grant.role };
        let group = |grant: &Grant| match &grant.project {
            None => vec![format!("trimtab:{}", role(grant))],
            Some(project) if grant.environments.is_empty() => vec![format!("trimtab:{}:{project}", role(grant))],
            Some(project) => {
                let one = |environment: &Environment| format!("trimtab:{}:{project}:{environment}", role(grant));
                grant.environments.iter().map(one).collect()
            }
        };
        let mut groups: Vec<String> = self.grants.iter().flat_map(group).collect();
        groups.sort();
        groups.dedup();
        groups
    }

    /// What they are in a project.
    pub fn roles(&self, project: &Project) -> BTreeSet<Role> {
        let reaches = |grant: &&Grant| grant.project.as_ref().is_none_or(|own| own == project);
        self.grants.iter().filter(reaches).map(|grant| grant.role).collect()
    }

    /// True if they may do everything, everywhere.
    pub fn is_admin(&self) -> bool {
        allowed(self, Right::Administer, &Target::Instance).is_ok()
    }
}

/// What somebody may want to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// See it: fetch, pull, look at pages.
    Read,
    /// Move branches and tags, push images.
    Write,
    /// Open a Change, add to it, comment on it.
    Propose,
    /// Make a project or a component.
    Create,
    /// Move a build into an environment.
    Promote,
    /// Bring an earlier build back.
    Rollback,
    /// Stop all movement in an environment, or lift that.
    Suspend,
    /// Approve what waits for it, and certify releases.
    Approve,
    /// Pass gates in an emergency.
    Override,
    /// Users, keys, tokens, images, `down`.
    Administer,
}

impl Right {
    /// `write`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Propose => "propose",
            Self::Create => "create",
            Self::Promote => "promote",
            Self::Rollback => "rollback",
            Self::Suspend => "suspend",
            Self::Approve => "approve",
            Self::Override => "override",
            Self::Administer => "administer",
        }
    }

    /// After "may not".
    fn verb(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "push to",
            Self::Propose => "propose changes to",
            Self::Create => "create a component in",
            Self::Promote => "promote into",
            Self::Rollback => "roll back",
            Self::Suspend => "suspend or resume",
            Self::Approve => "approve in",
            Self::Override => "override the gates of",
            Self::Administer => "administer",
        }
    }
}

/// On what.
#[derive(Debug, Clone, Copy)]
pub enum Target<'a> {
    /// Trimtab itself.
    Instance,
    /// A project.
    Project(&'a Project),
    /// A repository, before it is known which branches move.
    Repository(&'a Repository),
    /// One reference of it, in full: `refs/heads/main`.
    Reference(&'a Repository, &'a str),
    /// An environment of a project.
    Environment {
        /// Whose.
        project: &'a Project,
        /// Which.
        environment: &'a Environment,
        /// As the environment's file says.
        production: bool,
    },
}

impl Target<'_> {
    fn project(&self) -> Option<&Project> {
        match self {
            Self::Instance => None,
            Self::Project(project) | Self::Environment { project, .. } => Some(project),
            Self::Repository(repository) | Self::Reference(repository, _) => Some(&repository.project),
        }
    }
}

impl fmt::Display for Target<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Instance => f.write_str("this instance"),
            Self::Project(project) => write!(f, "project {project}"),
            Self::Repository(repository) => write!(f, "{repository}"),
            Self::Reference(repository, reference) => write!(f, "{reference} of {repository}"),
            Self::Environment { project, environment, production } => {
                let production = if *production { ", a production environment" } else { "" };
                write!(f, "{environment} of {project}{production}")
            }
        }
    }
}

/// Why not, and who can change that. The text is for the person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Denied {
    /// What is missing.
    pub right: Right,
    text: String,
}

/// Whether somebody may do something.
pub fn allowed(person: &Person, right: Right, target: &Target<'_>) -> Result<(), Denied> {
    let denied =
        |why: String| Denied { right, text: format!("{} may not {} {target}: {why}", person.name, right.verb()) };
    let reaches = |grant: &&Grant| grant.project.is_none() || grant.project.as_ref() == target.project();
    let roles = roles(right, target);
    let mut fitting = person.grants.iter().filter(reaches).filter(|grant| roles.contains(&grant.role)).peekable();
    if person.read_only && right != Right::Read {
        return Err(denied(format!(
            "the right `{}` is missing, because this token only reads: make one without --read-only",
            right.as_str()
        )));
    }
    let found = fitting.peek().is_some();
    if fitting.any(|grant| covers(grant, right, target)) {
        return Ok(());
    }
    let has: Vec<String> = person.grants.iter().map(ToString::to_string).collect();
    let has = if has.is_empty() { "no role".to_owned() } else { has.join(", ") };
    let names: Vec<&str> = roles.iter().map(|role| role.as_str()).collect();
    let needs = match (found, target) {
        (true, Target::Repository(_) | Target::Reference(..)) => "another branch pattern".to_owned(),
        (true, Target::Environment { environment, .. }) => {
            format!("the role {} for {environment} too", names.join(" or "))
        }
        (true, _) => format!("the role {} for all environments", names.join(" or ")),
        (false, _) => format!("the role {}", names.join(" or ")),
    };
    let scope = target.project().map_or(String::new(), |project| format!(" --project {project}"));
    Err(denied(format!(
        "the right `{}` is missing. That needs {needs}; {} has: {has}. An administrator can give it: \
         trimtab user add {} --role {}{scope}",
        right.as_str(),
        person.name,
        person.name,
        names[0],
    )))
}

/// The roles of which one is needed, weakest first.
fn roles(right: Right, target: &Target<'_>) -> &'static [Role] {
    use Role::{Admin, Approver, Developer, Operator};
    let config = match target {
        Target::Repository(repository) | Target::Reference(repository, _) => repository.is_config(),
        _ => false,
    };
    let production = matches!(target, Target::Environment { production: true, .. });
    match right {
        Right::Read => &Role::ALL,
        // What stands in the config repository is what runs in production.
        Right::Write if config => &[Operator, Admin],
        Right::Promote | Right::Rollback if production => &[Operator, Admin],
        Right::Write | Right::Create | Right::Promote | Right::Rollback => &[Developer, Operator, Admin],
        Right::Propose => &[Developer, Operator, Approver, Admin],
        Right::Suspend | Right::Override => &[Operator, Admin],
        Right::Approve => &[Approver, Admin],
        Right::Administer => &[Admin],
    }
}

fn covers(grant: &Grant, right: Right, target: &Target<'_>) -> bool {
    let everywhere = grant.environments.is_empty();
    match (right, target) {
        (Right::Read, _) => true,
        (_, Target::Environment { environment, .. }) if !everywhere => grant.environments.contains(environment),
        // Of the rights over a whole project such a role has none, but making components in it.
        // A repository of an environment's own is that environment's.
        (_, Target::Repository(repository) | Target::Reference(repository, _))
            if !everywhere
                && repository.environment().is_some_and(|environment| !grant.environments.contains(&environment)) =>
        {
            false
        }
        (right, Target::Instance | Target::Project(_)) if !everywhere => right == Right::Create,
        (Right::Write, Target::Reference(_, reference)) => {
            grant.branches.is_empty() || grant.branches.iter().any(|pattern| pattern.names(reference))
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests;
