//! SCAMP with scamp-tokio. It does TLS itself, with the provider, version and certificate of all
//! others, over sockets that count their writes.

use std::fmt::Display;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use scamp_proto::session::{self, RequestOptions, Side};
use scamp_proto::wire::{RemoteError, RequestHead};
use scamp_tls::rustls::pki_types::CertificateDer;
use scamp_tls::{Identity, Options, Pin, Versions};
use scamp_tokio::{Access, Client, Io, Limits, Reply, Request, Service};

use super::super::case::{Case, Shape};
use super::super::run::Run;
use super::super::tls::{self, Listener, Target};
use super::{Call, same_length};
use crate::count::session::head;

/// A handle on one connection.
#[derive(Clone)]
pub struct Caller(Client);

impl Caller {
    /// One connection, no more.
    pub async fn connect(target: &Target) -> io::Result<Self> {
        let stream = target.connect_bare().await?;
        let pin = Pin::Certificate(CertificateDer::from(target.certificate.clone()));
        let client = Client::builder(pin)
            .tls(options())
            .over("localhost", Io(stream))
            .await
            .map_err(io::Error::other)?;
        Ok(Self(client))
    }
}

impl Call for Caller {
    async fn echo(&mut self, body: Bytes) -> io::Result<()> {
        let sent = body.len();
        let reply = self.0.call(head(), body).await.map_err(io::Error::other)?;
        same_length(sent, reply.body.len())
    }

    async fn pour(&mut self, chunk: usize, run: Arc<Run>) -> io::Result<()> {
        let (mut body, reply) = self
            .0
            .request(RequestHead::new(POUR), &RequestOptions::default())
            .await
            .map_err(io::Error::other)?;
        body.write_bytes(chunk.to_string())
            .await
            .map_err(io::Error::other)?;
        body.finish().await.map_err(io::Error::other)?;
        let mut reply = reply.wait().await.map_err(io::Error::other)?;
        if let Some(error) = reply.error() {
            return Err(io::Error::other(error));
        }
        while !run.is_over() {
            let piece = reply.body.chunk().await.map_err(io::Error::other)?;
            let piece = piece.ok_or(io::ErrorKind::UnexpectedEof)?;
            run.add_octets(piece.len());
        }
        Ok(())
    }
}

/// Serves until the process ends, with the window and the chunk of `case`.
pub async fn serve(case: &Case, listener: Listener) -> io::Result<()> {
    let identity = listener.identity();
    let identity = Identity::from_pem_with(
        &identity.certificate_pem,
        &identity.key_pem,
        &tls::provider(),
    )
    .map_err(io::Error::other)?;
    let service = Service::builder(identity)
        .default_access(Access::Allow)
        .tls(options())
        .session(config(case.shape))
        // The case says how many connections there are.
        .limits(Limits {
            max_connections: usize::MAX,
            ..Limits::default()
        })
        .action(head().action.as_ref(), echo)
        .map_err(io::Error::other)?
        .action(POUR, pour)
        .map_err(io::Error::other)?
        .detached()?;
    loop {
        let (stream, from) = listener.accept_bare().await?;
        service.serve(Io(stream), from);
    }
}

/// The defaults, but for the window and the chunk of bulk.
fn config(shape: Shape) -> session::Config {
    let mut config = session::Config::new(Side::Server);
    match shape {
        Shape::Bulk { window, chunk } | Shape::Beside { window, chunk } => {
            config.connection.max_inflight = Some(window as u64);
            config.connection.chunk_size = chunk;
        }
        Shape::Echo { .. } | Shape::Idle { .. } => {}
    }
    config
}

async fn echo(request: Request) -> Result<Reply, RemoteError> {
    Ok(Reply::new(request.bytes().clone()))
}

/// An endless reply, in pieces of as many octets as the request's body says.
async fn pour(request: Request) -> Result<Reply, RemoteError> {
    let bad = |error: &dyn Display| RemoteError::new("bad_request", error.to_string());
    let chunk: usize = request.text()?.parse().map_err(|error| bad(&error))?;
    let piece = Bytes::from(vec![b'x'; chunk]);
    Ok(Reply::stream(move |mut body| async move {
        loop {
            body.write_bytes(piece.clone()).await?;
        }
    }))
}

/// TLS as everybody has it, whatever else is compiled in.
fn options() -> Options {
    Options::with_provider(tls::provider()).versions(Versions::Tls13)
}

/// The action that answers without end.
const POUR: &str = "Benchmark.Echo.pour";
