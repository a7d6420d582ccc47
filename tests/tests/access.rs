//! Who may call what, with real tickets over real connections, on every face.

#![allow(clippy::unwrap_used)]

#[path = "support/face.rs"]
#[allow(dead_code, reason = "this file uses a part of it")]
mod face;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use face::{CERTIFICATE, Client, Face, KEY, RUNTIME, identity, pause, until, wait};
use scamp_async::Runtime;
use scamp_proto::CallError;
use scamp_proto::auth::{Sign, Table, TableState, Ticket, TicketKeys};
use scamp_proto::service::{Action, Name, ServiceNote, Stats};
use scamp_proto::wire::RequestHead;
use scamp_tls::{Fingerprint, Identity, Pin};

/// Runs each test with a service of each face; the client is of the next one.
macro_rules! on_every_face {
    ($($test:ident)*) => {
        $(
            mod $test {
                use crate::face::{Face, bounded};

                #[test]
                fn blocking() {
                    bounded(|| super::$test(Face::Blocking, Face::Tokio));
                }

                #[test]
                fn tokio() {
                    bounded(|| super::$test(Face::Tokio, Face::AsyncStd));
                }

                #[test]
                fn async_std() {
                    bounded(|| super::$test(Face::AsyncStd, Face::Smol));
                }

                #[test]
                fn smol() {
                    bounded(|| super::$test(Face::Smol, Face::Blocking));
                }
            }
        )*
    };
}

on_every_face!(tickets many_tickets_at_once one_fetch_for_all no_table built_in);

/// A ticket of user 3063, client 21, that is valid now.
fn ticket(privileges: &[u64]) -> String {
    let issuer = Identity::from_pem(CERTIFICATE, KEY).unwrap();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let start = now.unwrap().as_secs() as i64 - 60;
    let ticket = Ticket::new(3063, 21, start, 3600, privileges.iter().copied());
    ticket.issue(&issuer as &dyn Sign).unwrap()
}

type Source = Arc<dyn Fn() -> Result<Bytes, String> + Send + Sync>;

/// What the tests set of the service.
struct Settings {
    table: Option<TableState>,
    /// What the table is fetched with, after a little while.
    source: Option<Source>,
    has_built_in: bool,
}

impl Settings {
    fn plain() -> Self {
        Self {
            table: None,
            source: None,
            has_built_in: true,
        }
    }

    fn fetched(source: impl Fn() -> Result<Bytes, String> + Send + Sync + 'static) -> Self {
        Self {
            table: Some(TableState::remote(Duration::ZERO)),
            source: Some(Arc::new(source)),
            ..Self::plain()
        }
    }
}

/// A service whose actions say who asks.
struct Served {
    address: String,
    fingerprint: Fingerprint,
    shutdown: Box<dyn Fn() + Send + Sync>,
    stats: Box<dyn Fn() -> Stats + Send + Sync>,
    notes: Box<dyn Fn() -> Vec<ServiceNote> + Send + Sync>,
    thread: Option<JoinHandle<()>>,
}

/// Sets up a builder, whose methods have the same names in every face.
macro_rules! set_up {
    ($builder:expr, $settings:expr, $who:expr, $shout:expr, $source:expr) => {{
        let settings = $settings;
        let action = |name| Action::parse(name).unwrap();
        let mut builder = $builder
            .tickets(TicketKeys::from_pem(CERTIFICATE).unwrap())
            .name(Name::parse("tester").unwrap())
            .queue_depth(settings.has_built_in)
            .documentation(settings.has_built_in)
            .action(action("Test.open").noauth().flags("public"), $who)
            .unwrap()
            .action(action("Test.code").requires(&[20]), $who)
            .unwrap()
            .streaming_action(action("Test.stream").requires(&[20]), $shout)
            .unwrap()
            .action("Test.plain", $who)
            .unwrap();
        if let Some(table) = settings.table {
            builder = builder.table(table);
        }
        if let Some(source) = settings.source {
            builder = builder.table_source($source(source));
        }
        builder
    }};
}

/// Takes what a test asks of a service from its handle.
macro_rules! served {
    ($service:expr, $run:expr) => {{
        let service = $service;
        let handle = service.handle();
        let (stats, notes) = (handle.clone(), handle.clone());
        Served {
            address: service.local_addr().to_string(),
            fingerprint: service.fingerprint().unwrap(),
            shutdown: Box::new(move || handle.shutdown()),
            stats: Box::new(move || stats.stats()),
            notes: Box::new(move || notes.notes()),
            thread: Some(thread::spawn(move || $run(service))),
        }
    }};
}

/// How long a table is on its way.
const ON_ITS_WAY: Duration = Duration::from_millis(20);

impl Served {
    fn start(face: Face, settings: Settings) -> Self {
        match face {
            Face::Blocking => Self::blocking(settings),
            Face::Tokio => Self::asynchronous::<scamp_tokio::Tokio>(settings),
            Face::AsyncStd => Self::asynchronous::<scamp_async_std::AsyncStd>(settings),
            Face::Smol => Self::asynchronous::<scamp_async_std::smol::Smol>(settings),
        }
    }

    fn blocking(settings: Settings) -> Self {
        use scamp_blocking::{Reply, Request, Service};

        let who = |request: Request| {
            let user = request.real_ticket().map(|ticket| ticket.user_id());
            Ok(Reply::new(format!("{user:?} {}", request.client_id())))
        };
        let shout = |mut request: Request| Ok(Reply::new(request.text()?.to_uppercase()));
        let source = |source: Source| {
            move || {
                thread::sleep(ON_ITS_WAY);
                source()
            }
        };
        let builder = set_up!(Service::builder(identity()), settings, who, shout, source);
        served!(builder.bind("127.0.0.1:0").unwrap(), Service::run)
    }

    fn asynchronous<R: Runtime + Default>(settings: Settings) -> Self {
        use scamp_async::{Reply, Request, Service};

        let who = |request: Request| async move {
            let user = request.real_ticket().map(|ticket| ticket.user_id());
            Ok(Reply::new(format!("{user:?} {}", request.client_id())))
        };
        let shout = |request: Request| async move {
            let body = request.body.collect(100).await.unwrap();
            Ok(Reply::new(body.to_ascii_uppercase()))
        };
        let source = |source: Source| {
            move || {
                let source = source.clone();
                async move {
                    pause::<R>(ON_ITS_WAY).await;
                    source()
                }
            }
        };
        let builder = Service::<R>::builder(identity());
        let builder = set_up!(builder, settings, who, shout, source);
        let _inside = RUNTIME.enter();
        served!(builder.bind("127.0.0.1:0").unwrap(), |service: Service<
            R,
        >| wait(
            service.run()
        ))
    }

    fn client(&self, face: Face) -> Client {
        Client::connect(face, &self.address, Pin::Fingerprint(self.fingerprint)).unwrap()
    }

    fn stop(mut self) -> Stats {
        (self.shutdown)();
        self.thread.take().unwrap().join().unwrap();
        (self.stats)()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        (self.shutdown)();
        (self.shutdown)();
    }
}

fn call(client: &Client, action: &str, ticket: Option<&str>) -> Result<String, String> {
    let mut head = RequestHead::new(action).client_id(7);
    if let Some(ticket) = ticket {
        head = head.ticket(ticket);
    }
    match client.call(head, "body") {
        Ok(body) => Ok(String::from_utf8(body.into()).unwrap()),
        Err(CallError::Remote(error)) => Err(error.code),
        Err(error) => panic!("{error}"),
    }
}

/// T-9, T-11, T-5: what is open, what needs a ticket, what nobody may call; and who the handler is
/// told that asks.
fn tickets(face: Face, callers: Face) {
    let service = Served::start(face, Settings::plain());
    let client = service.client(callers);
    let (good, poor) = (ticket(&[1, 20]), ticket(&[1]));
    let forged = good.replace("3063,21", "3063,22");
    let ask = |action, ticket| call(&client, action, ticket);
    for _ in 0..2 {
        assert_eq!(ask("Test.open", None), Ok("None 7".into()));
        assert_eq!(ask("Test.open", Some(&good)), Ok("Some(3063) 21".into()));
        assert_eq!(ask("Test.open", Some(&forged)), Ok("None 7".into()));
        assert_eq!(ask("Test.code", Some(&good)), Ok("Some(3063) 21".into()));
        assert_eq!(ask("Test.stream", Some(&good)), Ok("BODY".into()));
        for (ticket, code) in [
            (None, "authn"),
            (Some(&*forged), "authn"),
            (Some(&poor), "authz"),
        ] {
            assert_eq!(ask("Test.code", ticket), Err(code.into()));
            assert_eq!(ask("Test.stream", ticket), Err(code.into()));
        }
        assert_eq!(ask("Test.plain", Some(&good)), Err("authz".into()));
    }
    let notes = format!("{:?}", (service.notes)());
    assert!(notes.contains("BadTicket"), "{notes}");
    assert!(!notes.contains(&forged), "tickets are secret (HD-12)");
    drop(client);
    let stats = service.stop();
    assert_eq!(
        (stats.total_clients_accepted, stats.open_connections),
        (1, 0)
    );
    assert!(stats.bytes_in > 1000 && stats.bytes_out > 1000, "{stats:?}");
    assert_eq!((stats.requests_started, stats.requests_failed), (10, 0));
    let json = stats.to_json();
    assert!(json.contains("\"total_clients_accepted\":1"), "{json}");
}

/// HD-76, T-7: many callers at once, each with a ticket never seen before.
fn many_tickets_at_once(face: Face, callers: Face) {
    let service = Served::start(face, Settings::plain());
    let client = service.client(callers);
    thread::scope(|scope| {
        for number in 0..16 {
            let client = &client;
            scope.spawn(move || {
                let held = ticket(&[20, 100 + number]);
                for _ in 0..10 {
                    let reply = call(client, "Test.code", Some(&held));
                    assert_eq!(reply, Ok("Some(3063) 21".into()));
                }
            });
        }
    });
    until("nobody is in a handler", || {
        (service.stats)().requests_active == 0
    });
    assert_eq!((service.stats)().requests_started, 160);
}

/// T-16: many requests wait for one fetch of the table; it is not fetched again while it is fresh.
fn one_fetch_for_all(face: Face, callers: Face) {
    let fetches = Arc::new(AtomicUsize::new(0));
    let counted = fetches.clone();
    let source = move || {
        counted.fetch_add(1, Ordering::SeqCst);
        Ok(Bytes::from_static(br#"{"test.plain":[1],"test.code":[]}"#))
    };
    let service = Served::start(face, Settings::fetched(source));
    let (good, poor) = (ticket(&[1, 20]), ticket(&[20]));
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let client = service.client(callers);
                let ask = |action, ticket| call(&client, action, ticket);
                assert_eq!(ask("Test.plain", Some(&good)), Ok("Some(3063) 21".into()));
                assert_eq!(ask("Test.plain", Some(&poor)), Err("authz".into()));
                assert_eq!(ask("Test.code", Some(&poor)), Ok("Some(3063) 21".into()));
                assert_eq!(ask("Test.stream", Some(&good)), Err("authz".into()));
                assert_eq!(ask("Test.open", None), Ok("None 7".into()));
            });
        }
    });
    assert_eq!(fetches.load(Ordering::SeqCst), 1);
}

/// T-16: a table that cannot be had fails those who need it, with `internal`, and nobody else; a
/// panic while fetching is no more than that.
fn no_table(face: Face, callers: Face) {
    for panics in [false, true] {
        let source = move || match panics {
            true => panic!("as the test wants it"),
            false => Err("no such service".to_owned()),
        };
        let service = Served::start(face, Settings::fetched(source));
        let client = service.client(callers);
        let good = ticket(&[1, 20]);
        let failed = call(&client, "Test.plain", Some(&good));
        assert_eq!(failed, Err("internal".into()));
        assert_eq!(call(&client, "Test.plain", None), Err("authn".into()));
        assert_eq!(call(&client, "Test.open", None), Ok("None 7".into()));
    }
}

/// V-8, T-13: what is built in, with a table from the code.
fn built_in(face: Face, callers: Face) {
    let table = TableState::fixed(Table::parse(b"{}").unwrap());
    let settings = Settings {
        table: Some(table),
        ..Settings::plain()
    };
    let service = Served::start(face, settings);
    let client = service.client(callers);
    let reply = call(&client, "tester.queue_depth", None);
    assert_eq!(reply, Ok("{\"queue_depth\":0}".into()));
    let listed = call(&client, "_meta.documentation", None).unwrap();
    assert!(
        listed.contains("Test.open") && !listed.contains("Test.code"),
        "{listed}"
    );

    let settings = Settings {
        has_built_in: false,
        ..Settings::plain()
    };
    let without = Served::start(face, settings);
    let client = without.client(callers);
    for action in ["tester.queue_depth", "_meta.documentation"] {
        assert_eq!(call(&client, action, None), Err("no_action".into()));
    }
}
