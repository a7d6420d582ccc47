//! Plain octets over the TLS stream: what is left when there is no protocol.
//!
//! An echo is a frame of 200 octets more than the body, which is what SCAMP's lines and header
//! add. All that is ready goes out in one write, and no task is spawned for a request.

use std::any::Any;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::super::case::{Case, Shape};
use super::super::run::{Run, Samples};
use super::super::tls::{ClientStream, Listener, ServerStream, Target};
use super::{Kind, SMALL_BODY};

/// Serves the raw kinds until the process ends.
pub async fn serve(kind: Kind, case: &Case, listener: Listener) -> io::Result<()> {
    let shape = case.shape;
    loop {
        let stream = listener.accept().await?;
        // A client that goes away ends its own connection only.
        tokio::spawn(async move {
            let _ = match shape {
                Shape::Echo { body, .. } => {
                    echo_back(stream, READ_SIZE, frame(body), kind == Kind::RawSplit).await
                }
                Shape::Idle { .. } => echo_back(stream, 0, frame(SMALL_BODY), false).await,
                Shape::Bulk { window, chunk } | Shape::Beside { window, chunk } => {
                    let window = (kind == Kind::RawLimited).then_some(window);
                    pour_out(stream, window, chunk).await
                }
            };
        });
    }
}

/// Does what `shape` says until `run` is over.
pub async fn client(
    kind: Kind,
    shape: Shape,
    target: &Target,
    run: &Arc<Run>,
) -> io::Result<Samples> {
    let stream = target.connect().await?;
    match shape {
        Shape::Echo { callers, body } => {
            Echoes::new(stream, frame(body), kind == Kind::RawSplit)
                .run(callers, run)
                .await
        }
        Shape::Bulk { chunk, .. } => {
            let each = (kind == Kind::RawLimited).then_some(chunk as u64);
            take_in(stream, each, run).await?;
            Ok(Samples::default())
        }
        Shape::Beside { .. } | Shape::Idle { .. } => {
            Err(io::Error::other("raw octets cannot be multiplexed"))
        }
    }
}

/// Opens a connection, does one echo, and keeps it.
pub async fn park(target: &Target) -> io::Result<Box<dyn Any>> {
    let mut stream = target.connect().await?;
    let mut bytes = vec![b'x'; frame(SMALL_BODY)];
    stream.write_all(&bytes).await?;
    stream.read_exact(&mut bytes).await?;
    Ok(Box::new(stream))
}

/// Octets of the frame that carries `body` octets.
fn frame(body: usize) -> usize {
    body + 200
}

/// The client's end of an echo: `callers` frames are always under way.
struct Echoes {
    stream: ClientStream,
    frame: usize,
    split: bool,
    output: Vec<u8>,
    written: usize,
    input: Vec<u8>,
    partial: usize,
    under_way: VecDeque<Instant>,
}

impl Echoes {
    fn new(stream: ClientStream, frame: usize, split: bool) -> Self {
        Self {
            stream,
            frame,
            split,
            output: Vec::new(),
            written: 0,
            input: vec![0; READ_SIZE],
            partial: 0,
            under_way: VecDeque::new(),
        }
    }

    async fn run(mut self, callers: usize, run: &Run) -> io::Result<Samples> {
        let mut samples = Samples::default();
        for _ in 0..callers {
            self.send(run);
        }
        while !self.under_way.is_empty() {
            if self.split {
                write_in_three(&mut self.stream, &self.output[self.written..], self.frame).await?;
                self.written = self.output.len();
            }
            let octets = poll_fn(|cx| self.turn(cx)).await?;
            let now = Instant::now();
            let whole = (self.partial + octets) / self.frame;
            self.partial = (self.partial + octets) % self.frame;
            for _ in 0..whole {
                let begun = self.under_way.pop_front().ok_or_else(too_much)?;
                if run.is_measured() {
                    samples.push(now - begun);
                }
                self.send(run);
            }
        }
        Ok(samples)
    }

    /// Queues one more frame, unless the run is over.
    fn send(&mut self, run: &Run) {
        if !run.goes_on() {
            return;
        }
        if self.written == self.output.len() {
            self.output.clear();
            self.written = 0;
        }
        self.output.resize(self.output.len() + self.frame, b'x');
        self.under_way.push_back(Instant::now());
    }

    /// Writes what the socket takes, then returns what it gives.
    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        while self.written < self.output.len() {
            let rest = &self.output[self.written..];
            match Pin::new(&mut self.stream).poll_write(cx, rest)? {
                Poll::Ready(octets) => self.written += octets,
                Poll::Pending => break,
            }
        }
        // What TLS still holds must go out too, but "not yet" is no reason to stop reading.
        let _ = Pin::new(&mut self.stream).poll_flush(cx)?;
        let mut buffer = ReadBuf::new(&mut self.input);
        match Pin::new(&mut self.stream).poll_read(cx, &mut buffer)? {
            Poll::Ready(()) if buffer.filled().is_empty() => {
                Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()))
            }
            Poll::Ready(()) => Poll::Ready(Ok(buffer.filled().len())),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// The server's end of an echo: every whole frame goes back. The buffer has room for `room` octets
/// or two frames.
async fn echo_back(
    mut stream: ServerStream,
    room: usize,
    frame: usize,
    split: bool,
) -> io::Result<()> {
    let mut buffer = vec![0; room.max(2 * frame)];
    let mut filled = 0;
    loop {
        let octets = stream.read(&mut buffer[filled..]).await?;
        if octets == 0 {
            return Ok(());
        }
        filled += octets;
        let whole = filled / frame * frame;
        if split {
            write_in_three(&mut stream, &buffer[..whole], frame).await?;
        } else {
            stream.write_all(&buffer[..whole]).await?;
        }
        stream.flush().await?;
        buffer.copy_within(whole..filled, 0);
        filled -= whole;
    }
}

/// Writes each frame as SCAMP's three packets, one write each.
async fn write_in_three(
    stream: &mut (impl AsyncWrite + Unpin),
    frames: &[u8],
    frame: usize,
) -> io::Result<()> {
    for one in frames.chunks(frame) {
        let (header, rest) = one.split_at(frame / 2);
        let (data, eof) = rest.split_at(rest.len() - 18);
        for part in [header, data, eof] {
            stream.write_all(part).await?;
            stream.flush().await?;
        }
    }
    Ok(())
}

/// The server's end of bulk: pieces of `chunk` octets, short ones together as far as a record goes,
/// with at most `window` unacknowledged where there is a window, but always one piece.
async fn pour_out(mut stream: ServerStream, window: Option<usize>, chunk: usize) -> io::Result<()> {
    let together = (RECORD_SIZE / chunk).max(1);
    let pieces = vec![b'x'; chunk * together];
    let Some(window) = window else {
        loop {
            stream.write_all(&pieces).await?;
        }
    };
    let (piece_size, window) = (chunk as u64, window.max(chunk) as u64);
    let (mut sent, mut acknowledged) = (0_u64, 0_u64);
    let mut acks = vec![0; READ_SIZE];
    let mut partial = 0;
    loop {
        loop {
            let room = (acknowledged + window).saturating_sub(sent) / piece_size;
            let octets = chunk * usize::try_from(room).map_or(together, |room| room.min(together));
            if octets == 0 {
                break;
            }
            stream.write_all(&pieces[..octets]).await?;
            sent += octets as u64;
        }
        stream.flush().await?;
        let octets = stream.read(&mut acks[partial..]).await?;
        if octets == 0 {
            return Ok(());
        }
        let filled = partial + octets;
        let whole = filled / ACK_SIZE * ACK_SIZE;
        if let Some(last) = acks[..whole].chunks_exact(ACK_SIZE).last() {
            acknowledged = read_total(last);
        }
        acks.copy_within(whole..filled, 0);
        partial = filled - whole;
    }
}

/// The client's end of bulk: reads a record's worth at a time. With `each` it acknowledges as soon
/// as that many octets are unacknowledged, but no more than once for each read.
async fn take_in(mut stream: ClientStream, each: Option<u64>, run: &Run) -> io::Result<()> {
    let mut buffer = vec![0; RECORD_SIZE];
    let (mut total, mut acknowledged) = (0_u64, 0_u64);
    while !run.is_over() {
        let octets = stream.read(&mut buffer).await?;
        if octets == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        run.add_octets(octets);
        total += octets as u64;
        if each.is_some_and(|each| total - acknowledged >= each) {
            let mut ack = [b' '; ACK_SIZE];
            ack[..8].copy_from_slice(&total.to_be_bytes());
            stream.write_all(&ack).await?;
            acknowledged = total;
        }
    }
    Ok(())
}

fn read_total(ack: &[u8]) -> u64 {
    ack.iter()
        .take(8)
        .fold(0, |total, octet| total << 8 | u64::from(*octet))
}

fn too_much() -> io::Error {
    io::Error::other("more came back than was sent")
}

/// Octets asked for in one read of an echo.
const READ_SIZE: usize = 65_536;
/// Octets asked for in one read of bulk: one TLS record.
const RECORD_SIZE: usize = 16_384;
/// Octets of an acknowledgement, as long as SCAMP's.
const ACK_SIZE: usize = 21;
