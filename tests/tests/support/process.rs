//! A service in a process of its own, so that its memory can be told from everybody else's.
//!
//! The process is this test program again, told by [`ROLE`] to serve. It answers each line of its
//! input with a line about itself, and ends with its input.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use scamp_proto::service::{Occurrence, ServiceNote, Stats};
use scamp_proto::session::{Config, Side};
use scamp_tls::Options;
use serde_json::{Value, json};

use crate::face::{Client, Face, RUNTIME, identity, until};

/// A service that runs until this is dropped.
pub(crate) struct Service {
    pub(crate) face: Face,
    pub(crate) address: String,
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// Octets resident when it was at rest.
    at_rest: usize,
}

impl Service {
    /// Starts one, and has it warm up.
    pub(crate) fn start(face: Face) -> Self {
        Self::spawned(face, Command::new(std::env::current_exe().unwrap()))
    }

    /// One that may have only this many files open.
    pub(crate) fn with_files(face: Face, files: usize) -> Self {
        let mut command = Command::new("sh");
        let limited = format!("ulimit -n {files}; exec \"$@\"");
        command
            .args(["-c", &limited, "sh"])
            .arg(std::env::current_exe().unwrap());
        Self::spawned(face, command)
    }

    fn spawned(face: Face, mut command: Command) -> Self {
        let mut child = command
            .args(["the_service", "--exact", "--nocapture"])
            .env(ROLE, format!("{face:?}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut service = Self {
            face,
            address: String::new(),
            input: child.stdin.take().unwrap(),
            output: BufReader::new(child.stdout.take().unwrap()),
            child,
            at_rest: 0,
        };
        service.address = service.hear("SERVING ");
        let client = service.client(Face::Blocking);
        for _ in 0..100 {
            assert_eq!(client.call("Echo.whole", "x").unwrap(), "x");
        }
        service.at_rest = service.resident("VmRSS:");
        // From now on the high-water mark is about what the test does.
        let reset = format!("/proc/{}/clear_refs", service.child.id());
        std::fs::write(reset, "5").unwrap();
        service
    }

    pub(crate) fn client(&self, face: Face) -> Client {
        Client::connect(face, &self.address, identity().fingerprint().into()).unwrap()
    }

    /// Octets by which its memory has ever been larger than at rest.
    pub(crate) fn growth(&self) -> usize {
        self.resident("VmHWM:").saturating_sub(self.at_rest)
    }

    /// Fails if its memory has ever grown by more than half as much again as `mib` MiB.
    pub(crate) fn assert_growth_within(&self, mib: usize) {
        let kib = self.growth() >> 10;
        println!("{:?}: grew by {kib} KiB of {mib} MiB", self.face);
        assert!(kib <= mib * 1024 * 3 / 2, "grew by {kib} KiB");
    }

    /// What it says about itself.
    pub(crate) fn report(&mut self) -> Report {
        writeln!(self.input, "report").unwrap();
        let line = self.hear("REPORT ");
        let value: Value = serde_json::from_str(&line).unwrap();
        let number = |name: &str| value[name].as_u64().unwrap() as usize;
        Report {
            connections: number("connections"),
            active: number("active"),
            held: number("held"),
            reasons: value["reasons"]
                .as_array()
                .unwrap()
                .iter()
                .map(|reason| reason.as_str().unwrap().to_owned())
                .collect(),
        }
    }

    /// Waits until the attacker's connection has ended, which leaves `left`, and for that reason.
    pub(crate) fn assert_ended(&mut self, left: usize, reason: &str) {
        let mut reasons = Vec::new();
        until("the connection's end", || {
            let mut report = self.report();
            reasons.append(&mut report.reasons);
            report.connections == left
        });
        let told = reasons.iter().any(|known| known.contains(reason));
        assert!(told, "{reason} is not in {reasons:?}");
    }

    fn hear(&mut self, word: &str) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(self.output.read_line(&mut line).unwrap(), 0, "it has ended");
            if let Some((_, rest)) = line.split_once(word) {
                return rest.trim().to_owned();
            }
        }
    }

    fn resident(&self, which: &str) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(which)).unwrap();
        let kib: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kib << 10
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a service says about itself.
pub(crate) struct Report {
    pub(crate) connections: usize,
    /// Requests in handlers.
    pub(crate) active: usize,
    /// Requests that have ever reached a handler of `Hold`.
    pub(crate) held: usize,
    /// Why connections have ended, or were not accepted, since the last report.
    pub(crate) reasons: Vec<String>,
}

/// A client that asks for an octet at a time, and wants each back.
pub(crate) struct Honest {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<usize>,
}

impl Honest {
    pub(crate) fn beside(service: &Service) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let client = service.client(Face::Blocking);
        let done = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut answered = 0;
            while answered == 0 || !done.load(Ordering::Relaxed) {
                let octet = vec![b'a' + (answered % 26) as u8];
                assert_eq!(client.call("Echo.whole", octet.clone()).unwrap(), octet);
                answered += 1;
            }
            answered
        });
        Self { stop, thread }
    }

    /// Fails if an answer was missing.
    pub(crate) fn lost_nothing(self) {
        self.stop.store(true, Ordering::Relaxed);
        let answered = self.thread.join().expect("an answer to each request");
        println!("{answered} honest requests answered");
    }
}

/// Serves, if this process was started to; then it does not return.
pub(crate) fn serve_if_told() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    std::panic::set_hook(Box::new(|panic| {
        let text = panic.payload().downcast_ref::<String>();
        if text.is_none_or(|text| text != PANIC) {
            eprintln!("the service: {panic}");
        }
    }));
    let held = Arc::new(AtomicUsize::new(0));
    let large = Bytes::from(vec![b'x'; 64 << 20]);
    match &role[..] {
        "Blocking" => blocking(&held, &large),
        "Tokio" => tokio_(&held, &large),
        other => panic!("no such role: {other}"),
    }
    std::process::exit(0);
}

fn blocking(held: &Arc<AtomicUsize>, large: &Bytes) {
    use scamp_blocking::{Access, Reply, Request, Service};

    let hold = |held: &Arc<AtomicUsize>| {
        let held = held.clone();
        move |request: Request| {
            held.fetch_add(1, Ordering::SeqCst);
            while !request.cancelled() {
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(Reply::new(""))
        }
    };
    let (crowd, large, some) = (AtomicUsize::new(0), large.clone(), large.slice(..SOME));
    let service = Service::builder(identity())
        .default_access(Access::Allow)
        .session(session())
        .tls(tls())
        .action("Echo.whole", |mut request: Request| {
            Ok(Reply::new(request.bytes().unwrap()))
        })
        .unwrap()
        .action("Hold.whole", hold(held))
        .unwrap()
        .streaming_action("Hold.stream", hold(held))
        .unwrap()
        .action("Big.reply", move |_| Ok(Reply::new(large.clone())))
        .unwrap()
        .action("Some.reply", move |_| Ok(Reply::new(some.clone())))
        .unwrap()
        .action("Count.octets", |mut request: Request| {
            Ok(Reply::new(request.bytes().unwrap().len().to_string()))
        })
        .unwrap()
        .action("Crowd.panic", move |mut request: Request| {
            crowd.fetch_add(1, Ordering::SeqCst);
            while crowd.load(Ordering::SeqCst) < CROWD {
                std::thread::sleep(Duration::from_millis(1));
            }
            let body = request.bytes().unwrap();
            if body == "50" {
                panic!("{PANIC}");
            }
            Ok(Reply::new(body))
        })
        .unwrap()
        .bind("127.0.0.1:0")
        .unwrap();
    let (address, handle) = (service.local_addr(), service.handle());
    std::thread::spawn(move || service.run());
    answer(address.to_string(), held, || {
        (handle.stats(), handle.notes())
    });
}

fn tokio_(held: &Arc<AtomicUsize>, large: &Bytes) {
    use scamp_tokio::{Access, Reply, Request, Service};

    let hold = |held: &Arc<AtomicUsize>| {
        let held = held.clone();
        move |request: Request| {
            held.fetch_add(1, Ordering::SeqCst);
            async move {
                request.cancelled().await;
                Ok(Reply::new(""))
            }
        }
    };
    let (large, some) = (large.clone(), large.slice(..SOME));
    let crowd = Arc::new(AtomicUsize::new(0));
    let builder = Service::builder(identity())
        .default_access(Access::Allow)
        .session(session())
        .tls(tls())
        .action("Echo.whole", |request: Request| async move {
            Ok(Reply::new(request.bytes().clone()))
        })
        .unwrap()
        .action("Hold.whole", hold(held))
        .unwrap()
        .streaming_action("Hold.stream", hold(held))
        .unwrap()
        .action("Big.reply", move |_| {
            let large = large.clone();
            async move { Ok(Reply::new(large)) }
        })
        .unwrap()
        .action("Some.reply", move |_| {
            let some = some.clone();
            async move { Ok(Reply::new(some)) }
        })
        .unwrap()
        .action("Count.octets", |request: Request| async move {
            Ok(Reply::new(request.bytes().len().to_string()))
        })
        .unwrap()
        .action("Crowd.panic", move |request: Request| {
            let crowd = crowd.clone();
            async move {
                crowd.fetch_add(1, Ordering::SeqCst);
                while crowd.load(Ordering::SeqCst) < CROWD {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                let body = request.bytes().clone();
                if body == "50" {
                    panic!("{PANIC}");
                }
                Ok(Reply::new(body))
            }
        })
        .unwrap();
    let _inside = RUNTIME.enter();
    let service = builder.bind("127.0.0.1:0").unwrap();
    let (address, handle) = (service.local_addr(), service.handle());
    RUNTIME.spawn(service.run());
    answer(address.to_string(), held, || {
        (handle.stats(), handle.notes())
    });
}

/// Answers until the input ends.
fn answer(address: String, held: &AtomicUsize, look: impl Fn() -> (Stats, Vec<ServiceNote>)) {
    println!("SERVING {address}");
    for _ in std::io::stdin().lines() {
        let (stats, notes) = look();
        let (connections, active) = (stats.open_connections, stats.requests_active);
        let reason = |what: Occurrence| match &what {
            Occurrence::Closed(reason) => Some(reason.to_string()),
            Occurrence::AcceptFailed(_) => Some(what.to_string()),
            _ => None,
        };
        let notes = notes.into_iter();
        let reasons: Vec<_> = notes.filter_map(|note| reason(note.what)).collect();
        let held = held.load(Ordering::SeqCst);
        let report = json!({
            "connections": connections, "active": active, "held": held, "reasons": reasons,
        });
        println!("REPORT {report}");
    }
}

/// The defaults, with all times short.
fn session() -> Config {
    let mut config = Config::new(Side::Server);
    config.connection.packet_timeout = LIMIT;
    config.connection.write_timeout = LIMIT;
    config.connection.send_stall = 2 * LIMIT;
    config.connection.shed_after = LIMIT / 20;
    config.connection.stall_timeout = LIMIT;
    config
}

fn tls() -> Options {
    Options::default().handshake_timeout(LIMIT)
}

/// What most limits of time are set to.
pub(crate) const LIMIT: Duration = Duration::from_secs(1);

/// Requests that `Crowd.panic` waits for.
pub(crate) const CROWD: usize = 100;

/// Octets of `Some.reply`, just within a window.
const SOME: usize = 60_000;

/// What a handler panics with.
const PANIC: &str = "as the test wants it";

/// Tells a process of this test program which face it is to serve with.
const ROLE: &str = "SCAMP_TEST_SERVE";
