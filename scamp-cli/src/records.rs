//! Announcements in files, judged one by one.

use std::path::Path;

use scamp_proto::auth::Fingerprint;
use scamp_proto::discovery::cache_file::{Piece, Splitter};
use scamp_proto::discovery::{Announcement, AnnouncementError, Unverified};
use scamp_proto::limits::{ANNOUNCEMENT, CACHE_FILE};
use scamp_tls::Rsa;

use crate::failure::Failure;

/// One record of a file, and what became of it.
#[derive(Debug)]
pub(crate) struct Record {
    /// Which of the file's, from 0.
    pub(crate) index: usize,
    /// Whose it says it is; `None` if that cannot be read.
    pub(crate) fingerprint: Option<Fingerprint>,
    pub(crate) outcome: Result<Announcement, String>,
}

impl Record {
    /// Splits and verifies a text.
    pub(crate) fn judge(index: usize, text: &[u8], accept_pss: bool) -> Self {
        let split = Unverified::split(text);
        let fingerprint = split.as_ref().ok().map(Unverified::fingerprint);
        let outcome = split.and_then(|unverified| match accept_pss {
            true => unverified.verify_or_pss(&Rsa),
            false => unverified.verify(&Rsa),
        });
        Self {
            index,
            fingerprint,
            outcome: outcome.map_err(reason),
        }
    }

    /// Something that is no record at all.
    pub(crate) fn malformed(index: usize, why: impl std::fmt::Display) -> Self {
        Self {
            index,
            fingerprint: None,
            outcome: Err(format!("malformed: {why}")),
        }
    }

    /// What is odd about a record that is good.
    pub(crate) fn oddities(&self) -> Vec<String> {
        let Ok(announcement) = &self.outcome else {
            return Vec::new();
        };
        let mut told = Vec::new();
        let (first, count) = announcement.bad_actions();
        if let Some(first) = first.first() {
            let (index, fault) = (first.index, first.fault);
            told.push(format!(
                "{count} bad action(s) left out; action {index}: {fault}"
            ));
        }
        if announcement.has_more() {
            told.push("text after its signature ignored".to_owned());
        }
        told
    }
}

/// Why an announcement is not good, in few words.
fn reason(error: AnnouncementError) -> String {
    match error {
        AnnouncementError::WrongSignature => "bad signature".to_owned(),
        other => format!("malformed: {other}"),
    }
}

/// The records of a cache file: each text once (D-31). What is odd about the file goes to `tell`.
pub(crate) fn records(
    octets: &[u8],
    accept_pss: bool,
    tell: &mut dyn FnMut(String),
    each: &mut dyn FnMut(Record) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut seen = std::collections::BTreeSet::new();
    let mut result = Ok(());
    let mut take = |piece: Piece<'_>| {
        if result.is_err() {
            return;
        }
        match piece {
            Piece::Record(index, text) => match seen.insert(text.to_vec()) {
                true => result = each(Record::judge(index, text, accept_pss)),
                false => tell(format!("record {index} is there before; it counts once")),
            },
            Piece::TooLong(index) => {
                result = each(Record::malformed(index, AnnouncementError::TooLong));
            }
            Piece::Stray(octets) => tell(format!(
                "{octets} octets before the first separator are no record"
            )),
            Piece::LimitHit(name, value) => {
                tell(format!(
                    "limit {name} = {value} reached; the rest is ignored"
                ));
            }
        }
    };
    let mut splitter = Splitter::new();
    splitter.feed(octets, &mut take);
    splitter.finish(&mut take);
    result
}

/// Whether a file has a line that separates records; without one it is a single announcement.
pub(crate) fn has_separator(octets: &[u8]) -> bool {
    octets
        .split(|octet| *octet == b'\n')
        .any(|line| line.strip_suffix(b"\r").unwrap_or(line) == b"%%%")
}

/// A whole cache file, or as much of it as counts. `-` is standard input.
pub(crate) fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    crate::certificate::read_up_to(file, CACHE_FILE)
}

/// A single datagram's payload. `-` is standard input.
pub(crate) fn read_datagram(file: &Path) -> Result<Vec<u8>, Failure> {
    crate::certificate::read_up_to(file, ANNOUNCEMENT as u64)
}
