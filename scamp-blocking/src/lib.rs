//! SCAMP over the standard library's threads and sockets.
//!
//! A [`Client`] needs no thread of its own: octets move while some thread is inside one of its
//! calls. A [`Service`] has a thread for each connection and a pool of threads for handlers. Bodies
//! are [`Read`](std::io::Read) and [`Write`](std::io::Write).
//!
//! ```text
//!  your threads ──Client, Body, BodyWriter──> Link: lock, machine, unlock ──> Transport ──> socket
//!  socket ──> whoever waits and is first ──> machine ──> wakes those whose thing has come
//! ```
//!
//! # Rules
//!
//! * **Nothing waits under a lock**, and no code of yours runs under one.
//! * **Reading never waits for writing**, so two ends that both write get on with it (F-9).
//! * **A handler delays nobody** but its own request, and ends nothing else when it panics.
//! * **One write a turn.** A request with a small body leaves in one write, and so does its reply;
//!   each is read with one read.
//!
//! # Limits
//!
//! | What | Bound | Set by |
//! | --- | --- | --- |
//! | of one connection | see [`scamp_proto::connection`] | [`ClientBuilder::session`], [`ServiceBuilder::session`] |
//! | of a service | see [`Limits`] | [`ServiceBuilder::limits`] |
//! | connecting, in all | 10 s | [`ClientBuilder::connect_timeout`] |
//! | notes kept | 256 of a client, 1024 of a service | |
//! | changes kept for a subscriber | 16 MiB | |
//!
//! # Example
//!
//! See [`Client`] and [`Service`], and `examples/hello_blocking.rs`.
//!
//! # Platforms
//!
//! Unix. What depends on it is in one file, behind [`Transport`].
#![forbid(unsafe_code)]

mod actions;
mod body;
mod client;
mod connection;
mod core;
mod dial;
mod door;
mod handshakes;
mod home;
mod job;
mod link;
mod pool;
mod reply;
mod requester;
mod running;
mod service;
mod service_builder;
mod socket;
mod subscription;
mod waiters;
mod writer;

pub use bytes::Bytes;
pub use scamp_host;
pub use scamp_proto;
pub use scamp_tls;

pub use scamp_proto::auth::{Table, TableState, TicketKeys, VerifiedTicket};
pub use scamp_proto::connection::Stats;
pub use scamp_proto::note::Note;
pub use scamp_proto::service::{
    Access, Action, ActionError, IntoAction, Limits, Name, NameError, Occurrence, ServiceNote,
    Stats as ServiceStats,
};
pub use scamp_proto::session::{AckPolicy, Change, ExchangeId, RequestOptions};
pub use scamp_proto::wire::{Header, RemoteError, RequestHead};
pub use scamp_proto::{BodyError, CallError, CloseReason, ExchangeError, SendError};
pub use scamp_tls::{Fingerprint, Identity, Peer, Pin, TlsVersion};

pub use crate::actions::{Actions, Reply, Request};
pub use crate::body::{Body, Chunks};
pub use crate::client::{Client, ClientBuilder};
pub use scamp_host::{Ask, JsonError, RegisterError, SetupError};

pub use crate::reply::{IncomingReply, PendingReply, Response};
pub use crate::requester::{Requester, RequesterBuilder};
pub use crate::service::{Service, ServiceHandle};
pub use crate::service_builder::ServiceBuilder;
pub use crate::socket::{Patience, Socket, Transport};
pub use crate::subscription::Subscription;
pub use crate::writer::BodyWriter;
