//! What somebody wants, and why it was not done.

use model::change::Opened;
use model::people::Denied;
use model::ports::PortError;
use model::records::Class;
use model::release::Version;
use model::rules::Seconds;
use model::{BuildId, Component, Environment};

/// Why a request was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It names something that is not there; the message lists what is.
    #[error("{0}")]
    NotFound(String),
    /// It cannot be done; the message says what to do instead.
    #[error("{0}")]
    Refused(String),
    /// It touches what is reviewed: a Change was opened with it instead.
    #[error("{0}")]
    Opened(Opened),
    /// A right is missing; the message says which.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// A place does not answer, or refuses.
    #[error("{0}")]
    Place(#[from] PortError),
}

/// What somebody asks for.
#[derive(Debug, Clone)]
pub struct Wish {
    /// Promote or Rollback.
    pub class: Class,
    /// Where.
    pub environment: Environment,
    /// Only this component.
    pub component: Option<Component>,
    /// Which build; absent: the newest that may, or the one before.
    pub build: Option<BuildId>,
    /// With the configuration of this commit of the config repository: its id, or how that begins.
    pub config: Option<String>,
    /// Which release, instead of a component.
    pub release: Option<Version>,
    /// The change that it belongs to.
    pub change_ref: Option<String>,
    /// Emergency: why gates are passed.
    pub overriding: Option<String>,
    /// How long what a rollback leaves is not taken by itself.
    pub quarantine: Option<Seconds>,
    /// Why.
    pub reason: String,
}

impl Wish {
    /// With nothing but where it goes.
    pub fn new(class: Class, environment: &Environment) -> Self {
        Self {
            class,
            environment: environment.clone(),
            component: None,
            build: None,
            config: None,
            release: None,
            change_ref: None,
            overriding: None,
            quarantine: None,
            reason: String::new(),
        }
    }
}
