//! Tickets: who asks, and what they may do, with a signature under it.
//!
//! ```text
//! version "," user-id "," client-id "," start "," ttl "," privilege "+" privilege … "," signature
//! ```
//!
//! [`TicketKeys::verify`] is the only way to a [`VerifiedTicket`]; a [`TicketCache`] spares the
//! verification when the same ticket comes again. [`Ticket::decode`] reads one without judging it,
//! to be shown, and [`Ticket::issue`] makes one.

mod cache;
mod issue;
mod keys;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Deref;
use core::time::Duration;

use base64::Engine;
use thiserror::Error;

pub use self::cache::TicketCache;
pub use self::issue::IssueError;
pub use self::keys::{TicketKeyError, TicketKeys};
use super::BASE64;
use crate::limits;

/// What a ticket says. Nobody has vouched for it: that is a [`VerifiedTicket`].
///
/// # Example
///
/// ```
/// use scamp_proto::auth::Ticket;
///
/// let ticket = Ticket::decode("1,3063,21,1700000000,3600,1+20+31,c2lnbmF0dXJl")?;
/// assert_eq!((ticket.user_id(), ticket.client_id()), (3063, 21));
/// assert!(ticket.has(20) && !ticket.has(2));
/// # Ok::<(), scamp_proto::auth::TicketError>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ticket {
    user_id: u64,
    client_id: u64,
    start: i64,
    ttl: i64,
    privileges: Option<Vec<u64>>,
}

impl Ticket {
    /// A ticket for a user of a client, from `start` (seconds after 1970) for `ttl` seconds.
    pub fn new(
        user_id: u64,
        client_id: u64,
        start: i64,
        ttl: i64,
        privileges: impl IntoIterator<Item = u64>,
    ) -> Self {
        Self {
            user_id,
            client_id,
            start,
            ttl,
            privileges: Some(as_set(privileges.into_iter().collect())),
        }
    }

    /// Reads a ticket without looking at its signature or at the time.
    ///
    /// # Errors
    ///
    /// [`TicketError::Missing`], [`TicketError::Malformed`] or [`TicketError::Version`].
    pub fn decode(text: &str) -> Result<Self, TicketError> {
        Self::decode_body(Parts::split(text)?.body)
    }

    /// The user it was made out to.
    pub fn user_id(&self) -> u64 {
        self.user_id
    }

    /// The client the user belongs to.
    pub fn client_id(&self) -> u64 {
        self.client_id
    }

    /// When it begins to be valid, in seconds after 1970.
    pub fn start(&self) -> i64 {
        self.start
    }

    /// How long it is valid, in seconds.
    pub fn ttl(&self) -> i64 {
        self.ttl
    }

    /// The privileges, in ascending order, each once.
    ///
    /// A ticket without privilege data has none (T-3: Go and RS reject such tickets); see
    /// [`says_privileges`](Self::says_privileges).
    pub fn privileges(&self) -> &[u64] {
        self.privileges.as_deref().unwrap_or_default()
    }

    /// Whether the field of privileges is there at all.
    pub fn says_privileges(&self) -> bool {
        self.privileges.is_some()
    }

    /// Whether the privilege with this number is among them.
    pub fn has(&self, privilege: u64) -> bool {
        self.privileges().binary_search(&privilege).is_ok()
    }

    /// Whether `unix_now`, in seconds after 1970, lies within its time, give or take `skew`.
    ///
    /// The end itself is outside (T-4: Go accepts one second more, C# never looks).
    ///
    /// # Errors
    ///
    /// [`TicketError::NotYetValid`] or [`TicketError::Expired`].
    pub fn check_time(&self, unix_now: i64, skew: Duration) -> Result<(), TicketError> {
        let skew = i64::try_from(skew.as_secs()).unwrap_or(i64::MAX);
        let end = self.start.saturating_add(self.ttl).saturating_add(skew);
        if unix_now < self.start.saturating_sub(skew) {
            Err(TicketError::NotYetValid)
        } else if unix_now >= end {
            Err(TicketError::Expired)
        } else {
            Ok(())
        }
    }

    /// Reads what is signed.
    fn decode_body(body: &str) -> Result<Self, TicketError> {
        let mut fields = body.split(',');
        if fields.next() != Some(VERSION) {
            return Err(TicketError::Version);
        }
        let mut field = || fields.next().ok_or(TicketError::Malformed);
        let user_id = number(field()?)?;
        let client_id = number(field()?)?;
        let start = seconds(field()?)?;
        let ttl = seconds(field()?)?;
        let privileges = match fields.next() {
            None => None,
            Some("") => Some(Vec::new()),
            Some(ids) => Some(as_set(
                ids.split('+').map(number).collect::<Result<_, _>>()?,
            )),
        };
        Ok(Self {
            user_id,
            client_id,
            start,
            ttl,
            privileges,
        })
    }
}

/// A [`Ticket`] whose signature was checked, and which was valid when it was; cheap to clone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VerifiedTicket(Arc<Verified>);

#[derive(Debug, Eq, PartialEq)]
struct Verified {
    ticket: Ticket,
    /// SHA-256 of the ticket's text.
    text: Digest,
    /// SHA-256 of the key that verified it.
    key: Digest,
}

type Digest = [u8; 32];

impl Deref for VerifiedTicket {
    type Target = Ticket;

    fn deref(&self) -> &Ticket {
        &self.0.ticket
    }
}

/// Why a ticket is not accepted.
///
/// The peer is told none of it: for all of them it gets [`CODE`](Self::CODE) and
/// [`TEXT`](Self::TEXT) (T-5).
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum TicketError {
    /// The signature is by none of the keys, or is none.
    #[error("ticket signature is wrong")]
    BadSignature,
    /// Its time is over.
    #[error("ticket has expired")]
    Expired,
    /// It is not of the form of a ticket, or longer than one may be.
    #[error("ticket is malformed")]
    Malformed,
    /// There is none, or an empty one.
    #[error("ticket is missing")]
    Missing,
    /// Its time has not begun.
    #[error("ticket is not yet valid")]
    NotYetValid,
    /// It is of a version other than 1.
    #[error("ticket is of an unknown version")]
    Version,
}

impl TicketError {
    /// The `error_code` that a peer gets.
    pub const CODE: &'static str = "authn";

    /// The `error` that a peer gets.
    pub const TEXT: &'static str = "Invalid ticket";
}

/// A ticket in two: what is signed, and the signature as it is written.
struct Parts<'a> {
    body: &'a str,
    signature: &'a str,
}

impl<'a> Parts<'a> {
    fn split(text: &'a str) -> Result<Self, TicketError> {
        let text = trim(text)?;
        if text.contains(|ch: char| ch.is_ascii_whitespace()) {
            return Err(TicketError::Malformed);
        }
        let (body, signature) = text.rsplit_once(',').ok_or(TicketError::Malformed)?;
        Ok(Self { body, signature })
    }

    /// The signature's octets: URL-safe or standard base64, padded or not (T-1, as JS does).
    fn signature(&self) -> Result<Vec<u8>, TicketError> {
        let standard = |octet| match octet {
            b'-' => b'+',
            b'_' => b'/',
            other => other,
        };
        let octets: Vec<u8> = self.signature.bytes().map(standard).collect();
        BASE64.decode(octets).map_err(|_| TicketError::BadSignature)
    }
}

/// The ticket without the blanks around it, once its length has been judged (T-5).
fn trim(text: &str) -> Result<&str, TicketError> {
    if text.len() > limits::TICKET {
        return Err(TicketError::Malformed);
    }
    match text.trim_ascii() {
        "" => Err(TicketError::Missing),
        text => Ok(text),
    }
}

/// Decimal digits and nothing else.
fn number(text: &str) -> Result<u64, TicketError> {
    let digits = text.bytes().all(|octet| octet.is_ascii_digit());
    let value = text.parse().ok().filter(|_| digits);
    value.ok_or(TicketError::Malformed)
}

/// Whole seconds; a fraction is cut off (T-2: C# writes some).
fn seconds(text: &str) -> Result<i64, TicketError> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let fraction = fraction.bytes().all(|octet| octet.is_ascii_digit()) && !fraction.is_empty();
    let whole = i64::try_from(number(whole)?).map_err(|_| TicketError::Malformed)?;
    match (fraction, negative) {
        (false, _) => Err(TicketError::Malformed),
        (true, false) => Ok(whole),
        (true, true) => Ok(whole.saturating_neg()),
    }
}

fn as_set(mut privileges: Vec<u64>) -> Vec<u64> {
    privileges.sort_unstable();
    privileges.dedup();
    privileges
}

const VERSION: &str = "1";

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
