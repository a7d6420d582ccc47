//! A certificate's public key, found by our own walk and by a whole parser.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use scamp_proto::auth::PublicKey;
use x509_parser::prelude::{FromDer, X509Certificate};

const CERTIFICATES: [&[u8]; 9] = [
    include_bytes!("data/ed25519.crt"),
    include_bytes!("data/expired.crt"),
    include_bytes!("data/exponent3.crt"),
    include_bytes!("data/p256.crt"),
    include_bytes!("data/rsa1024.crt"),
    include_bytes!("data/rsa2048.crt"),
    include_bytes!("data/rsa4096.crt"),
    include_bytes!("data/sha1.crt"),
    include_bytes!("data/v1.crt"),
];

fn der(at: usize) -> Vec<u8> {
    CertificateDer::from_pem_slice(CERTIFICATES[at % CERTIFICATES.len()])
        .unwrap()
        .to_vec()
}

/// L-8: the walk finds what a whole parser finds, in certificates of v1 and v3.
#[test]
fn the_walk_agrees_with_a_parser() {
    for at in 0..CERTIFICATES.len() {
        let der = der(at);
        let ours = PublicKey::of_certificate(&der).unwrap();
        let (_, theirs) = X509Certificate::from_der(&der).unwrap();
        let theirs = theirs.public_key();
        assert_eq!(ours.whole, theirs.raw);
        assert_eq!(ours.key, &*theirs.subject_public_key.data);
        assert_eq!(Some(ours), PublicKey::parse(ours.whole));
    }
}

/// The size of an RSA key, and of nothing else.
#[test]
fn rsa_keys_have_a_size() {
    let sizes = [
        None,
        Some(2048),
        Some(2048),
        None,
        Some(1024),
        Some(2048),
        Some(4096),
    ];
    for (at, size) in sizes.into_iter().enumerate() {
        assert_eq!(
            PublicKey::of_certificate(&der(at)).unwrap().rsa_bits(),
            size
        );
    }
}

proptest! {
    /// Law 9: whatever comes, the walk returns; and where a parser understands a damaged
    /// certificate too, both understand the same.
    #[test]
    fn damage_does_no_harm(
        at in 0..CERTIFICATES.len(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
        more in prop::collection::vec(any::<u8>(), 0..3),
    ) {
        let mut der = der(at);
        for (index, octet) in changes {
            // Most of what matters is near the front, within the headers of the elements.
            let index = if octet % 2 == 0 { index.index(der.len().min(80)) } else { index.index(der.len()) };
            der[index] = octet;
        }
        if let Some(cut) = cut {
            der.truncate(cut.index(der.len()));
        }
        der.extend(more);
        let ours = PublicKey::of_certificate(&der);
        if let (Some(ours), Ok((_, theirs))) = (ours, X509Certificate::from_der(&der)) {
            prop_assert_eq!(ours.whole, theirs.public_key().raw);
            ours.rsa_bits();
        }
    }
}
