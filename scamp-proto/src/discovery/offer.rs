//! What a service says about itself, and how it is put into words and signed.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use thiserror::Error;

use super::Uri;
use super::action::Flags;
use super::announcement::{BEGIN, END};
use super::json::push_string;
use super::vector::{checked_version, name_fault, namespace_fault, sector_fault};
use crate::auth::{Sign, SignError};
use crate::flag::time_limit;
use crate::limits::{ANNOUNCE_INTERVAL, ANNOUNCEMENT_ACTIONS, ANNOUNCEMENT_TEXT, DATAGRAM_SENT};

/// A moment of the wall clock: microseconds since 1970, before it negative.
///
/// The core never reads it off a clock; it is told, like [`Instant`](crate::Instant).
///
/// ```
/// use scamp_proto::discovery::UnixTime;
///
/// assert_eq!(UnixTime::from_micros(1_700_000_000_250_000).to_string(), "1700000000.25");
/// assert_eq!(UnixTime::from_micros(5_000_042).to_string(), "5.000042");
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct UnixTime(i64);

impl UnixTime {
    /// So many microseconds after 1970 began.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// So long after 1970 began; what is too far is the farthest there is.
    pub fn from_epoch(since: Duration) -> Self {
        Self(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }

    /// Microseconds since 1970.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// The time from `earlier` to `self`, or zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        let micros = self.0.saturating_sub(earlier.0).max(0);
        Duration::from_micros(micros.unsigned_abs())
    }

    /// The first moment that differs.
    pub(super) fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// Seconds since 1970, as far as a floating number holds them.
    pub(super) fn seconds(self) -> f64 {
        let size = Duration::from_micros(self.0.unsigned_abs()).as_secs_f64();
        if self.0 < 0 { -size } else { size }
    }
}

/// Seconds, with as many digits of the microseconds as are needed (D-9, N-17).
impl fmt::Display for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let size = Duration::from_micros(self.0.unsigned_abs());
        write!(f, "{sign}{}", size.as_secs())?;
        let (mut micros, mut width) = (size.subsec_micros(), 6_usize);
        if micros == 0 {
            return Ok(());
        }
        while micros % 10 == 0 {
            micros /= 10;
            width = width.saturating_sub(1);
        }
        write!(f, ".{micros:0width$}")
    }
}

/// A service as it describes itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Description {
    /// Its name for itself: `NAME:` and 24 letters, made anew by each process (V-3).
    pub identity: String,
    /// The sector of its actions that have none of their own.
    pub sector: String,
    /// How much of the requests it wants, compared with others; 0 withdraws it.
    pub weight: u32,
    /// The time to the next announcement.
    pub interval: Duration,
    /// Where it listens.
    pub uri: Uri,
    /// The envelopes of its actions that have none of their own.
    pub envelopes: Vec<String>,
    /// What it offers.
    pub actions: Vec<Offer>,
}

/// One action that a service offers.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Offer {
    /// Its sector, if it is not the service's.
    pub sector: Option<String>,
    /// Its namespace, dots included.
    pub namespace: String,
    /// Its name, without dots.
    pub name: String,
    /// Its version, from 1.
    pub version: u32,
    /// What is said about it: `read`, `noauth`, `t600` … with commas between (D-17).
    pub flags: String,
    /// Its envelopes, if they are not the service's.
    pub envelopes: Option<Vec<String>>,
}

/// Why a service cannot be announced as described.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum OfferError {
    /// The name is not `Namespace.name`, or has a `:` in it (D-11).
    #[error("{0:?} is not the name of an action: it must be Namespace.name without a colon")]
    BadName(String),
    /// The version is not a number from 1 to 2 147 483 647.
    #[error("{0} is not a version: it must be a number from 1 to 2147483647")]
    BadVersion(u32),
    /// A text is empty, or has a character in it that would end it.
    #[error("{1:?} cannot be its {0}")]
    BadText(&'static str, String),
    /// The key makes no such signature.
    #[error(transparent)]
    Key(#[from] SignError),
    /// A text is longer than receivers take (D-5).
    #[error("its {0} has more than {ANNOUNCEMENT_TEXT} octets")]
    TextTooLong(&'static str),
    /// More actions than receivers take (D-5).
    #[error("it has more than {ANNOUNCEMENT_ACTIONS} actions")]
    TooManyActions,
    /// It does not fit into a datagram, even compressed (D-30).
    #[error("its announcement takes {0} octets compressed; {DATAGRAM_SENT} fit into a datagram")]
    TooLong(usize),
}

impl Description {
    /// A service in sector `main` of weight 1 that announces itself every five seconds.
    pub fn new(identity: impl Into<String>, uri: Uri) -> Self {
        Self {
            identity: identity.into(),
            sector: "main".to_owned(),
            weight: 1,
            interval: ANNOUNCE_INTERVAL,
            uri,
            envelopes: Vec::from(["json".to_owned()]),
            actions: Vec::new(),
        }
    }

    /// The announcement's text, made `at` this time by the owner of the certificate with this DER
    /// (D-2, D-16).
    ///
    /// # Errors
    ///
    /// [`OfferError`] for what no receiver would take.
    pub fn sign(
        &self,
        at: UnixTime,
        certificate: &[u8],
        key: &dyn Sign,
    ) -> Result<Bytes, OfferError> {
        self.check()?;
        let mut text = self.json(at);
        let signature = key.sign(&text)?;
        text.extend_from_slice(b"\n\n");
        text.extend_from_slice(BEGIN);
        text.push(b'\n');
        push_lines(&mut text, &STANDARD.encode(certificate), 64);
        text.extend_from_slice(END);
        text.extend_from_slice(b"\n\n");
        push_lines(&mut text, &STANDARD.encode(signature), 76);
        text.push(b'\n');
        Ok(text.into())
    }

    /// Whether receivers would take it.
    ///
    /// # Errors
    ///
    /// [`OfferError`] names the first thing they would not take.
    pub fn check(&self) -> Result<(), OfferError> {
        let bad = |field, text: &str| Err(OfferError::BadText(field, text.to_owned()));
        if self.identity.is_empty() {
            return bad("identity", "");
        }
        if u32::try_from(self.actions.len()).map_or(true, |count| count > ANNOUNCEMENT_ACTIONS) {
            return Err(OfferError::TooManyActions);
        }
        let sectors = self
            .actions
            .iter()
            .filter_map(|action| action.sector.as_ref());
        for sector in sectors.chain([&self.sector]) {
            if sector.is_empty() || sector_fault(sector).is_some() {
                return bad("sector", sector);
            }
        }
        self.actions.iter().try_for_each(Offer::check)?;
        // Envelopes of its own stand in one text.
        let own = |action: &Offer| action.envelopes.as_ref().map(|list| list.join(","));
        let lists = self.actions.iter().filter_map(own);
        for list in lists.chain(self.envelopes.iter().cloned()) {
            within("list of envelopes", &list)?;
        }
        for envelope in self.all_envelopes() {
            if envelope.is_empty() || envelope.contains(',') {
                return bad("envelope", envelope);
            }
        }
        let texts = [("identity", &self.identity), ("sector", &self.sector)];
        texts
            .iter()
            .try_for_each(|(field, text)| within(field, text))
    }

    fn all_envelopes(&self) -> impl Iterator<Item = &String> {
        let own = self
            .actions
            .iter()
            .filter_map(|action| action.envelopes.as_ref());
        own.flatten().chain(&self.envelopes)
    }

    /// The signed part.
    pub(super) fn json(&self, at: UnixTime) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(b"[3,");
        push_string(&mut out, &self.identity);
        out.push(b',');
        push_string(&mut out, &self.sector);
        out.push(b',');
        push_number(&mut out, self.weight);
        out.push(b',');
        push_number(&mut out, self.interval.as_millis());
        out.push(b',');
        push_string(&mut out, &self.uri.to_string());
        out.extend_from_slice(b",[");
        for (index, envelope) in self.envelopes.iter().enumerate() {
            push_comma(&mut out, index);
            push_string(&mut out, envelope);
        }
        let mut plain: BTreeMap<&str, Vec<&Offer>> = BTreeMap::new();
        let mut own = Vec::new();
        for action in &self.actions {
            match self.is_plain(action) {
                true => plain.entry(&action.namespace).or_default().push(action),
                false => own.push(action),
            }
        }
        if !own.is_empty() {
            push_comma(&mut out, self.envelopes.len());
            self.push_extension(&mut out, own);
        }
        out.extend_from_slice(b"],[");
        for (index, (namespace, mut actions)) in plain.into_iter().enumerate() {
            actions.sort_unstable();
            push_comma(&mut out, index);
            out.push(b'[');
            push_string(&mut out, namespace);
            for action in actions {
                out.extend_from_slice(b",[");
                push_string(&mut out, &action.name);
                out.push(b',');
                push_string(&mut out, &action.sorted_flags());
                if action.version != 1 {
                    out.push(b',');
                    push_number(&mut out, action.version);
                }
                out.push(b']');
            }
            out.push(b']');
        }
        out.extend_from_slice(b"],");
        push_number(&mut out, at);
        out.push(b']');
        out
    }

    /// Whether an action has the service's sector and envelopes.
    fn is_plain(&self, action: &Offer) -> bool {
        action
            .sector
            .as_ref()
            .is_none_or(|sector| *sector == self.sector)
            && action
                .envelopes
                .as_ref()
                .is_none_or(|list| *list == self.envelopes)
    }

    /// The other actions, as vectors (D-12, D-16).
    fn push_extension(&self, out: &mut Vec<u8>, actions: Vec<&Offer>) {
        // What differs least comes first, so that runs are long.
        let mut rows: Vec<[String; 6]> = actions
            .into_iter()
            .map(|action| {
                [
                    action.sector.as_ref().unwrap_or(&self.sector).clone(),
                    action
                        .envelopes
                        .as_ref()
                        .unwrap_or(&self.envelopes)
                        .join(","),
                    action.namespace.clone(),
                    action.sorted_flags(),
                    action.name.clone(),
                    action.version.to_string(),
                ]
            })
            .collect();
        rows.sort_unstable();
        out.extend_from_slice(b"{\"vmaj\":4,\"vmin\":0");
        let fields = ["acsec", "acenv", "acns", "acflag", "acname", "acver"];
        for (column, field) in fields.into_iter().enumerate() {
            let values = rows
                .iter()
                .filter_map(|row| row.get(column).map(String::as_str));
            push_vector(out, field, values, field != "acver");
        }
        push_vector(out, "accompat", rows.iter().map(|_| "1"), false);
        out.push(b'}');
    }
}

impl Offer {
    /// The action written `Namespace.name`, of version 1 and without flags.
    ///
    /// # Errors
    ///
    /// [`OfferError::BadName`].
    pub fn new(action: &str) -> Result<Self, OfferError> {
        let bad = || OfferError::BadName(action.to_owned());
        let (namespace, name) = action.rsplit_once('.').ok_or_else(bad)?;
        let offer = Self {
            sector: None,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            version: 1,
            flags: String::new(),
            envelopes: None,
        };
        offer.check().map(|()| offer)
    }

    /// The same with this version.
    pub fn version(self, version: u32) -> Self {
        Self { version, ..self }
    }

    /// The same with these flags, commas between them.
    pub fn flags(self, flags: &str) -> Self {
        Self {
            flags: flags.to_owned(),
            ..self
        }
    }

    /// The same in a sector of its own.
    pub fn sector(self, sector: &str) -> Self {
        Self {
            sector: Some(sector.to_owned()),
            ..self
        }
    }

    /// The same with envelopes of its own.
    pub fn envelopes(self, envelopes: &[&str]) -> Self {
        Self {
            envelopes: Some(envelopes.iter().map(ToString::to_string).collect()),
            ..self
        }
    }

    fn check(&self) -> Result<(), OfferError> {
        let Self {
            namespace, name, ..
        } = self;
        if namespace_fault(namespace).is_some() || name_fault(name).is_some() {
            let mut action = namespace.clone();
            action.push('.');
            action.push_str(name);
            return Err(OfferError::BadName(action));
        }
        if checked_version(self.version.into()).is_none() {
            return Err(OfferError::BadVersion(self.version));
        }
        [
            ("namespace", namespace),
            ("name", name),
            ("list of flags", &self.flags),
        ]
        .iter()
        .try_for_each(|(field, text)| within(field, text))
    }

    /// Each flag once, in order, the time limit that counts last (D-17, S-21).
    fn sorted_flags(&self) -> String {
        let is_limit = |flag: &&str| time_limit(flag).is_some();
        let all = Flags::parse(&self.flags);
        let mut flags: Vec<_> = all.iter().filter(|flag| !is_limit(flag)).collect();
        flags.sort_unstable();
        flags.dedup();
        flags.extend(all.iter().rfind(is_limit));
        flags.join(",")
    }
}

fn within(field: &'static str, text: &str) -> Result<(), OfferError> {
    match text.len() {
        0..=ANNOUNCEMENT_TEXT => Ok(()),
        _ => Err(OfferError::TextTooLong(field)),
    }
}

fn push_comma(out: &mut Vec<u8>, index: usize) {
    if index > 0 {
        out.push(b',');
    }
}

fn push_number(out: &mut Vec<u8>, number: impl fmt::Display) {
    out.extend_from_slice(number.to_string().as_bytes());
}

/// `,"field":[…]`, runs of two or more as `[count, value]`.
fn push_vector<'a>(
    out: &mut Vec<u8>,
    field: &str,
    values: impl Iterator<Item = &'a str>,
    quoted: bool,
) {
    out.push(b',');
    push_string(out, field);
    out.extend_from_slice(b":[");
    let mut runs: Vec<(u32, &str)> = Vec::new();
    for value in values {
        match runs.last_mut() {
            Some((count, last)) if *last == value => *count = count.saturating_add(1),
            _ => runs.push((1, value)),
        }
    }
    for (index, (count, value)) in runs.into_iter().enumerate() {
        push_comma(out, index);
        if count > 1 {
            out.push(b'[');
            push_number(out, count);
            out.push(b',');
        }
        match quoted {
            true => push_string(out, value),
            false => out.extend_from_slice(value.as_bytes()),
        }
        if count > 1 {
            out.push(b']');
        }
    }
    out.push(b']');
}

fn push_lines(out: &mut Vec<u8>, base64: &str, width: usize) {
    for line in base64.as_bytes().chunks(width) {
        out.extend_from_slice(line);
        out.push(b'\n');
    }
}
