//! Announcements, datagrams and cache files of live peers and made by hand (HD-60).

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::time::Duration;

use scamp_proto::Instant;
use scamp_proto::auth::Sign;
use scamp_proto::discovery::cache_file::{Content, Reading};
use scamp_proto::discovery::cache_manager::{Command, Settings, Via};
use scamp_proto::discovery::datagram::Inflater;
use scamp_proto::discovery::registry::Change;
use scamp_proto::discovery::{
    ActionRef, Announcement, AnnouncementError, CacheManager, DatagramError, Event, Registry,
    UnixTime, Unverified,
};
use scamp_tests::vectors::Vectors;
use scamp_tls::{Identity, Rsa};
use serde_json::{Value, json};

const FOLDER: &str = "scamp/discovery";

/// Both the committed set and the best at hand.
fn sets() -> [Vectors; 2] {
    [Vectors::committed(), Vectors::best()]
}

fn files(vectors: &Vectors, kind: &str) -> Vec<Value> {
    let index = vectors.list(&format!("{FOLDER}/index.json"), "files");
    let mut cases = index.cases;
    cases.retain(|case| case["kind"] == kind);
    println!("{kind}: {} of {} files", cases.len(), index.full);
    cases
}

fn file(vectors: &Vectors, name: &str) -> Vec<u8> {
    vectors.file(&format!("{FOLDER}/{name}"))
}

fn name(case: &Value) -> &str {
    case["file"].as_str().unwrap()
}

/// Reads a text as a reader of cache files would.
fn read(text: &[u8]) -> Result<Announcement, AnnouncementError> {
    Unverified::split(text)?.verify(&Rsa)
}

/// Reads a file as a receiver of datagrams would.
fn receive(octets: &[u8]) -> Result<Announcement, DatagramError> {
    Ok(read(Inflater::new().text(octets)?)?)
}

/// What is made of files for which the peers do not agree, and why.
fn ours(file: &str) -> Result<(), AnnouncementError> {
    use AnnouncementError::*;
    match file {
        // Anything but base64 is an error (D-3).
        "sig-unpadded.txt" => Err(BadSignatureText),
        // A weight is at least 0 (D-9).
        "rec-weight-negative.txt" => Err(BadField("weight")),
        // A later major version is ignored (D-15).
        "rec-object-v5.txt" => Err(TooNew(5)),
        // Only the last of the envelopes may be an object (D-12).
        "v4-two-objects.txt" => Err(BadField("list of envelopes")),
        // One too many (D-5).
        "v4-repeat-100001.txt" => Err(TooManyActions),
        // Integers are no strings (D-12).
        "v4-acver-string.txt" => Err(BadVector("acver")),
        _ => Ok(()),
    }
}

/// Where what we read is not what the recorded reader made of it, and why.
fn adjust(file: &str, record: &mut Value) {
    match file {
        // Actions with a colon or a dot where none may be, or of version 0, are left out (D-11).
        "rec-sector-colon.txt"
        | "rec-action-version-0.txt"
        | "rec-action-name-dot.txt"
        | "v4-acver-0.txt" => record["actions"] = json!([]),
        // A list of nothing has no elements.
        "v4-env-empty.txt" => {
            for action in record["actions"].as_array_mut().unwrap() {
                action["envelopes"] = json!([]);
            }
        }
        _ => {}
    }
}

/// D-1…D-19, HD-60: each recorded announcement is taken or refused as its peers do, or as the
/// specification says where they differ, and says what a reader of another making found in it.
#[test]
fn announcements() {
    for vectors in sets() {
        let mut counts = [0; 2];
        for case in files(&vectors, "announcement") {
            let name = name(&case);
            let octets = file(&vectors, name);
            // A text need not fit into a datagram.
            let read = match case["encoding"].as_str().unwrap() {
                "text" => read(&octets).map_err(Into::into),
                _ => receive(&octets),
            };
            let error = |read: &Result<_, DatagramError>| match read {
                Err(DatagramError::Announcement(error)) => Some(*error),
                _ => None,
            };
            match case["expect"].as_str().unwrap() {
                "valid" => assert_eq!(read.as_ref().err(), None, "{name}"),
                "bad-signature" => {
                    assert_eq!(
                        error(&read),
                        Some(AnnouncementError::WrongSignature),
                        "{name}"
                    );
                }
                "malformed" => assert!(read.is_err(), "{name}"),
                "valid-signature-unusable-uri" => {
                    let bad = matches!(error(&read), Some(AnnouncementError::BadUri(_)));
                    assert!(bad, "{name}: {read:?}");
                }
                "see-peers" => assert_eq!(error(&read), ours(name).err(), "{name}"),
                other => panic!("{name}: {other}"),
            }
            counts[usize::from(read.is_ok())] += 1;
            if let Ok(announcement) = read {
                let mut record = case["record"].clone();
                adjust(name, &mut record);
                compare(name, &announcement, &record);
            }
        }
        println!("{} refused, {} taken", counts[0], counts[1]);
        assert!(counts[0] >= 25 && counts[1] >= 40);
    }
}

/// Compares what was read with a record of the index.
fn compare(name: &str, read: &Announcement, record: &Value) {
    let number = |field: &str| record[field].as_f64().unwrap();
    assert_eq!(read.identity(), record["identity"], "{name}");
    assert_eq!(
        read.fingerprint().to_string(),
        record["fingerprint"],
        "{name}"
    );
    assert_eq!(read.weight(), number("weight"), "{name}");
    assert_eq!(read.timestamp().number(), number("timestamp"), "{name}");
    let uri = record["uri"].as_str().unwrap();
    assert_eq!(read.uri(), &uri.parse().unwrap(), "{name}");
    if let Some(actions) = record["actions"].as_u64() {
        assert_eq!(u64::from(read.action_count()), actions, "{name}");
        assert_eq!(read.actions().count() as u64, actions, "{name}");
        return;
    }
    assert_eq!(read.sector(), record["sector"], "{name}");
    let interval = Duration::from_secs_f64(number("interval") / 1000.0);
    assert_eq!(read.interval(), interval, "{name}");
    assert!(
        read.envelopes().iter().eq(texts(&record["envelopes"])),
        "{name}"
    );
    let actions: Vec<_> = read.actions().map(|action| describe(&action)).collect();
    if let Some(count) = record["actions_count"].as_u64() {
        assert_eq!(actions.len() as u64, count, "{name}");
        let first = record["actions_first"].as_array().unwrap();
        let last = record["actions_last"].as_array().unwrap();
        assert_eq!(actions[..first.len()], first[..], "{name}");
        assert_eq!(actions[actions.len() - last.len()..], last[..], "{name}");
    } else {
        assert_eq!(Value::from(actions), record["actions"], "{name}");
    }
}

fn texts(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array()
        .unwrap()
        .iter()
        .map(|text| text.as_str().unwrap())
}

fn describe(action: &ActionRef<'_>) -> Value {
    json!({
        "sector": action.sector,
        "namespace": action.namespace,
        "name": action.name,
        "version": action.version,
        "flags": action.flags.iter().collect::<Vec<_>>(),
        "envelopes": action.envelopes.iter().collect::<Vec<_>>(),
    })
}

/// D-25, D-26, HD-33, N-43: each recorded datagram; plain ones, prefixed ones and trailing octets are
/// taken, the bomb and what is damaged are not.
#[test]
fn datagrams() {
    for vectors in sets() {
        for case in files(&vectors, "datagram") {
            let name = name(&case);
            let read = receive(&file(&vectors, name));
            match case["expect"].as_str().unwrap() {
                "valid" | "see-peers" => {
                    let inside = case["identity_inside"].as_str().unwrap();
                    assert!(read.unwrap().identity().starts_with(inside), "{name}");
                }
                _ => assert!(read.is_err(), "{name}"),
            }
        }
        let bomb = receive(&file(&vectors, "dgram-bomb.bin")).err();
        assert!(matches!(bomb, Some(DatagramError::Bomb(_))), "{bomb:?}");
    }
}

/// What a cache file says, read in pieces of this size.
fn read_cache(octets: &[u8], piece: usize) -> (Content, Vec<Event>) {
    let before = Content::new();
    let mut reading = Reading::new(&before);
    octets.chunks(piece).for_each(|piece| reading.feed(piece));
    let mut events = Vec::new();
    let content = reading.finish(&Rsa, false, &mut |event| events.push(event));
    (content.unwrap_or_default(), events)
}

/// D-31, D-32, E-15, N-7, N-42: each recorded cache file, fixtures of other implementations included
/// where they are at hand; however it is cut, the same records are read.
#[test]
fn cache_files() {
    for vectors in sets() {
        let mut records = 0;
        for case in files(&vectors, "cache") {
            let name = name(&case);
            let octets = file(&vectors, name);
            let (content, events) = read_cache(&octets, octets.len().max(1));
            let readable = case["records"].as_array().unwrap().iter();
            let readable: Vec<_> = readable.filter(|it| it["unreadable"].is_null()).collect();
            let found: Vec<_> = content.instances().collect();
            assert_eq!(found.len(), readable.len(), "{name}: {events:?}");
            for (instance, record) in found.iter().zip(&readable) {
                compare(name, instance.announcement().unwrap(), record);
            }
            records += found.len();
            let bad = octets.len() > 1 && (name.contains("one-") || name.contains("cut"));
            if bad {
                assert!(
                    matches!(events[..], [Event::BadRecord { .. }]),
                    "{name}: {events:?}"
                );
            }
            for piece in [1, 8192, 65_537] {
                let (again, told) = read_cache(&octets, piece);
                let text = |content: &Content| {
                    let all = content
                        .instances()
                        .map(|it| it.announcement().unwrap().text().to_owned());
                    all.collect::<Vec<_>>()
                };
                assert_eq!(
                    (text(&again), told),
                    (text(&content), events.clone()),
                    "{name}"
                );
            }
        }
        println!("{records} records");
        assert!(records >= 30);
    }
}

/// D-20, D-21, D-24, N-8, N-40: each recorded sequence of announcements leaves what the
/// specification says.
#[test]
fn sequences() {
    let steps = |what: &str| -> (&[Change], &[u16]) {
        match what {
            "t0, newer" => (&[Change::Added, Change::Replaced], &[30102]),
            "t0, older" => (&[Change::Added, Change::Replayed], &[30101]),
            "t0, same time" => (&[Change::Added, Change::Replaced], &[30103]),
            "t0, other certificate" => (&[Change::Added, Change::Added], &[30101, 30104]),
            "t0, down" => (&[Change::Added, Change::Withdrawn], &[]),
            "t0, down, newer" => (&[Change::Added, Change::Withdrawn, Change::Added], &[30102]),
            "t0, forged newer" => (&[Change::Added], &[30101]),
            other => panic!("{other}"),
        }
    };
    for vectors in sets() {
        for case in files(&vectors, "sequence") {
            let what = case["what"].as_str().unwrap();
            let mut registry = Registry::default();
            let read = texts(&case["files"]).filter_map(|name| receive(&file(&vectors, name)).ok());
            let taken: Vec<_> = read
                .map(|read| registry.receive(Instant::EPOCH, UnixTime::default(), read, None))
                .collect();
            let left: BTreeSet<_> = registry.instances().map(|it| it.uri().port()).collect();
            let (changes, ports) = steps(what);
            assert_eq!(
                (&taken[..], left),
                (changes, ports.iter().copied().collect()),
                "{what}"
            );
        }
    }
}

/// D-12, D-13: the recorded record of a live service, signed by us.
#[test]
fn the_recorded_record() {
    let vectors = Vectors::best();
    for case in files(&vectors, "record") {
        let json = file(&vectors, name(&case));
        let json = std::str::from_utf8(&json).unwrap().trim_end();
        let announcement = receive(signed(&vectors, json).as_bytes()).unwrap();
        let mut record = case["record"].clone();
        record["fingerprint"] = announcement.fingerprint().to_string().into();
        compare(name(&case), &announcement, &record);
        let actions: Vec<_> = announcement
            .actions()
            .map(|action| describe(&action))
            .collect();
        let ends =
            [&case["first_actions"], &case["last_actions"]].map(|list| list.as_array().unwrap());
        assert!(actions.starts_with(ends[0]) && actions.ends_with(ends[1]));
    }
}

/// An announcement with this JSON, signed with a key of the vectors.
fn signed(vectors: &Vectors, json: &str) -> String {
    let certificate = file(vectors, "key-js.crt");
    let identity = Identity::from_pem(&certificate, file(vectors, "key-js.key")).unwrap();
    let signature = identity.sign(json.as_bytes()).unwrap();
    let certificate = String::from_utf8(certificate).unwrap();
    format!(
        "{json}\n\n{}\n\n{}\n\n",
        certificate.trim_end(),
        base64(&signature)
    )
}

fn base64(octets: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |chunk: &[u8]| {
        let bits = chunk
            .iter()
            .fold(0_u32, |bits, octet| bits << 8 | u32::from(*octet));
        let bits = bits << (8 * (3 - chunk.len()));
        let digit = |at: usize| match at <= chunk.len() {
            true => char::from(DIGITS[(bits >> (18 - 6 * at)) as usize & 63]),
            false => '=',
        };
        (0..4).map(digit).collect::<String>()
    };
    octets.chunks(3).map(group).collect()
}

/// E-13, D-8: the worked example verifies, and does not with any octet of its first line changed.
#[test]
fn e13_verifies() {
    let text = include_bytes!("../../scamp-proto/tests/data/e13.txt");
    assert!(receive(text).is_ok());
    for at in 0..165 {
        let mut changed = text.to_vec();
        changed[at] ^= 1;
        let error = receive(&changed).err();
        assert_eq!(
            error,
            Some(AnnouncementError::WrongSignature.into()),
            "{at}"
        );
    }
}

/// D-33, X-51: the cache file of a JavaScript manager, and one of ours made from the same
/// announcements by datagram, have the same records.
#[test]
fn our_manager_writes_what_theirs_does() {
    let vectors = Vectors::best();
    let theirs = file(&vectors, "cache-manager-four.txt");
    let (theirs, _) = read_cache(&theirs, theirs.len());
    let settings = Settings {
        cache_unlisted: true,
        ..Settings::default()
    };
    let (now, wall) = (Instant::EPOCH, UnixTime::default());
    let mut manager = CacheManager::new(now, settings, 1);
    for instance in theirs.instances() {
        let text = instance.announcement().unwrap().text();
        manager.receive(
            now,
            "192.0.2.1".parse().unwrap(),
            Via::Multicast,
            text.as_bytes(),
        );
        let pending = manager.poll_pending(now, wall).unwrap();
        manager.checked(now, wall, pending.verify(&Rsa, false));
    }
    let written =
        std::iter::from_fn(|| manager.poll_command(now)).find_map(|command| match command {
            Command::Write(octets) => Some(octets),
            _ => None,
        });
    let (ours, events) = read_cache(&written.unwrap(), 1000);
    let texts = |content: &Content| -> BTreeSet<String> {
        content
            .instances()
            .map(|it| it.announcement().unwrap().text().to_owned())
            .collect()
    };
    assert_eq!((texts(&ours), events), (texts(&theirs), vec![]));
}
