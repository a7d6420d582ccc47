//! What a connecting end needs, and the memory of past connections.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;

use crate::verifier::Verifier;
use crate::{ConfigError, Options, Pin};

/// TLS for connections to one service, shared by all of them; cheap to clone.
///
/// It remembers sessions, so that later connections shake hands faster. Keep one per service and
/// [`Pin`], for example in a [`ClientTlsCache`]: sessions are found by host alone, and two services
/// on one host must not find each other's (dependencies 3.4).
///
/// # Example
///
/// ```
/// use scamp_tls::{ClientTls, Fingerprint, Pin};
///
/// let announced: Fingerprint = "A9:99:3E:36:47:06:81:6A:BA:3E:25:71:78:50:C2:6C:9C:D0:D8:9D".parse()?;
/// let tls = ClientTls::new("10.1.2.3", Pin::Fingerprint(announced));
/// assert_eq!(tls.pin(), &Pin::from(announced));
/// # Ok::<(), scamp_tls::FingerprintError>(())
/// ```
#[derive(Clone)]
pub struct ClientTls {
    pub(crate) config: Arc<ClientConfig>,
    pub(crate) server_name: ServerName<'static>,
    pub(crate) handshake_timeout: Duration,
    pub(crate) pin: Arc<Pin>,
}

impl ClientTls {
    /// Connections to `host`, which must show the certificate that `pin` says; default options.
    ///
    /// `host` is an IPv4 address, an IPv6 address with or without brackets, or a name. Only a name is
    /// sent to the peer (L-10), and one that DNS would not allow is not sent either.
    #[cfg(any(feature = "aws-lc-rs", feature = "ring"))]
    pub fn new(host: &str, pin: Pin) -> Self {
        Self::with_options(host, pin, &Options::default())
            .expect("the providers we choose from serve both TLS versions")
    }

    /// The same, with options of the caller's choice.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Provider`] when the crypto provider lacks what the TLS versions need.
    pub fn with_options(host: &str, pin: Pin, options: &Options) -> Result<Self, ConfigError> {
        let verifier = Verifier {
            pin: pin.clone(),
            provider: options.provider.clone(),
        };
        let mut config = ClientConfig::builder_with_provider(options.provider.clone())
            .with_protocol_versions(options.protocol_versions())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        Ok(Self {
            config: Arc::new(config),
            server_name: server_name(host),
            handshake_timeout: options.handshake_timeout,
            pin: Arc::new(pin),
        })
    }

    /// What the peer's certificate must be.
    pub fn pin(&self) -> &Pin {
        &self.pin
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls")
            .field("server_name", &self.server_name)
            .field("pin", &self.pin)
            .finish_non_exhaustive()
    }
}

/// A [`ClientTls`] for each service, at most [`REMEMBERED`]; the longest unused is forgotten (L-5).
///
/// Everything is in memory. Being forgotten costs a service one full handshake.
///
/// # Example
///
/// ```
/// use scamp_tls::{ClientTlsCache, Fingerprint, Pin};
///
/// let mut cache = ClientTlsCache::default();
/// let pin = Pin::Fingerprint(Fingerprint::of(b"certificate"));
/// let tls = cache.get("beepish+tls://10.1.2.3:30100", "10.1.2.3", &pin)?;
/// let again = cache.get("beepish+tls://10.1.2.3:30100", "10.1.2.3", &pin)?;
/// assert_eq!(cache.len(), 1);
/// # Ok::<(), scamp_tls::ConfigError>(())
/// ```
#[derive(Debug)]
pub struct ClientTlsCache {
    options: Options,
    known: BTreeMap<(String, Vec<u8>), Entry>,
    /// Counts the calls; an entry's last one tells how long it has been unused.
    calls: u64,
}

#[derive(Debug)]
struct Entry {
    tls: ClientTls,
    used: u64,
}

impl ClientTlsCache {
    /// An empty cache, whose entries will have these options.
    pub fn new(options: Options) -> Self {
        Self {
            options,
            known: BTreeMap::new(),
            calls: 0,
        }
    }

    /// What to connect with to `host`, where the service of this URI is to show this certificate.
    ///
    /// # Errors
    ///
    /// As [`ClientTls::with_options`].
    pub fn get(&mut self, uri: &str, host: &str, pin: &Pin) -> Result<ClientTls, ConfigError> {
        self.calls += 1;
        let key = (uri.to_owned(), pin.to_key());
        if let Some(entry) = self.known.get_mut(&key) {
            entry.used = self.calls;
            return Ok(entry.tls.clone());
        }
        let tls = ClientTls::with_options(host, pin.clone(), &self.options)?;
        if self.known.len() >= REMEMBERED {
            let oldest = self.known.iter().min_by_key(|(_, entry)| entry.used);
            if let Some(key) = oldest.map(|(key, _)| key.clone()) {
                self.known.remove(&key);
            }
        }
        self.known.insert(
            key,
            Entry {
                tls: tls.clone(),
                used: self.calls,
            },
        );
        Ok(tls)
    }

    /// How many services are known.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

#[cfg(any(feature = "aws-lc-rs", feature = "ring"))]
impl Default for ClientTlsCache {
    fn default() -> Self {
        Self::new(Options::default())
    }
}

/// The name that goes to the peer, if any does: rustls sends none for an address (L-10).
fn server_name(host: &str) -> ServerName<'static> {
    let bare = host
        .strip_prefix('[')
        .and_then(|h| h.strip_suffix(']'))
        .unwrap_or(host);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return ServerName::IpAddress(address.into());
    }
    match ServerName::try_from(host) {
        Ok(name) => name.to_owned(),
        // Each `ClientTls` has sessions of its own, so that a placeholder serves to find them.
        Err(_) => ServerName::IpAddress(IpAddr::from([0; 4]).into()),
    }
}

/// Services a [`ClientTlsCache`] remembers (L-5).
pub const REMEMBERED: usize = 256;

/// TLS 1.3 tickets kept for one service; rustls keeps as many for each server it knows.
const SESSIONS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    /// L-10: only a name is a name.
    #[test]
    fn addresses_are_not_sent_as_names() {
        for host in [
            "10.0.0.1",
            "::1",
            "[::1]",
            "[2001:db8::7]",
            "",
            "not a name",
            "fe80::1%eth0",
        ] {
            assert!(
                matches!(server_name(host), ServerName::IpAddress(_)),
                "{host}"
            );
        }
        for host in ["localhost", "service.example.com", "container_1"] {
            assert!(
                matches!(server_name(host), ServerName::DnsName(_)),
                "{host}"
            );
        }
    }

    /// L-5: at most 256 services are remembered, and the one unused for longest is forgotten.
    #[test]
    fn the_longest_unused_is_forgotten() {
        let mut cache = ClientTlsCache::default();
        let pin = Pin::AnyCertificate;
        let uri = |n: usize| format!("beepish+tls://10.0.0.1:{n}");
        let first = cache.get(&uri(0), "10.0.0.1", &pin).unwrap();
        let second = cache.get(&uri(1), "10.0.0.1", &pin).unwrap();
        for n in 2..REMEMBERED {
            cache.get(&uri(n), "10.0.0.1", &pin).unwrap();
        }
        let again = cache.get(&uri(0), "10.0.0.1", &pin).unwrap();
        assert!(Arc::ptr_eq(&first.config, &again.config));
        cache.get(&uri(REMEMBERED), "10.0.0.1", &pin).unwrap();
        assert_eq!(cache.len(), REMEMBERED);
        let again = cache.get(&uri(0), "10.0.0.1", &pin).unwrap();
        assert!(
            Arc::ptr_eq(&first.config, &again.config),
            "the used one stayed"
        );
        let again = cache.get(&uri(1), "10.0.0.1", &pin).unwrap();
        assert!(
            !Arc::ptr_eq(&second.config, &again.config),
            "the unused one went"
        );
    }
}
