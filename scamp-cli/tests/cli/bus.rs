//! `provision` and `doctor`.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Run, run, scamp, text};

fn provision() -> (tempfile::TempDir, Value) {
    let folder = tempfile::tempdir().unwrap();
    let bus = folder.path().join("a bus");
    let made = run(["provision", "--json", "--name", "greeter", text(&bus)]);
    made.good();
    let object = made.lines().remove(0);
    (folder, object)
}

fn doctor(config: &str) -> Run {
    let mut command = scamp(["doctor", "--json"]);
    command.env("SCAMP_CONFIG", config).output().unwrap().into()
}

fn states(run: &Run) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let pair = |line: &Value| (text(&line["check"]), text(&line["state"]));
    run.lines().iter().map(pair).collect()
}

/// issue 3: a bus in one folder; everything that the configuration names is there and fits.
#[test]
fn provisioning() {
    let (_folder, made) = provision();
    let file = |name: &str| made[name].as_str().unwrap().to_owned();
    #[cfg(unix)]
    for key in ["key", "ticket_key"] {
        use std::os::unix::fs::MetadataExt;
        assert_eq!(fs::metadata(file(key)).unwrap().mode() & 0o777, 0o600);
    }
    let seen = doctor(&file("config"));
    assert_eq!(seen.code, Some(0), "{seen:?}");
    let states = states(&seen);
    for check in [
        "config",
        "authorized_services",
        "service greeter",
        "ticket key",
        "clock",
    ] {
        assert!(
            states.contains(&(check.to_owned(), "ok".to_owned())),
            "{check}: {seen:?}"
        );
    }
    assert_eq!(
        states.last(),
        Some(&("cache".to_owned(), "warning".to_owned()))
    );

    // An announcement of the service counts for everybody who has this configuration.
    let sign = [
        &[
            "sign",
            "--template",
            "--name",
            "greeter",
            "--action",
            "Greetings.hello",
        ][..],
        &[
            "--uri",
            "beepish+tls://127.0.0.1:30100",
            "-o",
            &file("cache"),
        ],
        &["--key", &file("key"), "--cert", &file("certificate")],
    ];
    run(sign.concat()).good();
    let mut list = scamp(["list", "--json"]);
    let seen: Run = list
        .env("SCAMP_CONFIG", file("config"))
        .output()
        .unwrap()
        .into();
    seen.good();
    assert_eq!(seen.lines()[0]["action"], "main:Greetings.hello~1");
    let states = self::states(&doctor(&file("config")));
    assert_eq!(states.last(), Some(&("cache".to_owned(), "ok".to_owned())));

    // And so do its tickets.
    let issued = run([
        "ticket",
        "issue",
        "--user",
        "1",
        "--key",
        &file("ticket_key"),
    ]);
    let config = file("config");
    run([
        "ticket",
        "verify",
        "--config",
        &config,
        issued.good().trim_end(),
    ])
    .good();
}

/// What is there stays, unless --force says otherwise.
#[test]
fn provisioning_again() {
    let (folder, made) = provision();
    let bus = folder.path().join("a bus");
    let before = fs::read(bus.join("greeter.crt")).unwrap();
    let again =
        |more: &[&str]| run([&["provision", "--name", "greeter", text(&bus)], more].concat());
    again(&[]).failed(8, "exists; --force overwrites it");
    assert_eq!(fs::read(bus.join("greeter.crt")).unwrap(), before);
    assert_eq!(again(&["--force", "-q"]).good().trim_end(), made["config"]);
    assert_ne!(fs::read(bus.join("greeter.crt")).unwrap(), before);
    run(["provision", text(&folder.path().join("a#b"))]).failed(8, "no way to say");
}

/// cli.md: each thing that is wrong is found and named, and the exit code is 8.
#[test]
fn the_doctor_finds_faults() {
    let (_folder, made) = provision();
    let file = |name: &str| made[name].as_str().unwrap().to_owned();
    let config = fs::read_to_string(file("config")).unwrap();
    let with = |text: String| {
        fs::write(file("config"), text).unwrap();
        let seen = doctor(&file("config"));
        fs::write(file("config"), &config).unwrap();
        seen
    };
    let finds = |seen: &Run, check: &str, state: &str, word: &str| {
        let found = seen.lines().into_iter().any(|line| {
            line["check"] == check
                && line["state"] == state
                && line["text"].as_str().unwrap().contains(word)
        });
        assert!(found, "{check} {state} {word}: {seen:?}");
        assert_eq!(
            seen.code,
            Some(if state == "failed" { 8 } else { 0 }),
            "{seen:?}"
        );
    };
    let seen = with(format!("{config}rpc.timeout = soon\n"));
    finds(&seen, "config", "failed", "rpc.timeout: \"soon\"");
    assert!(seen.stderr.contains("1 of the checks failed"), "{seen:?}");
    finds(
        &with(format!("{config}nonsense\n")),
        "config",
        "warning",
        "line 10",
    );
    finds(
        &with(format!("{config}rpc.timeuot = 3\n")),
        "config",
        "warning",
        "rpc.timeuot",
    );
    finds(
        &with(config.replace("127.0.0.1", "192.0.2.1")),
        "addresses",
        "failed",
        "192.0.2.1",
    );
    finds(
        &with(config.replace("ticket.crt", "none")),
        "ticket key",
        "failed",
        "none",
    );
    finds(
        &with(config.replace("greeter.crt", "ticket.crt")),
        "service greeter",
        "failed",
        "does not belong",
    );
    let services = config.replace("bus.authorized_services", "#");
    finds(&with(services), "authorized_services", "failed", "not set");

    fs::write(file("authorized_services"), "nonsense\n").unwrap();
    let seen = with(config.clone());
    finds(&seen, "authorized_services", "warning", "line 1");
    finds(
        &seen,
        "service greeter",
        "warning",
        "not in authorized_services",
    );
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let open = fs::Permissions::from_mode(0o666);
        fs::set_permissions(file("key"), open.clone()).unwrap();
        fs::set_permissions(file("authorized_services"), open).unwrap();
        let seen = with(config.clone());
        finds(&seen, "service greeter", "failed", "others can read");
        finds(&seen, "authorized_services", "failed", "others can write");
    }
    fs::write(file("cache"), "\n%%%\nnonsense\n\n").unwrap();
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(1000);
    let cache = fs::File::options()
        .append(true)
        .open(file("cache"))
        .unwrap();
    cache.set_modified(old).unwrap();
    let seen = with(config.clone());
    finds(&seen, "cache", "failed", "120 s is the most");
    let missing = doctor("/no/such.conf");
    assert_eq!(
        missing.lines(),
        [json!({
            "check": "config", "state": "failed",
            "text": "/no/such.conf: No such file or directory (os error 2) (named by the environment \
                     variable SCAMP_CONFIG)"
        })]
    );
}
