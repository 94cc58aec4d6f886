//! Descriptors that go from one process to another, beside bytes on a unix socket.

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// At one time.
const DESCRIPTORS_MAX: usize = 4;
/// Of a line that comes with descriptors.
const LINE_BYTES_MAX: usize = 64 << 10;

/// Sends a few bytes, and up to four descriptors with the first of them.
pub fn send(stream: impl AsFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors at once"));
    }
    let sent = loop {
        match rustix::net::sendmsg(&stream, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL) {
            Err(Errno::INTR) => {}
            other => break other?,
        }
    };
    if sent < bytes.len() { Err(io::ErrorKind::WriteZero.into()) } else { Ok(()) }
}

/// Some bytes, and the descriptors that came with them; 0 bytes at the end.
pub fn receive(stream: impl AsFd, bytes: &mut [u8], descriptors: &mut Vec<OwnedFd>) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        match rustix::net::recvmsg(&stream, &mut [IoSliceMut::new(bytes)], &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            other => break other?,
        }
    };
    for part in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(sent) = part {
            descriptors.extend(sent);
        }
    }
    Ok(received.bytes)
}

/// A line without its end, and the descriptors that came with it; `None` at the end. Nothing behind it is taken.
pub fn receive_line(stream: impl AsFd) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
    let (mut line, mut descriptors) = (Vec::new(), Vec::new());
    let mut byte = [0];
    while line.len() < LINE_BYTES_MAX {
        match receive(&stream, &mut byte, &mut descriptors)? {
            0 if line.is_empty() => return Ok(None),
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            _ if byte[0] == b'\n' => return Ok(Some((line, descriptors))),
            _ => line.push(byte[0]),
        }
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "the line does not end"))
}

/// An error unless the process at the other end belongs to the user that this one runs as.
pub fn of_same_user(stream: impl AsFd) -> Result<(), String> {
    let peer =
        rustix::net::sockopt::socket_peercred(stream).map_err(|error| format!("whose it is is not known: {error}"))?;
    let own = rustix::process::getuid();
    if peer.uid == own {
        return Ok(());
    }
    Err(format!(
        "process {} belongs to user {}, this one to user {}: only the same user may take over",
        peer.pid.as_raw_nonzero(),
        peer.uid.as_raw(),
        own.as_raw()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_listener_goes_over_with_its_line_and_nothing_behind_it_is_taken() {
        let (here, there) = UnixStream::pair().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        send(&here, b"take this\n", &[listener.as_fd()]).unwrap();
        (&here).write_all(b"more").unwrap();
        let (line, mut descriptors) = receive_line(&there).unwrap().unwrap();
        assert_eq!((line.as_slice(), descriptors.len()), (&b"take this"[..], 1));
        drop(listener);
        let taken = std::net::TcpListener::from(descriptors.remove(0));
        assert_eq!(taken.local_addr().unwrap(), address);
        std::net::TcpStream::connect(address).unwrap();
        let mut rest = [0; 4];
        (&there).read_exact(&mut rest).unwrap();
        assert_eq!(&rest, b"more");
        of_same_user(&there).unwrap();
        drop(here);
        assert!(receive_line(&there).unwrap().is_none());
    }
}
