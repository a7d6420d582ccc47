//! The fuzz bodies must be able to fail (HD-62).
//!
//! A body compares the real thing with a plain model of it. Here the model is wrong on purpose, in a way
//! in which others have been wrong; a body that does not see the difference would not see it either if
//! the real thing were wrong in that way.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use alloc::{format, vec};
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::Value;

use super::announcement::{datagram_by, naive_rows, naive_text, vectors_by};
use super::authorized::{allows, authorized_by, lines_of};
use super::cache_file::{cache_file_by, naive_records};
use super::config::{config_by, read};
use super::header::{depth, header_by, is_object};
use super::ticket::{ticket_by, window};
use crate::Rng;
use crate::limits::HEADER_DEPTH;

/// Inputs that each wrong model gets at most.
const INPUTS: usize = 20_000;

/// Fails unless the body panics at one of the inputs.
#[track_caller]
fn finds(input: &dyn Fn(&mut Rng) -> Vec<u8>, body: impl Fn(&[u8])) {
    let mut rng = Rng::new(62);
    let is_found = |octets: Vec<u8>| catch_unwind(AssertUnwindSafe(|| body(&octets))).is_err();
    assert!(
        (0..INPUTS).any(|_| is_found(input(&mut rng))),
        "not found by {INPUTS} inputs"
    );
}

/// Up to thirty of these words.
fn words(rng: &mut Rng, words: &[&str]) -> Vec<u8> {
    let count = rng.below(30);
    let word = |rng: &mut Rng| words[rng.below(words.len() as u64) as usize];
    (0..count).flat_map(|_| word(rng).bytes()).collect()
}

/// HD-62, Q-19, Z-1…Z-8: the holes that other matchers have.
#[test]
fn wrong_matchers_are_found() {
    let input = |rng: &mut Rng| {
        let one = "01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14 ";
        let two = "FF:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14 ";
        let file = words(
            rng,
            &[
                one, two, "a", "b", "x", "x:", "ALL", ",", ".", " ", "#", "\n", "\n",
            ],
        );
        let asked = |rng: &mut Rng, names: &[&str]| {
            let name = names[rng.below(names.len() as u64) as usize];
            format!("\0{name}")
        };
        let mut octets = [one.as_bytes(), &file].concat();
        for _ in 0..4 {
            octets.extend(asked(rng, &["main", "x", "A"]).bytes());
            octets.extend(asked(rng, &["a", "ab", "A", "_meta", "ALL"]).bytes());
            octets.extend(asked(rng, &["a", "b", "x"]).bytes());
        }
        octets
    };
    let finds = |wrong: &super::authorized::Allows<'_>| {
        finds(&input, |octets| authorized_by(octets, wrong));
    };
    // A name that merely begins like the token.
    finds(&|text, who, sector, namespace, name| {
        let own = lines_of(text)
            .into_iter()
            .rev()
            .find(|(other, _)| other == who);
        let action = format!("{sector}:{namespace}.{name}").to_lowercase();
        let begins = |token: &&str| {
            !token.is_empty() && action.starts_with(&format!("main:{}", token.to_lowercase()))
        };
        allows(text, who, sector, namespace, name)
            || own.is_some_and(|(_, tokens)| tokens.iter().any(begins))
    });
    // `:ALL` anywhere in a token, as in RS.
    finds(&|text, who, sector, namespace, name| {
        let own = lines_of(text)
            .into_iter()
            .rev()
            .find(|(other, _)| other == who);
        let all = format!("{sector}:ALL");
        allows(text, who, sector, namespace, name)
            || own.is_some_and(|(_, tokens)| tokens.iter().any(|token| token.starts_with(&all)))
    });
    // The first of two lines counts.
    finds(&|text, who, sector, namespace, name| {
        let mut lines: Vec<_> = text.split('\n').collect();
        lines.reverse();
        allows(&lines.join("\n"), who, sector, namespace, name)
    });
    // Metadata for anybody (Z-6).
    finds(&|text, who, sector, namespace, name| {
        namespace == "_meta" || allows(text, who, sector, namespace, name)
    });
    // Case counts.
    finds(&|text, who, sector, namespace, name| {
        let is_upper = namespace.contains('A') && namespace != "ALL";
        !is_upper && allows(text, who, sector, namespace, name)
    });
}

/// HD-62, D-31: separators that other readers miss or take for text.
#[test]
fn wrong_readers_of_cache_files_are_found() {
    let input = |rng: &mut Rng| {
        let lines = words(
            rng,
            &[
                "\n", "%%%\n", "\n%%%\n", "%%%\r\n", "%%%", "%%", "%%%%\n", " %%%\n", "[", "{x}\n",
                "x\n",
            ],
        );
        [&[rng.below(20) as u8, 0], &lines[..]].concat()
    };
    let finds = |wrong: &dyn Fn(&[u8]) -> Vec<Vec<u8>>| {
        finds(&input, |octets| cache_file_by(octets, wrong));
    };
    let edited = |file: &[u8], from: &str, to: &str| {
        let text = String::from_utf8_lossy(file).replace(from, to);
        naive_records(text.as_bytes())
    };
    // A CR before the LF is not tolerated.
    finds(&|file| edited(file, "%%%\r\n", "%% \r\n"));
    // Blanks before the mark are.
    finds(&|file| edited(file, "\n %%%\n", "\n%%%\n"));
    // The line feed before the mark belongs to the record.
    finds(&|file| edited(file, "\n%%%\n", "\n\n%%%\n"));
    // The last record is forgotten.
    finds(&|file| {
        let mut records = naive_records(file);
        records.pop();
        records
    });
}

/// HD-62, D-13, D-14: run lengths without a cap, and columns of unequal lengths.
#[test]
fn wrong_readers_of_vectors_are_found() {
    // For each column one value for all, one or two that are bare, or one with a count.
    let input = |rng: &mut Rng| {
        let columns = FIELDS.map(|_| match rng.below(5) {
            0 | 1 => vec![14, rng.below(4) as u8],
            2 => vec![0, 1, 0, 0],
            3 => vec![0, 2, 0, 0, 0, 1],
            _ => vec![0, 1, 6, 0, rng.below(14) as u8],
        });
        columns.concat()
    };
    let finds = |wrong: &super::announcement::Rows<'_>| {
        finds(&input, |octets| vectors_by(octets, wrong));
    };
    let changed = |columns: &[(&str, Option<String>)], field: &str, change: fn(&str) -> String| {
        let change = |(name, text): &(&'static str, Option<String>)| match *name == field {
            true => (*name, text.as_deref().map(change)),
            false => (*name, text.clone()),
        };
        let all: Vec<_> = FIELDS
            .iter()
            .map(|name| {
                let text = columns.iter().find(|(other, _)| other == name);
                change(&(*name, text.and_then(|(_, text)| text.clone())))
            })
            .collect();
        naive_rows(&all)
    };
    // One more than may be.
    finds(&|columns| changed(columns, "acname", |text| text.replace("100001", "100000")));
    // A count that does not fit into 32 bits loses what does not fit.
    finds(&|columns| changed(columns, "acns", |text| text.replace("4294967297", "1")));
    // A column of versions that is too short, too long or no column is made good.
    finds(&|columns| {
        let made_good = || changed(columns, "acver", |_| "1".to_string());
        naive_rows(columns).or_else(made_good)
    });
    // `accompat` other than 1 is no reason to leave an action out.
    finds(&|columns| changed(columns, "accompat", |_| "1".to_string()));
}

const FIELDS: [&str; 7] = [
    "acname", "acns", "acsec", "acenv", "acver", "acflag", "accompat",
];

/// HD-62, D-26: prefixes and plain texts that others do not take.
#[test]
fn wrong_readers_of_datagrams_are_found() {
    let packed = crate::discovery::datagram::compress(b"[3]").unwrap();
    let input = |rng: &mut Rng| {
        let mut octets = match rng.below(3) {
            0 => packed.to_vec(),
            1 => b"[3]".to_vec(),
            _ => words(rng, &["x", "[", "{"]),
        };
        if rng.below(2) == 0 {
            octets.insert(0, b"RDX"[rng.below(3) as usize]);
        }
        octets
    };
    let finds = |wrong: &dyn Fn(&[u8]) -> Option<Vec<u8>>| {
        finds(&input, |octets| datagram_by(octets, wrong));
    };
    // No prefix is taken off, or one more; and plain text is none.
    finds(&|octets| match octets {
        [b'R', ..] => Some(octets.to_vec()),
        _ => naive_text(octets),
    });
    finds(&|octets| match octets {
        [b'X', rest @ ..] => naive_text(rest),
        _ => naive_text(octets),
    });
    finds(&|octets| naive_text(octets).filter(|text| *text != octets));
}

/// HD-62, H-1: what is deeper by one, and what is no object.
#[test]
fn wrong_readers_of_headers_are_found() {
    let input = |rng: &mut Rng| match rng.below(3) {
        0 => {
            let levels = 126 + rng.below(5) as usize;
            let (open, close) = ("[".repeat(levels), "]".repeat(levels));
            format!("{{\"a\":{open}{close}}}").into_bytes()
        }
        1 => words(
            rng,
            &["{", "}", "[", "]", "\"a\"", ":", ",", "1", " ", "\u{FEFF}"],
        ),
        _ => ["[1]", "\u{FEFF}{}", "{} "][rng.below(3) as usize].into(),
    };
    let finds = |wrong: &dyn Fn(&[u8]) -> bool| {
        finds(&input, |json| header_by(json, wrong));
    };
    // One level less or more; any JSON; a mark at the beginning; nothing empty.
    finds(&|json| is_object(json) && depth(json) < HEADER_DEPTH);
    finds(&|json| is_object(json) || depth(json) == HEADER_DEPTH + 1);
    finds(&|json| serde_json::from_slice::<Value>(json).is_ok());
    finds(&|json| is_object(json.strip_prefix("\u{FEFF}".as_bytes()).unwrap_or(json)));
    finds(&|json| is_object(json) && json != b"{}");
}

/// HD-62, T-4: valid a second too long, too short, or without the skew.
#[test]
fn wrong_judges_of_tickets_are_found() {
    let input = |rng: &mut Rng| {
        let text = format!("1,2,3,{},{},1+2,c2ln", rng.below(6), rng.below(6));
        // The numbers of the time and the skew, each with its length before it.
        let numbers = [1, rng.below(12) as u8, 1, rng.below(4) as u8];
        [&numbers, text.as_bytes()].concat()
    };
    let finds = |wrong: &dyn Fn(&crate::auth::Ticket, i64, core::time::Duration) -> i8| {
        finds(&input, |octets| ticket_by(octets, wrong));
    };
    finds(&|ticket, now, skew| window(ticket, now.saturating_sub(1), skew));
    finds(&|ticket, now, skew| window(ticket, now.saturating_add(1), skew));
    finds(&|ticket, now, _| window(ticket, now, core::time::Duration::ZERO));
}

/// HD-62, C-1…C-3: the last value instead of the first, and comments that are none.
#[test]
fn wrong_readers_of_configurations_are_found() {
    let input = |rng: &mut Rng| words(rng, &["a", "b.c", "=", "=", "1", "x", " ", "#", "\n", "\n"]);
    let finds = |wrong: &super::config::Read<'_>| finds(&input, |octets| config_by(octets, wrong));
    // The last of several values counts.
    finds(&|text| {
        let (mut known, odd) = read(text);
        for line in text.split('\n') {
            let line = line.split('#').next().unwrap_or_default();
            if let Some((key, value)) = line.split_once('=') {
                if let Some(place) = known.get_mut(key.trim_ascii()) {
                    *place = value.trim_ascii();
                }
            }
        }
        (known, odd)
    });
    // A comment has a line of its own.
    finds(&|text| {
        let whole = |line: &str| line.trim_ascii().starts_with('#') || !line.contains('#');
        match text.split('\n').all(whole) {
            true => read(text),
            false => (BTreeMap::new(), 0),
        }
    });
    // No line is odd.
    finds(&|text| (read(text).0, 0));
}

/// HD-62: with the right models nothing is found, so that what is found above is what is wrong there.
#[test]
fn right_models_are_right() {
    let mut rng = Rng::new(62);
    for _ in 0..2000 {
        let octets = words(
            &mut rng,
            &[
                "a", "=", "{", "}", "\n", "%%%\n", "x:ALL", ",", "1", "\0", "R",
            ],
        );
        authorized_by(&octets, &allows);
        cache_file_by(&[&[3, 0], &octets[..]].concat(), &naive_records);
        vectors_by(&octets, &naive_rows);
        datagram_by(&octets, &naive_text);
        header_by(&octets, &is_object);
        ticket_by(&octets, &window);
        config_by(&octets, &read);
    }
}
