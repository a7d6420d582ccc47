//! The operating system's part: octets in and out of a socket.

use std::fmt;
use std::io::{self, IoSlice};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, recv, sendmsg, shutdown};
use rustix::process::{Resource, getrlimit};

/// A byte stream that several threads may use at once: one reads, one writes.
///
/// [`Socket`] is one for everything that is a socket. Implement it to carry SCAMP over something
/// else, or to look on.
pub trait Transport: Send + Sync + 'static {
    /// Reads into `room` and says how many octets came; 0 is the end of the stream.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`] when nothing came within `patience`; it may also come earlier.
    fn receive(&self, room: &mut [u8], patience: Patience) -> io::Result<usize>;

    /// Writes what can be written without waiting and says how many octets that was.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`] when nothing can be written now.
    fn send(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Waits until there is room to write, or, if `or_readable`, something to read.
    ///
    /// # Errors
    ///
    /// Those of the operating system. The time running out is none.
    fn wait_writable(&self, or_readable: bool, patience: Option<Duration>) -> io::Result<()>;

    /// Ends the stream both ways; a thread that waits in [`receive`](Self::receive) comes back.
    fn shutdown(&self);
}

/// How long to wait for octets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Patience {
    /// Not at all.
    None,
    /// At most this long.
    For(Duration),
    /// As long as it takes.
    Forever,
}

/// A TCP or Unix socket.
///
/// One write sends all pieces; one read costs one system call, since the time to wait for it is a
/// setting of the socket that seldom changes.
pub struct Socket {
    fd: OwnedFd,
    /// The timeout that is set, in milliseconds; 0 is none.
    timeout: AtomicU64,
}

impl Socket {
    fn new(fd: OwnedFd) -> Self {
        let socket = Self {
            fd,
            timeout: AtomicU64::new(0),
        };
        // Whatever it was, it shall be known. A socket that cannot be set fails at its first read.
        let _ = set_socket_timeout(&socket.fd, Timeout::Recv, None);
        socket
    }

    fn set_timeout(&self, patience: Patience) -> io::Result<()> {
        let millis = match patience {
            Patience::None => return Ok(()),
            Patience::For(time) => rounded(time),
            Patience::Forever => 0,
        };
        if self.timeout.load(Ordering::Relaxed) != millis {
            let time = (millis > 0).then(|| Duration::from_millis(millis));
            set_socket_timeout(&self.fd, Timeout::Recv, time)?;
            self.timeout.store(millis, Ordering::Relaxed);
        }
        Ok(())
    }
}

impl Transport for Socket {
    fn receive(&self, room: &mut [u8], patience: Patience) -> io::Result<usize> {
        self.set_timeout(patience)?;
        let flags = match patience {
            Patience::None => RecvFlags::DONTWAIT,
            Patience::For(_) | Patience::Forever => RecvFlags::empty(),
        };
        Ok(recv(&self.fd, room, flags)?.0)
    }

    fn send(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut control = SendAncillaryBuffer::default();
        Ok(sendmsg(&self.fd, pieces, &mut control, SEND_FLAGS)?)
    }

    fn wait_writable(&self, or_readable: bool, patience: Option<Duration>) -> io::Result<()> {
        let mut flags = PollFlags::OUT;
        if or_readable {
            flags |= PollFlags::IN;
        }
        wait_for(&mut [PollFd::new(&self.fd, flags)], patience)
    }

    fn shutdown(&self) {
        // A socket that is no longer connected is what is wanted.
        let _ = shutdown(&self.fd, Shutdown::Both);
    }
}

/// The stream must be blocking, as it is unless made otherwise; its read timeout is overwritten.
impl From<TcpStream> for Socket {
    fn from(stream: TcpStream) -> Self {
        // Small writes must not wait for the peer's acknowledgement (performance 3, rule 3). It
        // fails only on a socket that is dead already, which the first read tells.
        let _ = stream.set_nodelay(true);
        Self::new(stream.into())
    }
}

/// The stream must be blocking, as it is unless made otherwise; its read timeout is overwritten.
impl From<UnixStream> for Socket {
    fn from(stream: UnixStream) -> Self {
        Self::new(stream.into())
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Socket").field(&self.fd).finish()
    }
}

/// How many files the process may have open.
pub(crate) fn files() -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(limit).unwrap_or(usize::MAX)
}

/// Waits for one of these, or until the time is up.
pub(crate) fn wait_for(fds: &mut [PollFd<'_>], patience: Option<Duration>) -> io::Result<()> {
    // A time too long to be expressed is as good as for ever.
    let patience = patience.and_then(|time| Timespec::try_from(time).ok());
    match poll(fds, patience.as_ref()) {
        Ok(_) => Ok(()),
        Err(error) if error == rustix::io::Errno::INTR => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The next power of two below `time`, in milliseconds.
///
/// Deadlines move with each request. Waiting a little less than needed costs a few early returns
/// near the end; setting the socket anew for each read would cost a system call each time.
fn rounded(time: Duration) -> u64 {
    let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    match millis.clamp(1, LONGEST).checked_ilog2() {
        Some(log) => 1 << log,
        None => 1,
    }
}

/// About twelve days, in milliseconds: every system can express that.
const LONGEST: u64 = 1 << 30;

#[cfg(not(target_vendor = "apple"))]
const SEND_FLAGS: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);
/// There the standard library has set the socket itself to raise no signal.
#[cfg(target_vendor = "apple")]
const SEND_FLAGS: SendFlags = SendFlags::DONTWAIT;

#[cfg(test)]
mod tests {
    use super::*;

    /// PF-13: deadlines that move by a little do not change the socket's setting.
    #[test]
    fn timeouts_seldom_change() {
        let millis = |time| rounded(Duration::from_millis(time));
        assert_eq!((millis(0), millis(1), millis(3)), (1, 1, 2));
        assert_eq!((millis(75_000), millis(74_000)), (65_536, 65_536));
        assert_eq!(rounded(Duration::MAX), LONGEST);
    }
}
