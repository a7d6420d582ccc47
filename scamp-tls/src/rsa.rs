//! Checking RSA signatures.

#[cfg(feature = "aws-lc-rs")]
use aws_lc_rs::signature;
#[cfg(not(feature = "aws-lc-rs"))]
use ring::signature;

use scamp_proto::auth::{Padding, PublicKey, Verify};
use signature::{
    RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, RSA_PSS_2048_8192_SHA256, UnparsedPublicKey,
};

/// Checks RSA signatures with SHA-256, for announcements and tickets.
///
/// Keys of 1024 to 8192 bits, unlike in a handshake, where 2048 are the least: announcements with
/// 1024-bit keys exist (D-8). With [`Padding::Pss`] a key has at least 2048 bits, and the salt is as
/// long as the digest.
///
/// # Example
///
/// ```
/// use scamp_proto::auth::{Padding, PublicKey, Sign, Verify};
/// use scamp_tls::{Identity, Rsa};
///
/// let certificate = include_str!("../tests/data/rsa2048.crt");
/// let identity = Identity::from_pem(certificate, include_str!("../tests/data/rsa2048.key"))?;
/// let signature = identity.sign(b"a message")?;
/// let key = PublicKey::of_certificate(identity.certificate()).expect("our certificate has one");
/// assert!(Rsa.verify(&key, Padding::Pkcs1, b"a message", &signature));
/// assert!(!Rsa.verify(&key, Padding::Pkcs1, b"another", &signature));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Rsa;

impl Verify for Rsa {
    fn verify(
        &self,
        key: &PublicKey<'_>,
        padding: Padding,
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        let algorithm = match padding {
            Padding::Pkcs1 => &RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
            Padding::Pss => &RSA_PSS_2048_8192_SHA256,
        };
        // The libraries judge the size themselves; that it is RSA at all is ours to know.
        key.rsa_bits().is_some()
            && UnparsedPublicKey::new(algorithm, key.key)
                .verify(message, signature)
                .is_ok()
    }
}
