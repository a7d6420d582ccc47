//! Who a service is: its certificate and the key to it.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use scamp_proto::auth::{PublicKey, der};
use thiserror::Error;

use crate::Fingerprint;
use crate::verifier::SMALLEST_RSA;

/// A certificate and its private key, which are known to belong together; cheap to clone.
///
/// Its `Debug` shows the fingerprint and nothing of the key (HD-12).
///
/// # Example
///
/// ```
/// use scamp_tls::{Identity, IdentityError};
///
/// let certificate = include_str!("../tests/data/rsa2048.crt");
/// let key = include_str!("../tests/data/rsa2048.key");
/// let identity = Identity::from_pem(certificate, key)?;
/// assert_eq!(identity.fingerprint().to_string().len(), 59);
///
/// let stranger = include_str!("../tests/data/rsa2048-other.key");
/// assert_eq!(Identity::from_pem(certificate, stranger).unwrap_err(), IdentityError::KeyMismatch);
/// # Ok::<(), IdentityError>(())
/// ```
#[derive(Clone)]
pub struct Identity {
    key: Arc<CertifiedKey>,
    fingerprint: Fingerprint,
    certificate: CertificateDer<'static>,
}

impl Identity {
    /// Reads a certificate and a key, both PEM, for the default crypto provider.
    ///
    /// The key may be PKCS#1 or PKCS#8. Of several certificates the first is ours; the rest is only
    /// passed on to peers (L-9). Texts around the PEM sections are skipped.
    ///
    /// # Errors
    ///
    /// [`IdentityError`] names what is wrong.
    #[cfg(any(feature = "aws-lc-rs", feature = "ring"))]
    pub fn from_pem(
        certificate: impl AsRef<[u8]>,
        key: impl AsRef<[u8]>,
    ) -> Result<Self, IdentityError> {
        Self::from_pem_with(certificate, key, &crate::default_provider())
    }

    /// The same, for a crypto provider of the caller's choice.
    ///
    /// # Errors
    ///
    /// [`IdentityError`] names what is wrong.
    pub fn from_pem_with(
        certificate: impl AsRef<[u8]>,
        key: impl AsRef<[u8]>,
        provider: &CryptoProvider,
    ) -> Result<Self, IdentityError> {
        let chain = CertificateDer::pem_slice_iter(certificate.as_ref())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| IdentityError::BadCertificate(error.to_string()))?;
        let certificate = chain.first().ok_or(IdentityError::NoCertificate)?.clone();
        let public = PublicKey::of_certificate(&certificate)
            .ok_or_else(|| IdentityError::BadCertificate("it is not X.509".into()))?;
        check_size(public.rsa_bits())?;

        let key = read_key(key.as_ref())?;
        check_size(rsa_bits(&key))?;
        let key = provider
            .key_provider
            .load_private_key(key)
            .map_err(|error| IdentityError::BadKey(error.to_string()))?;
        let theirs = key.public_key();
        match theirs.as_ref().and_then(|info| PublicKey::parse(info)) {
            Some(theirs) if theirs.is_same_key(&public) => {}
            Some(_) => return Err(IdentityError::KeyMismatch),
            None => return Err(IdentityError::BadKey("its public half is unknown".into())),
        }
        Ok(Self {
            key: Arc::new(CertifiedKey::new(chain, key)),
            fingerprint: Fingerprint::of(&certificate),
            certificate,
        })
    }

    /// What peers know this identity by.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The DER of the certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    pub(crate) fn certified_key(&self) -> Arc<CertifiedKey> {
        self.key.clone()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

/// Why a certificate and a key make no [`Identity`]. No text has anything of the key in it (HD-12).
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum IdentityError {
    /// The certificate cannot be read.
    #[error("certificate cannot be read: {0}")]
    BadCertificate(String),
    /// The key cannot be read, or the crypto provider cannot use it; in its own words.
    #[error("private key cannot be used: {0}")]
    BadKey(String),
    /// The key is encrypted, and nobody is there to be asked for a password.
    #[error("private key is encrypted; decrypt it first, for example with `openssl pkey`")]
    EncryptedKey,
    /// The certificate was made for another key.
    #[error("private key does not belong to the certificate")]
    KeyMismatch,
    /// The RSA key is smaller than TLS libraries take.
    #[error("{bits}-bit key is too small; {SMALLEST_RSA} is the least")]
    KeyTooSmall {
        /// Its size in bits.
        bits: usize,
    },
    /// There is no certificate in the text.
    #[error("no certificate found (expected PEM, `-----BEGIN CERTIFICATE-----`)")]
    NoCertificate,
    /// There is no private key in the text.
    #[error(
        "no private key found (expected PEM, `-----BEGIN PRIVATE KEY-----` or `RSA PRIVATE KEY`)"
    )]
    NoKey,
}

pub(crate) fn read_key(text: &[u8]) -> Result<PrivateKeyDer<'static>, IdentityError> {
    PrivateKeyDer::from_pem_slice(text).map_err(|error| {
        // PKCS#8 says it in the label, PKCS#1 in a line below it, which breaks the base64.
        if text
            .windows(ENCRYPTED.len())
            .any(|window| window == ENCRYPTED)
        {
            return IdentityError::EncryptedKey;
        }
        match error {
            pem::Error::NoItemsFound => IdentityError::NoKey,
            // Not its words: they may quote what was read (HD-12).
            _ => IdentityError::BadKey("its PEM is malformed".into()),
        }
    })
}

pub(crate) fn rsa_bits(key: &PrivateKeyDer<'_>) -> Option<usize> {
    match key {
        PrivateKeyDer::Pkcs1(key) => der::pkcs1_bits(key.secret_pkcs1_der()),
        PrivateKeyDer::Pkcs8(key) => der::pkcs8_bits(key.secret_pkcs8_der()),
        _ => None,
    }
}

pub(crate) fn check_size(bits: Option<usize>) -> Result<(), IdentityError> {
    match bits {
        Some(bits) if bits < SMALLEST_RSA => Err(IdentityError::KeyTooSmall { bits }),
        Some(_) | None => Ok(()),
    }
}

const ENCRYPTED: &[u8] = b"ENCRYPTED";
