//! The TLS that every kind uses: ring, TLS 1.3, one PF-256 certificate, TCP_NODELAY.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

/// The accepting end of a connection.
pub type ServerStream = server::TlsStream<Counted>;
/// The connecting end of a connection.
pub type ClientStream = client::TlsStream<Counted>;

/// Where a server listens, and with which certificate.
pub struct Listener {
    tcp: TcpListener,
    tls: TlsAcceptor,
    identity: Identity,
}

/// A certificate and its key, both as DER and as PEM; the key as PKCS #8.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate.
    pub certificate: Vec<u8>,
    /// The private key.
    pub key: Vec<u8>,
    /// The certificate, as PEM.
    pub certificate_pem: String,
    /// The private key, as PEM.
    pub key_pem: String,
}

/// Where a client connects, and which certificate it trusts.
#[derive(Clone)]
pub struct Target {
    /// The server's address.
    pub address: SocketAddr,
    /// The server's certificate, as DER.
    pub certificate: Vec<u8>,
    tls: TlsConnector,
}

/// A socket that counts its write calls in [`writes`].
#[derive(Debug)]
pub struct Counted(TcpStream);

/// Write calls on all [`Counted`] sockets of this process so far.
pub fn writes() -> u64 {
    WRITES.load(Ordering::Relaxed)
}

impl Identity {
    /// Makes a self-signed PF-256 certificate for `localhost`.
    pub fn generate() -> io::Result<Self> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])
            .map_err(io::Error::other)?;
        Ok(Self {
            certificate: made.cert.der().to_vec(),
            key: made.signing_key.serialize_der(),
            certificate_pem: made.cert.pem(),
            key_pem: made.signing_key.serialize_pem(),
        })
    }
}

impl Listener {
    /// Listens on a free port of the loopback interface.
    pub async fn bind() -> io::Result<Self> {
        let identity = Identity::generate()?;
        let config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from(identity.certificate.clone())],
                PrivatePkcs8KeyDer::from(identity.key.clone()).into(),
            )
            .map_err(io::Error::other)?;
        let tcp = TcpListener::bind("127.0.0.1:0").await?;
        Ok(Self {
            tcp,
            tls: TlsAcceptor::from(Arc::new(config)),
            identity,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// What it shows to clients.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The next connection, with its handshake done.
    pub async fn accept(&self) -> io::Result<ServerStream> {
        let (stream, _) = self.accept_bare().await?;
        self.tls.accept(stream).await
    }

    /// The next connection and where it comes from, for a kind that does TLS itself.
    pub async fn accept_bare(&self) -> io::Result<(Counted, SocketAddr)> {
        let (tcp, from) = self.tcp.accept().await?;
        tcp.set_nodelay(true)?;
        Ok((Counted(tcp), from))
    }
}

impl Target {
    /// A server at `address` that shows exactly `certificate`.
    pub fn new(address: SocketAddr, certificate: Vec<u8>) -> io::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from(certificate.clone()))
            .map_err(io::Error::other)?;
        let config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            address,
            certificate,
            tls: TlsConnector::from(Arc::new(config)),
        })
    }

    /// A new connection, with its handshake done.
    pub async fn connect(&self) -> io::Result<ClientStream> {
        let stream = self.connect_bare().await?;
        let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
        self.tls.connect(name, stream).await
    }

    /// A new connection, for a kind that does TLS itself.
    pub async fn connect_bare(&self) -> io::Result<Counted> {
        let tcp = TcpStream::connect(self.address).await?;
        tcp.set_nodelay(true)?;
        Ok(Counted(tcp))
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        WRITES.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        WRITES.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.0).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl ::tonic::transport::server::Connected for Counted {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

/// The same provider for everybody, chosen by argument and not by what the process installed.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

static WRITES: AtomicU64 = AtomicU64::new(0);
