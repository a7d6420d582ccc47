//! What a connection that does nothing costs in memory. Alone in its file, since the allocator's
//! counts are those of the whole process.
#![allow(clippy::unwrap_used)]

use std::alloc::System;

use scamp_proto::{Duplex, End, Instant, Outbox};
use scamp_tls::{ClientTls, Identity, Pin, ServerTls, Tls};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Says what it is told to and forgets what it hears.
#[derive(Default)]
struct Quiet {
    say: Option<Vec<u8>>,
    /// Set to say it again and again.
    again: bool,
}

impl Duplex for Quiet {
    fn receive(&mut self, _: Instant, _: &[u8]) {}
    fn receive_end(&mut self, _: Instant, _: End) {}
    fn wants_read(&self) -> bool {
        true
    }
    fn poll_transmit(&mut self, _: Instant, out: &mut Outbox) -> Option<usize> {
        let say = self.say.take()?;
        let len = say.len();
        out.put(&say);
        self.say = self.again.then_some(say);
        Some(len)
    }
    fn poll_timeout(&self) -> Option<Instant> {
        None
    }
    fn handle_timeout(&mut self, _: Instant) {}
    fn is_drained(&self) -> bool {
        false
    }
}

fn settle(client: &mut Tls<Quiet>, server: &mut Tls<Quiet>) {
    let mut wire = Outbox::default();
    loop {
        let mut moved = false;
        while client.poll_transmit(NOW, &mut wire).is_some() {
            server.receive(NOW, &wire.take_all());
            moved = true;
        }
        while server.poll_transmit(NOW, &mut wire).is_some() {
            client.receive(NOW, &wire.take_all());
            moved = true;
        }
        if !moved {
            return;
        }
    }
}

fn held(region: &Region<'_, System>) -> isize {
    let change = region.change();
    change.bytes_allocated as isize - change.bytes_deallocated as isize
}

/// HD-20 and performance 3, rule 12. One test, so that nothing else allocates meanwhile.
#[test]
fn memory() {
    idle_connections_own_no_buffers();
    endless_output_takes_bounded_memory();
}

/// Before the handshake, after it, and after a megabyte each way, an idle connection holds no buffers
/// of ours and little of rustls's.
fn idle_connections_own_no_buffers() {
    let certificate = include_str!("data/rsa2048.crt");
    let identity = Identity::from_pem(certificate, include_str!("data/rsa2048.key")).unwrap();
    let server_tls = ServerTls::new(identity.clone());
    let client_tls = ClientTls::new("127.0.0.1", Pin::Fingerprint(identity.fingerprint()));
    // Sessions are remembered and stocks of random numbers filled by an earlier connection.
    for _ in 0..3 {
        let mut client = Tls::client(Quiet::default(), &client_tls, NOW);
        let mut server = Tls::server(Quiet::default(), &server_tls, NOW);
        settle(&mut client, &mut server);
    }

    let region = Region::new(ALLOCATOR);
    let mut server = Tls::server(Quiet::default(), &server_tls, NOW);
    let accepted = held(&region);
    let mut client = Tls::client(Quiet::default(), &client_tls, NOW);
    settle(&mut client, &mut server);
    assert!(client.is_established() && server.is_established());
    let established = held(&region);

    for end in [&mut client, &mut server] {
        end.inner_mut().say = Some(vec![b'x'; 1 << 20]);
    }
    settle(&mut client, &mut server);
    let after_bulk = held(&region);

    let own = std::mem::size_of::<Tls<Quiet>>();
    assert!(
        own + accepted as usize <= 8 * 1024,
        "{own} + {accepted} octets per accepted socket"
    );
    assert!(
        established <= 2 * 14 * 1024,
        "{established} octets for both ends"
    );
    assert!(
        after_bulk <= established + 2048,
        "{after_bulk} octets after a megabyte each way"
    );
}
/// A machine that always has more does not make memory grow.
fn endless_output_takes_bounded_memory() {
    let certificate = include_str!("data/rsa2048.crt");
    let identity = Identity::from_pem(certificate, include_str!("data/rsa2048.key")).unwrap();
    let mut client = Tls::client(
        Quiet::default(),
        &ClientTls::new("::1", Pin::AnyCertificate),
        NOW,
    );
    let mut server = Tls::server(Quiet::default(), &ServerTls::new(identity), NOW);
    settle(&mut client, &mut server);
    let region = Region::new(ALLOCATOR);
    client.inner_mut().say = Some(vec![b'x'; 1000]);
    client.inner_mut().again = true;
    let mut wire = Outbox::default();
    for turn in 0..1000 {
        assert!(client.poll_transmit(NOW, &mut wire).is_some());
        server.receive(NOW, &wire.take_all());
        let held = held(&region);
        assert!(held < 256 * 1024, "{held} octets in turn {turn}");
    }
}

const NOW: Instant = Instant::EPOCH;
