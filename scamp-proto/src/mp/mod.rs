//! MessagePasser: processes that talk by name, through a router.
//!
//! Every client holds one stream to a server, which knows it by a name; between clients there are
//! connections, each opened for a named protocol, which keep messages apart and in order. Both ends
//! are here, and both of the encodings that the original has; a server finds out what each of its
//! clients speaks, and so those that speak JSON talk with those that speak gob.
//!
//! ```text
//!  Client ══ octets ══ Session ─poll_router──> Router ──poll──> Session ══ octets ══ Client
//!                        │                       │
//!                    one a stream       one a server: names, room, waiting lines
//! ```
//!
//! A user of connections starts from [`Client`]; a server is one [`Router`] and a [`Session`] for
//! each stream. [`Client`] and [`Session`] are [`Duplex`](crate::Duplex), which is all that a driver
//! of sockets needs to know, with or without TLS between. [`Decoder`] and [`Encoder`] are what lies
//! beneath, for those who want messages only.
//!
//! # How a server is driven
//!
//! One task or thread for each stream, and the router behind a lock:
//!
//! 1. When a transport is accepted: [`Router::add`], and a [`Session`] with a mailbox.
//! 2. After any call to a session: hand all that [`Session::poll_router`] gives to
//!    [`Router::handle`]; then put all that [`Router::poll`] gives into the mailboxes of the
//!    sessions it is for, still under the lock, and wake those whose mailboxes were empty.
//! 3. Whoever is woken takes its mailbox to [`Session::from_router`], and goes on with 2.
//! 4. [`RouterEvent::Verify`] goes to the application, which answers with [`Router::verdict`] when
//!    it knows; then go on as after [`Router::handle`].
//! 5. When a session [is drained](crate::Duplex::is_drained) and has nothing more for the router,
//!    it is dropped with its transport and its mailbox.
//!
//! Mailboxes need no bound of their own: the router holds against a session what it put there,
//! until the session reports that it has left. A program of one thread needs no mailboxes; the
//! example does without.
//!
//! # Rules
//!
//! * **Those of [`Duplex`](crate::Duplex):** drain before you wait; any cut of the stream gives the
//!   same events.
//! * **Only those wait who write to a slow client.** Its queue is bounded; whoever finds it full is
//!   not read from until there is room (MP-61), and after [`ServerConfig::stall_timeout`] without
//!   progress it has departed (MP-62).
//! * **A name is taken with its secret or not at all.** There is no default that lets anybody in;
//!   a second sign-in that the application accepts replaces the first, in one step (MP-70).
//! * **One door out.** A connection's last event is [`Event::Closed`] or [`Event::OpenFailed`], a
//!   client's [`Event::Ended`], a session's [`RouterEvent::Left`] or [`RouterEvent::Refused`].
//!
//! # Limits
//!
//! | What | Bound | Source |
//! | --- | --- | --- |
//! | a client's first message | 4 KiB | HD-48 |
//! | payload of a message | [`DecodeLimits::payload`]: 1 MiB at a server, 16 MiB at a client | HD-48 |
//! | queued for one client | [`ServerConfig::high_water`], one message, [`ServerConfig::reserve`] | MP-61, MP-63 |
//! | waiting for room, of one client | what one read brought | MP-61 |
//! | not read by the application of a client | [`ClientConfig::receive_buffer`], one message | MP-99 |
//! | not sent by a client | [`ClientConfig::send_queue`], one message | MP-97 |
//!
//! # Example
//!
//! Two clients, one of which speaks JSON and the other gob, and a server that lets both in.
//!
//! ```
//! use bytes::Bytes;
//! use scamp_proto::mp::{
//!     Client, ClientConfig, ClientName, Encoding, Event, Read, Router, RouterEvent, ServerConfig,
//!     Session, SessionId,
//! };
//! use scamp_proto::{Duplex, Instant, Outbox};
//!
//! /// A server of one thread.
//! struct Server(Router, Vec<(SessionId, Session)>);
//!
//! impl Server {
//!     /// Carries everything that the sessions and the router have for each other.
//!     fn settle(&mut self, now: Instant) {
//!         let Self(router, sessions) = self;
//!         loop {
//!             for (id, session) in &mut *sessions {
//!                 while let Some(value) = session.poll_router() {
//!                     router.handle(now, *id, value);
//!                 }
//!             }
//!             while let Some(event) = router.poll_event() {
//!                 if let RouterEvent::Verify { session, .. } = event {
//!                     // Here the name and the secret would be looked up.
//!                     router.verdict(now, session, Ok(()));
//!                 }
//!             }
//!             let Some((to, value)) = router.poll() else { return };
//!             for (_, session) in sessions.iter_mut().filter(|(id, _)| *id == to) {
//!                 session.from_router(now, value);
//!                 break;
//!             }
//!         }
//!     }
//! }
//!
//! let now = Instant::EPOCH;
//! let config = ServerConfig::default();
//! let mut server = Server(Router::new(config.clone()), Vec::new());
//! let mut clients = [("alpha", Encoding::Json), ("beta", Encoding::Gob)].map(|(name, encoding)| {
//!     let id = server.0.add(None);
//!     server.1.push((id, Session::new(&config, now)));
//!     let name = ClientName::new(name).expect("a valid name");
//!     Client::new(ClientConfig::new(encoding), name, "secret".into(), now)
//! });
//!
//! /// Moves octets between the clients and the server until nothing moves.
//! fn carry(now: Instant, clients: &mut [Client], server: &mut Server) {
//!     let mut out = Outbox::default();
//!     let mut is_moving = true;
//!     while is_moving {
//!         is_moving = false;
//!         for (at, client) in clients.iter_mut().enumerate() {
//!             is_moving |= client.poll_transmit(now, &mut out).is_some();
//!             server.1[at].1.receive(now, &out.take_all());
//!             server.settle(now);
//!             is_moving |= server.1[at].1.poll_transmit(now, &mut out).is_some();
//!             client.receive(now, &out.take_all());
//!         }
//!     }
//! }
//!
//! let opened = clients[0].open(now, "beta", "greetings")?;
//! carry(now, &mut clients, &mut server);
//! assert_eq!(clients[1].poll_event(), Some(Event::SignedIn));
//! let Some(Event::Incoming { id, protocol, .. }) = clients[1].poll_event() else { panic!() };
//! assert_eq!(protocol, "greetings");
//! clients[1].accept(id)?;
//! clients[1].send(id, Bytes::from_static(b"Hello, alpha!"))?;
//! carry(now, &mut clients, &mut server);
//! assert_eq!(clients[0].read(opened), Read::Message("Hello, alpha!".into()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod client;
mod config;
mod encoding;
mod error;
mod gob;
mod json;
mod message;
mod router;
mod session;

pub use self::client::{Client, ConnectionId, Event, Read, ReadInto};
pub use self::config::{ClientConfig, DuplicateName, OnFull, ServerConfig, SlowClient};
pub use self::encoding::{DecodeLimits, Decoder, Encoder, Encoding};
pub use self::error::{CloseReason, DecodeError, OpenError, Reason, Refusal, SendError};
pub use self::message::{Base64, ClientName, Data, Message, Meta, Secret, Text};
pub use self::router::{Router, RouterEvent, SessionId};
pub use self::session::{Session, ToRouter, ToSession};
