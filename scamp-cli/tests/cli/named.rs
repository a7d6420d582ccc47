//! `call` by name, and services that are announced.

use std::fs::{self, File};
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

use crate::support::{Run, Serve, run, scamp, signal, text, vector};

pub(crate) const GO: &str = "46:57:22:F4:DA:F7:56:12:FF:7B:3A:E9:D7:AF:27:B0:61:E4:E7:56";
const JS: &str = "F3:6B:53:BA:3D:5D:5A:C0:F8:DA:F0:B8:10:8D:88:19:EB:10:07:74";

/// A bus on the loopback interface, with a port of its own and a service `greeter`.
pub(crate) struct Bus {
    folder: tempfile::TempDir,
}

impl Bus {
    pub(crate) fn new() -> Self {
        let bus = Self::at_address("127.0.0.1");
        fs::write(bus.at("services"), format!("{GO} main:ALL\n")).unwrap();
        bus
    }

    /// One that is no bus of this machine alone, where nobody is waited for.
    fn elsewhere() -> Self {
        let bus = Self::at_address("192.0.2.1");
        fs::write(bus.at("services"), format!("{GO} main:ALL\n")).unwrap();
        bus
    }

    fn at_address(address: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bus = Self { folder };
        let root = text(bus.folder.path()).to_owned();
        let config = format!(
            "bus.address = {address}\n\
             bus.authorized_services = {root}/services\n\
             discovery.local_multicast = yes\n\
             discovery.local_port = {}\n\
             discovery.cache_path = {root}/cache\n\
             service.announce_interval = 1\n\
             service.shutdown_grace = 1\n\
             greeter.soa_key = {}\n\
             greeter.soa_cert = {}\n",
            free_port(),
            text(&vector("discovery/key-go.key")),
            text(&vector("discovery/key-go.crt")),
        );
        fs::write(bus.config(), config).unwrap();
        bus
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.at("scamp.conf")
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        let mut command = scamp(arguments);
        let command = command.env("SCAMP_CONFIG", self.config());
        command.output().unwrap().into()
    }

    pub(crate) fn serve(&self, arguments: &[&str]) -> Serve {
        Serve::on(&self.config(), arguments)
    }

    /// Runs it until it comes out as wanted.
    #[track_caller]
    pub(crate) fn until(&self, arguments: &[&str], is_it: impl Fn(&Run) -> bool) -> Run {
        let begun = Instant::now();
        loop {
            let seen = self.run(arguments);
            if is_it(&seen) {
                return seen;
            }
            assert!(begun.elapsed() < PATIENCE, "{arguments:?}: {seen:?}");
        }
    }

    /// Two instances that everybody knows of.
    pub(crate) fn two(&self) -> [Serve; 2] {
        let both = [self.serve(&[]), self.serve(&[])];
        let dry = ["call", "--dry-run", "--json", "Demo.echo"];
        self.until(&dry, |seen| {
            seen.code == Some(0) && seen.lines()[0]["others"].as_array().unwrap().len() == 1
        });
        both
    }

    /// A cache file with a service of some actions, one of them secret, one that it may not offer, and
    /// some with names that nobody would give in good faith.
    pub(crate) fn announce_some(&self) {
        fs::write(self.at("services"), format!("{GO} main:ALL, web:ALL\n")).unwrap();
        let file = |name: &str| vector(&format!("discovery/{name}"));
        let (key, certificate, cache) = (file("key-go.key"), file("key-go.crt"), self.at("cache"));
        let mut arguments = vec!["sign", "--template", "--name", "there:1"];
        arguments.extend(["--uri", "beepish+tls://127.0.0.1:1"]);
        for action in [
            "Greetings.wave~2",
            "Greetings.hello,read,noauth",
            "Demo.echo",
            "web:Page.get",
            "Demo.hidden,secret",
            "Demo.$(touch x)",
            "Demo.two words",
            "Demo.esc\u{1b}ape",
            "elsewhere:Demo.unlisted",
        ] {
            arguments.extend(["--action", action]);
        }
        arguments.extend(["--key", text(&key), "--cert", text(&certificate)]);
        arguments.extend(["-o", text(&cache)]);
        run(arguments).good();
    }

    /// A cache file that says that a service with this key is at this address.
    fn cache(&self, key: &str, address: &str) {
        let file = |end: &str| vector(&format!("discovery/key-{key}.{end}"));
        let uri = format!("beepish+tls://{address}");
        let template = ["sign", "--template", "--name", "there:1", "--uri", &uri];
        let (private, certificate, cache) = (file("key"), file("crt"), self.at("cache"));
        let rest = [
            "--key",
            text(&private),
            "--cert",
            text(&certificate),
            "-o",
            text(&cache),
        ];
        let actions = ["--action", "Demo.echo", "--action", "Demo.sleep"];
        run([&template[..], &actions, &rest].concat()).good();
    }
}

const PATIENCE: Duration = Duration::from_secs(30);

fn free_port() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().port()
}

/// issue 3: after `provision`, two commands are a bus; and a third instance of the same.
#[test]
fn two_commands() {
    let folder = tempfile::tempdir().unwrap();
    let made = run(["provision", "--json", text(&folder.path().join("bus"))]);
    made.good();
    let config = made.lines()[0]["config"].as_str().unwrap().to_owned();
    let own_port = format!("discovery.local_port = {}\n", free_port());
    let whole = fs::read_to_string(&config).unwrap() + &own_port;
    fs::write(&config, whole).unwrap();

    let service = Serve::on(Path::new(&config), &[]);
    assert!(
        service.ready["identity"]
            .as_str()
            .unwrap()
            .starts_with("scamp-demo:")
    );
    let call = |arguments: &[&str]| -> Run {
        let mut command = scamp([&["call"], arguments].concat());
        command
            .env("SCAMP_CONFIG", &config)
            .output()
            .unwrap()
            .into()
    };
    // At once: it waits until the service is known.
    let hello = call(&["Greetings.hello", "{\"name\":\"World\"}"]);
    assert_eq!(hello.good(), "\"Hello World\"");
    let whole = call(&[
        "main:demo.ECHO~1",
        "[1]",
        "--json",
        "--instance",
        service.ready["identity"].as_str().unwrap(),
    ]);
    whole.good();
    assert_eq!(whole.lines()[0]["body"], serde_json::json!([1]));
    let long = call(&["Demo.stream", "{\"octets\":20000000}"]);
    assert_eq!((long.code, long.stdout.len()), (Some(0), 20_000_000));
    call(&["Demo.fail", "{\"code\":\"x_y\"}"]).failed(1, "x_y");
    call(&["Demo.sleep", "{\"ms\":60000}", "--timeout", "1s"]).failed(5, "Timeout");
    call(&[
        "Demo.echo",
        "1",
        "--instance",
        "scamp-demo:none",
        "--timeout",
        "10ms",
    ])
    .failed(3, "no service offers");

    // Another of the same name, beside it.
    let second = Serve::on(Path::new(&config), &[]);
    assert_ne!(second.ready["identity"], service.ready["identity"]);
    let begun = Instant::now();
    let dry = loop {
        let seen = call(&["Greetings.hello", "--dry-run", "--json"]);
        seen.good();
        let object = seen.lines().remove(0);
        if object["others"][0].is_object() {
            break object;
        }
        assert!(begun.elapsed() < PATIENCE, "{object}");
    };
    let identities = |object: &Value| {
        let mut both = [
            object["chosen"]["identity"].as_str().unwrap().to_owned(),
            object["others"][0]["identity"].as_str().unwrap().to_owned(),
        ];
        both.sort();
        both
    };
    let mut ours =
        [&service, &second].map(|one| one.ready["identity"].as_str().unwrap().to_owned());
    ours.sort();
    assert_eq!(identities(&dry), ours);
    assert_eq!(
        dry["others"][0]["reason"],
        "as good, but another was chosen"
    );
    assert_eq!(dry["action"], "main:Greetings.hello~1");
}

/// D-29, K-7: a service that leaves is found no more, while it still has the time to.
#[test]
#[cfg(unix)]
fn withdrawn() {
    let bus = Bus::new();
    let mut service = bus.serve(&[]);
    bus.run(&["call", "Demo.echo", "1"]).good();
    signal(service.pid(), "INT");
    let gone = bus.until(&["call", "Demo.echo", "1", "--timeout", "1s"], |seen| {
        seen.code == Some(3)
    });
    gone.failed(3, "no service offers main:Demo.echo~1");
    // A second signal does not wait for the last of its announcements.
    signal(service.pid(), "INT");
    assert_eq!(service.wait(), Some(0));
    // And one that comes is found again.
    let _service = bus.serve(&[]);
    bus.run(&["call", "Demo.echo", "1"]).good();
}

/// D-36, cli.md: exit code 3 without a cache file, and with one that is too old.
#[test]
fn stale_cache() {
    let bus = Bus::elsewhere();
    bus.run(&["call", "Demo.echo", "1"])
        .failed(3, "No such file");
    bus.cache("go", "127.0.0.1:1");
    let file = File::options().append(true).open(bus.at("cache")).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(1000))
        .unwrap();
    let stale = bus.run(&["call", "Demo.echo", "1"]);
    stale.failed(3, "the discovery cache is stale");
    let dry = bus.run(&["call", "--dry-run", "--json", "Demo.echo"]);
    assert_eq!(dry.code, Some(3));
    let object = &dry.lines()[0];
    assert_eq!(object["chosen"], Value::Null);
    assert_eq!(object["others"][0]["reason"], "the cache file is stale");
    run(["call", "Demo.echo", "1", "--config", "/no/such.conf"]).failed(8, "/no/such.conf");
}

/// cli.md: each reason why nobody is asked has its code.
#[test]
fn nobody_to_ask() {
    let bus = Bus::elsewhere();
    bus.cache("go", "127.0.0.1:1");
    bus.run(&["call", "Demo.nope"])
        .failed(3, "no service offers main:Demo.nope~1");
    bus.run(&["call", "Demo.echo", "--sector", "web"])
        .failed(3, "web:Demo.echo~1");
    bus.run(&["call", "web:Demo.echo"])
        .failed(3, "web:Demo.echo~1");
    bus.run(&["call", "Demo.echo~2"]).failed(3, "Demo.echo~2");
    bus.run(&["call", "Demo.echo", "--envelope", "x"])
        .failed(3, "under envelope x");
    bus.run(&["call", "Demo.echo", "1"])
        .failed(4, "could not be established");
    let refused = bus.run(&["call", "Demo.echo", "1", "--json"]);
    let object = &refused.lines()[0];
    assert_eq!(
        (&object["error_code"], &object["exit"]),
        (&"transport".into(), &4.into())
    );

    bus.cache("js", "127.0.0.1:1");
    bus.run(&["call", "Demo.echo", "1"])
        .failed(6, "bus.authorized_services lists no service");
    let dry = bus.run(&["call", "Demo.echo", "--dry-run"]);
    assert!(dry.text().contains("not authorized"), "{dry:?}");
    assert_eq!(dry.code, Some(6));
}

/// L-3: whoever answers at an announced address with another certificate is not asked.
#[test]
fn an_impostor() {
    let bus = Bus::elsewhere();
    fs::write(bus.at("services"), format!("{JS} main:ALL\n")).unwrap();
    let key = vector("discovery/key-go.key");
    let cert = vector("discovery/key-go.crt");
    let service = Serve::start(&["--key", text(&key), "--cert", text(&cert)]);
    bus.cache("js", &service.address);
    bus.run(&["call", "Demo.echo", "1"])
        .failed(6, "not trusted");
}

/// V-3: a name without a key is not announced, and says so; nothing is without a configuration.
#[test]
fn not_announced() {
    let bus = Bus::new();
    for arguments in [
        &["--name", "other"][..],
        &["--static"],
        &["--listen", "127.0.0.1:0"],
    ] {
        let service = bus.serve(arguments);
        assert_eq!(service.ready["identity"], Value::Null, "{arguments:?}");
    }
    bus.run(&["serve", "--name", "other", "--keep-cache"])
        .failed(8, "other");
    run(["serve", "--keep-cache"]).failed(8, "needs a configuration");
}
