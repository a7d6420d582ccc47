//! The little of X.509 that SCAMP needs: a certificate's public key.
//!
//! A walk of our own rather than a library's parser, since libraries insist on X.509 v3 and peers
//! have v1 certificates too (L-8, D-8). Reading allocates nothing; every length is checked against what is
//! there; indefinite and non-minimal lengths are refused.

use alloc::vec::Vec;

/// A subjectPublicKeyInfo, inside the DER it was found in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PublicKey<'a> {
    /// All of it, tag and length included.
    pub whole: &'a [u8],
    /// The content of its AlgorithmIdentifier.
    pub algorithm: &'a [u8],
    /// The key itself: the bit string's content.
    pub key: &'a [u8],
}

impl<'a> PublicKey<'a> {
    /// Finds the key in a certificate of any version, or `None` if this is no certificate.
    pub fn of_certificate(der: &'a [u8]) -> Option<Self> {
        let mut certificate = Walk(sole(der, SEQUENCE)?);
        let mut to_be_signed = Walk(certificate.next(SEQUENCE)?);
        if to_be_signed.peek() == Some(EXPLICIT_VERSION) {
            to_be_signed.next(EXPLICIT_VERSION)?;
        }
        to_be_signed.next(INTEGER)?;
        // Signature algorithm, issuer, validity, subject.
        for _ in 0..4 {
            to_be_signed.next(SEQUENCE)?;
        }
        let before = to_be_signed.0;
        to_be_signed.next(SEQUENCE)?;
        Self::parse(before.get(..before.len() - to_be_signed.0.len())?)
    }

    /// Reads a subjectPublicKeyInfo that fills `der`.
    pub fn parse(der: &'a [u8]) -> Option<Self> {
        let mut info = Walk(sole(der, SEQUENCE)?);
        let algorithm = info.next(SEQUENCE)?;
        let (unused_bits, key) = info.next(BIT_STRING)?.split_first()?;
        (*unused_bits == 0 && info.0.is_empty()).then_some(Self {
            whole: der,
            algorithm,
            key,
        })
    }

    /// Whether both are the same key, however the parameters of the algorithm are written.
    pub fn is_same_key(&self, other: &Self) -> bool {
        let kind = |key: &Self| Walk(key.algorithm).next(OBJECT_IDENTIFIER);
        self.key == other.key && kind(self).is_some_and(|oid| Some(oid) == kind(other))
    }

    /// The size of an RSA key in bits, or `None` if it is of another kind.
    pub fn rsa_bits(&self) -> Option<usize> {
        if Walk(self.algorithm).next(OBJECT_IDENTIFIER)? != RSA_ENCRYPTION {
            return None;
        }
        Walk(sole(self.key, SEQUENCE)?).next(INTEGER).map(bits)
    }

    /// The public exponent of an RSA key; `None` if it is of another kind, or over 64 bits.
    pub fn rsa_exponent(&self) -> Option<u64> {
        self.rsa_bits()?;
        let mut key = Walk(sole(self.key, SEQUENCE)?);
        key.next(INTEGER)?;
        let exponent = key.next(INTEGER)?;
        (bits(exponent) <= 64).then(|| {
            exponent
                .iter()
                .fold(0, |value, octet| value << 8 | u64::from(*octet))
        })
    }
}

/// The subjectPublicKeyInfo of an RSA public key in PKCS#1 form; `None` if it is none.
pub fn rsa_key_info(pkcs1: &[u8]) -> Option<Vec<u8>> {
    let mut key = Walk(sole(pkcs1, SEQUENCE)?);
    key.next(INTEGER)?;
    key.next(INTEGER)?;
    let oid = element(OBJECT_IDENTIFIER, &[RSA_ENCRYPTION])?;
    let algorithm = element(SEQUENCE, &[&oid, NULL])?;
    let key = element(BIT_STRING, &[&[0], pkcs1])?;
    element(SEQUENCE, &[&algorithm, &key])
}

/// An element with this content, the parts one after the other.
fn element(tag: u8, parts: &[&[u8]]) -> Option<Vec<u8>> {
    let content = parts.concat();
    let len = u32::try_from(content.len()).ok()?.to_be_bytes();
    let significant = len.iter().skip_while(|digit| **digit == 0);
    let mut out = Vec::from([tag]);
    match content.len() {
        0..=0x7F => out.push(len.last().copied()?),
        _ => {
            out.push(0x80 | u8::try_from(significant.clone().count()).ok()?);
            out.extend(significant);
        }
    }
    out.extend(content);
    Some(out)
}

/// The size of an RSA private key in bits, in PKCS#1 form; `None` if it is none.
pub fn pkcs1_bits(der: &[u8]) -> Option<usize> {
    let mut key = Walk(sole(der, SEQUENCE)?);
    key.next(INTEGER)?;
    key.next(INTEGER).map(bits)
}

/// The size of an RSA private key in bits, in PKCS#8 form; `None` if it is none.
pub fn pkcs8_bits(der: &[u8]) -> Option<usize> {
    let mut info = Walk(sole(der, SEQUENCE)?);
    info.next(INTEGER)?;
    let algorithm = info.next(SEQUENCE)?;
    if Walk(algorithm).next(OBJECT_IDENTIFIER)? != RSA_ENCRYPTION {
        return None;
    }
    pkcs1_bits(info.next(OCTET_STRING)?)
}

/// What is left of a constructed element's content.
struct Walk<'a>(&'a [u8]);

impl<'a> Walk<'a> {
    fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// Takes the next element, which must have this tag, and returns its content.
    fn next(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (found, rest) = self.0.split_first()?;
        let (first, rest) = rest.split_first()?;
        let (len, rest) = match *first {
            short @ 0..=0x7F => (usize::from(short), rest),
            // Four octets of length are 4 GiB; no certificate comes near.
            long @ 0x81..=0x84 => {
                let (digits, rest) = rest.split_at_checked(usize::from(long & 0x7F))?;
                let len = digits
                    .iter()
                    .fold(0u64, |len, digit| len << 8 | u64::from(*digit));
                let minimal = digits.first() != Some(&0) && len > 0x7F;
                (usize::try_from(len).ok().filter(|_| minimal)?, rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(len)?;
        self.0 = rest;
        (*found == tag).then_some(content)
    }
}

/// The content of the one element that `der` consists of.
fn sole(der: &[u8], tag: u8) -> Option<&[u8]> {
    let mut walk = Walk(der);
    walk.next(tag).filter(|_| walk.0.is_empty())
}

/// Significant bits of a positive integer.
fn bits(integer: &[u8]) -> usize {
    let mut digits = integer.iter().skip_while(|digit| **digit == 0);
    match digits.next() {
        None => 0,
        Some(first) => 8 * digits.count() + 8 - first.leading_zeros() as usize,
    }
}

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
/// `[0]`, constructed: the version, which v1 leaves out.
const EXPLICIT_VERSION: u8 = 0xA0;

/// The parameters of an RSA key, tag and length included.
const NULL: &[u8] = &[0x05, 0x00];

/// 1.2.840.113549.1.1.1
const RSA_ENCRYPTION: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x01];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The size of a number leaves its leading zeros out.
    #[test]
    fn the_size_of_a_number() {
        assert_eq!(
            [bits(&[]), bits(&[0]), bits(&[0, 1]), bits(&[0x80, 0])],
            [0, 0, 1, 16]
        );
    }

    /// Every length that lies is refused: indefinite, not minimal, beyond the end, before the end.
    #[test]
    fn lengths_that_lie() {
        for bad in [
            &[][..],
            &[0x30],
            &[0x30, 0x80, 0, 0],
            &[0x30, 0x81, 0x01, 0],
            &[0x30, 0x81],
            &[0x30, 0x82, 0x00, 0x80],
            &[0x30, 0x85, 0, 0, 0, 0, 1, 0],
            &[0x30, 0x84, 0xFF, 0xFF, 0xFF, 0xFF],
            &[0x30, 0x01],
            &[0x30, 0x00, 0x00],
            &[0x31, 0x00],
        ] {
            assert_eq!(sole(bad, SEQUENCE), None, "{bad:?}");
        }
        assert_eq!(sole(&[0x30, 0x01, 7], SEQUENCE), Some(&[7][..]));
        assert_eq!(
            sole(&[&[0x30, 0x81, 0x80][..], &[7; 128]].concat(), SEQUENCE),
            Some(&[7; 128][..])
        );
    }

    proptest! {
        /// Law 9: octets that are no certificate at all.
        #[test]
        fn junk_does_no_harm(junk in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(PublicKey::of_certificate(&junk), None);
            pkcs1_bits(&junk);
            pkcs8_bits(&junk);
            PublicKey::parse(&junk);
        }
    }
}
