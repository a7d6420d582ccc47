//! Keeping an authorization table fresh.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::sync::Arc;
use core::time::Duration;

use thiserror::Error;

use super::{Table, TableError};
use crate::Instant;
use crate::limits::{TABLE_AGE, TABLE_RETRY, TABLE_WAITERS};

/// The machine that has a [`Table`] when one is needed (T-16).
///
/// ```text
///              ask ──> Ready, or Waiting ──> poll_decided
///               │
///  poll_fetch <─┘ true: fetch it, then answered() or failed(), always one of them
/// ```
///
/// A table counts for 300 s from its answer. Then the next request has it fetched again and waits;
/// others wait for the same fetch, each no longer than its own deadline. If fetching fails, the table
/// before counts for [`grace`](Self::remote) more; without one, requests fail. A failure is followed
/// by another attempt when somebody asks, and at the earliest a second later.
///
/// # Example
///
/// ```
/// use core::time::Duration;
/// use scamp_proto::Instant;
/// use scamp_proto::auth::TableState;
/// use scamp_proto::auth::table::Answer;
///
/// let now = Instant::EPOCH;
/// let mut state = TableState::remote(Duration::ZERO);
/// let Answer::Waiting(waiter) = state.ask(now, now + Duration::from_secs(75)) else {
///     panic!("there is no table yet");
/// };
/// assert!(state.poll_fetch());
/// state.answered(now, br#"{"greetings.hello":[]}"#)?;
/// let (decided, table) = state.poll_decided().expect("an answer for everyone who waits");
/// assert_eq!(decided, waiter);
/// assert!(table?.needed("greetings.hello").is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct TableState {
    source: Source,
    all_sectors: bool,
    table: Option<Kept>,
    fetch: Fetch,
    /// Who waits, and until when.
    waiting: BTreeMap<WaiterId, Instant>,
    deadlines: BTreeSet<(Instant, WaiterId)>,
    decided: VecDeque<(WaiterId, Result<Arc<Table>, TableUnavailable>)>,
    next: u64,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Source {
    /// The table is what it is until it is replaced.
    Fixed,
    /// The table has to be fetched, and counts for this much longer when that fails.
    Remote { grace: Duration },
}

#[derive(Clone, Debug)]
struct Kept {
    table: Arc<Table>,
    since: Instant,
}

/// ```text
/// Idle ──ask──> Wanted ──poll_fetch──> Running ──answered──> Idle
///                 ^                       │
///                 └──ask, 1 s later── Failed <──failed
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fetch {
    Idle,
    Wanted { failed_before: bool },
    Running { failed_before: bool },
    Failed { at: Instant },
}

/// Somebody who waits for the table.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct WaiterId(u64);

/// What somebody who needs the table gets at once.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// The table that counts now.
    Ready(Arc<Table>),
    /// The answer will come out of [`TableState::poll_decided`].
    Waiting(WaiterId),
    /// There is none.
    Unavailable(TableUnavailable),
    /// [`TABLE_WAITERS`] wait already. The peer is told the same; the operator may be told more.
    Full(TableUnavailable),
}

/// There is no table, so a request that needs it fails; the text is what the peer is told, with
/// `error_code` `internal` (T-16).
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("Authorization table unavailable")]
pub struct TableUnavailable;

impl TableUnavailable {
    /// The `error_code` that a peer gets.
    pub const CODE: &'static str = "internal";
}

impl TableState {
    /// A table that has to be fetched; `grace` is `auth.table_grace`.
    pub fn remote(grace: Duration) -> Self {
        Self::new(Source::Remote { grace }, None)
    }

    /// A table from a file or from code: it counts until it is [replaced](Self::replace).
    pub fn fixed(table: Table) -> Self {
        let table = Arc::new(table);
        let since = Instant::EPOCH;
        Self::new(Source::Fixed, Some(Kept { table, since }))
    }

    /// Lets the table speak for all sectors, not only for `main` (T-18, `auth.table_all_sectors`).
    pub fn all_sectors(self) -> Self {
        Self {
            all_sectors: true,
            ..self
        }
    }

    fn new(source: Source, table: Option<Kept>) -> Self {
        Self {
            source,
            all_sectors: false,
            table,
            fetch: Fetch::Idle,
            waiting: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            decided: VecDeque::new(),
            next: 0,
        }
    }

    /// Whether the table has a say about actions of this sector (T-18).
    pub fn applies_to(&self, sector: &str) -> bool {
        self.all_sectors || sector.eq_ignore_ascii_case("main")
    }

    /// Asks for the table on behalf of a request that can wait until `deadline`.
    ///
    /// Look at [`poll_fetch`](Self::poll_fetch) afterwards.
    pub fn ask(&mut self, now: Instant, deadline: Instant) -> Answer {
        if let Some(kept) = &self.table {
            if self.is_fresh(kept, now) {
                return Answer::Ready(kept.table.clone());
            }
        }
        let failed_before = match self.fetch {
            Fetch::Idle => {
                let failed_before = false;
                self.fetch = Fetch::Wanted { failed_before };
                failed_before
            }
            Fetch::Failed { at } => {
                if now >= at + TABLE_RETRY {
                    let failed_before = true;
                    self.fetch = Fetch::Wanted { failed_before };
                } else if !self.in_grace(now) {
                    return Answer::Unavailable(TableUnavailable);
                }
                true
            }
            Fetch::Wanted { failed_before } | Fetch::Running { failed_before } => failed_before,
        };
        // Once fetching has failed, what there is counts while another attempt runs.
        match &self.table {
            Some(kept) if failed_before && self.in_grace(now) => Answer::Ready(kept.table.clone()),
            _ if self.waiting.len() >= TABLE_WAITERS => Answer::Full(TableUnavailable),
            _ => {
                let waiter = WaiterId(self.next);
                self.next = self.next.saturating_add(1);
                self.waiting.insert(waiter, deadline);
                self.deadlines.insert((deadline, waiter));
                Answer::Waiting(waiter)
            }
        }
    }

    /// Whether the table is to be fetched now; `true` once for each fetch.
    ///
    /// Whoever gets `true` must call [`answered`](Self::answered) or [`failed`](Self::failed).
    #[must_use = "nobody else is told to fetch"]
    pub fn poll_fetch(&mut self) -> bool {
        match self.fetch {
            Fetch::Wanted { failed_before } => {
                self.fetch = Fetch::Running { failed_before };
                true
            }
            Fetch::Idle | Fetch::Running { .. } | Fetch::Failed { .. } => false,
        }
    }

    /// Takes the answer to a fetch.
    ///
    /// # Errors
    ///
    /// [`TableError`] if it is no table; that is a failure (T-15).
    pub fn answered(&mut self, now: Instant, json: &[u8]) -> Result<(), TableError> {
        match Table::parse(json) {
            Ok(table) => {
                self.replace(now, table);
                Ok(())
            }
            Err(error) => {
                self.failed(now);
                Err(error)
            }
        }
    }

    /// Notes that a fetch failed, for example with an error reply.
    pub fn failed(&mut self, now: Instant) {
        self.fetch = Fetch::Failed { at: now };
        let result = match &self.table {
            Some(kept) if self.in_grace(now) => Ok(kept.table.clone()),
            Some(_) | None => Err(TableUnavailable),
        };
        self.decide_all(&result);
    }

    /// Puts another table in force.
    pub fn replace(&mut self, now: Instant, table: Table) {
        let table = Arc::new(table);
        self.table = Some(Kept {
            table: table.clone(),
            since: now,
        });
        self.fetch = Fetch::Idle;
        self.decide_all(&Ok(table));
    }

    /// Forgets somebody who waits, for example because the request is gone.
    pub fn leave(&mut self, waiter: WaiterId) {
        if let Some(deadline) = self.waiting.remove(&waiter) {
            self.deadlines.remove(&(deadline, waiter));
        }
    }

    /// The next one who need not wait any more, and what it waited for.
    pub fn poll_decided(&mut self) -> Option<(WaiterId, Result<Arc<Table>, TableUnavailable>)> {
        self.decided.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) should next be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Ends the waiting of those whose deadline has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((deadline, waiter)) = self.deadlines.first().copied() {
            if deadline > now {
                break;
            }
            self.leave(waiter);
            self.decided.push_back((waiter, Err(TableUnavailable)));
        }
    }

    fn is_fresh(&self, kept: &Kept, now: Instant) -> bool {
        match self.source {
            Source::Fixed => true,
            Source::Remote { .. } => now < kept.since + TABLE_AGE,
        }
    }

    fn in_grace(&self, now: Instant) -> bool {
        let Some(kept) = &self.table else {
            return false;
        };
        match self.source {
            Source::Fixed => true,
            Source::Remote { grace } => now < kept.since + TABLE_AGE + grace,
        }
    }

    fn decide_all(&mut self, result: &Result<Arc<Table>, TableUnavailable>) {
        self.deadlines.clear();
        let waiting = core::mem::take(&mut self.waiting).into_keys();
        self.decided
            .extend(waiting.map(|waiter| (waiter, result.clone())));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    const OLD: &[u8] = br#"{"a.b":[1]}"#;
    const NEW: &[u8] = br#"{"a.b":[2]}"#;

    fn table(json: &[u8]) -> Arc<Table> {
        Arc::new(Table::parse(json).unwrap())
    }

    fn at(seconds: f64) -> Instant {
        Instant::from_epoch(Duration::from_secs_f64(seconds))
    }

    /// Asks with the usual patience.
    fn ask(state: &mut TableState, seconds: f64) -> Answer {
        state.ask(at(seconds), at(seconds + 75.0))
    }

    fn wait(state: &mut TableState, seconds: f64) -> WaiterId {
        match ask(state, seconds) {
            Answer::Waiting(waiter) => waiter,
            other => panic!("{other:?}"),
        }
    }

    fn decided(state: &mut TableState) -> Vec<(WaiterId, Result<Arc<Table>, TableUnavailable>)> {
        core::iter::from_fn(|| state.poll_decided()).collect()
    }

    /// A table fetched at 0.
    fn fetched(grace: u64) -> TableState {
        let mut state = TableState::remote(Duration::from_secs(grace));
        let waiter = wait(&mut state, 0.0);
        assert!(state.poll_fetch());
        state.answered(at(0.0), OLD).unwrap();
        assert_eq!(decided(&mut state), vec![(waiter, Ok(table(OLD)))]);
        state
    }

    /// T-16: one fetch at a time; all who wait get its table.
    #[test]
    fn one_fetch_for_all() {
        let mut state = TableState::remote(Duration::ZERO);
        assert!(!state.poll_fetch(), "nobody has asked");
        let first = wait(&mut state, 0.0);
        assert!(state.poll_fetch() && !state.poll_fetch());
        let second = wait(&mut state, 1.0);
        assert!(!state.poll_fetch());
        state.answered(at(2.0), OLD).unwrap();
        let all = vec![(first, Ok(table(OLD))), (second, Ok(table(OLD)))];
        assert_eq!(decided(&mut state), all);
        assert_eq!(state.poll_timeout(), None);
    }

    /// T-16: a table counts for 300 s from its answer; then the next request fetches another.
    #[test]
    fn a_table_gets_old() {
        let mut state = fetched(0);
        assert_eq!(ask(&mut state, 299.9), Answer::Ready(table(OLD)));
        assert!(!state.poll_fetch());
        let waiter = wait(&mut state, 300.0);
        assert!(state.poll_fetch());
        state.answered(at(301.0), NEW).unwrap();
        assert_eq!(decided(&mut state), vec![(waiter, Ok(table(NEW)))]);
        assert_eq!(ask(&mut state, 600.9), Answer::Ready(table(NEW)));
    }

    /// T-16: without grace, a failure ends everyone's waiting, and nobody waits for a second.
    #[test]
    fn a_failure_without_grace() {
        let mut state = fetched(0);
        let waiter = wait(&mut state, 300.0);
        assert!(state.poll_fetch());
        state.failed(at(301.0));
        assert_eq!(decided(&mut state), vec![(waiter, Err(TableUnavailable))]);
        let unavailable = Answer::Unavailable(TableUnavailable);
        assert_eq!(ask(&mut state, 301.9), unavailable);
        assert!(!state.poll_fetch(), "at most once a second");
        let waiter = wait(&mut state, 302.0);
        assert!(state.poll_fetch());
        state.answered(at(302.5), NEW).unwrap();
        assert_eq!(decided(&mut state), vec![(waiter, Ok(table(NEW)))]);
        let text = std::string::ToString::to_string(&TableUnavailable);
        assert_eq!(
            (TableUnavailable::CODE, &*text),
            ("internal", "Authorization table unavailable")
        );
    }

    /// T-16: with grace, the table before counts on, also while another attempt runs, and then ends.
    #[test]
    fn a_failure_with_grace() {
        let mut state = fetched(10);
        let waiter = wait(&mut state, 300.0);
        assert!(state.poll_fetch());
        state.failed(at(301.0));
        assert_eq!(decided(&mut state), vec![(waiter, Ok(table(OLD)))]);
        assert_eq!(ask(&mut state, 301.5), Answer::Ready(table(OLD)));
        assert!(!state.poll_fetch());
        assert_eq!(ask(&mut state, 302.0), Answer::Ready(table(OLD)));
        assert!(state.poll_fetch());
        assert_eq!(ask(&mut state, 309.9), Answer::Ready(table(OLD)));
        let waiter = wait(&mut state, 310.0);
        state.failed(at(310.1));
        assert_eq!(decided(&mut state), vec![(waiter, Err(TableUnavailable))]);
        assert_eq!(
            ask(&mut state, 310.2),
            Answer::Unavailable(TableUnavailable)
        );
    }

    /// T-15: an answer that is no table is a failure, and the table before is kept.
    #[test]
    fn an_answer_that_is_no_table() {
        let mut state = fetched(10);
        let waiter = wait(&mut state, 300.0);
        assert!(state.poll_fetch());
        let answered = state.answered(at(300.0), b"[]");
        assert_eq!(answered, Err(TableError::NotAnObject));
        assert_eq!(decided(&mut state), vec![(waiter, Ok(table(OLD)))]);
    }

    /// T-16: nobody waits beyond its own deadline, and who has left gets no answer.
    #[test]
    fn deadlines() {
        let mut state = TableState::remote(Duration::ZERO);
        let late = wait(&mut state, 1.0);
        let Answer::Waiting(soon) = state.ask(at(1.0), at(5.0)) else {
            panic!("there is no table");
        };
        let gone = wait(&mut state, 1.0);
        state.leave(gone);
        state.leave(gone);
        assert_eq!(state.poll_timeout(), Some(at(5.0)));
        state.handle_timeout(at(4.9));
        assert_eq!(decided(&mut state), vec![]);
        state.handle_timeout(at(5.0));
        assert_eq!(decided(&mut state), vec![(soon, Err(TableUnavailable))]);
        assert_eq!(state.poll_timeout(), Some(at(76.0)));
        assert!(state.poll_fetch());
        state.answered(at(6.0), OLD).unwrap();
        assert_eq!(decided(&mut state), vec![(late, Ok(table(OLD)))]);
    }

    /// T-16, HD-15: a thousand wait; one more is told at once.
    #[test]
    fn a_thousand_wait() {
        let mut state = TableState::remote(Duration::ZERO);
        let waiting: Vec<_> = (0..TABLE_WAITERS).map(|_| wait(&mut state, 0.0)).collect();
        assert_eq!(ask(&mut state, 0.0), Answer::Full(TableUnavailable));
        state.leave(waiting[7]);
        wait(&mut state, 0.0);
        assert_eq!(ask(&mut state, 0.0), Answer::Full(TableUnavailable));
        assert!(state.poll_fetch());
        state.answered(at(0.0), OLD).unwrap();
        assert_eq!(decided(&mut state).len(), TABLE_WAITERS);
    }

    /// T-13: a table from a file or from code is not fetched and does not get old.
    #[test]
    fn a_fixed_table() {
        let mut state = TableState::fixed(Table::parse(OLD).unwrap());
        let later = 1e9;
        assert_eq!(ask(&mut state, later), Answer::Ready(table(OLD)));
        assert!(!state.poll_fetch());
        state.replace(at(later), Table::parse(NEW).unwrap());
        assert_eq!(ask(&mut state, 0.0), Answer::Ready(table(NEW)));
    }

    /// T-18: the table speaks for `main`, and for others if so configured.
    #[test]
    fn sectors() {
        let state = TableState::remote(Duration::ZERO);
        assert!(state.applies_to("main") && state.applies_to("MAIN") && !state.applies_to("web"));
        assert!(state.all_sectors().applies_to("web"));
    }

    proptest! {
        /// Q-14, T-16: whatever happens when, everyone who waits gets one answer or has left, and
        /// there is never a second fetch while one runs.
        #[test]
        fn everyone_gets_one_answer(
            steps in prop::collection::vec((0..6_u8, 0..4000_u64), 0..200),
            grace in 0..30_u64,
        ) {
            let mut state = TableState::remote(Duration::from_secs(grace));
            let (mut now, mut running) = (Instant::EPOCH, false);
            let mut waiting = Vec::new();
            for (step, millis) in steps {
                let patience = Duration::from_millis(millis);
                match step {
                    0 => now = now + patience * 20,
                    1 => {
                        if let Answer::Waiting(waiter) = state.ask(now, now + patience) {
                            waiting.push(waiter);
                        }
                    }
                    2 => {
                        let fetch = state.poll_fetch();
                        prop_assert!(!(fetch && running));
                        running |= fetch;
                    }
                    3 if running => {
                        running = false;
                        state.answered(now, OLD).unwrap();
                    }
                    4 if running => {
                        running = false;
                        state.failed(now);
                    }
                    _ => {
                        if let Some(waiter) = waiting.pop() {
                            state.leave(waiter);
                            for (other, _) in decided(&mut state) {
                                waiting.retain(|waiter| *waiter != other);
                            }
                        }
                    }
                }
                state.handle_timeout(now);
                prop_assert!(state.poll_timeout().is_none_or(|next| next > now));
                for (waiter, _) in decided(&mut state) {
                    let count = waiting.len();
                    waiting.retain(|other| *other != waiter);
                    prop_assert_eq!(waiting.len() + 1, count, "answered once");
                }
            }
            state.handle_timeout(now + Duration::from_secs(10));
            prop_assert_eq!(decided(&mut state).len(), waiting.len());
        }
    }
}
