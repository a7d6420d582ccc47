//! How long replies may take.

use alloc::collections::{BTreeMap, BTreeSet};
use core::time::Duration;

use super::RecvId;
use crate::Instant;

/// Requests whose reply may take only so long (S-20). Most services have none, and pay nothing.
#[derive(Debug, Default)]
pub(super) struct TimeLimits {
    limits: BTreeMap<u64, Limit>,
    /// Those that have not come to their end.
    arriving: BTreeMap<RecvId, u64>,
    /// When the others are over.
    due: BTreeSet<(Instant, u64)>,
}

#[derive(Debug)]
pub(super) struct Limit {
    pub(super) body: RecvId,
    pub(super) limit: Duration,
    /// When it is over, once the request has ended.
    pub(super) due: Option<Instant>,
}

impl TimeLimits {
    pub(super) fn is_empty(&self) -> bool {
        self.limits.is_empty()
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    pub(super) fn add(&mut self, now: Instant, id: u64, limit: Limit, is_arriving: bool) {
        let body = limit.body;
        self.limits.insert(id, limit);
        match is_arriving {
            true => {
                self.arriving.insert(body, id);
            }
            false => self.begin(now, id),
        }
    }

    fn begin(&mut self, now: Instant, id: u64) {
        if let Some(limit) = self.limits.get_mut(&id) {
            let due = now + limit.limit;
            limit.due = Some(due);
            self.due.insert((due, id));
        }
    }

    pub(super) fn ended(&mut self, now: Instant, body: RecvId) {
        if let Some(id) = self.arriving.remove(&body) {
            self.begin(now, id);
        }
    }

    pub(super) fn take_over(&mut self, now: Instant) -> Option<(u64, Duration)> {
        let (at, id) = self.due.first().copied()?;
        if at > now {
            return None;
        }
        let limit = self.remove(id);
        Some((id, limit.map(|limit| limit.limit).unwrap_or_default()))
    }

    pub(super) fn remove(&mut self, id: u64) -> Option<Limit> {
        let limit = self.limits.remove(&id)?;
        match limit.due {
            Some(due) => {
                self.due.remove(&(due, id));
            }
            None => {
                self.arriving.remove(&limit.body);
            }
        }
        Some(limit)
    }
}
