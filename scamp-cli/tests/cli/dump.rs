//! `dump`, over the recorded vectors and beside the connection machine.

use std::fs;
use std::path::PathBuf;

use base64::Engine as _;
use scamp_proto::connection::{Config, Event};
use scamp_proto::{CloseReason, Connection, Duplex, End, Instant, Outbox};
use serde_json::{Value, json};

use crate::support::{run, run_with, scamp};

fn vectors(name: &str) -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.join("../tests/vectors/scamp/wire").join(name)
}

fn index(name: &str) -> Value {
    serde_json::from_slice(&fs::read(vectors(name)).unwrap()).unwrap()
}

/// W-20, H-1, W-19: every packet of every recorded stream is where and what the index says.
#[test]
fn recorded_streams() {
    let index = index("vectors.json");
    let cases = index["cases"].as_array().unwrap();
    assert!(cases.len() >= 50);
    for case in cases {
        for side in ["client", "server"] {
            let file = vectors(case["files"][side].as_str().unwrap());
            check(&file, &case[format!("{side}_stream")]);
        }
    }
}

fn check(file: &std::path::Path, stream: &Value) {
    let octets = fs::read(file).unwrap();
    let shown = run([
        std::ffi::OsStr::new("dump"),
        "--json".as_ref(),
        file.as_os_str(),
    ]);
    let mut lines = shown.lines();
    let end = lines.pop().unwrap();
    let mut expected = Vec::new();
    for entry in stream["packets"].as_array().unwrap() {
        let times = entry.get(3).map_or(1, |times| times.as_u64().unwrap());
        expected.extend((0..times).map(|_| (&entry[0], &entry[1], &entry[2])));
    }
    let seen: Vec<_> = lines
        .iter()
        .map(|p| (&p["type"], &p["msgno"], &p["len"]))
        .collect();
    assert_eq!(seen, expected, "{}", file.display());

    let headers: Vec<_> = lines
        .iter()
        .filter_map(|packet| packet.get("header"))
        .collect();
    let messages = stream["messages"].as_array().unwrap();
    let told: Vec<_> = messages.iter().map(|message| &message["header"]).collect();
    assert_eq!(headers, told, "{}", file.display());

    // Each packet begins where the one before it ended.
    let mut at = 0;
    for packet in &lines {
        assert_eq!(packet["offset"], at, "{}", file.display());
        let rest = &octets[at..];
        assert!(rest.starts_with(packet["type"].as_str().unwrap().as_bytes()));
        let line = rest.windows(2).position(|pair| pair == b"\r\n").unwrap() + 2;
        at += line + packet["len"].as_u64().unwrap() as usize + 5;
    }
    let tail = stream["unparsed_tail"].as_u64().unwrap();
    assert_eq!(at as u64 + tail, octets.len() as u64);
    let expected = match tail {
        0 => json!({"end": "clean", "offset": at, "kind": null}),
        _ => json!({"end": "truncated", "offset": at, "kind": "TruncatedPacket"}),
    };
    assert_eq!(end, expected, "{}", file.display());
    assert_eq!(shown.code, Some(if tail == 0 { 0 } else { 8 }));
}

/// P-5: over every hand-written stream the verdict is the one a receiver comes to.
#[test]
fn hand_written_streams() {
    let index = index("malformed.json");
    let cases = index["cases"].as_array().unwrap();
    assert!(cases.len() >= 120);
    for case in cases {
        let octets = match (case["bytes_text"].as_str(), case["bytes_base64"].as_str()) {
            (Some(text), _) => text.as_bytes().to_vec(),
            (None, Some(text)) => base64::engine::general_purpose::STANDARD
                .decode(text)
                .unwrap(),
            (None, None) => continue,
        };
        let shown = run_with(["dump", "--json", "-"], &octets);
        let end = shown.lines().pop().unwrap_or_else(|| panic!("{shown:?}"));
        let expected = verdict(&octets);
        let seen = (end["kind"].as_str(), end["offset"].as_u64().unwrap());
        assert_eq!(seen, (expected.0, expected.1), "{}", case["name"]);
        assert_eq!(shown.code, Some(if expected.0.is_some() { 8 } else { 0 }));
        // HD-13: whatever is in it, nothing but lines of printable text comes out.
        let plain = run_with(["dump", "-"], &octets);
        assert!(
            plain.text().chars().all(|c| c == '\n' || !c.is_control()),
            "{}",
            case["name"]
        );
    }
}

/// How a connection judges this stream, and where.
fn verdict(octets: &[u8]) -> (Option<&'static str>, u64) {
    let now = Instant::EPOCH;
    let mut connection = Connection::new(Config::default(), now);
    connection.receive(now, octets);
    connection.receive_end(now, End::Eof);
    let mut reason = None;
    let mut out = Outbox::default();
    while connection.poll_transmit(now, &mut out).is_some() {
        out.take_all();
    }
    while let Some(event) = connection.poll_event() {
        if let Event::Closed(why) = event {
            reason = Some(why);
        }
    }
    match reason {
        Some(CloseReason::Violation(violation)) => (Some(violation.kind.name()), violation.offset),
        _ => (None, octets.len() as u64),
    }
}

/// The lines for people.
#[test]
fn readable_lines() {
    let input = b"HEADER 0 29\r\n{\"ticket\":\"t\", \"a\": \"\\u001b\"}END\r\n\
        DATA 0 4\r\n\x1b[2JEND\r\nACK 3 2\r\n17END\r\nTXERR 0 5\r\ngone\nEND\r\n";
    let shown = run_with(["dump", "-"], input);
    let lines: Vec<Vec<&str>> = shown
        .good()
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(
        lines[0],
        [
            "0",
            "HEADER",
            "0",
            "29",
            "{\"ticket\":\"t\",\"a\":\"\\u001b\"}"
        ]
    );
    assert_eq!(lines[1], ["47", "DATA", "0", "4", "\\x1b[2J"]);
    assert_eq!(lines[2], ["66", "ACK", "3", "2", "17"]);
    assert_eq!(lines[3], ["82", "TXERR", "0", "5", "gone\\x0a"]);
    assert_eq!(lines[4], ["103", "clean", "end"]);

    let shown = run_with(["dump", "--json", "--redact", "-"], input);
    let packets = shown.lines();
    assert_eq!(
        packets[0]["header"],
        json!({"ticket": "<redacted>", "a": "\u{1b}"})
    );
    assert_eq!(packets[2]["acked"], 17);
    assert_eq!(packets[3]["text"], "gone\n");

    let bad = run_with(["dump", "-"], b"HEADER 0 2\r\n[]END\r\n");
    bad.failed(8, "octet 0");
    assert!(bad.text().contains("violation: HeaderNotObject"));
    run(["dump", "/no/such/file"]).failed(8, "/no/such/file");
    run(["dump", "-", "--max-packet-body", "0"]).failed(2, "16777216");
}

/// HD-13: a record far longer than the memory it may take; nobody reads the end.
#[test]
#[cfg(target_os = "linux")]
fn long_records_take_little_memory() {
    use std::io::{Read, Write};
    let mut child = scamp(["dump", "--json", "-"])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut room = vec![0; 65_536];
        let mut octets = 0;
        while let Ok(len @ 1..) = stdout.read(&mut room) {
            octets += len;
        }
        octets
    });
    stdin.write_all(b"HEADER 0 2\r\n{}END\r\n").unwrap();
    let mut packet = b"DATA 0 131072\r\n".to_vec();
    packet.resize(packet.len() + 131_072, b'x');
    packet.extend(b"END\r\n");
    for _ in 0..512 {
        stdin.write_all(&packet).unwrap();
    }
    let peak = crate::support::peak_memory(child.id());
    assert!(peak < 16 * 1024 * 1024, "{peak}");
    drop(stdin);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(reader.join().unwrap() > 512 * 40);

    // SIGPIPE: when whoever reads has gone, that is the end, and no fault.
    let mut child = scamp(["dump", "-"])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    drop(child.stdout.take());
    for _ in 0..100_000 {
        if stdin.write_all(b"PING 0 0\r\nEND\r\n").is_err() {
            break;
        }
    }
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
}
