//! A bus for a test, and the faces on it.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use scamp_blocking::scamp_host::{CacheManager, CacheManagerHandle};
use scamp_blocking::scamp_proto::config::Config;
use scamp_blocking::{Action, Identity, JsonError, RegisterError, RemoteError};
use serde_json::{Value, json};

pub(crate) const CERTIFICATE: &str = include_str!("../../../scamp-tls/tests/data/rsa2048.crt");
pub(crate) const KEY: &str = include_str!("../../../scamp-tls/tests/data/rsa2048.key");

/// A bus of its own: an address of the loopback, a multicast port, and a folder.
pub(crate) struct Bus {
    folder: tempfile::TempDir,
    pub(crate) config: Config,
}

impl Bus {
    /// `number` tells it from those of other tests.
    pub(crate) fn new(number: u8) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        fs::write(path("greeter.crt"), CERTIFICATE).unwrap();
        fs::write(path("greeter.key"), KEY).unwrap();
        fs::write(path("ticket.pem"), CERTIFICATE).unwrap();
        let text = format!(
            "bus.address = 127.0.7.{number}\n\
             bus.authorized_services = {}\n\
             discovery.port = {}\n\
             discovery.cache_path = {}\n\
             service.announce_interval = 0.3\n\
             service.shutdown_grace = 0.5\n\
             service.running_service_file_dir_path = {}\n\
             auth.ticket_verify_key = {}\n\
             service.handler_timeout = 0.3\n\
             greeter.soa_key = {}\n\
             greeter.soa_cert = {}\n",
            path("authorized_services"),
            35_700 + u16::from(number),
            path("cache"),
            path("running"),
            path("ticket.pem"),
            path("greeter.key"),
            path("greeter.crt"),
        );
        let (config, events) = Config::parse("scamp.conf", text.as_bytes());
        assert!(events.is_empty(), "{events:?}");
        let bus = Self { folder, config };
        bus.authorize("main:ALL");
        bus
    }

    pub(crate) fn authorize(&self, tokens: &str) {
        let identity = Identity::from_pem(CERTIFICATE, KEY).unwrap();
        let line = format!("{} {tokens}\n", identity.fingerprint());
        fs::write(self.path("authorized_services"), line).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// Keeps the cache file until the value is dropped.
    pub(crate) fn keep_cache(&self) -> Keeper {
        let manager = CacheManager::from_config(&self.config).unwrap();
        let handle = manager.handle();
        let thread = std::thread::spawn(move || manager.run());
        Keeper {
            handle,
            thread: Some(thread),
        }
    }
}

pub(crate) struct Keeper {
    pub(crate) handle: CacheManagerHandle,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.handle.stop();
        self.thread.take().unwrap().join().unwrap();
    }
}

/// What every face does alike.
pub(crate) trait Face: Sync {
    type Service: Send;
    type Requester: Sync;

    fn serve(&self, bus: &Bus, answer: &'static str) -> Self::Service;
    /// Asks it to leave, and waits until it has.
    fn leave(&self, service: Self::Service);
    /// Has it end at once, without saying that it leaves.
    fn stop(&self, service: Self::Service);
    /// Tells its name for itself.
    fn identity(&self, service: &Self::Service) -> String;
    fn requester(&self, bus: &Bus) -> Self::Requester;
    fn call(&self, requester: &Self::Requester, action: &str) -> Result<Value, JsonError>;
    fn call_at(&self, requester: &Self::Requester, instance: &str) -> Result<Value, JsonError>;
    fn call_with(
        &self,
        requester: &Self::Requester,
        action: &str,
        ticket: &str,
    ) -> Result<Value, JsonError>;
    /// A service that answers all actions with their name; the authorization table is fetched with
    /// the requester, if there is one, and is offered by the service itself.
    fn serve_guarded(
        &self,
        bus: &Bus,
        actions: &[Action],
        table: Option<(&Self::Requester, &'static str)>,
    ) -> Self::Service;
    fn add(&self, service: &Self::Service, action: Action) -> Result<(), RegisterError>;
    fn remove(&self, service: &Self::Service, name: &str) -> Result<(), RegisterError>;
    /// What it has to say of announcing, and of its files.
    fn notes(&self, service: &Self::Service) -> Vec<String>;
    /// A service whose handlers wait until they are told that nobody waits for them; and how many
    /// were told.
    fn serve_slow(&self, bus: &Bus, actions: &[Action]) -> (Self::Service, Arc<AtomicUsize>);
}

pub(crate) struct Blocking;

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

    fn stop(&self, service: Self::Service) {
        service.0.shutdown();
        service.0.shutdown();
        self.leave(service);
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

    fn call_with(
        &self,
        requester: &Self::Requester,
        action: &str,
        ticket: &str,
    ) -> Result<Value, JsonError> {
        let ask = scamp_blocking::Ask::new(action).ticket(ticket);
        requester.call(ask, &json!({}))
    }

    fn serve_guarded(
        &self,
        bus: &Bus,
        actions: &[Action],
        table: Option<(&Self::Requester, &'static str)>,
    ) -> Self::Service {
        let mut builder = scamp_blocking::Service::from_config(&bus.config, "greeter").unwrap();
        for action in actions {
            builder = builder.action(action.clone(), named).unwrap();
        }
        if let Some((requester, table)) = table {
            builder = builder
                .action(("Auth.getAuthzTable", "noauth"), move |_| {
                    Ok(scamp_blocking::Reply::new(table))
                })
                .unwrap()
                .requester(requester);
        }
        let service = builder.build().unwrap();
        let handle = service.handle();
        (handle, std::thread::spawn(move || service.run()))
    }

    fn add(&self, (handle, _): &Self::Service, action: Action) -> Result<(), RegisterError> {
        handle.add_action(action, named)
    }

    fn remove(&self, (handle, _): &Self::Service, name: &str) -> Result<(), RegisterError> {
        handle.remove_action(name, 1)
    }

    fn notes(&self, (handle, _): &Self::Service) -> Vec<String> {
        handle.presence_notes()
    }

    fn serve_slow(&self, bus: &Bus, actions: &[Action]) -> (Self::Service, Arc<AtomicUsize>) {
        let told = Arc::new(AtomicUsize::new(0));
        let mut builder = scamp_blocking::Service::from_config(&bus.config, "greeter").unwrap();
        for action in actions {
            let told = told.clone();
            let slow = move |request: scamp_blocking::Request| {
                while !request.cancelled() {
                    std::thread::sleep(Duration::from_millis(5));
                }
                told.fetch_add(1, Ordering::SeqCst);
                Ok(scamp_blocking::Reply::new("\"too late\""))
            };
            builder = builder.action(action.clone(), slow).unwrap();
        }
        let service = builder.build().unwrap();
        let handle = service.handle();
        let thread = std::thread::spawn(move || service.run());
        ((handle, thread), told)
    }
}

pub(crate) struct Tokio(tokio::runtime::Runtime);

impl Tokio {
    pub(crate) fn new() -> Self {
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

    fn stop(&self, service: Self::Service) {
        service.0.shutdown();
        service.0.shutdown();
        self.leave(service);
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

    fn call_with(
        &self,
        requester: &Self::Requester,
        action: &str,
        ticket: &str,
    ) -> Result<Value, JsonError> {
        let ask = scamp_tokio::Ask::new(action).ticket(ticket);
        self.0.block_on(requester.call(ask, &json!({})))
    }

    fn serve_guarded(
        &self,
        bus: &Bus,
        actions: &[Action],
        table: Option<(&Self::Requester, &'static str)>,
    ) -> Self::Service {
        let _inside = self.0.enter();
        let mut builder = scamp_tokio::Service::from_config(&bus.config, "greeter").unwrap();
        for action in actions {
            builder = builder.action(action.clone(), named_later).unwrap();
        }
        if let Some((requester, table)) = table {
            builder = builder
                .action(("Auth.getAuthzTable", "noauth"), move |_| async move {
                    Ok(scamp_tokio::Reply::new(table))
                })
                .unwrap()
                .requester(requester);
        }
        let service = builder.build().unwrap();
        let handle = service.handle();
        (handle, self.0.spawn(service.run()))
    }

    fn add(&self, (handle, _): &Self::Service, action: Action) -> Result<(), RegisterError> {
        handle.add_action(action, named_later)
    }

    fn remove(&self, (handle, _): &Self::Service, name: &str) -> Result<(), RegisterError> {
        handle.remove_action(name, 1)
    }

    fn notes(&self, (handle, _): &Self::Service) -> Vec<String> {
        handle.presence_notes()
    }

    fn serve_slow(&self, bus: &Bus, actions: &[Action]) -> (Self::Service, Arc<AtomicUsize>) {
        let _inside = self.0.enter();
        let told = Arc::new(AtomicUsize::new(0));
        let mut builder = scamp_tokio::Service::from_config(&bus.config, "greeter").unwrap();
        for action in actions {
            let told = told.clone();
            let slow = move |request: scamp_tokio::Request| {
                let told = told.clone();
                async move {
                    request.cancelled().await;
                    told.fetch_add(1, Ordering::SeqCst);
                    Ok(scamp_tokio::Reply::new("\"too late\""))
                }
            };
            builder = builder.action(action.clone(), slow).unwrap();
        }
        let service = builder.build().unwrap();
        let handle = service.handle();
        ((handle, self.0.spawn(service.run())), told)
    }
}

/// Answers with the name of the action.
fn named(request: scamp_blocking::Request) -> Result<scamp_blocking::Reply, RemoteError> {
    Ok(scamp_blocking::Reply::new(
        json!(request.header.action()).to_string(),
    ))
}

async fn named_later(request: scamp_tokio::Request) -> Result<scamp_tokio::Reply, RemoteError> {
    Ok(scamp_tokio::Reply::new(
        json!(request.header.action()).to_string(),
    ))
}

/// Tries until it comes out so; the test's end is the only limit that counts.
pub(crate) fn eventually<T: std::fmt::Debug>(
    mut what: impl FnMut() -> T,
    is_so: impl Fn(&T) -> bool,
) {
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

pub(crate) fn files(folder: &Path) -> usize {
    fs::read_dir(folder).map_or(0, Iterator::count)
}
