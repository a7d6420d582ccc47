//! A client that keeps no rule: TLS, and whatever octets a test wants inside.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use scamp_tests::naive::packets;
use scamp_tests::naive::{Packet, PacketType};
use scamp_tls::default_provider;
use scamp_tls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use scamp_tls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use scamp_tls::rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, StreamOwned,
};

use crate::face::{PATIENCE, RUNTIME};

/// A TLS connection that says what it is told.
pub(crate) struct Raw {
    stream: StreamOwned<ClientConnection, TcpStream>,
    received: Vec<u8>,
}

impl Raw {
    pub(crate) fn connect(address: &str) -> Self {
        Self::over(TcpStream::connect(address).unwrap())
    }

    /// A connection whose system keeps only a few octets for us to read.
    pub(crate) fn connect_narrow(address: &str) -> Self {
        let socket = RUNTIME.block_on(async {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.set_recv_buffer_size(4096).unwrap();
            socket.connect(address.parse().unwrap()).await.unwrap()
        });
        let socket = socket.into_std().unwrap();
        socket.set_nonblocking(false).unwrap();
        Self::over(socket)
    }

    fn over(socket: TcpStream) -> Self {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        let config = ClientConfig::builder_with_provider(default_provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anyone))
            .with_no_client_auth();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let tls = ClientConnection::new(Arc::new(config), name).unwrap();
        Self {
            stream: StreamOwned::new(tls, socket),
            received: Vec::new(),
        }
    }

    /// Sends, and says whether the peer still took it.
    pub(crate) fn send(&mut self, octets: &[u8]) -> bool {
        self.stream
            .write_all(octets)
            .and_then(|()| self.stream.flush())
            .is_ok()
    }

    /// Sends what `octets` makes, `times` times or until the peer takes no more; says how often.
    pub(crate) fn send_all(&mut self, times: usize, octets: impl Fn(usize) -> Vec<u8>) -> usize {
        // Several at a time: one TLS record each would be slow.
        let mut batch = Vec::new();
        for n in 0..times {
            batch.extend(octets(n));
            if batch.len() >= 16_384 || n + 1 == times {
                if !self.send(&batch) {
                    return n;
                }
                batch.clear();
            }
        }
        times
    }

    /// Receives something; `false` once the peer has closed.
    pub(crate) fn receive(&mut self, most: usize) -> bool {
        let mut room = vec![0; most];
        match self.stream.read(&mut room) {
            Ok(0) => false,
            Ok(count) => {
                self.received.extend_from_slice(&room[..count]);
                true
            }
            Err(error) => {
                let is_timeout = matches!(
                    error.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                );
                assert!(!is_timeout, "the peer neither closes nor speaks");
                false
            }
        }
    }

    /// Receives until the peer closes.
    pub(crate) fn wait_closed(&mut self) {
        while self.receive(1 << 16) {}
    }

    /// Receives until the first packet of this kind is there; returns all before it, and it.
    pub(crate) fn wait_for(&mut self, kind: PacketType) -> Vec<Packet> {
        let is_it = |packet: &Packet| packet.packet_type == kind;
        let mut packets = self.wait_until(|packets| packets.iter().any(is_it));
        let last = packets.iter().position(is_it).unwrap();
        packets.truncate(last + 1);
        packets
    }

    /// Receives until the packets there are enough; returns them.
    pub(crate) fn wait_until(&mut self, is_enough: impl Fn(&[Packet]) -> bool) -> Vec<Packet> {
        loop {
            let packets = self.packets();
            if is_enough(&packets) {
                return packets;
            }
            assert!(self.receive(1 << 16), "closed before that");
        }
    }

    /// All packets received so far.
    fn packets(&self) -> Vec<Packet> {
        packets::parse(&self.received, 131_072).packets
    }
}

/// A packet.
pub(crate) fn packet(kind: &str, msgno: usize, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut octets = format!("{kind} {msgno} {}\r\n", body.len()).into_bytes();
    octets.extend_from_slice(body);
    octets.extend_from_slice(b"END\r\n");
    octets
}

/// The HEADER of a request, with the number of its message as its id, plus one.
pub(crate) fn request(msgno: usize, action: &str) -> Vec<u8> {
    let id = msgno + 1;
    let header = format!(r#"{{"type":"request","request_id":{id},"action":"{action}"}}"#);
    packet("HEADER", msgno, header)
}

/// A whole request.
pub(crate) fn whole_request(msgno: usize, action: &str, body: &str) -> Vec<u8> {
    [
        request(msgno, action),
        packet("DATA", msgno, body),
        packet("EOF", msgno, ""),
    ]
    .concat()
}

/// Believes everybody; only a test may.
#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
