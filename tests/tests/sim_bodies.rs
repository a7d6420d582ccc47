//! The fuzz bodies over their seeds and over generated octets, as ordinary tests (HD-61).

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;

use proptest::prelude::*;
use scamp_proto::sim::bodies;

type Body = fn(&[u8]);

const BODIES: [(&str, Body); 17] = [
    ("packet_stream", bodies::packet_stream),
    ("header", bodies::header),
    ("endpoint", bodies::endpoint),
    ("two_endpoints", bodies::two_endpoints),
    ("emitter", bodies::emitter),
    ("authorized", bodies::authorized),
    ("ticket", bodies::ticket),
    ("ticket_keys", bodies::ticket_keys),
    ("table", bodies::table),
    ("config", bodies::config),
    ("requester", bodies::requester),
    ("announcement", bodies::announcement),
    ("datagram", bodies::datagram),
    ("vectors", bodies::vectors),
    ("cache_file", bodies::cache_file),
    ("mp", bodies::mp),
    ("waddell", bodies::waddell),
];

/// U-1…U-12, U-14: no committed seed makes a body panic, and every body has seeds.
#[test]
fn seeds_are_taken() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds");
    for (name, body) in BODIES {
        let files = fs::read_dir(seeds.join(name)).expect("a folder of seeds");
        let mut count = 0;
        for file in files {
            let path = file.expect("a seed").path();
            let octets = fs::read(&path).expect("a seed");
            catch_unwind(AssertUnwindSafe(|| body(&octets))).unwrap_or_else(|cause| {
                println!("{}", path.display());
                resume_unwind(cause)
            });
            count += 1;
        }
        assert!(count > 0, "{name} has no seeds");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    /// HD-49, HD-51: a requester among instances that fail, where the octets decide.
    #[test]
    fn requester(octets in prop::collection::vec(any::<u8>(), 0..300)) {
        bodies::requester(&octets);
    }

    /// U-1, Q-1, Q-3: streams of right and wrong packets, cut anywhere.
    #[test]
    fn packet_stream(octets in stream()) {
        bodies::packet_stream(&octets);
    }

    /// U-2: headers of all kinds, and what is nearly one.
    #[test]
    fn header(json in json()) {
        bodies::header(json.as_bytes());
    }

    /// U-2: octets that are no header.
    #[test]
    fn no_header(octets in prop::collection::vec(any::<u8>(), 0..60)) {
        bodies::header(&octets);
    }

    /// U-3, Q-5…: one session, anything done to it in any order.
    #[test]
    fn endpoint(octets in prop::collection::vec(any::<u8>(), 0..400)) {
        bodies::endpoint(&octets);
    }

    /// U-4: two sessions whose run is decided by octets.
    #[test]
    fn two_endpoints(octets in prop::collection::vec(any::<u8>(), 0..60)) {
        bodies::two_endpoints(&octets);
    }

    /// U-6: announcements of all kinds, and what is nearly one.
    #[test]
    fn announcement(json in announced()) {
        bodies::announcement(json.as_bytes());
    }

    /// U-7: datagrams that are nearly compressed.
    #[test]
    fn datagram(begin in prop::sample::select(vec!["", "R", "D", "x\u{1}", "[", "{"]), octets in prop::collection::vec(any::<u8>(), 0..60)) {
        bodies::datagram(&[begin.as_bytes(), &octets].concat());
        bodies::datagram(&[b"\x78\x01", &octets[..]].concat());
    }

    /// U-8, Q-17: vectors, expanded lazily and by repeating.
    #[test]
    fn vectors(octets in prop::collection::vec(any::<u8>(), 0..80)) {
        bodies::vectors(&octets);
    }

    /// U-9, Q-18: cache files in pieces, by a reader of pieces and by one that splits the whole.
    #[test]
    fn cache_file(begin in any::<[u8; 2]>(), lines in prop::collection::vec(cache_line(), 0..20)) {
        bodies::cache_file(&[&begin[..], lines.concat().as_bytes()].concat());
    }

    /// U-14, WD-127: streams of waddell frames of the lengths that matter, cut anywhere.
    #[test]
    fn waddell(
        piece in any::<u8>(),
        flock in 0_u8..40,
        lens in prop::collection::vec(prop::sample::select(vec![0_u16, 1, 2, 16, 17, 18, 19, 300, 65_535]), 0..24),
        fill in prop::sample::select(vec![b'k', b'x', 0]),
        missing in 0_usize..30,
    ) {
        let mut octets = vec![piece, flock];
        for len in lens {
            octets.extend(len.to_le_bytes());
            octets.resize(octets.len() + usize::from(len), fill);
        }
        octets.truncate(octets.len().saturating_sub(missing).max(2));
        bodies::waddell(&octets);
    }

    /// U-5, Q-2: what is sent is what was asked for.
    #[test]
    fn emitter(octets in prop::collection::vec(any::<u8>(), 0..100)) {
        bodies::emitter(&octets);
    }

    /// U-10, Q-19, F-47: lines of authorized services, and questions.
    #[test]
    fn authorized(words in words(&[
        "01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14 ",
        "FF:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14\t",
        "a", "A", "b", "main", "_meta", "ALL", ":ALL", ":", ",", ".", " ", "#", "\n", "\r\n", "\0", "\0",
    ])) {
        bodies::authorized(&words);
    }

    /// U-11: texts that are nearly tickets.
    #[test]
    fn ticket(now in any::<u8>(), words in words(&[
        "1", ",", ",", "+", "-", ".", "9", "1,2,3,0,9,1+2,", "c2ln", "_-", "=", " ", "\n",
        "9223372036854775807", "18446744073709551616", "x",
    ])) {
        let octets = [&[1, now, 1, now / 2], &words[..]].concat();
        bodies::ticket(&octets);
    }

    /// T-14: tables.
    #[test]
    fn table(words in words(&[
        "{", "}", "[", "]", ",", ":", "null", "1", "20", "\"20\"", "\"a.b\":", "\"A.b\":", "\"c.d\":[",
        "\"_NAMES\":[", "-1", "1.0", "true", "\"x\"", "{\"a.b\":[1", "]}", " ",
    ])) {
        bodies::table(&words);
    }

    /// U-15: values that are nearly messages, in JSON.
    #[test]
    fn mp_json(piece in any::<u8>(), words in words(&[
        "{", "}", "[", "]", ",", ":", " ", "\n", "{\"Meta\":", "8", "255", "256", "08", "5.0", "null", "\"",
        "\"OtherClient\":\"al\"", "\"connectionid\":\"al:0\"", "\"Data\":\"aGk=\"", "\"Data\":\"aGl=\"",
        "\"Data\":[1,null]", "\"x\":", "\\u00e9", "\\ud800", "\\", "\u{e9}", "{\"Meta\":0,\"Data\":\"\"}",
    ])) {
        bodies::mp(&[&[0, piece], &words[..]].concat());
    }

    /// U-15: blocks that are nearly messages, in gob.
    #[test]
    fn mp_gob(piece in any::<u8>(), blocks in prop::collection::vec(gob(), 0..8)) {
        bodies::mp(&[&[1, piece], &blocks.concat()[..]].concat());
    }

    /// U-15, MP-139: a server, or a client, to which anything happens.
    #[test]
    fn mp_ends(which in 2..4_u8, octets in prop::collection::vec(any::<u8>(), 0..400)) {
        bodies::mp(&[&[which], &octets[..]].concat());
    }

    /// U-12: lines of a configuration.
    #[test]
    fn config(words in words(&[
        "rpc.timeout", "beepish.first_port", "scamp.last_port", "bus.address", "a", "b.c", "=", "=",
        "1", "30100", "off", "if:", "eth0", "10.0.0.1", ",", " ", "#", "\n", "\n", "\r\n", "\t", ".5",
    ])) {
        bodies::config(&words);
    }
}

/// A block: a definition of `Message`, one of its values, or something of the kind.
fn gob() -> impl Strategy<Value = Vec<u8>> {
    let definition = include_bytes!("../../fuzz/seeds/mp/gob-definition").to_vec();
    // The first two octets say what the body does.
    let definition = definition.get(2..).unwrap_or_default().to_vec();
    let value = prop::collection::vec(any::<u8>(), 0..12).prop_map(|inside| {
        let mut block = vec![inside.len() as u8 + 3, 0xff, 0x82];
        block.extend(inside);
        block.push(0);
        block
    });
    let fields = (1..5_u8, 0..3_u8, "[a-c]{0,3}").prop_map(|(field, more, text)| {
        let len = text.len() as u8;
        let mut block = vec![5 + len, 0xff, 0x82, field, len];
        block.extend(text.bytes());
        block.push(more);
        block
    });
    let any = prop::collection::vec(any::<u8>(), 0..20).prop_map(|inside| {
        let mut block = vec![inside.len() as u8];
        block.extend(inside);
        block
    });
    prop_oneof![3 => Just(definition), 3 => value, 3 => fields, 1 => any]
}

/// Some of these words, one after the other.
fn words(words: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let words = prop::collection::vec(prop::sample::select(words), 0..30);
    words.prop_map(|words| words.concat().into_bytes())
}

/// Some packets, most of them right, and how they are cut.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let word = prop::sample::select(vec![
        "HEADER", "DATA", "EOF", "TXERR", "ACK", "PING", "PONG", "NO",
    ]);
    let body = prop::sample::select(vec![
        "",
        "{}",
        "{\"type\":\"notify\"}",
        "1",
        "12",
        "x",
        "0",
        "END\r\n",
    ]);
    let opening = Just(("HEADER", 0, "{}"));
    let packet = prop_oneof![3 => (word, 0_u64..4, body), 1 => opening];
    let packets = prop::collection::vec(packet, 0..20);
    (any::<u8>(), packets, any::<bool>()).prop_map(|(piece, packets, cut)| {
        let mut octets = vec![piece];
        let mut next = 0;
        for (word, msgno, body) in packets {
            let msgno = if word == "HEADER" { next } else { msgno };
            next += u64::from(word == "HEADER");
            octets.extend(format!("{word} {msgno} {}\r\n{body}END\r\n", body.len()).bytes());
        }
        if cut {
            octets.pop();
        }
        octets
    })
}

fn json() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec![
        "type",
        "request_id",
        "action",
        "envelope",
        "error_data",
        "x",
        "ty\\u0070e",
        "sector",
    ]);
    let value = prop::sample::select(vec![
        "null",
        "\"request\"",
        "\"reply\"",
        "1",
        "\"7\"",
        "1.0",
        "1e999",
        "-0",
        "[[{}]]",
        "\"\\ud800\"",
        "true",
        "{\"a\":",
        "\"\\n\"",
        "18446744073709551616",
    ]);
    prop::collection::vec((name, value), 0..8).prop_map(|fields| {
        let fields: Vec<_> = fields
            .iter()
            .map(|(name, value)| format!("\"{name}\":{value}"))
            .collect();
        format!("{{{}}}", fields.join(","))
    })
}

fn cache_line() -> impl Strategy<Value = &'static str> {
    let e13 = include_str!("../../scamp-proto/tests/data/e13.txt");
    prop::sample::select(vec![
        "\n", "%%%\n", "\n%%%\n", "%%%\r\n", "%%%", "%%", "%", "%%%%\n", " %%%\n", "\r\n", "[",
        "{x}\n", "x\n", e13,
    ])
}

/// Version 3, with some of its elements not as they should be.
fn announced() -> impl Strategy<Value = String> {
    let pick = |usual: &'static str, others: &[&'static str]| prop_oneof![6 => Just(usual), 1 => prop::sample::select(others.to_vec())];
    let number = &["0", "-1", "1.5", "1e999", "null", "\"1\"", "-0.0"];
    let actions = &[
        "null",
        "{}",
        "[5]",
        "[[]]",
        "[[\"N\"]]",
        "[[\"N\",[\"a\",\"read\",2],[\"b.c\"],[\"d\",null,\"07\"],7,[]],[\"\",[\"e\"]],[\"M\",[\"f\",\"\",2.0]]]",
        "[[\"N\\u002e\\ud83d\\ude00\",[\"\\n\",\"x\",1,2]]]",
    ];
    let envelopes = &[
        "[]",
        "null",
        "[{}]",
        "[\"json\",{\"acname\":[[3,\"a\"]],\"acns\":\"N\",\"acsec\":\"s\",\"acenv\":\"j\"}]",
        "[{},\"json\"]",
    ];
    (
        pick("3", &["4", "3.0", "\"3\""]),
        pick("\"x\"", &["\"\"", "7", "\"\\u00e9\""]),
        pick("\"main\"", &["\"a:b\"", "null"]),
        (pick("1", number), pick("5000", number)),
        pick("\"beepish+tls://192.0.2.7:1\"", &["null", "\"\"", "\"beepish+tls://<nil>:1\""]),
        pick("[\"json\"]", envelopes),
        prop::sample::select(actions.to_vec()),
        pick("1700000000.25", number),
    )
        .prop_map(|(version, identity, sector, (weight, interval), uri, envelopes, actions, time)| {
            format!("[{version},{identity},{sector},{weight},{interval},{uri},{envelopes},{actions},{time}]")
        })
}
