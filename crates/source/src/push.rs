//! The daemon's side of a push: who pushes, whether it may, and telling what comes of it.

use crate::Inner;
use crate::git::Quarantine;
use crate::hook::{Answer, Hook, Moved, PROTOCOL, REQUEST_BYTES_MAX, Request, Stands};
use crate::read::Objects;
use async_trait::async_trait;
use model::MAIN;
use model::change::FOR_MAIN;
use model::flow::{Repository, Revision, Snapshot};
use model::names::CommitId;
use model::people::{self, Person, Right, Target};
use model::ports::{Lines, PortError, Proposal, Proposed, Push, Pushed, RefUpdate};
use ring::rand::{SecureRandom as _, SystemRandom};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// A check that takes longer refuses the push: git and the pusher wait for it.
const CHECK_TIMEOUT: Duration = Duration::from_secs(60);
/// Lines on their way to a slow pusher; what does not fit is left out, and that is said.
const LINES_MAX: usize = 1024;

/// One push, from its first byte until git is done with it.
pub struct Session {
    pub repository: Repository,
    pub person: Person,
    /// The pusher hung up.
    pub gone: CancellationToken,
    /// As they were checked; git tells afterwards only names and ids.
    checked: Mutex<Vec<RefUpdate>>,
}

/// Pushes that are under way, by token.
#[derive(Default)]
pub struct Sessions(Mutex<HashMap<String, Arc<Session>>>);

/// Ends its session when it is dropped.
pub struct Opened {
    pub token: String,
    pub session: Arc<Session>,
    sessions: Arc<Sessions>,
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.sessions.lock().remove(&self.token);
    }
}

impl Sessions {
    pub fn open(self: &Arc<Self>, repository: Repository, person: Person) -> Opened {
        let mut token = [0; 16];
        SystemRandom::new().fill(&mut token).expect("the kernel gives random numbers");
        let token = hex::encode(token);
        let session =
            Arc::new(Session { repository, person, gone: CancellationToken::new(), checked: Mutex::default() });
        self.lock().insert(token.clone(), session.clone());
        Opened { token, session, sessions: self.clone() }
    }

    fn find(&self, token: &str) -> Option<Arc<Session>> {
        self.lock().get(token).cloned()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Session>>> {
        self.0.lock().expect("no code panics while it holds this lock")
    }
}

/// Answers hooks until the source is dropped.
pub async fn serve_hooks(inner: Arc<Inner>, listener: UnixListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(serve_hook(inner.clone(), stream))),
            Err(error) => {
                tracing::warn!(%error, "a hook could not connect");
                tokio::time::sleep(Duration::from_millis(100)).await; // Out of descriptors: let some be closed.
            }
        }
    }
}

async fn serve_hook(inner: Arc<Inner>, stream: UnixStream) {
    if let Err(error) = answer_hook(&inner, stream).await {
        tracing::debug!(%error, "a hook went away");
    }
}

async fn answer_hook(inner: &Arc<Inner>, stream: UnixStream) -> std::io::Result<()> {
    let (input, mut output) = stream.into_split();
    let mut line = String::new();
    BufReader::new(input.take(REQUEST_BYTES_MAX * 2)).read_line(&mut line).await?;
    let request: Request = serde_json::from_str(&line)?;
    let session = match inner.sessions.find(&request.token) {
        Some(session) if request.protocol == PROTOCOL => session,
        _ => {
            send(&mut output, &Answer::Line("trimtab does not know this push; push again".into())).await?;
            return send(&mut output, &Answer::Exit(1)).await;
        }
    };
    match request.hook {
        Hook::PreReceive => {
            let refusal = check(inner, &session, &request).await.err();
            for line in refusal.iter().flatten() {
                send(&mut output, &Answer::Line(printable(line))).await?;
            }
            if refusal.is_none() {
                crate::failpoint("source.push.before");
            }
            send(&mut output, &Answer::Exit(u8::from(refusal.is_some()))).await
        }
        Hook::ProcReceive => {
            for moved in propose(inner, &session, &request, &mut output).await? {
                send(&mut output, &Answer::Moved(moved)).await?;
            }
            send(&mut output, &Answer::Exit(0)).await
        }
        Hook::PostReceive => {
            crate::failpoint("source.push.after");
            inner.changed();
            let mut lines = follow(inner, &session, &request);
            loop {
                tokio::select! {
                    line = lines.recv() => match line {
                        Some(line) => send(&mut output, &Answer::Line(line)).await?,
                        None => break,
                    },
                    // Nobody reads: git may finish. The work goes on.
                    () = session.gone.cancelled() => break,
                    () = inner.leaving.cancelled() => {
                        let text = "a new process takes over here: your push is stored, and the work goes on (trimtab status)";
                        send(&mut output, &Answer::Line(text.into())).await?;
                        break;
                    }
                }
            }
            send(&mut output, &Answer::Exit(0)).await
        }
    }
}

async fn send(output: &mut (impl tokio::io::AsyncWrite + Unpin), answer: &Answer) -> std::io::Result<()> {
    let mut line = serde_json::to_string(answer)?;
    line.push('\n');
    output.write_all(line.as_bytes()).await
}

/// Our own rules, then the receiver's.
async fn check(inner: &Arc<Inner>, session: &Session, request: &Request) -> Result<(), Vec<String>> {
    let say = |text: String| vec![text];
    let host = inner.host(&session.repository).map_err(|error| say(error.explain()))?;
    let mut objects = host.objects.clone();
    objects.place.quarantine = quarantine(&objects, request)?;
    // Objects that may be refused must not be found through the repository later.
    objects.key = inner.next_key();

    let mut updates = Vec::new();
    for line in &request.updates {
        let mut update = parse(line).ok_or_else(|| say(format!("git sent a line that we do not know: {line:?}")))?;
        permitted(&session.repository, &update)?;
        let (right, target) = match update.name == FOR_MAIN {
            true => (Right::Propose, Target::Repository(&session.repository)),
            false => (Right::Write, Target::Reference(&session.repository, &update.name)),
        };
        people::allowed(&session.person, right, &target).map_err(|denied| say(denied.to_string()))?;
        if let (Some(old), Some(new)) = (&update.old, &update.new) {
            let args = ["merge-base", "--is-ancestor", old.as_str(), new.as_str()];
            let place = &objects.place;
            let ancestor = inner.git.test(&place.directory, args, place.quarantine.as_ref()).await;
            update.fast_forward = ancestor.map_err(|error| say(error.explain()))?;
        }
        if session.repository.is_config() && update.name == MAIN && !update.fast_forward {
            return Err(vec![
                "main of a config repository is never rewritten: it says what ran where".into(),
                "fetch, put your change on top of main (or `git revert`), and push again".into(),
            ]);
        }
        updates.push(update);
    }
    let Some(receiver) = inner.receiver() else {
        return Err(say("trimtab is still starting; push again in a moment".into()));
    };
    let push =
        Push { repository: session.repository.clone(), actor: session.person.name.clone(), updates: updates.clone() };
    let pushed = Quarantined { repository: session.repository.clone(), objects };
    let verdict = tokio::time::timeout(CHECK_TIMEOUT, receiver.check(&push, &pushed)).await;
    verdict.unwrap_or_else(|_| {
        Err(say(format!("the check took longer than {} s; push again", CHECK_TIMEOUT.as_secs())))
    })?;
    *session.checked.lock().expect("no code panics while it holds this lock") = updates;
    Ok(())
}

/// References that git leaves to us: what was pushed for review becomes a Change, one after the other.
async fn propose(
    inner: &Arc<Inner>,
    session: &Session,
    request: &Request,
    output: &mut (impl tokio::io::AsyncWrite + Unpin),
) -> std::io::Result<Vec<Moved>> {
    let mut moved = Vec::new();
    for update in request.updates.iter().filter_map(|line| parse(line)) {
        let proposed = match (inner.receiver(), &update.new) {
            (Some(receiver), Some(new)) if update.name == FOR_MAIN => {
                let proposal = Proposal {
                    repository: session.repository.clone(),
                    actor: session.person.name.clone(),
                    commit: new.clone(),
                    options: request.options.clone(),
                };
                let work = tokio::time::timeout(CHECK_TIMEOUT, receiver.propose(&proposal)).await;
                work.unwrap_or_else(|_| {
                    Err(vec![format!("no answer within {} s; push again", CHECK_TIMEOUT.as_secs())])
                })
            }
            _ => Err(vec!["nothing takes this reference".to_owned()]),
        };
        let (lines, outcome) = match (proposed, update.new) {
            (Ok(Proposed { reference, before, lines }), Some(new)) => {
                let old = before.as_ref().map_or("0".repeat(40), ToString::to_string);
                let stands = Stands { reference: reference.clone(), old, new: new.to_string() };
                let update = RefUpdate { name: reference, old: before, new: Some(new), fast_forward: true };
                session.checked.lock().expect("no code panics while it holds this lock").push(update);
                (lines, Ok(stands))
            }
            (Ok(_), None) => (Vec::new(), Err("it names no commit".to_owned())),
            (Err(lines), _) => {
                let first = lines.first().map_or("refused", String::as_str).lines().next().unwrap_or_default();
                let why = printable(first);
                (lines, Err(why))
            }
        };
        for line in lines.iter().flat_map(|line| line.lines()) {
            send(output, &Answer::Line(printable(line))).await?;
        }
        moved.push(Moved { reference: update.name, outcome });
    }
    Ok(moved)
}

/// What the hook says about the quarantine is believed only if it lies inside the repository.
fn quarantine(objects: &Objects, request: &Request) -> Result<Option<Quarantine>, Vec<String>> {
    let Some(given) = &request.quarantine else { return Ok(None) };
    let inside = |path: &std::path::Path| {
        let base = objects.place.directory.join("objects").canonicalize().ok();
        path.canonicalize().ok().zip(base).is_some_and(|(path, base)| path.starts_with(base))
    };
    if inside(&given.objects) && given.alternates.split(':').all(|path| inside(std::path::Path::new(path))) {
        return Ok(Some(given.clone()));
    }
    Err(vec!["the push lies outside of its repository".into()])
}

fn parse(line: &str) -> Option<RefUpdate> {
    let mut words = line.splitn(3, ' ');
    let mut id = || -> Option<Option<CommitId>> {
        let word = words.next()?;
        let id: CommitId = word.parse().ok()?;
        Some((!word.bytes().all(|b| b == b'0')).then_some(id))
    };
    let (old, new) = (id()?, id()?);
    Some(RefUpdate { name: words.next()?.to_owned(), fast_forward: old.is_none(), old, new })
}

/// Which references a push may touch, whoever pushes.
fn permitted(repository: &Repository, update: &RefUpdate) -> Result<(), Vec<String>> {
    let name = &update.name;
    if name == FOR_MAIN && update.new.is_some() {
        return Ok(());
    }
    if let Some(branch) = name.strip_prefix("refs/for/") {
        return Err(vec![format!("{branch} takes no Changes, main does: git push REMOTE HEAD:{FOR_MAIN}")]);
    }
    let branch = ["refs/heads/", "refs/tags/"].iter().find_map(|prefix| name.strip_prefix(prefix));
    // `refs/heads/refs/…` would be found where `refs/…` is asked for and absent.
    if branch.is_none_or(|branch| branch.starts_with("refs/")) {
        return Err(vec![format!("{name} cannot be pushed: only branches (refs/heads/) and tags (refs/tags/) can")]);
    }
    if name == MAIN && update.new.is_none() {
        return Err(vec![format!("main of {repository} cannot be deleted: it is what runs")]);
    }
    Ok(())
}

/// Starts following; the work goes on when the lines are no longer read.
fn follow(inner: &Arc<Inner>, session: &Arc<Session>, request: &Request) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(LINES_MAX);
    let checked = session.checked.lock().expect("no code panics while it holds this lock").clone();
    let moved: Vec<Option<RefUpdate>> = request.updates.iter().map(|line| parse(line)).collect();
    let happened = |update: &RefUpdate| moved.iter().flatten().any(|other| other.name == update.name);
    let push = Push {
        repository: session.repository.clone(),
        actor: session.person.name.clone(),
        updates: checked.into_iter().filter(happened).collect(),
    };
    let lines = PusherLines { sender, gone: session.gone.clone(), left_out: AtomicUsize::new(0) };
    if let Some(follower) = inner.receiver() {
        tokio::spawn(async move { follower.follow(&push, &lines).await });
    }
    receiver
}

/// Lines to the pusher's terminal.
struct PusherLines {
    sender: mpsc::Sender<String>,
    gone: CancellationToken,
    left_out: AtomicUsize,
}

impl Lines for PusherLines {
    fn line(&self, text: &str) -> bool {
        if self.gone.is_cancelled() {
            return false;
        }
        for line in text.lines() {
            let left_out = self.left_out.load(Ordering::Relaxed);
            if left_out > 0 && self.sender.try_send(format!("… {left_out} lines left out")).is_ok() {
                self.left_out.store(0, Ordering::Relaxed);
            }
            match self.sender.try_send(printable(line)) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(_)) => drop(self.left_out.fetch_add(1, Ordering::Relaxed)),
                Err(mpsc::error::TrySendError::Closed(_)) => return false,
            }
        }
        true
    }
}

/// Output of builds must not steer the pusher's terminal.
fn printable(line: &str) -> String {
    line.chars().filter(|c| !c.is_control() || *c == '\t').collect()
}

/// A push that is not accepted yet.
struct Quarantined {
    repository: Repository,
    objects: Objects,
}

#[async_trait]
impl Pushed for Quarantined {
    async fn snapshot(&self, commit: &CommitId, path: &str) -> Result<Snapshot, PortError> {
        let revision = Revision { repository: self.repository.clone(), commit: commit.clone() };
        Ok(self.objects.snapshot(&revision, path).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_git_become_updates() {
        let (zero, one, two) = ("0".repeat(40), "1".repeat(40), "2".repeat(40));
        let create = parse(&format!("{zero} {one} refs/heads/main")).unwrap();
        assert_eq!((create.old, create.fast_forward), (None, true));
        let delete = parse(&format!("{one} {zero} refs/heads/a b")).unwrap();
        assert_eq!((delete.new, delete.name.as_str()), (None, "refs/heads/a b"));
        assert!(!parse(&format!("{one} {two} refs/heads/main")).unwrap().fast_forward);
        for bad in ["", "x y z", &format!("{one} {two}")] {
            assert!(parse(bad).is_none(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn only_branches_and_tags_are_pushed_and_main_stays() {
        let repository = Repository { project: "shop".parse().unwrap(), name: "web".into() };
        let id: CommitId = "1".repeat(40).parse().unwrap();
        for (name, new, good) in [
            ("refs/heads/main", Some(&id), true),
            ("refs/heads/main", None, false),
            ("refs/heads/topic", None, true),
            ("refs/tags/v1", Some(&id), true),
            ("refs/trimtab/journal", Some(&id), false),
            ("refs/trimtab/keep/x", None, false),
            ("refs/notes/commits", Some(&id), false),
            ("refs/heads/refs/trimtab/journal", Some(&id), false),
            ("refs/for/main", Some(&id), true),
            ("refs/for/main", None, false),
            ("refs/for/topic", Some(&id), false),
            ("refs/changes/1/head", Some(&id), false),
        ] {
            let update = RefUpdate { name: name.into(), old: None, new: new.cloned(), fast_forward: true };
            assert_eq!(permitted(&repository, &update).is_ok(), good, "{name} {new:?}");
        }
    }

    #[test]
    fn a_slow_pusher_is_told_that_lines_are_missing() {
        let (sender, mut receiver) = mpsc::channel(2);
        let lines = PusherLines { sender, gone: CancellationToken::new(), left_out: AtomicUsize::new(0) };
        assert!(lines.line("a\nb\nc\nd"));
        assert_eq!(receiver.try_recv().unwrap(), "a");
        assert_eq!(receiver.try_recv().unwrap(), "b");
        assert!(lines.line("e\x1b[31m"));
        assert_eq!(receiver.try_recv().unwrap(), "… 2 lines left out");
        assert_eq!(receiver.try_recv().unwrap(), "e[31m");
        lines.gone.cancel();
        assert!(!lines.line("f"));
    }
}
