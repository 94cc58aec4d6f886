//! Who may talk to this instance, whichever way they come: every listener asks here. The list of people is one file,
//! replaced as a whole by each change; what they may do is decided by [`model::people::allowed`].

mod record;

pub use record::ADMIN;

use crate::instance::{Layout, Written, admin_token, random_hex, write_durably};
use anyhow::{Context as _, Result, anyhow};
use async_trait::async_trait;
use jiff::Timestamp;
use model::flow::Repository;
use model::people::{Grant, Person, Right, Target, allowed};
use oci::registry::{Access, Basic, Decision, RegistryAuth};
use record::Record;
use sha2::{Digest as _, Sha256};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use web::{AddUser, Error, KeyView, MadeToken, NewToken, UserView};

/// What tokens begin with, so that scanners of leaked secrets find them.
const TOKEN_PREFIX: &str = "trimtab_";
const TOKEN_BYTES: usize = 32;

/// What time it is.
pub type Clock = fn() -> Timestamp;

/// Everybody who is known, by token and by key.
pub struct People {
    admin: [u8; 32],
    file: PathBuf,
    clock: Clock,
    /// Readers take the whole; writers take turns.
    record: Mutex<Arc<Record>>,
}

impl People {
    /// Reads, or makes, what the data directory holds.
    pub fn load(layout: &Layout, clock: Clock) -> Result<Self> {
        let file = layout.people();
        let record = match std::fs::read(&file) {
            Ok(bytes) => Record::parse(&bytes)
                .map_err(|why| anyhow!("{} is damaged: {why}; restore it from a backup", file.display()))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Record::default(),
            Err(error) => return Err(error).with_context(|| format!("reading {}", file.display())),
        };
        let admin = Sha256::digest(admin_token(layout)?).into();
        Ok(Self { admin, file, clock, record: Mutex::new(Arc::new(record)) })
    }

    fn record(&self) -> Arc<Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A change is on disk before anybody sees it; one that cannot be written did not happen.
    fn change<T>(&self, change: impl FnOnce(&mut Record, Timestamp) -> web::Result<T>) -> web::Result<T> {
        let mut current = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = (**current).clone();
        let done = change(&mut next, (self.clock)())?;
        let bytes = serde_json::to_vec_pretty(&next).expect("a record serialises");
        write_durably(Written::People, &self.file, &bytes, 0o600)
            .map_err(|error| Error::Unavailable(format!("{error:#}")))?;
        *current = Arc::new(next);
        Ok(done)
    }

    /// By hashes only: the time of a comparison says nothing about a token.
    fn holder(&self, token: &str) -> Option<Person> {
        let hash: [u8; 32] = Sha256::digest(token).into();
        if hash == self.admin {
            return Some(Person::admin(ADMIN));
        }
        self.record().holder(&hex(&hash), (self.clock)())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl web::People for People {
    fn who(&self, token: &str) -> Option<Person> {
        self.holder(token)
    }
    fn person(&self, name: &str) -> Option<Person> {
        self.record().person(name)
    }
    fn users(&self) -> Vec<UserView> {
        let mut users = self.record().views((self.clock)());
        if users.iter().all(|user| user.name != ADMIN) {
            let roles = Person::admin(ADMIN).grants;
            users.insert(0, UserView { name: ADMIN.into(), roles, keys: Vec::new(), tokens: Vec::new() });
        }
        users
    }
    fn add_user(&self, request: AddUser) -> web::Result<UserView> {
        self.change(|record, now| record.add_user(&request, now))
    }
    fn remove_user(&self, name: &str) -> web::Result<()> {
        self.change(|record, _| record.remove_user(name))
    }
    fn remove_role(&self, name: &str, grant: &Grant) -> web::Result<UserView> {
        self.change(|record, now| record.remove_role(name, grant, now))
    }
    fn add_key(&self, name: &str, key: &str) -> web::Result<KeyView> {
        self.change(|record, now| record.add_key(name, key, now))
    }
    fn remove_key(&self, name: &str, key: &str) -> web::Result<KeyView> {
        self.change(|record, _| record.remove_key(name, key))
    }
    fn create_token(&self, name: &str, request: &NewToken) -> web::Result<MadeToken> {
        let token = format!("{TOKEN_PREFIX}{}", random_hex(TOKEN_BYTES));
        let hash = hex(&Sha256::digest(&token));
        let made = self.change(|record, now| record.add_token(name, hash, request, now))?;
        Ok(MadeToken { id: made.id, token, expires: made.expires })
    }
    fn revoke_token(&self, name: &str, id: &str) -> web::Result<()> {
        self.change(|record, _| record.remove_token(name, id))
    }
}

/// Everybody who is known.
const AUTHENTICATED: &str = "system:authenticated";

impl apiserver::Authenticator for People {
    fn authenticate(&self, bearer: &str) -> Option<apiserver::Identity> {
        let person = self.holder(bearer)?;
        let mut identity = match person.is_admin() {
            true => apiserver::Identity::master(&person.name),
            false => apiserver::Identity { user: person.name.clone(), groups: vec![AUTHENTICATED.to_owned()] },
        };
        identity.groups.extend(person.groups());
        Some(identity)
    }
}

impl source::GitAuth for People {
    fn password(&self, _user: &str, password: &str) -> Option<Person> {
        self.holder(password)
    }
    fn key(&self, fingerprint: &str) -> Option<Person> {
        let record = self.record();
        record.person(record.owner(fingerprint)?)
    }
}

#[async_trait]
impl RegistryAuth for People {
    async fn decide(&self, credentials: Option<&Basic>, repository: Option<&str>, access: Access) -> Decision {
        let Some(person) = credentials.and_then(|basic| self.holder(&basic.password)) else {
            return Decision::Unauthorized;
        };
        let right = match access {
            Access::Pull => Right::Read,
            // The names tell which projects there are: for those who may read all of them.
            Access::List => match allowed(&person, Right::Read, &Target::Instance) {
                Ok(()) => return Decision::Allow,
                Err(_) => return Decision::Denied,
            },
            Access::Push | Access::Delete => Right::Write,
        };
        let Some(name) = repository else { return Decision::Allow };
        let parsed = name
            .split_once('/')
            .and_then(|(project, name)| Some(Repository { project: project.parse().ok()?, name: name.to_owned() }));
        let answer = match parsed {
            Some(repository) => allowed(&person, right, &Target::Repository(&repository)),
            // No project's: whoever keeps this instance brought it here.
            None => allowed(&person, Right::Administer, &Target::Instance),
        };
        if answer.is_ok() { Decision::Allow } else { Decision::Denied }
    }
}

#[cfg(test)]
mod tests;
