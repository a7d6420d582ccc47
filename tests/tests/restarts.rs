//! A service that ends and begins again at the same address, with requests under way (F-14).

#![allow(clippy::unwrap_used)]

#[path = "support/face.rs"]
#[allow(dead_code, reason = "this file uses a part of it")]
mod face;
#[path = "support/requester.rs"]
mod requester;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use face::{Face, RUNTIME, bounded, identity, pause, until, wait};
use requester::Requester;
use scamp_async::Runtime;
use scamp_proto::CallError;

#[test]
fn blocking() {
    bounded(|| restarts(Face::Blocking));
}

#[test]
fn tokio() {
    bounded(|| restarts(Face::Tokio));
}

#[test]
fn async_std() {
    bounded(|| restarts(Face::AsyncStd));
}

#[test]
fn smol() {
    bounded(|| restarts(Face::Smol));
}

/// F-14, HD-49, HD-51, S-30, S-33, S-34: while a service is shut down and begun again, in good order and
/// in a hurry, each call has one outcome; none is processed twice; one that is said not to have been
/// processed was not; and those after the restart are answered.
fn restarts(face: Face) {
    let ledger = Ledger::default();
    let mut service = Some(serve(face, "127.0.0.1:0".parse().unwrap(), &ledger));
    let address = service.as_ref().unwrap().address;
    let requester = Requester::to(face, &address.to_string(), "Count.once");
    let (next, done) = (AtomicU64::new(0), AtomicBool::new(false));
    let outcomes = Mutex::new(BTreeMap::new());
    let answered = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while !done.load(Ordering::SeqCst) {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    let result = requester.call("Count.once", number.to_string());
                    if let Ok(body) = &result {
                        assert_eq!(*body, number.to_string());
                        answered.fetch_add(1, Ordering::SeqCst);
                    }
                    let before = outcomes.lock().unwrap().insert(number, result);
                    assert!(before.is_none(), "{number} has two outcomes");
                }
            });
        }
        for round in 0..8 {
            let before = answered.load(Ordering::SeqCst);
            until("they are answered", || {
                answered.load(Ordering::SeqCst) > before + 50
            });
            service.take().unwrap().stop(round % 2 == 1);
            if round == 0 {
                // Long enough for somebody to come in vain; not often, since the waiting doubles.
                thread::sleep(Duration::from_millis(20));
            }
            service = Some(serve(face, address, &ledger));
        }
        let before = answered.load(Ordering::SeqCst);
        until("they are answered again", || {
            answered.load(Ordering::SeqCst) > before + 50
        });
        done.store(true, Ordering::SeqCst);
    });
    service.unwrap().stop(true);
    let outcomes = outcomes.into_inner().unwrap();
    assert_eq!(outcomes.len() as u64, next.load(Ordering::SeqCst));
    let processed = ledger.0.lock().unwrap();
    assert!(processed.values().all(|times| *times == 1), "{processed:?}");
    let mut kinds = BTreeMap::new();
    for (number, result) in &outcomes {
        let was_processed = processed.contains_key(number);
        let kind = match result {
            Ok(_) => {
                assert!(was_processed, "{number}");
                "answered"
            }
            Err(error) if error.is_dispatch_failure() => {
                assert!(!was_processed, "{number}: {error}");
                "not processed"
            }
            Err(CallError::NoReply(_)) => "lost",
            Err(error) => panic!("{number}: {error:?}"),
        };
        *kinds.entry(kind).or_insert(0) += 1;
    }
    println!("{face:?}: {kinds:?}");
    assert!(kinds.len() > 1, "{kinds:?}");
}

/// How often each number was processed.
#[derive(Clone, Default)]
struct Ledger(Arc<Mutex<BTreeMap<u64, u32>>>);

impl Ledger {
    fn note(&self, body: &[u8]) {
        let number = std::str::from_utf8(body).unwrap().parse().unwrap();
        *self.0.lock().unwrap().entry(number).or_default() += 1;
    }
}

/// A service until it is stopped.
struct Served {
    address: SocketAddr,
    shutdown: Box<dyn Fn()>,
    thread: thread::JoinHandle<()>,
}

impl Served {
    /// Ends it; in a hurry it does not wait for what is under way.
    fn stop(self, in_a_hurry: bool) {
        (self.shutdown)();
        if in_a_hurry {
            (self.shutdown)();
        }
        self.thread.join().unwrap();
    }
}

fn serve(face: Face, address: SocketAddr, ledger: &Ledger) -> Served {
    let ledger = ledger.clone();
    match face {
        Face::Blocking => {
            use scamp_blocking::{Access, Reply, Request, Service};
            let service = Service::builder(identity())
                .default_access(Access::Allow)
                .action("Count.once", move |mut request: Request| {
                    let body = request.bytes().unwrap();
                    ledger.note(&body);
                    thread::sleep(NAP);
                    Ok(Reply::new(body))
                })
                .unwrap()
                .bind(address)
                .unwrap();
            let handle = service.handle();
            Served {
                address: service.local_addr(),
                shutdown: Box::new(move || handle.shutdown()),
                thread: thread::spawn(move || service.run()),
            }
        }
        Face::Tokio => serve_async::<scamp_tokio::Tokio>(address, ledger),
        Face::AsyncStd => serve_async::<scamp_async_std::AsyncStd>(address, ledger),
        Face::Smol => serve_async::<scamp_async_std::smol::Smol>(address, ledger),
    }
}

fn serve_async<R: Runtime + Default>(address: SocketAddr, ledger: Ledger) -> Served {
    use scamp_async::{Access, Reply, Request, Service};

    let _inside = RUNTIME.enter();
    let service = Service::<R>::builder(identity())
        .default_access(Access::Allow)
        .action("Count.once", move |request: Request| {
            let ledger = ledger.clone();
            async move {
                ledger.note(request.bytes());
                pause::<R>(NAP).await;
                Ok(Reply::new(request.bytes().clone()))
            }
        })
        .unwrap()
        .bind(&address.to_string())
        .unwrap();
    let handle = service.handle();
    Served {
        address: service.local_addr(),
        shutdown: Box::new(move || handle.shutdown()),
        thread: thread::spawn(move || wait(service.run())),
    }
}

/// How long a handler takes.
const NAP: Duration = Duration::from_millis(2);
