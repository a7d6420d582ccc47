//! Two machines, the octets between them, and their clock.

use bytes::Buf;

use super::wire::{Link, Pipe};
use crate::{Duplex, End, Instant, Outbox};

/// Two ends of one connection in one thread, in virtual time (anchors 3.9).
///
/// It drives any two machines the way every driver does: drain before you wait. What passes is
/// shown to `W` as it passes.
///
/// ```
/// use core::time::Duration;
/// use scamp_proto::connection::{Config, Connection, Event};
/// use scamp_proto::sim::Pair;
/// use scamp_proto::wire::Header;
/// use scamp_proto::Instant;
///
/// let end = || Connection::new(Config::default(), Instant::EPOCH);
/// let mut pair = Pair::new(end(), end());
/// let header = Header::decode(b"{}").expect("an object");
/// let id = pair.client.open(pair.now, &header)?;
/// pair.client.finish(pair.now, id)?;
/// pair.settle();
/// assert!(matches!(pair.server.poll_event(), Some(Event::Opened { .. })));
/// # Ok::<(), scamp_proto::SendError>(())
/// ```
#[derive(Debug)]
pub struct Pair<A, B, W = ()> {
    /// The end that dialled.
    pub client: A,
    /// The end that was dialled.
    pub server: B,
    /// The time now.
    pub now: Instant,
    /// Who looks on.
    pub watch: W,
    /// From client to server, and back.
    pub pipes: [Pipe; 2],
    outboxes: [Outbox; 2],
}

/// Sees the octets that pass. The client's side is 0, the server's is 1.
pub trait Watch {
    /// A machine has handed over octets to be sent.
    fn emitted(&mut self, side: usize, now: Instant, octets: &[u8]);

    /// A machine is about to be given octets.
    fn delivered(&mut self, side: usize, now: Instant, octets: &[u8]);

    /// A machine is about to be told that nothing more will arrive.
    fn ended(&mut self, side: usize, end: &End);
}

impl Watch for () {
    fn emitted(&mut self, _: usize, _: Instant, _: &[u8]) {}
    fn delivered(&mut self, _: usize, _: Instant, _: &[u8]) {}
    fn ended(&mut self, _: usize, _: &End) {}
}

impl<A: Duplex, B: Duplex> Pair<A, B> {
    /// Two ends and a perfect wire; the clock stands at the epoch.
    pub fn new(client: A, server: B) -> Self {
        Self::over(client, server, [Link::default(), Link::default()], ())
    }
}

impl<A: Duplex, B: Duplex, W: Watch> Pair<A, B, W> {
    /// Two ends and these links, from client to server and back.
    pub fn over(client: A, server: B, links: [Link; 2], watch: W) -> Self {
        Self {
            client,
            server,
            now: Instant::EPOCH,
            watch,
            pipes: links.map(Pipe::new),
            outboxes: [Outbox::default(), Outbox::default()],
        }
    }

    /// Moves what can move now, until nothing does.
    pub fn settle(&mut self) {
        while self.step() {}
    }

    /// One turn of each end's driver; returns whether anything moved.
    pub fn step(&mut self) -> bool {
        self.step_noting(|_, _| (), |_, _| ())
    }

    /// As [`step`](Self::step), and each end is looked at between writing, which may be the last it
    /// does, and reading.
    pub(super) fn step_noting(
        &mut self,
        look_at_client: impl FnOnce(&A, &mut W),
        look_at_server: impl FnOnce(&B, &mut W),
    ) -> bool {
        let [out_client, out_server] = &mut self.outboxes;
        let [to_server, to_client] = &mut self.pipes;
        let (now, watch) = (self.now, &mut self.watch);
        let client = &mut self.client;
        let mut moved = write(0, client, now, out_client, to_server, to_client, watch);
        look_at_client(client, watch);
        moved |= read(0, client, now, to_client, watch);
        let server = &mut self.server;
        moved |= write(1, server, now, out_server, to_client, to_server, watch);
        look_at_server(server, watch);
        moved |= read(1, server, now, to_server, watch);
        moved
    }

    /// When something will next happen by itself: an alarm, or an arrival that is welcome.
    pub fn next(&self) -> Option<Instant> {
        let [to_server, to_client] = &self.pipes;
        let arrivals = [
            (to_server, self.server.wants_read()),
            (to_client, self.client.wants_read()),
        ];
        let arrivals = arrivals
            .into_iter()
            .filter_map(|(pipe, wanted)| pipe.next_arrival(self.now).filter(|_| wanted));
        let alarms = [self.client.poll_timeout(), self.server.poll_timeout()];
        alarms.into_iter().flatten().chain(arrivals).min()
    }

    /// Goes to the moment when something happens next, and settles; `false` if nothing ever will.
    pub fn advance(&mut self) -> bool {
        match self.next() {
            Some(at) => {
                self.now = self.now.max(at);
                self.alarm();
                self.settle();
                true
            }
            None => false,
        }
    }

    /// Lets time pass until `at`, with everything that happens on the way.
    pub fn advance_to(&mut self, at: Instant) {
        self.settle();
        while self.next().is_some_and(|next| next <= at) {
            self.advance();
        }
        self.now = self.now.max(at);
        self.alarm();
        self.settle();
    }

    /// Tells both ends the time, if one of their deadlines has passed; returns whether one has.
    ///
    /// # Panics
    ///
    /// When an end asks again for a time that has passed: its driver would spin (Q-14).
    pub fn alarm(&mut self) -> bool {
        ring(&mut self.client, self.now) | ring(&mut self.server, self.now)
    }

    /// Whether both ends are done with the transport.
    pub fn is_over(&self) -> bool {
        self.client.is_drained() && self.server.is_drained()
    }
}

fn ring<M: Duplex>(machine: &mut M, now: Instant) -> bool {
    let is_due = machine.poll_timeout().is_some_and(|at| at <= now);
    if is_due {
        machine.handle_timeout(now);
        let again = machine.poll_timeout();
        assert!(
            again.is_none_or(|at| at > now),
            "an alarm for {again:?} after handle_timeout at {now:?} (Q-14)"
        );
    }
    is_due
}

/// What a driver does first when it is its turn.
fn write<M: Duplex, W: Watch>(
    side: usize,
    machine: &mut M,
    now: Instant,
    out: &mut Outbox,
    tx: &mut Pipe,
    rx: &mut Pipe,
    watch: &mut W,
) -> bool {
    let mut moved = false;
    if out.is_empty() && !machine.is_drained() && machine.poll_transmit(now, out).is_some() {
        let octets = out.take_all();
        watch.emitted(side, now, &octets);
        out.put(&octets);
        moved = true;
    }
    while !out.is_empty() && tx.has_room() {
        let count = tx.write(now, out.chunk());
        out.advance(count);
        moved = true;
        if tx.is_reset() && !rx.is_reset() {
            rx.reset(now);
        }
    }
    if machine.is_drained() && out.is_empty() {
        moved |= tx.close(now);
    }
    moved
}

/// What a driver does then.
fn read<M: Duplex, W: Watch>(
    side: usize,
    machine: &mut M,
    now: Instant,
    rx: &mut Pipe,
    watch: &mut W,
) -> bool {
    if !machine.wants_read() {
        return false;
    }
    if let Some(octets) = rx.read(now) {
        watch.delivered(side, now, &octets);
        machine.receive(now, &octets);
        return true;
    }
    let Some(end) = rx.read_end(now) else {
        return false;
    };
    watch.ended(side, &end);
    machine.receive_end(now, end);
    true
}
