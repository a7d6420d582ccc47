//! Who a message is to or from, and what it is about.

use core::fmt;
use core::str::FromStr;

use thiserror::Error;

/// The id of a connected peer: 16 octets, in the order of the UUID's text (WD-7).
///
/// Knowing a peer's id is the permission to send to it (WD-9), and a new connection has a new one
/// (WD-23). It is written as lower-case hex with hyphens; reading takes upper case as well, and a
/// leading `urn:uuid:` (WD-8).
///
/// # Example
///
/// ```
/// use scamp_proto::waddell::PeerId;
///
/// let id: PeerId = "urn:uuid:35A3B3D1-fc96-43f0-af04-b0acf1d12416".parse()?;
/// assert_eq!(id.octets()[..4], [0x35, 0xa3, 0xb3, 0xd1]);
/// assert_eq!(id.to_string(), "35a3b3d1-fc96-43f0-af04-b0acf1d12416");
/// # Ok::<(), scamp_proto::waddell::BadPeerId>(())
/// ```
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PeerId([u8; 16]);

impl PeerId {
    /// Octets on the wire.
    pub const LEN: usize = 16;

    /// The id with these octets; any 16 will do (WD-9).
    pub const fn from_octets(octets: [u8; Self::LEN]) -> Self {
        Self(octets)
    }

    /// A version 4 UUID from 16 octets of a cryptographic random source (WD-9, WD-124).
    pub const fn from_random(octets: [u8; Self::LEN]) -> Self {
        let number = u128::from_be_bytes(octets);
        let version = number & !(0xf << 76) | 4 << 76;
        let variant = version & !(0b11 << 62) | 0b10 << 62;
        Self(variant.to_be_bytes())
    }

    /// The octets, as they stand on the wire.
    pub const fn octets(&self) -> [u8; Self::LEN] {
        self.0
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, octet) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{octet:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PeerId {
    type Err = BadPeerId;

    fn from_str(text: &str) -> Result<Self, BadPeerId> {
        let text = text.strip_prefix("urn:uuid:").unwrap_or(text);
        if text.len() != TEXT {
            return Err(BadPeerId);
        }
        let mut number = 0_u128;
        for (index, octet) in text.bytes().enumerate() {
            match (index, octet) {
                (8 | 13 | 18 | 23, b'-') => {}
                (8 | 13 | 18 | 23, _) => return Err(BadPeerId),
                _ => {
                    let digit = char::from(octet).to_digit(16).ok_or(BadPeerId)?;
                    number = number << 4 | u128::from(digit);
                }
            }
        }
        Ok(Self(number.to_be_bytes()))
    }
}

/// A text that is no peer's id (WD-8).
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("not a peer's id: 36 characters, as in 35a3b3d1-fc96-43f0-af04-b0acf1d12416")]
pub struct BadPeerId;

/// What a message is about: any of 65 536 numbers, which only the two ends look at (WD-4).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TopicId(pub u16);

impl TopicId {
    /// Octets on the wire.
    pub const LEN: usize = 2;

    /// The topic that the assignment of an id carries; messages may use it, too (WD-6).
    pub const UNKNOWN: Self = Self(0);
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Characters of an id: 32 digits and 4 hyphens.
const TEXT: usize = 36;

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    /// WD-7, WD-8: text and octets are in the same order; nothing else is read as an id.
    #[test]
    fn wd_8_texts() {
        let text = "35a3b3d1-fc96-43f0-af04-b0acf1d12416";
        let octets = [
            0x35, 0xa3, 0xb3, 0xd1, 0xfc, 0x96, 0x43, 0xf0, 0xaf, 0x04, 0xb0, 0xac, 0xf1, 0xd1,
            0x24, 0x16,
        ];
        let id = PeerId::from_octets(octets);
        assert_eq!(text.parse(), Ok(id));
        assert_eq!(text.to_uppercase().parse(), Ok(id));
        assert_eq!(std::format!("urn:uuid:{text}").parse(), Ok(id));
        assert_eq!(id.to_string(), text);
        for bad in [
            "",
            "urn:uuid:",
            "35a3b3d1fc9643f0af04b0acf1d12416",
            "{35a3b3d1-fc96-43f0-af04-b0acf1d12416}",
            "35a3b3d1-fc96-43f0-af04-b0acf1d1241",
            "35a3b3d1-fc96-43f0-af04-b0acf1d12416 ",
            "35a3b3d1-fc96-43f0-af04-b0acf1d1241g",
            "35a3b3d1+fc96-43f0-af04-b0acf1d12416",
            "urn:uuid:urn:uuid:35a3b3d1-fc96-43f0-af04-b0acf1d12416",
            "35a3b3d1-fc96-43f0-af04-b0acf1d124é",
        ] {
            assert_eq!(bad.parse::<PeerId>(), Err(BadPeerId), "{bad:?}");
        }
    }

    /// WD-9, WD-124: whatever the random octets are, the id is a version 4 UUID, and all other bits
    /// are theirs.
    #[test]
    fn wd_9_version_and_variant() {
        for octet in [0x00, 0xff, 0x5a] {
            let id = PeerId::from_random([octet; 16]).octets();
            assert_eq!((id[6] >> 4, id[8] >> 6), (4, 0b10));
            assert_eq!((id[6] & 0x0f, id[8] & 0x3f), (octet & 0x0f, octet & 0x3f));
            for index in (0..16).filter(|index| ![6, 8].contains(index)) {
                assert_eq!(id[index], octet);
            }
        }
    }
}
