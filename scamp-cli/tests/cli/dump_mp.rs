//! `dump --protocol mp`, over the recorded vectors.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::{run, run_with};

fn vectors(name: &str) -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.join("../tests/vectors/mp").join(name)
}

/// MP-10…MP-36, MP-40: every message of every recorded stream, whichever encoding it is in.
#[test]
fn recorded_streams() {
    let index = fs::read(vectors("index.json")).unwrap();
    let index: Value = serde_json::from_slice(&index).unwrap();
    let mut count = 0;
    for session in index["sessions"].as_array().unwrap() {
        // A few of each encoding: every run starts a process.
        let scenario = session["scenario"].as_str().unwrap();
        if !["greetings", "shapes", "special_strings"].contains(&scenario) {
            continue;
        }
        for connection in session["connections"].as_array().unwrap() {
            for direction in ["c2s", "s2c"] {
                let stream = &connection[direction];
                let file = vectors(stream["file"].as_str().unwrap());
                let shown = run([
                    "dump".as_ref(),
                    "--protocol".as_ref(),
                    "mp".as_ref(),
                    "--json".as_ref(),
                    file.as_os_str(),
                ]);
                let mut lines = shown.lines();
                let clean = json!({"end": "clean", "offset": stream["bytes"], "kind": null});
                assert_eq!(lines.pop(), Some(clean), "{}", file.display());
                let messages = stream["messages"].as_array().unwrap();
                assert_eq!(lines.len(), messages.len(), "{}", file.display());
                for (line, message) in lines.iter().zip(messages) {
                    assert_eq!(line["meta"], message["meta"]);
                    assert_eq!(line["other_client"], message["other_client"]);
                    assert_eq!(line["connection_id"], message["connection_id"]);
                    if let Some(data) = message["data"]["b64"].as_str() {
                        let shown = line["data_b64"].as_str().unwrap_or_default();
                        assert_eq!(shown, data, "{}", file.display());
                    }
                    count += 1;
                }
                assert_eq!(shown.code, Some(0));
            }
        }
    }
    assert!(count >= 60, "{count}");
}

/// MP-13, MP-40, HD-13: how a record may end, and what is said about it.
#[test]
fn ends() {
    let message = br#"{"Meta":8,"OtherClient":"a\u001b","ConnectionID":"","Data":"aGk="}"#;
    for (rest, end, offset, kind) in [
        (&b"\n"[..], "clean", message.len() + 1, None),
        (b"", "clean", message.len(), None),
        (
            b" {\"Meta\"",
            "truncated",
            message.len() + 1,
            Some("Truncated"),
        ),
        (b"\n[]", "violation", message.len() + 1, Some("Malformed")),
    ] {
        let shown = run_with(
            ["dump", "--protocol", "mp", "--json", "-"],
            &[message, rest].concat(),
        );
        let mut lines = shown.lines();
        let expected = json!({"end": end, "offset": offset, "kind": kind});
        assert_eq!(lines.pop(), Some(expected));
        let expected = json!({"offset": 0, "meta": 8, "other_client": "a\u{1b}",
            "connection_id": "", "data_b64": "aGk="});
        assert_eq!(lines, [expected]);
        assert_eq!(shown.code, Some(if kind.is_none() { 0 } else { 8 }));
    }
    for (input, kind) in [
        (&b"GET /"[..], "UnknownFormat"),
        (b"\x16\x03\x01", "TlsOnPlainPort"),
    ] {
        let shown = run_with(["dump", "--protocol", "mp", "--json", "-"], input);
        let expected = json!({"end": "violation", "offset": 0, "kind": kind});
        assert_eq!(shown.lines(), [expected]);
    }
    let shown = run_with(["dump", "--protocol", "mp", "--redact", "-"], message);
    assert!(shown.text().contains("Auth") && shown.text().contains("<redacted>"));
    assert!(shown.text().chars().all(|c| c == '\n' || !c.is_control()));
}
