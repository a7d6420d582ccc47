//! SCAMP for tokio: sockets, an alarm clock and tasks for [`scamp_async`], and all of that crate's
//! face.
//!
//! # Example
//!
//! A service and a client that calls it. Both work in current-thread and multi-thread runtimes.
//!
//! ```
//! use scamp_tokio::{Client, Identity, Pin, Reply, Service};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let certificate = include_str!("../tests/data/greeter.crt");
//! let identity = Identity::from_pem(certificate, include_str!("../tests/data/greeter.key"))?;
//! let pin = Pin::Fingerprint(identity.fingerprint());
//!
//! let service = Service::builder(identity)
//!     .action(("Greetings.hello", "noauth"), |request| async move {
//!         Ok(Reply::new(format!("Hello {}", request.text()?)))
//!     })?
//!     .bind("127.0.0.1:0")?;
//! let address = service.local_addr().to_string();
//! let handle = service.handle();
//! let running = tokio::spawn(service.run());
//!
//! let client = Client::connect(&address, pin).await?;
//! let reply = client.call("Greetings.hello", "World").await?;
//! assert_eq!(reply.text()?, "Hello World");
//!
//! drop(client);
//! handle.shutdown();
//! running.await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Bodies that stream
//!
//! [`Body`] and [`BodyWriter`] have the traits of tokio as well as those of futures-io.
//!
//! ```
//! use scamp_tokio::{Client, RequestOptions};
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! async fn upload(client: &Client, mut file: tokio::io::Empty) -> Result<String, Box<dyn std::error::Error>> {
//!     let (mut body, reply) = client.request("Files.store", &RequestOptions::default()).await?;
//!     tokio::io::copy(&mut file, &mut body).await?;
//!     body.shutdown().await?; // or `body.finish().await?`
//!     let mut reply = reply.wait().await?;
//!     if let Some(error) = reply.error() {
//!         return Err(error.into());
//!     }
//!     let mut answer = String::new();
//!     reply.body.read_to_string(&mut answer).await?; // an error if the body was cut short
//!     Ok(answer)
//! }
//! ```
//!
//! # Features
//!
//! `ring` (default) and `aws-lc-rs` choose the crypto provider.
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

mod io;
mod runtime;

pub use scamp_async::*;

pub use io::Io;
pub use runtime::{Alarm, Door, Tokio};

/// One connection to a service; see [`scamp_async::Client`].
pub type Client = scamp_async::Client<Tokio>;

/// Makes connections with the same settings; see [`scamp_async::ClientBuilder`].
pub type ClientBuilder = scamp_async::ClientBuilder<Tokio>;

/// Calls by name; see [`scamp_async::Requester`].
pub type Requester = scamp_async::Requester<Tokio>;

/// Builds a [`Requester`]; see [`scamp_async::RequesterBuilder`].
pub type RequesterBuilder = scamp_async::RequesterBuilder<Tokio>;

/// A service that listens; see [`scamp_async::Service`].
pub type Service = scamp_async::Service<Tokio>;

/// Builds a [`Service`]; see [`scamp_async::ServiceBuilder`].
pub type ServiceBuilder = scamp_async::ServiceBuilder<Tokio>;

/// A service, for use while it runs; see [`scamp_async::ServiceHandle`].
pub type ServiceHandle = scamp_async::ServiceHandle<Tokio>;
