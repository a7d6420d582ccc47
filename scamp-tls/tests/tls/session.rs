//! A real session inside.

use bytes::Bytes;
use scamp_proto::connection::Read;
use scamp_proto::error::{CloseReason, ExchangeError, Loss, Untrusted};
use scamp_proto::limits::CLOSE_LINGER;
use scamp_proto::session::{Config, Event, RequestOptions, Session, Side};
use scamp_proto::wire::{ReplyHead, RequestHead};
use scamp_proto::{Duplex, End, Instant};
use scamp_tls::{Options, Pin, Tls};

use crate::support::*;

const NOW: Instant = Instant::EPOCH;

fn session(side: Side) -> Session {
    Session::new(Config::new(side), side, NOW)
}

/// A client with one request waiting, and a server that presents `name`.
fn pair(pin: Pin, name: &str, options: &Options) -> (Tls<Session>, Tls<Session>) {
    let mut asker = session(Side::Client);
    let head = RequestHead::new("Greetings.hello");
    let (_, body) = asker
        .request(NOW, &head, &RequestOptions::default())
        .unwrap();
    asker
        .write(NOW, body, &mut Bytes::from_static(b"\"World\""))
        .unwrap();
    asker.finish(NOW, body).unwrap();
    let client = Tls::client(asker, &client_tls(pin, options), NOW);
    let server = Tls::server(
        session(Side::Server),
        &server_tls(identity(name), options),
        NOW,
    );
    (client, server)
}

fn settle(client: &mut Tls<Session>, server: &mut Tls<Session>, cut: usize) {
    loop {
        let up = drain(client, NOW);
        feed(server, NOW, &up, cut);
        let down = drain(server, NOW);
        feed(client, NOW, &down, cut);
        if up.is_empty() && down.is_empty() {
            return;
        }
    }
}

fn events(end: &mut Tls<Session>) -> Vec<Event> {
    std::iter::from_fn(|| end.inner_mut().poll_event()).collect()
}

/// A request made before the handshake travels, is answered, and both ends close in order; after its
/// close_notify the client waits for the peer's (S-35).
#[test]
fn an_exchange_and_its_close() {
    for options in every_options() {
        for cut in [1, 7, 1000, usize::MAX] {
            let pin = Pin::Certificate(certificate("rsa2048.crt"));
            let (mut client, mut server) = pair(pin, "rsa2048", &options);
            settle(&mut client, &mut server, cut);
            let Some(Event::Request { id, body, .. }) = server.inner_mut().poll_event() else {
                panic!("no request")
            };
            assert_eq!(
                server.inner_mut().read(NOW, body),
                Read::Data("\"World\"".into())
            );
            let reply = server
                .inner_mut()
                .reply(NOW, id, &ReplyHead::default())
                .unwrap();
            let mut text = Bytes::from_static(b"\"Hello World\"");
            server.inner_mut().write(NOW, reply, &mut text).unwrap();
            server.inner_mut().finish(NOW, reply).unwrap();
            settle(&mut client, &mut server, cut);
            let Some(Event::Reply { body, .. }) = client.inner_mut().poll_event() else {
                panic!("no reply")
            };
            assert_eq!(
                client.inner_mut().read(NOW, body),
                Read::Data("\"Hello World\"".into())
            );

            events(&mut client);
            client.inner_mut().close(NOW);
            let farewell = drain(&mut client, NOW);
            assert_eq!(
                events(&mut client),
                [Event::Closed(CloseReason::ClosedLocally)]
            );
            assert!(!client.is_drained());
            assert_eq!(client.poll_timeout(), Some(NOW + CLOSE_LINGER));
            feed(&mut server, NOW, &farewell, cut);
            settle(&mut client, &mut server, cut);
            assert!(client.is_drained() && server.is_drained());
            assert_eq!(events(&mut client), []);
        }
    }
}

/// A violation closes at once, with close_notify and without a wait.
#[test]
fn a_violation_closes_at_once() {
    for options in both_versions() {
        let (_, mut server) = pair(Pin::AnyCertificate, "rsa2048", &options);
        let client = client_tls(Pin::AnyCertificate, &options);
        let rude = Recorder::saying(&[b"GET / HTTP/1.1\r\n"]);
        let mut client = Tls::client(rude, &client, NOW);
        for _ in 0..4 {
            let up = drain(&mut client, NOW);
            feed(&mut server, NOW, &up, usize::MAX);
            let down = drain(&mut server, NOW);
            feed(&mut client, NOW, &down, usize::MAX);
        }
        let last = events(&mut server).pop();
        assert!(
            matches!(last, Some(Event::Closed(CloseReason::Violation(_)))),
            "{last:?}"
        );
        assert!(server.is_drained());
        assert_eq!(client.inner().ends, [End::Eof]);
    }
}

/// L-3: requests that waited for a handshake which fails were certainly not processed.
#[test]
fn waiting_requests_end_not_established() {
    for options in both_versions() {
        let expected = identity("rsa3072").fingerprint();
        let (mut client, mut server) = pair(expected.into(), "rsa2048", &options);
        settle(&mut client, &mut server, 1000);
        let reason = CloseReason::Lost(Loss::Untrusted(Untrusted::FingerprintMismatch {
            expected: expected.to_string(),
            got: identity("rsa2048").fingerprint().to_string(),
        }));
        let events = events(&mut client);
        let failed = events.iter().any(|event| match event {
            Event::Failed { error, .. } => {
                error.is_dispatch_failure()
                    && *error == ExchangeError::NotEstablished(reason.clone())
            }
            _ => false,
        });
        assert!(failed, "{events:?}");
        assert_eq!(events.last(), Some(&Event::Closed(reason)));
        assert!(client.is_drained());
    }
}
