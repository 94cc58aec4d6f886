//! The list of people as it lies on disk, and what changes it. Time is an argument; secrets are kept as their SHA-256.

use jiff::{SignedDuration, Timestamp};
use model::UserName;
use model::people::{Grant, Person};
use serde::{Deserialize, Serialize};
use source::PublicKey;
use std::collections::BTreeMap;
use web::{AddUser, Error, KeyView, NewToken, Result, TokenView, UserView};

/// The administrator: is always there, with the token of the data directory.
pub const ADMIN: &str = "admin";
/// Of this file.
const VERSION: u32 = 1;
const USERS_MAX: usize = 10_000;
/// Of each kind, per user.
const KEYS_MAX: usize = 64;
/// A token is good for this long at most.
const TOKEN_LIFE_MAX: SignedDuration = SignedDuration::from_hours(366 * 24);

/// Everybody.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Record {
    version: u32,
    users: BTreeMap<String, User>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct User {
    #[serde(default)]
    roles: Vec<Grant>,
    #[serde(default)]
    keys: Vec<Key>,
    #[serde(default)]
    tokens: Vec<Token>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Key {
    key: String,
    fingerprint: String,
    #[serde(default)]
    comment: String,
    added: Timestamp,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Token {
    id: String,
    sha256: String,
    created: Timestamp,
    expires: Timestamp,
    #[serde(default)]
    read_only: bool,
}

impl Default for Record {
    fn default() -> Self {
        Self { version: VERSION, users: BTreeMap::new() }
    }
}

impl Record {
    /// Reads what was written. The error says what is wrong.
    pub fn parse(bytes: &[u8]) -> std::result::Result<Self, String> {
        let record: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        match record.version {
            VERSION => Ok(record),
            other => Err(format!("it is of version {other}, and this Trimtab knows {VERSION}")),
        }
    }

    pub fn person(&self, name: &str) -> Option<Person> {
        if name == ADMIN {
            return Some(Person::admin(ADMIN));
        }
        let user = self.users.get(name)?;
        Some(Person { name: name.to_owned(), grants: user.roles.clone(), read_only: false })
    }

    /// Whose token has this hash, if it is still good.
    pub fn holder(&self, sha256: &str, now: Timestamp) -> Option<Person> {
        let (name, token) = self
            .users
            .iter()
            .flat_map(|(name, user)| user.tokens.iter().map(move |token| (name, token)))
            .find(|(_, token)| token.sha256 == sha256 && token.expires > now)?;
        Some(Person { read_only: token.read_only, ..self.person(name)? })
    }

    /// Everybody's keys.
    pub fn signers(&self) -> Vec<model::trust::Signer> {
        let of = |(name, user): (&String, &User)| {
            let signer = |key: &Key| model::trust::Signer { name: name.clone(), key: key.key.clone() };
            user.keys.iter().map(signer).collect::<Vec<_>>()
        };
        self.users.iter().flat_map(of).collect()
    }

    /// Whose key this is.
    pub fn owner(&self, fingerprint: &str) -> Option<&str> {
        let owns = |user: &User| user.keys.iter().any(|key| key.fingerprint == fingerprint);
        self.users.iter().find(|(_, user)| owns(user)).map(|(name, _)| name.as_str())
    }

    pub fn views(&self, now: Timestamp) -> Vec<UserView> {
        self.users.iter().map(|(name, user)| user.view(name, now)).collect()
    }

    pub fn add_user(&mut self, request: &AddUser, now: Timestamp) -> Result<UserView> {
        let name = request.name.as_str();
        if !self.users.contains_key(name) && self.users.len() >= USERS_MAX {
            return Err(Error::Refused(format!("there are {USERS_MAX} users already")));
        }
        let user = self.users.entry(name.to_owned()).or_default();
        if let Some(grant) = &request.role {
            user.roles.retain(|other| (other.role, &other.project) != (grant.role, &grant.project));
            user.roles.push(grant.clone());
            user.roles.sort();
        }
        for key in &request.keys {
            self.add_key(name, key, now)?;
        }
        Ok(self.existing(name)?.view(name, now))
    }

    pub fn remove_user(&mut self, name: &str) -> Result<()> {
        if name == ADMIN {
            return Err(Error::Refused("the administrator stays: the data directory is theirs".into()));
        }
        self.users.remove(name).map(drop).ok_or_else(|| unknown(name))
    }

    pub fn remove_role(&mut self, name: &str, grant: &Grant, now: Timestamp) -> Result<UserView> {
        let user = self.existing(name)?;
        let before = user.roles.len();
        user.roles.retain(|other| (other.role, &other.project) != (grant.role, &grant.project));
        if user.roles.len() == before {
            return Err(Error::NotFound(format!("{name} is not {grant}: trimtab user list")));
        }
        Ok(user.view(name, now))
    }

    pub fn add_key(&mut self, name: &str, text: &str, now: Timestamp) -> Result<KeyView> {
        let key = PublicKey::parse(text).map_err(Error::Invalid)?;
        match self.owner(&key.fingerprint) {
            Some(owner) if owner != name => {
                return Err(Error::Refused(format!(
                    "the key {} is {owner}'s: one key is one person's; remove it there first",
                    key.fingerprint
                )));
            }
            _ => {}
        }
        let user = self.existing(name)?;
        if let Some(known) = user.keys.iter().find(|known| known.fingerprint == key.fingerprint) {
            return Ok(known.view());
        }
        if user.keys.len() >= KEYS_MAX {
            return Err(Error::Refused(format!("{name} has {KEYS_MAX} keys already: trimtab key list --user {name}")));
        }
        let comment = key.comment.chars().filter(|c| !c.is_control()).take(100).collect();
        let key = Key { key: key.line, fingerprint: key.fingerprint, comment, added: now };
        let view = key.view();
        user.keys.push(key);
        Ok(view)
    }

    /// By its line or its fingerprint.
    pub fn remove_key(&mut self, name: &str, text: &str) -> Result<KeyView> {
        let fingerprint = PublicKey::parse(text).map_or_else(|_| text.trim().to_owned(), |key| key.fingerprint);
        let user = self.existing(name)?;
        let found = user.keys.iter().position(|key| key.fingerprint == fingerprint);
        let index = found.ok_or_else(|| {
            Error::NotFound(format!("{name} has no key {fingerprint}: trimtab key list --user {name}"))
        })?;
        Ok(user.keys.remove(index).view())
    }

    /// Keeps the hash of a new token, and forgets those that have ended.
    pub fn add_token(&mut self, name: &str, sha256: String, wish: &NewToken, now: Timestamp) -> Result<TokenView> {
        let life = i64::try_from(wish.expires_in_seconds).map(SignedDuration::from_secs).unwrap_or(SignedDuration::MAX);
        if life.is_zero() || life > TOKEN_LIFE_MAX {
            return Err(Error::Invalid("a token is good for 1 second to 366 days: --expires 30d".into()));
        }
        let user = self.existing(name)?;
        user.tokens.retain(|token| token.expires > now);
        if user.tokens.len() >= KEYS_MAX {
            return Err(Error::Refused(format!(
                "{name} has {KEYS_MAX} tokens already: trimtab token list --user {name}"
            )));
        }
        let id = format!("t-{}", &sha256[..10]);
        let token = Token { id, sha256, created: now, expires: now + life, read_only: wish.read_only };
        let view = token.view();
        user.tokens.push(token);
        Ok(view)
    }

    pub fn remove_token(&mut self, name: &str, id: &str) -> Result<()> {
        let user = self.existing(name)?;
        let before = user.tokens.len();
        user.tokens.retain(|token| token.id != id);
        match user.tokens.len() < before {
            true => Ok(()),
            false => Err(Error::NotFound(format!("{name} has no token {id}: trimtab token list --user {name}"))),
        }
    }

    /// The administrator is always there; their keys and tokens begin with the first.
    fn existing(&mut self, name: &str) -> Result<&mut User> {
        if name == ADMIN {
            let user = self.users.entry(ADMIN.to_owned()).or_default();
            user.roles = Person::admin(ADMIN).grants;
            return Ok(user);
        }
        if name.parse::<UserName>().is_err() {
            return Err(unknown(name));
        }
        self.users.get_mut(name).ok_or_else(|| unknown(name))
    }
}

fn unknown(name: &str) -> Error {
    Error::NotFound(format!("there is no user {name:?}: trimtab user list shows all, trimtab user add makes one"))
}

impl User {
    fn view(&self, name: &str, now: Timestamp) -> UserView {
        UserView {
            name: name.to_owned(),
            roles: self.roles.clone(),
            keys: self.keys.iter().map(Key::view).collect(),
            tokens: self.tokens.iter().filter(|token| token.expires > now).map(Token::view).collect(),
        }
    }
}

impl Key {
    fn view(&self) -> KeyView {
        KeyView { fingerprint: self.fingerprint.clone(), comment: self.comment.clone(), added: self.added }
    }
}

impl Token {
    fn view(&self) -> TokenView {
        TokenView { id: self.id.clone(), created: self.created, expires: self.expires, read_only: self.read_only }
    }
}
