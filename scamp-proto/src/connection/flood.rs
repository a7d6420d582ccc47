//! Budgets against peers that send more of something cheap than any honest one does.

use crate::Instant;
use crate::error::{Flood, ViolationKind};
use crate::limits::{
    EMPTY_DATA, EMPTY_DATA_PER_MESSAGE, FLOOD_SPAN, IDLE_ACKS, PINGS, SMALL_DATA, SMALL_DATA_BUDGET,
};
use crate::note::Bucket;

/// The budgets of HD-27.
#[derive(Debug)]
pub(super) struct Floods {
    empty_data: Bucket,
    pings: Bucket,
    pongs: Bucket,
    idle_acks: u64,
    /// What small DATA packets that nobody has read yet have taken.
    pub(super) small_debt: u64,
}

impl Floods {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            empty_data: Bucket::new(EMPTY_DATA, FLOOD_SPAN, now),
            pings: Bucket::new(PINGS, FLOOD_SPAN, now),
            pongs: Bucket::new(PINGS, FLOOD_SPAN, now),
            idle_acks: 0,
            small_debt: 0,
        }
    }

    pub(super) fn empty_data(
        &mut self,
        now: Instant,
        of_message: &mut u32,
    ) -> Result<(), ViolationKind> {
        *of_message += 1;
        let ok = *of_message <= EMPTY_DATA_PER_MESSAGE && self.empty_data.take(now, 1);
        admit(ok, Flood::EmptyData)
    }

    pub(super) fn ping(&mut self, now: Instant) -> Result<(), ViolationKind> {
        admit(self.pings.take(now, 1), Flood::Pings)
    }

    pub(super) fn pong(&mut self, now: Instant) -> Result<(), ViolationKind> {
        admit(self.pongs.take(now, 1), Flood::Pongs)
    }

    /// An ACK without effect; honest late ones are at most one for each DATA we sent.
    pub(super) fn idle_ack(&mut self, data_sent: u64) -> Result<(), ViolationKind> {
        self.idle_acks += 1;
        let bound = IDLE_ACKS.saturating_add(data_sent.saturating_mul(2));
        admit(self.idle_acks <= bound, Flood::IdleAcks)
    }

    /// A DATA of `len` octets that waits to be read; its message has taken `debt` so far.
    #[inline]
    pub(super) fn data(&mut self, len: usize, debt: &mut u64) -> Result<(), ViolationKind> {
        match SMALL_DATA.checked_sub(len) {
            Some(cost) => {
                *debt += cost as u64;
                self.small_debt += cost as u64;
            }
            None => {
                let back = (*debt).min((len - SMALL_DATA) as u64);
                *debt -= back;
                self.small_debt -= back;
            }
        }
        admit(self.small_debt <= SMALL_DATA_BUDGET, Flood::SmallData)
    }
}

#[inline]
fn admit(ok: bool, flood: Flood) -> Result<(), ViolationKind> {
    match ok {
        true => Ok(()),
        false => Err(ViolationKind::Flood(flood)),
    }
}
