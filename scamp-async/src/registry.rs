//! The connections of one service: who is there, who is let in, and what they hold together.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use scamp_proto::error::Loss;
use scamp_proto::service::{Limits, Stats};
use scamp_proto::{CloseReason, Session};

use crate::shared::Shared;

/// The connections of one service.
#[derive(Debug)]
pub(crate) struct Registry {
    members: Mutex<Members>,
    /// Octets that all connections hold, as far as they have reported.
    memory: AtomicUsize,
    count: AtomicUsize,
    /// Octets of connections that are gone, in and out, and how many of them broke a rule.
    octets_in: AtomicU64,
    octets_out: AtomicU64,
    protocol_errors: AtomicU64,
    limits: Limits,
}

#[derive(Debug, Default)]
struct Members {
    next: u64,
    all: BTreeMap<u64, Arc<Shared>>,
    /// Those that have not shaken hands, the oldest first, and where they come from.
    shaking: BTreeMap<u64, IpAddr>,
    by_address: BTreeMap<IpAddr, BTreeSet<u64>>,
    /// Who waits for the last to leave.
    empty: Option<Waker>,
}

impl Registry {
    pub(crate) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            members: Mutex::default(),
            memory: AtomicUsize::new(0),
            count: AtomicUsize::new(0),
            octets_in: AtomicU64::new(0),
            octets_out: AtomicU64::new(0),
            protocol_errors: AtomicU64::new(0),
            limits,
        })
    }

    /// Whether another connection may be taken (HD-17, HD-26).
    pub(crate) fn has_room(&self) -> bool {
        let budget = self.limits.mem_budget;
        self.len() < self.limits.max_connections
            && self.memory() <= budget.saturating_add(budget / 10)
    }

    /// Takes a connection in. Where too many are shaking hands, the oldest of them is dropped for it
    /// (HD-18): a place that waits for its time to run out would keep everyone out.
    pub(crate) fn enter(self: &Arc<Self>, shared: Arc<Shared>, address: IpAddr) -> Place {
        let (serial, dropped) = {
            let mut members = self.lock();
            let oldest_here = members.by_address.get(&address).and_then(|here| {
                let full = here.len() >= self.limits.max_handshakes_per_address;
                here.first().copied().filter(|_| full)
            });
            let full = members.shaking.len() >= self.limits.max_handshakes;
            let oldest =
                oldest_here.or_else(|| members.shaking.keys().next().copied().filter(|_| full));
            let dropped = oldest.and_then(|oldest| {
                members.note_shaken(oldest);
                members.all.get(&oldest).cloned()
            });
            let serial = members.next;
            members.next += 1;
            members.all.insert(serial, shared);
            members.shaking.insert(serial, address);
            members
                .by_address
                .entry(address)
                .or_default()
                .insert(serial);
            (serial, dropped)
        };
        self.count.fetch_add(1, Ordering::AcqRel);
        if let Some(dropped) = dropped {
            dropped.cut(Loss::Tls("dropped for a newer handshake".into()));
        }
        Place {
            registry: self.clone(),
            serial,
            reported: 0,
            shaken: false,
            restrained: false,
        }
    }

    /// The connections there are.
    pub(crate) fn all(&self) -> Vec<Arc<Shared>> {
        self.lock().all.values().cloned().collect()
    }

    /// How many connections there are.
    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// How many of them are shaking hands.
    pub(crate) fn shaking(&self) -> usize {
        self.lock().shaking.len()
    }

    /// Octets that they hold, as far as they have reported.
    pub(crate) fn memory(&self) -> usize {
        self.memory.load(Ordering::Relaxed)
    }

    /// Adds what its connections have done to `stats`, those included that are gone.
    pub(crate) fn count(&self, stats: &mut Stats) {
        stats.open_connections = self.len();
        stats.handshakes = self.shaking();
        stats.memory = self.memory();
        stats.bytes_in = self.octets_in.load(Ordering::Relaxed);
        stats.bytes_out = self.octets_out.load(Ordering::Relaxed);
        stats.protocol_errors = self.protocol_errors.load(Ordering::Relaxed);
        for shared in self.all() {
            let open = shared.look(|state| state.session().connection().stats());
            stats.bytes_in += open.octets_in;
            stats.bytes_out += open.octets_out;
        }
    }

    /// Ready when no connection is left.
    pub(crate) fn poll_empty(&self, cx: &Context<'_>) -> Poll<()> {
        let mut members = self.lock();
        if members.all.is_empty() {
            return Poll::Ready(());
        }
        let old = members.empty.replace(cx.waker().clone());
        drop(members);
        drop(old);
        Poll::Pending
    }

    fn lock(&self) -> MutexGuard<'_, Members> {
        // Nothing under the lock can panic half-way through a change.
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Members {
    fn note_shaken(&mut self, serial: u64) {
        let Some(address) = self.shaking.remove(&serial) else {
            return;
        };
        if let Some(here) = self.by_address.get_mut(&address) {
            here.remove(&serial);
            if here.is_empty() {
                self.by_address.remove(&address);
            }
        }
    }
}

/// A connection's place in the registry; it is left when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    registry: Arc<Registry>,
    serial: u64,
    /// Octets last reported.
    reported: usize,
    shaken: bool,
    restrained: bool,
}

impl Place {
    /// Tells what the connection holds, and lowers what it may hold while all together hold too
    /// much (HD-26).
    pub(crate) fn report(&mut self, shared: &Shared) {
        let (memory, established) = shared.look(|state| {
            let memory = state.session().connection().memory();
            (memory, state.machine.is_established())
        });
        if established && !self.shaken {
            self.shaken = true;
            self.registry.lock().note_shaken(self.serial);
        }
        if memory != self.reported {
            let sum = &self.registry.memory;
            // The difference of two sizes; the sum wraps back to what it should be.
            sum.fetch_add(memory.wrapping_sub(self.reported), Ordering::Relaxed);
            self.reported = memory;
        }
        let budget = self.registry.limits.mem_budget;
        let over = self.registry.memory() > budget;
        if over || self.restrained {
            let share = (budget / self.registry.len().max(1)).max(LEAST_SHARE);
            let allowance = if over { share } else { usize::MAX };
            self.restrained = over;
            shared.with(|state, now| Session::set_allowance(state.session(), now, allowance));
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.registry
            .memory
            .fetch_sub(self.reported, Ordering::Relaxed);
        self.registry.count.fetch_sub(1, Ordering::AcqRel);
        let (gone, waker) = {
            let mut members = self.registry.lock();
            members.note_shaken(self.serial);
            let gone = members.all.remove(&self.serial);
            let waker = match members.all.is_empty() {
                true => members.empty.take(),
                false => None,
            };
            (gone, waker)
        };
        if let Some(gone) = gone {
            let (stats, is_violation) = gone.look(|state| {
                let is_violation = matches!(state.closed(), Some(CloseReason::Violation(_)));
                (state.session().connection().stats(), is_violation)
            });
            let registry = &self.registry;
            let add = |sum: &AtomicU64, count| sum.fetch_add(count, Ordering::Relaxed);
            add(&registry.octets_in, stats.octets_in);
            add(&registry.octets_out, stats.octets_out);
            add(&registry.protocol_errors, u64::from(is_violation));
        }
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// The least that a connection may hold, however many there are, in octets (HD-26).
const LEAST_SHARE: usize = 256 * 1024;
