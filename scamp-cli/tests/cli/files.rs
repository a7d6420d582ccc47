//! `keygen` and `fingerprint`.

use std::fs;
use std::path::Path;

use crate::support::{Serve, run, run_with};

fn keygen(folder: &Path, more: &[&str]) -> crate::support::Run {
    let folder = folder.to_str().unwrap();
    let arguments = [
        &["keygen", "greeter", "--bits", "2048", "--out", folder],
        more,
    ]
    .concat();
    run(arguments)
}

/// K-10: key and certificate, the key for its owner only, and the authorized_services line.
#[test]
fn keygen_makes_a_pair() {
    let folder = tempfile::tempdir().unwrap();
    let made = keygen(folder.path(), &[]);
    let lines: Vec<&str> = made.good().lines().collect();
    let fingerprint = lines[0].strip_prefix("fingerprint: ").unwrap();
    assert_eq!(fingerprint.len(), 59);
    assert_eq!(lines[1..], [format!("{fingerprint} main:greeter")]);
    let key = folder.path().join("greeter.key");
    let text = fs::read_to_string(&key).unwrap();
    assert!(text.starts_with("-----BEGIN PRIVATE KEY-----"));
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        assert_eq!(key.metadata().unwrap().mode() & 0o777, 0o600);
    }
    // Nothing else was left behind.
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);

    // K-3: `fingerprint` says the same, in both spellings.
    let certificate = folder.path().join("greeter.crt");
    let certificate = certificate.to_str().unwrap();
    let expected = format!("fingerprint: {fingerprint}\n");
    assert_eq!(run(["fingerprint", certificate]).good(), expected);
    assert_eq!(
        run([format!("-fingerprintpath={certificate}")]).good(),
        expected
    );
    let octets = fs::read(certificate).unwrap();
    assert_eq!(run_with(["fingerprint", "-"], &octets).good(), expected);
    let twice = [octets.as_slice(), octets.as_slice()].concat();
    assert_eq!(
        run_with(["fingerprint", "-"], &twice).good(),
        expected.repeat(2)
    );
    let object = &run(["fingerprint", "--json", certificate]).lines()[0];
    assert_eq!(object["fingerprint"], fingerprint);
    assert_eq!(object["file"], certificate);
}

/// K-10: nothing is overwritten unasked, and nothing half made is left.
#[test]
fn keygen_overwrites_only_when_told() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = folder.path().join("greeter.crt");
    fs::write(&certificate, "precious").unwrap();
    keygen(folder.path(), &[]).failed(8, "greeter.crt exists");
    assert_eq!(fs::read_to_string(&certificate).unwrap(), "precious");
    assert!(!folder.path().join("greeter.key").exists());

    let first = keygen(folder.path(), &["--force", "--json"]).lines();
    let text = fs::read_to_string(&certificate).unwrap();
    assert!(text.starts_with("-----BEGIN CERTIFICATE-----"));
    assert_eq!(first[0]["name"], "greeter");
    let second = keygen(folder.path(), &["--force", "--json"]).lines();
    assert_ne!(first[0]["fingerprint"], second[0]["fingerprint"]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let mode = folder.path().join("greeter.key").metadata().unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

/// cli.md: what is wrong with files is code 8, what is wrong with the command line code 2.
#[test]
fn faults() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("a.txt");
    fs::write(&text, "hello").unwrap();
    let text = text.to_str().unwrap();
    run(["fingerprint", text]).failed(8, "no certificate");
    run(["fingerprint", "/no/such/file"]).failed(8, "/no/such/file");
    let failed = run(["fingerprint", "--json", text]);
    failed.failed(8, "no certificate");
    assert_eq!(failed.lines()[0]["exit"], 8);
    keygen(&folder.path().join("missing"), &[]).failed(8, "missing");
    run(["keygen", "../x"]).failed(2, "letters");
    run(["keygen", "x", "--bits", "512"]).failed(2, "2048");
    run(["fingerprint"]).failed(2, "Usage");
    run([""; 0]).failed(2, "Usage");
    run(["no-such-verb"]).failed(2, "no-such-verb");
}

/// K-3: what a server presents.
#[test]
fn fingerprint_of_a_server() {
    let service = Serve::start(&[]);
    let seen = run(["fingerprint", "--check", &service.address]);
    assert_eq!(
        seen.good(),
        format!("fingerprint: {}\n", service.fingerprint)
    );

    let seen = run([
        "ping",
        "--json",
        &service.address,
        "--fingerprint",
        &service.fingerprint,
    ]);
    seen.good();
    let object = &seen.lines()[0];
    assert_eq!(object["tls"], serde_json::json!(["1.3", "1.2"]));
    assert_eq!(object["fingerprint"], service.fingerprint);
    assert_eq!(object["pinned"], true);
    let other = ["00"; 20].join(":");
    run(["ping", &service.address, "--fingerprint", &other]).failed(6, "expected 00:00");
}
