//! Making RSA signatures.

use std::fmt;
use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::crypto::CryptoProvider;
use scamp_proto::auth::{Sign, SignError};

use crate::identity::{check_size, read_key, rsa_bits};
use crate::{Identity, IdentityError};

/// A private key that makes signatures and has no certificate: the key of who issues tickets.
///
/// Its `Debug` shows nothing of the key (HD-12).
///
/// # Example
///
/// ```
/// use scamp_proto::auth::Ticket;
/// use scamp_tls::SigningKey;
///
/// let key = SigningKey::from_pem(include_str!("../tests/data/rsa2048.key"))?;
/// let ticket = Ticket::new(3063, 21, 1_700_000_000, 3600, [20, 1]).issue(&key)?;
/// assert!(ticket.starts_with("1,3063,21,1700000000,3600,1+20,"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct SigningKey(Arc<dyn rustls::sign::SigningKey>);

impl SigningKey {
    /// Reads a private key, PKCS#1 or PKCS#8 in PEM, for the default crypto provider.
    ///
    /// # Errors
    ///
    /// [`IdentityError`] names what is wrong. That a key makes no RSA signatures is noticed when it
    /// is asked for one.
    #[cfg(any(feature = "aws-lc-rs", feature = "ring"))]
    pub fn from_pem(key: impl AsRef<[u8]>) -> Result<Self, IdentityError> {
        Self::from_pem_with(key, &crate::default_provider())
    }

    /// The same, for a crypto provider of the caller's choice.
    ///
    /// # Errors
    ///
    /// [`IdentityError`].
    pub fn from_pem_with(
        key: impl AsRef<[u8]>,
        provider: &CryptoProvider,
    ) -> Result<Self, IdentityError> {
        let key = read_key(key.as_ref())?;
        check_size(rsa_bits(&key))?;
        provider
            .key_provider
            .load_private_key(key)
            .map(Self)
            .map_err(|error| IdentityError::BadKey(error.to_string()))
    }
}

impl Sign for SigningKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        sign(&*self.0, message)
    }
}

impl Sign for Identity {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        sign(&*self.certified_key().key, message)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").finish_non_exhaustive()
    }
}

fn sign(key: &dyn rustls::sign::SigningKey, message: &[u8]) -> Result<Vec<u8>, SignError> {
    let signer = key.choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256]);
    signer
        .and_then(|signer| signer.sign(message).ok())
        .ok_or(SignError)
}
