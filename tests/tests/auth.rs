//! Authorized services and tickets against their reference, their recordings, and real signatures.

use std::time::Duration;

use proptest::prelude::*;
use scamp_proto::auth::authorized::{AuthorizedServices, What};
use scamp_proto::auth::table::Denied;
use scamp_proto::auth::{Fingerprint, Table, Ticket, TicketError, TicketKeys, VerifiedTicket};
use scamp_tests::naive::authorized::Authorized;
use scamp_tests::vectors::Vectors;
use scamp_tls::{Rsa, SigningKey};
use serde_json::Value;

fn read(text: &[u8]) -> (AuthorizedServices, Vec<What>) {
    let mut events = Vec::new();
    let services = AuthorizedServices::parse(text, &mut |event| events.push(event.what));
    (services, events)
}

/// Q-19's fingerprints: two that the files have, one that they have not.
const WHO: [&str; 3] = [
    "01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14",
    "FF:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14",
    "FE:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14",
];

/// Names that share beginnings, with dots, colons and either case.
fn name() -> impl Strategy<Value = String> {
    let parts = [
        "a", "A", "ab", "b", ".", ".", ":", "ALL", "all", "_meta", "_META", "main", "MAIN", "web",
        "",
    ];
    let parts = prop::collection::vec(prop::sample::select(parts.to_vec()), 0..4);
    parts.prop_map(|parts| parts.concat())
}

fn token() -> impl Strategy<Value = String> {
    prop_oneof![
        name(),
        (name(), name()).prop_map(|(sector, prefix)| format!("{sector}:{prefix}")),
        name().prop_map(|sector| format!("{sector}:ALL")),
    ]
}

fn line() -> impl Strategy<Value = String> {
    let who = prop::sample::select(vec![WHO[0], WHO[0], WHO[1], "01:02", "", "#"]);
    let blank = prop::sample::select(vec![" ", "\t", "  ", " \t "]);
    let end = prop::sample::select(vec!["\n", "\r\n", " # web:ALL, a\n", " \n", "#\n"]);
    let tokens = prop::collection::vec((token(), blank.clone()), 0..6);
    (who, any::<bool>(), blank, tokens, end).prop_map(|(who, lower, blank, tokens, end)| {
        let who = if lower {
            who.to_lowercase()
        } else {
            who.to_owned()
        };
        let tokens: Vec<_> = tokens
            .into_iter()
            .map(|(token, blank)| format!("{token}{blank}"))
            .collect();
        format!("{who}{blank}{}{end}", tokens.join(","))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    /// Q-19: the matcher and the reference allow the same.
    #[test]
    fn the_matcher_is_the_reference(
        lines in prop::collection::vec(line(), 0..5),
        queries in prop::collection::vec((name(), name(), name()), 1..12),
    ) {
        let text = lines.concat();
        let (services, _) = read(text.as_bytes());
        let reference = Authorized::read(&text);
        for who in WHO {
            let fingerprint: Fingerprint = who.parse().expect("a fingerprint");
            for (sector, namespace, name) in &queries {
                // Names as they are drawn, and in the sectors that tokens mostly mean.
                for sector in [sector.as_str(), "main", "web"] {
                    prop_assert_eq!(
                        services.allows(&fingerprint, sector, namespace, name),
                        reference.allows(who, sector, namespace, name),
                        "{} {}:{}.{} in {:?}", who, sector, namespace, name, text
                    );
                }
            }
        }
    }
}

/// HD-60, Z-1…Z-8: the recorded file and what JS and RS make of it; where they differ the
/// specification decides.
#[test]
fn recorded_authorized_services() {
    let vectors = Vectors::best();
    let set = vectors.list("scamp/discovery/index.json", "files");
    let files = set
        .cases
        .iter()
        .filter(|file| file["kind"] == "authorization");
    let mut count = 0;
    for file in files {
        let name = file["file"].as_str().expect("a name");
        let text = vectors.file(&format!("scamp/discovery/{name}"));
        let (services, events) = read(&text);
        let reference = Authorized::read(&String::from_utf8_lossy(&text));
        for query in file["queries"].as_array().into_iter().flatten() {
            let text = |field: &str| query[field].as_str().expect("a text");
            let (who, sector, action) = (text("fingerprint"), text("sector"), text("action"));
            // Without a dot there is no name of an action to ask for.
            let (namespace, action) = action.rsplit_once('.').unwrap_or((action, ""));
            let allowed = who.parse().is_ok_and(|fingerprint| {
                !action.is_empty() && services.allows(&fingerprint, sector, namespace, action)
            });
            let expected = query["allowed"].as_bool().unwrap_or(false);
            assert_eq!(allowed, expected, "{name}: {query}");
            assert_eq!(
                allowed,
                !action.is_empty() && reference.allows(who, sector, namespace, action),
                "{name}: {query}"
            );
            count += 1;
        }
        for entry in file["entries"].as_array().into_iter().flatten() {
            let who = entry["fingerprint"]
                .as_str()
                .and_then(|text| text.parse().ok());
            let who = who.expect("a fingerprint");
            for token in entry["tokens"].as_array().into_iter().flatten() {
                let token = token.as_str().expect("a token");
                let (sector, prefix) = token.split_once(':').unwrap_or(("main", token));
                let prefix = if prefix == "ALL" { "anything" } else { prefix };
                assert!(
                    services.allows(&who, sector, prefix, "x"),
                    "{name}: {token}"
                );
                assert!(
                    !services.allows(&who, "other", prefix, "x"),
                    "{name}: {token}"
                );
                count += 1;
            }
        }
        if name == "authorized_services" {
            let expected = [What::BareAll, What::NotAFingerprint, What::Duplicate];
            assert_eq!(events, expected);
        }
    }
    println!("authorized services: {count} queries");
    assert!(count >= 28);
}

fn verify(keys: &TicketKeys, text: &str, now: i64) -> Result<VerifiedTicket, TicketError> {
    keys.verify(text, now, Duration::ZERO, &Rsa)
}

/// A time at which every ticket of the vectors that is to be valid is.
const SOME_TIME: i64 = 1_800_000_000;

/// HD-60, T-1…T-5: the recorded tickets; where the peers do not agree, what the specification says.
#[test]
fn recorded_tickets() {
    let vectors = Vectors::best();
    let tickets = vectors.list("scamp/tickets/index.json", "tickets");
    tickets.announce("tickets");
    let keys = TicketKeys::from_pem(vectors.file("scamp/tickets/ticket.pub")).expect("a key");
    for case in &tickets.cases {
        let name = case["name"].as_str().expect("a name");
        let text = case["ticket"].as_str().expect("a ticket");
        let now = case["at_time"].as_i64().unwrap_or(SOME_TIME);
        let expected = match (name, case["expect"].as_str().expect("a word")) {
            // T-5: an empty ticket is no ticket at all.
            ("empty", _) => Err(TicketError::Missing),
            (_, "valid") => Ok(()),
            (_, "expired") => Err(TicketError::Expired),
            (_, "not yet valid") => Err(TicketError::NotYetValid),
            (_, "bad signature") => Err(TicketError::BadSignature),
            (_, "bad version") => Err(TicketError::Version),
            (_, "malformed") => Err(TicketError::Malformed),
            (_, "see-peers") => open_question(name),
            (_, other) => panic!("{name}: {other}"),
        };
        let judged = verify(&keys, text, now);
        assert_eq!(
            judged.as_ref().map(drop).map_err(|error| *error),
            expected,
            "{name}"
        );
        if let Ok(ticket) = judged {
            assert_eq!(fields(&ticket), recorded_fields(&case["fields"]), "{name}");
        }
    }
}

/// What the specification says where the peers do not agree.
fn open_question(name: &str) -> Result<(), TicketError> {
    match name {
        // T-3, T-1.
        "empty-privs"
        | "sig-standard-base64"
        | "sig-urlsafe-padded"
        | "trailing-newline"
        | "leading-space" => Ok(()),
        "privs-words" | "user-negative" | "user-empty" | "huge-length" => {
            Err(TicketError::Malformed)
        }
        // T-4.
        "clock-exactly-at-end" => Err(TicketError::Expired),
        other => panic!("{other} is new"),
    }
}

fn fields(ticket: &Ticket) -> [i128; 4] {
    let privileges = ticket
        .privileges()
        .iter()
        .map(|id| i128::from(*id))
        .sum::<i128>();
    let ids = [ticket.user_id(), ticket.client_id()].map(i128::from);
    [ids[0], ids[1], i128::from(ticket.start()), privileges]
}

/// The same of the index, where they are as JS reads them; a ticket JS does not read is `valid`'s.
fn recorded_fields(fields: &Value) -> [i128; 4] {
    if fields.is_null() {
        return [42, 100, 1_600_000_000, 33];
    }
    let number = |name: &str| i128::from(fields[name].as_i64().expect("a number"));
    let privileges = fields["privileges"].as_array().expect("a list").iter();
    let privileges = privileges.map(|id| match id.as_str() {
        Some("") | None => 0,
        Some(id) => id.parse::<i128>().expect("a number"),
    });
    [
        number("user_id"),
        number("client_id"),
        number("validity_start"),
        privileges.sum(),
    ]
}

/// T-8: what the vectors' key issues is, octet for octet, what the peers were tried with.
#[test]
fn issued_as_recorded() {
    let vectors = Vectors::best();
    let key = SigningKey::from_pem(vectors.file("scamp/tickets/ticket.key")).expect("a key");
    let tickets = vectors.list("scamp/tickets/index.json", "tickets");
    let valid = tickets.cases.iter().find(|case| case["name"] == "valid");
    let text = valid
        .and_then(|case| case["ticket"].as_str())
        .expect("a ticket");
    let ticket = Ticket::new(42, 100, 1_600_000_000, 3_153_600_000, [30, 2, 1]);
    assert_eq!(ticket.issue(&key).as_deref(), Ok(text));
}

/// HD-60: the ticket that comes with scamp-go, where it is at hand: whole, and with an end cut off.
#[test]
fn the_fixture_of_go() {
    let vectors = Vectors::best();
    let files = ["processor-dispatch.token", "ticket_verify_public_key.pem"];
    let paths = files.map(|file| format!("scamp/tickets/fixture-go-{file}"));
    if !vectors.has(&paths[0]) {
        println!("fixture of scamp-go: not at hand");
        return;
    }
    let [token, key] = paths.map(|path| vectors.file(&path));
    let token = String::from_utf8(token).expect("text");
    let keys = TicketKeys::from_pem(key).expect("a key");
    let ticket = verify(&keys, &token, 1_600_000_000).expect("a good ticket");
    assert_eq!((ticket.user_id(), ticket.client_id()), (1, 0));
    assert_eq!((ticket.start(), ticket.ttl()), (1_521_754_711, 315_576_060));
    assert_eq!(ticket.privileges(), [99]);
    let token = token.trim();
    let cut = verify(&keys, &token[..token.len() - 1], 1_600_000_000);
    assert_eq!(cut, Err(TicketError::BadSignature));
    assert_eq!(
        verify(&keys, &token[1..], 1_600_000_000),
        Err(TicketError::BadSignature)
    );
}

/// E-17: the example of the specification, with its table.
#[test]
fn the_example_of_the_specification() {
    let text = include_str!("data/e17.ticket");
    let keys = TicketKeys::from_pem(include_str!("data/e17.pem")).expect("a key");
    let (first, last) = (1_700_000_000, 2_015_359_999);
    for now in [first, last] {
        let ticket = verify(&keys, text, now).expect("a good ticket");
        assert_eq!((ticket.user_id(), ticket.client_id()), (3063, 21));
        assert_eq!(ticket.privileges(), [1, 20, 31]);
    }
    assert_eq!(
        verify(&keys, text, first - 1),
        Err(TicketError::NotYetValid)
    );
    assert_eq!(verify(&keys, text, last + 1), Err(TicketError::Expired));
    let changed = text.replace("1+20+31", "1+20+32");
    assert_eq!(
        verify(&keys, &changed, first),
        Err(TicketError::BadSignature)
    );

    let ticket = verify(&keys, text, first).expect("a good ticket");
    let table =
        br#"{"greetings.hello":["20"],"greetings.wave":[20,99],"greetings.x":[],"_NAMES":[]}"#;
    let table = Table::parse(table).expect("a table");
    let check = |action: &str| table.check(&format!("Greetings.{action}"), &ticket);
    assert_eq!((check("hello"), check("x")), (Ok(()), Ok(())));
    assert!(matches!(
        check("wave"),
        Err(Denied::Missing { privilege: 99, .. })
    ));
    assert!(matches!(check("y"), Err(Denied::Unconfigured { .. })));
}

/// T-6: a key in each form it may have, and two keys while one takes over from the other.
#[test]
fn keys_of_every_form() {
    let ticket = |key: &[u8]| {
        let key = SigningKey::from_pem(key).expect("a key");
        Ticket::new(1, 2, 0, 9, []).issue(&key).expect("a ticket")
    };
    let data = |name: &str| {
        let path = format!(
            "{}/../scamp-tls/tests/data/{name}",
            env!("CARGO_MANIFEST_DIR")
        );
        std::fs::read(path).expect("a file")
    };
    let vectors = Vectors::best();
    let ours = vectors.file("scamp/tickets/ticket.pub");
    let (by_ours, by_other) = (
        ticket(&vectors.file("scamp/tickets/ticket.key")),
        ticket(&data("rsa2048.key")),
    );
    let certificate = TicketKeys::from_pem(data("rsa2048.crt")).expect("a certificate");
    assert!(verify(&certificate, &by_other, 0).is_ok());
    assert_eq!(
        verify(&certificate, &by_ours, 0),
        Err(TicketError::BadSignature)
    );
    let pkcs1 = TicketKeys::from_pem(include_str!("data/rsa2048-public-pkcs1.pem"));
    assert!(verify(&pkcs1.expect("a key"), &by_other, 0).is_ok());
    let both = TicketKeys::from_pem([ours, data("v1.crt")].concat()).expect("two keys");
    assert_eq!(both.len(), 2);
    assert!(verify(&both, &by_ours, 0).is_ok() && verify(&both, &by_other, 0).is_ok());
    for (small_or_other, text) in [
        (
            "rsa1024.crt",
            "ticket key has 1024 bits; it must have 2048 to 8192",
        ),
        ("p256.crt", "ticket key is not an RSA key"),
        (
            "rsa2048.key",
            "no ticket key found (expected PEM, `-----BEGIN PUBLIC KEY-----`)",
        ),
    ] {
        let error = TicketKeys::from_pem(data(small_or_other)).expect_err("no key to use");
        assert_eq!(error.to_string(), text);
    }
}
