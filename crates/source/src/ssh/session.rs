//! One client: who it is, and which of its requests are answered.

use super::command::Command;
use super::serve::{self, Served};
use super::{Shared, key};
use crate::GitAuth;
use model::people::Person;
use russh::keys::Certificate;
use russh::server::{Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, Response, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelOpenFailure, MethodKind, MethodSet, Pty};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::watch;
use tokio::time::Instant;

/// Open channels of one connection: a client that shares one for several commands uses few.
const CHANNELS_MAX: usize = 8;

/// How far a connection is; decides how long it may stay so.
#[derive(Debug, Clone)]
pub enum Phase {
    /// Has shown no key.
    Lobby,
    /// Signed in, nothing runs.
    Idle { since: Instant },
    /// So many fetches and pushes run.
    Working { count: usize, progress: Progress },
}

/// When bytes went through last; clones are the same one.
#[derive(Debug, Clone)]
pub struct Progress(Arc<(Instant, AtomicU64)>);

impl Progress {
    fn new() -> Self {
        Self(Arc::new((Instant::now(), AtomicU64::new(0))))
    }
    pub fn touch(&self) {
        let elapsed = u64::try_from(self.0.0.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.1.store(elapsed, Ordering::Relaxed);
    }
    pub fn last(&self) -> Instant {
        self.0.0 + std::time::Duration::from_millis(self.0.1.load(Ordering::Relaxed))
    }
}

/// Keeps a connection in [`Phase::Working`] until it is dropped.
pub struct Work {
    phase: watch::Sender<Phase>,
    pub progress: Progress,
}

impl Work {
    fn begin(phase: &watch::Sender<Phase>) -> Self {
        let mut shared = Progress::new();
        phase.send_modify(|phase| match phase {
            Phase::Working { count, progress } => {
                *count += 1;
                shared = progress.clone();
                shared.touch();
            }
            _ => *phase = Phase::Working { count: 1, progress: shared.clone() },
        });
        Self { phase: phase.clone(), progress: shared }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.phase.send_modify(|phase| match phase {
            Phase::Working { count, .. } if *count > 1 => *count -= 1,
            _ => *phase = Phase::Idle { since: Instant::now() },
        });
    }
}

/// The handler of one connection.
pub struct Session {
    shared: Arc<Shared>,
    auth: Arc<dyn GitAuth>,
    phase: watch::Sender<Phase>,
    /// Of the key that was accepted.
    fingerprint: Option<String>,
    /// The last key that was not.
    refused: Option<String>,
    /// Opened, and nothing runs in them yet.
    channels: HashMap<ChannelId, Opened>,
}

struct Opened {
    channel: Channel<Msg>,
    /// `GIT_PROTOCOL`.
    protocol: String,
}

impl Session {
    pub fn new(shared: Arc<Shared>, auth: Arc<dyn GitAuth>, phase: watch::Sender<Phase>) -> Self {
        Self { shared, auth, phase, fingerprint: None, refused: None, channels: HashMap::new() }
    }

    /// Asked anew for each command: rights change while a connection stays.
    fn person(&self) -> Option<Person> {
        self.fingerprint.as_deref().and_then(|fingerprint| self.auth.key(fingerprint))
    }

    fn known(&mut self, key: &russh::keys::PublicKey) -> Option<String> {
        let fingerprint = key::fingerprint(key);
        if self.auth.key(&fingerprint).is_some() {
            return Some(fingerprint);
        }
        self.refused = Some(fingerprint);
        None
    }

    /// What to do for somebody who is not let in.
    fn how(&self) -> String {
        match &self.refused {
            Some(key) => format!(
                "Trimtab does not know the key {key}. Somebody who administers it registers yours with:\n  \
                 trimtab key add --user NAME ~/.ssh/id_ed25519.pub"
            ),
            None => "Trimtab takes registered SSH keys only, never a password, and this client has shown none.\n\
                     Make one with `ssh-keygen -t ed25519`; somebody who administers Trimtab registers it with:\n  \
                     trimtab key add --user NAME ~/.ssh/id_ed25519.pub"
                .to_owned(),
        }
    }

    /// Answers a request of a channel with a text on stderr and an end.
    fn say(
        &mut self,
        id: ChannelId,
        text: &str,
        code: u32,
        session: &mut russh::server::Session,
    ) -> Result<(), russh::Error> {
        self.channels.remove(&id);
        session.channel_success(id)?;
        session.extended_data(id, 1, format!("{text}\r\n"))?;
        session.exit_status_request(id, code)?;
        session.eof(id)?;
        session.close(id)
    }
}

/// No further method, once the way to register was shown.
fn no_more() -> Auth {
    Auth::Reject {
        proceed_with_methods: Some(MethodSet::from([MethodKind::PublicKey].as_slice())),
        partial_success: false,
    }
}

impl Handler for Session {
    type Error = russh::Error;

    async fn auth_publickey_offered(&mut self, _user: &str, offer: PublicKeyOffer<'_>) -> Result<Auth, Self::Error> {
        Ok(if self.known(offer.public_key).is_some() { Auth::Accept } else { Auth::reject() })
    }

    async fn auth_publickey(&mut self, _user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        let Some(fingerprint) = self.known(key.public_key) else { return Ok(Auth::reject()) };
        self.fingerprint = Some(fingerprint);
        self.phase.send_replace(Phase::Idle { since: Instant::now() });
        Ok(Auth::Accept)
    }

    async fn auth_openssh_certificate(&mut self, _user: &str, _certificate: &Certificate) -> Result<Auth, Self::Error> {
        Ok(Auth::reject())
    }

    /// Asks nothing: a client comes here when none of its keys was taken, and shows what it is told.
    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        _user: &str,
        _submethods: &str,
        response: Option<Response<'a>>,
    ) -> Result<Auth, Self::Error> {
        if response.is_some() {
            return Ok(no_more());
        }
        Ok(Auth::Partial { name: "".into(), instructions: self.how().into(), prompts: Vec::new().into() })
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut russh::server::Session,
    ) -> Result<(), Self::Error> {
        if self.channels.len() >= CHANNELS_MAX {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        }
        self.channels.insert(channel.id(), Opened { channel, protocol: String::new() });
        reply.accept().await;
        Ok(())
    }

    async fn channel_close(&mut self, id: ChannelId, _session: &mut russh::server::Session) -> Result<(), Self::Error> {
        self.channels.remove(&id);
        Ok(())
    }

    async fn env_request(
        &mut self,
        id: ChannelId,
        name: &str,
        value: &str,
        session: &mut russh::server::Session,
    ) -> Result<(), Self::Error> {
        match self.channels.get_mut(&id) {
            Some(opened) if name == "GIT_PROTOCOL" => {
                opened.protocol = value.to_owned();
                session.channel_success(id)
            }
            _ => session.channel_failure(id),
        }
    }

    async fn exec_request(
        &mut self,
        id: ChannelId,
        line: &[u8],
        session: &mut russh::server::Session,
    ) -> Result<(), Self::Error> {
        let Some(person) = self.person() else {
            return self.say(id, "trimtab: your key is not registered any more", 1, session);
        };
        let refused = |why: &str| format!("trimtab: {why}");
        let command = match Command::parse(line) {
            Ok(command) => command,
            Err(why) => return self.say(id, &refused(&why), 1, session),
        };
        let protocol = self.channels.get(&id).map(|opened| opened.protocol.clone()).unwrap_or_default();
        match serve::start(&self.shared.inner, &person, &command, &protocol) {
            Ok(Served { running, input }) => {
                let Some(opened) = self.channels.remove(&id) else { return session.channel_failure(id) };
                session.channel_success(id)?;
                let work = Work::begin(&self.phase);
                tokio::spawn(serve::carry(opened.channel, running, input, work));
                Ok(())
            }
            Err(why) => self.say(id, &refused(&why), 1, session),
        }
    }

    /// A greeting: a way to see that the key works.
    async fn shell_request(&mut self, id: ChannelId, session: &mut russh::server::Session) -> Result<(), Self::Error> {
        match self.person() {
            Some(person) => {
                let text = format!(
                    "Hello {}. Your key is registered with Trimtab. There is no shell here: git clone and git push use \
                     this address with /<project>/<repository>.git behind it.",
                    person.name
                );
                self.say(id, &text, 0, session)
            }
            None => self.say(id, "trimtab: your key is not registered any more", 1, session),
        }
    }

    async fn subsystem_request(
        &mut self,
        id: ChannelId,
        _name: &str,
        session: &mut russh::server::Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(id)
    }

    /// There is no terminal, but a client that is refused one may show nothing of the greeting.
    #[allow(clippy::too_many_arguments)]
    async fn pty_request(
        &mut self,
        id: ChannelId,
        _term: &str,
        _columns: u32,
        _rows: u32,
        _width: u32,
        _height: u32,
        _modes: &[(Pty, u32)],
        session: &mut russh::server::Session,
    ) -> Result<(), Self::Error> {
        session.channel_success(id)
    }

    async fn x11_request(
        &mut self,
        id: ChannelId,
        _single: bool,
        _protocol: &str,
        _cookie: &str,
        _screen: u32,
        session: &mut russh::server::Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(id)
    }

    async fn agent_request(
        &mut self,
        id: ChannelId,
        session: &mut russh::server::Session,
    ) -> Result<bool, Self::Error> {
        session.channel_failure(id)?;
        Ok(false)
    }
}
