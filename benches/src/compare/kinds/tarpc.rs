//! tarpc with bincode, over the common TLS stream, with tarpc's own defaults.

// What tarpc's macro writes has no documentation.
#![allow(missing_docs)]

use std::io;
use std::sync::Arc;

use ::tarpc::server::{BaseChannel, Channel};
use ::tarpc::tokio_serde::formats::Bincode;
use ::tarpc::{client, context, serde_transport};
use bytes::Bytes;
use futures_util::StreamExt;

use super::super::run::Run;
use super::super::tls::{Listener, Target};
use super::{Call, same_length};

#[::tarpc::service]
pub trait Echo {
    /// Returns the body it was given.
    async fn say(body: Bytes) -> Bytes;
}

/// A handle on one connection.
#[derive(Clone)]
pub struct Caller(EchoClient);

impl Caller {
    /// One connection, no more.
    pub async fn connect(target: &Target) -> io::Result<Self> {
        let stream = target.connect().await?;
        let transport = serde_transport::Transport::from((stream, Bincode::default()));
        Ok(Self(
            EchoClient::new(client::Config::default(), transport).spawn(),
        ))
    }
}

impl Call for Caller {
    async fn echo(&mut self, body: Bytes) -> io::Result<()> {
        let sent = body.len();
        let reply = self
            .0
            .say(context::current(), body)
            .await
            .map_err(io::Error::other)?;
        same_length(sent, reply.len())
    }

    async fn pour(&mut self, _chunk: usize, _run: Arc<Run>) -> io::Result<()> {
        Err(io::Error::other("tarpc has no streams"))
    }
}

/// Serves until the process ends, with a task for every request.
pub async fn serve(listener: Listener) -> io::Result<()> {
    loop {
        let stream = listener.accept().await?;
        let transport = serde_transport::Transport::from((stream, Bincode::default()));
        let requests = BaseChannel::with_defaults(transport).execute(Service.serve());
        tokio::spawn(requests.for_each(|request| async {
            tokio::spawn(request);
        }));
    }
}

#[derive(Clone)]
struct Service;

impl Echo for Service {
    async fn say(self, _: context::Context, body: Bytes) -> Bytes {
        body
    }
}
