//! The shim's loop while the container runs: output, clients, children.

use std::io::{self, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::ExitCode;

use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, ioctl_fionbio, read};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::{Signal, WaitOptions, WaitStatus, kill_process, wait};

use super::exec::{self, Exec};
use super::log::Stream;
use super::{Running, system};
use crate::cgroup;
use crate::durable::{failpoint, write_json};
use crate::error::{Failure, FailureKind};
use crate::protocol::{Answer, Layout, MESSAGE_BYTES_MAX, Operation, PROTOCOL_VERSION, Request};
use crate::spec::Exit;

/// Waiters and execs at one time; more queue in the listener's backlog.
const CLIENTS_MAX: usize = 64;

/// How much output is read before other events get their turn.
const READ_BYTES_MAX: usize = 64 << 10;

struct Client {
    stream: UnixStream,
    received: Vec<u8>,
    descriptors: Vec<OwnedFd>,
    waits: bool,
}

pub(super) struct Server<'a> {
    layout: &'a Layout,
    running: Running,
    listener: UnixListener,
    signals: OwnedFd,
    clients: Vec<Client>,
    /// stdout and stderr, while the container holds them open.
    open: [bool; 2],
    buffer: Vec<u8>,
}

impl<'a> Server<'a> {
    /// Listens. The shim stands in the container's directory, so that the socket's name is short.
    pub fn new(layout: &'a Layout, running: Running) -> io::Result<Self> {
        let listener = UnixListener::bind("shim.sock")?;
        listener.set_nonblocking(true)?;
        for stream in [&running.stdout, &running.stderr] {
            ioctl_fionbio(stream, true)?;
        }
        let signals = system::child_signals()?;
        let buffer = vec![0; READ_BYTES_MAX];
        Ok(Self { layout, running, listener, signals, clients: Vec::new(), open: [true; 2], buffer })
    }

    /// Serves until the container has ended and that is on disk.
    pub fn run(mut self) -> ExitCode {
        loop {
            // Before the first poll: a container may have ended before we listened to signals.
            if let Some(status) = self.reap() {
                return self.finish(status);
            }
            let ready = self.poll();
            if ready.signals {
                let _ = read(&self.signals, &mut [0u8; 128]);
            }
            for (index, stream) in [Stream::Stdout, Stream::Stderr].into_iter().enumerate() {
                if ready.output[index] {
                    self.copy(stream);
                }
            }
            self.receive(&ready.clients);
            if ready.listener {
                self.accept();
            }
        }
    }

    fn poll(&self) -> Ready {
        let mut events = vec![PollFd::new(&self.signals, PollFlags::IN)];
        let listens = self.clients.len() < CLIENTS_MAX;
        events.push(PollFd::new(&self.listener, if listens { PollFlags::IN } else { PollFlags::empty() }));
        events.extend(self.clients.iter().map(|client| PollFd::new(&client.stream, PollFlags::IN)));
        let streams = [&self.running.stdout, &self.running.stderr];
        let open = (0..2).filter(|index| self.open[*index]).collect::<Vec<_>>();
        events.extend(open.iter().map(|index| PollFd::new(streams[*index], PollFlags::IN)));
        // An interrupted poll reports nothing and is repeated by the loop.
        let polled = poll(&mut events, None).is_ok();
        let is_ready = |event: &PollFd<'_>| polled && !event.revents().is_empty();
        let mut output = [false; 2];
        for (index, event) in open.iter().zip(&events[2 + self.clients.len()..]) {
            output[*index] = is_ready(event);
        }
        Ready {
            signals: is_ready(&events[0]),
            listener: is_ready(&events[1]),
            clients: events[2..2 + self.clients.len()].iter().map(is_ready).collect(),
            output,
        }
    }

    /// Collects ended children: helpers of execs, orphans, and the container, whose status it returns.
    fn reap(&self) -> Option<WaitStatus> {
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if pid == self.running.pid {
                return Some(status);
            }
        }
        None
    }

    /// Moves what there is from one pipe to the log. False when the pipe is empty or closed.
    fn copy(&mut self, stream: Stream) -> bool {
        let pipe = if stream == Stream::Stdout { &self.running.stdout } else { &self.running.stderr };
        match read(pipe, &mut self.buffer) {
            Ok(0) => self.open[stream as usize] = false,
            Ok(length) => {
                // A full disk costs log lines, not the container.
                let _ = self.running.log.write(stream, &self.buffer[..length]);
                return true;
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.open[stream as usize] = false,
        }
        false
    }

    fn accept(&mut self) {
        if let Ok((stream, _)) = self.listener.accept() {
            // Accepted sockets do not inherit the listener's mode.
            if stream.set_nonblocking(true).is_ok() {
                self.clients.push(Client { stream, received: Vec::new(), descriptors: Vec::new(), waits: false });
            }
        }
    }

    fn receive(&mut self, ready: &[bool]) {
        for (client, ready) in std::mem::take(&mut self.clients).into_iter().zip(ready) {
            let kept = if *ready { self.advance(client) } else { Some(client) };
            self.clients.extend(kept);
        }
    }

    /// Reads from a client, and serves its request once that is complete. `None`: done with it.
    fn advance(&self, mut client: Client) -> Option<Client> {
        match receive(&client.stream, &mut client.received, &mut client.descriptors) {
            Ok(0) => return None,
            Ok(_) => {}
            Err(Errno::AGAIN | Errno::INTR) => return Some(client),
            Err(_) => return None,
        }
        if !client.received.ends_with(b"\n") {
            return (client.received.len() <= MESSAGE_BYTES_MAX).then_some(client);
        }
        let request = serde_json::from_slice::<Request>(&client.received);
        client.received.clear();
        match request {
            Ok(request) => self.serve(client, request),
            Err(error) => {
                answer(
                    &client.stream,
                    &Answer::Failed(Failure::new(FailureKind::Runtime, format!("not a request: {error}"))),
                );
                None
            }
        }
    }

    fn serve(&self, mut client: Client, request: Request) -> Option<Client> {
        match request.op {
            Operation::Wait => {
                client.waits = true;
                return Some(client);
            }
            Operation::Kill { signal } => answer(&client.stream, &self.kill(signal)),
            Operation::Exec { .. } if request.version != PROTOCOL_VERSION => {
                answer(&client.stream, &Answer::Version(PROTOCOL_VERSION));
            }
            Operation::Exec { args, env, cwd, user } => {
                let streams = std::mem::take(&mut client.descriptors);
                match <[OwnedFd; 3]>::try_from(streams) {
                    Ok(streams) => self.exec(&client, Exec { args, env, cwd, user, streams }),
                    Err(_) => {
                        let failure = Failure::new(FailureKind::Runtime, "an exec comes with three descriptors");
                        answer(&client.stream, &Answer::Failed(failure));
                    }
                }
            }
        }
        None
    }

    /// We have not reaped the process, so its number is still its own.
    fn kill(&self, signal: i32) -> Answer {
        let Some(signal) = Signal::from_named_raw(signal) else {
            return Answer::Failed(Failure::new(FailureKind::Runtime, format!("{signal} is not a signal")));
        };
        match kill_process(self.running.pid, signal) {
            Ok(()) | Err(Errno::SRCH) => Answer::Killed,
            Err(error) => Answer::Failed(Failure::new(FailureKind::Runtime, format!("cannot signal it: {error}"))),
        }
    }

    /// A child takes the client over.
    fn exec(&self, client: &Client, exec: Exec) {
        match system::fork() {
            Ok(true) => {}
            Ok(false) => {
                // Whoever asks after our death must not find this process listening.
                for descriptor in [self.listener.as_fd(), self.signals.as_fd()] {
                    system::close_in_child(descriptor);
                }
                system::unblock_signals();
                let _ = client.stream.set_nonblocking(false);
                exec::run(self.layout, &self.running.id, exec, &client.stream);
                system::exit_now(0)
            }
            Err(error) => {
                let failure = Failure::new(FailureKind::Runtime, format!("cannot fork: {error}"));
                answer(&client.stream, &Answer::Failed(failure));
            }
        }
    }

    /// Records the end and tells the waiters.
    fn finish(mut self, status: WaitStatus) -> ExitCode {
        let finished_at = Timestamp::now();
        let oom = cgroup::oom_kills(&self.running.cgroup) > 0;
        // Without a PID namespace of its own, the container's other processes live on, and hold its output open.
        let _ = cgroup::empty(&self.running.cgroup);
        for stream in [Stream::Stdout, Stream::Stderr] {
            while self.open[stream as usize] && self.copy(stream) {}
        }
        let _ = self.running.log.finish();
        let (code, signal) = exec::code(status);
        let exit = Exit { code, signal, oom, lost: false, finished_at };
        failpoint("container.exit.before");
        if let Err(error) = write_json(&self.layout.exit(), &exit) {
            // Unrecorded, the next look takes the container for lost, which is the truth.
            eprintln!("cannot record the end of {}: {error}", self.running.id);
            return ExitCode::FAILURE;
        }
        failpoint("container.exit.after");
        for client in self.clients.iter().filter(|client| client.waits) {
            answer(&client.stream, &Answer::Exit(exit.clone()));
        }
        ExitCode::SUCCESS
    }
}

struct Ready {
    signals: bool,
    listener: bool,
    clients: Vec<bool>,
    output: [bool; 2],
}

/// One line to a client. One that has hung up, or does not read, is its own loss.
pub(super) fn answer(mut client: &UnixStream, answer: &Answer) {
    if let Ok(mut line) = serde_json::to_vec(answer) {
        line.push(b'\n');
        let _ = client.write_all(&line);
    }
}

fn receive(stream: &UnixStream, received: &mut Vec<u8>, descriptors: &mut Vec<OwnedFd>) -> Result<usize, Errno> {
    let mut buffer = [0; 16 << 10];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = recvmsg(stream, &mut [IoSliceMut::new(&mut buffer)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(sent) = part {
            descriptors.extend(sent);
        }
    }
    received.extend_from_slice(&buffer[..message.bytes]);
    Ok(message.bytes)
}
