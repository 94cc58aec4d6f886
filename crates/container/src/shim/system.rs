//! The system calls that rustix does not offer safely. The shim has one thread, which is what most of them ask for.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::thread::UnshareFlags;

pub(super) enum Detached {
    Parent,
    Shim,
}

/// Closes inherited descriptors and forks: the child is the shim, a session of its own and nobody's child.
pub(super) fn detach() -> io::Result<Detached> {
    // SAFETY: nothing in this process owns a descriptor above stderr yet.
    unsafe { libc::close_range(3, libc::c_uint::MAX, 0) };
    if fork()? {
        return Ok(Detached::Parent);
    }
    rustix::process::setsid()?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    // Takes in what a container leaves behind when it shares the host's PID namespace.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    Ok(Detached::Shim)
}

/// True in the parent.
pub(super) fn fork() -> io::Result<bool> {
    // SAFETY: single-threaded, so that the child's memory is in a consistent state.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(false),
        _ => Ok(true),
    }
}

/// Ends a forked child without running what the parent has registered for its own end.
pub(super) fn exit_now(code: i32) -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(code) }
}

/// Closes, in a forked child, a descriptor whose owner is the parent's value and will never be dropped here.
pub(super) fn close_in_child(descriptor: BorrowedFd<'_>) {
    // SAFETY: the child ends with `exit_now` and uses the value no more.
    unsafe { libc::close(descriptor.as_raw_fd()) };
}

/// Lets go of the pipe to the daemon, which takes its end for ours.
pub(super) fn close_stdout() {
    if let Ok(null) = std::fs::OpenOptions::new().write(true).open("/dev/null") {
        // SAFETY: replaces stdout, which nobody owns.
        unsafe { libc::dup2(null.as_raw_fd(), libc::STDOUT_FILENO) };
    }
}

/// Moves this process into new namespaces.
pub(super) fn unshare(flags: UnshareFlags) -> io::Result<()> {
    // SAFETY: no thread shares this process's file table or namespaces; UnshareFlags::FILES is never passed.
    unsafe { rustix::thread::unshare_unsafe(flags) }.map_err(io::Error::from)
}

/// Sets the loopback interface of the current network namespace up.
pub(super) fn loopback_up() -> io::Result<()> {
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None)?;
    // SAFETY: all-zero is a valid ifreq; the name fits and stays terminated; the flags member is the one SIOCSIFFLAGS reads.
    unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
            *to = from.cast_signed();
        }
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        if libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &request) < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// SIGCHLD as a descriptor. Blocks the signal, which a child has to undo with [`unblock_signals`].
pub(super) fn child_signals() -> io::Result<OwnedFd> {
    // SAFETY: the set is initialised by sigemptyset; signalfd returns a descriptor that nobody else owns.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, libc::SIGCHLD);
        if libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) < 0 {
            return Err(io::Error::last_os_error());
        }
        match libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
            -1 => Err(io::Error::last_os_error()),
            descriptor => Ok(OwnedFd::from_raw_fd(descriptor)),
        }
    }
}

/// Empties the signal mask.
pub(super) fn unblock_signals() {
    // SAFETY: the set is initialised by sigemptyset.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &set, std::ptr::null_mut());
    }
}
