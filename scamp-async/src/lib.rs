//! SCAMP for async Rust, written once for every runtime.
//!
//! This crate has the clients, the services and the streaming bodies; what it needs of a runtime
//! is in [`Runtime`]. Take it through a runtime's crate, such as `scamp-tokio`, which fills that
//! in.
//!
//! ```text
//!  Client, Body, … ──commands──> [ Tls<Session> ] <──bytes, time──> the connection's task <──> socket
//!                                                                          │ requests
//!                                                                          └──> handlers
//! ```
//!
//! All that decides is in the machine of [`scamp_proto`]; here, one lock per connection is held
//! for a command at a time. The connection's task moves bytes, minds the clock, and starts
//! handlers.
//!
//! # Rules
//!
//! * **Dropping is giving up.** A future or handle that is dropped stops what it stands for, and
//!   leaves the connection as it was.
//! * **Reading is acknowledging.** A body that is not read slows its sender down, and nobody else.
//! * **A handler delays nobody.** It is polled once where its request arrived, and goes on in a
//!   task of its own if it is not done.
//! * **A body that was cut short is an error**, never an end.
//!
//! # Features
//!
//! `ring` (default) and `aws-lc-rs` choose the crypto provider; `tokio` adds tokio's `AsyncRead`
//! and `AsyncWrite` to bodies.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::string_slice,
        clippy::unreachable,
        clippy::todo
    )
)]

mod actions;
mod body;
mod client;
mod dial;
mod door;
mod drive;
mod exchange;
mod office;
mod registry;
mod reply;
mod request;
mod requester;
mod running;
mod runtime;
mod service;
mod service_builder;
mod service_handle;
mod shared;
mod stop;
mod subscription;
#[cfg(test)]
mod tests;
mod wakers;
mod work;
mod writer;

pub use bytes::Bytes;
pub use scamp_host;
pub use scamp_proto;
pub use scamp_tls;

pub use scamp_host::{Ask, JsonError, RegisterError, SetupError};
pub use scamp_proto::auth::{Table, TableState, TicketKeys, VerifiedTicket};
pub use scamp_proto::error::{
    BodyError, CallError, CloseReason, ExchangeError, Loss, Phase, SendError,
};
pub use scamp_proto::note::Note;
pub use scamp_proto::service::{
    Access, Action, ActionError, IntoAction, Limits, Name, NameError, Occurrence, ServiceNote,
    Stats as ServiceStats,
};
pub use scamp_proto::session::{AckPolicy, Change, RequestOptions};
pub use scamp_proto::wire::{Header, RemoteError, RequestHead};
pub use scamp_tls::{Fingerprint, Identity, Peer, Pin, TlsVersion};

pub use actions::Actions;
pub use body::Body;
pub use client::Client;
pub use dial::ClientBuilder;
pub use exchange::{IncomingReply, PendingReply, Response};
pub use reply::Reply;
pub use request::Request;
pub use requester::{Requester, RequesterBuilder};
pub use runtime::{Listener, Runtime, Timer};
pub use service::Service;
pub use service_builder::ServiceBuilder;
pub use service_handle::ServiceHandle;
pub use subscription::Subscription;
pub use writer::BodyWriter;
