//! Inputs for the comparisons: streams that are nearly right, short lines, headers.

use std::ops::Range;

use proptest::{collection::vec, prelude::*, sample::select, test_runner::FileFailurePersistence};

/// 4096 cases (section 6.2 of the hardening specification), or as many as `PROPTEST_CASES` says;
/// inputs that failed stand beside the test's source in a file `*.regressions`.
pub fn config() -> ProptestConfig {
    let wanted = std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok());
    ProptestConfig {
        cases: wanted.unwrap_or(4096),
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    }
}

/// A few packets, most of them good, with a few octets changed, and a limit for the body size.
pub fn mutated_stream() -> impl Strategy<Value = (Vec<u8>, u64)> {
    (
        vec(packet(), 0..6),
        vec(mutation(), 0..3),
        select(vec![0, 3, 20, 131_072]),
    )
        .prop_map(|(packets, mutations, max_body)| {
            let mut stream = packets.concat();
            for mutation in mutations {
                mutation.apply(&mut stream);
            }
            (stream, max_body)
        })
}

/// Packets of a small conversation: mostly in sequence, with good and bad headers and ACKs, and
/// with PING, empty DATA and late packets among them.
pub fn conversation() -> impl Strategy<Value = Vec<u8>> {
    let ack = prop_oneof![
        4 => (0_u64..120).prop_map(|count| count.to_string()),
        1 => select(ODD_ACKS).prop_map(str::to_owned),
    ];
    let step = prop_oneof![
        4 => (0_u64..2, header_text()).prop_map(|(skip, text)| Step::Header(skip / 2, text)),
        1 => header_text().prop_map(|text| Step::Header(1, text)),
        8 => (0_u64..4, body()).prop_map(|(back, body)| Step::Message("DATA", back, body)),
        3 => (0_u64..4).prop_map(|back| Step::Message("EOF", back, Vec::new())),
        2 => (0_u64..4, body()).prop_map(|(back, body)| Step::Message("TXERR", back, body)),
        3 => (0_u64..3, ack).prop_map(|(msgno, count)| Step::Other("ACK", msgno, count.into())),
        1 => body().prop_map(|body| Step::Other("PING", 0, body)),
        1 => body().prop_map(|body| Step::Other("PONG", 3, body)),
    ];
    vec(step, 0..24).prop_map(|steps| {
        let mut next = 0;
        let mut stream = Vec::new();
        for step in steps {
            let (word, msgno, body) = match step {
                Step::Header(skip, text) => {
                    next += 1;
                    ("HEADER", next - 1 + skip, text.into_bytes())
                }
                // Mostly a message that exists, so that DATA and EOF have something to meet.
                Step::Message(word, back, body) => {
                    (word, u64::saturating_sub(next, 1 + back), body)
                }
                Step::Other(word, msgno, body) => (word, msgno, body),
            };
            stream.extend(packet_octets(word, msgno, &body));
        }
        stream
    })
}

/// The octets of one good packet.
pub fn packet_octets(word: &str, msgno: u64, body: &[u8]) -> Vec<u8> {
    let mut octets = format!("{word} {msgno} {}\r\n", body.len()).into_bytes();
    octets.extend_from_slice(body);
    octets.extend_from_slice(b"END\r\n");
    octets
}

/// Header JSON: an object with known and unknown fields of every kind of value, repeated keys,
/// escapes and white space, and now and then no object or no JSON at all.
pub fn header_text() -> impl Strategy<Value = String> {
    let field = (
        select(KEYS),
        prop_oneof![4 => select(VALUES).prop_map(str::to_owned), 1 => json(3)],
    );
    let object =
        (vec(field, 0..7), select(vec!["", " ", "\n", "\t\r\n "])).prop_map(|(fields, space)| {
            let fields: Vec<String> = fields
                .iter()
                .map(|(key, value)| format!("{space}{key}{space}:{space}{value}{space}"))
                .collect();
            format!("{space}{{{}}}{space}", fields.join(","))
        });
    prop_oneof![12 => object, 1 => select(NOT_OBJECTS).prop_map(str::to_owned)]
}

/// The first octets of E-12, every row.
pub const E12: &[&[u8]] = &[
    b"HEADER 0 2\r\n{}END\r\n",
    b"HEADER 1 2\r\n{}END\r\n",
    b"HEADER 00 02\r\n{}END\r\n",
    b"HEADER  0 2\r\n",
    b" HEADER 0 2\r\n",
    b"HEADER 0 2 \r\n",
    b"HEADER 0\r\n",
    b"HEADER 0 2 3\r\n",
    b"HEADER\t0 2\r\n",
    b"HEADER 0 2\n",
    b"HEADER 0 2\rX",
    b"HEADER -1 2\r\n",
    b"HEADER 0 -2\r\n",
    b"HEADER 0x0 2\r\n",
    b"header 0 2\r\n",
    b"HELLO 0 0\r\n",
    b"GET / HTTP/1.1\r\n",
    b"DATA 0 131073\r\n",
    b"HEADER 9223372036854775808 2\r\n",
    b"HEADER 0 99999999999999999999\r\n",
    b"DATA 000000000000000000000000000000000000000000000000000000000000000000000000000",
    b"DATA 99999999999999999999",
    b"HEADER 0 2\r\n{}END\n",
    b"HEADER 0 2\r\n{}XEND\r\n",
    b"HEADER 0 4\r\nnullEND\r\n",
    b"HEADER 0 2\r\n[]END\r\n",
    b"HEADER 0 0\r\nEND\r\n",
    b"HEADER 0 1\r\n{END\r\n",
    b"DATA 0 1\r\nxEND\r\n",
    b"EOF 0 0\r\nEND\r\n",
    b"TXERR 0 1\r\nxEND\r\n",
    b"EOF 0 1\r\nxEND\r\n",
    b"ACK 7 1\r\n5END\r\n",
    b"PONG 3 0\r\nEND\r\n",
    b"PING 0 3\r\nabcEND\r\n",
    b"HEADER 0 2\r\n{",
];

/// Calls `check` with `start` followed by every line of up to `symbols` symbols of HD-65.
pub fn for_each_line(start: &[u8], symbols: usize, check: &mut impl FnMut(&[u8])) {
    let mut line = start.to_vec();
    extend_line(&mut line, symbols, check);
}

fn extend_line(line: &mut Vec<u8>, symbols: usize, check: &mut impl FnMut(&[u8])) {
    check(line);
    if symbols == 0 {
        return;
    }
    let len = line.len();
    for symbol in ALPHABET {
        line.extend_from_slice(symbol);
        extend_line(line, symbols - 1, check);
        line.truncate(len);
    }
}

/// HD-65: two packet types, a junk word, SP, `0`, a 19-digit number, CR, LF, `END`.
pub const ALPHABET: [&[u8]; 9] = [
    b"HEADER",
    b"EOF",
    b"JUNK",
    b" ",
    b"0",
    b"9223372036854775807",
    b"\r",
    b"\n",
    b"END",
];

/// Beginnings to put the short lines after: none, a line that is nearly complete, an empty body,
/// a body of one octet.
pub const STARTS: [&[u8]; 4] = [b"", b"HEADER 0", b"EOF 0 0\r\n", b"DATA 1 1\r\n"];

#[derive(Clone, Debug)]
enum Step {
    /// A HEADER, this much beyond the next number.
    Header(u64, String),
    /// A packet for the message opened this many HEADERs ago.
    Message(&'static str, u64, Vec<u8>),
    /// A packet with its own number.
    Other(&'static str, u64, Vec<u8>),
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..24),
        select(vec![
            &b""[..],
            b"0",
            b"END\r\n",
            b"HEADER 0 2\r\n",
            b"\xff\xfe"
        ])
        .prop_map(<[u8]>::to_vec),
    ]
}

/// Octets meant to be a packet; now and then one of its parts is not.
fn packet() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        12 => select(vec!["HEADER", "DATA", "EOF", "TXERR", "ACK", "PING", "PONG"]),
        1 => select(vec!["", "HELLO", "A", "HEADERS", "Data", "EOFEOF", "ZZZZZZ"]),
    ]
    .prop_map(str::to_owned);
    let space = prop_oneof![20 => Just(" "), 1 => select(vec!["", "  ", "\t", "\r\n"])];
    let zeros = prop_oneof![12 => Just(0_usize), 2 => 0_usize..4, 1 => 50_usize..75];
    let msgno = prop_oneof![
        8 => "[0-9]{1,3}",
        1 => "[0-9]{17,20}",
        1 => select(vec!["9223372036854775807", "9223372036854775808", "18446744073709551616", "", "-1"])
            .prop_map(str::to_owned),
    ];
    let size_change = prop_oneof![
        14 => Just(None),
        2 => select(vec!["0", "1", "4", "", "+1", "131072", "131073", "99999999999999999999"]).prop_map(Some),
    ];
    let line_end =
        prop_oneof![20 => Just("\r\n"), 1 => select(vec!["\n", "\r", "\r\r\n", " \r\n", ""])];
    let trailer = prop_oneof![20 => Just("END\r\n"), 1 => select(vec!["", "END\n", "END", "end\r\n", "\r\nEND\r\n"])];
    (
        word,
        space.clone(),
        (zeros.clone(), msgno),
        space,
        (zeros, size_change),
        line_end,
        (body(), trailer),
    )
        .prop_map(
            |(
                word,
                space_1,
                (zeros_1, msgno),
                space_2,
                (zeros_2, size),
                line_end,
                (mut body, trailer),
            )| {
                // Most EOF packets are to be good ones.
                if word == "EOF" && body.len() % 4 != 0 {
                    body.clear();
                }
                let size = size.map_or_else(|| body.len().to_string(), str::to_owned);
                let (zeros_1, zeros_2) = ("0".repeat(zeros_1), "0".repeat(zeros_2));
                let mut octets =
                    format!("{word}{space_1}{zeros_1}{msgno}{space_2}{zeros_2}{size}{line_end}")
                        .into_bytes();
                octets.extend(body);
                octets.extend(trailer.as_bytes());
                octets
            },
        )
}

#[derive(Clone, Debug)]
enum Mutation {
    Replace(prop::sample::Index, u8),
    Insert(prop::sample::Index, u8),
    Remove(prop::sample::Index),
    Truncate(prop::sample::Index),
}

impl Mutation {
    fn apply(self, stream: &mut Vec<u8>) {
        if stream.is_empty() {
            return;
        }
        let len = stream.len();
        match self {
            Self::Replace(at, octet) => stream[at.index(len)] = octet,
            Self::Insert(at, octet) => stream.insert(at.index(len), octet),
            Self::Remove(at) => drop(stream.remove(at.index(len))),
            Self::Truncate(at) => stream.truncate(at.index(len)),
        }
    }
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let octet = || prop_oneof![select(b" \r\n019ENDHAxz\0\xff:-+\t".to_vec()), any::<u8>()];
    let at = any::<prop::sample::Index>;
    prop_oneof![
        (at(), octet()).prop_map(|(at, octet)| Mutation::Replace(at, octet)),
        (at(), octet()).prop_map(|(at, octet)| Mutation::Insert(at, octet)),
        at().prop_map(Mutation::Remove),
        at().prop_map(Mutation::Truncate),
    ]
}

/// Any JSON value, nested up to `depth` deep.
fn json(depth: u32) -> impl Strategy<Value = String> {
    const WIDTH: Range<usize> = 0..4;
    select(VALUES)
        .prop_map(str::to_owned)
        .prop_recursive(depth, 16, 4, |inner| {
            prop_oneof![
                vec(inner.clone(), WIDTH).prop_map(|items| format!("[{}]", items.join(", "))),
                vec((select(KEYS), inner), WIDTH).prop_map(|fields| {
                    let fields: Vec<String> = fields
                        .iter()
                        .map(|(key, value)| format!("{key}:{value}"))
                        .collect();
                    format!("{{{}}}", fields.join(","))
                }),
            ]
        })
}

/// Keys as written: those of H's table, two of them escaped, and strangers.
pub const KEYS: &[&str] = &[
    r#""type""#,
    r#""request_id""#,
    r#""action""#,
    r#""version""#,
    r#""envelope""#,
    r#""ticket""#,
    r#""identifying_token""#,
    r#""client_id""#,
    r#""terminal""#,
    r#""sector""#,
    r#""error""#,
    r#""error_code""#,
    r#""error_data""#,
    r#""new_session""#,
    r#""new_terminal""#,
    r#""http_status""#,
    r#""ty\u0070e""#,
    r#""\u0072equest_id""#,
    r#""Type""#,
    r#""x""#,
    r#""""#,
    r#""\ud800""#,
];

/// Values as written, each of which is JSON.
pub const VALUES: &[&str] = &[
    "null",
    "true",
    "false",
    "0",
    "-0",
    "1",
    "5",
    "-1",
    "77",
    "1.0",
    "1.5",
    "10e-1",
    "2147483647",
    "2147483648",
    "2147483647.0",
    "9007199254740993",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "-9223372036854775808",
    "1e3",
    "1E+2",
    "1e999",
    "1e40",
    "1e-1",
    "-1.0",
    "1.00000000000000000000000000000001",
    "99999999999999999999999999999999999999",
    "9999999999999999999999999999999999999999",
    "0e99999999999999999999",
    "1e-99999999999999999999",
    "0.0",
    "0e5",
    r#""""#,
    r#""0""#,
    r#""1""#,
    r#""01""#,
    r#""5""#,
    r#""-1""#,
    r#""+1""#,
    r#"" 1""#,
    r#""1.0""#,
    r#""2147483647""#,
    r#""2147483648""#,
    r#""18446744073709551616""#,
    r#""request""#,
    r#""reply""#,
    r#""event""#,
    r#""json""#,
    r#""Api.Status.health~check""#,
    r#""a\u0062c""#,
    r#""\u00e9\n\t\"\\\/\b\f\r""#,
    r#""é\u0000""#,
    r#""\ud83d\ude00😀""#,
    r#""\ud83d""#,
    r#""\ude00 \ud83d""#,
    r#""0123456789012345678901234567890123456789012345678901234567890123""#,
    r#""01234567890123456789012345678901234567890123456789012345678901""#,
    r#""012345678901234567890123456789012345678901234567890123456789012""#,
    "1234567890123456789012345678901234567890123456789012345678901234",
    "12345678901234567890123456789012345678901234567890123456789012345",
    "[]",
    "{}",
    r#"{"dispatch_failure":true}"#,
    r#"["\ud800"]"#,
];

/// Texts that are not one JSON object (H-1).
const NOT_OBJECTS: &[&str] = &[
    "",
    " ",
    "null",
    "[]",
    "5",
    r#""x""#,
    "true",
    "{",
    "}",
    "{}x",
    "{} {}",
    "{,}",
    r#"{"a":1,}"#,
    r#"{"a" 1}"#,
    r#"{"a":}"#,
    r#"{"a":01}"#,
    r#"{"a":1.}"#,
    r#"{"a":.5}"#,
    r#"{"a":+1}"#,
    r#"{"a":1e}"#,
    r#"{"a":-}"#,
    r#"{"a":NaN}"#,
    r#"{"a":tru}"#,
    r#"{a:1}"#,
    r#"{'a':1}"#,
    r#"{"a":"\x"}"#,
    r#"{"a":"\u12g4"}"#,
    "{\"a\":\"\n\"}",
    "{\"a\":\"\u{1f}\"}",
    "\u{feff}{}",
    "\u{a0}{}",
    "{}\0",
    r#"{"a":[1,]}"#,
    r#"{"a":[1 2]}"#,
    r#"{"a":"#,
    r#"{"a":"b"#,
    "/**/{}",
];

/// E-10: bodies of ACK packets that are not of A-1's form.
pub const ODD_ACKS: &[&str] = &[
    "",
    "0",
    "-1",
    "+50",
    "050",
    "5e1",
    "50 ",
    "12abc",
    "12345678901234567890",
    "00000000000000000001",
];
