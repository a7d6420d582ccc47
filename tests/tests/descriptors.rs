//! What becomes of a process that has no file descriptor left, and then has some again (F-16).
//!
//! That process is this test program again, with few of them, so that nobody else's are used up.

#![allow(clippy::unwrap_used)]
#![cfg(unix)]

#[path = "support/face.rs"]
#[allow(dead_code, reason = "this file uses a part of it")]
mod face;
#[path = "support/requester.rs"]
mod requester;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use face::{Client, Face, RUNTIME, Running, bounded, identity};
use requester::Requester;
use scamp_blocking::scamp_host::{self, Authorized, Bus};
use scamp_proto::config::Config;
use scamp_proto::error::{DispatchError, Loss};
use scamp_proto::{CallError, CloseReason, ExchangeError};
use scamp_tls::Pin;

#[test]
fn blocking() {
    bounded(|| in_a_process_of_its_own(Face::Blocking));
}

#[test]
fn tokio() {
    bounded(|| in_a_process_of_its_own(Face::Tokio));
}

/// Runs [`the_starving`] with a service to connect to and a folder for its files.
fn in_a_process_of_its_own(face: Face) {
    let service = Running::start(face);
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new("sh")
        .args(["-c", "ulimit -n 40; exec \"$@\"", "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["the_starving", "--exact", "--nocapture"])
        .env(ROLE, format!("{face:?}"))
        .env(SERVICE, &service.address)
        .env(FOLDER, folder.path())
        .output()
        .unwrap();
    let (stdout, stderr) = (&output.stdout, &output.stderr);
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(stdout),
        String::from_utf8_lossy(stderr)
    );
    // It had connections in between, and has gone with all of them.
    face::until("they are gone", || service.connections() == 0);
}

/// F-13, F-16, HD-41, Z-7, D-35: without a descriptor nobody is connected to, with a reason that says that
/// nothing was sent; files keep what they last said, told once; with descriptors, all is as ever,
/// and none was lost on the way.
#[test]
fn the_starving() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let face = match &role[..] {
        "Blocking" => Face::Blocking,
        _ => Face::Tokio,
    };
    let address = std::env::var(SERVICE).unwrap();
    let files = Files::at(std::env::var(FOLDER).unwrap().as_ref());
    let (mut bus, mut services) = files.open();
    let requester = Requester::to(face, &address, "Echo.whole");
    // The runtime has files of its own; connections have theirs only while they are there.
    LazyLock::force(&RUNTIME);
    let room = Hoard::all().release();
    let all_are_back = || face::until("all are back", || Hoard::all().release() == room);
    assert_eq!(connect(face, &address), Ok("x".into()));
    all_are_back();
    // F-13: however often, and whether or not anybody is there.
    let nobody = nobody();
    for _ in 0..100 {
        assert_eq!(connect(face, &address), Ok("x".into()));
        assert!(connect(face, &nobody).is_err());
    }
    all_are_back();

    files.change();
    let hoard = Hoard::all();
    // The cache file, authorized_services, and a file that is to be written.
    for second in 1..=3 {
        let news = bus.refresh(scamp_proto::Instant::from_epoch(Duration::from_secs(
            second,
        )));
        assert!(news.is_none());
        assert_eq!(bus.news().directory.instances().len(), 1);
    }
    let notes = bus.notes();
    let told: Vec<_> = notes
        .iter()
        .filter(|note| note.contains("open files"))
        .collect();
    assert_eq!(told.len(), 1, "{notes:?}");
    let mut events = Vec::new();
    for _ in 0..3 {
        assert!(!services.look(&mut |event| events.push(event.to_string())));
        assert!(services.current().lists(&files.listed));
    }
    assert_eq!(events.len(), 1, "{events:?}");
    assert!(scamp_host::file::replace(&files.cache, b"lost").is_err());
    assert!(scamp_host::file::read(&files.cache, 1 << 20).is_err());
    let error = connect(face, &address).unwrap_err();
    assert!(error.contains("open files"), "{error}");
    let error = requester.call("Echo.whole", "x").unwrap_err();
    let CallError::NotDispatched(DispatchError::NotEstablished { reason, .. }) = &error else {
        panic!("{error:?}");
    };
    assert!(reason.to_string().contains("open files") && error.is_dispatch_failure());
    hoard.release();

    // With one descriptor more each time, until there are enough.
    let mut failures = 0;
    for spared in 0.. {
        let mut hoard = Hoard::all();
        hoard.0.truncate(room - spared);
        let result = connect(face, &address);
        drop(hoard);
        all_are_back();
        match result {
            Ok(body) => {
                assert_eq!(body, "x");
                break;
            }
            Err(_) => failures += 1,
        }
    }
    assert!(failures > 0);

    let news = bus.refresh(scamp_proto::Instant::from_epoch(Duration::from_secs(9)));
    assert_eq!(news.unwrap().directory.instances().len(), 4);
    assert!(services.look(&mut |event| panic!("{event}")));
    assert!(!services.current().lists(&files.listed));
    // Failures to connect are waited out (S-34).
    face::until("it is called again", || {
        match requester.call("Echo.whole", "x") {
            Ok(body) => body == "x",
            Err(error) => {
                assert!(error.is_dispatch_failure(), "{error}");
                false
            }
        }
    });
}

/// Connects, asks and leaves; an error in its own words, which must be one of not connecting.
fn connect(face: Face, address: &str) -> Result<Bytes, String> {
    let pin = Pin::Fingerprint(identity().fingerprint());
    match Client::connect(face, address, pin) {
        Ok(client) => Ok(client.call("Echo.whole", "x").unwrap()),
        Err(CallError::NoReply(ExchangeError::NotEstablished(reason))) => {
            let is_connecting = matches!(&reason, CloseReason::Lost(Loss::Connect(_)));
            assert!(is_connecting, "{reason:?}");
            Err(reason.to_string())
        }
        Err(other) => panic!("{other:?}"),
    }
}

/// An address where nobody listens.
fn nobody() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

/// All descriptors that are left, taken.
struct Hoard(Vec<File>);

impl Hoard {
    fn all() -> Self {
        Self(std::iter::from_fn(|| File::open("/dev/null").ok()).collect())
    }

    /// Gives them back, and says how many they were.
    fn release(self) -> usize {
        self.0.len()
    }
}

/// A cache file and a list of services, and what is to come in their places.
struct Files {
    cache: PathBuf,
    services: PathBuf,
    listed: scamp_proto::auth::Fingerprint,
}

impl Files {
    fn at(folder: &Path) -> Self {
        let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/scamp/discovery");
        let files = Self {
            cache: folder.join("cache"),
            services: folder.join("services"),
            listed: identity().fingerprint(),
        };
        let one = fs::read_to_string(vectors.join("base.txt")).unwrap();
        fs::write(&files.cache, format!("\n%%%\n{one}")).unwrap();
        let four = vectors.join("cache-manager-four.txt");
        fs::copy(four, folder.join("cache.next")).unwrap();
        fs::write(&files.services, format!("{} main:ALL\n", files.listed)).unwrap();
        let other = scamp_proto::auth::Fingerprint::of(b"another");
        fs::write(folder.join("services.next"), format!("{other} main:ALL\n")).unwrap();
        files
    }

    fn open(&self) -> (Bus, Authorized) {
        let text = format!(
            "discovery.cache_path = {}\nbus.authorized_services = {}\n",
            self.cache.display(),
            self.services.display()
        );
        let (config, events) = Config::parse("scamp.conf", text.as_bytes());
        assert!(events.is_empty());
        let mut bus = Bus::from_config(&config).unwrap();
        let news = bus.refresh(scamp_proto::Instant::EPOCH).unwrap();
        assert_eq!(news.directory.instances().len(), 1);
        let mut services = Authorized::of(&config).unwrap();
        assert!(services.look(&mut |event| panic!("{event}")));
        (bus, services)
    }

    /// Puts the next versions in their places, which takes no descriptor.
    fn change(&self) {
        for path in [&self.cache, &self.services] {
            fs::rename(path.with_extension("next"), path).unwrap();
        }
    }
}

/// What a process of this test program is told: which face it is to use, where the service is, and
/// where its files are.
const ROLE: &str = "SCAMP_TEST_STARVES";
const SERVICE: &str = "SCAMP_TEST_SERVICE";
const FOLDER: &str = "SCAMP_TEST_FOLDER";
