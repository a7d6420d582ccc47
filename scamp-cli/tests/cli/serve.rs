//! `serve`: what it says, and how it ends.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use scamp_blocking::{Client, Pin};
use serde_json::json;

use crate::support::{Serve, run, scamp, signal};

/// K-6: one line with address and fingerprint; the names of the actions are a matter of choice.
#[test]
fn one_line_on_start() {
    let service = Serve::start(&["--name", "greeter", "--action-prefix", "Bench"]);
    assert_eq!(service.ready["name"], "greeter");
    let actions = service.ready["actions"].as_array().unwrap();
    for name in [
        "Bench.echo~1",
        "Bench.health_check~1",
        "Bench.stream~1",
        "Greetings.hello~1",
    ] {
        assert!(actions.contains(&json!(name)), "{name}");
    }
    assert_eq!(service.call(&["Bench.echo", "1"]).good(), "1");
    let health = service.call(&["Bench.health_check", "{}"]);
    health.good();
    assert_eq!(health.lines()[0]["name"], "greeter");
    assert_eq!(
        service.call(&["Bench.stream", "{\"octets\":5}"]).good(),
        " '.5<"
    );

    // Two at one address, or a name that is none.
    run(["serve", "--listen", &service.address]).failed(8, "cannot listen");
    run(["serve", "--action-prefix", "a:b"]).failed(2, "a:b");
    run(["serve", "--name", "a b"]).failed(2, "letters");
}

/// V-12: at the first signal it finishes what it has begun; then it ends well.
#[test]
#[cfg(unix)]
fn graceful_end() {
    let mut service = Serve::start(&[]);
    let child = service.spawn(&["Demo.sleep", "{\"ms\":500}"]);
    service.wait_for("Demo.sleep");
    signal(service.pid(), "TERM");
    service.wait_for("shutting down");
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (output.status.code(), &output.stdout[..]),
        (Some(0), &b"true"[..])
    );
    assert_eq!(service.wait(), Some(0));
    let arguments = ["Demo.echo", "1"];
    service
        .call(&arguments)
        .failed(4, "could not be established");
}

/// The second signal does not wait for requests in progress.
#[test]
#[cfg(unix)]
fn second_signal() {
    let mut service = Serve::start(&[]);
    let mut child = service.spawn(&["Demo.sleep", "{\"ms\":60000}"]);
    service.wait_for("Demo.sleep");
    signal(service.pid(), "INT");
    service.wait_for("shutting down");
    signal(service.pid(), "INT");
    assert_eq!(service.wait(), Some(0));
    assert_eq!(child.wait().unwrap().code(), Some(7));
}

/// B-13, HD-17: more connections than a service may have files do not keep it from serving again
/// within a second of their end, and neither does an accept that fails for want of a file.
#[test]
#[cfg(unix)]
fn few_files() {
    for (files, word) in [(64, "too many connections"), (20, "not accepted")] {
        let mut service = Serve::with_files(files);
        for _ in 0..2 {
            let many: Vec<_> = (0..120)
                .map(|_| TcpStream::connect(&service.address).unwrap())
                .collect();
            service.wait_for(word);
            drop(many);
            let gone = Instant::now();
            let fingerprint = service.fingerprint.parse().unwrap();
            let pin = Pin::Fingerprint(fingerprint);
            let client = loop {
                let builder = Client::builder(pin.clone()).connect_timeout(SECOND);
                match builder.connect(&service.address) {
                    Ok(client) => break client,
                    // Those before it may still be leaving.
                    Err(error) => assert!(gone.elapsed() < SECOND, "{files} files: {error}"),
                }
            };
            assert_eq!(client.call("Demo.echo", "1").unwrap().body, "1");
        }
    }
}

/// S-40, S-41: `announce` tells the actions, `--tick` a counter.
#[test]
fn topics() {
    let service = Serve::start(&["--tick=10ms"]);
    let fingerprint = service.fingerprint.parse().unwrap();
    let client = Client::connect(&service.address, Pin::Fingerprint(fingerprint)).unwrap();
    let mut changes = client.subscribe(&["announce", "tick"]).unwrap();
    let first = changes.next().unwrap();
    let announce = first
        .iter()
        .find(|change| change.code == "announce")
        .unwrap();
    assert!(announce.key == "scamp-demo" && announce.value.contains("Demo.echo~1"));
    let mut counts: Vec<u64> = Vec::new();
    while counts.len() < 3 {
        let news = changes.next().unwrap();
        counts.extend(
            news.iter()
                .map(|change| change.value.parse::<u64>().unwrap()),
        );
    }
    assert!(counts.is_sorted_by(|a, b| a < b), "{counts:?}");
}

/// The line for people, on standard output alone.
#[test]
fn readable_line() {
    use std::io::{BufRead, BufReader};
    let mut child = scamp(["serve", "-q"]).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(
        (words[0], words[1], words[3]),
        ("listening", "on", "fingerprint")
    );
    assert!(words[2].starts_with("127.0.0.1:") && words[4].len() == 59);
    child.kill().unwrap();
    child.wait().unwrap();
}

const SECOND: Duration = Duration::from_secs(1);
