//! Which instance a call goes to.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::time::Duration;

use super::command::Call;
use super::pool::share_a_place;
use super::{Requester, same};
use crate::Instant;
use crate::discovery::{Candidate, Instance, LookupError, Query};
use crate::error::DispatchError;
use crate::limits::FLAG_TIMEOUT_ADDED;

impl Requester {
    /// The instance a call goes to, if need be another than `except`.
    ///
    /// Instances that can be asked at once come before those that must be left alone for a while
    /// (S-34); among them, the healthy ones before those that failed (D-45). If all must be left
    /// alone it is the one that may be tried first.
    ///
    /// # Errors
    ///
    /// [`DispatchError`] if there is none.
    pub(super) fn pick(
        &mut self,
        now: Instant,
        wanted: &Wanted,
        except: Option<&Instance>,
    ) -> Result<Target, DispatchError> {
        let Self {
            directory,
            authorized,
            config,
            marks,
            pool,
            rng,
            ..
        } = self;
        let query = wanted.query();
        let found = directory.lookup(&query, authorized);
        let found = found.map_err(|error| wanted.refused(error))?;
        let others = found.filter(|candidate| {
            let instance = candidate.instance;
            except.is_none_or(|other| !same(instance, other) && !share_a_place(instance, other))
        });
        let ready = others
            .clone()
            .filter(|candidate| pool.is_ready(now, candidate.instance));
        let load = |instance: &Instance| pool.outstanding(instance);
        let chosen = config.selection.choose(ready, marks, load, rng, now);
        let first = || others.min_by_key(|candidate| pool.not_before(candidate.instance));
        let chosen = chosen.or_else(first);
        let chosen = chosen.as_ref().map(Target::new);
        chosen.ok_or_else(|| wanted.refused(LookupError::NotFound))
    }

    /// Whether this instance still offers what is wanted.
    pub(super) fn offers(&self, wanted: &Wanted, instance: &Instance) -> bool {
        let query = wanted.query();
        let mut found = self.directory.lookup(&query, &self.authorized).into_iter();
        found.any(|mut found| found.any(|candidate| share_a_place(candidate.instance, instance)))
    }
}

/// What a call asks for, kept for the case that it must be looked up again.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    /// Sector, action, envelope and instance, one after another.
    text: String,
    /// Where the first three end.
    ends: [usize; 3],
    version: u32,
    is_pinned: bool,
}

/// Where a call goes, and what the announcement says of the action there.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) instance: Arc<Instance>,
    pub(super) action: String,
    pub(super) version: u32,
    /// The action's own time limit and what peers add to it (S-21).
    pub(super) timeout: Option<Duration>,
    pub(super) is_read: bool,
}

impl Wanted {
    pub(super) fn new(call: &Call<'_>, sector: &str) -> Self {
        let sector = call.sector.unwrap_or(sector);
        let instance = call.instance.unwrap_or_default();
        let len = sector.len() + call.action.len() + call.envelope.len() + instance.len();
        let mut text = String::with_capacity(len);
        let mut ends = [0; 3];
        for (part, end) in [sector, call.action, call.envelope].iter().zip(&mut ends) {
            text.push_str(part);
            *end = text.len();
        }
        text.push_str(instance);
        Self {
            text,
            ends,
            version: call.version,
            is_pinned: call.instance.is_some(),
        }
    }

    /// Whether one instance is asked for by name.
    pub(super) fn is_pinned(&self) -> bool {
        self.is_pinned
    }

    fn query(&self) -> Query<'_> {
        let [sector, action, envelope] = self.ends;
        let part = |from, to| self.text.get(from..to).unwrap_or_default();
        Query {
            sector: part(0, sector),
            action: part(sector, action),
            version: self.version,
            envelope: part(action, envelope),
            instance: self.is_pinned.then(|| part(envelope, self.text.len())),
        }
    }

    fn refused(&self, error: LookupError) -> DispatchError {
        let query = self.query();
        let mut action = format!("{}:{}~{}", query.sector, query.action, query.version);
        if let Some(instance) = query.instance {
            action.push_str(" at ");
            action.push_str(instance);
        }
        match error {
            LookupError::NotFound => DispatchError::NotFound(action),
            LookupError::NotAuthorized => DispatchError::NotAuthorized(action),
            LookupError::UnsupportedEnvelope => DispatchError::UnsupportedEnvelope {
                action,
                envelope: query.envelope.into(),
            },
            LookupError::StaleCache => DispatchError::StaleCache,
        }
    }
}

impl Target {
    fn new(candidate: &Candidate<'_>) -> Self {
        let action = &candidate.action;
        let mut name = String::with_capacity(action.namespace.len() + 1 + action.name.len());
        name.push_str(action.namespace);
        name.push('.');
        name.push_str(action.name);
        Self {
            instance: candidate.instance.clone(),
            action: name,
            version: action.version,
            timeout: action.timeout().map(|limit| limit + FLAG_TIMEOUT_ADDED),
            is_read: action.flags.is_read(),
        }
    }
}
