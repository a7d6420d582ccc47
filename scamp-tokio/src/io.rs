//! tokio's byte streams as those of futures-io.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::ReadBuf;

/// Makes a byte stream of tokio's one of futures-io's, which is what clients and services take.
///
/// # Example
///
/// A client and a service in one process, over a pipe in memory.
///
/// ```
/// use std::net::SocketAddr;
/// use scamp_tokio::{Client, Io, Reply, Service};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let service = Service::plain()
///     .action(("Echo.echo", "noauth"), |request| async move { Ok(Reply::new(request.bytes().clone())) })?
///     .detached()?;
/// let (ours, theirs) = tokio::io::duplex(4096);
/// service.serve(Io(theirs), SocketAddr::from(([127, 0, 0, 1], 1)));
///
/// let client = Client::plain().over("memory", Io(ours)).await?;
/// assert_eq!(client.call("Echo.echo", "hello").await?.body, "hello");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Io<T>(pub T);

impl<T: tokio::io::AsyncRead + Unpin> futures_io::AsyncRead for Io<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        room: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut room = ReadBuf::new(room);
        ready!(Pin::new(&mut self.get_mut().0).poll_read(cx, &mut room))?;
        Poll::Ready(Ok(room.filled().len()))
    }
}

impl<T: tokio::io::AsyncWrite + Unpin> futures_io::AsyncWrite for Io<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(cx, octets)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write_vectored(cx, pieces)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(cx)
    }
}
