//! The seam below: what everything that moves bytes needs of a machine.

use alloc::string::String;

use crate::error::Loss;
use crate::{Instant, Outbox};

/// A machine with one byte stream in, one byte stream out, and one alarm clock.
///
/// A driver's whole contract is **drain before you wait**: after any call that takes `&mut self`,
/// take everything from [`poll_transmit`](Self::poll_transmit) (and the machine's own events),
/// then wait for bytes or for [`poll_timeout`](Self::poll_timeout), whichever is first. A call to
/// [`handle_timeout`](Self::handle_timeout) that comes too early, or twice, does no harm.
///
/// [`Connection`](crate::Connection) and [`Session`](crate::Session) are `Duplex`, and so is TLS
/// around one of them, so drivers only ever see a plain byte stream.
pub trait Duplex {
    /// Takes bytes that arrived from the peer.
    ///
    /// It returns nothing on purpose: a breach closes the machine and comes out as its last
    /// event, so a driver has one failure path instead of two.
    fn receive(&mut self, now: Instant, bytes: &[u8]);

    /// Notes that nothing more will arrive.
    fn receive_end(&mut self, now: Instant, end: End);

    /// Whether more input is welcome; `false` asks the driver to stop reading.
    ///
    /// It may turn true again after any call. A driver goes on writing meanwhile.
    fn wants_read(&self) -> bool;

    /// Adds bytes for the peer to `out` and says how many, or `None` when there are none.
    ///
    /// One call hands over about [`limits::TURN`](crate::limits::TURN) octets; write them, then
    /// ask again. A driver asks only when its `out` is empty: what it has not asked for counts as
    /// not sent, which is what the write timers and the loss phases go by (HD-31, S-30).
    fn poll_transmit(&mut self, now: Instant, out: &mut Outbox) -> Option<usize>;

    /// When [`handle_timeout`](Self::handle_timeout) should next be called.
    fn poll_timeout(&self) -> Option<Instant>;

    /// Acts on every deadline that has passed.
    fn handle_timeout(&mut self, now: Instant);

    /// Whether the transport can be dropped: nothing more will come out or be listened to.
    fn is_drained(&self) -> bool;
}

/// How the inbound stream ended.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum End {
    /// The peer closed its side in the ordinary way.
    Eof,
    /// The stream ended without the farewell its layer prescribes, such as TLS close_notify.
    ///
    /// Between messages this is an ordinary close (F-3: JS destroys its sockets); inside one it is
    /// a loss (F-4), since anybody can cut a TCP stream.
    Cut,
    /// The layer below failed.
    Lost(Loss),
}

impl End {
    /// The layer below failed with an error of the operating system; `text` is its own words.
    pub fn io(text: impl Into<String>) -> Self {
        Self::Lost(Loss::Io(text.into()))
    }
}
