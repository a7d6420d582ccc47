//! `dump --protocol waddell`, over the recorded vectors.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::{run, run_with};

fn vectors(name: &str) -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.join("../tests/vectors/waddell").join(name)
}

/// WD-1, WD-2, WD-4: every frame of every recorded stream is where and what the index says.
#[test]
fn recorded_streams() {
    let index: Value = serde_json::from_slice(&fs::read(vectors("index.json")).unwrap()).unwrap();
    for session in index["sessions"].as_array().unwrap() {
        for connection in session["connections"].as_array().unwrap() {
            check(&connection["c2s"]);
            check(&connection["s2c"]);
        }
    }
}

fn check(direction: &Value) {
    let file = vectors(direction["file"].as_str().unwrap());
    let file = file.to_str().unwrap();
    let shown = run(["dump", "--protocol", "waddell", "--json", file]);
    let mut at = 0;
    let mut expected = Vec::new();
    for frame in direction["frames"].as_array().unwrap() {
        let id = ["id", "from", "to"].map(|key| &frame[key]);
        let id = id.into_iter().find(|id| !id.is_null());
        let len = match (frame["length"].as_u64(), frame["content_hex"].as_str()) {
            (Some(len), _) => len,
            (None, Some(hex)) => hex.len() as u64 / 2,
            (None, None) => 1,
        };
        expected.push(json!({
            "offset": at,
            "frame_len": len,
            "id": id,
            "topic": frame["topic"].as_u64().unwrap_or(0),
            "body_len": id.map_or(0, |_| len - 18),
        }));
        at += 2 + len;
    }
    let cut = !direction["incomplete_hex"].is_null();
    expected.push(match cut {
        true => json!({"end": "truncated", "offset": at, "kind": "TruncatedFrame"}),
        false => json!({"end": "clean", "offset": at, "kind": null}),
    });
    assert_eq!(shown.lines(), expected, "{file}");
    assert_eq!(shown.code, Some(if cut { 8 } else { 0 }));
}

/// WD-32, WD-33: the lines for people.
#[test]
fn readable_lines() {
    let id = [7; 16];
    let input = [b"\x01\0k\0\0\x15\0", &id[..], b"\x02\x01abc\x12"].concat();
    let shown = run_with(["dump", "--protocol", "waddell", "-"], &input);
    shown.failed(8, "octet 28");
    let text = shown.text();
    let lines: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(lines[0], ["0", "1", "keepalive"]);
    assert_eq!(lines[1], ["3", "0", "malformed"]);
    let id = "07070707-0707-0707-0707-070707070707";
    assert_eq!(lines[2], ["5", "21", id, "258", "3"]);
    assert_eq!(lines[3], ["28", "truncated:", "TruncatedFrame"]);
    run(["dump", "--protocol", "smoke", "-"]).failed(2, "waddell");
}
