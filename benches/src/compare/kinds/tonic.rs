//! gRPC with tonic and prost, over the common TLS stream, with tonic's own defaults.

// What tonic-build writes has no documentation.
#![allow(missing_docs)]

use std::io;
use std::pin::Pin;
use std::sync::Arc;

use ::tonic::transport::{Channel, Endpoint, Server};
use ::tonic::{Request, Response, Status};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use hyper_util::rt::TokioIo;

use super::super::run::Run;
use super::super::tls::{Listener, Target};
use super::{Call, same_length};

#[allow(unreachable_pub)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/bench.Echo.rs"));
}

/// The message of both directions.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Body {
    /// The octets, taken from the receive buffer without a copy.
    #[prost(bytes = "bytes", tag = "1")]
    pub data: Bytes,
    /// Octets wanted in each piece of a bulk reply.
    #[prost(uint32, tag = "2")]
    pub chunk: u32,
}

/// A clone of a channel, as tonic's users make one for each caller.
#[derive(Clone)]
pub struct Caller(generated::echo_client::EchoClient<Channel>);

impl Caller {
    /// One connection, no more.
    pub async fn connect(target: &Target) -> io::Result<Self> {
        let target = target.clone();
        let connector = tower::service_fn(move |_| {
            let target = target.clone();
            async move { target.connect().await.map(TokioIo::new) }
        });
        let endpoint = Endpoint::from_static("http://localhost");
        let channel = endpoint
            .connect_with_connector(connector)
            .await
            .map_err(io::Error::other)?;
        Ok(Self(generated::echo_client::EchoClient::new(channel)))
    }
}

impl Call for Caller {
    async fn echo(&mut self, body: Bytes) -> io::Result<()> {
        let sent = body.len();
        let reply = self
            .0
            .say(Body {
                data: body,
                chunk: 0,
            })
            .await
            .map_err(io::Error::other)?;
        same_length(sent, reply.get_ref().data.len())
    }

    async fn pour(&mut self, chunk: usize, run: Arc<Run>) -> io::Result<()> {
        let chunk = u32::try_from(chunk).map_err(io::Error::other)?;
        let request = Body {
            data: Bytes::new(),
            chunk,
        };
        let mut pieces = self
            .0
            .pour(request)
            .await
            .map_err(io::Error::other)?
            .into_inner();
        while !run.is_over() {
            let piece = pieces.message().await.map_err(io::Error::other)?;
            let piece = piece.ok_or(io::ErrorKind::UnexpectedEof)?;
            run.add_octets(piece.data.len());
        }
        Ok(())
    }
}

/// Serves until the process ends.
pub async fn serve(listener: Listener) -> io::Result<()> {
    let incoming = stream::unfold(listener, |listener| async move {
        Some((listener.accept().await, listener))
    });
    let service = generated::echo_server::EchoServer::new(Service);
    Server::builder()
        .add_service(service)
        .serve_with_incoming(incoming)
        .await
        .map_err(io::Error::other)
}

#[derive(Debug)]
struct Service;

#[::tonic::async_trait]
impl generated::echo_server::Echo for Service {
    async fn say(&self, request: Request<Body>) -> Result<Response<Body>, Status> {
        Ok(Response::new(request.into_inner()))
    }

    type PourStream = Pin<Box<dyn Stream<Item = Result<Body, Status>> + Send>>;

    async fn pour(&self, request: Request<Body>) -> Result<Response<Self::PourStream>, Status> {
        let piece = Bytes::from(vec![b'x'; request.get_ref().chunk as usize]);
        let pieces = stream::repeat(Body {
            data: piece,
            chunk: 0,
        })
        .map(Ok);
        Ok(Response::new(Box::pin(pieces)))
    }
}
