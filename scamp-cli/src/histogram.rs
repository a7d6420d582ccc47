//! How often each of many values was seen.

/// Counts of values, each kept to better than one part in 64, in a fixed amount of memory.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    count: u64,
    sum: u128,
    least: u64,
    most: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; BUCKETS],
            count: 0,
            sum: 0,
            least: u64::MAX,
            most: 0,
        }
    }
}

impl Histogram {
    pub(crate) fn add(&mut self, value: u64) {
        if let Some(count) = self.counts.get_mut(bucket(value)) {
            *count += 1;
        }
        self.count += 1;
        self.sum += u128::from(value);
        self.least = self.least.min(value);
        self.most = self.most.max(value);
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// 0 if there is no value.
    pub(crate) fn mean(&self) -> u64 {
        let mean = self.sum.checked_div(self.count.into());
        mean.and_then(|mean| u64::try_from(mean).ok()).unwrap_or(0)
    }

    /// A value that this part of all values, from 0 to 1, does not exceed; 0 if there is none.
    pub(crate) fn quantile(&self, part: f64) -> u64 {
        if self.count == 0 {
            return 0;
        }
        let wanted = (part * self.count as f64).ceil() as u64;
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted.max(1) {
                return greatest(index).clamp(self.least, self.most);
            }
        }
        self.most
    }
}

/// Small values have a bucket each, the others share it with those that begin with the same 7 bits.
fn bucket(value: u64) -> usize {
    let shift = value.max(1).ilog2().saturating_sub(BITS);
    let index = u64::from(shift) * (1 << BITS) + (value >> shift);
    usize::try_from(index).unwrap_or(BUCKETS)
}

/// The greatest value of a bucket.
fn greatest(index: usize) -> u64 {
    let shift = (index >> BITS).saturating_sub(1);
    let rest = (index - (shift << BITS)) as u128;
    let end = ((rest + 1) << shift) - 1;
    u64::try_from(end).unwrap_or(u64::MAX)
}

/// Bits of a value that count, beside the first.
const BITS: u32 = 6;

/// One more for the values that have all their bits in the bucket.
const BUCKETS: usize = (64 - BITS as usize + 1) << BITS;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_hold_what_is_in_them() {
        let values =
            (0..64).flat_map(|bit| [(1_u64 << bit) - 1, 1 << bit, (1 << bit) + (1 << bit) / 3]);
        let mut last = 0;
        for value in values.chain([u64::MAX]) {
            let index = bucket(value);
            assert!(index < BUCKETS && index >= last, "{value}");
            last = index;
            let greatest = greatest(index);
            assert!(greatest >= value, "{value}: {greatest}");
            assert!(greatest - value <= value / 64, "{value}: {greatest}");
        }
    }

    #[test]
    fn quantiles() {
        let mut histogram = Histogram::default();
        assert_eq!((histogram.quantile(0.5), histogram.mean()), (0, 0));
        (1..=1000).for_each(|value| histogram.add(value));
        assert_eq!(
            (histogram.quantile(0.0), histogram.quantile(1.0)),
            (1, 1000)
        );
        let (half, most) = (histogram.quantile(0.5), histogram.quantile(0.99));
        assert!((500..508).contains(&half), "{half}");
        assert!((990..=1000).contains(&most), "{most}");
        assert_eq!((histogram.count(), histogram.mean()), (1000, 500));
    }
}
