//! SCAMP for async-std and smol: sockets, an alarm clock and tasks for [`scamp_async`], and all of
//! that crate's face.
//!
//! async-std is no longer developed; its authors point to smol, and so do we for new programs: they
//! take the feature `smol` and the names of the module `smol`, which are the same.
//!
//! # Example
//!
//! A service and a client that calls it.
//!
//! ```
//! use scamp_async_std::{Client, Identity, Pin, Reply, Service};
//!
//! # #[async_std::main]
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
//! let running = async_std::task::spawn(service.run());
//!
//! let client = Client::connect(&address, pin).await?;
//! let reply = client.call("Greetings.hello", "World").await?;
//! assert_eq!(reply.text()?, "Hello World");
//!
//! drop(client);
//! handle.shutdown();
//! running.await;
//! # Ok(())
//! # }
//! ```
//!
//! # Bodies that stream
//!
//! [`Body`] and [`BodyWriter`] have the traits of futures-io, which are those of both runtimes.
//!
//! ```
//! use async_std::io;
//! use async_std::prelude::*;
//! use scamp_async_std::{Client, RequestOptions};
//!
//! async fn upload(client: &Client, mut file: async_std::fs::File) -> Result<String, Box<dyn std::error::Error>> {
//!     let (mut body, reply) = client.request("Files.store", &RequestOptions::default()).await?;
//!     io::copy(&mut file, &mut body).await?;
//!     body.finish().await?;
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
//! `async-std` (default) and `smol` bring the runtimes; `ring` (default) and `aws-lc-rs` choose the
//! crypto provider.
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

mod net;
#[cfg(any(feature = "async-std", feature = "smol"))]
mod runtime;

pub use scamp_async::*;

pub use net::{Alarm, Door, Stream};
#[cfg(feature = "async-std")]
pub use runtime::AsyncStd;

/// Names the types of [`scamp_async`] with a runtime filled in.
#[cfg(any(feature = "async-std", feature = "smol"))]
macro_rules! face {
    ($runtime:ty) => {
        /// One connection to a service; see [`scamp_async::Client`].
        pub type Client = scamp_async::Client<$runtime>;

        /// Makes connections with the same settings; see [`scamp_async::ClientBuilder`].
        pub type ClientBuilder = scamp_async::ClientBuilder<$runtime>;

        /// Calls by name; see [`scamp_async::Requester`].
        pub type Requester = scamp_async::Requester<$runtime>;

        /// Builds a [`Requester`]; see [`scamp_async::RequesterBuilder`].
        pub type RequesterBuilder = scamp_async::RequesterBuilder<$runtime>;

        /// A service that listens; see [`scamp_async::Service`].
        pub type Service = scamp_async::Service<$runtime>;

        /// Builds a [`Service`]; see [`scamp_async::ServiceBuilder`].
        pub type ServiceBuilder = scamp_async::ServiceBuilder<$runtime>;

        /// A service, for use while it runs; see [`scamp_async::ServiceHandle`].
        pub type ServiceHandle = scamp_async::ServiceHandle<$runtime>;
    };
}

#[cfg(feature = "async-std")]
face!(AsyncStd);

/// The same for smol.
///
/// # Example
///
/// ```
/// use scamp_async_std::smol::{Client, Service};
/// use scamp_async_std::{Identity, Pin, Reply};
///
/// smol::block_on(async {
///     let certificate = include_str!("../tests/data/greeter.crt");
///     let identity = Identity::from_pem(certificate, include_str!("../tests/data/greeter.key"))?;
///     let pin = Pin::Fingerprint(identity.fingerprint());
///     let service = Service::builder(identity)
///         .action(("Greetings.hello", "noauth"), |request| async move {
///             Ok(Reply::new(format!("Hello {}", request.text()?)))
///         })?
///         .bind("127.0.0.1:0")?;
///     let address = service.local_addr().to_string();
///     let running = smol::spawn(service.run());
///
///     let client = Client::connect(&address, pin).await?;
///     let reply = client.call("Greetings.hello", "World").await?;
///     assert_eq!(reply.text()?, "Hello World");
///     drop(running); // cancels the task, and with it the service
///     Ok::<(), Box<dyn std::error::Error>>(())
/// })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[cfg(feature = "smol")]
pub mod smol {
    pub use crate::runtime::Smol;

    face!(Smol);
}
