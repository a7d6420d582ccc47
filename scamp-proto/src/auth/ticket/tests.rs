//! Tickets, with a signature that needs no library: a digest under the key.

use std::string::{String, ToString};
use std::vec;

use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

use super::*;
use crate::auth::{Padding, PublicKey, Sign, SignError, Verify};

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

/// Signs with a digest.
struct Toy;

impl Sign for Toy {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        Ok(Sha256::digest(message).to_vec())
    }
}

impl Verify for Toy {
    fn verify(
        &self,
        _: &PublicKey<'_>,
        padding: Padding,
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        padding == Padding::Pkcs1 && Sha256::digest(message)[..] == *signature
    }
}

/// Accepts nothing, and says whether it was asked.
#[derive(Default)]
struct Nobody(core::cell::Cell<usize>);

impl Verify for Nobody {
    fn verify(&self, _: &PublicKey<'_>, _: Padding, _: &[u8], _: &[u8]) -> bool {
        self.0.set(self.0.get() + 1);
        false
    }
}

fn keys() -> TicketKeys {
    TicketKeys::from_pem(KEY).unwrap()
}

/// The body with its signature.
fn signed(body: &str) -> String {
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let mut text = body.to_string() + ",";
    URL_SAFE_NO_PAD.encode_string(Sha256::digest(body), &mut text);
    text
}

fn judge(text: &str, now: i64) -> Result<VerifiedTicket, TicketError> {
    keys().verify(text, now, Duration::ZERO, &Toy)
}

fn privileges(body: &str) -> Result<(bool, Vec<u64>), TicketError> {
    judge(&signed(body), 0).map(|ticket| (ticket.says_privileges(), ticket.privileges().to_vec()))
}

/// T-1, T-2, T-3: what a ticket says.
#[test]
fn fields() {
    let ticket = judge(
        &signed("1,3063,21,1700000000,315360000,1+20+31"),
        1_700_000_000,
    )
    .unwrap();
    assert_eq!((ticket.user_id(), ticket.client_id()), (3063, 21));
    assert_eq!((ticket.start(), ticket.ttl()), (1_700_000_000, 315_360_000));
    assert_eq!(ticket.privileges(), [1, 20, 31]);
    assert!(ticket.has(20) && !ticket.has(2));
}

/// T-3, N-51: no privileges, none written, several, the same twice; more fields are signed and ignored.
#[test]
fn privilege_data() {
    for (body, expected) in [
        ("1,2,3,0,9", (false, vec![])),
        ("1,2,3,0,9,", (true, vec![])),
        ("1,2,3,0,9,7", (true, vec![7])),
        ("1,2,3,0,9,7+3+7+003", (true, vec![3, 7])),
        ("1,2,3,0,9,7,x,,y+z", (true, vec![7])),
        ("1,2,3,0,9,18446744073709551615", (true, vec![u64::MAX])),
    ] {
        assert_eq!(privileges(body), Ok(expected), "{body}");
    }
    for privileges_field in [
        "+",
        "1+",
        "+1",
        "1++2",
        "read",
        "1+x",
        "-1",
        "18446744073709551616",
    ] {
        let body = std::format!("1,2,3,0,9,{privileges_field}");
        assert_eq!(privileges(&body), Err(TicketError::Malformed), "{body}");
    }
}

/// T-2: ids are 64 bits without a sign, times 64 bits; fractions are cut off.
#[test]
fn numbers() {
    let times =
        |body: &str| Ticket::decode(&signed(body)).map(|ticket| (ticket.start(), ticket.ttl()));
    assert_eq!(times("1,2,3,4.9,5.01,"), Ok((4, 5)));
    assert_eq!(times("1,2,3,-4.9,-5,"), Ok((-4, -5)));
    assert_eq!(
        times("1,18446744073709551615,0,9223372036854775807,0"),
        Ok((i64::MAX, 0))
    );
    for body in [
        "1,18446744073709551616,3,4,5",
        "1,2,3,9223372036854775808,5",
        "1,2,3,4,10000000000000000000",
        "1,-1,3,4,5",
        "1,+1,3,4,5",
        "1,,3,4,5",
        "1,2,3,,5",
        "1,2,3,-,5",
        "1,2,3,.5,5",
        "1,2,3,4.,5",
        "1,2,3,4.x,5",
        "1,2,3,4.5.6,5",
        "1,2,3,1e9,5",
        "1,2,3,soon,5",
        "1,2,3,4",
        "1,2,3",
        "1",
    ] {
        assert_eq!(times(body), Err(TicketError::Malformed), "{body}");
    }
}

/// T-4, N-13, N-51: from the first second on, up to the last and not beyond.
#[test]
fn time() {
    let text = signed("1,2,3,1000,60");
    for (now, expected) in [
        (i64::MIN, Err(TicketError::NotYetValid)),
        (999, Err(TicketError::NotYetValid)),
        (1000, Ok(())),
        (1059, Ok(())),
        (1060, Err(TicketError::Expired)),
        (i64::MAX, Err(TicketError::Expired)),
    ] {
        assert_eq!(judge(&text, now).map(drop), expected, "{now}");
    }
    let skew = |now| {
        keys()
            .verify(&text, now, Duration::from_secs(5), &Toy)
            .map(drop)
    };
    assert_eq!(skew(994), Err(TicketError::NotYetValid));
    assert_eq!((skew(995), skew(1064)), (Ok(()), Ok(())));
    assert_eq!(skew(1065), Err(TicketError::Expired));
}

/// F-48: no time of day and no skew makes arithmetic go wrong.
#[test]
fn extreme_times() {
    for body in [
        "1,2,3,9223372036854775807,9223372036854775807",
        "1,2,3,-9223372036854775807,-9223372036854775807",
        "1,2,3,0,9223372036854775807",
    ] {
        let ticket = Ticket::decode(&signed(body)).unwrap();
        for now in [i64::MIN, -1, 0, 1, 4_294_967_296, i64::MAX] {
            for skew in [Duration::ZERO, Duration::MAX] {
                let _ = ticket.check_time(now, skew);
            }
        }
    }
    let eternal = Ticket::new(1, 1, 0, i64::MAX, []);
    assert_eq!(eternal.check_time(i64::MAX - 1, Duration::ZERO), Ok(()));
}

/// T-5, N-45: length, form, signature, version, fields, time; the first fault is the one told.
#[test]
fn the_order_of_judgement() {
    let nobody = Nobody::default();
    let judge_by_nobody = |text: &str| {
        let error = keys().verify(text, 0, Duration::ZERO, &nobody).unwrap_err();
        (error, nobody.0.take())
    };
    let long = signed(&("1,2,3,0,9,1".to_string() + &"+1".repeat(40_000)));
    assert_eq!(judge_by_nobody(&long), (TicketError::Malformed, 0));
    for missing in ["", " ", "\r\n\t "] {
        assert_eq!(judge_by_nobody(missing), (TicketError::Missing, 0));
    }
    assert_eq!(judge_by_nobody("1"), (TicketError::Malformed, 0));
    assert_eq!(judge_by_nobody("1,2, 3,c2ln"), (TicketError::Malformed, 0));
    assert_eq!(
        judge_by_nobody("1,2,3,0,9,*"),
        (TicketError::BadSignature, 0)
    );
    assert_eq!(judge_by_nobody("2,x"), (TicketError::BadSignature, 0));
    assert_eq!(judge_by_nobody("2,x,c2ln"), (TicketError::BadSignature, 1));
    assert_eq!(judge(&signed("2,x"), 0), Err(TicketError::Version));
    assert_eq!(judge(&signed("01,2,3,0,9"), 0), Err(TicketError::Version));
    assert_eq!(judge(&signed(",2,3,0,9"), 0), Err(TicketError::Version));
    assert_eq!(judge(&signed("1,2,3,x,9"), 99), Err(TicketError::Malformed));
    assert_eq!(judge(&signed("1,2,3,0,9"), 99), Err(TicketError::Expired));
}

/// T-1: blanks around a ticket are trimmed, blanks inside are an error.
#[test]
fn blanks() {
    let text = signed("1,2,3,0,9");
    assert!(judge(&std::format!(" \t{text}\r\n"), 0).is_ok());
    for at in 1..text.len() {
        let (before, after) = text.split_at(at);
        let spaced = std::format!("{before} {after}");
        assert_eq!(judge(&spaced, 0), Err(TicketError::Malformed));
    }
}

/// T-1: both alphabets, with padding or without, and nothing else.
#[test]
fn spellings_of_a_signature() {
    // A body whose digest needs both letters in which the alphabets differ.
    let text = (0..)
        .map(|user| signed(&std::format!("1,{user},3,0,9")))
        .find(|text| text.contains('-') && text.contains('_'))
        .unwrap();
    let (body, signature) = text.rsplit_once(',').unwrap();
    let standard = signature.replace('-', "+").replace('_', "/");
    for good in [signature, &standard] {
        for padding in ["", "="] {
            assert!(judge(&std::format!("{body},{good}{padding}"), 0).is_ok());
        }
        for bad in ["==", "A", "*"] {
            let text = std::format!("{body},{good}{bad}");
            assert_eq!(judge(&text, 0), Err(TicketError::BadSignature));
        }
    }
}

/// T-5: 64 KiB is looked at, one octet more is not.
#[test]
fn the_longest_ticket() {
    let text = |len: usize| {
        let room = len - signed("1,2,3,0,9,1,").len();
        signed(&std::format!("1,2,3,0,9,1,{}", "x".repeat(room)))
    };
    assert!(judge(&text(limits::TICKET), 0).is_ok());
    assert_eq!(
        judge(&text(limits::TICKET + 1), 0),
        Err(TicketError::Malformed)
    );
}

/// T-7: a known ticket costs no verification, and its time is looked at on every use.
#[test]
fn known_tickets() {
    let (keys, nobody, mut cache) = (keys(), Nobody::default(), TicketCache::new());
    let text = signed("1,2,3,1000,60");
    let mut ask = |now, rsa: &dyn Verify| cache.verify(&keys, &text, now, Duration::ZERO, rsa);
    assert_eq!(ask(1000, &nobody), Err(TicketError::BadSignature));
    assert_eq!(ask(999, &Toy), Err(TicketError::NotYetValid));
    assert_eq!(nobody.0.take(), 1);
    assert_eq!(
        ask(1000, &nobody),
        Err(TicketError::BadSignature),
        "not remembered"
    );
    let ticket = ask(1000, &Toy).unwrap();
    assert_eq!(nobody.0.take(), 1);
    assert_eq!(ask(1001, &nobody), Ok(ticket.clone()));
    assert_eq!(ask(999, &nobody), Err(TicketError::NotYetValid));
    assert_eq!(ask(1060, &nobody), Err(TicketError::Expired));
    assert_eq!(nobody.0.take(), 0);
    let other = text.replace("1,2,3", "1,9,3");
    let find = |text: &str| cache.find(&keys, text, 1000, Duration::ZERO);
    assert_eq!(find(&std::format!(" {text}\n")), Some(Ok(ticket)));
    assert_eq!((find(&other), find("")), (None, None));
}

/// T-6, T-7: a ticket counts no longer than the key it was verified with.
#[test]
fn known_tickets_go_with_their_key() {
    let mut cache = TicketCache::new();
    let text = signed("1,2,3,0,9");
    cache
        .verify(&keys(), &text, 0, Duration::ZERO, &Toy)
        .unwrap();
    let find = |keys: &TicketKeys| cache.find(keys, &text, 0, Duration::ZERO).is_some();
    let other = TicketKeys::from_pem(KEY.replace("pwIDAQAB", "qQIDAQAB")).unwrap();
    assert!(find(&keys()) && !find(&other));
    assert!(find(&other.and(keys()).unwrap()));
}

/// T-7: 4096 are remembered, and the oldest makes way.
#[test]
fn the_oldest_makes_way() {
    let (keys, mut cache) = (keys(), TicketCache::new());
    let text = |user: usize| signed(&std::format!("1,{user},3,0,9"));
    for user in 0..limits::TICKETS {
        cache
            .verify(&keys, &text(user), 0, Duration::ZERO, &Toy)
            .unwrap();
        cache
            .verify(&keys, &text(0), 0, Duration::ZERO, &Toy)
            .unwrap();
    }
    let known =
        |cache: &TicketCache, user| cache.find(&keys, &text(user), 0, Duration::ZERO).is_some();
    assert_eq!(cache.len(), limits::TICKETS);
    assert!(known(&cache, 0));
    let one_more = cache.verify(&keys, &text(limits::TICKETS), 0, Duration::ZERO, &Toy);
    assert_eq!(cache.len(), limits::TICKETS);
    assert!(!known(&cache, 0) && known(&cache, 1) && known(&cache, limits::TICKETS));
    cache.keep(&one_more.unwrap());
    assert_eq!(cache.len(), limits::TICKETS);
}

/// T-6, N-13: keys of every form; what is no usable key is an error and never a panic.
#[test]
fn keys_of_every_form() {
    assert_eq!(keys().len(), 1);
    assert_eq!(TicketKeys::from_pem(""), Err(TicketKeyError::NoKey));
    assert_eq!(TicketKeys::from_pem(b"\xFF"), Err(TicketKeyError::NoKey));
    let junk = "-----BEGIN PUBLIC KEY-----\nYWJj\n-----END PUBLIC KEY-----\n";
    assert_eq!(TicketKeys::from_pem(junk), Err(TicketKeyError::Unreadable));
    let with_junk = std::format!("{KEY}{junk}");
    assert_eq!(
        TicketKeys::from_pem(with_junk),
        Err(TicketKeyError::Unreadable)
    );
    let twice = std::format!("note\n{KEY}\n-----BEGIN X-----\n-----END X-----\n{KEY}");
    assert_eq!(TicketKeys::from_pem(twice), Ok(keys()));
    let private = KEY.replace("PUBLIC", "PRIVATE");
    assert_eq!(TicketKeys::from_pem(private), Err(TicketKeyError::NoKey));
    let long = KEY.to_string() + &" ".repeat(limits::TICKET_KEY_FILE);
    assert_eq!(TicketKeys::from_pem(long), Err(TicketKeyError::TooLarge));
    // An even modulus or an exponent of 1, 2 in place of 65537.
    for (exponent, expected) in [
        ("pwIDAAAB", Err(TicketKeyError::Exponent)),
        ("pwIDAAAC", Err(TicketKeyError::Exponent)),
        ("pwIDAAAD", Ok(1)),
    ] {
        let keys = TicketKeys::from_pem(KEY.replace("pwIDAQAB", exponent));
        assert_eq!(keys.map(|keys| keys.len()), expected);
    }
}

/// HD-15: sixteen keys are taken, one more is not.
#[test]
fn the_number_of_keys() {
    // The last octet of the modulus, which is odd, in sixteen and one forms.
    let all = [
        "A", "B", "C", "D", "E", "F", "G", "H", "I", "J", "K", "L", "M", "N", "O", "P", "Q",
    ];
    let many = |count: usize| {
        let keys = all[..count].iter();
        let keys: Vec<_> = keys
            .map(|key| KEY.replace("Ly4aE/k/9", &std::format!("Ly4{key}E/k/9")))
            .collect();
        TicketKeys::from_pem(keys.concat())
    };
    assert_eq!(many(16).map(|keys| keys.len()), Ok(limits::TICKET_KEYS));
    assert_eq!(many(17), Err(TicketKeyError::TooMany));
    let one_more = many(16).unwrap().and(keys());
    assert_eq!(one_more, Err(TicketKeyError::TooMany));
    assert_eq!(many(16).unwrap().and(many(16).unwrap()), many(16));
}

/// T-8: privileges are sorted, nothing is added, and what cannot be read back is not written.
#[test]
fn issuing() {
    let ticket = Ticket::new(3063, 21, 1_700_000_000, 60, [31, 1, 20, 1]);
    let text = ticket.issue(&Toy).unwrap();
    assert_eq!(text, signed("1,3063,21,1700000000,60,1+20+31"));
    assert_eq!(*judge(&text, 1_700_000_000).unwrap(), ticket);
    assert_eq!(
        Ticket::new(1, 2, 3, 4, []).issue(&Toy),
        Ok(signed("1,1,2,3,4,"))
    );
    for (start, ttl) in [(-1, 1), (1, -1)] {
        let error = Ticket::new(1, 2, start, ttl, []).issue(&Toy);
        assert_eq!(error, Err(IssueError::NegativeTime));
    }
    let long = Ticket::new(1, 2, 3, 4, 0..20_000).issue(&Toy);
    assert!(matches!(long, Err(IssueError::TooLong(_))));
    struct Unable;
    impl Sign for Unable {
        fn sign(&self, _: &[u8]) -> Result<Vec<u8>, SignError> {
            Err(SignError)
        }
    }
    assert_eq!(ticket.issue(&Unable), Err(IssueError::Sign(SignError)));
}

/// T-5: the peer learns nothing of why.
#[test]
fn the_peer_is_told_little() {
    assert_eq!(
        (TicketError::CODE, TicketError::TEXT),
        ("authn", "Invalid ticket")
    );
}

proptest! {
    /// T-8: what is issued is what is read.
    #[test]
    fn issued_tickets_are_read(
        ids in any::<(u64, u64)>(),
        times in (0..i64::MAX, 0..i64::MAX),
        privileges in prop::collection::vec(any::<u64>(), 0..20),
    ) {
        let ticket = Ticket::new(ids.0, ids.1, times.0, times.1, privileges.iter().copied());
        let text = ticket.issue(&Toy).unwrap();
        prop_assert_eq!(Ticket::decode(&text), Ok(ticket.clone()));
        for privilege in privileges {
            prop_assert!(ticket.has(privilege));
        }
        let judged = judge(&text, times.0).map(|ticket| ticket.start());
        let expected = if times.1 > 0 { Ok(times.0) } else { Err(TicketError::Expired) };
        prop_assert_eq!(judged, expected);
    }

    /// T-1: one octet changed in what is signed, and the ticket is none.
    #[test]
    fn changed_tickets_are_refused(at in 0..25_usize, octet in b'0'..=b'9') {
        let mut text = signed("1,3063,21,1700000000,60,1").into_bytes();
        prop_assume!(text[at] != octet);
        text[at] = octet;
        let text = String::from_utf8(text).unwrap();
        prop_assert_eq!(judge(&text, 1_700_000_000), Err(TicketError::BadSignature));
    }
}
