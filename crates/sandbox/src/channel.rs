//! Frames between node and worker: a length (u32, little-endian), then one CBOR item, over a Unix socket pair.
//!
//! Both sides use it blocking. The node gives a deadline to everything it sends and receives, because a worker may
//! stop reading as well as stop writing. A file travels as a descriptor beside the frame's first byte, and only towards
//! the worker: the node never receives descriptors.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use guildhall_protocol::cbor::{self, DecodeError};
use guildhall_protocol::limits::FRAME_MAX_BYTES;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recv, recvmsg, send, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Length of a frame's head, bytes.
const HEAD_BYTES: usize = 4;

/// One end of the socket pair.
#[derive(Debug)]
pub(crate) struct Channel {
    socket: UnixStream,
}

impl Channel {
    /// Two connected ends; the second is for the worker's stdin.
    pub(crate) fn pair() -> std::io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = UnixStream::pair()?;
        Ok((Self { socket: ours }, theirs.into()))
    }

    /// Wraps the worker's end.
    pub(crate) fn from_descriptor(descriptor: OwnedFd) -> Self {
        Self { socket: descriptor.into() }
    }

    /// Another handle of the same end, to watch it from another thread.
    pub(crate) fn watch(&self) -> std::io::Result<UnixStream> {
        self.socket.try_clone()
    }

    /// Sends one frame, with a file if the receiver expects one.
    pub(crate) fn send<T: Serialize>(
        &self,
        message: &T,
        file: Option<BorrowedFd<'_>>,
        until: Option<Instant>,
    ) -> Result<(), ChannelError> {
        let body = cbor::encode(message);
        let len = u32::try_from(body.len()).unwrap_or(u32::MAX);
        if body.len() > FRAME_MAX_BYTES {
            return Err(ChannelError::TooLong { len_bytes: body.len() as u64 });
        }
        let head = len.to_le_bytes();
        let mut sent = self.send_start(&head, &body, file, until)?;
        if sent < HEAD_BYTES {
            self.send_rest(head.get(sent..).unwrap_or_default(), until)?;
            sent = HEAD_BYTES;
        }
        self.send_rest(body.get(sent - HEAD_BYTES..).unwrap_or_default(), until)
    }

    /// Sends what fits at once, and the file with it; says how many bytes went.
    fn send_start(
        &self,
        head: &[u8],
        body: &[u8],
        file: Option<BorrowedFd<'_>>,
        until: Option<Instant>,
    ) -> Result<usize, ChannelError> {
        let files = file.as_slice();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        loop {
            self.wait(PollFlags::OUT, until)?;
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !files.is_empty() && !control.push(SendAncillaryMessage::ScmRights(files)) {
                return Err(ChannelError::Io(Errno::NOBUFS));
            }
            let parts = [IoSlice::new(head), IoSlice::new(body)];
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            match sendmsg(&self.socket, &parts, &mut control, flags) {
                Ok(sent) => return Ok(sent),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    fn send_rest(&self, mut bytes: &[u8], until: Option<Instant>) -> Result<(), ChannelError> {
        while !bytes.is_empty() {
            self.wait(PollFlags::OUT, until)?;
            match send(&self.socket, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(sent) => bytes = bytes.get(sent..).unwrap_or_default(),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Receives one frame; a descriptor beside it is dropped by the kernel.
    pub(crate) fn receive<T: DeserializeOwned>(
        &self,
        until: Option<Instant>,
    ) -> Result<T, ChannelError> {
        let mut head = [0; HEAD_BYTES];
        self.receive_exact(&mut head, until)?;
        self.receive_body(head, until)
    }

    /// Receives one frame and the file beside it, without a deadline: the worker's way.
    pub(crate) fn receive_with_file<T: DeserializeOwned>(
        &self,
    ) -> Result<(T, Option<OwnedFd>), ChannelError> {
        let mut head = [0; HEAD_BYTES];
        let mut file = None;
        let mut at = 0;
        while at < HEAD_BYTES {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let rest = head.get_mut(at..).unwrap_or_default();
            let parts = &mut [IoSliceMut::new(rest)];
            match recvmsg(&self.socket, parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Ok(received) if received.bytes == 0 => return Err(ChannelError::Closed),
                Ok(received) => at += received.bytes,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(files) = message {
                    file = file.or(files.into_iter().next());
                }
            }
        }
        Ok((self.receive_body(head, None)?, file))
    }

    fn receive_body<T: DeserializeOwned>(
        &self,
        head: [u8; HEAD_BYTES],
        until: Option<Instant>,
    ) -> Result<T, ChannelError> {
        let len = u32::from_le_bytes(head);
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        if len > FRAME_MAX_BYTES {
            return Err(ChannelError::TooLong { len_bytes: len as u64 });
        }
        let mut body = vec![0; len];
        self.receive_exact(&mut body, until)?;
        Ok(cbor::decode(&body, FRAME_MAX_BYTES)?)
    }

    fn receive_exact(
        &self,
        mut buffer: &mut [u8],
        until: Option<Instant>,
    ) -> Result<(), ChannelError> {
        while !buffer.is_empty() {
            self.wait(PollFlags::IN, until)?;
            match recv(&self.socket, &mut *buffer, RecvFlags::empty()) {
                Ok((_, 0)) => return Err(ChannelError::Closed),
                Ok((_, len)) => buffer = buffer.get_mut(len..).unwrap_or_default(),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Waits until the socket is ready, or fails at the deadline. Without a deadline the call after it blocks anyway,
    /// except a send, which is always made not to.
    fn wait(&self, what: PollFlags, until: Option<Instant>) -> Result<(), ChannelError> {
        loop {
            let timeout = match until {
                None if what == PollFlags::IN => return Ok(()),
                None => None,
                Some(until) => {
                    let left = until.saturating_duration_since(Instant::now());
                    let too_long = |_| ChannelError::Io(Errno::INVAL);
                    Some(Timespec::try_from(left).map_err(too_long)?)
                }
            };
            match poll(&mut [PollFd::new(&self.socket, what)], timeout.as_ref()) {
                Ok(0) => return Err(ChannelError::Deadline),
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

/// Why a frame did not pass.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChannelError {
    /// The other end is gone.
    #[error("the other end closed the connection")]
    Closed,
    /// The deadline came first.
    #[error("no answer in time")]
    Deadline,
    /// A frame above the cap.
    #[error("a frame of {len_bytes} bytes, at most {FRAME_MAX_BYTES} are accepted")]
    TooLong {
        /// Its length, bytes.
        len_bytes: u64,
    },
    /// A frame that is no message.
    #[error("not a message: {0}")]
    Decode(#[from] DecodeError),
    /// The system's error.
    #[error("{0}")]
    Io(#[from] Errno),
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_frame_arrives_with_its_file() {
        let (node, worker) = Channel::pair().unwrap();
        let worker = Channel::from_descriptor(worker);
        let file = tempfile::tempfile().unwrap();
        node.send(&("load", 7), Some(file.as_fd()), None).unwrap();
        node.send(&("next", 8), None, None).unwrap();
        let (message, file) = worker.receive_with_file::<(String, u8)>().unwrap();
        assert_eq!(message, ("load".to_owned(), 7));
        assert!(file.is_some());
        let (message, file) = worker.receive_with_file::<(String, u8)>().unwrap();
        assert_eq!(message, ("next".to_owned(), 8));
        assert!(file.is_none());
    }

    #[test]
    fn silence_ends_at_the_deadline_in_both_directions() {
        let (node, _worker) = Channel::pair().unwrap();
        let soon = || Some(Instant::now() + Duration::from_millis(5));
        assert!(matches!(node.receive::<u8>(soon()), Err(ChannelError::Deadline)));
        let long = "x".repeat(FRAME_MAX_BYTES / 2);
        assert!(matches!(node.send(&long, None, soon()), Err(ChannelError::Deadline)));
    }

    #[test]
    fn an_announced_length_above_the_cap_is_refused_before_it_is_read() {
        use std::io::Write as _;
        let (node, worker) = Channel::pair().unwrap();
        UnixStream::from(worker).write_all(&u32::MAX.to_le_bytes()).unwrap();
        assert!(matches!(node.receive::<u8>(None), Err(ChannelError::TooLong { .. })));
    }
}
