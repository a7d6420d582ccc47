//! Tickets verified before.

use alloc::collections::{BTreeMap, VecDeque};
use core::time::Duration;

use sha2::{Digest as _, Sha256};

use super::{Digest, TicketError, TicketKeys, VerifiedTicket, trim};
use crate::auth::Verify;
use crate::limits::TICKETS;

/// Remembers tickets that were verified, since the same one comes with every request (T-7).
///
/// A ticket's time is looked at on every use, and a ticket counts only as long as its key does. At
/// most [`TICKETS`] are remembered; the oldest makes way.
///
/// Who shares a cache holds its lock for [`find`](Self::find) and [`keep`](Self::keep), and not for
/// the verification between them.
#[derive(Clone, Debug, Default)]
pub struct TicketCache {
    known: BTreeMap<Digest, VerifiedTicket>,
    /// The same tickets by age.
    ages: VecDeque<Digest>,
}

impl TicketCache {
    /// An empty cache.
    pub fn new() -> Self {
        Self::default()
    }

    /// Judges a ticket as [`TicketKeys::verify`] does, without its cost for one that is known.
    ///
    /// # Errors
    ///
    /// [`TicketError`].
    pub fn verify(
        &mut self,
        keys: &TicketKeys,
        text: &str,
        unix_now: i64,
        skew: Duration,
        rsa: &dyn Verify,
    ) -> Result<VerifiedTicket, TicketError> {
        if let Some(known) = self.find(keys, text, unix_now, skew) {
            return known;
        }
        let ticket = keys.verify(text, unix_now, skew, rsa)?;
        self.keep(&ticket);
        Ok(ticket)
    }

    /// What is known about a ticket; `None` if it has to be verified.
    pub fn find(
        &self,
        keys: &TicketKeys,
        text: &str,
        unix_now: i64,
        skew: Duration,
    ) -> Option<Result<VerifiedTicket, TicketError>> {
        let digest: Digest = Sha256::digest(trim(text).ok()?).into();
        let known = self.known.get(&digest)?;
        let judge = |()| known.clone();
        keys.has(&known.0.key)
            .then(|| known.check_time(unix_now, skew).map(judge))
    }

    /// Remembers a ticket.
    pub fn keep(&mut self, ticket: &VerifiedTicket) {
        let digest = ticket.0.text;
        if self.known.insert(digest, ticket.clone()).is_some() {
            return;
        }
        self.ages.push_back(digest);
        if self.ages.len() > TICKETS {
            if let Some(oldest) = self.ages.pop_front() {
                self.known.remove(&oldest);
            }
        }
    }

    /// How many tickets are remembered.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether no ticket is remembered.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}
