//! `list`, `describe`, `check` and `cache`, over a cache file of our own.

use std::fs::{self, File};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Run, run, text, vector};

const GO: &str = "46:57:22:F4:DA:F7:56:12:FF:7B:3A:E9:D7:AF:27:B0:61:E4:E7:56";
const JS: &str = "F3:6B:53:BA:3D:5D:5A:C0:F8:DA:F0:B8:10:8D:88:19:EB:10:07:74";

/// A folder with a configuration, authorized_services and a cache file.
struct Bus {
    folder: TempDir,
}

impl Bus {
    /// Two greeters, of which one may greet; a withdrawn one; a forged record.
    fn new() -> Self {
        let bus = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        let folder = text(bus.folder.path()).to_owned();
        fs::write(
            bus.at("scamp.conf"),
            format!(
                "bus.authorized_services = {folder}/services\ndiscovery.cache_path={folder}/cache\n"
            ),
        )
        .unwrap();
        fs::write(bus.at("services"), format!("{GO} Greetings, web:Page\n")).unwrap();
        let record = |key: &str, name: &str, more: &[&str]| {
            let file = |end: &str| vector(&format!("discovery/key-{key}.{end}"));
            let (private, certificate) = (file("key"), file("crt"));
            let always = [
                "sign",
                "--template",
                "--uri",
                "beepish+tls://192.0.2.7:30100",
            ];
            let owner = [
                "--name",
                name,
                "--key",
                text(&private),
                "--cert",
                text(&certificate),
            ];
            run([&always[..], &owner, more].concat()).good().to_owned()
        };
        let hello = ["--action", "Greetings.hello~1,read,t600"];
        let go = record(
            "go",
            "greeter:go",
            &[
                &hello[..],
                &["--action", "Secrets.tell", "--action", "web:Page.render~2"],
            ]
            .concat(),
        );
        let js = record("js", "greeter:js", &hello);
        let gone = record(
            "go",
            "gone:go",
            &["--weight", "0", "--action", "Greetings.bye"],
        );
        let forged = go.replacen("greeter:go", "greeter:GO", 1);
        fs::write(bus.at("cache"), [go, js, gone, forged].concat()).unwrap();
        bus
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> Run {
        let config = self.at("scamp.conf");
        run([arguments, &["--config", text(&config)]].concat())
    }

    fn set_age(&self, age: Duration) {
        let file = File::options().append(true).open(self.at("cache")).unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
    }
}

fn column(lines: &[Value], name: &str) -> Vec<Value> {
    lines.iter().map(|line| line[name].clone()).collect()
}

/// K-5: the actions that may be used, and with --all the others and why not.
#[test]
fn listing_actions() {
    let bus = Bus::new();
    let seen = bus.run(&["list", "--json"]);
    assert_eq!(seen.code, Some(0));
    assert_eq!(
        seen.text().lines().next().unwrap(),
        concat!(
            r#"{"action":"main:Greetings.hello~1","sector":"main","name":"Greetings.hello","#,
            r#""version":1,"flags":["read","t600"],"envelopes":["json"],"instances":2,"usable":1,"#,
            r#""authorized":true,"reason":null}"#
        )
    );
    let names = column(&seen.lines(), "action");
    assert_eq!(names, ["main:Greetings.hello~1", "web:Page.render~2"]);
    assert_eq!(seen.stderr, "2 not shown: --all shows them, and why\n");

    let all = bus.run(&["list", "actions", "--all", "--json"]);
    let lines = all.lines();
    let reasons: Vec<_> = lines
        .iter()
        .map(|line| (&line["action"], &line["reason"]))
        .collect();
    assert_eq!(
        reasons,
        [
            (
                &json!("main:Greetings.bye~1"),
                &json!("withdrawn (weight 0)")
            ),
            (&json!("main:Greetings.hello~1"), &Value::Null),
            (&json!("main:Secrets.tell~1"), &json!("not authorized")),
            (&json!("web:Page.render~2"), &Value::Null),
            (&Value::Null, &json!("bad signature")),
        ]
    );
    assert_eq!(
        lines[4],
        json!({
            "index": 3, "valid": false, "fingerprint": GO, "reason": "bad signature"
        })
    );
    let table = bus.run(&["list", "-q"]);
    let rows: Vec<Vec<&str>> = table
        .good()
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(rows[0], ["Name", "Ver", "Flags", "Instances", "AuthOK"]);
    assert_eq!(
        rows[1],
        [
            "main:Greetings.hello",
            "1",
            "read,t600",
            "1",
            "of",
            "2",
            "yes"
        ]
    );
    assert_eq!(rows[2], ["web:Page.render", "2", "1", "yes"]);
    assert!(!table.text().contains('\u{1b}'));
}

/// K-5: the services, their columns, and the filters of Perl's lssoa.
#[test]
fn listing_services() {
    let bus = Bus::new();
    let seen = bus.run(&["list", "services", "--json"]);
    let lines = seen.lines();
    assert_eq!(lines.len(), 1, "{seen:?}");
    let mut line = lines[0].clone();
    assert!(line["timestamp"].as_f64().unwrap() > 1e9);
    line.as_object_mut().unwrap().remove("timestamp");
    assert_eq!(
        line,
        json!({
            "identity": "greeter:go", "fingerprint": GO, "sector": "main", "weight": 1, "interval": 5,
            "uri": "beepish+tls://192.0.2.7:30100", "envelopes": ["json"], "actions": 3, "usable": 2,
            "authorized": true, "reason": null
        })
    );
    let of = |more: &[&str]| {
        let seen = bus.run(&[&["list", "services", "--all", "--json", "-q"], more].concat());
        let lines = seen.lines();
        let rows = lines.iter().filter(|line| line.get("identity").is_some());
        rows.map(|line| line["identity"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(of(&[]), ["gone:go", "greeter:go", "greeter:js"]);
    assert_eq!(of(&["--name", "greeter"]), ["greeter:go", "greeter:js"]);
    assert_eq!(of(&["--name", "greeter:js"]), ["greeter:js"]);
    assert_eq!(of(&["--name", &format!("{JS}#greeter:js")]), ["greeter:js"]);
    assert_eq!(of(&["--name", "greet"]), [""; 0]);
    assert_eq!(of(&["--sector", "web"]), ["greeter:go"]);
    assert_eq!(of(&["--host", "192.0.2.8"]), [""; 0]);
    assert_eq!(
        of(&["--with-action", "greetings.HELLO"]),
        ["greeter:go", "greeter:js"]
    );
    assert_eq!(of(&["--with-action", "web:Page.render~1"]), [""; 0]);
    let reasons = bus.run(&["list", "services", "--all", "--json"]).lines();
    assert_eq!(
        column(&reasons, "reason"),
        [
            json!("withdrawn (weight 0)"),
            Value::Null,
            json!("its certificate is not listed"),
            json!("bad signature"),
        ]
    );
    let table = bus.run(&["list", "services", "-q"]);
    let headings: Vec<&str> = table
        .good()
        .lines()
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    assert_eq!(
        headings,
        [
            "ID",
            "Sector",
            "Weight",
            "Interval",
            "Address",
            "Envelopes",
            "Fingerprint",
            "#OK"
        ]
    );

    let of_service = bus.run(&["list", "--actions", "greeter", "--json", "-q"]);
    assert_eq!(of_service.lines().len(), 2);
    let sectors = bus.run(&["list", "sectors", "--json", "-q"]);
    assert_eq!(
        sectors.lines(),
        [
            json!({"sector": "main", "services": 3, "actions": 3, "usable": 1}),
            json!({"sector": "web", "services": 1, "actions": 1, "usable": 1}),
        ]
    );
    // --raw is a cache file again.
    let raw = bus.run(&["list", "--raw", "-q"]);
    let verdict = crate::support::run_with(["verify", "--json", "-"], &raw.stdout);
    verdict.good();
    assert_eq!(verdict.lines()[0]["identity"], "greeter:go");
}

/// cli.md: flags, timeout, envelopes, instances; 3 for what nobody offers, 6 for what nobody may.
#[test]
fn describing() {
    let bus = Bus::new();
    let seen = bus.run(&["describe", "--json", "greetings.hello"]);
    seen.good();
    assert_eq!(
        seen.lines()[0],
        json!({
            "action": "main:Greetings.hello~1", "sector": "main", "name": "Greetings.hello",
            "version": 1, "flags": ["read", "t600"], "envelopes": ["json"], "timeout": 605,
            "instances": [
                {"identity": "greeter:go", "fingerprint": GO, "weight": 1,
                 "uri": "beepish+tls://192.0.2.7:30100", "flags": ["read", "t600"],
                 "envelopes": ["json"], "authorized": true, "reason": null},
                {"identity": "greeter:js", "fingerprint": JS, "weight": 1,
                 "uri": "beepish+tls://192.0.2.7:30100", "flags": ["read", "t600"],
                 "envelopes": ["json"], "authorized": false, "reason": "not authorized"},
            ],
        })
    );
    let shown = bus.run(&["describe", "Greetings.hello"]);
    assert!(
        shown
            .good()
            .starts_with("main:Greetings.hello~1\n  flags      read, t600\n")
    );
    assert!(shown.text().contains("\n  timeout    605 s\n"));
    bus.run(&["describe", "Greetings.none"])
        .failed(3, "main:Greetings.none~1: no service");
    bus.run(&["describe", "Greetings.hello~2"])
        .failed(3, "it has version 1");
    let secret = bus.run(&["describe", "Secrets.tell", "--json"]);
    secret.failed(6, "authorized_services");
    assert_eq!(secret.lines().len(), 1);
    bus.run(&["describe", "nodot"]).failed(2, "nodot");
}

/// D-36: a stale cache is no cache, unless the policy is to warn; --all shows what is in it.
#[test]
fn stale_caches() {
    let bus = Bus::new();
    bus.set_age(Duration::from_secs(1000));
    bus.run(&["list"]).failed(3, "is a cache manager running?");
    bus.run(&["describe", "Greetings.hello", "-q"])
        .failed(3, "120 s is the most");
    let all = bus.run(&["list", "--all", "--json"]).lines();
    assert!(column(&all, "reason").contains(&json!("the cache file is stale")));
    let shown = bus.run(&["cache", "show", "--json"]);
    assert_eq!(shown.lines()[0]["stale"], true);
    let inventory = bus.at("inventory");
    fs::write(&inventory, r#"{"Greetings.hello":{"red":1}}"#).unwrap();
    let checked = bus.run(&["check", "--json", "-q", "--inventory", text(&inventory)]);
    checked.failed(1, "1 red");
    bus.run(&["check", "--dump"]).failed(3, "120 s is the most");

    let config = bus.at("scamp.conf");
    let mut conf = fs::read_to_string(&config).unwrap();
    conf.push_str("discovery.stale_policy = warn\n");
    fs::write(&config, conf).unwrap();
    let warned = bus.run(&["list", "--json"]);
    assert_eq!((warned.code, warned.lines().len()), (Some(0), 2));
    assert!(warned.stderr.contains("used all the same"), "{warned:?}");

    fs::remove_file(bus.at("cache")).unwrap();
    bus.run(&["list"]).failed(3, "cache: No such file");
    fs::write(bus.at("cache"), "").unwrap();
    bus.run(&["list"]).failed(3, "no service in it");
}

/// Z-7: without authorized_services nothing may be used, and that is said.
#[test]
fn nobody_is_authorized() {
    let bus = Bus::new();
    fs::remove_file(bus.at("services")).unwrap();
    let seen = bus.run(&["list", "--json"]);
    assert_eq!((seen.code, seen.text()), (Some(0), ""));
    assert!(
        seen.stderr.contains("absent, so nothing is authorized"),
        "{seen:?}"
    );
    assert!(seen.stderr.contains("4 not shown"), "{seen:?}");
}

/// K-9: exit 1 on red, 3 on yellow only, 0 on green; the dump is an inventory.
#[test]
fn checking() {
    let bus = Bus::new();
    let inventory = bus.at("inventory");
    let check = |json: &str| {
        fs::write(&inventory, json).unwrap();
        bus.run(&["check", "--json", "--inventory", text(&inventory)])
    };
    let dump = bus.run(&["check", "--dump"]);
    assert_eq!(
        dump.good(),
        "{\"main:Greetings.hello~1\":{\"red\":1,\"yellow\":1},\
         \"web:Page.render~2\":{\"red\":1,\"yellow\":1}}\n"
    );
    let green = check(dump.text());
    green.good();
    assert_eq!(
        green.lines()[0],
        json!({
            "action": "main:Greetings.hello~1", "state": "green", "instances": 1, "red": 1, "yellow": 1
        })
    );
    check(r#"{"main:Greetings.hello~1":{"red":1,"yellow":2}}"#).failed(3, "0 red, 1 yellow");
    let red = check(r#"{"A.b":{"yellow":2},"main:Greetings.hello~1":{"red":2,"yellow":2}}"#);
    red.failed(1, "1 red, 1 yellow");
    assert_eq!(column(&red.lines(), "state"), ["yellow", "red"]);
    let table = bus.run(&["check", "--inventory", text(&inventory)]);
    table.failed(1, "1 red");
    assert!(
        table.text().contains("red     main:Greetings.hello~1"),
        "{table:?}"
    );
    check("[]").failed(8, "inventory: an inventory is a JSON object");
    check(r#"{"A.b":{"red":"x"}}"#).failed(8, "red of \"A.b\"");
    bus.run(&["check"]).failed(2, "--inventory");
}

/// cli.md: what `cache show` and `cache verify` tell of the configuration's cache file.
#[test]
fn looking_into_the_cache() {
    let bus = Bus::new();
    let shown = bus.run(&["cache", "show", "--json"]);
    let lines = shown.lines();
    assert_eq!(lines.len(), 4);
    assert_eq!(
        (&lines[0]["records"], &lines[0]["bad"]),
        (&json!(4), &json!(1))
    );
    assert_eq!(lines[0]["stale"], false);
    assert!(lines[0]["age"].as_f64().unwrap() >= 0.0);
    assert_eq!(
        column(&lines[1..], "identity"),
        ["gone:go", "greeter:go", "greeter:js"]
    );
    let text_form = bus.run(&["cache", "show"]);
    assert!(
        text_form.good().contains("4 records, 1 not valid\n"),
        "{text_form:?}"
    );
    let verified = bus.run(&["cache", "verify", "--json"]);
    verified.failed(6, "1 of 4 announcements not valid");
    assert_eq!(
        column(&verified.lines(), "valid"),
        [true, true, true, false]
    );
    let missing = bus.at("none");
    bus.run(&["cache", "verify", text(&missing)])
        .failed(8, "none: No such file");
}

/// C-4, C-3: which file is missing, who named it, and which line of it is wrong.
#[test]
fn configurations() {
    run(["list", "--config", "/no/such.conf"]).failed(8, "/no/such.conf: No such file");
    let named = |variable: &str| -> Run {
        let mut command = crate::support::scamp(["list"]);
        command
            .env(variable, "/no/such.conf")
            .output()
            .unwrap()
            .into()
    };
    for variable in ["SCAMP_CONFIG", "SCAMP", "GTSOA"] {
        let failed = named(variable);
        failed.failed(
            8,
            &format!("(named by the environment variable {variable})"),
        );
    }
    let bus = Bus::new();
    fs::write(
        bus.at("scamp.conf"),
        "\ndiscovery.cache_path = x\ndiscovery.cache_max_age = soon\n",
    )
    .unwrap();
    let failed = bus.run(&["list", "-q", "--cache", text(&bus.at("cache"))]);
    failed.failed(8, "scamp.conf, line 3: discovery.cache_max_age: \"soon\"");
    fs::write(bus.at("scamp.conf"), "nonsense\n").unwrap();
    let told = bus.run(&["list"]);
    assert_eq!(told.code, Some(8));
    assert!(
        told.stderr.contains("scamp.conf, line 1: there is no ="),
        "{told:?}"
    );
    assert!(told.stderr.contains("set discovery.cache_path"), "{told:?}");
}
