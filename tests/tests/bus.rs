//! Services found by name, with real sockets on the loopback: announced, heard, written to the cache
//! file, chosen, called, and gone.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use scamp_blocking::scamp_host::{CacheManager, CacheManagerHandle};
use scamp_blocking::scamp_proto::config::Config;
use scamp_blocking::scamp_proto::error::DispatchError;
use scamp_blocking::{CallError, Fingerprint, Identity, JsonError};
use serde_json::{Value, json};

const CERTIFICATE: &str = include_str!("../../scamp-tls/tests/data/rsa2048.crt");
const KEY: &str = include_str!("../../scamp-tls/tests/data/rsa2048.key");

/// A bus of its own: an address of the loopback, a multicast port, and a folder.
struct Bus {
    folder: tempfile::TempDir,
    config: Config,
}

impl Bus {
    /// `number` tells it from those of other tests.
    fn new(number: u8) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        fs::write(path("greeter.crt"), CERTIFICATE).unwrap();
        fs::write(path("greeter.key"), KEY).unwrap();
        let text = format!(
            "bus.address = 127.0.7.{number}\n\
             bus.authorized_services = {}\n\
             discovery.port = {}\n\
             discovery.cache_path = {}\n\
             service.announce_interval = 0.3\n\
             service.shutdown_grace = 0.5\n\
             service.running_service_file_dir_path = {}\n\
             greeter.soa_key = {}\n\
             greeter.soa_cert = {}\n",
            path("authorized_services"),
            35_700 + u16::from(number),
            path("cache"),
            path("running"),
            path("greeter.key"),
            path("greeter.crt"),
        );
        let (config, events) = Config::parse("scamp.conf", text.as_bytes());
        assert!(events.is_empty(), "{events:?}");
        let bus = Self { folder, config };
        bus.authorize("main:ALL");
        bus
    }

    fn authorize(&self, tokens: &str) {
        let identity = Identity::from_pem(CERTIFICATE, KEY).unwrap();
        let line = format!("{} {tokens}\n", identity.fingerprint());
        fs::write(self.path("authorized_services"), line).unwrap();
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// Keeps the cache file until the value is dropped.
    fn keep_cache(&self) -> Keeper {
        let manager = CacheManager::from_config(&self.config).unwrap();
        let handle = manager.handle();
        let thread = std::thread::spawn(move || manager.run());
        Keeper {
            handle,
            thread: Some(thread),
        }
    }
}

struct Keeper {
    handle: CacheManagerHandle,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.handle.stop();
        self.thread.take().unwrap().join().unwrap();
    }
}

/// What every face does alike.
trait Face: Sync {
    type Service: Send;
    type Requester: Sync;

    fn serve(&self, bus: &Bus, answer: &'static str) -> Self::Service;
    /// Asks it to leave, and waits until it has.
    fn leave(&self, service: Self::Service);
    /// Tells its name for itself.
    fn identity(&self, service: &Self::Service) -> String;
    fn requester(&self, bus: &Bus) -> Self::Requester;
    fn call(&self, requester: &Self::Requester, action: &str) -> Result<Value, JsonError>;
    fn call_at(&self, requester: &Self::Requester, instance: &str) -> Result<Value, JsonError>;
}

struct Blocking;

impl Face for Blocking {
    type Service = (scamp_blocking::ServiceHandle, std::thread::JoinHandle<()>);
    type Requester = scamp_blocking::Requester;

    fn serve(&self, bus: &Bus, answer: &'static str) -> Self::Service {
        let service = scamp_blocking::Service::from_config(&bus.config, "greeter")
            .unwrap()
            .action(("Greetings.hello", "noauth,read"), move |_| {
                Ok(scamp_blocking::Reply::new(json!(answer).to_string()))
            })
            .unwrap()
            .build()
            .unwrap();
        let handle = service.handle();
        (handle, std::thread::spawn(move || service.run()))
    }

    fn leave(&self, (handle, thread): Self::Service) {
        handle.shutdown();
        thread.join().unwrap();
    }

    fn identity(&self, (handle, _): &Self::Service) -> String {
        handle.identity().unwrap().to_owned()
    }

    fn requester(&self, bus: &Bus) -> Self::Requester {
        scamp_blocking::Requester::from_config(&bus.config).unwrap()
    }

    fn call(&self, requester: &Self::Requester, action: &str) -> Result<Value, JsonError> {
        requester.call(action, &json!({}))
    }

    fn call_at(&self, requester: &Self::Requester, instance: &str) -> Result<Value, JsonError> {
        let ask = scamp_blocking::Ask::new("Greetings.hello").at(instance);
        requester.call(ask, &json!({}))
    }
}

struct Tokio(tokio::runtime::Runtime);

impl Tokio {
    fn new() -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        Self(builder.worker_threads(2).enable_all().build().unwrap())
    }
}

impl Face for Tokio {
    type Service = (scamp_tokio::ServiceHandle, tokio::task::JoinHandle<()>);
    type Requester = scamp_tokio::Requester;

    fn serve(&self, bus: &Bus, answer: &'static str) -> Self::Service {
        let _inside = self.0.enter();
        let service = scamp_tokio::Service::from_config(&bus.config, "greeter")
            .unwrap()
            .action(("Greetings.hello", "noauth,read"), move |_| async move {
                Ok(scamp_tokio::Reply::new(json!(answer).to_string()))
            })
            .unwrap()
            .build()
            .unwrap();
        let handle = service.handle();
        (handle, self.0.spawn(service.run()))
    }

    fn leave(&self, (handle, task): Self::Service) {
        handle.shutdown();
        self.0.block_on(task).unwrap();
    }

    fn identity(&self, (handle, _): &Self::Service) -> String {
        handle.identity().unwrap().to_owned()
    }

    fn requester(&self, bus: &Bus) -> Self::Requester {
        let _inside = self.0.enter();
        scamp_tokio::Requester::from_config(&bus.config).unwrap()
    }

    fn call(&self, requester: &Self::Requester, action: &str) -> Result<Value, JsonError> {
        self.0.block_on(requester.call(action, &json!({})))
    }

    fn call_at(&self, requester: &Self::Requester, instance: &str) -> Result<Value, JsonError> {
        let ask = scamp_tokio::Ask::new("Greetings.hello").at(instance);
        self.0.block_on(requester.call(ask, &json!({})))
    }
}

/// Tries until it comes out so; the test's end is the only limit that counts.
fn eventually<T: std::fmt::Debug>(mut what: impl FnMut() -> T, is_so: impl Fn(&T) -> bool) {
    let begun = Instant::now();
    loop {
        let found = what();
        if is_so(&found) {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{found:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn files(folder: &Path) -> usize {
    fs::read_dir(folder).map_or(0, Iterator::count)
}

/// D-25, D-28, D-29, D-33…D-36, D-43, V-1…V-4, V-7, V-12, Z-9: from the first announcement to the last.
fn a_life(face: &impl Face, number: u8) {
    let bus = Bus::new(number);
    let requester = face.requester(&bus);
    // Nothing has written the cache yet.
    let error = face.call(&requester, "Greetings.hello").unwrap_err();
    let JsonError::Call(CallError::NotDispatched(DispatchError::StaleCache)) = error else {
        panic!("{error}");
    };

    let keeper = bus.keep_cache();
    let first = face.serve(&bus, "first");
    let call = |action: &str| face.call(&requester, action);
    eventually(
        || call("greetings.HELLO"),
        |reply| matches!(reply, Ok(reply) if reply == "first"),
    );
    assert_eq!(files(&bus.path("running")), 1);
    assert_eq!(keeper.handle.instances().len(), 1);

    // An action that nobody offers, and a caller that the service may not serve.
    let error = call("Greetings.goodbye").unwrap_err();
    assert!(
        matches!(&error, JsonError::Call(CallError::NotDispatched(DispatchError::NotFound(name))) if name.contains("Greetings.goodbye")),
        "{error}"
    );
    bus.authorize("main:Elsewhere");
    let is_refused = |reply: &Result<Value, JsonError>| {
        matches!(
            reply,
            Err(JsonError::Call(CallError::NotDispatched(
                DispatchError::NotAuthorized(_)
            )))
        )
    };
    eventually(|| call("Greetings.hello"), is_refused);
    bus.authorize("main:Greetings");
    eventually(|| call("Greetings.hello"), Result::is_ok);

    // A second instance, which stays when the first leaves; no call fails on the way.
    let second = face.serve(&bus, "second");
    let name = face.identity(&second);
    eventually(
        || face.call_at(&requester, &name),
        |reply| matches!(reply, Ok(reply) if reply == "second"),
    );
    std::thread::scope(|scope| {
        let leaving = scope.spawn(|| face.leave(first));
        while !leaving.is_finished() {
            call("Greetings.hello").unwrap();
        }
    });
    eventually(|| keeper.handle.instances().len(), |count| *count == 1);
    for _ in 0..10 {
        assert_eq!(call("Greetings.hello").unwrap(), "second");
    }
    face.leave(second);
    assert_eq!(files(&bus.path("running")), 0);
    let is_gone = |reply: &Result<Value, JsonError>| {
        matches!(
            reply,
            Err(JsonError::Call(CallError::NotDispatched(
                DispatchError::NotFound(_)
            )))
        )
    };
    eventually(|| call("Greetings.hello"), is_gone);
}

#[test]
fn a_life_on_the_bus_blocking() {
    a_life(&Blocking, 1);
}

#[test]
fn a_life_on_the_bus_tokio() {
    a_life(&Tokio::new(), 2);
}

/// L-3, D-45, F-51: where an announced address answers with another certificate, nothing is sent to it.
#[test]
fn an_impostor_is_not_asked() {
    use scamp_blocking::scamp_proto::auth::AuthorizedServices;
    use scamp_blocking::scamp_proto::discovery::{Description, Directory, Instance, Offer};
    use scamp_blocking::{Requester, Service};

    let identity = Identity::from_pem(CERTIFICATE, KEY).unwrap();
    let service = Service::builder(identity)
        .action(("Greetings.hello", "noauth"), |_| {
            Ok(scamp_blocking::Reply::new("\"impostor\""))
        })
        .unwrap()
        .bind("127.0.0.1:0")
        .unwrap();
    let uri = format!("beepish+tls://{}", service.local_addr());
    let handle = service.handle();
    let running = std::thread::spawn(move || service.run());

    let mut described = Description::new("greeter:1", uri.parse().unwrap());
    described
        .actions
        .push(Offer::new("Greetings.hello").unwrap());
    let expected = Fingerprint::of(b"another certificate");
    let instance = Instance::fixed(&described, expected, None).unwrap();
    let requester = Requester::builder()
        .directory(Directory::build([instance.into()], &mut |_| {}))
        .authorized(AuthorizedServices::allow_all())
        .build()
        .unwrap();
    let error = requester.call_raw("Greetings.hello", "{}").unwrap_err();
    assert!(error.to_string().contains("fingerprint"), "{error}");
    assert_eq!(handle.stats().requests_started, 0);
    handle.shutdown();
    running.join().unwrap();
}
