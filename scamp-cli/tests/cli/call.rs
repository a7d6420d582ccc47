//! `call` and `serve`, in two processes over TLS.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Stdio;
use std::thread;

use serde_json::json;

use crate::support::{Serve, run, scamp, signal};

/// K-4: the body from an argument, a file or standard input; the reply's body and nothing else.
#[test]
fn bodies_come_from_anywhere() {
    let service = Serve::start(&[]);
    assert_eq!(
        service.call(&["Greetings.hello", "\"World\""]).good(),
        "\"Hello World\""
    );
    assert_eq!(
        service.call(&["Demo.hello", "{\"name\":\"Ada\"}"]).good(),
        "\"Hello Ada\""
    );
    // H-7: case does not count; cli.md: the sector defaults to main.
    assert_eq!(
        service.call(&["main:demo.ECHO~1", "{\"a\": 1}"]).good(),
        "{\"a\": 1}"
    );
    assert_eq!(service.call(&["Demo.echo", "-5"]).good(), "-5");
    assert_eq!(service.call(&["Demo.echo", ""]).good(), "");

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("body");
    fs::write(&file, b"\x00\xff\r\n").unwrap();
    let given = format!("@{}", file.display());
    assert_eq!(service.call(&["Demo.echo", &given]).stdout, b"\x00\xff\r\n");
    assert_eq!(
        service.call_with(&["Demo.echo", "-"], b"from stdin").good(),
        "from stdin"
    );
    assert_eq!(
        service.call_with(&["Demo.echo"], b"from stdin").good(),
        "from stdin"
    );
    assert_eq!(
        service
            .call_with(&["Demo.echo", "--stream"], b"piece")
            .good(),
        "piece"
    );
    // The older name of the verb.
    let arguments = service.arguments(&["Demo.echo", "1"]);
    assert_eq!(
        run(std::iter::once("request").chain(arguments.into_iter().skip(1))).good(),
        "1"
    );

    service
        .call(&["Demo.echo", "@/no/such/file"])
        .failed(8, "/no/such/file");
    service.call(&["Demo.echo", "@/"]).failed(8, "/: ");
}

/// K-4: what else goes into the header, and the reply's header on request.
#[test]
fn headers() {
    let service = Serve::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let ticket = folder.path().join("ticket");
    fs::write(&ticket, "1,2,3\n").unwrap();
    let ticket = format!("@{}", ticket.display());
    let shown = service.call(&[
        "Demo.echo",
        "1",
        "--envelope",
        "jsonstore",
        "--ticket",
        &ticket,
        "--client-id",
        "7",
        "-H",
        "trace=x",
        "-H",
        "depth:=[1]",
        "-H",
        "terminal=till",
        "--show-header",
    ]);
    assert_eq!(shown.good(), "1");
    assert_eq!(shown.stderr, "{\"type\":\"reply\",\"request_id\":1}\n");

    // H-9: other envelopes are refused by the service.
    let refused = service.call(&["Demo.echo", "1", "--envelope", "extdirect"]);
    refused.failed(
        1,
        "error_code bad_request: Unsupported envelope type: extdirect",
    );
    for bad in ["type=x", "x", "=1", "a:=x", "client_id=x"] {
        service.call(&["Demo.echo", "1", "-H", bad]).failed(2, "");
    }
    service
        .call(&["Demo.echo", "1", "--ticket", "@/no/such/file"])
        .failed(8, "/no/such/file");
}

/// cli.md: `--json` prints one object, for a reply and for an error.
#[test]
fn json_output() {
    let service = Serve::start(&[]);
    let reply = service.call(&["Demo.echo", "--json", "{\"n\": [1]}"]);
    reply.good();
    let object = &reply.lines()[0];
    assert_eq!(object["action"], "Demo.echo~1");
    assert_eq!(object["header"], json!({"type": "reply", "request_id": 1}));
    assert_eq!(
        (&object["body"], &object["octets"]),
        (&json!({"n": [1]}), &json!(10))
    );
    let text = service.call(&["Demo.echo", "--json", "no JSON"]);
    assert_eq!(text.lines()[0]["body_text"], "no JSON");

    let body = r#"{"code":"x_late","text":"come\u001b back","data":{"at":7}}"#;
    let failed = service.call(&["Demo.fail", "--json", body]);
    failed.failed(
        1,
        "error_code x_late: come\\x1b back (error_data {\"at\":7})",
    );
    assert_eq!(
        failed.lines(),
        [json!({
            "error": "come\u{1b} back", "error_code": "x_late", "error_data": {"at": 7}, "exit": 1,
        })]
    );
}

/// cli.md, exit code 1: whatever the service answers that is an error.
#[test]
fn errors_of_the_service() {
    let service = Serve::start(&[]);
    let unknown = service.call(&["Nope.nope", "1"]);
    unknown.failed(1, "error_code no_action: No such action: Nope.nope.v1");
    assert_eq!(unknown.text(), "");
    service
        .call(&["Demo.echo~2", "1"])
        .failed(1, "error_code no_action");
    service
        .call(&["Demo.fail"])
        .failed(1, "error_code x_demo: asked to fail");
    service
        .call(&["Demo.stream", "[]"])
        .failed(1, "error_code bad_request");

    // S-8, S-11: what came before the TXERR is delivered, then the error.
    let broken = service.call(&["Demo.txerr", "{\"octets\":1000,\"text\":\"tape ran out\"}"]);
    broken.failed(
        1,
        "error_code transport: reply is not complete: tape ran out",
    );
    assert_eq!(broken.stdout.len(), 1000);
}

/// cli.md, exit code 6: another fingerprint or certificate, and not one request goes out.
#[test]
fn trust() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    let out = folder.path().to_str().unwrap();
    for name in ["one", "two"] {
        run(["keygen", name, "--bits", "2048", "--out", out]).good();
    }
    let file = |path: &std::path::Path, end: &str| path.with_extension(end).display().to_string();
    let (key, cert, other) = (file(&one, "key"), file(&one, "crt"), file(&two, "crt"));
    let service = Serve::start(&["--key", &key, "--cert", &cert]);
    let call = |more: &[&str]| {
        let arguments = [
            "call",
            "Demo.health_check",
            "{}",
            "--connect",
            &service.address,
        ];
        run([&arguments, more].concat())
    };
    assert_eq!(
        run(["fingerprint", &cert]).good(),
        format!("fingerprint: {}\n", service.fingerprint)
    );
    call(&["--certificate", &cert]).good();
    call(&["--any-certificate"]).good();
    call(&[
        "--fingerprint",
        &service.fingerprint.to_lowercase().replace(':', ""),
    ])
    .good();

    let wrong = ["AB"; 20].join(":");
    call(&["--fingerprint", &wrong]).failed(6, &format!("expected {wrong}"));
    call(&["--certificate", &other]).failed(6, "not trusted");
    let refused = call(&["--fingerprint", &wrong, "--json"]);
    assert_eq!(refused.lines()[0]["exit"], 6);
    let health = call(&["--any-certificate"]);
    assert_eq!(
        health.lines()[0]["requests"],
        4,
        "the refused ones were heard"
    );

    call(&["--certificate", "/no/such/file"]).failed(8, "/no/such/file");
    call(&["--fingerprint", "AB"]).failed(2, "AB");
    run(["serve", "--key", &key, "--cert", &other]).failed(8, "one.key");
    run(["serve", "--key", &key]).failed(2, "--cert");
}

/// cli.md, exit code 2: a command line without an address, or without a word on trust.
#[test]
fn usage() {
    run(["call", "A.b", "1"]).failed(8, "--connect HOST:PORT needs no discovery");
    run(["call", "A.b", "1", "--connect", "127.0.0.1:1"]).failed(2, "--any-certificate");
    run(["call", "A.b", "1", "--any-certificate"]).failed(2, "--connect");
    run(["call", "nodot", "1"]).failed(2, "nodot");
    let both = ["--any-certificate", "--certificate", "x"];
    run(["call", "A.b", "--connect", "x:1"].iter().chain(&both)).failed(2, "cannot be used with");
    run(["call", "A.b", "--timeout", "soon"]).failed(2, "soon");
}

/// cli.md, exit code 4: nobody is there, or nobody who speaks TLS; safe to try again.
#[test]
fn not_dispatched() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let arguments = [
        "call",
        "A.b",
        "1",
        "--any-certificate",
        "--connect",
        &address,
    ];
    let peer = thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        // It may be gone before it has heard.
        let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    run(arguments).failed(4, "could not be established");
    peer.join().unwrap();
    // Its listener is closed now.
    let refused = run(arguments.iter().chain(&["--json"]));
    refused.failed(4, "could not be established");
    let object = &refused.lines()[0];
    assert_eq!(
        (&object["exit"], &object["error_code"]),
        (&json!(4), &json!("transport"))
    );
    let nowhere = [
        "call",
        "A.b",
        "1",
        "--any-certificate",
        "--connect",
        "no-port",
    ];
    run(nowhere).failed(4, "no-port");
}

/// S-21, cli.md exit code 5: the deadline holds while connecting, waiting and reading.
#[test]
fn timeout() {
    let service = Serve::start(&[]);
    let slow = ["Demo.sleep", "{\"ms\":60000}", "--timeout", "300ms"];
    service.call(&slow).failed(5, "Timeout");
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let arguments = [
        "call",
        "A.b",
        "1",
        "--any-certificate",
        "--timeout",
        "300ms",
        "--connect",
    ];
    run(arguments.iter().chain(&[address.as_str()])).failed(5, "no connection within");
}

/// S-30, cli.md exit code 7: the service dies while the request is being handled.
#[test]
fn lost_in_the_middle() {
    let mut service = Serve::start(&[]);
    let child = service.spawn(&["Demo.sleep", "{\"ms\":60000}"]);
    service.wait_for("Demo.sleep");
    service.kill();
    let lost = crate::support::Run::from(child.wait_with_output().unwrap());
    lost.failed(7, "Connection lost");
}

/// cli.md, exit code 130.
#[test]
#[cfg(unix)]
fn interrupted() {
    let mut service = Serve::start(&[]);
    let child = service.spawn(&["Demo.sleep", "{\"ms\":60000}"]);
    service.wait_for("Demo.sleep");
    signal(child.id(), "INT");
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(130), 0));
}

/// S-1, S-17: a body flows through `call` and `serve` and back; neither ever holds much of it.
#[test]
#[cfg(target_os = "linux")]
fn bodies_flow() {
    let service = Serve::start(&[]);
    let mut child = scamp(service.arguments(&["Demo.echo", "-"]))
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let piece: Vec<u8> = (0..1024 * 1024_u32).map(|i| (i % 251) as u8).collect();
    let sent = piece.clone();
    let writer = thread::spawn(move || {
        for _ in 0..MIB {
            stdin.write_all(&sent).unwrap();
        }
        stdin
    });
    // The last of it may wait for the end.
    let mut back = vec![0; piece.len()];
    for _ in 1..MIB {
        stdout.read_exact(&mut back).unwrap();
        assert!(back == piece);
    }
    let (most, last) = back.split_at_mut(piece.len() - 65_536);
    stdout.read_exact(most).unwrap();
    let stdin = writer.join().unwrap();
    for pid in [child.id(), service.pid()] {
        let peak = crate::support::peak_memory(pid);
        assert!(peak < 48 * 1024 * 1024, "{peak} octets");
    }
    drop(stdin);
    stdout.read_exact(last).unwrap();
    assert!(back == piece);
    assert_eq!(stdout.read(&mut [0]).unwrap(), 0);
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(0));
}

const MIB: usize = 64;

/// `--stream`: every piece is passed on before the next is there.
#[test]
fn pieces_are_passed_on() {
    let service = Serve::start(&[]);
    let mut child = scamp(service.arguments(&["Demo.echo", "--stream"]))
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    for word in [b"one", b"two", b"six"] {
        stdin.write_all(word).unwrap();
        let mut back = [0; 3];
        stdout.read_exact(&mut back).unwrap();
        assert_eq!(&back, word);
    }
    drop(stdin);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// SIGPIPE: when whoever reads the reply has gone, that is the end, and no fault.
#[test]
fn the_reader_may_go() {
    let service = Serve::start(&[]);
    let mut child = service.spawn(&["Demo.stream", "{\"octets\":1000000000}"]);
    let mut stdout = child.stdout.take().unwrap();
    let mut some = [0; 10];
    stdout.read_exact(&mut some).unwrap();
    assert_eq!(&some, b" '.5<CJQX_");
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
}

/// S-13: a reply that comes before the request's body has ended does not wait for it.
#[test]
fn the_reply_may_come_first() {
    let service = Serve::start(&[]);
    let mut child = scamp(service.arguments(&["Nope.nope", "-"]))
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    // Open, and silent, until the command has ended.
    let stdin = child.stdin.take().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    drop(stdin);
}
