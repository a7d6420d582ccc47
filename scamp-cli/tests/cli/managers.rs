//! `cache serve`, `cache write`, `announce` and `watch`.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout};

use serde_json::{Value, json};

use crate::named::{Bus, GO};
use crate::support::{scamp, signal, text};

/// A command that runs until it is killed, and the lines it prints.
struct Running {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Running {
    fn start(bus: &Bus, arguments: &[&str]) -> Self {
        let mut command = scamp(arguments);
        let mut child = command.env("SCAMP_CONFIG", bus.config()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const GHOST: [&str; 7] = [
    "announce",
    "--name",
    "greeter:ghost",
    "--uri",
    "beepish+tls://127.0.0.1:9",
    "--action",
    "Ghost.boo,read",
];

/// K-8: the cache manager, its scoreboard and its pidfile; one for each file.
#[test]
#[cfg(unix)]
fn the_cache_manager() {
    let bus = Bus::new();
    let (board, pidfile) = (bus.at("board"), bus.at("pid"));
    let files = ["--scoreboard", text(&board), "--pidfile", text(&pidfile)];
    let mut manager = Running::start(&bus, &[&["cache", "--json"], &files[..]].concat());
    assert_eq!(manager.line()["file"], text(&bus.at("cache")));
    assert_eq!(
        fs::read_to_string(&pidfile).unwrap().trim(),
        manager.child.id().to_string()
    );
    bus.run(&["cache", "serve"])
        .failed(8, "kept by another process");

    // Beside it, a service leaves the file alone, and is in it.
    let service = bus.serve(&[]);
    bus.run(&["call", "Demo.echo", "1"]).good();
    let identity = service.ready["identity"].as_str().unwrap();
    let begun = std::time::Instant::now();
    while !fs::read_to_string(&board).is_ok_and(|text| text.contains(identity)) {
        assert!(begun.elapsed().as_secs() < 30);
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let text = fs::read_to_string(&board).unwrap();
    let first: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(first["services"], 1);

    signal(manager.child.id(), "TERM");
    assert_eq!(manager.child.wait().unwrap().code(), Some(0));
    assert!(!pidfile.exists());
}

/// K-7: who comes, changes, goes, and what is no announcement.
#[test]
#[cfg(unix)]
fn watching() {
    let bus = Bus::new();
    let mut watch = Running::start(&bus, &["monitor", "--json"]);
    let announce = |more: &[&str]| bus.run(&[&GHOST[..], more].concat());
    // Until it is heard, since nobody says when the listener is there.
    let mut added = Running::start(
        &bus,
        &[&GHOST[..], &["--interval", "200ms", "--json"]].concat(),
    );
    let line = watch.line();
    assert_eq!(added.line()["change"], "announced");
    for (name, value) in [
        ("change", json!("added")),
        ("identity", json!("greeter:ghost")),
        ("fingerprint", json!(GO)),
        ("uri", json!("beepish+tls://127.0.0.1:9")),
        ("actions", json!(["main:Ghost.boo~1"])),
    ] {
        assert_eq!(line[name], value, "{line}");
    }
    drop(added);
    announce(&["--once", "--weight", "3", "--interval", "200ms"]).good();
    let line = watch.line();
    assert_eq!(
        (&line["change"], &line["weight"]),
        (&json!("changed"), &json!(3))
    );
    let config = fs::read_to_string(bus.config()).unwrap();
    let (_, port) = config.split_once("local_port = ").unwrap();
    let port: u16 = port.lines().next().unwrap().parse().unwrap();
    let here = std::net::Ipv4Addr::LOCALHOST;
    let sender = scamp_host::udp::multicast_sender(here.into()).unwrap();
    sender
        .send_to(b"nonsense", ("239.63.248.106", port))
        .unwrap();
    let line = watch.line();
    assert_eq!(
        (&line["change"], &line["from"]),
        (&json!("rejected"), &json!("127.0.0.1"))
    );
    assert!(line["reason"].is_string());
    announce(&["--withdraw"]).good();
    assert_eq!(watch.line()["change"], "withdrawn");
    // One that says nothing more is forgotten.
    announce(&["--once", "--interval", "100ms"]).good();
    assert_eq!(watch.line()["change"], "added");
    assert_eq!(watch.line()["change"], "expired");
}

/// K-7: following the cache file.
#[test]
fn following_the_cache() {
    let bus = Bus::new();
    let mut watch = Running::start(&bus, &["watch", "--cache", "--json"]);
    assert_eq!(watch.line()["change"], "stale");
    let service = bus.serve(&[]);
    assert_eq!(watch.line()["change"], "fresh");
    let line = watch.line();
    assert_eq!(
        (&line["change"], &line["identity"]),
        (&json!("added"), &service.ready["identity"])
    );
    drop(service);
    fs::write(bus.at("cache"), "").unwrap();
    assert_eq!(watch.line()["change"], "removed");
}

/// cli.md: `cache write`, once, of whom is listed.
#[test]
fn writing_once() {
    let bus = Bus::new();
    let _ghost = Running::start(&bus, &[&GHOST[..], &["--interval", "200ms"]].concat());
    let file = bus.at("other");
    let write = ["cache", "write", "--json", "--for", "1s", text(&file)];
    let seen = bus.until(&write, |seen| {
        seen.code == Some(0) && seen.lines()[0]["records"] == 1
    });
    assert_eq!(seen.lines()[0]["unlisted"], 0);
    let verified = bus.run(&["cache", "verify", "--json", text(&file)]);
    verified.good();
    assert_eq!(verified.lines()[0]["identity"], "greeter:ghost");
    fs::write(bus.at("services"), "").unwrap();
    bus.until(&write, |seen| {
        seen.code == Some(0) && seen.lines()[0]["unlisted"] == 1 && seen.lines()[0]["records"] == 0
    });
    let all = bus.until(&["cache", "write", "--for", "1s", "--all", "-"], |seen| {
        !seen.stdout.is_empty()
    });
    assert!(
        all.good().starts_with("\n%%%\n[3,\"greeter:ghost\""),
        "{all:?}"
    );
}
