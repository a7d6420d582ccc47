//! What is worth a line in a log, and ends nothing.

use alloc::string::String;
use core::fmt;
use core::net::IpAddr;
use core::time::Duration;

use super::{AnnouncementError, BadAction, DatagramError};
use crate::auth::Fingerprint;

/// Something that was handled and that somebody may want to know of.
///
/// Texts that came from outside are escaped where an event is printed (HD-13).
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// Actions of a service are left out; the first of them, and how many there are (D-11).
    BadActions {
        /// The service's certificate.
        fingerprint: Fingerprint,
        /// Its identity.
        identity: String,
        /// The first of them.
        first: BadAction,
        /// How many.
        count: u32,
    },
    /// A datagram is dropped.
    BadDatagram {
        /// Where it came from.
        from: IpAddr,
        /// What is wrong with it.
        error: DatagramError,
    },
    /// A record of the cache file is skipped (D-31).
    BadRecord {
        /// Which, counted from 0.
        index: usize,
        /// What is wrong with it.
        error: AnnouncementError,
    },
    /// The cache file cannot be read; what it said before goes on counting (D-35).
    FileUnreadable(String),
    /// The cache file is older than it may be (D-36).
    FileStale {
        /// Its age.
        age: Duration,
    },
    /// The cache file was changed while it was read, each time again (HD-41).
    FileTorn,
    /// The cache file could not be written; it is tried again at the next change (F-45).
    FileUnwritable(String),
    /// A limit acted: its key, and its value (HD-15).
    LimitHit(&'static str, u64),
    /// Something follows an announcement's signature, and is ignored (D-3).
    MoreText {
        /// The service's certificate.
        fingerprint: Fingerprint,
        /// Its identity.
        identity: String,
    },
    /// An announcement is older than one taken before (D-21).
    Replayed {
        /// The service's certificate.
        fingerprint: Fingerprint,
        /// Its identity.
        identity: String,
    },
    /// Text before the first separator of the cache file that is no record is dropped (D-31).
    StrayText {
        /// How much.
        octets: usize,
    },
    /// An announcement has a part that would end a record of the cache file, and is not written
    /// (D-33).
    Unwritable {
        /// The service's certificate.
        fingerprint: Fingerprint,
        /// Its identity.
        identity: String,
    },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadActions {
                fingerprint,
                identity,
                first,
                count,
            } => {
                let BadAction { index, fault } = first;
                let service = Service(fingerprint, identity);
                write!(
                    f,
                    "{count} bad action(s) of {service} left out; action {index}: {fault}"
                )
            }
            Self::BadDatagram { from, error } => write!(f, "datagram from {from} dropped: {error}"),
            Self::BadRecord { index, error } => {
                write!(f, "record {index} of the cache file skipped: {error}")
            }
            Self::FileUnreadable(why) => {
                let why = why.escape_debug();
                write!(
                    f,
                    "cache file cannot be read, its last content is kept: {why}"
                )
            }
            Self::FileStale { age } => {
                write!(f, "cache file is {} s old, which is too old", age.as_secs())
            }
            Self::FileTorn => {
                f.write_str("cache file changes while it is read, its last content is kept")
            }
            Self::FileUnwritable(why) => {
                write!(f, "cache file cannot be written: {}", why.escape_debug())
            }
            Self::LimitHit(name, value) => write!(f, "limit {name} = {value} reached"),
            Self::MoreText {
                fingerprint,
                identity,
            } => {
                let service = Service(fingerprint, identity);
                write!(f, "text after the signature of {service} ignored")
            }
            Self::Replayed {
                fingerprint,
                identity,
            } => write!(f, "replay of {} ignored", Service(fingerprint, identity)),
            Self::StrayText { octets } => {
                write!(
                    f,
                    "{octets} octets before the first separator of the cache file dropped"
                )
            }
            Self::Unwritable {
                fingerprint,
                identity,
            } => {
                let service = Service(fingerprint, identity);
                write!(
                    f,
                    "{service} is not written to the cache file: a line of it is %%%"
                )
            }
        }
    }
}

/// A service's name for people.
struct Service<'a>(&'a Fingerprint, &'a str);

impl fmt::Display for Service<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(fingerprint, identity) = self;
        write!(f, "{}#", fingerprint)?;
        identity
            .chars()
            .take(64)
            .try_for_each(|c| write!(f, "{}", c.escape_debug()))
    }
}
