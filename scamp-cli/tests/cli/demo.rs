//! `demo`: everything at once, with nothing to set up.

use crate::support::run;

/// cli.md: a whole exchange on embedded defaults; every step is told, and it ends well.
#[test]
fn every_step_succeeds() {
    let shown = run(["demo", "--json"]);
    shown.good();
    let steps = shown.lines();
    let names: Vec<&str> = steps
        .iter()
        .map(|step| step["step"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "key",
            "serve",
            "trust",
            "connect",
            "hello",
            "echo",
            "error",
            "at_once",
            "stream",
            "subscribe",
            "close"
        ]
    );
    assert!(
        steps
            .iter()
            .all(|step| step["ok"] == true && step["seconds"].is_number())
    );
    let of = |name: &str| &steps[names.iter().position(|other| *other == name).unwrap()];
    assert_eq!(of("connect")["fingerprint"], of("key")["fingerprint"]);
    assert_eq!(of("hello")["reply"], "\"Hello World\"");
    assert_eq!(of("error")["error_code"], "x_teapot");
    assert_eq!(of("at_once")["requests"], 64);
    assert_eq!(of("stream")["octets"], 8 * 1024 * 1024);
    assert!(of("close")["octets_out"].as_u64() > Some(8 * 1024 * 1024));
}

/// Rules of cli.md: colours only on a terminal.
#[test]
fn plain_where_nobody_looks() {
    let shown = run(["demo", "--size", "1"]);
    assert!(shown.good().contains("TLS 1.3") && !shown.text().contains('\u{1b}'));
    assert_eq!(shown.stderr, "");
}
