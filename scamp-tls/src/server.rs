//! What an accepting end needs.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::{ConfigError, Identity, Options};

/// TLS for connections that a service accepts, shared by all of them; cheap to clone.
///
/// It asks clients for no certificate, since none has one (L-7), and offers them resumption.
///
/// # Example
///
/// ```no_run
/// use std::fs;
/// use scamp_tls::{Identity, ServerTls};
///
/// let identity = Identity::from_pem(fs::read("service.crt")?, fs::read("service.key")?)?;
/// let tls = ServerTls::new(identity);
/// println!("announcing {}", tls.identity().fingerprint());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct ServerTls {
    pub(crate) config: Arc<ServerConfig>,
    pub(crate) handshake_timeout: Duration,
    identity: Identity,
}

impl ServerTls {
    /// Presents `identity`, with the default options.
    #[cfg(any(feature = "aws-lc-rs", feature = "ring"))]
    pub fn new(identity: Identity) -> Self {
        Self::with_options(identity, &Options::default())
            .expect("the providers we choose from serve both TLS versions")
    }

    /// Presents `identity`, with options of the caller's choice.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Provider`] when the crypto provider lacks what the TLS versions need.
    pub fn with_options(identity: Identity, options: &Options) -> Result<Self, ConfigError> {
        // The resolver's path never parses the certificate, so X.509 v1 will do (L-8).
        let config = ServerConfig::builder_with_provider(options.provider.clone())
            .with_protocol_versions(options.protocol_versions())?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Always(identity.certified_key())));
        Ok(Self {
            config: Arc::new(config),
            handshake_timeout: options.handshake_timeout,
            identity,
        })
    }

    /// Whom it presents.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls")
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

/// Presents the one certificate there is.
struct Always(Arc<CertifiedKey>);

impl ResolvesServerCert for Always {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

impl fmt::Debug for Always {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Always")
    }
}
