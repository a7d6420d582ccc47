//! Texts whose signature was found good (D-7).

use alloc::collections::{BTreeSet, VecDeque};
use core::fmt;

use sha2::{Digest as _, Sha256};

use super::{Announcement, AnnouncementError, Unverified};
use crate::limits::KNOWN_TEXTS;

/// The SHA-256 digest of some octets.
#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of these octets.
    pub fn of(octets: &[u8]) -> Self {
        Self(Sha256::digest(octets).into())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .take(4)
            .try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

/// Remembers the last ten thousand texts that were verified, so that none is verified twice.
#[derive(Clone, Debug, Default)]
pub struct Known {
    texts: BTreeSet<Digest>,
    order: VecDeque<Digest>,
}

/// Whether an unverified text is known.
#[derive(Debug)]
pub enum Recall {
    /// It was verified before; here is what it says.
    Known(Result<Announcement, AnnouncementError>),
    /// It was not, and must be.
    New(Unverified),
}

impl Known {
    /// Nothing is known.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a text without verifying it again, if it is known.
    pub fn recall(&self, unverified: Unverified) -> Recall {
        match self
            .texts
            .contains(&Digest::of(unverified.text().as_bytes()))
        {
            true => Recall::Known(unverified.trusted()),
            false => Recall::New(unverified),
        }
    }

    /// Remembers a verified text; the oldest one makes room.
    pub fn remember(&mut self, announcement: &Announcement) {
        let digest = Digest::of(announcement.text().as_bytes());
        if !self.texts.insert(digest) {
            return;
        }
        self.order.push_back(digest);
        if self.order.len() > KNOWN_TEXTS {
            if let Some(oldest) = self.order.pop_front() {
                self.texts.remove(&oldest);
            }
        }
    }

    /// How many texts are known.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}
