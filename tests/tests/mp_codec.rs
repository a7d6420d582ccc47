//! MessagePasser's two encodings, beside the recorded cases: limits, and what any message does.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use scamp_proto::Outbox;
use scamp_proto::mp::{
    Data, DecodeError, DecodeLimits, Decoder, Encoder, Encoding, Message, Meta, Text,
};

/// What a decoder makes of these octets.
fn decode(
    encoding: Encoding,
    limits: DecodeLimits,
    input: &[u8],
    piece: usize,
) -> Result<Vec<Message>, DecodeError> {
    let mut decoder = Decoder::new(encoding, limits);
    let mut messages = Vec::new();
    for mut rest in input.chunks(piece.max(1)) {
        while let Some(message) = decoder.decode(&mut rest)? {
            messages.push(message);
        }
    }
    if decoder.is_between() {
        Ok(messages)
    } else {
        Err(DecodeError::Truncated)
    }
}

fn json(input: &str) -> Result<Vec<Message>, DecodeError> {
    decode(
        Encoding::Json,
        DecodeLimits::default(),
        input.as_bytes(),
        usize::MAX,
    )
}

fn gob(blocks: &[&[u8]]) -> Result<Vec<Message>, DecodeError> {
    decode(
        Encoding::Gob,
        DecodeLimits::default(),
        &blocks.concat(),
        usize::MAX,
    )
}

fn encode(encoding: Encoding, messages: &[Message]) -> Vec<u8> {
    let mut encoder = Encoder::new(encoding);
    let mut out = Outbox::default();
    for message in messages {
        encoder.encode(message, &mut out);
    }
    out.take_all()
}

/// A block of gob.
fn block(inside: &[u8]) -> Vec<u8> {
    let mut block = number(inside.len() as u64);
    block.extend(inside);
    block
}

/// An unsigned number of gob, as the specification says (MP-20).
fn number(value: u64) -> Vec<u8> {
    if value < 128 {
        return vec![value as u8];
    }
    let octets = value.to_be_bytes();
    let skip = octets.iter().take_while(|octet| **octet == 0).count();
    [&[(skip as u8).wrapping_sub(8)], &octets[skip..]].concat()
}

/// A definition of a struct with this id (64 to 127), and these fields and their types.
fn definition(id: u8, fields: &[(&str, u8)]) -> Vec<u8> {
    // The signed number -id.
    let mut inside = [&[0xff][..], &[(id - 1) << 1 | 1]].concat();
    inside.extend([3, 1, 0, 1]);
    inside.extend(number(fields.len() as u64));
    for (name, id) in fields {
        inside.push(1);
        inside.extend(number(name.len() as u64));
        inside.extend(name.bytes());
        inside.push(1);
        inside.extend(number(u64::from(*id) << 1));
        inside.push(0);
    }
    inside.extend([0, 0]);
    block(&inside)
}

/// MP-1, MP-7, MP-31: what is absent is zero, and what is too much is ignored.
#[test]
fn absent_fields_are_zero() {
    assert_eq!(json("{}"), Ok(vec![Message::default()]));
    let [message] = &json(r#"{"Other":[{}],"Meta":1}"#).unwrap()[..] else {
        panic!()
    };
    assert_eq!(message, &Message::new(Meta::WAT, "", "", Data::Absent));
}

/// MP-3, MP-16, MP-33: text is UTF-8, or the stream ends; nothing is replaced.
#[test]
fn text_is_never_replaced() {
    for input in [
        &b"{\"OtherClient\":\"\xff\"}"[..],
        b"{\"\xc3\":1}",
        b"{\"x\":\"\xed\xa0\x80\"}",
        b"{\xc3\xa9}",
    ] {
        let got = decode(Encoding::Json, DecodeLimits::default(), input, usize::MAX);
        assert!(matches!(got, Err(DecodeError::Malformed(_))), "{input:?}");
    }
    let definition = definition(65, &[("OtherClient", 6)]);
    let value = block(b"\xff\x82\x01\x01\xff\x00");
    assert!(matches!(
        gob(&[&definition, &value]),
        Err(DecodeError::Malformed(_))
    ));
    assert!(Text::from_utf8(bytes::Bytes::from_static(b"\xff")).is_none());
}

/// MP-12: what two keys of one name leave, as Go does it: the last counts, and `null` is no value.
#[test]
fn the_last_key_counts() {
    let meta = |input: &str| json(input).map(|messages| messages[0].meta.0);
    assert_eq!(meta(r#"{"Meta":5,"META":6}"#), Ok(6));
    assert_eq!(meta(r#"{"Meta":5,"\u004deta":null}"#), Ok(5));
    let data = |input: &str| json(input).map(|messages| messages[0].data.clone());
    assert_eq!(data(r#"{"Data":"aGk=","Data":null}"#), Ok(Data::Absent));
    assert_eq!(data(r#"{"Data":"aGk=","Data":[]}"#), Ok(Data::from("")));
    assert_eq!(data(r#"{"Data":"a\u0047k="}"#), Ok(Data::from("hi")));
}

/// MP-12: 64 brackets may be open at once.
#[test]
fn brackets_have_a_limit() {
    let nested = |depth: usize| format!("{{\"x\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    assert!(json(&nested(63)).is_ok());
    assert!(json(&nested(64)).is_err());
    // In a string they are text.
    assert!(json(&format!("{{\"x\":\"{}\"}}", "[".repeat(100))).is_ok());
}

/// MP-14, MP-17: a long value, octet by octet, and white space without end.
#[test]
fn octet_by_octet() {
    let payload = Data::Octets(vec![7; 1 << 20].into());
    let messages = [Message::new(Meta::NONE, "bob", "al:0", payload)];
    for encoding in [Encoding::Json, Encoding::Gob] {
        let octets = encode(encoding, &messages);
        let limits = DecodeLimits::default();
        assert_eq!(decode(encoding, limits, &octets, 1).unwrap(), messages);
    }
}

/// MP-15, mp.md §12: a payload of exactly the limit is taken, one more octet is not; and a value or
/// block that is too long is refused as soon as that is known, wherever it is cut.
#[test]
fn sizes_have_limits() {
    let limits = DecodeLimits {
        payload: 1000,
        json_depth: 64,
    };
    for encoding in [Encoding::Json, Encoding::Gob] {
        for (len, expected) in [(1000, None), (1001, Some(DecodeError::TooLarge(1000)))] {
            let payload = Data::Octets(vec![7; len].into());
            let octets = encode(encoding, &[Message::new(Meta::NONE, "", "", payload)]);
            for piece in [1, 7, usize::MAX] {
                let got = decode(encoding, limits, &octets, piece);
                assert_eq!(got.err(), expected, "{len} {encoding:?}");
            }
        }
    }
    let frame = 1333 + 65_536;
    let value = format!("{{\"x\":\"{}\"}}", "x".repeat(frame - 8));
    assert_eq!(value.len(), frame);
    for piece in [1, 1000, usize::MAX] {
        let input = value.as_bytes();
        assert!(decode(Encoding::Json, limits, input, piece).is_ok());
        let longer = [&input[..6], b"x", &input[6..]].concat();
        let got = decode(Encoding::Json, limits, &longer, piece);
        assert_eq!(got, Err(DecodeError::TooLarge(frame)));
        // Not later than that, also when it never ends.
        let got = decode(Encoding::Json, limits, &longer[..=frame], piece);
        assert_eq!(got, Err(DecodeError::TooLarge(frame)));
    }
    let claim = number(1000 + 65_536 + 1);
    let got = decode(Encoding::Gob, limits, &claim, 1);
    assert_eq!(got, Err(DecodeError::TooLarge(1000 + 65_536)));
}

/// MP-20, MP-21, MP-24: numbers at their limits, and longer than they need to be.
#[test]
fn gob_numbers() {
    let definition = definition(65, &[("x", 3), ("Meta", 3)]);
    for (octets, is_number) in [
        (&b"\x00"[..], true),
        (b"\x7f", true),
        (b"\xff\x00", true),
        (b"\xfe\x00\x08", true),
        (b"\xf8\xff\xff\xff\xff\xff\xff\xff\xff", true),
        (b"\x80", false),
        (b"\xf7", false),
        (b"\xf8\xff", false),
    ] {
        let value = block(&[b"\xff\x82\x01", octets, b"\x01\x05\x00"].concat());
        let got = gob(&[&definition, &value]);
        assert_eq!(got.is_ok(), is_number, "{octets:?}: {got:?}");
        assert!(got.is_err() || got.unwrap()[0].meta == Meta::CONN_SYN);
    }
}

/// MP-30, MP-26, MP-25: any id from 64 up, once; values of each type after its definition.
#[test]
fn gob_ids() {
    let (meta, other) = (&[("Meta", 3)][..], &[("OtherClient", 6)][..]);
    let got = gob(&[
        &definition(64, meta),
        &definition(70, other),
        &block(b"\xff\x80\x01\x05\x00"),
        &block(b"\xff\x8c\x01\x01a\x00"),
        &block(b"\xff\x80\x01\x06\x00"),
    ]);
    let messages = got.unwrap();
    let seen: Vec<_> = messages
        .iter()
        .map(|one| (one.meta.0, &*one.other_client))
        .collect();
    assert_eq!(seen, [(5, ""), (0, "a"), (6, "")]);
    let twice = definition(64, meta);
    assert!(gob(&[&twice, &twice]).is_err());
    assert!(gob(&[&definition(63, meta)]).is_err());
    assert!(gob(&[&block(b"\xff\x80\x00")]).is_err());
    assert!(gob(&[&block(b"\x0a\x00\x05")]).is_err());
}

/// MP-31, MP-32: fields by name and of their type, or the value is none of ours.
#[test]
fn gob_fields() {
    for (fields, is_ours) in [
        (&[("Meta", 3)][..], true),
        (
            &[
                ("Data", 5),
                ("ConnectionID", 6),
                ("OtherClient", 6),
                ("Meta", 3),
            ],
            true,
        ),
        (&[], true),
        (&[("meta", 3)], false),
        (&[("Meta", 2)], false),
        (&[("OtherClient", 5)], false),
        (&[("ConnectionID", 5)], false),
        (&[("Data", 6)], false),
        (&[("Meta", 3), ("x", 99)], true),
    ] {
        let got = gob(&[&definition(64, fields), &block(b"\xff\x80\x00")]);
        assert_eq!(got.is_ok(), is_ours, "{fields:?}");
    }
}

/// MP-34: values within values 32 deep are skipped, and no deeper.
#[test]
fn gob_nesting() {
    for (depth, is_taken) in [(31, true), (32, false)] {
        let mut input = Vec::new();
        // Type 66 holds a 67, which holds a 68, and so on.
        for id in 0..depth {
            let inner = if id + 1 < depth { 67 + id } else { 3 };
            input.extend(definition(66 + id, &[("x", inner)]));
        }
        input.extend(definition(65, &[("Meta", 3), ("x", 66)]));
        let depth = usize::from(depth);
        let inside = [
            &b"\xff\x82\x01\x05"[..],
            &vec![1; depth + 1],
            &[7],
            &vec![0; depth + 1],
        ];
        input.extend(block(&inside.concat()));
        let got = gob(&[&input]);
        assert_eq!(got.is_ok(), is_taken, "{depth}: {got:?}");
    }
}

/// MP-38: definitions are few, and so are their fields and the length of their names.
#[test]
fn gob_definitions_have_limits() {
    let many: Vec<_> = (64..128).map(|id| definition(id, &[])).collect();
    let mut many: Vec<_> = many.iter().map(Vec::as_slice).collect();
    assert_eq!(gob(&many), Ok(vec![]));
    // -129 takes two octets.
    let one_more = block(b"\xfe\x01\x01\x03\x01\x00\x00\x00");
    many.push(&one_more);
    assert!(gob(&many).is_err());

    for (count, is_taken) in [(256, true), (257, false)] {
        let fields = vec![("x", 3); count];
        assert_eq!(gob(&[&definition(65, &fields)]).is_ok(), is_taken);
    }
    for (len, is_taken) in [(255, true), (256, false)] {
        let name = "x".repeat(len);
        assert_eq!(gob(&[&definition(65, &[(&name, 3)])]).is_ok(), is_taken);
    }
    let name = "x".repeat(255);
    let large: Vec<_> = (65..70)
        .map(|id| definition(id, &vec![(&name[..], 3); 62]))
        .collect();
    let large: Vec<_> = large.iter().map(Vec::as_slice).collect();
    assert!(large.concat().len() > 65_536);
    assert!(gob(&large[..4]).is_ok() && gob(&large).is_err());
}

/// MP-41, MP-46: every first pair of octets is decided, and only the second can be needed.
#[test]
fn two_octets_decide() {
    for first in 0..=255_u8 {
        for second in 0..=255_u8 {
            let whole = Encoding::sniff(&[first, second]);
            assert!(!matches!(whole, Ok(None)));
            match Encoding::sniff(&[first]) {
                Ok(None) => {}
                early => assert_eq!(early, whole),
            }
            assert_eq!(Encoding::sniff(&[first, second, 0]), whole);
        }
    }
    assert!(Encoding::sniff(b"MP").is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    /// MP-139, MP-130, MP-22, MP-23, MP-29: encoding and decoding gives back what it was, in both
    /// encodings, however the octets are cut.
    #[test]
    fn round_trips(messages in prop::collection::vec(message(), 0..5), piece in 1..40_usize) {
        for encoding in [Encoding::Json, Encoding::Gob] {
            let octets = encode(encoding, &messages);
            let mut expected = messages.clone();
            for message in &mut expected {
                if encoding == Encoding::Gob && message.data.is_empty() {
                    message.data = Data::Absent;
                }
            }
            for piece in [piece, usize::MAX] {
                let got = decode(encoding, DecodeLimits::default(), &octets, piece);
                prop_assert_eq!(got.as_ref(), Ok(&expected));
            }
        }
    }

    /// MP-10, MP-11: our JSON is JSON, and says what it should to another decoder.
    #[test]
    fn json_is_json(message in message()) {
        let octets = encode(Encoding::Json, std::slice::from_ref(&message));
        prop_assert_eq!(octets.last(), Some(&b'\n'));
        let value: serde_json::Value = serde_json::from_slice(&octets).unwrap();
        prop_assert_eq!(value["Meta"].as_u64(), Some(message.meta.0.into()));
        prop_assert_eq!(value["OtherClient"].as_str(), Some(&*message.other_client));
        prop_assert_eq!(value["ConnectionID"].as_str(), Some(&*message.connection_id));
        prop_assert_eq!(value["Data"].is_null(), message.data.is_absent());
        prop_assert!(!octets.iter().any(|octet| b"<>&".contains(octet)));
    }

    /// MP-12, MP-14: what another encoder writes is understood, whatever else is in it.
    #[test]
    fn any_json_is_understood(client in ".{0,9}", meta in any::<u8>(), extra in ".{0,9}", number in any::<f64>()) {
        let value = serde_json::json!({
            "OtherClient": client, "x": {"y": [extra, number, null, true]}, "meta": meta,
        });
        let got = json(&value.to_string()).unwrap();
        prop_assert_eq!(&*got[0].other_client, &client[..]);
        prop_assert_eq!(got[0].meta.0, meta);
    }
}

fn message() -> impl Strategy<Value = Message> {
    let text = prop_oneof![
        "[a-z:0-9]{0,12}",
        ".{0,8}",
        Just("<&>\u{2028}\u{2029}\"\\/\u{0}\u{1f}\u{7f}\u{8}\u{c}\t\r\n\u{10ffff}".to_owned()),
        Just("n".repeat(300)),
    ];
    let data = prop_oneof![
        Just(Data::Absent),
        prop::collection::vec(any::<u8>(), 0..50).prop_map(|data| Data::Octets(data.into())),
        (0..40_000_usize).prop_map(|len| Data::Octets((0..len).map(|i| i as u8).collect())),
    ];
    (any::<u8>(), text.clone(), text, data)
        .prop_map(|(meta, client, id, data)| Message::new(Meta(meta), client, id, data))
}
