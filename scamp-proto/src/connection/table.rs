//! The messages of one direction, by their numbers.

use alloc::collections::{BTreeMap, VecDeque};

use crate::wire::MsgNo;

/// A table keyed by numbers that are handed out one after the other (W-15).
///
/// Young messages lie in a row, so that finding one costs the same however many there are. A few
/// old ones among many that have gone are moved aside, so that the row stays as short as what is
/// in it. Iteration is in the order of the numbers.
#[derive(Debug)]
pub(super) struct Table<T> {
    old: BTreeMap<MsgNo, T>,
    /// Number of the first place in `row`.
    base: u64,
    row: VecDeque<Option<T>>,
    /// Places of `row` that are taken.
    taken: usize,
    /// Most places of `row` in use since memory was given back.
    peak: usize,
    /// Places to make when `row` has none.
    expected: usize,
}

impl<T> Table<T> {
    /// A table whose first message will have number `first`.
    pub(super) fn new(first: MsgNo) -> Self {
        Self {
            old: BTreeMap::new(),
            base: first.0,
            row: VecDeque::new(),
            taken: 0,
            peak: 0,
            expected: 0,
        }
    }

    /// Adds the message with the next number.
    pub(super) fn push(&mut self, message: T) {
        if self.row.capacity() == 0 {
            self.row.reserve_exact(self.expected);
        }
        self.row.push_back(Some(message));
        self.taken += 1;
        self.peak = self.peak.max(self.row.len());
    }

    #[inline]
    pub(super) fn get(&self, msgno: MsgNo) -> Option<&T> {
        match self.place(msgno) {
            Some(place) => self.row.get(place)?.as_ref(),
            None => self.old.get(&msgno),
        }
    }

    #[inline]
    pub(super) fn get_mut(&mut self, msgno: MsgNo) -> Option<&mut T> {
        match self.place(msgno) {
            Some(place) => self.row.get_mut(place)?.as_mut(),
            None => self.old.get_mut(&msgno),
        }
    }

    /// Frees a message where it lies.
    #[inline]
    pub(super) fn remove(&mut self, msgno: MsgNo) {
        let Some(place) = self.place(msgno) else {
            self.old.remove(&msgno);
            return;
        };
        let Some(message) = self.row.get_mut(place).filter(|message| message.is_some()) else {
            return;
        };
        *message = None;
        self.taken -= 1;
        if self.row.len() < ROW_IDLE {
            // Not worth it yet.
        } else if place == 0 || self.taken == 0 {
            self.drop_gone();
        } else if self.row.len() > 2 * self.taken + SLACK {
            self.move_old();
        }
    }

    /// Gives up the places before the first that is taken.
    #[inline]
    fn drop_gone(&mut self) {
        if self.taken == 0 {
            self.base += self.row.len() as u64;
            self.row.clear();
            return;
        }
        let gone = self
            .row
            .iter()
            .take_while(|message| message.is_none())
            .count();
        self.base += gone as u64;
        self.row.drain(..gone);
    }

    /// Moves survivors aside until the row is as short as what is in it.
    ///
    /// Each place is given up once, so this costs no more than filling it did.
    #[cold]
    fn move_old(&mut self) {
        while self.row.len() > 2 * self.taken + SLACK {
            let msgno = MsgNo(self.base);
            self.base += 1;
            if let Some(survivor) = self.row.pop_front().flatten() {
                self.taken -= 1;
                self.old.insert(msgno, survivor);
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.taken + self.old.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (MsgNo, &T)> {
        let old = self.old.iter().map(|(msgno, message)| (*msgno, message));
        let row = self.row.iter().zip(self.base..);
        old.chain(row.filter_map(|(message, number)| Some((MsgNo(number), message.as_ref()?))))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (MsgNo, &mut T)> {
        let old = self
            .old
            .iter_mut()
            .map(|(msgno, message)| (*msgno, message));
        let row = self.row.iter_mut().zip(self.base..);
        old.chain(row.filter_map(|(message, number)| Some((MsgNo(number), message.as_mut()?))))
    }

    /// Takes everything out, and the memory with it.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = (MsgNo, T)> + use<T> {
        let next = self.base + self.row.len() as u64;
        let Self { old, base, row, .. } = core::mem::replace(self, Self::new(MsgNo(next)));
        let row = row.into_iter().zip(base..);
        old.into_iter()
            .chain(row.filter_map(|(message, number)| Some((MsgNo(number), message?))))
    }

    /// Gives memory back where there is nothing to hold.
    ///
    /// What is needed again soon is then made at once and not step by step.
    pub(super) fn release(&mut self) {
        if self.is_empty() && self.row.capacity() > ROW_IDLE {
            // The numbers of empty places have been handed out, too.
            self.base += self.row.len() as u64;
            self.row = VecDeque::new();
            self.expected = self.peak.min(ROW_EXPECTED);
            self.peak = 0;
        }
    }

    #[inline]
    fn place(&self, msgno: MsgNo) -> Option<usize> {
        msgno
            .0
            .checked_sub(self.base)
            .map(|place| usize::try_from(place).unwrap_or(usize::MAX))
    }
}

/// Places an idle connection keeps.
const ROW_IDLE: usize = 4;

/// Places made at once, at most.
const ROW_EXPECTED: usize = 64;

/// Empty places that are never worth moving anything for.
const SLACK: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    proptest! {
        /// Whatever comes and goes, the table holds what an ordered map would, in a short row.
        #[test]
        fn like_an_ordered_map(first in 0_u64..3, steps in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 0..600)) {
            let mut table = Table::new(MsgNo(first));
            let mut model = BTreeMap::new();
            let mut next = first;
            for (push, which) in steps {
                if push || model.is_empty() {
                    table.push(next);
                    model.insert(MsgNo(next), next);
                    next += 1;
                } else {
                    let keys: Vec<_> = model.keys().copied().collect();
                    // Mostly the youngest go, as short messages do.
                    let msgno = keys[keys.len() - 1 - which.index(keys.len()) / 4];
                    table.remove(msgno);
                    table.remove(msgno);
                    model.remove(&msgno);
                }
                table.release();
                prop_assert_eq!(table.len(), model.len());
                prop_assert!(table.row.len() <= 2 * table.taken.max(1) + SLACK + 1);
                let all: Vec<_> = table.iter().map(|(msgno, value)| (msgno, *value)).collect();
                let expected: Vec<_> = model.iter().map(|(msgno, value)| (*msgno, *value)).collect();
                prop_assert_eq!(all, expected);
                for msgno in (0..next + 2).map(MsgNo) {
                    prop_assert_eq!(table.get(msgno), model.get(&msgno));
                }
            }
            prop_assert_eq!(table.take_all().count(), model.len());
            prop_assert!(table.is_empty());
        }
    }
}
