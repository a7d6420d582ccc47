//! What is in progress, by keys that grow.

use alloc::collections::VecDeque;

/// An ordered map for keys that are mostly added in order and mostly removed soon.
///
/// Its entries lie in one row, so that the usual addition is at the end and the usual removal at
/// either end. What is removed between leaves a gap, and the row is closed up when half of it is
/// gaps, so that any order costs the same in the long run.
#[derive(Debug)]
pub(crate) struct Ordered<K, V> {
    /// The first and the last entry are never gaps.
    row: VecDeque<(K, Option<V>)>,
    /// Entries of `row` that are gaps.
    gaps: usize,
    /// Longest `row` since memory was given back.
    peak: usize,
    /// Places to make when `row` has none.
    expected: usize,
}

impl<K: Copy + Ord, V> Ordered<K, V> {
    pub(crate) fn new() -> Self {
        Self {
            row: VecDeque::new(),
            gaps: 0,
            peak: 0,
            expected: 0,
        }
    }

    /// Adds or replaces an entry.
    pub(crate) fn insert(&mut self, key: K, value: V) {
        if self.row.capacity() == 0 {
            self.row.reserve_exact(self.expected);
        }
        if self.row.back().is_none_or(|(last, _)| *last < key) {
            self.row.push_back((key, Some(value)));
        } else {
            match self.find(key) {
                Ok(at) => {
                    if let Some((_, slot)) = self.row.get_mut(at) {
                        self.gaps -= usize::from(slot.is_none());
                        *slot = Some(value);
                    }
                }
                Err(at) => self.row.insert(at, (key, Some(value))),
            }
        }
        self.peak = self.peak.max(self.row.len());
    }

    #[inline]
    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.row.get(self.find(*key).ok()?)?.1.as_ref()
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let at = self.find(*key).ok()?;
        self.row.get_mut(at)?.1.as_mut()
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let at = self.find(*key).ok()?;
        let value = self.row.get_mut(at)?.1.take()?;
        self.gaps += 1;
        self.close_up();
        Some(value)
    }

    /// Keeps those entries whose keys are wanted.
    pub(crate) fn retain(&mut self, mut wanted: impl FnMut(&K) -> bool) {
        self.row
            .retain(|(key, value)| value.is_some() && wanted(key));
        self.gaps = 0;
    }

    /// The first key.
    pub(crate) fn first(&self) -> Option<K> {
        self.row.front().map(|(key, _)| *key)
    }

    pub(crate) fn pop_first(&mut self) {
        if self.row.pop_front().is_some() {
            self.close_up();
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.row.len() - self.gaps
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.row.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (K, &V)> {
        let entries = self.row.iter();
        entries.filter_map(|(key, value)| Some((*key, value.as_ref()?)))
    }

    /// Takes everything out, and the memory with it.
    pub(crate) fn take_all(&mut self) -> impl Iterator<Item = (K, V)> + use<K, V> {
        let row = core::mem::replace(self, Self::new()).row.into_iter();
        row.filter_map(|(key, value)| Some((key, value?)))
    }

    /// Gives memory back where there is nothing to hold.
    ///
    /// What is needed again soon is then made at once and not step by step.
    pub(crate) fn release(&mut self) {
        if self.is_empty() && self.row.capacity() > ROW_IDLE {
            self.row = VecDeque::new();
            self.expected = self.peak.min(ROW_EXPECTED);
            self.peak = 0;
        }
    }

    /// Where a key is, or where it would be.
    #[inline]
    fn find(&self, key: K) -> Result<usize, usize> {
        match self.row.front() {
            // Often there is only one, or it is the oldest.
            Some((first, _)) if *first == key => Ok(0),
            _ => self.row.binary_search_by(|(other, _)| other.cmp(&key)),
        }
    }

    #[inline]
    fn close_up(&mut self) {
        while let Some((_, None)) = self.row.front() {
            self.row.pop_front();
            self.gaps -= 1;
        }
        while let Some((_, None)) = self.row.back() {
            self.row.pop_back();
            self.gaps -= 1;
        }
        if self.gaps > self.row.len() / 2 {
            self.row.retain(|(_, value)| value.is_some());
            self.gaps = 0;
        }
    }
}

/// Places an idle connection keeps.
const ROW_IDLE: usize = 4;

/// Places made at once, at most.
const ROW_EXPECTED: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    proptest! {
        /// Whatever comes and goes, in whatever order, it holds what an ordered map would.
        #[test]
        fn like_an_ordered_map(steps in prop::collection::vec((0_u8..8, 0_u8..40), 0..400)) {
            let (mut row, mut model, mut next) = (Ordered::new(), BTreeMap::new(), 0_u32);
            for (step, key) in steps {
                let old = next.saturating_sub(key.into());
                match step {
                    0..3 => {
                        row.insert(next, next);
                        model.insert(next, next);
                        next += 1;
                    }
                    3 => {
                        row.insert(old, next);
                        model.insert(old, next);
                        next = next.max(old + 1);
                    }
                    4 => {
                        row.pop_first();
                        model.pop_first();
                    }
                    _ => prop_assert_eq!(row.remove(&old), model.remove(&old)),
                }
                if step == 7 {
                    row.retain(|key| key % 3 > 0);
                    model.retain(|key, _| key % 3 > 0);
                }
                row.release();
                prop_assert_eq!((row.len(), row.is_empty()), (model.len(), model.is_empty()));
                prop_assert_eq!(row.first(), model.keys().next().copied());
                prop_assert!(row.row.len() <= 2 * model.len());
                prop_assert_eq!(row.get(&old), model.get(&old));
                prop_assert_eq!(row.get_mut(&old), model.get_mut(&old));
                let all: Vec<_> = row.iter().map(|(key, value)| (key, *value)).collect();
                let expected: Vec<_> = model.iter().map(|(key, value)| (*key, *value)).collect();
                prop_assert_eq!(all, expected);
            }
            prop_assert_eq!(row.take_all().count(), model.len());
            prop_assert!(row.is_empty());
        }
    }
}
