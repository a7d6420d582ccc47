//! U-11: tickets, the keys that verify them, and the authorization table.

use alloc::vec::Vec;
use core::time::Duration;

use serde_json::Value;

use super::bites::Bites;
use crate::auth::{
    Padding, PublicKey, Sign, SignError, Table, Ticket, TicketCache, TicketError, TicketKeys,
    Verify,
};

/// U-11: a ticket counts only if its signature does; what it says and when it is valid is what a
/// second look says; and what is issued again is read again (T-1…T-8).
///
/// The first octets are the time of day and the skew, the rest is the ticket.
pub fn ticket(octets: &[u8]) {
    ticket_by(octets, &window);
}

/// The same, where `window` says when a ticket is valid.
pub(super) fn ticket_by(octets: &[u8], window: &dyn Fn(&Ticket, i64, Duration) -> i8) {
    let mut bites = Bites::new(octets);
    let now = i64::from_ne_bytes(bites.number().to_ne_bytes());
    let skew = Duration::from_secs(bites.number());
    let Ok(text) = core::str::from_utf8(bites.rest()) else {
        return;
    };
    let keys = TicketKeys::from_pem(KEY).expect("the key of E-17");
    let refused = keys.verify(text, now, skew, &Answer(false));
    assert!(refused.is_err(), "a ticket without a good signature (T-1)");

    let mut cache = TicketCache::new();
    let judged = cache.verify(&keys, text, now, skew, &Answer(true));
    assert_eq!(keys.verify(text, now, skew, &Answer(true)), judged);
    let again = cache.verify(&keys, text, now, skew, &Answer(false));
    assert_eq!(again.is_ok(), judged.is_ok(), "T-7");

    let read = Ticket::decode(text);
    let window = read.as_ref().map(|ticket| window(ticket, now, skew));
    match &judged {
        Ok(verified) => {
            assert_eq!(read.as_ref(), Ok(&**verified));
            assert_eq!(window, Ok(0), "T-4");
        }
        Err(TicketError::NotYetValid) => assert_eq!(window, Ok(-1), "T-4"),
        Err(TicketError::Expired) => assert_eq!(window, Ok(1), "T-4"),
        Err(TicketError::BadSignature) => assert!(text.contains(','), "T-1"),
        Err(error) => assert_eq!(read.as_ref(), Err(error)),
    }
    let issued = read.as_ref().map(|ticket| ticket.issue(&Answer(true)));
    if let Ok(Ok(issued)) = issued {
        assert_eq!(Ticket::decode(&issued), read, "T-8");
    }
}

/// -1 before the ticket's time, 0 in it, 1 after it, with numbers that cannot overflow.
pub(super) fn window(ticket: &Ticket, now: i64, skew: Duration) -> i8 {
    let (now, start) = (i128::from(now), i128::from(ticket.start()));
    let skew = i128::from(skew.as_secs()).min(i64::MAX.into());
    let end = start + i128::from(ticket.ttl());
    // The last second of the clock is the end of everything (T-4: saturating).
    let end = end.clamp(i64::MIN.into(), i64::MAX.into()) + skew;
    if now < (start - skew).max(i64::MIN.into()) {
        -1
    } else {
        i8::from(now >= end.min(i64::MAX.into()))
    }
}

/// U-11: whatever claims to be keys is usable or an error, and never harmful (T-6).
pub fn ticket_keys(octets: &[u8]) {
    if let Ok(keys) = TicketKeys::from_pem(octets) {
        assert!(keys.len() > 0);
        let judged = keys.verify("1,2,3,0,9,c2ln", 0, Duration::ZERO, &Answer(false));
        assert_eq!(judged, Err(TicketError::BadSignature));
        assert_eq!(keys.clone().and(keys.clone()), Ok(keys));
    }
    PublicKey::of_certificate(octets);
    if let Some(key) = PublicKey::parse(octets) {
        let _ = (key.rsa_bits(), key.rsa_exponent());
    }
}

/// The authorization table asks for what a generic reader finds in it (T-14, T-15).
pub fn table(octets: &[u8]) {
    let table = Table::parse(octets);
    let Ok(value) = serde_json::from_slice::<Value>(octets) else {
        // Too deep or with numbers that are none, to the generic reader.
        return;
    };
    assert_eq!(table.is_ok(), value.is_object(), "T-15");
    let (Ok(table), Value::Object(members)) = (table, value) else {
        return;
    };
    for (name, entry) in &members {
        let others = members
            .keys()
            .filter(|other| other.eq_ignore_ascii_case(name));
        if name.starts_with('_') {
            assert_eq!(table.needed(name), None);
        } else if others.count() == 1 {
            let elements = entry
                .as_array()
                .map(|all| all.iter().filter(|one| !one.is_null()));
            let ids = elements.and_then(|all| all.map(id).collect::<Option<Vec<_>>>());
            assert_eq!(table.needed(name), ids.as_deref(), "T-14: {name}");
        }
    }
}

fn id(element: &Value) -> Option<u64> {
    let text = match element {
        Value::Number(number) => return number.as_u64(),
        other => other.as_str()?,
    };
    let digits = !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

/// Says the same to every signature, and signs everything alike.
struct Answer(bool);

impl Verify for Answer {
    fn verify(&self, _: &PublicKey<'_>, padding: Padding, _: &[u8], _: &[u8]) -> bool {
        self.0 && padding == Padding::Pkcs1
    }
}

impl Sign for Answer {
    fn sign(&self, _: &[u8]) -> Result<Vec<u8>, SignError> {
        Ok(b"signature".to_vec())
    }
}

/// E-17
const KEY: &str = "-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAqOSuQ+HoLUnWqABwk7cV
dsitomaIffUI7PgF1PJ2sWI+ve7FhRDui5EbBCsBiLgRmGtCetGhMpkYpLDFZjw+
tgKtQtmz/cVx6bJ4qzP0bLXugmP4tbjPIhbLB6lDGmrB26i2TwyOFC3IsN7SQc6Y
C2UR6y93aTQu7DtGPHkpYCCFY96ccC6B+SNoHSQpAwWxgJ2lDtR+QpTihKPB+lmt
PzKPYnnt6RF1IX6rctzZg5T1H1R8DK6aKxtOWrZMDqMRnDthkNqUTjDtJUyIq/9b
Ly4aE/k/9qyU6v0BircO6ZnmfqJssqL9W3iuquappbh3e426fjP0z4Cco94PXn2L
pwIDAQAB
-----END PUBLIC KEY-----
";
