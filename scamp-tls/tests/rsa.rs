//! Signatures of announcements and tickets: made and checked.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use scamp_proto::auth::{Padding, PublicKey, Sign, SignError, Verify};
use scamp_tls::{Identity, IdentityError, Rsa, SigningKey};

macro_rules! data {
    ($name:literal) => {
        include_bytes!(concat!("data/", $name))
    };
}

fn certificate(pem: &[u8]) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem).unwrap()
}

fn verifies(certificate: &[u8], padding: Padding, message: &[u8], signature: &[u8]) -> bool {
    let key = PublicKey::of_certificate(certificate).unwrap();
    Rsa.verify(&key, padding, message, signature)
}

/// D-8, D-16, T-1: what a key of any size signs, its certificate of any version verifies.
#[test]
fn what_is_signed_verifies() {
    let pairs: [(&[u8], &[u8]); 5] = [
        (data!("rsa2048.crt"), data!("rsa2048.key")),
        (data!("rsa2048.crt"), data!("rsa2048-pkcs1.key")),
        (data!("rsa3072.crt"), data!("rsa3072.key")),
        (data!("rsa4096.crt"), data!("rsa4096.key")),
        (data!("v1.crt"), data!("rsa2048.key")),
    ];
    for (pem, key) in pairs {
        let certificate = certificate(pem);
        let signature = Identity::from_pem(pem, key).unwrap().sign(b"text").unwrap();
        // PKCS#1 v1.5 has no randomness, so the key alone makes the same.
        assert_eq!(
            SigningKey::from_pem(key).unwrap().sign(b"text").as_ref(),
            Ok(&signature)
        );
        assert!(verifies(&certificate, Padding::Pkcs1, b"text", &signature));
        assert!(!verifies(&certificate, Padding::Pkcs1, b"test", &signature));
        assert!(!verifies(&certificate, Padding::Pkcs1, b"", &signature));
        assert!(!verifies(&certificate, Padding::Pss, b"text", &signature));
        assert!(!verifies(&certificate, Padding::Pkcs1, b"text", &[]));
    }
}

/// D-8, T-6: the signatures OpenSSL made with a key of 1024 bits, with an exponent of three, and with
/// PSS.
#[test]
fn signatures_of_others() {
    let small = certificate(data!("rsa1024.crt"));
    let signature = data!("rsa1024.pkcs1.sig");
    assert!(verifies(&small, Padding::Pkcs1, b"text", signature));
    assert!(!verifies(&small, Padding::Pkcs1, b"test", signature));
    let three = certificate(data!("exponent3.crt"));
    let signature = data!("exponent3.pkcs1.sig");
    assert!(verifies(&three, Padding::Pkcs1, b"text", signature));
    let large = certificate(data!("rsa2048.crt"));
    let signature = data!("rsa2048.pss.sig");
    assert!(verifies(&large, Padding::Pss, b"text", signature));
    assert!(!verifies(&large, Padding::Pss, b"test", signature));
    assert!(!verifies(&large, Padding::Pkcs1, b"text", signature));
    // A salt of another length than the digest's.
    let signature = data!("rsa2048.pss20.sig");
    assert!(!verifies(&large, Padding::Pss, b"text", signature));
}

/// D-8: the largest key that is understood.
#[test]
fn a_key_of_8192_bits() {
    let large = certificate(data!("rsa8192.crt"));
    let signature = data!("rsa8192.pkcs1.sig");
    assert!(verifies(&large, Padding::Pkcs1, b"text", signature));
}

/// D-8: other kinds of keys make no signatures here, and none is theirs.
#[test]
fn other_kinds_of_keys() {
    let pairs: [(&[u8], &[u8]); 2] = [
        (data!("p256.crt"), data!("p256.key")),
        (data!("ed25519.crt"), data!("ed25519.key")),
    ];
    let rsa = SigningKey::from_pem(data!("rsa2048.key")).unwrap();
    for (pem, key) in pairs {
        assert_eq!(
            SigningKey::from_pem(key).unwrap().sign(b"text"),
            Err(SignError)
        );
        let identity = Identity::from_pem(pem, key).unwrap();
        assert_eq!(identity.sign(b"text"), Err(SignError));
        let signature = rsa.sign(b"text").unwrap();
        assert!(!verifies(
            identity.certificate(),
            Padding::Pkcs1,
            b"text",
            &signature
        ));
    }
}

/// HD-12: what cannot be used is named, and the key is never shown.
#[test]
fn keys_are_not_shown() {
    let error = |key: &[u8]| SigningKey::from_pem(key).unwrap_err();
    assert_eq!(error(b""), IdentityError::NoKey);
    assert_eq!(
        error(data!("rsa2048-encrypted.key")),
        IdentityError::EncryptedKey
    );
    assert_eq!(
        error(data!("rsa1024.key")),
        IdentityError::KeyTooSmall { bits: 1024 }
    );
    let key = SigningKey::from_pem(data!("rsa2048.key")).unwrap();
    assert_eq!(format!("{key:?}"), "SigningKey { .. }");
}

proptest! {
    /// Law 9: any key, any message, any signature.
    #[test]
    fn junk_does_no_harm(
        key in prop::collection::vec(any::<u8>(), 0..300),
        signature in prop::collection::vec(any::<u8>(), 0..300),
        pss in any::<bool>(),
    ) {
        let padding = if pss { Padding::Pss } else { Padding::Pkcs1 };
        let certificate = certificate(data!("rsa2048.crt"));
        let ours = PublicKey::of_certificate(&certificate).unwrap();
        prop_assert!(!Rsa.verify(&ours, padding, b"text", &signature));
        let key = PublicKey { key: &key, ..ours };
        prop_assert!(!Rsa.verify(&key, padding, b"text", &signature));
    }

    /// T-1: one octet changed anywhere in a signature spoils it.
    #[test]
    fn a_damaged_signature_is_none(at in any::<prop::sample::Index>(), change in 1..=u8::MAX) {
        let mut signature = data!("rsa2048.pss.sig").to_vec();
        let at = at.index(signature.len());
        signature[at] ^= change;
        let certificate = certificate(data!("rsa2048.crt"));
        prop_assert!(!verifies(&certificate, Padding::Pss, b"text", &signature));
    }
}
