//! Peers that misbehave.

use std::io::{self, IoSlice, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::Duration;

use scamp_blocking::scamp_proto::session::{Config, Side};
use scamp_blocking::{
    BodyError, CallError, Client, CloseReason, ExchangeError, Limits, Occurrence, Patience, Pin,
    RequestOptions, Service, ServiceHandle, Socket, Transport,
};

use crate::service::{Gate, gated};
use crate::support::{
    Running, actions, ask, bounded, echo, head, identity, octets, service, until,
};

fn packet(kind: &str, msgno: u64, body: &str) -> String {
    format!("{kind} {msgno} {}\r\n{body}END\r\n", body.len())
}

fn request(msgno: u64, action: &str, body: &str) -> String {
    let header = format!(
        r#"{{"type":"request","request_id":{},"action":"{action}","version":1,"envelope":"json"}}"#,
        msgno + 1
    );
    packet("HEADER", msgno, &header) + &packet("DATA", msgno, body) + &packet("EOF", msgno, "")
}

/// HD-76: a PING is answered while all handlers are busy.
#[test]
fn a_ping_is_answered_beside_a_slow_handler() {
    bounded(|| {
        let gate = Gate::default();
        let gate2 = gate.clone();
        let service = Running::start(
            Service::plain()
                .default_access(scamp_blocking::Access::Allow)
                .action("Test.gate", move |_| {
                    gate2.pass();
                    Ok(scamp_blocking::Reply::new("passed"))
                })
                .unwrap(),
        );
        let mut raw = service.raw();
        raw.write_all((request(0, "Test.gate", "") + &packet("PING", 1, "")).as_bytes())
            .unwrap();
        let mut pong = [0; 15];
        raw.read_exact(&mut pong).unwrap();
        assert!(
            pong.starts_with(b"PONG"),
            "{:?}",
            String::from_utf8_lossy(&pong)
        );
        gate.open();
    });
}

/// B-9, F-10: a peer that reads nothing of large replies holds its own handlers and nothing else;
/// when it goes, all is freed.
#[test]
fn a_peer_that_reads_nothing() {
    bounded(|| {
        let service = Running::start(
            actions(Service::plain().default_access(scamp_blocking::Access::Allow))
                .action("Test.large", |_| {
                    Ok(scamp_blocking::Reply::new(octets(8 << 20)))
                })
                .unwrap(),
        );
        let mut raw = service.raw();
        // No windows: what the socket takes is the only bound.
        for number in 0..8 {
            raw.write_all(request(number, "Test.large", "").as_bytes())
                .unwrap();
        }
        until("all are in handlers", || {
            service.handle.stats().requests_started == 8
        });
        let honest = service.client();
        for _ in 0..20 {
            echo(&honest, "x");
        }
        drop(raw);
        until("its handlers are free", || {
            service.handle.stats().requests_active == 0
        });
        until("it is gone", || service.handle.connections() == 1);
    });
}

/// HD-31, B-23: a peer that stops reading loses its connection in time.
#[test]
fn a_stalled_peer_is_given_up() {
    bounded(|| {
        let mut config = Config::new(Side::Server);
        config.connection.write_timeout = Duration::from_millis(100);
        // Without a window, so that the socket is what stops.
        config.connection.max_inflight = Some(0);
        config.connection.max_queued = 64 << 20;
        let service = Running::start(
            Service::plain()
                .default_access(scamp_blocking::Access::Allow)
                .session(config)
                .action("Test.large", |_| {
                    Ok(scamp_blocking::Reply::new(octets(32 << 20)))
                })
                .unwrap(),
        );
        let mut raw = service.raw();
        raw.write_all(request(0, "Test.large", "").as_bytes())
            .unwrap();
        until("it is given up", || is_given_up(&service.handle));
    });
}

fn is_given_up(service: &ServiceHandle) -> bool {
    let stalled = |what| matches!(what, Occurrence::Closed(CloseReason::PeerStalled(_)));
    service.notes().into_iter().any(|note| stalled(note.what))
}

/// A socket that takes some octets and then no more; a thread that only waits to write comes back
/// when it is shut down, and not before.
struct Choked {
    socket: Socket,
    room: AtomicUsize,
    is_shut: Mutex<bool>,
    shut: Condvar,
}

impl Transport for Choked {
    fn receive(&self, room: &mut [u8], patience: Patience) -> io::Result<usize> {
        self.socket.receive(room, patience)
    }

    fn send(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let len = pieces.iter().map(|piece| piece.len()).sum();
        let take = |room: usize| room.checked_sub(len);
        self.room
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, take)
            .map_err(|_| io::Error::from(io::ErrorKind::WouldBlock))?;
        self.socket.send(pieces)
    }

    fn wait_writable(&self, or_readable: bool, patience: Option<Duration>) -> io::Result<()> {
        let is_shut = self.is_shut.lock().unwrap();
        match or_readable {
            true => {
                let longest = patience.unwrap_or(Duration::MAX);
                drop(
                    self.shut
                        .wait_timeout_while(is_shut, longest, |shut| !*shut),
                );
            }
            false => drop(self.shut.wait_while(is_shut, |shut| !*shut)),
        }
        Ok(())
    }

    fn shutdown(&self) {
        *self.is_shut.lock().unwrap() = true;
        self.shut.notify_all();
        self.socket.shutdown();
    }
}

/// HD-31, HD-9, B-23: a stalled peer's connection is given up even with a farewell of TLS left to
/// say, and a thread that does not come back from waiting to write.
#[test]
fn a_farewell_is_not_waited_for() {
    bounded(|| {
        let mut config = Config::new(Side::Server);
        config.connection.write_timeout = Duration::from_millis(100);
        config.connection.max_inflight = Some(0);
        let service = Running::start(
            Service::builder(identity())
                .default_access(scamp_blocking::Access::Allow)
                .session(config)
                .action("Test.large", |_| {
                    Ok(scamp_blocking::Reply::new(octets(1 << 19)))
                })
                .unwrap(),
        );
        let (near, far) = UnixStream::pair().unwrap();
        let choked = Choked {
            socket: far.into(),
            // Enough for a handshake, and not for the reply.
            room: AtomicUsize::new(16_384),
            is_shut: Mutex::default(),
            shut: Condvar::new(),
        };
        service.handle.adopt(choked).unwrap();
        let client = Client::builder(Pin::AnyCertificate)
            .over("127.0.0.1", Socket::from(near))
            .unwrap();
        let reply = ask(&client, "Test.large");
        until("its handler has done its part", || {
            let stats = service.handle.stats();
            (stats.requests_started, stats.requests_active) == (1, 0)
        });
        // The connection's own thread reads this, and from then on knows how late it may get.
        client.notify("").unwrap();
        let error = reply.wait().err().unwrap();
        assert!(matches!(error, CallError::NoReply(_)), "{error:?}");
        until("it is given up", || is_given_up(&service.handle));
    });
}

/// F-9: a client whose peer reads nothing until it has written everything gets on with it.
#[test]
fn a_peer_that_writes_first() {
    bounded(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let peer = thread::spawn(move || {
            let (mut raw, _) = listener.accept().unwrap();
            // A megabyte of the reply, in spite of windows, before a single read.
            let header = packet("HEADER", 0, r#"{"type":"reply","request_id":1}"#);
            raw.write_all(header.as_bytes()).unwrap();
            let data = packet("DATA", 0, &"d".repeat(65_536));
            for _ in 0..96 {
                raw.write_all(data.as_bytes()).unwrap();
            }
            raw.write_all(packet("EOF", 0, "").as_bytes()).unwrap();
            let mut count = 0;
            let mut room = vec![0; 65_536];
            while count < 12 << 20 {
                count += raw.read(&mut room).unwrap();
            }
            // Closing it now would take the reply with it.
            raw
        });
        let mut config = Config::new(Side::Client);
        config.connection.max_inflight = Some(0);
        config.connection.max_queued = 64 << 20;
        let client = Client::plain()
            .session(config)
            .connect(&address.to_string())
            .unwrap();
        let options = RequestOptions {
            keep_sending: true,
            ..Default::default()
        };
        let (mut out, reply) = client.request(head("Test.any"), &options).unwrap();
        out.write_bytes(octets(12 << 20).into()).unwrap();
        out.finish().unwrap();
        assert_eq!(
            reply.wait().unwrap().whole(16 << 20).unwrap().body.len(),
            96 << 16
        );
        drop(peer.join().unwrap());
    });
}

/// F-1, S-30: a connection that is cut ends each exchange once, and says how far it was.
#[test]
fn a_cut_connection_ends_its_exchanges() {
    bounded(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let peer = thread::spawn(move || {
            for reply in [
                String::new(),
                packet("HEADER", 0, r#"{"type":"reply","request_id":1}"#)
                    + &packet("DATA", 0, "half"),
            ] {
                let (mut raw, _) = listener.accept().unwrap();
                let mut room = [0; 1000];
                assert!(raw.read(&mut room).unwrap() > 0);
                raw.write_all(reply.as_bytes()).unwrap();
            }
        });
        let client = Client::plain().connect(&address).unwrap();
        let error = client.call(head("Test.any"), "").unwrap_err();
        assert!(
            matches!(
                error,
                CallError::NoReply(ExchangeError::ConnectionLost { .. })
            ),
            "{error:?}"
        );
        assert!(!error.is_dispatch_failure());
        let client = Client::plain().connect(&address).unwrap();
        let reply = ask(&client, "Test.any");
        let mut body = reply.wait().unwrap().body;
        let mut all = Vec::new();
        let error = body.read_to_end(&mut all).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        assert_eq!(body.chunk(), Err(BodyError::ConnectionLost));
        peer.join().unwrap();
    });
}

/// S-24: a client that nobody used while its service went away finds out before it asks.
#[test]
fn a_client_that_slept_finds_out() {
    bounded(|| {
        let service = service();
        let client = service.client();
        echo(&client, "x");
        service.stop();
        thread::sleep(Duration::from_millis(1100));
        let error = client.call(head("Test.echo"), "x").unwrap_err();
        assert!(error.is_dispatch_failure(), "{error:?}");
        assert!(client.closed().is_some());
    });
}

/// B-11, HD-18: peers that never shake hands are dropped, the oldest first.
#[test]
fn silent_peers_make_room() {
    bounded(|| {
        let mut limits = Limits::for_files(1024);
        limits.max_handshakes_per_address = 4;
        let gate = Gate::default();
        let service = Running::start(gated(&gate).limits(limits));
        let silent: Vec<_> = (0..20).map(|_| service.raw()).collect();
        let client = service.client();
        echo(&client, "x");
        // Those that wait still, the client's own, and none of the others.
        until("the oldest are gone", || service.handle.connections() <= 5);
        drop(silent);
        until("all are gone", || service.handle.connections() == 1);
    });
}

/// B-16, HD-28: HEADER and TXERR without end are a flood, and no handler was started for them.
#[test]
fn a_flood_ends_its_connection() {
    bounded(|| {
        let service = Running::start(actions(
            Service::plain().default_access(scamp_blocking::Access::Allow),
        ));
        let mut raw = service.raw();
        let header = r#"{"type":"request","request_id":1,"action":"Test.echo"}"#;
        for number in 0..200_000 {
            let pair = packet("HEADER", number, header) + &packet("TXERR", number, "no");
            if raw.write_all(pair.as_bytes()).is_err() {
                break;
            }
        }
        until("it is closed", || {
            service.handle.stats().protocol_errors == 1
        });
        assert_eq!(service.handle.stats().requests_started, 0);
        assert_eq!(
            service.client().call(head("Test.echo"), "x").unwrap().body,
            "x"
        );
    });
}
