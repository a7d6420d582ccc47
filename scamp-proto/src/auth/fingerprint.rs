//! What a SCAMP peer is known by.

use core::fmt;
use core::str::FromStr;

use sha1::{Digest, Sha1};
use thiserror::Error;

/// The SHA-1 digest of a certificate's DER: a SCAMP peer's identity (L-2).
///
/// The text form is upper-case hex with a colon between octets, 59 characters. Reading ignores case
/// and accepts the form without colons.
///
/// # Example
///
/// ```
/// use scamp_proto::auth::Fingerprint;
///
/// let known: Fingerprint = "a9993e364706816aba3e25717850c26c9cd0d89d".parse()?;
/// assert_eq!(known, Fingerprint::of(b"abc"));
/// assert_eq!(
///     known.to_string(),
///     "A9:99:3E:36:47:06:81:6A:BA:3E:25:71:78:50:C2:6C:9C:D0:D8:9D"
/// );
/// # Ok::<(), scamp_proto::auth::FingerprintError>(())
/// ```
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Fingerprint([u8; LEN]);

impl Fingerprint {
    /// The fingerprint of the certificate with this DER, all of it.
    pub fn of(der: &[u8]) -> Self {
        Self(Sha1::digest(der).into())
    }

    /// A fingerprint known as its twenty octets.
    pub const fn from_octets(octets: [u8; LEN]) -> Self {
        Self(octets)
    }

    /// The twenty octets.
    pub const fn octets(&self) -> &[u8; LEN] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, rest @ ..] = &self.0;
        write!(f, "{first:02X}")?;
        rest.iter().try_for_each(|octet| write!(f, ":{octet:02X}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    /// Reads 40 hex digits, with a colon between all octets or between none.
    ///
    /// # Errors
    ///
    /// [`FingerprintError`] for anything else, white space included.
    fn from_str(text: &str) -> Result<Self, FingerprintError> {
        let step = match text.len() {
            40 => 2,
            59 => 3,
            _ => return Err(FingerprintError),
        };
        let mut octets = [0; LEN];
        for (octet, digits) in octets.iter_mut().zip(text.as_bytes().chunks(step)) {
            *octet = match digits {
                [high, low] | [high, low, b':'] => hex(*high)? << 4 | hex(*low)?,
                _ => return Err(FingerprintError),
            };
        }
        Ok(Self(octets))
    }
}

/// The text is not a fingerprint.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("a fingerprint is 40 hex digits, with a colon between all octets or between none")]
pub struct FingerprintError;

fn hex(digit: u8) -> Result<u8, FingerprintError> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err(FingerprintError),
    }
}

/// Octets of a SHA-1 digest.
const LEN: usize = 20;

#[cfg(test)]
mod tests {
    use std::format;
    use std::string::{String, ToString};
    use std::vec;

    use super::*;

    const TEXT: &str = "A9:99:3E:36:47:06:81:6A:BA:3E:25:71:78:50:C2:6C:9C:D0:D8:9D";

    /// L-2: 59 characters, and comparison ignores case and colons.
    #[test]
    fn every_spelling_is_one_fingerprint() {
        let known = Fingerprint::of(b"abc");
        assert_eq!(known.to_string(), TEXT);
        assert_eq!(TEXT.len(), 59);
        let bare = TEXT.replace(':', "");
        for spelling in [TEXT, &TEXT.to_lowercase(), &bare, &bare.to_lowercase()] {
            assert_eq!(spelling.parse(), Ok(known), "{spelling}");
        }
    }

    /// Whatever is not exactly a fingerprint is refused.
    #[test]
    fn other_texts_are_refused() {
        let mut bad = vec![
            String::new(),
            TEXT[1..].into(),
            format!("{TEXT}:"),
            format!(" {}", &TEXT[1..]),
        ];
        bad.push(TEXT.replace('9', "g"));
        bad.push(TEXT.replace(':', "-"));
        bad.push(TEXT.replace(':', "") + "AA:AA:AA:AA:AA:AA0");
        bad.push("é".repeat(20));
        // A missing colon made up for elsewhere.
        bad.push(format!("{}0", TEXT.replacen(':', "", 1)));
        for text in bad {
            assert_eq!(text.parse::<Fingerprint>(), Err(FingerprintError), "{text}");
        }
    }
}
