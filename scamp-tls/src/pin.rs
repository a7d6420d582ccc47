//! Which peer is wanted, and which one was found.

use std::fmt;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use scamp_proto::error::Untrusted;

use crate::Fingerprint;

/// What the peer's certificate must be.
///
/// There is no default: a connection without a check has to be asked for by name (L-4).
#[derive(Clone, Eq, PartialEq)]
pub enum Pin {
    /// Whoever answers is accepted, provided it holds the key of the certificate it shows.
    ///
    /// For diagnosis and tests. A record whose fingerprint is unknown is no reason to use it (L-4).
    AnyCertificate,
    /// This certificate, compared octet for octet, which makes SHA-1 collisions useless (HD-11).
    Certificate(CertificateDer<'static>),
    /// A certificate with this fingerprint (L-3); for when the certificate itself is not known.
    Fingerprint(Fingerprint),
}

impl Pin {
    /// Compares a certificate with what is wanted.
    pub(crate) fn judge(&self, certificate: &[u8]) -> Result<(), Untrusted> {
        match self {
            Self::AnyCertificate => Ok(()),
            Self::Certificate(known) => {
                let (expected, got) = (Fingerprint::of(known), Fingerprint::of(certificate));
                compare(expected, got)?;
                compare_whole(known, certificate)
            }
            Self::Fingerprint(expected) => compare(*expected, Fingerprint::of(certificate)),
        }
    }

    /// What tells this pin from others, for use as a key.
    pub(crate) fn to_key(&self) -> Vec<u8> {
        let (kind, octets): (u8, &[u8]) = match self {
            Self::AnyCertificate => (0, &[]),
            Self::Certificate(known) => (1, known),
            Self::Fingerprint(fingerprint) => (2, fingerprint.octets()),
        };
        [&[kind], octets].concat()
    }
}

impl From<Fingerprint> for Pin {
    fn from(fingerprint: Fingerprint) -> Self {
        Self::Fingerprint(fingerprint)
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AnyCertificate => f.write_str("AnyCertificate"),
            Self::Certificate(known) => write!(f, "Certificate({})", Fingerprint::of(known)),
            Self::Fingerprint(fingerprint) => write!(f, "Fingerprint({fingerprint})"),
        }
    }
}

/// The server a client reached: its certificate, compared with the [`Pin`].
///
/// Only a completed handshake makes one, so whoever holds it need not check again.
#[derive(Clone, Eq, PartialEq)]
pub struct Peer {
    certificate: CertificateDer<'static>,
    fingerprint: Fingerprint,
    pin: Arc<Pin>,
}

impl Peer {
    /// Judges what a handshake presented (L-3); resumed sessions come here too (L-5).
    pub(crate) fn judge(
        pin: &Arc<Pin>,
        presented: Option<&[CertificateDer<'static>]>,
    ) -> Result<Self, Untrusted> {
        let certificate = presented
            .and_then(<[_]>::first)
            .ok_or(Untrusted::NoPeerCertificate)?;
        pin.judge(certificate)?;
        Ok(Self {
            certificate: certificate.clone(),
            fingerprint: Fingerprint::of(certificate),
            pin: pin.clone(),
        })
    }

    /// The DER of the first certificate the peer presented.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// That certificate's fingerprint.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Whether the certificate was compared with a known one; `false` after [`Pin::AnyCertificate`].
    pub fn is_pinned(&self) -> bool {
        match *self.pin {
            Pin::AnyCertificate => false,
            Pin::Certificate(_) | Pin::Fingerprint(_) => true,
        }
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("fingerprint", &self.fingerprint)
            .field("pin", &self.pin)
            .finish_non_exhaustive()
    }
}

fn compare(expected: Fingerprint, got: Fingerprint) -> Result<(), Untrusted> {
    match expected == got {
        true => Ok(()),
        false => Err(Untrusted::FingerprintMismatch {
            expected: expected.to_string(),
            got: got.to_string(),
        }),
    }
}

/// Comes after [`compare`], so that an ordinary mismatch names the fingerprints.
fn compare_whole(known: &[u8], got: &[u8]) -> Result<(), Untrusted> {
    match known == got {
        true => Ok(()),
        false => Err(Untrusted::CertificateMismatch),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// HD-11: equal fingerprints do not make two certificates equal. A SHA-1 collision is played by
    /// asking the second comparison alone.
    #[test]
    fn certificates_are_compared_whole() {
        assert_eq!(
            compare_whole(b"one", b"two"),
            Err(Untrusted::CertificateMismatch)
        );
        assert_eq!(compare_whole(b"one", b"one"), Ok(()));
        let pin = Pin::Certificate(b"one".to_vec().into());
        assert_eq!(pin.judge(b"one"), Ok(()));
        assert!(matches!(
            pin.judge(b"two"),
            Err(Untrusted::FingerprintMismatch { .. })
        ));
    }

    /// L-3: a handshake without a certificate is refused, even where any certificate would do.
    #[test]
    fn no_certificate_is_never_enough() {
        for presented in [None, Some(&[][..])] {
            let found = Peer::judge(&Arc::new(Pin::AnyCertificate), presented);
            assert_eq!(found, Err(Untrusted::NoPeerCertificate));
        }
    }

    /// Pins that mean different things have different keys.
    #[test]
    fn keys_tell_pins_apart() {
        let octets = *Fingerprint::of(b"x").octets();
        let by_fingerprint = Pin::Fingerprint(Fingerprint::from_octets(octets));
        let by_certificate = Pin::Certificate(octets.to_vec().into());
        assert_ne!(by_fingerprint.to_key(), by_certificate.to_key());
        assert_ne!(
            Pin::AnyCertificate.to_key(),
            Pin::Certificate(vec![].into()).to_key()
        );
    }
}
