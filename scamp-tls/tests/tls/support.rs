//! Two ends, a wire, and a machine that records what happens to it.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::sync::Arc;

use bytes::Bytes;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, ServerConnection};
use scamp_proto::{Duplex, End, Instant, Outbox};
use scamp_tls::{ClientTls, Identity, Options, Pin, ServerTls, Tls, Versions};

pub(crate) const VERSIONS: [Versions; 2] = [Versions::Tls12, Versions::Tls13];

/// Both crypto providers; everything here holds for each.
pub(crate) fn providers() -> [Arc<CryptoProvider>; 2] {
    [
        Arc::new(rustls::crypto::ring::default_provider()),
        Arc::new(rustls::crypto::aws_lc_rs::default_provider()),
    ]
}

/// Each provider with each version of TLS.
pub(crate) fn every_options() -> Vec<Options> {
    let mut all = Vec::new();
    for provider in providers() {
        for versions in VERSIONS {
            all.push(Options::with_provider(provider.clone()).versions(versions));
        }
    }
    all
}

/// The default provider with each version of TLS, for what does not depend on the provider.
pub(crate) fn both_versions() -> impl Iterator<Item = Options> {
    VERSIONS
        .into_iter()
        .map(|versions| Options::default().versions(versions))
}

pub(crate) fn read(file: &str) -> Vec<u8> {
    let path = format!("{}/tests/data/{file}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

pub(crate) fn certificate(file: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(&read(file)).unwrap()
}

/// The identity in `tests/data/NAME.crt` and `.key`.
pub(crate) fn identity(name: &str) -> Identity {
    Identity::from_pem(read(&format!("{name}.crt")), read(&format!("{name}.key"))).unwrap()
}

/// Does nothing but record, and say what it was told to say.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    /// Handed over one piece for each call.
    pub(crate) say: VecDeque<Bytes>,
    pub(crate) heard: Vec<u8>,
    pub(crate) ends: Vec<End>,
    /// Calls of `poll_transmit` and `receive`.
    pub(crate) asked: usize,
    pub(crate) fed: usize,
    /// Set to refuse input.
    pub(crate) full: bool,
    /// Set to be done once everything is said.
    pub(crate) finishing: bool,
    /// Set to be done at once, like a machine that has seen a violation.
    pub(crate) drained: bool,
    pub(crate) alarm: Option<Instant>,
    pub(crate) alarms: Vec<Instant>,
}

impl Recorder {
    pub(crate) fn saying(pieces: &[&'static [u8]]) -> Self {
        let say = pieces
            .iter()
            .map(|piece| Bytes::from_static(piece))
            .collect();
        Self {
            say,
            ..Self::default()
        }
    }

    pub(crate) fn say(&mut self, piece: impl Into<Bytes>) {
        self.say.push_back(piece.into());
    }
}

impl Duplex for Recorder {
    fn receive(&mut self, _now: Instant, bytes: &[u8]) {
        self.fed += 1;
        self.heard.extend(bytes);
    }

    fn receive_end(&mut self, _now: Instant, end: End) {
        self.ends.push(end);
    }

    fn wants_read(&self) -> bool {
        !self.full && self.ends.is_empty() && !self.drained
    }

    fn poll_transmit(&mut self, _now: Instant, out: &mut Outbox) -> Option<usize> {
        self.asked += 1;
        let piece = self.say.pop_front()?;
        let len = piece.len();
        out.lend(piece);
        Some(len)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.alarm
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.alarm.is_some_and(|alarm| now >= alarm) {
            self.alarm = None;
            self.alarms.push(now);
        }
    }

    fn is_drained(&self) -> bool {
        self.drained || self.finishing && self.say.is_empty()
    }
}

/// A client and a server, and what travels between them.
pub(crate) struct Pair {
    pub(crate) client: Tls<Recorder>,
    pub(crate) server: Tls<Recorder>,
    pub(crate) now: Instant,
    /// The wire delivers pieces of this many octets.
    pub(crate) cut: usize,
    /// Everything that went to the server, and everything that went to the client.
    pub(crate) sent: [Vec<u8>; 2],
}

impl Pair {
    pub(crate) fn new(client: &ClientTls, server: &ServerTls) -> Self {
        Self::with(Recorder::default(), client, Recorder::default(), server)
    }

    pub(crate) fn with(
        asker: Recorder,
        client: &ClientTls,
        answerer: Recorder,
        server: &ServerTls,
    ) -> Self {
        let now = Instant::EPOCH;
        Self {
            client: Tls::client(asker, client, now),
            server: Tls::server(answerer, server, now),
            now,
            cut: usize::MAX,
            sent: [Vec::new(), Vec::new()],
        }
    }

    /// Two ends that fit: `tests/data/rsa2048`, pinned.
    pub(crate) fn ordinary(options: &Options) -> Self {
        let identity = identity("rsa2048");
        let client = client_tls(Pin::Fingerprint(identity.fingerprint()), options);
        Self::new(&client, &server_tls(identity, options))
    }

    /// The same, established.
    pub(crate) fn established(options: &Options) -> Self {
        let mut pair = Self::ordinary(options);
        pair.settle();
        assert!(pair.client.is_established() && pair.server.is_established());
        pair
    }

    /// Carries octets to and fro until both ends are silent.
    pub(crate) fn settle(&mut self) {
        loop {
            let up = drain(&mut self.client, self.now);
            feed(&mut self.server, self.now, &up, self.cut);
            let down = drain(&mut self.server, self.now);
            feed(&mut self.client, self.now, &down, self.cut);
            if up.is_empty() && down.is_empty() {
                return;
            }
            self.sent[0].extend(up);
            self.sent[1].extend(down);
        }
    }
}

pub(crate) fn client_tls(pin: Pin, options: &Options) -> ClientTls {
    ClientTls::with_options("127.0.0.1", pin, options).unwrap()
}

pub(crate) fn server_tls(identity: Identity, options: &Options) -> ServerTls {
    ServerTls::with_options(identity, options).unwrap()
}

/// Everything an end has to send now.
pub(crate) fn drain(end: &mut impl Duplex, now: Instant) -> Vec<u8> {
    let mut out = Outbox::default();
    let mut all = Vec::new();
    while let Some(count) = end.poll_transmit(now, &mut out) {
        let piece = out.take_all();
        assert_eq!(piece.len(), count);
        all.extend(piece);
    }
    all
}

/// Gives octets to an end in pieces, as long as it wants them.
pub(crate) fn feed(end: &mut impl Duplex, now: Instant, octets: &[u8], cut: usize) {
    for piece in octets.chunks(cut.min(octets.len()).max(1)) {
        if end.wants_read() {
            end.receive(now, piece);
        }
    }
}

/// The lengths of the TLS records in a stream, headers included, and their types.
pub(crate) fn records(mut stream: &[u8]) -> Vec<(u8, usize)> {
    let mut records = Vec::new();
    while let [kind, _, _, high, low, ..] = stream {
        let len = 5 + usize::from(u16::from_be_bytes([*high, *low]));
        records.push((*kind, len));
        stream = &stream[len..];
    }
    assert!(stream.is_empty());
    records
}

/// A server of plain rustls that presents any certificate with any key.
pub(crate) fn bare_server(
    certificate: &str,
    key: &str,
    versions: Versions,
    provider: &Arc<CryptoProvider>,
) -> ServerConnection {
    bare_server_with(
        vec![self::certificate(certificate)],
        key,
        versions,
        provider,
    )
}

/// The same, with more certificates.
pub(crate) fn bare_server_with(
    chain: Vec<CertificateDer<'static>>,
    key: &str,
    versions: Versions,
    provider: &Arc<CryptoProvider>,
) -> ServerConnection {
    let versions: &[&rustls::SupportedProtocolVersion] = match versions {
        Versions::Tls12 => &[&rustls::version::TLS12],
        Versions::Tls13 => &[&rustls::version::TLS13],
        Versions::Any => rustls::ALL_VERSIONS,
    };
    let key = PrivateKeyDer::from_pem_slice(&read(key)).unwrap();
    let key = provider.key_provider.load_private_key(key).unwrap();
    let certified = CertifiedKey::new(chain, key);
    let config = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Shows(Arc::new(certified))));
    ServerConnection::new(Arc::new(config)).unwrap()
}

#[derive(Debug)]
struct Shows(Arc<CertifiedKey>);

impl ResolvesServerCert for Shows {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

/// Carries octets between a client and a bare server; returns the plaintext the server got.
pub(crate) fn settle_bare(
    client: &mut Tls<Recorder>,
    server: &mut ServerConnection,
    now: Instant,
) -> Vec<u8> {
    let mut plain = Vec::new();
    loop {
        let up = drain(client, now);
        let mut rest = &up[..];
        while !rest.is_empty() {
            if server.read_tls(&mut rest).is_err() || server.process_new_packets().is_err() {
                break;
            }
            let _ = server.reader().read_to_end(&mut plain);
        }
        let mut down = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut down).unwrap();
        }
        feed(client, now, &down, usize::MAX);
        if up.is_empty() && down.is_empty() {
            return plain;
        }
    }
}

/// The records a bare server makes of these octets.
pub(crate) fn sealed(server: &mut ServerConnection, plain: &[u8]) -> Vec<u8> {
    server.writer().write_all(plain).unwrap();
    let mut out = Vec::new();
    while server.wants_write() {
        server.write_tls(&mut out).unwrap();
    }
    out
}
