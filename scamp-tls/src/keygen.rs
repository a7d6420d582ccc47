//! Making certificates and keys (feature `keygen`).

use std::fmt;
use std::time::Duration;

use rcgen::{CertificateParams, DistinguishedName, DnType, PKCS_RSA_SHA256, RsaKeySize};
use thiserror::Error;

/// Makes an RSA key of `bits` bits and a self-signed certificate for it.
///
/// The certificate is X.509 v3, has `common_name` and nothing else in its subject, and is valid for
/// ten years from `unix_seconds`, which is the time of day: nobody checks it (L-2), but people read
/// it. `bits` is 2048, 3072 or 4096; [`DEFAULT_BITS`] is the custom among SCAMP services, and 2048
/// suits tests, being made much faster.
///
/// # Errors
///
/// [`KeygenError`].
///
/// # Example
///
/// ```
/// use scamp_tls::{Identity, keygen};
///
/// let made = keygen::generate("greeter", 2048, 1_790_000_000)?;
/// let identity = Identity::from_pem(&made.certificate_pem, &made.key_pem)?;
/// println!("{}", identity.fingerprint());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn generate(common_name: &str, bits: u32, unix_seconds: u64) -> Result<KeyPair, KeygenError> {
    let size = match bits {
        2048 => RsaKeySize::_2048,
        3072 => RsaKeySize::_3072,
        4096 => RsaKeySize::_4096,
        _ => return Err(KeygenError::Bits(bits)),
    };
    if unix_seconds > LATEST {
        return Err(KeygenError::Time(unix_seconds));
    }
    let failed = |error: rcgen::Error| KeygenError::Failed(error.to_string());
    let key = rcgen::KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, size).map_err(failed)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    params.not_before = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(unix_seconds);
    params.not_after = params.not_before + TEN_YEARS;
    let certificate = params.self_signed(&key).map_err(failed)?;
    Ok(KeyPair {
        certificate_pem: certificate.pem(),
        key_pem: key.serialize_pem(),
    })
}

/// A new certificate and its private key, both PEM. `Debug` leaves the key out (HD-12).
#[derive(Clone, Eq, PartialEq)]
pub struct KeyPair {
    /// The certificate, `-----BEGIN CERTIFICATE-----`.
    pub certificate_pem: String,
    /// The key as PKCS#8, `-----BEGIN PRIVATE KEY-----` (L-9).
    pub key_pem: String,
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyPair")
            .field("certificate_pem", &self.certificate_pem)
            .finish_non_exhaustive()
    }
}

/// Why no key pair was made.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum KeygenError {
    /// No other sizes are made.
    #[error("an RSA key has 2048, 3072 or 4096 bits here, not {0}")]
    Bits(u32),
    /// The crypto library failed; its own words.
    #[error("key generation failed: {0}")]
    Failed(String),
    /// A certificate's dates end with the year 9999.
    #[error("{0} seconds after 1970 is too late for a certificate of ten years")]
    Time(u64),
}

/// The custom among SCAMP services.
pub const DEFAULT_BITS: u32 = 4096;

const TEN_YEARS: Duration = Duration::from_secs(3653 * 24 * 60 * 60);

/// 9980-01-01, in seconds after 1970.
const LATEST: u64 = 252_771_148_800;

#[cfg(test)]
mod tests {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    use x509_parser::prelude::{FromDer, X509Certificate, X509Version};

    use super::*;
    use crate::Identity;

    /// 2026-09-21T14:13:20Z
    const NOW: u64 = 1_790_000_000;

    /// L-9, dependencies 4.4: v3, a common name and nothing else, ten years, PKCS#8.
    #[test]
    fn what_is_made_is_what_peers_expect() {
        let made = generate("greeter.example", 2048, NOW).unwrap();
        assert!(made.key_pem.starts_with("-----BEGIN PRIVATE KEY-----"));
        let identity = Identity::from_pem(&made.certificate_pem, &made.key_pem).unwrap();
        let der = CertificateDer::from_pem_slice(made.certificate_pem.as_bytes()).unwrap();
        assert_eq!(identity.certificate(), &der);
        let (_, certificate) = X509Certificate::from_der(&der).unwrap();
        assert_eq!(certificate.version(), X509Version::V3);
        assert_eq!(certificate.subject().to_string(), "CN=greeter.example");
        assert_eq!(certificate.issuer(), certificate.subject());
        let (from, to) = (
            certificate.validity().not_before,
            certificate.validity().not_after,
        );
        assert_eq!(from.timestamp(), NOW as i64);
        assert_eq!(
            to.timestamp() - from.timestamp(),
            TEN_YEARS.as_secs() as i64
        );
        let another = generate("greeter.example", 2048, NOW).unwrap();
        assert_ne!(another, made);
    }

    /// Sizes and times that cannot be are refused; HD-12: the key is not shown.
    #[test]
    fn faults_are_named_and_keys_are_not_shown() {
        assert_eq!(generate("x", 1024, NOW), Err(KeygenError::Bits(1024)));
        assert_eq!(
            generate("x", 2048, u64::MAX),
            Err(KeygenError::Time(u64::MAX))
        );
        let made = generate("x", 2048, LATEST).unwrap();
        assert!(!format!("{made:?}").contains("PRIVATE"));
    }
}
