//! The client's judgement of a server, during the handshake.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};
use scamp_proto::auth::PublicKey;
use scamp_proto::error::{Loss, Untrusted};
use thiserror::Error as ThisError;

use crate::Pin;

/// Compares the certificate with a pin, and checks that the peer holds its key.
///
/// Both matter: a certificate is public, so without the second check anyone could show it (L-6,
/// HD-10). Nothing else is looked at (L-2).
#[derive(Debug)]
pub(crate) struct Verifier {
    pub(crate) pin: Pin,
    pub(crate) provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.pin.judge(end_entity).map_err(Refusal::Untrusted)?;
        match public_key(end_entity)?.rsa_bits() {
            Some(bits) if bits < SMALLEST_RSA => Err(Refusal::SmallKey(bits).into()),
            Some(_) | None => Ok(ServerCertVerified::assertion()),
        }
    }

    /// Neither rustls nor webpki offers this for X.509 v1, so the algorithm is picked here: the
    /// scheme names the candidates, the key says which of them is meant.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = public_key(certificate)?;
        self.provider
            .signature_verification_algorithms
            .mapping
            .iter()
            .filter(|(scheme, _)| *scheme == signed.scheme)
            .flat_map(|(_, algorithms)| algorithms.iter())
            .find(|algorithm| algorithm.public_key_alg_id().as_ref() == key.algorithm)
            .ok_or(Refusal::Signature(
                "the key does not fit the signature scheme".into(),
            ))?
            .verify_signature(key.key, message, signed.signature())
            .map(|()| HandshakeSignatureValid::assertion())
            .map_err(|_| CertificateError::BadSignature.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = SubjectPublicKeyInfoDer::from(public_key(certificate)?.whole);
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature_with_raw_key(message, &key, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// Why this verifier refused, on its way through rustls.
#[derive(Clone, Debug, ThisError)]
pub(crate) enum Refusal {
    #[error("the peer's certificate cannot be read")]
    Malformed,
    #[error("the signature cannot be checked: {0}")]
    Signature(String),
    #[error("the peer's certificate has a {0}-bit key; {SMALLEST_RSA} is the least")]
    SmallKey(usize),
    #[error(transparent)]
    Untrusted(Untrusted),
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        CertificateError::Other(OtherError(Arc::new(refusal))).into()
    }
}

impl From<&Refusal> for Loss {
    fn from(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::Malformed | Refusal::SmallKey(_) => Self::Tls(refusal.to_string()),
            Refusal::Signature(text) => Self::Untrusted(Untrusted::BadSignature(text.clone())),
            Refusal::Untrusted(untrusted) => Self::Untrusted(untrusted.clone()),
        }
    }
}

fn public_key<'a>(certificate: &'a CertificateDer<'_>) -> Result<PublicKey<'a>, Refusal> {
    PublicKey::of_certificate(certificate).ok_or(Refusal::Malformed)
}

/// The smallest RSA key that ring and aws-lc-rs verify with, in bits.
pub(crate) const SMALLEST_RSA: usize = 2048;
