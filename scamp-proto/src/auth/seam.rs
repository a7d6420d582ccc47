//! What this crate leaves to a cryptographic library: RSA.

use alloc::vec::Vec;

use thiserror::Error;

use super::PublicKey;

/// Checks signatures. `scamp_tls::Rsa` is one.
pub trait Verify {
    /// Whether `signature` is the one of `key`'s owner over `message`, with SHA-256 and this padding.
    ///
    /// Keys of 1024 to 8192 bits are to be understood (D-8); who needs a longer one looks at
    /// [`PublicKey::rsa_bits`] first. Anything that is not such a key or not such a signature is
    /// `false`.
    fn verify(
        &self,
        key: &PublicKey<'_>,
        padding: Padding,
        message: &[u8],
        signature: &[u8],
    ) -> bool;
}

/// Makes signatures with one key: RSASSA-PKCS1-v1_5 with SHA-256. `scamp_tls::Identity` does.
pub trait Sign {
    /// The signature over `message`.
    ///
    /// # Errors
    ///
    /// [`SignError`] if the key is of a kind that makes no such signature.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError>;
}

/// How an RSA signature is padded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Padding {
    /// RSASSA-PKCS1-v1_5, which every peer makes.
    Pkcs1,
    /// RSASSA-PSS, which some releases of Perl's library are said to make (D-8).
    Pss,
}

/// A key cannot make an RSA signature.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("the key makes no RSA signatures; announcements and tickets need an RSA key")]
pub struct SignError;
