//! What the connections of one service have in common, whatever face serves them.

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::SystemTime;

use scamp_proto::limits;
use scamp_proto::service::{Actions, Guard, House};
use scamp_proto::session::Board;

use crate::presence::Presence;
use crate::service_settings::RegisterError;

/// A face's actions with their handlers `H`, and the `L` that hears notifications.
#[derive(Clone, Debug)]
pub struct Roster<H, L> {
    /// The actions.
    pub table: Actions<H>,
    /// What hears notifications; without, they are dropped.
    pub listener: Option<L>,
}

impl<H, L> Default for Roster<H, L> {
    fn default() -> Self {
        Self {
            table: Actions::default(),
            listener: None,
        }
    }
}

/// What the connections of one service have in common: its actions, who may call them, what is
/// published, and how much is going on.
pub struct ServiceHouse<H, L> {
    /// Swapped when actions are added or removed while the service runs (V-1).
    roster: RwLock<Arc<Roster<H, L>>>,
    /// Held while actions are added or removed.
    changing: Mutex<()>,
    /// Tickets and the table. Its lock is taken last, and nothing is waited for under it.
    guard: Mutex<Guard>,
    is_tabled: bool,
    /// What is published. A face takes its lock either always before a connection's, or always after.
    board: Mutex<Board>,
    /// Requests in handlers.
    active: AtomicUsize,
    max_active: usize,
    started: AtomicU64,
    failed: AtomicU64,
}

impl<H: Clone, L: Clone> ServiceHouse<H, L> {
    /// One whose callers this guard checks, and that lets `max_active` requests into handlers at
    /// once (V-10).
    pub fn new(roster: Roster<H, L>, guard: Guard, max_active: usize) -> Self {
        Self {
            roster: RwLock::new(Arc::new(roster)),
            changing: Mutex::default(),
            is_tabled: guard.is_tabled(),
            guard: Mutex::new(guard),
            board: Mutex::default(),
            active: AtomicUsize::new(0),
            max_active,
            started: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }
    }

    /// One of a client whose peer sends requests, too.
    pub fn of_client(roster: Roster<H, L>) -> Self {
        Self::new(roster, Guard::default(), limits::REQUESTS)
    }

    /// The actions as they are now.
    pub fn roster(&self) -> Arc<Roster<H, L>> {
        let roster = self.roster.read();
        roster.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes the actions while the service runs: they are announced if they can be, and served
    /// (V-1, D-28).
    ///
    /// # Errors
    ///
    /// [`RegisterError`]; then nothing has changed.
    pub fn change(
        &self,
        presence: Option<&Presence>,
        change: impl FnOnce(&mut Actions<H>) -> Result<(), RegisterError>,
    ) -> Result<(), RegisterError> {
        let _one_at_a_time = lock(&self.changing);
        let mut changed = Roster::clone(&self.roster());
        change(&mut changed.table)?;
        if let Some(presence) = presence {
            presence.set_actions(changed.table.to_offers()?)?;
        }
        let place = self.roster.write();
        *place.unwrap_or_else(PoisonError::into_inner) = Arc::new(changed);
        Ok(())
    }

    /// Takes an action away, as [`change`](Self::change) does.
    ///
    /// # Errors
    ///
    /// [`RegisterError::NoSuch`].
    pub fn remove(
        &self,
        presence: Option<&Presence>,
        name: &str,
        version: u32,
    ) -> Result<(), RegisterError> {
        self.change(presence, |table| match table.remove(name, version) {
            true => Ok(()),
            false => Err(RegisterError::NoSuch(format!("{name}~{version}"))),
        })
    }

    /// Uses the board, under its lock.
    pub fn with_board<T>(&self, command: impl FnOnce(&mut Board) -> T) -> T {
        command(&mut lock(&self.board))
    }

    /// Counts a request or notification that is given to a handler.
    pub fn note_started(&self) {
        self.started.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request whose handler reported an error, or was not there at the end.
    pub fn note_failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Requests and notifications given to a handler so far.
    pub fn started(&self) -> u64 {
        self.started.load(Ordering::Relaxed)
    }

    /// Requests whose handler reported an error, or was not there at the end, so far.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }
}

impl<H, L> House for ServiceHouse<H, L> {
    fn enter(&self) -> bool {
        let more = |active| (active < self.max_active).then_some(active + 1);
        self.active
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, more)
            .is_ok()
    }

    fn leave(&self) {
        self.active.fetch_sub(1, Ordering::AcqRel);
    }

    fn has_room(&self) -> bool {
        self.active() < self.max_active
    }

    fn active(&self) -> usize {
        self.active.load(Ordering::Acquire)
    }

    fn unix(&self) -> i64 {
        unix(SystemTime::now())
    }

    fn is_tabled(&self) -> bool {
        self.is_tabled
    }

    fn guard<T>(&self, look: impl FnOnce(&mut Guard) -> T) -> T {
        look(&mut lock(&self.guard))
    }
}

impl<H, L> fmt::Debug for ServiceHouse<H, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceHouse")
            .field("active", &self.active())
            .finish_non_exhaustive()
    }
}

/// Seconds after 1970, or before it.
fn unix(time: SystemTime) -> i64 {
    let seconds = |span: std::time::Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => seconds(after),
        Err(before) => -seconds(before.duration()),
    }
}

/// Nothing under these locks can panic half-way through a change.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use scamp_proto::service::House as _;

    use super::{Actions, Guard, RegisterError, Roster, ServiceHouse, SystemTime, unix};

    type House = ServiceHouse<&'static str, ()>;

    fn insert(name: &str) -> impl FnOnce(&mut Actions<&'static str>) -> Result<(), RegisterError> {
        let action = scamp_proto::service::Action::parse(name).unwrap();
        move |table| Ok(table.insert(action, "it")?)
    }

    /// V-1, V-5: whoever looked before a change goes on with what there was; a change that fails is
    /// none.
    #[test]
    fn changes() {
        let house = House::of_client(Roster::default());
        let before = house.roster();
        house.change(None, insert("A.a")).unwrap();
        assert!(house.change(None, insert("a.A")).is_err());
        house.change(None, insert("A.b")).unwrap();
        house.remove(None, "A.A", 1).unwrap();
        let error = house.remove(None, "A.a", 1).unwrap_err();
        assert_eq!(error.to_string(), "there is no action A.a~1");
        assert_eq!(before.table.iter().count(), 0);
        let now = house.roster();
        let names: Vec<_> = now.table.iter().map(|action| action.name()).collect();
        assert_eq!(names, ["A.b"]);
    }

    /// V-10: no more than the limit are in handlers.
    #[test]
    fn a_limit() {
        let house = House::new(Roster::default(), Guard::default(), 2);
        assert!(house.enter() && house.has_room() && house.enter());
        assert!(!house.has_room() && !house.enter());
        house.leave();
        assert!(house.has_room() && house.active() == 1);
    }

    /// F-48: clocks before 1970 and after 2106 are taken as they are.
    #[test]
    fn times() {
        let at = |seconds: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(unix(at(0)), 0);
        assert_eq!(unix(at(5_000_000_000)), 5_000_000_000);
        let before = SystemTime::UNIX_EPOCH - Duration::from_secs(7);
        assert_eq!(unix(before), -7);
    }
}
