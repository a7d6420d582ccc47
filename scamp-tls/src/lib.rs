//! TLS for SCAMP as a pure machine: rustls in memory, around any [`Duplex`](scamp_proto::Duplex).
//!
//! [`Tls`] wraps a machine and is itself one: ciphertext outside, SCAMP inside. It owns no socket and
//! reads no clock, so drivers see a plain byte stream, and a handshake can be tested in memory.
//!
//! ```text
//!  socket ──ciphertext──> Tls::receive ──> rustls ──plaintext──> inner.receive
//!  socket <──ciphertext── Tls::poll_transmit <── rustls <── records of 16 KiB <── inner.poll_transmit
//! ```
//!
//! # Rules
//!
//! * **Nothing before the judgement.** Until the handshake is complete and the certificate has been
//!   compared, the inner machine is neither fed nor asked for output (L-3).
//! * **Trust is a fingerprint.** No chain, name, date or purpose is looked at (L-2); the peer must
//!   hold the key of the certificate it shows (L-6). Connecting without a fingerprint takes the words
//!   [`Pin::AnyCertificate`] (L-4).
//! * **One door out.** A failed handshake, a wrong certificate, a corrupt record and a lost socket
//!   all reach the inner machine as one [`End::Lost`](scamp_proto::End::Lost).
//! * **A stream that is merely cut is not closed.** Only close_notify becomes
//!   [`End::Eof`](scamp_proto::End::Eof); the end of the socket alone is
//!   [`End::Cut`](scamp_proto::End::Cut) (F-3, F-4).
//!
//! # Limits
//!
//! | What | Bound | Set by |
//! | --- | --- | --- |
//! | time to shake hands | 10 s | [`Options::handshake_timeout`] |
//! | octets received before the handshake is complete | 65 536 | [`HANDSHAKE_OCTETS`] (HD-19) |
//! | plaintext waiting to be sealed | about [`limits::TURN`](scamp_proto::limits::TURN) and one turn of the inner machine | performance 3, rule 2 |
//! | wait for the peer's close | 1 s | [`limits::CLOSE_LINGER`](scamp_proto::limits::CLOSE_LINGER) (S-35) |
//! | remembered sessions | 256 services | [`ClientTlsCache`] (L-5) |
//!
//! Beside TLS itself, this crate lends the core its RSA: [`Rsa`] checks the signatures of announcements
//! and tickets, [`Identity`] and [`SigningKey`] make them.
//!
//! # Features
//!
//! `ring` (default) and `aws-lc-rs` choose the crypto provider; with both on, aws-lc-rs is taken, and
//! [`Options::with_provider`] takes any other. `keygen` adds the module of that name.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]
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

mod channel;
mod client;
mod identity;
#[cfg(feature = "keygen")]
pub mod keygen;
mod loss;
mod options;
mod pin;
#[cfg(any(feature = "aws-lc-rs", feature = "ring"))]
mod rsa;
mod server;
mod sign;
mod tls;
mod verifier;

pub use rustls;
pub use scamp_proto::auth::{Fingerprint, FingerprintError};

pub use channel::Channel;
pub use client::{ClientTls, ClientTlsCache, REMEMBERED};
pub use identity::{Identity, IdentityError};
#[cfg(any(feature = "aws-lc-rs", feature = "ring"))]
pub use options::default_provider;
pub use options::{ConfigError, Options, TlsVersion, Versions};
pub use pin::{Peer, Pin};
#[cfg(any(feature = "aws-lc-rs", feature = "ring"))]
pub use rsa::Rsa;
pub use server::ServerTls;
pub use sign::SigningKey;
pub use tls::{HANDSHAKE_OCTETS, Tls};
