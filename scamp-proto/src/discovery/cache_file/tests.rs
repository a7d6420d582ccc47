//! The cache file, read and written.

use std::string::{String, ToString};
use std::vec::Vec;
use std::{format, vec};

use core::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::Instant;
use crate::auth::{Padding, PublicKey, Verify};
use crate::discovery::tests::{Toy, sign, text_of};
use crate::discovery::{AnnouncementError, Description, Event, UnixTime};
use crate::limits::{ANNOUNCEMENT, CACHE_FILE, CACHE_RECORDS};

/// Says yes, and counts how often it was asked.
struct Counting(core::cell::Cell<usize>);

impl Verify for Counting {
    fn verify(&self, key: &PublicKey<'_>, padding: Padding, text: &[u8], signature: &[u8]) -> bool {
        self.0.set(self.0.get() + 1);
        Toy.verify(key, padding, text, signature)
    }
}

fn record(identity: &str) -> String {
    text_of(&format!(
        r#"[3,"{identity}","main",1,5000,"beepish+tls://192.0.2.7:1",["json"],[],1]"#
    ))
}

fn file(records: &[&str]) -> Vec<u8> {
    records
        .iter()
        .flat_map(|text| ["\n%%%\n", text])
        .collect::<String>()
        .into()
}

/// What a file says, read in pieces of this size.
fn read(file: &[u8], piece: usize) -> (Vec<String>, Vec<Event>) {
    let before = Content::new();
    let mut reading = Reading::new(&before);
    file.chunks(piece).for_each(|piece| reading.feed(piece));
    let mut events = Vec::new();
    let content = reading.finish(&Toy, false, &mut |event| events.push(event));
    (identities(&content.unwrap_or_default()), events)
}

fn identities(content: &Content) -> Vec<String> {
    content
        .instances()
        .map(|instance| instance.identity().to_string())
        .collect()
}

/// E-15, D-31, N-7, N-42: all that reads as the same two records, in pieces of any size.
#[test]
fn e15_reads_as_two_records() {
    let (one, two) = (record("one"), record("two"));
    let text = format!("\n%%%\n{one}\n%%%\n{two}");
    let stray = |octets| vec![Event::StrayText { octets }];
    for (text, events) in [
        (text.clone(), vec![]),
        (text[1..].to_string(), vec![]),
        (format!("# header{text}"), stray(8)),
        (format!("# header\n{text}"), stray(9)),
        (text.replace("%%%\n", "%%%\r\n"), vec![]),
        (text.trim_end().to_string(), vec![]),
        (format!("\n%%%\n{one}{text}"), vec![]),
        (format!("{text}\n%%%\n{one}"), vec![]),
        (format!("{text}\n%%%\n"), vec![]),
        (format!("{text}\n%%%"), vec![]),
        (format!("{one}\n%%%\n{two}"), vec![]),
        (format!("{one}%%%\n{two}"), vec![]),
    ] {
        for piece in [1, 2, 3, 5, 7, 100, 8191, usize::MAX] {
            let (found, told) = read(text.as_bytes(), piece.min(text.len()));
            assert_eq!(found, ["one", "two"], "{piece} {text:?}");
            assert_eq!(told, events, "{piece} {text:?}");
        }
    }
    assert_eq!(read(one.as_bytes(), 1).0, ["one"]);
    assert_eq!(read(b"", 1), (vec![], vec![]));
    assert_eq!(read(b"\n\n \n", 1), (vec![], vec![]));
    // What is not exactly the line is not a separator.
    for line in ["%%% ", " %%%", "%%%%", "%%", "%%%\r"] {
        let text = format!("\n%%%\n{one}\n{line}\n{two}");
        // A CR may stand before the LF, so the last of them is one.
        let expected: &[&str] = if line.ends_with('\r') {
            &["one", "two"]
        } else {
            &["one"]
        };
        assert_eq!(read(text.as_bytes(), 3).0, expected, "{line:?}");
    }
}

/// N-7: a long line ends nothing, and a record without an empty line at its end swallows nothing.
#[test]
fn long_lines_and_short_ends() {
    let long = record(&"x".repeat(4096));
    let many = vec![r#"["a234567890"]"#; 10_000].join(",");
    let huge = text_of(&format!(
        r#"[3,"huge","main",1,1,"beepish+tls://192.0.2.7:1",[],[["N",{many}]],1]"#
    ));
    assert!(huge.len() > 128 * 1024);
    let one = record("one");
    let text = file(&[long.trim_end(), "\n", &huge, &one]);
    let (found, _) = read(&text, 8192);
    assert_eq!(found[1..], ["huge", "one"]);
    let text = file(&[&format!("{}\n", record("first").trim_end()), &one]);
    assert_eq!(read(&text, 8192).0, ["first", "one"]);
}

/// N-57, D-35: what did not change is not verified again, good or bad, wherever it stands; and a file
/// that says the same is no change.
#[test]
fn only_new_texts_are_verified() {
    let rsa = Counting(0.into());
    let read = |before: &Content, text: &[u8]| {
        rsa.0.set(0);
        let mut reading = Reading::new(before);
        let mut rest = text;
        while !rest.is_empty() {
            let room = reading.room();
            let len = rest.len().min(room.len()).min(1000);
            room[..len].copy_from_slice(&rest[..len]);
            reading.filled(len);
            rest = &rest[len..];
        }
        reading.finish(&rsa, false, &mut |_| ())
    };
    let [one, two, three] = ["one", "two", "three"].map(record);
    let forged = record("four").replacen("5000", "6000", 1);
    let first = read(&Content::new(), &file(&[&one, &forged, &two])).unwrap();
    assert_eq!(
        (rsa.0.get(), identities(&first)),
        (3, vec!["one".into(), "two".into()])
    );
    assert!(read(&first, &file(&[&one, &forged, &two])).is_none());
    assert_eq!(rsa.0.get(), 0);
    let bad = first.records().filter(Result::is_err).count();
    assert_eq!((bad, first.len()), (1, 3));

    let second = read(&first, &file(&[&two, &three, &forged, &one])).unwrap();
    assert_eq!(rsa.0.get(), 1);
    assert_eq!(identities(&second), ["two", "three", "one"]);
    // Those that stay are the same values, not new ones.
    let same = first.instances().filter(|old| {
        second
            .instances()
            .any(|new| std::sync::Arc::ptr_eq(old, new))
    });
    assert_eq!(same.count(), 2);

    let third = read(&second, &file(&[&three])).unwrap();
    assert_eq!((rsa.0.get(), identities(&third)), (0, vec!["three".into()]));
    // One with more after its signature than a text may have is known again, too.
    let binary = [three.as_bytes(), b"\xFF\n"].concat();
    let with_binary = [b"\n%%%\n", &binary[..]].concat();
    let fourth = read(&third, &with_binary).unwrap();
    assert_eq!(identities(&fourth), ["three"]);
    assert!(read(&fourth, &with_binary).is_none() && rsa.0.get() == 0);
    let empty = read(&third, b"").unwrap();
    assert!(empty.is_empty() && read(&empty, b"").is_none());
}

/// F-44, D-32, HD-40: a line of many megabytes, binary, and more records than may be: the good ones
/// are read, and the memory is that of one record.
#[test]
fn files_of_all_kinds() {
    let one = record("one");
    let mut splitter = Splitter::new();
    let mut found = Vec::new();
    let mut take = |piece: Piece<'_>| {
        found.push(match piece {
            Piece::Record(index, text) => format!("{index} {}", text.len()),
            other => format!("{other:?}"),
        });
    };
    splitter.feed(b"\n%%%\n", &mut take);
    let line = vec![b'x'; 1 << 20];
    for _ in 0..16 {
        splitter.feed(&line, &mut take);
        assert!(splitter.room().len() < ANNOUNCEMENT + (1 << 20));
    }
    splitter.feed(format!("\n%%%\n{one}\n%%%\n").as_bytes(), &mut take);
    splitter.feed(&[0, 255, b'\n', b'%', b'%', b'%', b'%'], &mut take);
    splitter.finish(&mut take);
    assert_eq!(
        found,
        [
            "TooLong(0)".to_string(),
            format!("1 {}", one.len()),
            "2 7".into()
        ]
    );

    for (first, expected) in [("[", "TooLong(0)"), ("x", "Stray(8388609)")] {
        let mut found = Vec::new();
        let mut splitter = Splitter::new();
        let mut take = |piece: Piece<'_>| found.push(format!("{piece:?}"));
        splitter.feed(first.as_bytes(), &mut take);
        (0..8).for_each(|_| splitter.feed(&line, &mut take));
        splitter.feed(b"\n%%%\n\n%%%\n", &mut take);
        splitter.finish(&mut take);
        assert_eq!(found[0], expected);
    }

    let mut text = b"\n%%%\nx\n\n".repeat(CACHE_RECORDS);
    let count = |text: &[u8]| {
        let (mut records, mut limits) = (0, Vec::new());
        let mut splitter = Splitter::new();
        let mut take = |piece: Piece<'_>| match piece {
            Piece::Record(..) => records += 1,
            other => limits.push(format!("{other:?}")),
        };
        splitter.feed(text, &mut take);
        splitter.finish(&mut take);
        (records, limits)
    };
    assert_eq!(count(&text), (CACHE_RECORDS, vec![]));
    text.extend_from_slice(b"\n%%%\ny\n\n\n%%%\nz");
    let limit = r#"LimitHit("discovery.cache_records", 100000)"#;
    assert_eq!(count(&text), (CACHE_RECORDS, vec![limit.to_string()]));
}

/// F-44, D-32, HD-40: 256 MiB of one line after a good record: it is read to its limit in the memory of
/// one record, the good one counts, and the two faults are told.
#[test]
fn a_line_without_end() {
    let before = Content::new();
    let mut reading = Reading::new(&before);
    let begin = file(&[&record("one"), "["]);
    reading.feed(&begin);
    let mut octets = begin.len() as u64;
    // The room is not cleared, so that it still has some of the record in it: no matter.
    while octets <= CACHE_FILE {
        let room = reading.room();
        assert!(room.len() <= 2 * ANNOUNCEMENT, "{}", room.len());
        let len = room.len().min(1 << 16);
        room[..len].fill(b'x');
        reading.filled(len);
        octets += len as u64;
    }
    let mut events = Vec::new();
    let content = reading.finish(&Toy, false, &mut |event| events.push(event));
    assert_eq!(identities(&content.unwrap()), ["one"]);
    let limit = Event::LimitHit("discovery.cache_file", CACHE_FILE);
    assert_eq!(events, [limit]);
}

/// F-44, D-31: a file cut anywhere says what its whole records say, and tells of the one that is not.
#[test]
fn half_written_files() {
    let names = ["one", "two", "three"];
    let records = names.map(record);
    let whole = file(&records.each_ref().map(String::as_str));
    // Where each record is complete, its last line feeds aside, which are not signed.
    let mut ends = Vec::new();
    let mut at = 0;
    for record in &records {
        at += "\n%%%\n".len() + record.len();
        ends.push(at - 2);
    }
    for cut in 0..=whole.len() {
        let (found, events) = read(&whole[..cut], 4096);
        let complete = ends.iter().filter(|end| **end <= cut).count();
        assert!(found.len() >= complete, "cut at {cut}: {found:?}");
        assert_eq!(found, names[..found.len()], "cut at {cut}");
        // What of the last signature is missing may be no more than its padding.
        assert!(
            found.len() <= complete + 1 && events.len() <= 1,
            "cut at {cut}: {events:?}"
        );
    }
}

/// Any record damaged in any of its parts is told by its index, and its neighbours are read.
#[test]
fn damage_is_told() {
    let [one, two] = ["one", "two"].map(record);
    let hurt = record("hurt");
    let json_end = hurt.find("\n\n").unwrap();
    for (damaged, error) in [
        (String::new(), AnnouncementError::Missing("certificate")),
        (
            hurt[..json_end].into(),
            AnnouncementError::Missing("certificate"),
        ),
        (
            hurt.replacen("hurt", "hurd", 1),
            AnnouncementError::WrongSignature,
        ),
        (
            hurt.replacen("MIID", "MI D", 1).replacen("CERT", "CART", 1),
            AnnouncementError::BadCertificate("it does not begin with BEGIN CERTIFICATE"),
        ),
        (
            text_of("[3]"),
            AnnouncementError::BadField("number of elements"),
        ),
        (text_of("[3,"), AnnouncementError::NotJson { at: 3 }),
    ] {
        let text = file(&[&one, &damaged, &two]);
        let (found, events) = read(&text, text.len());
        assert_eq!(found, ["one", "two"]);
        assert_eq!(events, [Event::BadRecord { index: 1, error }]);
    }
    // A later version is nobody's fault.
    let later = text_of(r#"{"vmaj":5}"#);
    assert_eq!(
        read(&file(&[&later, &one]), 64),
        (vec!["one".to_string()], vec![])
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Q-18: of any records, some of them damaged, exactly the undamaged ones are read, however the
    /// file is cut.
    #[test]
    fn exactly_the_undamaged_are_read(
        records in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>(), any::<u8>()), 0..8),
        piece in 1_usize..3000,
    ) {
        let mut expected = Vec::new();
        let mut file = Vec::new();
        for (number, (is_damaged, at, octet)) in records.iter().enumerate() {
            let name = format!("service {number}");
            let mut text = record(&name).into_bytes();
            let json = text.windows(2).position(|pair| pair == b"\n\n").unwrap();
            if *is_damaged {
                let at = at.index(json);
                prop_assume!(text[at] != *octet);
                text[at] = *octet;
            } else {
                expected.push(name);
            }
            file.extend_from_slice(b"\n%%%\n");
            file.extend_from_slice(&text);
        }
        let (found, _) = read(&file, piece);
        prop_assert_eq!(found, expected);
    }
}

/// D-33: what is written is read as the same, in the order given; what would end a record is left
/// out; what lacks its last LFs gets them.
#[test]
fn what_is_written_is_read() {
    let service = |identity: &str| {
        let uri = "beepish+tls://192.0.2.7:1".parse().unwrap();
        sign(&Description::new(identity, uri), 1)
    };
    let short = record("short");
    let read_one = |text: &str| {
        crate::discovery::Unverified::split(text.as_bytes())
            .unwrap()
            .verify(&Toy)
            .unwrap()
    };
    let all = [
        service("one"),
        read_one(short.trim_end()),
        read_one(&format!("{}%%%\nmore", record("bad"))),
        read_one(&format!("{}%%%\r\nmore", record("bad too"))),
        service("two"),
    ];
    let mut events = Vec::new();
    let written = encode(&all, &mut |event| events.push(event));
    assert_eq!(events.len(), 2);
    assert!(matches!(&events[0], Event::Unwritable { identity, .. } if identity == "bad"));
    assert_eq!(
        read(&written, 100),
        (vec!["one".into(), "short".into(), "two".into()], vec![])
    );
    let text = all[0].text();
    assert!(written.starts_with(format!("\n%%%\n{text}\n%%%\n{short}").as_bytes()));
    assert_eq!(encode([], &mut |_| ()), b"");
}

const WALL: i64 = 1_700_000_000_000_000;

fn seconds(seconds: u64) -> Instant {
    Instant::from_epoch(Duration::from_secs(seconds))
}

/// A file changed so many seconds after `WALL`.
fn found(changed: i64, size: u64) -> Look<'static> {
    Look::Found(Stat {
        modified: UnixTime::from_micros(WALL + changed * 1_000_000),
        size,
        inode: 1,
    })
}

fn wall(after: i64) -> UnixTime {
    UnixTime::from_micros(WALL + after * 1_000_000)
}

/// D-35: looked at once a second, read when it changed.
#[test]
fn files_are_read_when_they_change() {
    let mut watch = Watch::default();
    let no_event = &mut |event: Event| panic!("{event}");
    assert!(watch.wants_look(seconds(0)));
    assert_eq!(watch.look(seconds(0), found(0, 5), no_event), Step::Read);
    let finished = watch.finished(seconds(0), wall(0), found(0, 5), found(0, 5), no_event);
    assert_eq!(finished, Step::Take);
    assert!(!watch.wants_look(Instant::from_epoch(Duration::from_millis(999))));
    assert!(watch.wants_look(seconds(1)));
    assert_eq!(watch.look(seconds(1), found(0, 5), no_event), Step::Wait);
    for changed in [found(1, 5), found(0, 6)] {
        assert_eq!(watch.look(seconds(2), changed, no_event), Step::Read);
    }
}

/// D-36, F-48: stale after two minutes by our clock, whatever the wall's does; a touch makes it fresh
/// again; staleness is told once.
#[test]
fn files_grow_old() {
    let mut watch = Watch::default();
    let mut events = Vec::new();
    let mut take = |watch: &mut Watch, now, at, file| {
        watch.look(now, file, &mut |event| events.push(event));
        assert_eq!(
            watch.finished(now, at, file, file, &mut |event| events.push(event)),
            Step::Take
        );
        core::mem::take(&mut events)
    };
    assert!(watch.is_stale(seconds(0)), "never read");
    take(&mut watch, seconds(100), wall(30), found(0, 5));
    assert_eq!(watch.age(seconds(100)), Some(Duration::from_secs(30)));
    assert!(!watch.is_stale(seconds(190)) && watch.is_stale(seconds(191)));
    // The same time of change, read again after the clock was set to 1970 or a year ahead.
    for jump in [-WALL / 1_000_000, 31_536_000] {
        take(&mut watch, seconds(150), wall(jump), found(0, 6));
        assert_eq!(watch.age(seconds(150)), Some(Duration::from_secs(80)));
    }
    let mut told = Vec::new();
    for now in 189..200 {
        watch.look(seconds(now), found(0, 6), &mut |event| told.push(event));
    }
    assert_eq!(
        told,
        [Event::FileStale {
            age: Duration::from_secs(121)
        }]
    );
    // One from the future is as fresh as can be.
    assert_eq!(take(&mut watch, seconds(200), wall(0), found(500, 6)), []);
    assert_eq!(watch.age(seconds(201)), Some(Duration::from_secs(1)));
    // One that is old when it is first seen is told at once.
    let mut old = Watch::new(Duration::from_secs(120), StalePolicy::Warn);
    let told = take(&mut old, seconds(0), wall(1000), found(0, 5));
    assert_eq!(
        told,
        [Event::FileStale {
            age: Duration::from_secs(1000)
        }]
    );
    assert!(!old.is_stale(seconds(0)), "with `warn` old data is used");
}

/// F-44, HD-42, D-36: a file that vanishes or cannot be read keeps what it said and goes on ageing;
/// that is told once for each reason.
#[test]
fn files_vanish() {
    let mut watch = Watch::default();
    let mut events = Vec::new();
    let file = found(0, 5);
    watch.look(seconds(0), file, &mut |_| ());
    watch.finished(seconds(0), wall(0), file, file, &mut |_| ());
    for (now, look) in [
        (1, Look::Absent),
        (2, Look::Absent),
        (3, Look::Unreadable("permission denied")),
        (4, Look::Unreadable("permission denied")),
        (5, Look::Unreadable("is a directory")),
    ] {
        let step = watch.look(seconds(now), look, &mut |event| events.push(event));
        assert_eq!(step, Step::Wait);
    }
    let told = |why: &str| Event::FileUnreadable(why.into());
    let expected = ["it does not exist", "permission denied", "is a directory"].map(told);
    assert_eq!(events, expected);
    assert!(!watch.is_stale(seconds(120)) && watch.is_stale(seconds(121)));
    // It comes back as it was: nothing to read.
    assert_eq!(watch.look(seconds(6), file, &mut |_| ()), Step::Wait);
}

/// HD-41: a file that changes while it is read is read again, three times, and then left for later.
#[test]
fn torn_reads() {
    let mut watch = Watch::default();
    let mut events = Vec::new();
    watch.look(seconds(0), found(0, 5), &mut |_| ());
    let mut steps = Vec::new();
    for _ in 0..4 {
        let on_event = &mut |event| events.push(event);
        steps.push(watch.finished(seconds(0), wall(0), found(0, 5), found(0, 6), on_event));
    }
    assert_eq!(steps, [Step::Read, Step::Read, Step::Read, Step::Wait]);
    assert_eq!(events, [Event::FileTorn]);
    assert!(watch.is_stale(seconds(0)), "nothing was taken");
    assert_eq!(watch.look(seconds(1), found(0, 6), &mut |_| ()), Step::Read);
    let file = found(0, 6);
    assert_eq!(
        watch.finished(seconds(1), wall(1), file, file, &mut |_| ()),
        Step::Take
    );
    // Removed, or not readable any more, in the middle.
    watch.look(seconds(2), found(2, 6), &mut |_| ());
    let gone = watch.finished(seconds(2), wall(2), found(2, 6), Look::Absent, &mut |_| ());
    assert_eq!(gone, Step::Read);
    let gone = watch.finished(seconds(2), wall(2), Look::Absent, Look::Absent, &mut |_| ());
    assert_eq!(gone, Step::Wait);
}

/// D-33, D-34: one write a second; a touch every minute; the first write of a restart waits.
#[test]
fn writes_are_gathered() {
    let age = Duration::from_secs(120);
    let mut writer = Writer::new(seconds(0), None, age);
    assert_eq!(
        (writer.poll_task(seconds(0)), writer.poll_timeout()),
        (None, Some(seconds(60)))
    );
    writer.changed();
    assert_eq!(writer.poll_task(seconds(0)), Some(Task::Write));
    // Nothing more before this is done, however much changes.
    writer.changed();
    writer.changed();
    assert_eq!(
        (writer.poll_task(seconds(0)), writer.poll_timeout()),
        (None, None)
    );
    writer.done(seconds(0), true);
    assert_eq!(
        (writer.poll_task(seconds(0)), writer.poll_timeout()),
        (None, Some(seconds(1)))
    );
    assert_eq!(writer.poll_task(seconds(1)), Some(Task::Write));
    writer.done(seconds(1), true);
    assert_eq!(
        (writer.poll_task(seconds(60)), writer.poll_timeout()),
        (None, Some(seconds(61)))
    );
    assert_eq!(writer.poll_task(seconds(61)), Some(Task::Touch));
    writer.done(seconds(61), true);
    assert_eq!(writer.poll_timeout(), Some(seconds(121)));

    for (existing, first) in [(0, 10), (97, 10), (98, 0), (500, 0)] {
        let mut writer = Writer::new(seconds(0), Some(Duration::from_secs(existing)), age);
        writer.changed();
        assert_eq!(writer.poll_timeout(), Some(seconds(first)), "{existing}");
        assert_eq!(writer.poll_task(seconds(first)), Some(Task::Write));
    }
    // What is known after the wait is written, even if that is nothing.
    let mut writer = Writer::new(seconds(0), Some(Duration::ZERO), age);
    assert_eq!(
        (writer.poll_task(seconds(9)), writer.poll_task(seconds(10))),
        (None, Some(Task::Write))
    );
}

/// F-45: a write that failed is tried again at the next change, and before readers give us up.
#[test]
fn failed_writes_are_tried_again() {
    let mut writer = Writer::new(seconds(0), None, Duration::from_secs(120));
    writer.changed();
    assert_eq!(writer.poll_task(seconds(0)), Some(Task::Write));
    writer.done(seconds(0), false);
    assert_eq!(writer.poll_task(seconds(5)), None);
    writer.changed();
    assert_eq!(writer.poll_task(seconds(5)), Some(Task::Write));
    writer.done(seconds(5), false);
    assert_eq!(writer.poll_timeout(), Some(seconds(65)));
    assert_eq!(
        writer.poll_task(seconds(65)),
        Some(Task::Write),
        "not merely a touch"
    );
}
