//! From the first announcement to the last.

use alloc::collections::VecDeque;
use core::time::Duration;

use crate::Instant;
use crate::limits::{CLOSE_LINGER, SHUTDOWN_DRAIN, SHUTDOWN_GRACE};

/// When a service does what, from listening to having left (V-1, V-12, V-13).
///
/// It is told what has happened and gives orders; each order comes once, and in this sequence.
///
/// ```text
/// Starting ──listening()──> Serving <──suspend(), resume()
///                              │ shutdown(): Leave
///                              v
///                            Grace ──5 s──> Draining ──no request, or 30 s──> Closing
///                              │ StopListening, Refuse         CutReplies, Close │ no connection,
///                              └────────── second shutdown() ──────────────────> │ or 1 s
///                                                                                v
///                                            Over <──announcer is done── Leaving
///                                         RemoveRunningFile, Return
/// ```
///
/// ```
/// use core::time::Duration;
/// use scamp_proto::Instant;
/// use scamp_proto::service::{Lifecycle, Order};
///
/// let mut life = Lifecycle::new(false);
/// life.listening(Instant::EPOCH);
/// assert_eq!(life.poll_order(), Some(Order::CreateRunningFile));
/// life.shutdown(Instant::EPOCH);
/// assert_eq!(life.poll_order(), Some(Order::StopListening));
/// assert_eq!(life.poll_order(), Some(Order::Refuse));
/// assert_eq!(life.poll_timeout(), Some(Instant::EPOCH + Duration::from_secs(30)));
/// ```
#[derive(Debug)]
pub struct Lifecycle {
    grace: Duration,
    drain: Duration,
    /// Whether anybody is told that it is there.
    announces: bool,
    stage: Stage,
    suspended: bool,
    orders: VecDeque<Order>,
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Stage {
    Starting,
    Serving,
    Grace(Instant),
    Draining(Instant),
    Closing(Instant),
    Leaving,
    Over,
}

/// What a service is to do next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Order {
    /// Create the running-service file (V-7). A failure is an event and no error.
    CreateRunningFile,
    /// Begin to announce (V-4).
    Announce,
    /// Announce weight 0, and go on serving (V-13).
    Suspend,
    /// Announce the weight again (V-13).
    Resume,
    /// Begin the announcements of weight 0 that end with [`Lifecycle::left`] (D-29).
    Leave,
    /// Close the listeners.
    StopListening,
    /// Have every connection refuse new requests (V-9): drain its session.
    Refuse,
    /// End the replies that are open with TXERR `service shutting down`.
    CutReplies,
    /// Flush and close every connection.
    Close,
    /// Remove the running-service file.
    RemoveRunningFile,
    /// All is done.
    Return,
}

impl Lifecycle {
    /// The life of a service that is about to start, with 5 s of grace and 30 s to drain.
    ///
    /// One that `announces` nothing needs no grace: nobody can have heard that it leaves.
    pub fn new(announces: bool) -> Self {
        Self {
            grace: SHUTDOWN_GRACE,
            drain: SHUTDOWN_DRAIN,
            announces,
            stage: Stage::Starting,
            suspended: false,
            orders: VecDeque::new(),
        }
    }

    /// Sets how long requests are taken after leaving has begun (`service.shutdown_grace`).
    pub fn grace(self, grace: Duration) -> Self {
        Self { grace, ..self }
    }

    /// Sets how long requests in progress are waited for (`service.shutdown_drain`).
    pub fn drain(self, drain: Duration) -> Self {
        Self { drain, ..self }
    }

    /// The first listener listens: only now may it be announced (V-4).
    pub fn listening(&mut self, _now: Instant) {
        if self.stage == Stage::Starting {
            self.stage = Stage::Serving;
            self.orders.push_back(Order::CreateRunningFile);
            if self.announces {
                self.orders.push_back(Order::Announce);
                if self.suspended {
                    self.orders.push_back(Order::Suspend);
                }
            }
        }
    }

    /// Tells everybody to go elsewhere, and serves who comes all the same (V-13).
    pub fn suspend(&mut self) {
        self.set_suspended(true, Order::Suspend);
    }

    /// Is there for everybody again.
    pub fn resume(&mut self) {
        self.set_suspended(false, Order::Resume);
    }

    fn set_suspended(&mut self, suspended: bool, order: Order) {
        let changed = self.suspended != suspended;
        self.suspended = suspended;
        if changed && self.announces && self.stage == Stage::Serving {
            self.orders.push_back(order);
        }
    }

    /// Whether it is suspended.
    pub fn is_suspended(&self) -> bool {
        self.suspended
    }

    /// Begins the end. Told twice, it waits for no request; told three times, for no farewell either.
    pub fn shutdown(&mut self, now: Instant) {
        match self.stage {
            Stage::Starting => self.finish(),
            Stage::Serving if self.announces => {
                self.orders.push_back(Order::Leave);
                self.stage = Stage::Grace(now + self.grace);
                self.handle_timeout(now);
            }
            Stage::Serving => self.begin_draining(now),
            Stage::Grace(_) => {
                self.begin_draining(now);
                self.begin_closing(now);
            }
            Stage::Draining(_) => self.begin_closing(now),
            // Closing is short, and what is flushed then is worth it; the farewells are not.
            Stage::Closing(_) => self.announces = false,
            Stage::Leaving => self.finish(),
            Stage::Over => {}
        }
    }

    /// No request is in progress at the moment. Worth telling while [`is_draining`](Self::is_draining).
    pub fn idle(&mut self, now: Instant) {
        if let Stage::Draining(_) = self.stage {
            self.begin_closing(now);
        }
    }

    /// No connection is left. Worth telling after [`Order::Refuse`].
    pub fn closed(&mut self, now: Instant) {
        self.idle(now);
        if let Stage::Closing(_) = self.stage {
            self.begin_leaving();
        }
    }

    /// The last announcement has been sent (D-29).
    pub fn left(&mut self) {
        self.announces = false;
        if self.stage == Stage::Leaving {
            self.finish();
        }
    }

    /// Whether new requests are refused, and those in progress are waited for.
    pub fn is_draining(&self) -> bool {
        matches!(self.stage, Stage::Draining(_))
    }

    /// Whether everything is done.
    pub fn is_over(&self) -> bool {
        self.stage == Stage::Over
    }

    /// The next order, or `None` for now.
    pub fn poll_order(&mut self) -> Option<Order> {
        self.orders.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) should next be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.stage {
            Stage::Grace(at) | Stage::Draining(at) | Stage::Closing(at) => Some(at),
            Stage::Starting | Stage::Serving | Stage::Leaving | Stage::Over => None,
        }
    }

    /// Acts on the deadline, if it has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        match self.stage {
            Stage::Grace(at) if at <= now => self.begin_draining(now),
            Stage::Draining(at) if at <= now => self.begin_closing(now),
            Stage::Closing(at) if at <= now => self.begin_leaving(),
            Stage::Starting
            | Stage::Serving
            | Stage::Grace(_)
            | Stage::Draining(_)
            | Stage::Closing(_)
            | Stage::Leaving
            | Stage::Over => {}
        }
    }

    fn begin_draining(&mut self, now: Instant) {
        self.orders.extend([Order::StopListening, Order::Refuse]);
        self.stage = Stage::Draining(now + self.drain);
    }

    fn begin_closing(&mut self, now: Instant) {
        self.orders.extend([Order::CutReplies, Order::Close]);
        self.stage = Stage::Closing(now + CLOSE_LINGER);
    }

    fn begin_leaving(&mut self) {
        match self.announces {
            true => self.stage = Stage::Leaving,
            false => self.finish(),
        }
    }

    fn finish(&mut self) {
        if self.stage != Stage::Starting {
            self.orders.push_back(Order::RemoveRunningFile);
        }
        self.orders.push_back(Order::Return);
        self.stage = Stage::Over;
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::EPOCH + Duration::from_millis(millis)
    }

    fn orders(life: &mut Lifecycle) -> Vec<Order> {
        core::iter::from_fn(|| life.poll_order()).collect()
    }

    fn serving() -> Lifecycle {
        let mut life = Lifecycle::new(true);
        assert_eq!(orders(&mut life), []);
        life.listening(at(0));
        assert_eq!(
            orders(&mut life),
            [Order::CreateRunningFile, Order::Announce]
        );
        life
    }

    /// V-4, V-12: announcing before anything else ends; each step in its order and time.
    #[test]
    fn an_orderly_end() {
        let mut life = serving();
        life.idle(at(500));
        life.shutdown(at(1000));
        assert_eq!(orders(&mut life), [Order::Leave]);
        assert_eq!(life.poll_timeout(), Some(at(6000)));
        life.idle(at(2000));
        life.handle_timeout(at(5999));
        assert_eq!(orders(&mut life), []);
        life.handle_timeout(at(6000));
        assert_eq!(orders(&mut life), [Order::StopListening, Order::Refuse]);
        assert!(life.is_draining());
        assert_eq!(life.poll_timeout(), Some(at(36_000)));
        life.idle(at(7000));
        assert_eq!(orders(&mut life), [Order::CutReplies, Order::Close]);
        assert_eq!(life.poll_timeout(), Some(at(8000)));
        life.closed(at(7500));
        assert_eq!((orders(&mut life), life.poll_timeout()), (Vec::new(), None));
        life.left();
        assert_eq!(orders(&mut life), [Order::RemoveRunningFile, Order::Return]);
        assert!(life.is_over());
        life.shutdown(at(9000));
        assert_eq!(orders(&mut life), []);
    }

    /// V-12: neither requests nor connections are waited for longer than they may be.
    #[test]
    fn patience_ends() {
        let mut life = serving().drain(Duration::from_secs(3));
        life.shutdown(at(0));
        life.left();
        life.handle_timeout(at(5000));
        life.handle_timeout(at(7999));
        assert_eq!(
            orders(&mut life),
            [Order::Leave, Order::StopListening, Order::Refuse]
        );
        life.handle_timeout(at(8000));
        life.handle_timeout(at(9000));
        assert_eq!(
            orders(&mut life),
            [
                Order::CutReplies,
                Order::Close,
                Order::RemoveRunningFile,
                Order::Return
            ]
        );
    }

    /// V-12: a second shutdown skips to the fourth step, from wherever it is; a third waits for no
    /// farewell.
    #[test]
    fn hurried() {
        let mut life = serving();
        life.shutdown(at(0));
        life.shutdown(at(1));
        let all = orders(&mut life);
        let refused = [Order::Leave, Order::StopListening, Order::Refuse];
        assert_eq!(
            all,
            [&refused[..], &[Order::CutReplies, Order::Close]].concat()
        );
        life.shutdown(at(2));
        assert_eq!(orders(&mut life), [], "connections may still flush");
        life.closed(at(2));
        assert_eq!(orders(&mut life), [Order::RemoveRunningFile, Order::Return]);

        let mut life = serving();
        life.shutdown(at(0));
        life.shutdown(at(0));
        life.closed(at(0));
        orders(&mut life);
        life.shutdown(at(0));
        assert_eq!(orders(&mut life), [Order::RemoveRunningFile, Order::Return]);

        let mut life = Lifecycle::new(false);
        life.listening(at(0));
        life.shutdown(at(0));
        life.shutdown(at(0));
        life.closed(at(0));
        let all = orders(&mut life);
        assert_eq!(all.last(), Some(&Order::Return));
        assert!(!all.contains(&Order::Leave) && !all.contains(&Order::Announce));

        let mut life = Lifecycle::new(true);
        life.shutdown(at(0));
        assert_eq!(orders(&mut life), [Order::Return]);
    }

    /// V-13: suspended, it announces weight 0 and nothing else changes.
    #[test]
    fn suspension() {
        let mut life = serving();
        life.suspend();
        life.suspend();
        assert!(life.is_suspended() && life.poll_timeout().is_none());
        life.resume();
        assert_eq!(orders(&mut life), [Order::Suspend, Order::Resume]);
        life.shutdown(at(0));
        life.suspend();
        assert_eq!(orders(&mut life), [Order::Leave]);

        let mut early = Lifecycle::new(true);
        early.suspend();
        early.listening(at(0));
        assert_eq!(orders(&mut early).last(), Some(&Order::Suspend));
    }
}
