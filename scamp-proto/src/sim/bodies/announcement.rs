//! U-6, U-7, U-8: announcements, the datagrams they come in, and their vectors.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use miniz_oxide::inflate::decompress_to_vec_zlib_with_limit;
use serde_json::Value;

use super::Bites;
use crate::auth::{Padding, PublicKey, Verify};
use crate::discovery::datagram::{Inflater, most};
use crate::discovery::{Announcement, DatagramError, Unverified};
use crate::limits::{ANNOUNCEMENT_ACTIONS, DATAGRAM, INFLATE_KEPT};

/// Believes everything: what is looked for lies behind the signature.
pub(super) struct Anybody;

impl Verify for Anybody {
    fn verify(&self, _: &PublicKey<'_>, _: Padding, _: &[u8], _: &[u8]) -> bool {
        true
    }
}

/// U-6: an announcement's text, or its JSON alone if it does not begin with a letter.
///
/// Never a panic; what is read is what a reader of a generic tree reads; and it takes memory in
/// proportion to its text, whatever its run lengths claim (HD-4, HD-36).
pub fn announcement(octets: &[u8]) {
    let wrapped;
    let text = match (octets.first(), core::str::from_utf8(octets)) {
        (Some(b'[' | b'{'), Ok(json)) if !json.contains("\n\n") => {
            wrapped = wrap(json);
            wrapped.as_bytes()
        }
        _ => octets,
    };
    let Ok(unverified) = Unverified::split(text) else {
        return;
    };
    assert!(text.starts_with(unverified.text().as_bytes()), "D-1");
    let Ok(announcement) = unverified.verify(&Anybody) else {
        return;
    };
    assert!(announcement.memory() <= 8 * text.len() + 1024, "HD-36");
    assert!(announcement.action_count() <= ANNOUNCEMENT_ACTIONS, "D-5");
    let json = announcement.text().split("\n\n").next().unwrap_or_default();
    let _ = (
        announcement.certificate(),
        announcement.interval(),
        announcement.bad_actions(),
    );
    let Ok(tree) = serde_json::from_str::<Value>(json) else {
        // Numbers out of range and lone surrogates; nobody's announcement has them.
        return;
    };
    if let Some(expected) = plain_actions(&tree) {
        let found: Vec<_> = announcement
            .actions()
            .take(expected.len())
            .map(|action| action.to_string())
            .collect();
        assert_eq!(found, expected, "D-10, D-11");
        assert_eq!(Some(announcement.identity()), tree[1].as_str(), "D-9");
        assert_eq!(Some(announcement.sector()), tree[2].as_str(), "D-9");
    }
}

/// U-7: a datagram: never more memory than it may inflate to, and the same text as a naive inflater
/// that measures afterwards (HD-33, D-26).
pub fn datagram(octets: &[u8]) {
    datagram_by(octets, &naive_text);
}

/// The same, where `naive_text` is the naive inflater.
pub(super) fn datagram_by(octets: &[u8], naive_text: &dyn Fn(&[u8]) -> Option<Vec<u8>>) {
    let mut inflater = Inflater::new();
    let most = most(octets.len());
    let text = inflater.text(octets).map(<[u8]>::to_vec);
    assert!(inflater.memory() <= most.max(INFLATE_KEPT), "HD-33");
    match text {
        Ok(text) => assert_eq!(Some(text), naive_text(octets), "D-26"),
        // What claims to be compressed and is damaged is no text either.
        Err(DatagramError::Damaged | DatagramError::Bomb(_)) => {
            assert_ne!(octets.first(), Some(&b'['), "D-26");
        }
        Err(error) => assert_eq!(error, DatagramError::TooLong),
    }
    // Nothing of one datagram is left for the next.
    assert_eq!(inflater.text(b"[]"), Ok(&b"[]"[..]));
}

/// The text of a datagram, inflated at once.
pub(super) fn naive_text(octets: &[u8]) -> Option<Vec<u8>> {
    let stripped = match octets {
        [b'R' | b'D', rest @ ..] => Some(rest),
        _ => None,
    };
    let most = most(octets.len());
    let inflate = |octets| decompress_to_vec_zlib_with_limit(octets, most).ok();
    match stripped {
        _ if octets.len() > DATAGRAM => None,
        Some([b'[' | b'{', ..]) => stripped.map(<[u8]>::to_vec),
        Some(rest) => inflate(rest).or_else(|| Some(octets.to_vec())),
        None => inflate(octets).or_else(|| Some(octets.to_vec())),
    }
}

/// U-8, Q-17: vectors of version 4: taken if and only if a naive reader that repeats values takes
/// them, with the same actions.
pub fn vectors(octets: &[u8]) {
    vectors_by(octets, &naive_rows);
}

/// The same, where `naive_rows` is the naive reader.
pub(super) fn vectors_by(octets: &[u8], naive_rows: &Rows<'_>) {
    let mut bites = Bites::new(octets);
    let mut columns = Vec::new();
    for field in FIELDS {
        columns.push((field, column(&mut bites, field)));
    }
    let object: Vec<_> = columns
        .iter()
        .filter_map(|(field, text)| Some(format!("\"{field}\":{}", text.as_ref()?)))
        .collect();
    let json = format!(
        r#"[3,"x","main",1,1,"beepish+tls://192.0.2.7:1",["json",{{{}}}],[],1]"#,
        object.join(",")
    );
    let unverified = Unverified::split(wrap(&json).as_bytes()).expect("it has all parts");
    let read = unverified.verify(&Anybody);
    let expected = naive_rows(&columns);
    match (&read, expected) {
        (Ok(read), Some(expected)) => {
            assert_eq!(read.actions().count(), expected.len(), "D-13: {json}");
            if expected.len() <= 1000 {
                assert_eq!(described(read), expected, "Q-17: {json}");
            }
        }
        (Err(_), None) => {}
        (read, expected) => panic!(
            "D-13: {read:?}, {:?}: {json}",
            expected.map(|rows| rows.len())
        ),
    }
}

/// The actions of the columns, by field and JSON; `None` if they are to be refused.
pub(super) type Rows<'a> = dyn Fn(&[(&str, Option<String>)]) -> Option<Vec<String>> + 'a;

fn described(read: &Announcement) -> Vec<String> {
    let describe = |action: crate::discovery::ActionRef<'_>| {
        let envelopes: Vec<_> = action.envelopes.iter().collect();
        let flags: Vec<_> = action.flags.iter().collect();
        format!("{action} {} {}", envelopes.join(","), flags.join(","))
    };
    read.actions().map(describe).collect()
}

const FIELDS: [&str; 7] = [
    "acname", "acns", "acsec", "acenv", "acver", "acflag", "accompat",
];

/// The JSON of one column, or none.
fn column(bites: &mut Bites<'_>, field: &str) -> Option<String> {
    let shape = bites.octet();
    if shape % 16 == 15 {
        return None;
    }
    let values: &[&str] = match field {
        "acver" => &[
            "1",
            "2",
            "0",
            "2147483647",
            "2147483648",
            "1.0",
            "1.5",
            "\"1\"",
            "-1",
        ],
        "accompat" => &["1", "1", "1", "2", "0", "1.0", "\"1\"", "null"],
        "acflag" | "acenv" => &["\"\"", "\"a\"", "\"a,b\"", "\"a,,b\"", "7"],
        _ => &[
            "\"a\"",
            "\"b\"",
            "\"c\"",
            "\"\"",
            "\"a:b\"",
            "\"a.b\"",
            "\"\\u0061\"",
            "null",
        ],
    };
    // The first values are right; most columns should be.
    let usual = if shape & 0x10 == 0 { 2 } else { values.len() };
    let value = |bites: &mut Bites<'_>| values[bites.below(usual)];
    if shape % 16 == 14 {
        return Some(value(bites).to_string());
    }
    let mut entries = Vec::new();
    for _ in 0..bites.octet() % 6 {
        let how = bites.octet();
        let value = value(bites);
        entries.push(match how % 8 {
            0..=2 => value.to_string(),
            3..=5 => format!("[{},{value}]", u64::from(how >> 3) % 5),
            6 => format!("[{},{value}]", COUNTS[bites.below(COUNTS.len())]),
            _ if how >> 3 == 0 => format!("[1,{value},1]"),
            _ => format!("[{},{value}]", 1 + (how >> 3) % 2),
        });
    }
    Some(format!("[{}]", entries.join(",")))
}

/// Counts near every edge there is.
const COUNTS: [&str; 14] = [
    "0",
    "1",
    "2.0",
    "99999",
    "100000",
    "100001",
    "4294967295",
    "4294967296",
    "4294967297",
    "18446744073709551615",
    "18446744073709551616",
    "-1",
    "1.5",
    "\"1\"",
];

/// The actions, each column expanded by repeating; `None` if the announcement is to be refused.
pub(super) fn naive_rows(columns: &[(&str, Option<String>)]) -> Option<Vec<String>> {
    let text = |name: &str| {
        let column = columns.iter().find(|(field, _)| *field == name);
        column
            .and_then(|(_, text)| text.clone())
            .filter(|text| text != "null" || !is_optional(name))
    };
    let Some(names) = text("acname") else {
        // Without names there are no actions; what else is there must still be of its form.
        for (field, _) in columns {
            if let Some(text) = text(field) {
                expand(field, &text, None)?;
            }
        }
        return Some(Vec::new());
    };
    let names = expand("acname", &names, None)?;
    let len = names.len();
    let required = |name: &str| expand(name, &text(name)?, Some(len));
    let optional = |name: &str, value: &str| match text(name) {
        Some(text) => expand(name, &text, Some(len)),
        None => Some(core::iter::repeat_n(value.to_string(), len).collect()),
    };
    let spaces = required("acns")?;
    let sectors = required("acsec")?;
    let envelopes = required("acenv")?;
    let versions = optional("acver", "1")?;
    let flags = optional("acflag", "")?;
    let compat = optional("accompat", "1")?;
    let mut rows = Vec::new();
    for at in 0..len {
        let bad_name = names[at].is_empty() || names[at].contains([':', '.']);
        let bad_space = spaces[at].is_empty() || spaces[at].contains(':');
        let bad_version = !(1..=2_147_483_647).contains(&versions[at].parse::<u64>().ok()?);
        let bad = bad_name || bad_space || sectors[at].contains(':') || bad_version;
        if !bad && compat[at] == "1" {
            let list = |text: &str| {
                text.split(',')
                    .filter(|part| !part.is_empty())
                    .collect::<Vec<_>>()
                    .join(",")
            };
            rows.push(format!(
                "{}:{}.{}~{} {} {}",
                sectors[at],
                spaces[at],
                names[at],
                versions[at],
                list(&envelopes[at]),
                list(&flags[at])
            ));
        }
    }
    Some(rows)
}

fn is_optional(field: &str) -> bool {
    ["acver", "acflag", "accompat"].contains(&field)
}

/// One column's values, all of them, of a length that is known or not.
fn expand(field: &str, text: &str, len: Option<usize>) -> Option<Vec<String>> {
    let column: Value = serde_json::from_str(text).ok()?;
    let value = |value: &Value| match field {
        "acver" | "accompat" => natural(value).map(|number| number.to_string()),
        _ => value.as_str().map(str::to_string),
    };
    let Some(entries) = column.as_array() else {
        let bare = value(&column)?;
        return Some(core::iter::repeat_n(bare, len.unwrap_or(1)).collect());
    };
    let mut all = Vec::new();
    for entry in entries {
        let (count, value) = match entry.as_array() {
            Some(pair) if pair.len() == 2 => (natural(&pair[0])?, value(&pair[1])?),
            Some(_) => return None,
            None => (1, value(entry)?),
        };
        if count > u64::from(ANNOUNCEMENT_ACTIONS) {
            return None;
        }
        all.extend(core::iter::repeat_n(value, count as usize));
        if all.len() > ANNOUNCEMENT_ACTIONS as usize {
            return None;
        }
    }
    (len.is_none_or(|len| len == all.len())).then_some(all)
}

/// A whole number that is not negative, also where it is written as a floating one.
fn natural(value: &Value) -> Option<u64> {
    let float = value.as_f64()?;
    let whole = float as u64;
    value
        .as_u64()
        .or((whole as f64 == float && float < 1e15).then_some(whole))
}

/// The actions of element 7 as a reader of a tree finds them; `None` if this is no version 3.
fn plain_actions(tree: &Value) -> Option<Vec<String>> {
    let sector = tree.as_array()?.get(2)?.as_str()?;
    let mut found = Vec::new();
    for group in tree[7].as_array().into_iter().flatten() {
        let Some(namespace) = group.get(0).and_then(Value::as_str) else {
            continue;
        };
        for action in group.as_array().into_iter().flatten().skip(1) {
            let name = action.get(0).and_then(Value::as_str).unwrap_or_default();
            let flags = action.get(1).unwrap_or(&Value::Null);
            let version = match action.get(2).unwrap_or(&Value::Null) {
                Value::Null => Some(1),
                Value::String(digits) if digits.bytes().all(|octet| octet.is_ascii_digit()) => {
                    digits.parse().ok()
                }
                number => natural(number),
            };
            let version = version.filter(|version| (1..=2_147_483_647).contains(version));
            let good = action.is_array()
                && !name.is_empty()
                && !name.contains([':', '.'])
                && !namespace.is_empty()
                && !namespace.contains(':')
                && !sector.contains(':')
                && (flags.is_null() || flags.is_string());
            if let (true, Some(version)) = (good, version) {
                found.push(format!("{sector}:{namespace}.{name}~{version}"));
            }
        }
    }
    Some(found)
}

/// The JSON with a certificate and what could be a signature.
pub(super) fn wrap(json: &str) -> String {
    let e13 = include_str!("../../../tests/data/e13.txt");
    let certificate = e13.split("\n\n").nth(1).unwrap_or_default();
    format!("{json}\n\n{certificate}\n\nAAAA\n\n")
}
