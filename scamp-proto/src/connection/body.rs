//! Octets of one message that the application has not read yet.

use alloc::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

/// Received octets, in chunks that are handed out without a copy.
///
/// Octets of a packet whose trailer has not been seen are there but not readable (W-10). Spare
/// room is at most a quarter of what is held, so memory follows the octets however small the
/// packets were (HD-23), and nothing is reserved by a number the peer wrote (HD-4).
#[derive(Debug, Default)]
pub(super) struct Body {
    chunks: VecDeque<Bytes>,
    tail: BytesMut,
    /// Octets held in all.
    held: usize,
    /// Octets of them that may be read.
    readable: usize,
}

/// The memory of the chunks a connection's user read last, for the next ones.
///
/// With a reader that drops what it has read, receiving needs no new memory at all.
#[derive(Debug, Default)]
pub(super) struct Spare {
    chunks: VecDeque<BytesMut>,
    /// Octets of memory made since some was last given back: more than that is not in `chunks`.
    made: usize,
}

impl Spare {
    /// Memory for `need` octets, used again if it fits well.
    #[inline]
    fn take(&mut self, need: usize) -> BytesMut {
        if let Some(mut oldest) = self.chunks.pop_front() {
            if oldest.try_reclaim(need) {
                if oldest.capacity() <= need + need / 4 {
                    return oldest;
                }
            } else if !oldest.try_reclaim(1) {
                // It is not too small; its reader has not dropped it yet.
                self.chunks.push_back(oldest);
            }
        }
        self.made += need;
        BytesMut::with_capacity(need)
    }

    #[inline]
    fn give(&mut self, used: BytesMut) {
        if self.is_full() {
            self.chunks.pop_front();
        }
        self.chunks.push_back(used);
    }

    #[inline]
    fn is_full(&self) -> bool {
        self.chunks.len() >= SPARES
    }

    /// Gives memory back; an idle connection keeps none worth mentioning (performance 3, rule 12).
    pub(super) fn release(&mut self) {
        if self.made > SPARE_IDLE {
            self.made = 0;
            let each = SPARE_IDLE / self.chunks.len().max(1);
            self.chunks.retain_mut(|spare| !spare.try_reclaim(each + 1));
        }
    }
}

impl Body {
    /// Adds octets that may not be read before [`seal`](Self::seal).
    #[inline]
    pub(super) fn push(&mut self, mut octets: &[u8], spare: &mut Spare) {
        self.held += octets.len();
        while !octets.is_empty() {
            let room = self.tail.capacity() - self.tail.len();
            if room == 0 {
                if !self.tail.is_empty() {
                    self.chunks.push_back(self.tail.split().freeze());
                    spare.give(core::mem::take(&mut self.tail));
                }
                let first = self.held == octets.len();
                let more = if first {
                    0
                } else {
                    (self.held / 4).clamp(SPARE_MIN, SPARE_MAX)
                };
                self.tail = spare.take(octets.len().max(more));
                continue;
            }
            let (now, rest) = octets.split_at_checked(room).unwrap_or((octets, &[]));
            self.tail.extend_from_slice(now);
            octets = rest;
        }
    }

    /// Makes readable what was pushed.
    pub(super) fn seal(&mut self) {
        self.readable = self.held;
    }

    /// Octets pushed and not read, sealed or not.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Octets that may be read.
    pub(super) fn readable(&self) -> usize {
        self.readable
    }

    /// The next readable octets, at most `limit`; empty if there are none.
    #[inline]
    pub(super) fn read(&mut self, limit: usize, spare: &mut Spare) -> Bytes {
        let limit = limit.min(self.readable);
        let octets = match self.chunks.front_mut() {
            Some(chunk) if chunk.len() > limit => chunk.split_to(limit),
            Some(_) => self.chunks.pop_front().unwrap_or_default(),
            None if limit == 0 => Bytes::new(),
            // Given away as a whole: memory that comes back costs one more allocation at first.
            None if limit == self.tail.capacity() && spare.is_full() => {
                self.held -= limit;
                self.readable -= limit;
                return core::mem::take(&mut self.tail).freeze();
            }
            None => self.tail.split_to(limit.min(self.tail.len())).freeze(),
        };
        self.held -= octets.len();
        self.readable -= octets.len();
        if self.held == 0 {
            spare.give(core::mem::take(&mut self.tail));
        }
        octets
    }

    /// Copies the next readable octets into `room` and says how many.
    pub(super) fn read_into(&mut self, room: &mut [u8], spare: &mut Spare) -> usize {
        let mut limit = room.len().min(self.readable);
        let mut done = 0;
        while limit > 0 {
            let front: &mut dyn Buf = match self.chunks.front_mut() {
                Some(chunk) => chunk,
                None => &mut self.tail,
            };
            let count = limit.min(front.remaining());
            if let Some(room) = room.get_mut(done..done + count) {
                front.copy_to_slice(room);
            }
            if !front.has_remaining() {
                self.chunks.pop_front();
            }
            done += count;
            limit -= count;
        }
        self.held -= done;
        self.readable -= done;
        if self.held == 0 {
            self.tail.clear();
            spare.give(core::mem::take(&mut self.tail));
        }
        done
    }

    /// Drops everything, and says how many octets that were.
    pub(super) fn clear(&mut self) -> usize {
        let held = self.held;
        *self = Self::default();
        held
    }

    /// Drops what is not readable, and says how many octets that were.
    pub(super) fn unpush(&mut self, spare: &mut Spare) -> usize {
        // Read out the sealed octets and keep only those.
        let dropped = self.held - self.readable;
        if dropped > 0 {
            let mut kept = VecDeque::new();
            while self.readable > 0 {
                kept.push_back(self.read(usize::MAX, spare));
            }
            self.readable = kept.iter().map(Bytes::len).sum();
            self.held = self.readable;
            self.chunks = kept;
            self.tail = BytesMut::new();
        }
        dropped
    }
}

/// Chunks whose memory is kept at most: enough for a few messages read at once.
const SPARES: usize = 8;

/// Memory an idle connection keeps for its next messages, at most.
const SPARE_IDLE: usize = 4096;

/// Room for growth, at least.
const SPARE_MIN: usize = 256;

/// Room for growth, at most: two chunks of the default size.
const SPARE_MAX: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    proptest! {
        /// W-10, HD-23: octets come out once, in order, sealed ones only, and spare room is bounded.
        #[test]
        fn octets_in_order(steps in prop::collection::vec((0_usize..3000, any::<bool>(), 0_usize..4000, any::<bool>()), 1..60)) {
            let (mut body, mut spare) = (Body::default(), Spare::default());
            let (mut pushed, mut sealed, mut got) = (Vec::new(), 0, Vec::new());
            for (push, seal, read, copy) in steps {
                let octets: Vec<u8> = (0..push).map(|i| (pushed.len() + i) as u8).collect();
                body.push(&octets, &mut spare);
                pushed.extend(octets);
                if seal {
                    body.seal();
                    sealed = pushed.len();
                }
                let room = body.tail.capacity() - body.tail.len();
                prop_assert!(room <= (pushed.len() / 4).max(SPARE_MIN));
                if copy {
                    let mut room = alloc::vec![0; read];
                    let n = body.read_into(&mut room, &mut spare);
                    prop_assert_eq!(n, read.min(sealed - got.len()));
                    got.extend_from_slice(&room[..n]);
                } else {
                    got.extend_from_slice(&body.read(read, &mut spare));
                }
                prop_assert!(got.len() <= sealed);
                prop_assert_eq!(body.held(), pushed.len() - got.len());
                prop_assert_eq!(body.readable(), sealed - got.len());
            }
            let dropped = body.unpush(&mut spare);
            prop_assert_eq!(dropped, pushed.len() - sealed);
            while body.readable() > 0 {
                got.extend_from_slice(&body.read(usize::MAX, &mut spare));
            }
            prop_assert_eq!(&got[..], &pushed[..sealed]);
        }
    }
}
