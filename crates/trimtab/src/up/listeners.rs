//! The sockets that the control process listens on. They outlive the parts that answer on them: a successor gets them as
//! they are, with whoever waits to be let in.

use crate::instance::{Instance, PORT};
use anyhow::{Context, Result, bail};
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// One for each way in.
#[derive(Debug)]
pub struct Listeners {
    /// Git, registry, API, pages.
    pub control: TcpListener,
    /// The Kubernetes API.
    pub kubernetes: TcpListener,
    /// Git over SSH.
    pub ssh: TcpListener,
}

impl Listeners {
    /// Where the instance is recorded to listen.
    pub fn bind(instance: &Instance) -> Result<Self> {
        Ok(Self {
            control: bind(instance.control)?,
            kubernetes: bind(instance.kubernetes)?,
            ssh: bind(instance.ssh()?)?,
        })
    }

    /// What another process gave, in the order of [`Self::descriptors`].
    pub fn from_descriptors(given: Vec<OwnedFd>) -> Result<Self> {
        let [control, kubernetes, ssh]: [OwnedFd; 3] = given
            .try_into()
            .map_err(|given: Vec<_>| anyhow::anyhow!("{} sockets came instead of three", given.len()))?;
        Ok(Self { control: control.into(), kubernetes: kubernetes.into(), ssh: ssh.into() })
    }

    pub fn descriptors(&self) -> [BorrowedFd<'_>; 3] {
        [self.control.as_fd(), self.kubernetes.as_fd(), self.ssh.as_fd()]
    }

    /// The same sockets, for somebody else to hold.
    pub fn again(&self) -> Result<Self> {
        let again = |listener: &TcpListener| listener.try_clone().context("a descriptor for a listening socket");
        Ok(Self { control: again(&self.control)?, kubernetes: again(&self.kubernetes)?, ssh: again(&self.ssh)? })
    }
}

/// For the parts that answer; the socket stays open when they are gone.
pub fn answer_on(listener: &TcpListener) -> Result<tokio::net::TcpListener> {
    let listener = listener.try_clone().context("a descriptor for a listening socket")?;
    listener.set_nonblocking(true)?;
    Ok(tokio::net::TcpListener::from_std(listener)?)
}

fn bind(address: SocketAddr) -> Result<TcpListener> {
    match TcpListener::bind(address) {
        Ok(listener) => Ok(listener),
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            let holder = gateway::port_holder(address).map_or(String::new(), |holder| format!(" by {holder}"));
            bail!(
                "{address} is taken{holder}: stop that, or give another address with --listen (default 127.0.0.1:{PORT}; the next three ports are used too)"
            )
        }
        Err(error) => Err(error).with_context(|| format!("listening on {address}")),
    }
}
