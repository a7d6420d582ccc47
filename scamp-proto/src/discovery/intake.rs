//! How much work datagrams may make: whoever sends more than that is not listened to (HD-34).

use alloc::collections::BTreeMap;
use core::net::IpAddr;
use core::time::Duration;

use crate::Instant;
use crate::limits::{DATAGRAMS, DATAGRAMS_PER_SOURCE, INFLATED, SIGNATURES, SOURCES};
use crate::note::Bucket;

/// The budgets of a receiver of datagrams, each of which refills evenly within a second.
///
/// | What | In a second |
/// | --- | --- |
/// | datagrams | 4000 |
/// | datagrams of one address | 200 |
/// | octets after inflating | 32 MiB |
/// | signatures verified; one of a 4096-bit key counts as 4, of an 8192-bit key as 10 | 500 |
#[derive(Clone, Debug)]
pub struct Budget {
    datagrams: Bucket,
    sources: BTreeMap<IpAddr, (Bucket, Instant)>,
    /// For addresses beyond those counted one by one.
    others: Bucket,
    inflated: Bucket,
    signatures: Bucket,
}

impl Budget {
    /// Full budgets.
    pub fn new(now: Instant) -> Self {
        let bucket = |size| Bucket::new(size, SECOND, now);
        Self {
            datagrams: bucket(DATAGRAMS),
            sources: BTreeMap::new(),
            others: bucket(DATAGRAMS_PER_SOURCE),
            inflated: bucket(INFLATED),
            signatures: bucket(SIGNATURES),
        }
    }

    /// Whether to look at a datagram from this address at all.
    pub fn datagram(&mut self, now: Instant, from: IpAddr) -> bool {
        if self.sources.len() >= SOURCES && !self.sources.contains_key(&from) {
            // One that was silent for a second has its whole budget anyway. Looking for those once
            // for each such newcomer would be dear, so the shared budget comes first.
            if !self.others.take(now, 1) {
                return false;
            }
            self.sources.retain(|_, (_, last)| now - *last < SECOND);
        } else {
            let full = || (Bucket::new(DATAGRAMS_PER_SOURCE, SECOND, now), now);
            let (bucket, last) = self.sources.entry(from).or_insert_with(full);
            *last = now;
            if !bucket.take(now, 1) {
                return false;
            }
        }
        self.datagrams.take(now, 1)
    }

    /// Whether there is room for this many octets more, inflated; nothing is taken.
    pub fn has_inflated(&mut self, now: Instant, octets: usize) -> bool {
        let octets = u64::try_from(octets).unwrap_or(u64::MAX);
        self.inflated.clone().take(now, octets)
    }

    /// Takes room for this many octets, inflated, if there is as much.
    pub fn inflated(&mut self, now: Instant, octets: usize) -> bool {
        self.inflated
            .take(now, u64::try_from(octets).unwrap_or(u64::MAX))
    }

    /// Whether a signature of a key of this size may be verified.
    pub fn signature(&mut self, now: Instant, bits: usize) -> bool {
        let cost = match bits {
            0..=2048 => 1,
            2049..=4096 => 4,
            _ => 10,
        };
        self.signatures.take(now, cost)
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use core::net::Ipv4Addr;

    use super::*;

    fn address(n: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from_bits(n))
    }

    /// HD-34, Q-15: each budget is as large as it says, and full again after a second.
    #[test]
    fn budgets_are_exact() {
        let mut budget = Budget::new(Instant::EPOCH);
        for now in [Instant::EPOCH, Instant::EPOCH + SECOND] {
            assert!((0..200).all(|_| budget.datagram(now, address(1))));
            assert!(!budget.datagram(now, address(1)));
            let others = (0..19 * 200).all(|n| budget.datagram(now, address(2 + n % 19)));
            assert!(others && !budget.datagram(now, address(100)));
            assert!(budget.inflated(now, 32 << 20) && !budget.inflated(now, 1));
            assert!((0..500).all(|_| budget.signature(now, 2048)) && !budget.signature(now, 1024));
        }
        let now = Instant::EPOCH + SECOND * 2;
        assert!((0..50).all(|_| budget.signature(now, 8192)) && !budget.signature(now, 2048));
        let now = Instant::EPOCH + SECOND * 3;
        assert!((0..125).all(|_| budget.signature(now, 4096)) && !budget.signature(now, 2048));
    }

    /// HD-4: the memory for addresses is bounded, and made-up ones share what one would have.
    #[test]
    fn addresses_are_bounded() {
        let mut budget = Budget::new(Instant::EPOCH);
        let mut now = Instant::EPOCH;
        for n in 0..20_000 {
            now = now + Duration::from_micros(10);
            budget.datagram(now, address(n));
            assert!(budget.sources.len() <= SOURCES);
        }
        now = now + SECOND;
        assert!(budget.datagram(now, address(50_000)));
        assert!(budget.sources.len() < 10, "the silent ones are forgotten");
    }
}
