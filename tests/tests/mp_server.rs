//! MessagePasser's server: signing in, routing, slow clients, departure (mp.md §5).

#![allow(clippy::unwrap_used)]

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use scamp_proto::error::Loss;
use scamp_proto::mp::{
    Data, DecodeError, DecodeLimits, Decoder, DuplicateName, Encoder, Encoding, Message, Meta,
    Reason, Refusal, RouterEvent, ServerConfig, SessionId, SlowClient,
};
use scamp_proto::sim::mp::Hall;
use scamp_proto::{End, Instant, Outbox};

const NOW: Instant = Instant::EPOCH;

fn hall() -> Hall {
    with(ServerConfig::default())
}

fn with(config: ServerConfig) -> Hall {
    Hall::new(config, |_, _| Some(Ok(())))
}

fn at(seconds: f64) -> Instant {
    NOW + Duration::from_secs_f64(seconds)
}

fn message(meta: Meta, to: &str, id: &str, data: &str) -> Message {
    Message::new(meta, to, id, Data::from(data))
}

fn json(messages: &[Message]) -> Vec<u8> {
    encoded(Encoding::Json, messages)
}

fn encoded(encoding: Encoding, messages: &[Message]) -> Vec<u8> {
    let mut encoder = Encoder::new(encoding);
    let mut out = Outbox::default();
    for message in messages {
        encoder.encode(message, &mut out);
    }
    out.take_all()
}

/// What these octets say: number, name, connection, data as text.
fn said(octets: &[u8]) -> Vec<(u8, String, String, String)> {
    let encoding = Encoding::sniff(octets).unwrap().unwrap_or(Encoding::Json);
    let mut decoder = Decoder::new(encoding, DecodeLimits::default());
    let mut input = octets;
    let mut messages = Vec::new();
    while let Some(message) = decoder.decode(&mut input).unwrap() {
        messages.push((
            message.meta.0,
            message.other_client.to_string(),
            message.connection_id.to_string(),
            String::from_utf8_lossy(&message.data.to_bytes()).into_owned(),
        ));
    }
    assert!(decoder.is_between());
    messages
}

fn line(meta: u8, client: &str, id: &str, data: &str) -> (u8, String, String, String) {
    (meta, client.into(), id.into(), data.into())
}

/// Signs in, and takes the answer.
fn join(hall: &mut Hall, name: &str) -> SessionId {
    let id = hall.accept(hall.now, None);
    hall.receive(id, &json(&[message(Meta::AUTH, name, "", "secret")]));
    assert_eq!(
        said(&hall.transmit(id, usize::MAX)),
        [line(9, name, "", "")]
    );
    id
}

fn hears(hall: &mut Hall, id: SessionId) -> Vec<(u8, String, String, String)> {
    said(&hall.transmit(id, usize::MAX))
}

/// Why sessions that never were signed in ended.
fn refused(hall: &Hall) -> Vec<Reason> {
    let refused = hall.events.iter().filter_map(|event| match event {
        RouterEvent::Refused { why, .. } => Some(why.clone()),
        _ => None,
    });
    refused.collect()
}

fn left(hall: &Hall) -> Vec<(String, Reason)> {
    let left = hall.events.iter().filter_map(|event| match event {
        RouterEvent::Left { name, why, .. } => Some((name.to_string(), why.clone())),
        _ => None,
    });
    left.collect()
}

/// MP-50, MP-54, MP-120, defect 14: every refusal says why, then the stream ends; `silent_refusal`
/// says nothing.
#[test]
fn refusals_say_why() {
    let cases: [(&str, Meta, &str); 4] = [
        ("", Meta::AUTH, "client name is invalid"),
        ("a:b", Meta::AUTH, "client name is invalid"),
        ("al", Meta::CONN_SYN, "expected MetaAuth as first message"),
        (
            "al",
            Meta::AUTH,
            "authentication didn't recognize name+secret pair",
        ),
    ];
    for is_silent in [false, true] {
        for (name, meta, why) in cases {
            let mut config = ServerConfig::default();
            config.silent_refusal = is_silent;
            let mut hall = Hall::new(config, |_, _| Some(Err(Refusal::NotRecognized)));
            let id = hall.accept(NOW, None);
            hall.receive(id, &json(&[message(meta, name, "", "x")]));
            let expected = if is_silent {
                vec![]
            } else {
                vec![line(10, name, "", why)]
            };
            assert_eq!(hears(&mut hall, id), expected);
            assert!(hall.is_over(id));
            assert_eq!(refused(&hall), [Reason::AuthRefused(why.into())]);
            assert_eq!(hall.router.sessions(), (0, 0));
        }
    }
}

/// MP-8: a name of 255 octets is one, of 256 is none.
#[test]
fn names_have_a_limit() {
    let mut hall = hall();
    join(&mut hall, &"n".repeat(255));
    let id = hall.accept(NOW, None);
    hall.receive(id, &json(&[message(Meta::AUTH, &"n".repeat(256), "", "")]));
    assert_eq!(hears(&mut hall, id)[0].3, "client name is invalid");
}

/// MP-51, MP-53: the verdict may come later; until then nothing more is read, and what came with
/// the sign-in is handled after it. `AuthOk` is the first that the client hears, and nobody can
/// write to it before (defect 5).
#[test]
fn the_verdict_may_take_its_time() {
    let mut hall = Hall::new(ServerConfig::default(), |name, _| {
        (&**name == "bob").then_some(Ok(()))
    });
    let al = hall.accept(NOW, None);
    let early = message(Meta::NONE, "bob", "al:0", "early");
    hall.receive(al, &json(&[message(Meta::AUTH, "al", "", "s"), early]));
    assert!(!hall.wants_read(al));
    let bob = join(&mut hall, "bob");
    hall.receive(bob, &json(&[message(Meta::CONN_SYN, "al", "bob:0", "p")]));
    assert_eq!(hears(&mut hall, bob), [line(2, "al", "bob:0", "")]);
    assert_eq!(hears(&mut hall, al), []);

    hall.verdict(al, Ok(()));
    assert!(hall.wants_read(al));
    assert_eq!(hears(&mut hall, al), [line(9, "al", "", "")]);
    assert_eq!(hears(&mut hall, bob), [line(0, "al", "al:0", "early")]);
    // A second verdict does nothing.
    hall.verdict(al, Err(Refusal::NotRecognized));
    assert!(hall.wants_read(al));
}

/// MP-52, MP-42, HD-48: ten seconds to sign in, in any state; who has said nothing hears nothing.
#[test]
fn signing_in_has_a_time_limit() {
    let mut hall = Hall::new(ServerConfig::default(), |_, _| None);
    let starts: [(&[u8], bool); 4] = [
        (b"", false),
        (b"{", false),
        (b"{\"Me", true),
        (br#"{"Meta":8,"OtherClient":"al"}"#, true),
    ];
    for (start, is_answered) in starts {
        let begun = hall.now;
        let id = hall.accept(begun, None);
        hall.receive(id, start);
        hall.advance_to(begun + Duration::from_millis(9_999));
        assert!(!hall.is_over(id));
        hall.advance_to(begun + Duration::from_secs(10));
        let heard = hears(&mut hall, id);
        assert_eq!(heard.len(), usize::from(is_answered));
        assert!(heard.iter().all(|one| one.3 == "sign-in timed out"));
        assert!(hall.is_over(id));
        let why = refused(&hall).pop().unwrap();
        assert!(matches!(why, Reason::Timeout(..)));
        // Whoever answers now answers nobody.
        hall.verdict(id, Ok(()));
        assert_eq!(hall.router.sessions(), (0, 0));
    }
}

/// MP-52, HD-48, B-22, defect 17: 256 MiB before signing in are 4 KiB, however they come.
#[test]
fn little_is_taken_before_signing_in() {
    let mut in_gob = encoded(Encoding::Gob, &[message(Meta::NONE, "a", "b", "c")]);
    in_gob.truncate(73);
    in_gob.extend(b"\xfc\x10\x00\x00\x00");
    for start in [&b"{\"Data\":\""[..], b"  ", &in_gob] {
        for piece in [1, 1000, 16_384] {
            let mut hall = hall();
            let id = hall.accept(NOW, None);
            hall.receive(id, start);
            let mut taken = start.len();
            let filler = if start == b"  " { b' ' } else { b'A' };
            let filler = vec![filler; piece];
            while hall.wants_read(id) {
                hall.receive(id, &filler);
                taken += piece;
                assert!(taken <= 4096 + piece);
            }
            assert_eq!(hears(&mut hall, id), []);
            assert!(matches!(
                refused(&hall)[..],
                [Reason::Decode(DecodeError::TooLarge(_))]
            ));
        }
    }
    // Exactly so much is not too much.
    let mut hall = hall();
    let id = hall.accept(NOW, None);
    let auth = br#"{"Meta":8,"OtherClient":"al"}"#;
    hall.receive(id, &vec![b' '; 4096 - auth.len()]);
    hall.receive(id, auth);
    assert_eq!(hears(&mut hall, id), [line(9, "al", "", "")]);
}

/// MP-52: what follows the first message before its verdict has a limit, too.
#[test]
fn little_is_kept_before_the_verdict() {
    let mut hall = Hall::new(ServerConfig::default(), |_, _| None);
    let id = hall.accept(NOW, None);
    hall.receive(id, br#"{"Meta":8,"OtherClient":"al"}"#);
    for _ in 0..5 {
        hall.receive(id, &[b' '; 16_384]);
    }
    assert!(hall.is_over(id));
    let why = Reason::Decode(DecodeError::TooLarge(65_536));
    assert_eq!(refused(&hall), [why]);
}

/// MP-55, MP-42: what nobody understands is closed without a word, before and after signing in.
#[test]
fn malformed_input_ends_the_stream() {
    for input in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"\x16\x03\x01",
        b"{]",
        b"[]",
        b"\x80",
        b"\x02\xff\x00",
    ] {
        let mut hall = hall();
        let id = hall.accept(NOW, None);
        hall.receive(id, input);
        assert!(hall.is_over(id), "{input:?}");
        assert_eq!(hall.transmit(id, 9), b"", "{input:?}");
        assert!(matches!(refused(&hall)[..], [Reason::Decode(_)]));
    }
    let mut hall = hall();
    let (al, bob) = (join(&mut hall, "al"), join(&mut hall, "bob"));
    let good = json(&[message(Meta::NONE, "bob", "x", "last words")]);
    hall.receive(al, &[&good[..], b"}"].concat());
    let expected = [line(0, "al", "x", "last words"), line(4, "al", "", "")];
    assert_eq!(hears(&mut hall, bob), expected);
    assert!(matches!(left(&hall)[..], [(_, Reason::Decode(_))]));
}

/// HD-48, MP-15: one octet more than the limit ends the session, as soon as it is known.
#[test]
fn messages_have_a_limit() {
    for encoding in [Encoding::Json, Encoding::Gob] {
        for (len, is_taken) in [(1 << 20, true), ((1 << 20) + 1, false)] {
            let mut hall = hall();
            let bob = join(&mut hall, "bob");
            let al = hall.accept(NOW, None);
            let auth = message(Meta::AUTH, "al", "", "");
            let payload = Message::new(Meta::NONE, "bob", "", vec![7; len].into_data());
            let octets = encoded(encoding, &[auth, payload]);
            octets
                .chunks(16_384)
                .for_each(|piece| hall.receive(al, piece));
            assert_eq!(left(&hall).is_empty(), is_taken);
            assert_eq!(
                hears(&mut hall, bob)[0].0,
                if is_taken { 0 } else { 4 },
                "{len} as {encoding:?}"
            );
        }
    }
    // A claim is enough, where there is one.
    let mut hall = hall();
    let al = hall.accept(NOW, None);
    let auth = encoded(Encoding::Gob, &[message(Meta::AUTH, "al", "", "")]);
    hall.receive(al, &[&auth[..], b"\xfc\x7f\xff\xff\xff"].concat());
    assert!(matches!(
        left(&hall)[..],
        [(_, Reason::Decode(DecodeError::TooLarge(_)))]
    ));
}

trait IntoData {
    fn into_data(self) -> Data;
}

impl IntoData for Vec<u8> {
    fn into_data(self) -> Data {
        Data::Octets(self.into())
    }
}

/// HD-48: brackets nest 32 deep at a server.
#[test]
fn nesting_has_a_limit() {
    for (depth, is_taken) in [(31, true), (32, false)] {
        let mut hall = hall();
        let al = join(&mut hall, "al");
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        hall.receive(al, format!("{{\"x\":{open}{close}}}").as_bytes());
        assert_eq!(left(&hall).is_empty(), is_taken, "{depth}");
    }
}

/// MP-9: a connection's id has at most 1,024 octets.
#[test]
fn connection_ids_have_a_limit() {
    for (len, is_taken) in [(1024, true), (1025, false)] {
        let mut hall = hall();
        let al = join(&mut hall, "al");
        hall.receive(
            al,
            &json(&[message(Meta::NONE, "al", &"i".repeat(len), "")]),
        );
        assert_eq!(left(&hall).is_empty(), is_taken, "{len}");
    }
}

/// MP-44: a listener of one encoding does not look at octets.
#[test]
fn an_encoding_may_be_fixed() {
    let mut config = ServerConfig::default();
    config.encoding = Some(Encoding::Json);
    let mut hall = with(config);
    let id = hall.accept(NOW, None);
    hall.receive(
        id,
        &encoded(Encoding::Gob, &[message(Meta::AUTH, "al", "", "")]),
    );
    assert!(hall.is_over(id));
    join(&mut hall, "al");
}

/// MP-56, MP-43: the sender's name is the server's to say, and each is answered in its own encoding.
#[test]
fn names_cannot_be_forged() {
    let mut hall = hall();
    let (al, bob) = (join(&mut hall, "al"), join(&mut hall, "bob"));
    hall.receive(al, &json(&[message(Meta::NONE, "bob", "carol:0", "hi")]));
    assert_eq!(hears(&mut hall, bob), [line(0, "al", "carol:0", "hi")]);
    hall.receive(al, &json(&[message(Meta::NONE, "al", "", "me")]));
    assert_eq!(hears(&mut hall, al), [line(0, "al", "", "me")]);
}

/// MP-57, defects 15 and 16: what cannot be delivered comes back without its payload, under the
/// recipient's name; what is no question is not answered.
#[test]
fn undeliverable_messages_are_answered_once_and_briefly() {
    let mut hall = hall();
    let al = join(&mut hall, "al");
    for meta in [0, 2, 3, 5, 6, 7] {
        hall.receive(
            al,
            &json(&[message(Meta(meta), "nobody", "al:0", "payload")]),
        );
        let expected = match meta {
            0 | 5 | 6 => vec![line(2, "nobody", "al:0", "")],
            _ => vec![],
        };
        assert_eq!(hears(&mut hall, al), expected, "{meta}");
    }
    let undeliverable = hall.events.iter();
    let undeliverable =
        undeliverable.filter(|event| matches!(event, RouterEvent::Undeliverable { .. }));
    assert_eq!(undeliverable.count(), 6);
}

/// MP-58, MP-5, defect 6: only six numbers are routed; `route_any_meta` routes all but 1 and 4.
#[test]
fn only_known_numbers_are_routed() {
    for any in [false, true] {
        let mut config = ServerConfig::default();
        config.route_any_meta = any;
        let mut hall = with(config);
        let (al, bob) = (join(&mut hall, "al"), join(&mut hall, "bob"));
        for meta in 0..=255 {
            hall.receive(al, &json(&[message(Meta(meta), "bob", "i", "x")]));
            let is_routed = matches!(meta, 0 | 2 | 3 | 5 | 6 | 7) || any && meta != 1 && meta != 4;
            let (here, there) = (hears(&mut hall, al), hears(&mut hall, bob));
            if is_routed {
                assert_eq!((here, there), (vec![], vec![line(meta, "al", "i", "x")]));
            } else {
                assert_eq!((here, there), (vec![line(1, "bob", "i", "")], vec![]));
            }
        }
    }
}

/// MP-59: messages of one sender to one recipient stay in order.
#[test]
fn order_is_kept() {
    let mut hall = hall();
    let (al, bob) = (join(&mut hall, "al"), join(&mut hall, "bob"));
    let numbers: Vec<_> = (0..100)
        .map(|n| message(Meta::NONE, "bob", "", &n.to_string()))
        .collect();
    hall.receive(al, &json(&numbers));
    let heard: Vec<_> = hears(&mut hall, bob).into_iter().map(|one| one.3).collect();
    assert_eq!(heard, (0..100).map(|n| n.to_string()).collect::<Vec<_>>());
}

/// Writes to `to` until the sender is not read from any more; says how many messages it took.
fn fill(hall: &mut Hall, from: SessionId, to: &str) -> usize {
    let mut count = 0;
    while hall.wants_read(from) {
        let payload = format!("{count:>65535}");
        hall.receive(from, &json(&[message(Meta::NONE, to, "", &payload)]));
        count += 1;
        assert!(count < 100, "nothing holds the sender");
    }
    count
}

/// MP-61, MP-62, defects 4 and 12: only those wait who write to a stuck client, and they wait until
/// it has departed; nothing they sent to others is late.
#[test]
fn a_stuck_client_delays_only_those_who_write_to_it() {
    let mut hall = hall();
    let [stuck, al, bob, carol] = ["stuck", "al", "bob", "carol"].map(|n| join(&mut hall, n));
    let count = fill(&mut hall, al, "stuck");
    assert!((12..=20).contains(&count), "{count} of 64 KiB for 1 MiB");
    assert!(!hall.wants_read(al));

    hall.advance_to(at(29.0));
    hall.receive(bob, &json(&[message(Meta::NONE, "carol", "", "hi")]));
    assert_eq!(hears(&mut hall, carol), [line(0, "bob", "", "hi")]);
    let dave = join(&mut hall, "dave");
    hall.end(dave, End::Eof);
    assert_eq!(hears(&mut hall, carol), [line(4, "dave", "", "")]);

    hall.advance_to(at(30.0));
    assert_eq!(left(&hall)[1], ("stuck".into(), Reason::Stalled));
    assert!(hall.is_over(stuck));
    assert!(hall.wants_read(al));
    let heard = hears(&mut hall, al);
    assert_eq!(heard, [line(4, "dave", "", ""), line(4, "stuck", "", "")]);
    assert_eq!(hall.router.held(), hall.router.held().min(64 << 10));
}

/// MP-61, MP-134: a client that reads, however slowly, is never stuck; its senders go on when it has
/// read enough, and everything arrives once and in order.
#[test]
fn a_slow_client_slows_its_senders_and_loses_nothing() {
    let mut hall = hall();
    let (slow, al) = (join(&mut hall, "slow"), join(&mut hall, "al"));
    let mut count = fill(&mut hall, al, "slow");
    let mut taken = Vec::new();
    for second in 1..200 {
        hall.advance_to(at(20.0 * f64::from(second)));
        taken.extend(hall.transmit(slow, 40_000));
        if hall.wants_read(al) && count < 60 {
            count += fill(&mut hall, al, "slow");
        }
    }
    assert!(count >= 60, "{count}");
    taken.extend(hall.transmit(slow, usize::MAX));
    let heard: Vec<usize> = said(&taken)
        .iter()
        .map(|one| one.3.trim().parse().unwrap())
        .collect();
    assert_eq!(heard.len(), count);
    assert!(left(&hall).is_empty());
    let again = heard.windows(2).filter(|pair| pair[1] == 0).count();
    let steps = heard
        .windows(2)
        .filter(|pair| pair[1] == pair[0] + 1)
        .count();
    assert_eq!(again + steps + 1, count, "in order, in each filling");
}

/// MP-64: who reads too slowly may be disconnected instead; then nobody waits.
#[test]
fn slow_clients_may_be_disconnected() {
    let mut config = ServerConfig::default();
    config.slow_client = SlowClient::Disconnect;
    let mut hall = with(config);
    let (slow, al) = (join(&mut hall, "slow"), join(&mut hall, "al"));
    for _ in 0..20 {
        assert!(hall.wants_read(al));
        let payload = "x".repeat(65_536);
        hall.receive(al, &json(&[message(Meta::NONE, "slow", "", &payload)]));
    }
    assert_eq!(left(&hall), [("slow".into(), Reason::Stalled)]);
    assert!(hall.is_over(slow));
    let heard = hears(&mut hall, al);
    assert_eq!(heard[0], line(4, "slow", "", ""));
    assert!(heard[1..].iter().all(|one| *one == line(2, "slow", "", "")));
}

/// MP-63, defect 18: the server's own messages do not wait; who lets too many of them pile up is
/// disconnected, and its queue never grows beyond the reserve.
#[test]
fn own_messages_use_the_reserve() {
    let mut hall = hall();
    let (stuck, al) = (join(&mut hall, "stuck"), join(&mut hall, "al"));
    fill(&mut hall, al, "stuck");
    let mut most = 0;
    for number in 0..10_000 {
        if hall.is_over(stuck) {
            break;
        }
        let id = join(&mut hall, &format!("n{number}"));
        hall.end(id, End::Eof);
        hall.forget(id);
        hall.transmit(al, usize::MAX);
        most = most.max(hall.sessions[&stuck].queued());
    }
    assert!(left(&hall).contains(&("stuck".into(), Reason::Stalled)));
    let bound = (1 << 20) + (256 << 10) + (70 << 10);
    assert!(most <= bound, "{most}");
}

/// MP-70, defects 1, 2 and 3: a second sign-in under a name replaces the first, in one step, and is
/// told to everybody else exactly once.
#[test]
fn a_second_sign_in_replaces_the_first() {
    let mut hall = hall();
    let (old, bob) = (join(&mut hall, "al"), join(&mut hall, "bob"));
    for _ in 0..3 {
        let new = join(&mut hall, "al");
        assert_eq!(hears(&mut hall, bob), [line(4, "al", "", "")]);
        hall.receive(new, &json(&[message(Meta::NONE, "bob", "", "new")]));
        assert_eq!(hears(&mut hall, bob), [line(0, "al", "", "new")]);
        hall.receive(bob, &json(&[message(Meta::NONE, "al", "", "to whom")]));
        assert_eq!(hears(&mut hall, new), [line(0, "bob", "", "to whom")]);
    }
    assert!(hall.is_over(old));
    assert_eq!(hall.transmit(old, 9), b"");
    assert_eq!(left(&hall), vec![("al".into(), Reason::Replaced); 3]);
    assert_eq!(hall.router.sessions(), (2, 2));
    // The end of a transport that was replaced long ago concerns nobody.
    hall.end(old, End::Eof);
    assert_eq!(hears(&mut hall, bob), []);
}

/// MP-70: replacing comes only after the application has accepted the newcomer: nobody takes a name
/// without its secret.
#[test]
fn a_name_is_not_taken_without_its_secret() {
    let mut hall = Hall::new(ServerConfig::default(), |_, secret| {
        Some(match &secret.to_bytes()[..] {
            b"secret" => Ok(()),
            _ => Err(Refusal::NotRecognized),
        })
    });
    let (al, bob) = (join(&mut hall, "al"), join(&mut hall, "bob"));
    let thief = hall.accept(NOW, None);
    hall.receive(thief, &json(&[message(Meta::AUTH, "al", "", "guess")]));
    assert_eq!(hears(&mut hall, thief)[0].0, 10);
    assert_eq!(hears(&mut hall, bob), []);
    hall.receive(bob, &json(&[message(Meta::NONE, "al", "", "still there")]));
    assert_eq!(hears(&mut hall, al), [line(0, "bob", "", "still there")]);
    // A departure under a name that was never open is nobody's (MP-72).
    hall.end(thief, End::Eof);
    assert_eq!(hears(&mut hall, bob), []);
}

/// A secret is for the application, and in no log.
#[test]
fn secrets_are_not_shown() {
    let mut hall = hall();
    join(&mut hall, "al");
    let shown = format!("{:?}", hall.events);
    assert!(
        shown.contains("Verify") && !shown.contains("\"secret\""),
        "{shown}"
    );
}

/// MP-70, MP-120: a server may keep the older one instead.
#[test]
fn a_taken_name_may_be_refused() {
    let mut config = ServerConfig::default();
    config.duplicate_name = DuplicateName::Refuse;
    let mut hall = with(config);
    let al = join(&mut hall, "al");
    let id = hall.accept(NOW, None);
    hall.receive(id, &json(&[message(Meta::AUTH, "al", "", "")]));
    assert_eq!(
        hears(&mut hall, id),
        [line(10, "al", "", "name already in use")]
    );
    hall.end(al, End::Eof);
    join(&mut hall, "al");
}

/// MP-71, MP-73, MP-137: however a session ends, the name is free at once, and all others are told,
/// in the order in which they signed in.
#[test]
fn departure_is_told_to_all() {
    let ends: [fn(&mut Hall, SessionId); 5] = [
        |hall, id| hall.end(id, End::Eof),
        |hall, id| hall.end(id, End::Cut),
        |hall, id| hall.end(id, End::Lost(Loss::Io("reset".into()))),
        |hall, id| hall.receive(id, b"x"),
        |hall, id| hall.with_router(|router| router.remove(id)),
    ];
    for end in ends {
        let mut hall = hall();
        let [al, bob, carol] = ["al", "bob", "carol"].map(|name| join(&mut hall, name));
        end(&mut hall, al);
        assert_eq!(hears(&mut hall, bob), [line(4, "al", "", "")]);
        assert_eq!(hears(&mut hall, carol), [line(4, "al", "", "")]);
        assert!(hall.is_over(al));
        assert_eq!((left(&hall).len(), hall.router.find("al")), (1, None));
        join(&mut hall, "al");
    }
}

/// MP-71: what was handed in before a departure is delivered before it is told, even when it had to
/// wait; what was queued for the departed is discarded.
#[test]
fn last_words_are_delivered() {
    let mut hall = hall();
    let (slow, al) = (join(&mut hall, "slow"), join(&mut hall, "al"));
    let count = fill(&mut hall, al, "slow");
    hall.receive(al, &json(&[message(Meta::NONE, "slow", "", "goodbye")]));
    hall.end(al, End::Eof);
    // The name is free, and its next holder is heard after the news.
    let again = join(&mut hall, "al");
    hall.receive(again, &json(&[message(Meta::NONE, "slow", "", "hello")]));
    let heard = hears(&mut hall, slow);
    assert_eq!(heard.len(), count + 3);
    let last: Vec<_> = heard[count..]
        .iter()
        .map(|one| (one.0, &one.3[..]))
        .collect();
    assert_eq!(last, [(0, "goodbye"), (4, ""), (0, "hello")]);
}

/// MP-71, MP-61: last words that wait are bounded, too.
#[test]
fn last_words_have_a_limit() {
    let mut hall = hall();
    let (stuck, al) = (join(&mut hall, "stuck"), join(&mut hall, "al"));
    fill(&mut hall, al, "stuck");
    let mut most = 0;
    for number in 0..100 {
        let id = join(&mut hall, &format!("n{number}"));
        let payload = "x".repeat(300_000);
        hall.receive(id, &json(&[message(Meta::NONE, "stuck", "", &payload)]));
        hall.end(id, End::Eof);
        hall.forget(id);
        hall.transmit(al, usize::MAX);
        most = most.max(hall.router.held());
    }
    assert!(hall.is_over(stuck));
    assert!(most < 4 << 20, "{most}");
}

/// MP-74, defect 22: shutting down flushes, tells nobody of the others, and is no matter for a
/// server that nobody has come to.
#[test]
fn shutting_down() {
    let mut hall = hall();
    hall.with_router(|router| router.shutdown());
    let late = hall.accept(NOW, None);
    assert!(hall.is_over(late));

    let mut hall = with(ServerConfig::default());
    let (al, bob) = (join(&mut hall, "al"), join(&mut hall, "bob"));
    hall.receive(al, &json(&[message(Meta::NONE, "bob", "", "queued")]));
    hall.with_router(|router| router.shutdown());
    assert!(hall.is_over(al) && !hall.is_over(bob));
    assert_eq!(hears(&mut hall, bob), [line(0, "al", "", "queued")]);
    assert!(hall.is_over(bob));

    let mut hall = with(ServerConfig::default());
    let (al, stuck) = (join(&mut hall, "al"), join(&mut hall, "stuck"));
    fill(&mut hall, al, "stuck");
    hall.with_router(|router| router.shutdown());
    hall.advance_to(at(1.0));
    assert!(hall.is_over(stuck));
}

/// MP-139, defect 1: after many sign-ins and departures nothing is left behind.
#[test]
fn nothing_is_left_of_the_departed() {
    let mut hall = hall();
    let bob = join(&mut hall, "bob");
    for _ in 0..1000 {
        let id = join(&mut hall, "al");
        hall.end(id, End::Eof);
        hall.forget(id);
        assert_eq!(hears(&mut hall, bob), [line(4, "al", "", "")]);
    }
    assert_eq!(hall.router.sessions(), (1, 1));
    let held = hall.router.held();
    assert!(held < 200_000, "{held}");
}

/// HD-48: three failed sign-ins of one address in a second are the last ones it gets in that second.
#[test]
fn failed_sign_ins_are_counted() {
    let mut hall = Hall::new(ServerConfig::default(), |name, _| {
        Some(match &**name {
            "good" => Ok(()),
            _ => Err(Refusal::NotRecognized),
        })
    });
    let mut attempt = |seconds: f64, name: &str, address: u8| {
        let address = IpAddr::V4(Ipv4Addr::new(192, 0, 2, address));
        hall.advance_to(at(seconds));
        let id = hall.accept(hall.now, Some(address));
        hall.receive(id, &json(&[message(Meta::AUTH, name, "", "x")]));
        hears(&mut hall, id)[0].3.clone()
    };
    let wrong = Refusal::NotRecognized.to_string();
    for _ in 0..3 {
        assert_eq!(attempt(0.0, "bad", 1), wrong);
    }
    assert_eq!(attempt(0.9, "good", 1), "too many failed sign-ins");
    assert_eq!(attempt(0.9, "good", 2), "");
    assert_eq!(attempt(1.0, "bad", 1), wrong);
    assert_eq!(attempt(1.0, "good", 1), "");
}
