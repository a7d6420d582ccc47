//! `bench`: how much, how fast, and what failed.

use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::named::Bus;
use crate::support::{Run, Serve, run, scamp, signal};

/// K-11: as many as were asked for, and their latencies in order.
#[test]
fn numbers() {
    let service = Serve::start(&[]);
    let bench = |arguments: &[&str]| {
        let rest = [
            "--connect",
            &service.address,
            "--fingerprint",
            &service.fingerprint,
        ];
        run([&["bench", "--json"], arguments, &rest].concat())
    };
    let shown = bench(&["Demo.echo", "hello", "-n", "500", "-p", "8"]);
    shown.good();
    let object = &shown.lines()[0];
    for (name, value) in [
        ("requests", 500),
        ("ok", 500),
        ("failed", 0),
        ("octets_received", 2500),
    ] {
        assert_eq!(object[name], value, "{object}");
    }
    let names = ["min", "p50", "p90", "p99", "p999", "max"];
    let times = names.map(|name| object["latency"][name].as_f64().unwrap());
    assert!(times.is_sorted() && times[0] > 0.0, "{object}");
    assert_eq!(object["errors"], json!({}));

    // At a rate the time is known beforehand.
    let shown = bench(&["Demo.echo", "1", "--rate", "200", "-n", "100"]);
    shown.good();
    let seconds = shown.lines()[0]["seconds"].as_f64().unwrap();
    assert!(seconds > 0.49, "{seconds}");

    // Each failure once, and the exit code of the first.
    let shown = bench(&["Demo.fail", "{\"code\":\"x_y\"}", "-n", "7", "-p", "3"]);
    assert_eq!(shown.code, Some(1));
    let lines = shown.lines();
    let mut failed: Vec<u64> = lines[..7]
        .iter()
        .map(|line| line["request"].as_u64().unwrap())
        .collect();
    failed.sort_unstable();
    assert_eq!(failed, [0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(lines[0]["failure"]["error_code"], "x_y");
    assert_eq!(lines[7]["errors"], json!({"error_code x_y": 7}));
    run(["load", "Demo.echo", "--rate", "0"]).failed(2, "rate");
}

/// issue 3: when one of two instances is killed, no request is lost that may be asked again, and
/// each of the others is told once.
#[test]
fn one_of_two_is_killed() {
    let bus = Bus::new();
    let [mut first, second] = bus.two();
    let bench = |arguments: &[&str], victim: &mut Serve| -> Run {
        let mut command = scamp(
            [
                &["bench", "--json", "-p", "16", "--duration", "2s"],
                arguments,
            ]
            .concat(),
        );
        let child = command.env("SCAMP_CONFIG", bus.config()).spawn().unwrap();
        thread::sleep(Duration::from_millis(1000));
        victim.kill();
        child.wait_with_output().unwrap().into()
    };
    // Reading twice does no harm, so nothing is lost.
    let shown = bench(&["Demo.sleep", "{\"ms\":20}"], &mut first);
    shown.good();
    let lines = shown.lines();
    let object = lines.last().unwrap();
    assert_eq!((lines.len(), &object["failed"]), (1, &json!(0)), "{object}");
    assert!(object["repeated"].as_u64() > Some(0), "{object}");
    drop((first, second));

    // What was under way and may not be asked again is lost, and told; nothing else is.
    let [mut first, _second] = {
        let exec = ["--exec", "Slow.ly=sleep 0.1; cat"];
        let both = [bus.serve(&exec), bus.serve(&exec)];
        bus.until(&["call", "--dry-run", "--json", "Slow.ly"], |seen| {
            seen.code == Some(0) && seen.lines()[0]["others"].as_array().unwrap().len() == 1
        });
        both
    };
    let shown = bench(&["Slow.ly", "1"], &mut first);
    assert_eq!(shown.code, Some(7), "{shown:?}");
    let lines = shown.lines();
    let (object, failed) = lines.split_last().unwrap();
    let mut numbers: Vec<&Value> = failed.iter().map(|line| &line["request"]).collect();
    numbers.dedup();
    assert_eq!(object["failed"], json!(numbers.len()));
    assert_eq!(object["errors"], json!({"lost": numbers.len()}));
    assert!((1..=16).contains(&numbers.len()), "{object}");
}

/// cli.md: on a terminal a long run shows how far it is, and takes that away at its end; it does not
/// with `--json` or `-q`, nor where standard error is no terminal.
#[test]
#[cfg(unix)]
fn progress() {
    use std::fs::File;
    use std::io::Read;
    use std::process::Stdio;

    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

    let service = Serve::start(&[]);
    let (address, pin) = (&service.address, &service.fingerprint);
    let bench = |arguments: &[&str]| {
        let rest = ["--connect", address, "--fingerprint", pin];
        let always = ["bench", "Demo.sleep", "{\"ms\":20}"];
        let mut command = scamp([&always, arguments, &rest[..]].concat());
        command.env("TERM", "xterm");
        command
    };
    // What is written to a terminal; until it has this in it, or until the end.
    let on_a_terminal = |mut command: std::process::Command, enough: &str| {
        let mut terminal = File::from(openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap());
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let name = ptsname(&terminal, Vec::new()).unwrap();
        let inner = File::options()
            .read(true)
            .write(true)
            .open(name.to_str().unwrap())
            .unwrap();
        let mut child = command.stderr(Stdio::from(inner)).spawn().unwrap();
        // With it goes the last but the child's own hold on the terminal.
        drop(command);
        let (mut seen, mut piece) = (String::new(), [0; 1000]);
        while enough.is_empty() || !seen.contains(enough) {
            match terminal.read(&mut piece) {
                // Linux says so when nobody holds the other side any more.
                Ok(0) | Err(_) => break,
                Ok(count) => seen.push_str(&String::from_utf8_lossy(&piece[..count])),
            }
        }
        if !enough.is_empty() {
            signal(child.id(), "INT");
        }
        while let Ok(1..) = terminal.read(&mut piece) {}
        let code = child.wait().unwrap().code();
        (seen, code)
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            let (seen, code) = on_a_terminal(bench(&["--duration", "600s"]), "a second");
            assert!(seen.contains("\r[....................]   "), "{seen:?}");
            assert!(seen.contains(" requests, "), "{seen:?}");
            assert_eq!(code, Some(130));
        });
        scope.spawn(|| {
            let (seen, code) = on_a_terminal(bench(&["--duration", "2s"]), "");
            assert!(
                seen.contains("] ") && seen.ends_with("\r\u{1b}[K"),
                "{seen:?}"
            );
            assert_eq!(code, Some(0));
        });
        for quiet in ["--json", "-q"] {
            let (bench, on_a_terminal) = (&bench, &on_a_terminal);
            scope.spawn(move || {
                let (seen, _) = on_a_terminal(bench(&["--duration", "1500ms", quiet]), "");
                assert_eq!(seen, "", "{quiet}");
            });
        }
        let seen = Run::from(bench(&["--duration", "1500ms"]).output().unwrap());
        seen.good();
        assert_eq!(seen.stderr, "");
    });
}
