//! Connections that have not shown yet that they mean it.

use std::collections::BTreeMap;
use std::net::IpAddr;

/// The handshakes in progress, in the order they began (HD-18).
#[derive(Debug, Default)]
pub(crate) struct Handshakes {
    by_number: BTreeMap<u64, Option<IpAddr>>,
    by_address: BTreeMap<(IpAddr, u64), ()>,
}

impl Handshakes {
    /// Notes a handshake; returns the one to be dropped for it, if there is one too many.
    pub(crate) fn begin(
        &mut self,
        number: u64,
        address: Option<IpAddr>,
        limit: usize,
        limit_per_address: usize,
    ) -> Option<u64> {
        self.by_number.insert(number, address);
        if let Some(address) = address {
            self.by_address.insert((address, number), ());
            let of_address = (address, 0)..=(address, u64::MAX);
            // At most the limit and one are there, so counting them is bounded.
            if self.by_address.range(of_address.clone()).count() > limit_per_address {
                let oldest = self.by_address.range(of_address).next();
                let oldest = oldest.map(|((_, number), ())| *number);
                return oldest.inspect(|number| self.end(*number));
            }
        }
        if self.by_number.len() <= limit {
            return None;
        }
        let oldest = self.by_number.keys().next().copied();
        oldest.inspect(|number| self.end(*number))
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.by_number.len()
    }

    /// A handshake is over, one way or the other.
    pub(crate) fn end(&mut self, number: u64) {
        if let Some(Some(address)) = self.by_number.remove(&number) {
            self.by_address.remove(&(address, number));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// HD-18: the oldest goes, of the same address if that one has too many.
    #[test]
    fn the_oldest_makes_room() {
        let mut handshakes = Handshakes::default();
        let address = |last| Some(IpAddr::from([10, 0, 0, last]));
        let mut begin = |number, last| handshakes.begin(number, address(last), 4, 2);
        assert_eq!(begin(1, 1), None);
        assert_eq!(begin(2, 2), None);
        assert_eq!(begin(3, 2), None);
        assert_eq!(begin(4, 2), Some(2));
        assert_eq!(begin(5, 3), None);
        assert_eq!(begin(6, 4), Some(1));
        handshakes.end(3);
        handshakes.end(3);
        assert_eq!(handshakes.begin(7, None, 4, 2), None);
        assert_eq!(handshakes.begin(8, None, 4, 2), Some(4));
    }
}
