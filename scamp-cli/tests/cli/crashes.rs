//! Processes killed at moments that nobody chose, with work under way (F-15, HD-68).
//!
//! The moments are pseudo-random, the same in each run as far as the system plays along: after so
//! many requests, octets or milliseconds.

use std::fs;
use std::io::{Read, Write};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use scamp_blocking::{Access, Client, Identity, Pin, Reply, Request, Service};
use scamp_proto::Rng;
use serde_json::Value;

use crate::named::Bus;
use crate::support::{Run, Serve, run, scamp, text, vector};

/// Rounds of each kind: 20, or as many as a night has time for.
fn rounds() -> u64 {
    let asked = std::env::var("SCAMP_TEST_ROUNDS");
    asked.map_or(20, |asked| asked.parse().expect("a number"))
}

/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A service with a key that need not be made.
fn serve() -> Serve {
    let key = vector("discovery/key-go.key");
    let cert = vector("discovery/key-go.crt");
    Serve::start(&["--key", text(&key), "--cert", text(&cert)])
}

/// F-15, HD-49, HD-68: a service is killed under load, and `bench` tells of each request once what
/// became of it: answered, or lost.
#[test]
fn the_service_of_many_callers() {
    let mut rng = Rng::new(15);
    let (mut answered, mut lost) = (0, 0);
    for round in 0..rounds() {
        let mut service = serve();
        let bench = [
            "bench",
            "--json",
            "-p",
            "8",
            "-n",
            "400",
            "Demo.sleep",
            "{\"ms\":2}",
            "--connect",
            &service.address,
            "--fingerprint",
            &service.fingerprint,
        ];
        let child = scamp(bench).spawn().unwrap();
        // Now and then before there is a connection, and never after the last request.
        for _ in 0..rng.below(390) {
            service.wait_for("Demo.sleep");
        }
        service.kill();
        let seen = Run::from(child.wait_with_output().unwrap());
        let lines = seen.lines();
        let (summary, failures) = lines.split_last().unwrap();
        if seen.code == Some(4) && summary["requests"].is_null() {
            assert!(failures.is_empty(), "round {round}: {seen:?}");
            continue;
        }
        let count = |name: &str| summary[name].as_u64().unwrap();
        let mut numbers: Vec<_> = failures
            .iter()
            .map(|line| line["request"].as_u64().unwrap())
            .collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(
            numbers.len(),
            failures.len(),
            "round {round}: one was told twice"
        );
        assert!(numbers.last().is_none_or(|last| *last < 400));
        assert_eq!(count("failed"), numbers.len() as u64, "round {round}");
        assert_eq!(
            count("ok") + count("failed"),
            400,
            "round {round}: {summary}"
        );
        let kinds = summary["errors"].as_object().unwrap();
        let all: u64 = kinds.values().map(|count| count.as_u64().unwrap()).sum();
        assert_eq!(all, count("failed"), "round {round}: {summary}");
        if count("failed") > 0 {
            assert!(matches!(seen.code, Some(4 | 7)), "round {round}: {seen:?}");
            let is_known = |kind: &String| kind == "lost" || kind == "not dispatched";
            assert!(kinds.keys().all(is_known), "round {round}: {summary}");
        }
        answered += count("ok");
        lost += count("failed");
    }
    assert!(answered > 0 && lost > 0, "{answered} answered, {lost} lost");
}

/// F-15, HD-50, HD-68: a service is killed in the middle of a reply; what `call` had of it is printed,
/// and never taken for the whole.
#[test]
fn the_service_of_a_long_reply() {
    let mut rng = Rng::new(16);
    for round in 0..rounds() {
        let mut service = serve();
        let mut child = service.spawn(&["Demo.stream", "{\"octets\":100000000}"]);
        let mut stdout = child.stdout.take().unwrap();
        let mut part = vec![0; 1 + rng.below(5_000_000) as usize];
        stdout.read_exact(&mut part).unwrap();
        service.kill();
        let rest = thread::spawn(move || stdout.read_to_end(&mut Vec::new()).unwrap());
        let seen = Run::from(child.wait_with_output().unwrap());
        seen.failed(7, "");
        assert!(
            part.len() + rest.join().unwrap() < 100_000_000,
            "round {round}"
        );
    }
}

/// F-15, HD-68: callers of all kinds are killed; the service goes on serving others, who get each
/// answer, and at last has neither their requests nor their connections any more.
#[test]
fn the_callers_of_a_service() {
    let certificate = fs::read(vector("discovery/key-go.crt")).unwrap();
    let key = fs::read(vector("discovery/key-go.key")).unwrap();
    let identity = Identity::from_pem(&certificate, &key).unwrap();
    let service = Service::builder(identity)
        .default_access(Access::Allow)
        .action("Work.nap", |mut request: Request| {
            thread::sleep(Duration::from_millis(1));
            Ok(Reply::new(request.bytes().map_err(|_| remote())?))
        })
        .unwrap()
        .streaming_action("Work.echo", |request: Request| {
            Ok(Reply::stream(move |out| {
                for piece in request.body {
                    out.write_bytes(piece.map_err(std::io::Error::other)?)
                        .map_err(std::io::Error::other)?;
                    out.flush()?;
                }
                Ok(())
            }))
        })
        .unwrap()
        .streaming_action("Work.endless", |_| {
            Ok(Reply::stream(|out| {
                loop {
                    out.write_all(&[b'x'; 10_000])?;
                }
            }))
        })
        .unwrap()
        .bind("127.0.0.1:0")
        .unwrap();
    let address = service.local_addr().to_string();
    let fingerprint = service.fingerprint().unwrap();
    let handle = service.handle();
    let running = thread::spawn(move || service.run());

    let pin = fingerprint.to_string();
    let start = |arguments: &[&str]| -> Child {
        let rest = ["--connect", &address, "--fingerprint", &pin];
        let mut command = scamp([arguments, &rest].concat());
        command.stdin(Stdio::piped()).spawn().unwrap()
    };
    let started = || handle.stats().requests_started;
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let honest = scope.spawn(|| {
            let client = Client::connect(&address, Pin::Fingerprint(fingerprint)).unwrap();
            let mut answered = 0_u64;
            while !done.load(Ordering::SeqCst) || answered == 0 {
                let body = answered.to_string();
                let reply = client.call("Work.nap", body.clone()).unwrap();
                assert_eq!(reply.body, body);
                answered += 1;
            }
            // The connection stays until the others' are counted.
            client
        });
        let mut rng = Rng::new(17);
        for round in 0..rounds() {
            let (mut child, octets) = match round % 4 {
                0 => (
                    start(&["call", "--stream", "Work.echo", "-"]),
                    rng.below(500_000),
                ),
                1 => (start(&["call", "Work.endless"]), rng.below(5_000_000)),
                _ => (
                    start(&["bench", "-p", "16", "--duration", "60s", "Work.nap", "1"]),
                    0,
                ),
            };
            match round % 4 {
                // With half of its request on the way, and some of the reply back.
                0 => {
                    let mut stdin = child.stdin.take().unwrap();
                    let mut stdout = child.stdout.take().unwrap();
                    let body = vec![b'y'; octets as usize + 1];
                    // It may be killed before it has taken all of it.
                    let writer = scope.spawn(move || (stdin.write_all(&body), stdin));
                    let mut part = vec![0; octets as usize / 2 + 1];
                    stdout.read_exact(&mut part).unwrap();
                    child.kill().unwrap();
                    drop(writer.join());
                }
                1 => {
                    let mut part = vec![0; octets as usize + 1];
                    child.stdout.take().unwrap().read_exact(&mut part).unwrap();
                    child.kill().unwrap();
                }
                _ => {
                    let enough = started() + 100 + rng.below(1000);
                    until("requests", || started() >= enough);
                    child.kill().unwrap();
                }
            }
            assert_eq!(child.wait().unwrap().code(), None, "round {round}");
        }
        until("only the honest one is left", || handle.connections() == 1);
        done.store(true, Ordering::SeqCst);
        let client = honest.join().unwrap();
        until("no request is active", || {
            handle.stats().requests_active == 0
        });
        assert_eq!(client.call("Work.nap", "still").unwrap().body, "still");
    });
    handle.shutdown();
    handle.shutdown();
    running.join().unwrap();
}

fn remote() -> scamp_proto::wire::RemoteError {
    scamp_proto::wire::RemoteError::new("general", "its caller has gone")
}

/// F-15, F-46, HD-68: whoever writes a cache file is killed; the file is as it was, or as it was to
/// be, and never in between.
#[test]
fn the_writer_of_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let key = vector("discovery/key-go.key");
    let cert = vector("discovery/key-go.crt");
    let cache = at("cache");
    let write = |name: &str| {
        let announced = at(name);
        scamp([
            "sign",
            "--announce",
            text(&announced),
            "--key",
            text(&key),
            "--cert",
            text(&cert),
            "-o",
            text(&cache),
        ])
        .spawn()
        .unwrap()
    };
    // Long enough to be written in more than one piece, if anything is.
    let action = format!("[\"{}\"]", "a".repeat(1000));
    let versions = ["one", "two"].map(|name| {
        let actions = vec![&action[..]; 500].join(",");
        let json = format!(
            "[3,\"{name}\",\"main\",1,5000,\"beepish+tls://127.0.0.1:1\",[\"json\"],[[\"A\",{actions}]],1]"
        );
        fs::write(at(name), json).unwrap();
        assert!(write(name).wait().unwrap().success());
        fs::read(&cache).unwrap()
    });
    assert_ne!(versions[0], versions[1]);
    let mut rng = Rng::new(18);
    let mut killed = 0;
    for round in 0..rounds() {
        let mut child = write(if round % 2 == 0 { "one" } else { "two" });
        thread::sleep(Duration::from_micros(rng.below(30_000)));
        child.kill().unwrap();
        killed += u32::from(child.wait().unwrap().code().is_none());
        let found = fs::read(&cache).unwrap();
        assert!(
            versions.contains(&found),
            "round {round}: {} octets",
            found.len()
        );
    }
    assert!(killed > 0);
    run(["cache", "verify", "--json", text(&cache)]).good();
    // Whoever comes next is not disturbed.
    assert!(write("one").wait().unwrap().success());
    assert_eq!(fs::read(&cache).unwrap(), versions[0]);
}

/// F-15, F-46, D-33, HD-68: the cache manager is killed while services announce themselves anew all
/// the time; the file is whole, the next one takes it over, and nothing is left lying about.
#[test]
fn the_cache_manager() {
    let bus = Bus::new();
    let start = |arguments: &[&str]| {
        let mut command = scamp(arguments);
        command.env("SCAMP_CONFIG", bus.config()).spawn().unwrap()
    };
    let mut service = start(&[
        "announce",
        "-q",
        "--name",
        "greeter:ghost",
        "--uri",
        "beepish+tls://127.0.0.1:9",
        "--action",
        "Ghost.boo,read",
        "--interval",
        "200ms",
    ]);
    let cache = bus.at("cache");
    let content = || fs::read(&cache).unwrap_or_default();
    let mut rng = Rng::new(19);
    for _ in 0..3 {
        let before = content();
        let mut manager = start(&["cache", "serve", "-q"]);
        // What is signed anew is written anew.
        until("the file is written", || {
            !content().is_empty() && content() != before
        });
        thread::sleep(Duration::from_millis(rng.below(1200)));
        manager.kill().unwrap();
        manager.wait().unwrap();
        let verified = bus.run(&["cache", "verify", "--json", text(&cache)]);
        verified.good();
        let records: Vec<Value> = verified.lines();
        assert_eq!(records.len(), 1, "{verified:?}");
        assert_eq!(records[0]["identity"], "greeter:ghost");
        fs::write(bus.at("cache.abc123.new"), "half").unwrap();
    }
    let mut manager = start(&["cache", "serve", "-q"]);
    until("leftovers are removed", || {
        !bus.at("cache.abc123.new").exists()
    });
    for child in [&mut manager, &mut service] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

/// Waits until something is so; the test fails if it never is.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "never: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}
