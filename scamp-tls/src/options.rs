//! What both ends of TLS can be told to do.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use rustls::version::{TLS12, TLS13};
use rustls::{ProtocolVersion, SupportedProtocolVersion};
use scamp_proto::limits;
use thiserror::Error;

/// Settings of either end: crypto provider, TLS versions, time for the handshake.
///
/// # Example
///
/// ```
/// use std::time::Duration;
/// use scamp_tls::{Options, Versions};
///
/// let careful = Options::default()
///     .versions(Versions::Tls13)
///     .handshake_timeout(Duration::from_secs(3));
/// ```
#[derive(Clone, Debug)]
pub struct Options {
    pub(crate) provider: Arc<CryptoProvider>,
    versions: Versions,
    pub(crate) handshake_timeout: Duration,
}

impl Options {
    /// The defaults, with a crypto provider of the caller's choice.
    pub fn with_provider(provider: Arc<CryptoProvider>) -> Self {
        Self {
            provider,
            versions: Versions::default(),
            handshake_timeout: limits::CONNECT_TIMEOUT,
        }
    }

    /// Limits the TLS versions; [`Versions::Any`] unless told otherwise.
    pub fn versions(mut self, versions: Versions) -> Self {
        self.versions = versions;
        self
    }

    /// How long the handshake may take, [`limits::CONNECT_TIMEOUT`] unless told otherwise.
    ///
    /// It counts from the `now` that [`Tls::client`](crate::Tls::client) or
    /// [`Tls::server`](crate::Tls::server) was given, so a client that makes its `Tls` before it
    /// dials has the dialling included, as S-20 wants. `Duration::MAX` means never.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.handshake_timeout = timeout;
        self
    }

    pub(crate) fn protocol_versions(&self) -> &'static [&'static SupportedProtocolVersion] {
        static NEWER: [&SupportedProtocolVersion; 1] = [&TLS13];
        static OLDER: [&SupportedProtocolVersion; 1] = [&TLS12];
        static BOTH: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
        match self.versions {
            Versions::Any => &BOTH,
            Versions::Tls12 => &OLDER,
            Versions::Tls13 => &NEWER,
        }
    }
}

#[cfg(any(feature = "aws-lc-rs", feature = "ring"))]
impl Default for Options {
    fn default() -> Self {
        Self::with_provider(default_provider())
    }
}

/// The TLS versions an end speaks (L-8).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Versions {
    /// TLS 1.2 and 1.3, the newer where both can.
    #[default]
    Any,
    /// TLS 1.2 alone.
    Tls12,
    /// TLS 1.3 alone.
    Tls13,
}

/// A TLS version that two ends have agreed on.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum TlsVersion {
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

impl TlsVersion {
    pub(crate) fn of(version: ProtocolVersion) -> Option<Self> {
        match version {
            ProtocolVersion::TLSv1_2 => Some(Self::Tls12),
            ProtocolVersion::TLSv1_3 => Some(Self::Tls13),
            // We offer no other.
            _ => None,
        }
    }
}

/// The number alone, such as `1.3`.
impl fmt::Display for TlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tls12 => "1.2",
            Self::Tls13 => "1.3",
        })
    }
}

/// These options cannot be used.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum ConfigError {
    /// The crypto provider lacks what the chosen TLS versions need; rustls's own words.
    #[error("the crypto provider does not fit: {0}")]
    Provider(String),
}

impl From<rustls::Error> for ConfigError {
    fn from(error: rustls::Error) -> Self {
        Self::Provider(error.to_string())
    }
}

/// The provider used when none is named: aws-lc-rs if that feature is on, ring otherwise.
///
/// Never the process-wide default of rustls: that is the application's business.
#[cfg(feature = "aws-lc-rs")]
pub fn default_provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// The provider used when none is named: aws-lc-rs if that feature is on, ring otherwise.
///
/// Never the process-wide default of rustls: that is the application's business.
#[cfg(all(feature = "ring", not(feature = "aws-lc-rs")))]
pub fn default_provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
