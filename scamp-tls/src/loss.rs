//! What rustls's errors mean to a connection.

use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};
use scamp_proto::error::{Loss, Untrusted};

use crate::verifier::Refusal;

/// Turns an error of rustls into the loss that the inner machine is told of.
pub(crate) fn loss(error: &Error) -> Loss {
    match error {
        Error::NoCertificatesPresented => Loss::Untrusted(Untrusted::NoPeerCertificate),
        Error::InvalidCertificate(CertificateError::Other(other)) => {
            match other.0.downcast_ref::<Refusal>() {
                Some(refusal) => refusal.into(),
                None => Loss::Tls(error.to_string()),
            }
        }
        // The certificate itself is judged by our verifier; what remains is its signature.
        Error::InvalidCertificate(fault) => {
            Loss::Untrusted(Untrusted::BadSignature(format!("{fault:?}")))
        }
        // Services that offer RSA key exchange only answer like this; no library adds it (L-8).
        Error::AlertReceived(AlertDescription::HandshakeFailure)
        | Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon) => {
            Loss::Tls(format!("no common cipher suite ({error})"))
        }
        _ => Loss::Tls(error.to_string()),
    }
}
