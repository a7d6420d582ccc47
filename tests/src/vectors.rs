//! The recorded vectors (HD-60).
//!
//! `tests/vectors` holds what is small enough to commit. Where the full set is at hand, in
//! `$SCAMP_VECTORS` or in `../shared/vectors` beside the workspace, it is used instead. Every
//! [`Set`] says how many of the full set's cases it holds.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

/// A folder of vectors: `scamp/wire`, `scamp/discovery`, `scamp/tickets`, `mp`, `waddell`.
///
/// Its methods panic, naming the file, when a file is missing or not of the expected form.
#[derive(Clone, Debug)]
pub struct Vectors {
    root: PathBuf,
}

impl Vectors {
    /// The full set if it is at hand, else the committed one.
    pub fn best() -> Self {
        if let Some(root) = std::env::var_os("SCAMP_VECTORS") {
            return Self { root: root.into() };
        }
        let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors");
        if beside.join("scamp/wire/vectors.json").is_file() {
            Self { root: beside }
        } else {
            Self::committed()
        }
    }

    /// The committed set.
    pub fn committed() -> Self {
        Self {
            root: Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors"),
        }
    }

    /// The octets of a file, named by its path below the set's root.
    pub fn file(&self, path: &str) -> Vec<u8> {
        let path = self.root.join(path);
        fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Whether the set has this file; the fixtures of other implementations are not committed.
    pub fn has(&self, path: &str) -> bool {
        self.root.join(path).is_file()
    }

    /// A whole index, with the fields at its head.
    pub fn index(&self, path: &str) -> Value {
        serde_json::from_slice(&self.file(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// One list of an index as it is: for example `files` of `scamp/discovery/index.json`,
    /// `tickets` of `scamp/tickets/index.json`, `sessions` of `mp/index.json`.
    pub fn list(&self, path: &str, list: &str) -> Set<Value> {
        let index = self.index(path);
        let cases = array(&index[list]).to_vec();
        // Only a reduced index says how many entries the full one has.
        let full = index["entries_in_full_set"][list].as_u64();
        let full = full.map_or(cases.len(), |full| full as usize);
        Set { cases, full }
    }

    /// The recorded exchanges: `scamp/wire/vectors.json`.
    pub fn wire(&self) -> Set<WireCase> {
        self.list("scamp/wire/vectors.json", "cases")
            .map(|case| WireCase {
                name: text(&case["name"]),
                client: self.recorded(&case["files"]["client"], &case["client_stream"]),
                server: self.recorded(&case["files"]["server"], &case["server_stream"]),
            })
    }

    /// The hand-written streams: `scamp/wire/malformed.json`.
    pub fn malformed(&self) -> Set<MalformedCase> {
        self.list("scamp/wire/malformed.json", "cases")
            .map(|case| MalformedCase {
                name: text(&case["name"]),
                to: text(&case["to"]),
                bytes: match (case["bytes_text"].as_str(), case["bytes_base64"].as_str()) {
                    (Some(text), _) => text.as_bytes().to_vec(),
                    (None, Some(base64)) => decode_base64(base64),
                    // A case about closing the connection has no octets.
                    (None, None) => Vec::new(),
                },
            })
    }

    fn recorded(&self, file: &Value, stream: &Value) -> Recorded {
        let bytes = self.file(&format!("scamp/wire/{}", text(file)));
        assert_eq!(
            stream["bytes"].as_u64(),
            Some(bytes.len() as u64),
            "{file}: another length"
        );
        let packets = array(&stream["packets"]).iter().flat_map(|entry| {
            let triple = (text(&entry[0]), number(&entry[1]), number(&entry[2]));
            let times = entry.get(3).map_or(1, number);
            std::iter::repeat_n(triple, times as usize)
        });
        Recorded {
            bytes,
            packets: packets.collect(),
            messages: array(&stream["messages"]).to_vec(),
            events: array(&stream["events"]).to_vec(),
            unparsed_tail: number(&stream["unparsed_tail"]) as usize,
        }
    }
}

/// The cases at hand.
#[derive(Clone, Debug)]
pub struct Set<T> {
    /// The cases.
    pub cases: Vec<T>,
    /// How many cases the full set has.
    pub full: usize,
}

impl<T> Set<T> {
    /// Prints how many cases a test is about to run.
    pub fn announce(&self, what: &str) {
        println!(
            "{what}: {} cases ({} in the full set)",
            self.cases.len(),
            self.full
        );
    }

    fn map<U>(self, f: impl FnMut(T) -> U) -> Set<U> {
        Set {
            cases: self.cases.into_iter().map(f).collect(),
            full: self.full,
        }
    }
}

/// A recorded exchange.
#[derive(Clone, Debug)]
pub struct WireCase {
    /// Its name in the index.
    pub name: String,
    /// What the connecting side sent.
    pub client: Recorded,
    /// What the accepting side sent.
    pub server: Recorded,
}

/// One direction of a recorded exchange.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// All octets.
    pub bytes: Vec<u8>,
    /// Type, message number and body length of each packet.
    pub packets: Vec<(String, u64, u64)>,
    /// The messages as the index describes them.
    pub messages: Vec<Value>,
    /// The events as the index lists them.
    pub events: Vec<Value>,
    /// Octets after the last complete packet.
    pub unparsed_tail: usize,
}

/// A hand-written stream.
#[derive(Clone, Debug)]
pub struct MalformedCase {
    /// Its name in the index, unique among those with the same `to`.
    pub name: String,
    /// `server` or `client`: whom it was sent to.
    pub to: String,
    /// All octets.
    pub bytes: Vec<u8>,
}

fn array(value: &Value) -> &[Value] {
    value
        .as_array()
        .unwrap_or_else(|| panic!("not a list: {value}"))
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("not a text: {value}"))
        .to_owned()
}

fn number(value: &Value) -> u64 {
    value
        .as_u64()
        .unwrap_or_else(|| panic!("not a number: {value}"))
}

/// Base64 with padding, as the indexes use it.
pub fn decode_base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut octets = Vec::new();
    let mut bits = 0_u32;
    let mut have = 0;
    for digit in text.trim_end_matches('=').bytes() {
        let value = DIGITS.iter().position(|&known| known == digit);
        let value = value.unwrap_or_else(|| panic!("not base64: {:?}", char::from(digit)));
        bits = bits << 6 | value as u32;
        have += 6;
        if have >= 8 {
            have -= 8;
            octets.push((bits >> have) as u8);
        }
    }
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    /// HD-60: every file a committed index names is there, and no list is empty.
    #[test]
    fn the_committed_set_is_complete() {
        let vectors = Vectors::committed();
        let wire = vectors.wire();
        wire.announce("wire");
        assert!((50..=wire.full).contains(&wire.cases.len()));
        let malformed = vectors.malformed();
        malformed.announce("malformed");
        assert!((120..=malformed.full).contains(&malformed.cases.len()));
        for (index, lists) in [
            ("scamp/discovery/index.json", &["files"][..]),
            ("scamp/tickets/index.json", &["tickets"]),
            (
                "mp/index.json",
                &["sessions", "encode", "decode", "sniff", "cross"],
            ),
            (
                "waddell/index.json",
                &["sessions", "frames", "ids", "reconnect"],
            ),
        ] {
            let folder = index.trim_end_matches("index.json");
            for list in lists {
                let set = vectors.list(index, list);
                set.announce(&format!("{index} {list}"));
                assert!(!set.cases.is_empty() && set.cases.len() <= set.full);
                for case in &set.cases {
                    for name in file_names(case) {
                        vectors.file(&format!("{folder}{name}"));
                    }
                }
            }
        }
    }

    /// Every value of a field called `file`, or ending so, or listed under `files`.
    fn file_names(value: &Value) -> Vec<String> {
        match value {
            Value::Object(fields) => fields
                .iter()
                .flat_map(|(key, value)| match (value, &key[..]) {
                    (Value::String(name), key) if key.ends_with("file") => vec![name.clone()],
                    (Value::Array(names), "files") => names.iter().map(text).collect(),
                    _ => file_names(value),
                })
                .collect(),
            Value::Array(items) => items.iter().flat_map(file_names).collect(),
            _ => Vec::new(),
        }
    }

    #[test]
    fn base64_is_decoded() {
        assert_eq!(decode_base64("AP8="), [0, 255]);
        assert_eq!(decode_base64("RU5EDQo="), b"END\r\n");
    }
}
