//! Who is signed in in a browser: one-time links, sessions, and the token that every form carries.
//!
//! All of it is in memory: a restart signs everybody out, and nothing on disk can be stolen. Secrets are kept as their
//! SHA-256, so that neither a look at the memory nor the time of a comparison gives one away.

use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A link is good for one sign-in within this.
const LINK_LIFE: Duration = Duration::from_secs(15 * 60);
/// A session ends after this, used or not.
const SESSION_LIFE: Duration = Duration::from_secs(12 * 60 * 60);
/// Links that nobody used; the oldest gives way.
const LINKS_MAX: usize = 64;
/// Sessions; the oldest gives way.
const SESSIONS_MAX: usize = 1024;

type Hash = [u8; 32];

/// Links and sessions of one instance.
pub struct Sessions {
    cookie: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    links: HashMap<Hash, Link>,
    sessions: HashMap<Hash, Session>,
}

struct Link {
    actor: String,
    ends: Instant,
}

/// Somebody who is signed in.
#[derive(Clone)]
pub(crate) struct Session {
    pub actor: String,
    /// Stands in every form; another site cannot know it.
    pub csrf: String,
    ends: Instant,
}

impl Sessions {
    /// Nobody is signed in. Cookies do not know ports, so `instance` tells those of two instances on one host apart.
    pub fn new(instance: &str) -> Self {
        Self { cookie: format!("trimtab-{instance}"), state: Mutex::default() }
    }

    /// Path and query of a link that signs `actor` in, once, within 15 minutes.
    pub fn link(&self, actor: &str) -> String {
        self.link_at(actor, Instant::now())
    }

    /// Name of the cookie.
    pub(crate) fn cookie(&self) -> &str {
        &self.cookie
    }

    /// The secret of a new session, if this is the code of a link that was not used yet.
    pub(crate) fn redeem(&self, code: &str) -> Option<String> {
        self.redeem_at(code, Instant::now())
    }

    /// Whose session this is.
    pub(crate) fn session(&self, secret: &str) -> Option<Session> {
        self.session_at(secret, Instant::now())
    }

    /// Ends a session.
    pub(crate) fn end(&self, secret: &str) {
        self.state().sessions.remove(&hash(secret));
    }

    fn link_at(&self, actor: &str, now: Instant) -> String {
        let code = secret();
        let mut state = self.state();
        make_room(&mut state.links, LINKS_MAX, now, |link| link.ends);
        state.links.insert(hash(&code), Link { actor: actor.to_owned(), ends: now + LINK_LIFE });
        format!("/sign-in?code={code}")
    }

    fn redeem_at(&self, code: &str, now: Instant) -> Option<String> {
        let mut state = self.state();
        let link = state.links.remove(&hash(code)).filter(|link| link.ends > now)?;
        make_room(&mut state.sessions, SESSIONS_MAX, now, |session| session.ends);
        let token = secret();
        let session = Session { actor: link.actor, csrf: secret(), ends: now + SESSION_LIFE };
        state.sessions.insert(hash(&token), session);
        Some(token)
    }

    fn session_at(&self, secret: &str, now: Instant) -> Option<Session> {
        self.state().sessions.get(&hash(secret)).filter(|session| session.ends > now).cloned()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    /// True if a form carries this session's token; takes equally long wherever the first difference is.
    pub fn sent(&self, csrf: &str) -> bool {
        hash(csrf) == hash(&self.csrf)
    }
}

/// Drops what is over and, if that is not enough, the oldest.
fn make_room<T>(map: &mut HashMap<Hash, T>, limit: usize, now: Instant, ends: impl Fn(&T) -> Instant) {
    map.retain(|_, value| ends(value) > now);
    while map.len() >= limit {
        let oldest = map.iter().min_by_key(|(_, value)| ends(value)).map(|(key, _)| *key);
        oldest.and_then(|key| map.remove(&key));
    }
}

fn hash(secret: &str) -> Hash {
    Sha256::digest(secret.as_bytes()).into()
}

/// 256 random bits, in hexadecimal.
fn secret() -> String {
    rand::random::<[u8; 32]>().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(link: &str) -> &str {
        link.strip_prefix("/sign-in?code=").unwrap()
    }

    #[test]
    fn a_link_signs_in_once() {
        let sessions = Sessions::new("a");
        let link = sessions.link("ada");
        let secret = sessions.redeem(code(&link)).unwrap();
        assert_eq!(sessions.session(&secret).unwrap().actor, "ada");
        assert!(sessions.redeem(code(&link)).is_none(), "a link used twice");
        sessions.end(&secret);
        assert!(sessions.session(&secret).is_none(), "a session after sign-out");
    }

    #[test]
    fn links_and_sessions_end() {
        let (sessions, now) = (Sessions::new("a"), Instant::now());
        let link = sessions.link_at("ada", now);
        assert!(sessions.redeem_at(code(&link), now + LINK_LIFE).is_none());
        let link = sessions.link_at("ada", now);
        let secret = sessions.redeem_at(code(&link), now).unwrap();
        assert!(sessions.session_at(&secret, now + SESSION_LIFE - Duration::from_secs(1)).is_some());
        assert!(sessions.session_at(&secret, now + SESSION_LIFE).is_none());
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_gives_way() {
        let (sessions, now) = (Sessions::new("a"), Instant::now());
        let links: Vec<String> =
            (0..=LINKS_MAX as u32).map(|i| sessions.link_at("ada", now + Duration::from_millis(i.into()))).collect();
        assert_eq!(sessions.state().links.len(), LINKS_MAX);
        assert!(sessions.redeem_at(code(&links[0]), now).is_none());
        assert!(sessions.redeem_at(code(&links[LINKS_MAX]), now).is_some());
    }

    #[test]
    fn only_the_sessions_own_token_passes() {
        let sessions = Sessions::new("a");
        let signed_in = |actor| sessions.session(&sessions.redeem(code(&sessions.link(actor))).unwrap()).unwrap();
        let (ada, bob) = (signed_in("ada"), signed_in("bob"));
        assert!(ada.sent(&ada.csrf) && !ada.sent(&bob.csrf) && !ada.sent(""));
    }
}
