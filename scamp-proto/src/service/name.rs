//! What a service is called, and what follows from it.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;

use crate::Rng;

/// The name of a service: 1 to 64 of `A-Z a-z 0-9 _ . -` (V-3).
///
/// ```
/// use scamp_proto::service::Name;
///
/// let name = Name::parse("greeter")?;
/// let identity = name.identity([7; 18]);
/// assert_eq!(identity, "greeter:BwcHBwcHBwcHBwcHBwcHBwcH");
/// # Ok::<(), scamp_proto::service::NameError>(())
/// ```
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Name(String);

/// The text cannot be the name of a service.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("{0:?} is not the name of a service: it must be 1 to 64 letters, digits, '_', '.' or '-'")]
pub struct NameError(String);

impl Name {
    /// Checks a name.
    ///
    /// # Errors
    ///
    /// [`NameError`].
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let is_fine = |octet: u8| octet.is_ascii_alphanumeric() || b"_.-".contains(&octet);
        match (1..=64).contains(&text.len()) && text.bytes().all(is_fine) {
            true => Ok(Self(text.to_owned())),
            false => Err(NameError(text.chars().take(64).collect())),
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The identity of one process of the service, from octets that are random and used once (V-3).
    pub fn identity(&self, random: [u8; 18]) -> String {
        format!("{}:{}", self.0, STANDARD.encode(random))
    }
}

impl core::fmt::Display for Name {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the file is called that says a service is running: its identity with `/` as `_` (V-7).
pub fn running_file_name(identity: &str) -> String {
    identity.replace('/', "_")
}

/// The ports to try when listening: chosen evenly from a range, so many times (V-2).
///
/// Bind to each in turn without address re-use, going on only while the answer is that the port is
/// taken; when there are no more, there is no free port.
///
/// ```
/// use scamp_proto::Rng;
/// use scamp_proto::service::Ports;
///
/// let fixed = Ports { first: 5000, last: 5000, ..Ports::default() };
/// assert!(fixed.choose(Rng::new(1)).all(|port| port == 5000));
/// assert_eq!(Ports::default().choose(Rng::new(1)).count(), 20);
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ports {
    /// The first of the range (`beepish.first_port`).
    pub first: u16,
    /// The last of the range, which belongs to it (`beepish.last_port`).
    pub last: u16,
    /// How many to try (`beepish.bind_tries`).
    pub tries: u32,
}

impl Default for Ports {
    fn default() -> Self {
        Self {
            first: 30_100,
            last: 30_399,
            tries: 20,
        }
    }
}

impl Ports {
    /// The ports in the order to try them. There are none in a range that ends before it begins.
    pub fn choose(self, mut rng: Rng) -> impl Iterator<Item = u16> {
        let count = (u64::from(self.last) + 1).saturating_sub(self.first.into());
        let tries = match count {
            0 => 0,
            _ => self.tries,
        };
        (0..tries).map(move |_| {
            let offset = u16::try_from(rng.below(count)).unwrap_or(0);
            self.first.saturating_add(offset)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// V-3: what a service may be called.
    #[test]
    fn names() {
        let long = "x".repeat(64);
        for good in ["a", "greeter", "A.b-c_9", &long] {
            assert_eq!(Name::parse(good).map(|name| name.0), Ok(good.to_owned()));
        }
        let longer = "x".repeat(65);
        for bad in ["", "a b", "a:b", "a/b", "ä", "a\0", "a\n", &longer] {
            assert!(Name::parse(bad).is_err(), "{bad}");
        }
    }

    /// V-3: 18 octets are 24 characters without padding.
    #[test]
    fn identities() {
        let name = Name::parse("greeter").expect("a name");
        assert_eq!(
            name.identity([0xff; 18]),
            "greeter:////////////////////////"
        );
        assert_eq!(name.identity([0; 18]).len(), "greeter:".len() + 24);
    }

    /// V-7: no slash is left in the name of the file.
    #[test]
    fn running_files() {
        assert_eq!(running_file_name("a:b/c+d/"), "a:b_c+d_");
    }

    /// V-2, N-27, N-48: the whole range, both ends included, and no more tries than allowed.
    #[test]
    fn ports() {
        let ports = Ports {
            first: 30_100,
            last: 30_103,
            tries: 200,
        };
        let all: BTreeSet<u16> = ports.choose(Rng::new(5)).collect();
        assert_eq!(all, (30_100..=30_103).collect());
        let top = Ports {
            first: 65_535,
            last: 65_535,
            tries: 3,
        };
        assert!(top.choose(Rng::new(5)).eq([65_535; 3]));
        let whole = Ports {
            first: 0,
            last: 65_535,
            tries: 1000,
        };
        assert!(whole.choose(Rng::new(5)).max() > Some(60_000));
        let none = Ports {
            first: 2,
            last: 1,
            tries: 3,
        };
        assert_eq!(none.choose(Rng::new(5)).count(), 0);
    }
}
