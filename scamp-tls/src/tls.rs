//! TLS around a machine.

use std::fmt;
use std::io::{self, BufRead, IoSlice, Write};
use std::sync::Arc;
use std::time::Duration;

use bytes::Buf;
use rustls::{ClientConnection, Connection, HandshakeKind, ServerConnection};
use scamp_proto::error::Loss;
use scamp_proto::{Duplex, End, Instant, Outbox, limits};

use crate::loss::loss;
use crate::{ClientTls, Peer, Pin, ServerTls, TlsVersion};

/// A machine inside TLS: ciphertext outside, what `inner` speaks inside.
///
/// ```text
/// Shaking ──certificate judged──> Open ──inner is done, close_notify──> Lingering ──peer closes, or 1 s──┐
///    │                             │  └──peer closes──> HalfClosed ──inner is done, close_notify────────┤
///    └─────────failure─────────────┴──failure, with an alert────────────────────────────────────────> Ended
/// ```
///
/// A failure of any kind reaches the inner machine as [`End::Lost`], once; during the handshake the
/// machine has then been neither fed nor asked for output, so it knows that nothing was sent (L-3).
/// Its own deadlines run all the time.
///
/// # Example
///
/// Two ends in memory. The client's machine here is a mere stand-in for a
/// [`Session`](scamp_proto::Session).
///
/// ```
/// # use scamp_proto::{Duplex, End, Instant, Outbox};
/// # #[derive(Default)]
/// # struct Machine { say: Option<&'static [u8]>, heard: Vec<u8> }
/// # impl Duplex for Machine {
/// #     fn receive(&mut self, _: Instant, bytes: &[u8]) { self.heard.extend(bytes) }
/// #     fn receive_end(&mut self, _: Instant, _: End) {}
/// #     fn wants_read(&self) -> bool { true }
/// #     fn poll_transmit(&mut self, _: Instant, out: &mut Outbox) -> Option<usize> {
/// #         self.say.take().map(|say| { out.put(say); say.len() })
/// #     }
/// #     fn poll_timeout(&self) -> Option<Instant> { None }
/// #     fn handle_timeout(&mut self, _: Instant) {}
/// #     fn is_drained(&self) -> bool { false }
/// # }
/// use scamp_tls::{ClientTls, Identity, Pin, ServerTls, Tls};
///
/// let certificate = include_str!("../tests/data/rsa2048.crt");
/// let identity = Identity::from_pem(certificate, include_str!("../tests/data/rsa2048.key"))?;
/// let pin = Pin::Fingerprint(identity.fingerprint());
///
/// let now = Instant::EPOCH;
/// let asker = Machine { say: Some(b"PING 0 0\r\nEND\r\n"), ..Machine::default() };
/// let mut client = Tls::client(asker, &ClientTls::new("127.0.0.1", pin), now);
/// let mut server = Tls::server(Machine::default(), &ServerTls::new(identity), now);
///
/// let mut wire = Outbox::default();
/// loop {
///     let mut moved = 0;
///     while client.poll_transmit(now, &mut wire).is_some() {
///         moved += 1;
///         server.receive(now, &wire.take_all());
///     }
///     while server.poll_transmit(now, &mut wire).is_some() {
///         moved += 1;
///         client.receive(now, &wire.take_all());
///     }
///     if moved == 0 {
///         break;
///     }
/// }
/// assert!(client.peer().is_some_and(|peer| peer.is_pinned()));
/// assert_eq!(server.inner().heard, b"PING 0 0\r\nEND\r\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Tls<M> {
    inner: M,
    /// Gone once nothing more can come in or go out.
    tls: Option<Connection>,
    state: State,
    /// What the handshake found, once it is complete.
    found: Option<Found>,
    /// Handed over by the inner machine, and not yet in a record.
    plain: Outbox,
    /// Octets that have gone through `plain` since its memory was last given back.
    passed: usize,
}

#[derive(Debug)]
enum State {
    /// The handshake runs; nothing passes between the inner machine and the peer (L-3).
    Shaking(Shaking),
    /// Both directions are open.
    Open,
    /// The peer has closed its direction; ours is open.
    HalfClosed,
    /// We have closed our direction, and the peer has until then to close its own (S-35).
    Lingering(Instant),
    /// Nothing more is read; what rustls still holds, such as an alert, goes out.
    Ended,
}

#[derive(Debug)]
struct Shaking {
    deadline: Instant,
    /// What the deadline was made from, for the error's text.
    timeout: Duration,
    /// Octets received so far (HD-19).
    received: usize,
    /// What a client wants to find.
    pin: Option<Arc<Pin>>,
}

struct Found {
    peer: Option<Peer>,
    resumed: bool,
    version: Option<TlsVersion>,
}

impl<M: Duplex> Tls<M> {
    /// The connecting end; its first output begins the handshake.
    ///
    /// `now` is when connecting began: the handshake's deadline counts from it. A `Tls` may be made
    /// before the transport is there, so that the inner machine can queue work meanwhile.
    pub fn client(inner: M, tls: &ClientTls, now: Instant) -> Self {
        let connection = ClientConnection::new(tls.config.clone(), tls.server_name.clone());
        let pin = Some(tls.pin.clone());
        Self::new(
            inner,
            connection.map(Connection::Client),
            tls.handshake_timeout,
            pin,
            now,
        )
    }

    /// The accepting end, for a connection accepted at `now`.
    pub fn server(inner: M, tls: &ServerTls, now: Instant) -> Self {
        let connection = ServerConnection::new(tls.config.clone());
        Self::new(
            inner,
            connection.map(Connection::Server),
            tls.handshake_timeout,
            None,
            now,
        )
    }

    fn new(
        inner: M,
        connection: Result<Connection, rustls::Error>,
        timeout: Duration,
        pin: Option<Arc<Pin>>,
        now: Instant,
    ) -> Self {
        let (connection, fault) = match connection {
            Ok(connection) => (Some(connection), None),
            Err(error) => (None, Some(error)),
        };
        let shaking = Shaking {
            deadline: now + timeout,
            timeout,
            received: 0,
            pin,
        };
        let mut this = Self {
            inner,
            tls: connection,
            state: State::Shaking(shaking),
            found: None,
            plain: Outbox::default(),
            passed: 0,
        };
        // No random numbers, for instance. It leaves by the same door as every other failure.
        if let Some(error) = fault {
            this.fail(now, loss(&error));
        }
        this
    }

    /// The machine inside.
    pub fn inner(&self) -> &M {
        &self.inner
    }

    /// The machine inside, for commands; drain [`poll_transmit`](Duplex::poll_transmit) afterwards.
    pub fn inner_mut(&mut self) -> &mut M {
        &mut self.inner
    }

    /// The machine inside, without its TLS.
    pub fn into_inner(self) -> M {
        self.inner
    }

    /// Whether the handshake has been completed and the certificate judged; stays true afterwards.
    pub fn is_established(&self) -> bool {
        self.found.is_some()
    }

    /// Whom a client has reached, once the connection is established; `None` on a server (L-7).
    pub fn peer(&self) -> Option<&Peer> {
        self.found.as_ref()?.peer.as_ref()
    }

    /// Whether the handshake resumed an earlier session.
    pub fn is_resumed(&self) -> bool {
        self.found.as_ref().is_some_and(|found| found.resumed)
    }

    /// What both ends speak, once the connection is established.
    pub fn version(&self) -> Option<TlsVersion> {
        self.found.as_ref()?.version
    }

    /// Takes some octets from the front of `bytes`, and passes on what they complete.
    fn take_records(&mut self, now: Instant, bytes: &mut &[u8]) {
        let Some(tls) = &mut self.tls else { return };
        let room = match &self.state {
            State::Shaking(shaking) => HANDSHAKE_OCTETS.saturating_sub(shaking.received),
            State::Open | State::HalfClosed | State::Lingering(_) | State::Ended => bytes.len(),
        };
        let offered = bytes.get(..room).unwrap_or(bytes);
        if offered.is_empty() {
            let text = format!("more than {HANDSHAKE_OCTETS} octets without a handshake");
            return self.fail(now, Loss::Tls(text));
        }
        let mut left = offered;
        let taken = tls.read_tls(&mut left).map(|_| offered.len() - left.len());
        let processed = tls.process_new_packets();

        let count = *taken.as_ref().unwrap_or(&0);
        *bytes = bytes.get(count..).unwrap_or_default();
        if let State::Shaking(shaking) = &mut self.state {
            shaking.received += count;
        }
        // What came before a fault counts, however the stream was cut.
        self.complete_handshake(now);
        self.deliver(now);
        match (processed, taken) {
            (Err(error), _) => self.fail(now, loss(&error)),
            (Ok(_), Err(error)) => self.fail(now, Loss::Tls(error.to_string())),
            // rustls takes nothing after close_notify, which has been acted on, and never otherwise.
            (Ok(_), Ok(0)) => self.fail(now, Loss::Tls("input not taken".into())),
            (Ok(_), Ok(_)) => {}
        }
    }

    /// Opens the connection if the handshake is complete and the peer is who it should be.
    fn complete_handshake(&mut self, now: Instant) {
        let (State::Shaking(shaking), Some(tls)) = (&self.state, &self.tls) else {
            return;
        };
        if tls.is_handshaking() {
            return;
        }
        let peer = match &shaking.pin {
            // The verifier has seen it in a full handshake, but not in a resumed one (L-5).
            Some(pin) => Peer::judge(pin, tls.peer_certificates()).map(Some),
            None => Ok(None),
        };
        match peer {
            Ok(peer) => {
                let resumed = tls.handshake_kind() == Some(HandshakeKind::Resumed);
                let version = tls.protocol_version().and_then(TlsVersion::of);
                self.found = Some(Found {
                    peer,
                    resumed,
                    version,
                });
                self.state = State::Open;
            }
            Err(untrusted) => self.fail(now, untrusted.into()),
        }
    }

    /// Passes on everything that has been decrypted, and the peer's farewell.
    fn deliver(&mut self, now: Instant) {
        while let (State::Open | State::Lingering(_), Some(tls)) = (&self.state, &mut self.tls) {
            let len = match tls.reader().fill_buf() {
                Ok([]) => return self.peer_closed(now, End::Eof),
                Ok(plain) => {
                    self.inner.receive(now, plain);
                    plain.len()
                }
                // Nothing more for now.
                Err(_) => return,
            };
            tls.reader().consume(len);
        }
    }

    fn peer_closed(&mut self, now: Instant, end: End) {
        match self.state {
            State::Open => self.state = State::HalfClosed,
            State::Lingering(_) => self.state = State::Ended,
            State::Shaking(_) | State::HalfClosed | State::Ended => return,
        }
        self.inner.receive_end(now, end);
    }

    /// Ends it all; what rustls has to say to the peer, such as an alert, still goes out.
    fn fail(&mut self, now: Instant, loss: Loss) {
        if matches!(self.state, State::Ended) {
            return;
        }
        self.state = State::Ended;
        self.plain = Outbox::default();
        self.inner.receive_end(now, End::Lost(loss));
    }

    /// Ends it all without another octet: there is nowhere to send it.
    fn abandon(&mut self, now: Instant, loss: Loss) {
        self.fail(now, loss);
        self.tls = None;
    }

    /// Puts what the inner machine has to say into records, and returns how many octets it was.
    ///
    /// While the machine has more, only full records are made; the rest waits to fill the next one
    /// (performance 3, rules 1, 2 and 13).
    fn seal(&mut self, now: Instant) -> usize {
        let Some(tls) = &mut self.tls else { return 0 };
        let has_more = loop {
            let before = self.plain.remaining();
            if before >= RECORD {
                break true;
            }
            let added = self.inner.poll_transmit(now, &mut self.plain);
            if added.is_none() || self.plain.remaining() == before {
                break false;
            }
        };
        let waiting = self.plain.remaining();
        let full = if has_more {
            waiting - waiting % RECORD
        } else {
            waiting
        };
        let mut sealed = 0;
        while sealed < full {
            match write(tls, &self.plain, full - sealed) {
                // rustls holds 64 KiB at most; the rest goes when that has gone.
                0 => break,
                count => {
                    self.plain.advance(count);
                    sealed += count;
                }
            }
        }
        self.passed += sealed;
        if self.passed > PASSED && !self.plain.is_empty() {
            self.renew_plain();
        }
        if !has_more && self.plain.is_empty() && self.inner.is_drained() {
            self.close(now);
        }
        sealed
    }

    /// Gives back the memory of what has gone; an [`Outbox`] does so by itself only when it is empty,
    /// and while the machine always has more it never is.
    fn renew_plain(&mut self) {
        let rest = self.plain.take_all();
        self.plain.release();
        self.plain.lend(rest.into());
        self.passed = 0;
    }

    /// Says farewell; the peer's is waited for if the machine listens on (S-35), as it does not after
    /// a violation.
    fn close(&mut self, now: Instant) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
        }
        match self.state {
            State::Open if self.inner.wants_read() => {
                self.state = State::Lingering(now + limits::CLOSE_LINGER);
            }
            State::Open | State::Lingering(_) | State::Shaking(_) => {
                self.state = State::Ended;
                self.inner.receive_end(now, End::Cut);
            }
            State::HalfClosed | State::Ended => self.state = State::Ended,
        }
    }
}

impl<M: Duplex> Duplex for Tls<M> {
    fn receive(&mut self, now: Instant, mut bytes: &[u8]) {
        // All of it is taken, even if the inner machine has enough by now: it has asked the driver
        // to stop, and what was read by then is the driver's to bound.
        let many = bytes.len() > DEFRAMER;
        while !bytes.is_empty() {
            match self.state {
                State::Shaking(_) | State::Open | State::Lingering(_) => {}
                State::HalfClosed | State::Ended => return,
            }
            self.take_records(now, &mut bytes);
        }
        match &mut self.tls {
            Some(tls) if many => shrink(tls),
            Some(_) | None => {}
        }
    }

    fn receive_end(&mut self, now: Instant, end: End) {
        match (end, &self.state) {
            (End::Lost(loss), _) => self.abandon(now, loss),
            (_, State::Shaking(_)) => {
                self.abandon(
                    now,
                    Loss::Tls("connection closed during the handshake".into()),
                );
            }
            // No close_notify, so anybody may have cut it (F-3, F-4).
            (_, State::Open | State::HalfClosed | State::Lingering(_) | State::Ended) => {
                self.peer_closed(now, End::Cut);
            }
        }
    }

    fn wants_read(&self) -> bool {
        match self.state {
            State::Shaking(_) => true,
            State::Open | State::Lingering(_) => self.inner.wants_read(),
            State::HalfClosed | State::Ended => false,
        }
    }

    fn poll_transmit(&mut self, now: Instant, out: &mut Outbox) -> Option<usize> {
        let sealed = match self.state {
            State::Open | State::HalfClosed => self.seal(now),
            State::Shaking(_) if self.inner.is_drained() => {
                self.close(now);
                0
            }
            State::Lingering(_) if !self.inner.wants_read() => {
                self.close(now);
                0
            }
            State::Shaking(_) | State::Lingering(_) | State::Ended => 0,
        };
        let tls = self.tls.as_mut()?;
        let before = out.remaining();
        while tls.wants_write() && out.append_with(|text| tls.write_tls(text)).is_ok() {}
        let added = out.remaining() - before;
        // In TLS 1.2 rustls drops what it is given once its keys are worn out.
        if sealed > 0 && added < sealed + RECORD_OVERHEAD {
            self.fail(now, Loss::Tls("the connection's keys are worn out".into()));
        }
        if added > 0 {
            return Some(added);
        }
        if self.passed > KEPT && self.plain.is_empty() {
            self.renew_plain();
        }
        if matches!(self.state, State::Ended) {
            self.tls = None;
        }
        None
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let own = match &self.state {
            State::Shaking(shaking) => Some(shaking.deadline),
            State::Lingering(until) => Some(*until),
            State::Open | State::HalfClosed | State::Ended => None,
        };
        [own, self.inner.poll_timeout()].into_iter().flatten().min()
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.inner.handle_timeout(now);
        match &self.state {
            State::Shaking(shaking) if now >= shaking.deadline => {
                let timeout = shaking.timeout;
                self.abandon(now, Loss::ConnectTimeout(timeout));
            }
            State::Lingering(until) if now >= *until => self.peer_closed(now, End::Cut),
            State::Shaking(_)
            | State::Open
            | State::HalfClosed
            | State::Lingering(_)
            | State::Ended => {}
        }
    }

    fn is_drained(&self) -> bool {
        match self.state {
            State::Ended => self.tls.as_ref().is_none_or(|tls| !tls.wants_write()),
            State::Shaking(_) | State::Open | State::HalfClosed | State::Lingering(_) => false,
        }
    }
}

impl<M: fmt::Debug> fmt::Debug for Tls<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("state", &self.state)
            .field(
                "peer",
                &self.found.as_ref().and_then(|found| found.peer.as_ref()),
            )
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

/// Seals up to `limit` octets from the front of `plain` and returns how many.
fn write(tls: &mut Connection, plain: &Outbox, limit: usize) -> usize {
    let mut pieces = [IoSlice::new(&[]); PIECES];
    let used = plain.chunks_vectored(&mut pieces);
    let mut cut = [IoSlice::new(&[]); PIECES];
    let (mut count, mut left) = (0, limit);
    for (slot, piece) in cut.iter_mut().zip(pieces.iter().take(used)) {
        let piece = piece.get(..left).unwrap_or(piece);
        if piece.is_empty() {
            break;
        }
        *slot = IoSlice::new(piece);
        left -= piece.len();
        count += 1;
    }
    let cut = cut.get(..count).unwrap_or_default();
    // The only error is that of a connection which failed before, and that is no longer asked.
    tls.writer().write_vectored(cut).unwrap_or(0)
}

/// Lets rustls give back an input buffer that one large record has made grow (performance 3, rule 12).
///
/// It does so at the next read if nothing waits in the buffer, so it gets a read without octets, which
/// must not look like the end of the stream.
fn shrink(tls: &mut Connection) {
    struct NothingYet;
    impl io::Read for NothingYet {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::WouldBlock.into())
        }
    }
    // The error is the one just made.
    let _ = tls.read_tls(&mut NothingYet);
}

/// Octets accepted before the handshake is complete (HD-19).
pub const HANDSHAKE_OCTETS: usize = 65_536;

/// Plaintext octets of a full record (performance 3, rule 13).
const RECORD: usize = limits::TURN;

/// What the smallest record adds to its plaintext, in octets: five of header, sixteen of tag.
const RECORD_OVERHEAD: usize = 21;

/// Pieces sealed at a time; one turn has fewer, unless bodies are lent in great numbers.
const PIECES: usize = 32;

/// After so many octets of plaintext its memory is given back when it is empty.
const KEPT: usize = 4096;

/// After so many octets of plaintext its memory is given back even if it is not.
const PASSED: usize = 4 * RECORD;

/// What rustls reads at a time, in octets, and so the size its input buffer has when it is idle.
const DEFRAMER: usize = 4096;
