//! Waddell: peers that know each other's ids send each other small messages, through a server that
//! keeps nothing and promises nothing.
//!
//! ```text
//!  Station ── Client ══transport══ Peer ──┐
//!  Station ── Client ══transport══ Peer ──┼── Router: who has which id, and room for how much
//!  Station ── Client ══transport══ Peer ──┘
//! ```
//!
//! * [`Client`] is a client's end of one connection, and [`Peer`] the server's. Both are
//!   [`Duplex`](crate::Duplex), so whatever drives a [`Session`](crate::Session) drives them, inside
//!   TLS or not.
//! * [`Station`] is a client that stays connected: [`Reconnect`] says when to dial, and [`Inboxes`]
//!   sort what comes by topic.
//! * [`Router`] belongs to all connections of a server together. Its calls wait for nothing, so a slow
//!   peer blocks nobody.
//! * [`Frames`], [`Content`] and [`Frame`] are the octets; [`PeerId`] and [`TopicId`] the names in them.
//!
//! # Rules
//!
//! * **Drain before you wait.** After any call that takes `&mut self`, take everything from
//!   `poll_transmit`, `poll_event` and `poll_order`, then sleep until `poll_timeout`.
//! * **One door out.** Whatever ends a connection, the last event is `Closed`, once.
//! * **Once, in order, or not at all.** What one peer sends to another arrives in the order it was
//!   sent; what finds no room, or nobody, is dropped whole and counted (WD-31, WD-35, WD-41).
//! * **The owner brings randomness**, since knowing an id is the permission to send to it (WD-9).
//!
//! # Limits
//!
//! | What | Bound | Set by |
//! | --- | --- | --- |
//! | octets of a body | 65 517; 65 515 towards unknown implementations (WD-10) | the protocol |
//! | octets of a frame that is arriving | what has come of it, twice at most | the protocol |
//! | what waits for one peer | 256 KiB and 256 frames | [`RouterConfig`] |
//! | what waits for all peers | 256 MiB | [`RouterConfig`] |
//! | what waits to leave a client | 1 MiB, or one message | [`ClientConfig`] |
//! | what waits in a topic | 256 messages and 1 MiB; unopened, 16 and 64 KiB | [`InboxConfig`] |
//!
//! # Example
//!
//! A server and two of its peers in one process, no socket in sight.
//!
//! ```
//! use scamp_proto::waddell::{
//!     Client, ClientConfig, ClientEvent, Order, Peer, PeerConfig, PeerEvent, Router,
//!     RouterConfig, TopicId,
//! };
//! use scamp_proto::{Duplex, Instant, Outbox};
//!
//! fn carry(now: Instant, from: &mut impl Duplex, to: &mut impl Duplex) {
//!     let mut out = Outbox::default();
//!     while from.poll_transmit(now, &mut out).is_some() {}
//!     to.receive(now, &out.take_all());
//! }
//!
//! let now = Instant::EPOCH;
//! let mut router = Router::new(RouterConfig::default());
//! let mut octets = [0; 16]; // from a cryptographic source
//! let mut ids = Vec::new();
//! let mut ends = Vec::new();
//! for key in 0..2 {
//!     let id = router.join(key, || { octets[0] += 1; octets })?;
//!     let mut peer = Peer::new(PeerConfig::default(), now);
//!     peer.assign(now, id);
//!     let mut client = Client::new(ClientConfig::default(), now);
//!     carry(now, &mut peer, &mut client);
//!     assert_eq!(client.poll_event(), Some(ClientEvent::Assigned(id)));
//!     ids.push(id);
//!     ends.push((client, peer));
//! }
//!
//! let (client, peer) = &mut ends[0];
//! client.send(now, ids[1], TopicId(1), &[b"Hello"])?;
//! carry(now, client, peer);
//! while let Some(event) = peer.poll_event() {
//!     let PeerEvent::Message(frame) = event else { continue };
//!     router.route(now, ids[0], frame);
//! }
//! while let Some(order) = router.poll_order() {
//!     let Order::Deliver { to, frame } = order else { continue };
//!     ends[to].1.deliver(now, frame);
//! }
//! let (client, peer) = &mut ends[1];
//! carry(now, peer, client);
//! router.freed(now, ids[1], peer.take_freed().expect("the assignment and the message"));
//! let Some(ClientEvent::Message(message)) = client.poll_event() else { panic!() };
//! assert_eq!((message.from, &message.body[..]), (ids[0], &b"Hello"[..]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod client;
mod error;
mod frame;
mod frames;
mod id;
mod inboxes;
mod incoming;
mod outgoing;
mod peer;
mod reconnect;
mod router;
mod station;
#[cfg(test)]
mod tests;

pub use self::client::{Client, ClientConfig, ClientEvent};
pub use self::error::{CloseReason, JoinError, SendError};
pub use self::frame::{Content, Frame, HEAD, KEEPALIVE, LENGTH, Message};
pub use self::frames::{FrameTooLong, Frames};
pub use self::id::{BadPeerId, PeerId, TopicId};
pub use self::inboxes::{InboxConfig, Inboxes, Put};
pub use self::outgoing::Freed;
pub use self::peer::{Peer, PeerConfig, PeerEvent};
pub use self::reconnect::{Generation, Outlook, Reconnect, ReconnectConfig};
pub use self::router::{Dropped, OnFull, Order, Router, RouterConfig, RouterEvent, RouterStats};
pub use self::station::{Station, StationConfig, StationEvent, Take};
