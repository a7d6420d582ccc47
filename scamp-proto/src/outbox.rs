//! Octets on their way out.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use bytes::{Buf, Bytes};

/// Octets on their way to the transport: short pieces copied, long ones lent.
///
/// A machine fills it in [`poll_transmit`](crate::Duplex::poll_transmit); a driver writes it out.
/// It is a [`Buf`], so [`chunk`](Buf::chunk), `chunks_vectored` and
/// [`advance`](Buf::advance) serve plain and vectored writes alike, and partial writes need no
/// bookkeeping of the driver's own. Memory is kept for the next turn until
/// [`release`](Self::release).
///
/// # Example
///
/// ```
/// use bytes::Buf;
/// use scamp_proto::Outbox;
///
/// let mut out = Outbox::default();
/// out.put(b"EOF 0 0\r\n");
/// out.put(b"END\r\n");
/// assert_eq!(out.remaining(), 14);
/// out.advance(9); // the transport took nine octets
/// assert_eq!(out.chunk(), b"END\r\n");
/// ```
#[derive(Debug, Default)]
pub struct Outbox {
    text: Vec<u8>,
    /// How much of `text` has gone.
    sent: usize,
    /// Lent pieces, each with the length of `text` that goes before it.
    lent: VecDeque<(usize, Bytes)>,
    remaining: usize,
}

impl Outbox {
    /// Copies `octets` to the end.
    #[inline]
    pub fn put(&mut self, octets: &[u8]) {
        self.text.extend_from_slice(octets);
        self.remaining += octets.len();
    }

    /// Copies the first `len` of `octets` to the end, by a copy whose length is known beforehand.
    #[inline]
    pub(crate) fn put_some(&mut self, octets: &[u8; 16], len: usize) {
        let before = self.text.len();
        self.text.extend_from_slice(octets);
        self.text.truncate(before + len);
        self.remaining += self.text.len() - before;
    }

    /// Adds `octets` to the end, copying only when they are short.
    pub fn lend(&mut self, octets: Bytes) {
        if octets.len() < LEND_FROM {
            self.put(&octets);
        } else {
            self.remaining += octets.len();
            self.lent.push_back((self.text.len(), octets));
        }
    }

    /// A writer that appends, for encoders that write into a `Vec`.
    pub fn append_with<R>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        let before = self.text.len();
        let result = write(&mut self.text);
        self.remaining += self.text.len().saturating_sub(before);
        result
    }

    /// Whether everything has gone.
    pub fn is_empty(&self) -> bool {
        self.remaining == 0
    }

    /// Takes everything that waits, in one piece.
    pub fn take_all(&mut self) -> Vec<u8> {
        let mut all = Vec::with_capacity(self.remaining);
        while self.has_remaining() {
            let chunk = self.chunk();
            let len = chunk.len();
            all.extend_from_slice(chunk);
            self.advance(len);
        }
        all
    }

    /// Gives memory back; an idle connection owns no buffers (performance 3, rule 12).
    pub fn release(&mut self) {
        if self.is_empty() {
            *self = Self::default();
        }
    }

    /// Forgets what waits.
    pub fn clear(&mut self) {
        self.text.clear();
        self.lent.clear();
        self.sent = 0;
        self.remaining = 0;
    }
}

impl Buf for Outbox {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        match self.lent.front() {
            Some((at, piece)) if *at <= self.sent => piece,
            Some((at, _)) => self.text.get(self.sent..*at).unwrap_or_default(),
            None => self.text.get(self.sent..).unwrap_or_default(),
        }
    }

    fn advance(&mut self, mut count: usize) {
        count = count.min(self.remaining);
        self.remaining -= count;
        while count > 0 {
            match self.lent.front_mut() {
                Some((at, piece)) if *at <= self.sent => {
                    let step = count.min(piece.len());
                    piece.advance(step);
                    count -= step;
                    if piece.is_empty() {
                        self.lent.pop_front();
                    }
                }
                Some((at, _)) => {
                    let step = count.min(*at - self.sent);
                    self.sent += step;
                    count -= step;
                }
                None => {
                    self.sent += count;
                    count = 0;
                }
            }
        }
        if self.remaining == 0 {
            self.clear();
        }
    }

    #[cfg(feature = "std")]
    fn chunks_vectored<'a>(&'a self, slices: &mut [std::io::IoSlice<'a>]) -> usize {
        let mut text = self.sent;
        let mut used = 0;
        let mut room = slices.iter_mut();
        let mut add = |piece: &'a [u8]| {
            if piece.is_empty() {
                return true;
            }
            match room.next() {
                Some(slot) => {
                    *slot = std::io::IoSlice::new(piece);
                    used += 1;
                    true
                }
                None => false,
            }
        };
        for (at, piece) in &self.lent {
            let before = self.text.get(text..*at).unwrap_or_default();
            if !add(before) || !add(piece) {
                return used;
            }
            text = text.max(*at);
        }
        add(self.text.get(text..).unwrap_or_default());
        used
    }
}

/// Pieces from this length on are lent; a shorter one costs less to copy (performance 3, rule 7).
const LEND_FROM: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    /// Text and lent pieces leave in the order they came, however small the steps.
    #[test]
    fn order_survives_partial_writes() {
        for step in [1, 7, 2047, 5000, 100_000] {
            let mut out = Outbox::default();
            let long = Bytes::from(alloc::vec![b'x'; 5000]);
            out.put(b"one");
            out.lend(long.clone());
            out.lend(Bytes::from_static(b"two"));
            out.lend(long.clone());
            out.lend(long);
            out.put(b"three");
            let mut expected = b"one".to_vec();
            expected.extend([b'x'; 5000]);
            expected.extend(b"two");
            expected.extend([b'x'; 10_000]);
            expected.extend(b"three");
            assert_eq!(out.remaining(), expected.len());
            let mut got = Vec::new();
            while out.has_remaining() {
                let chunk = out.chunk();
                assert!(!chunk.is_empty());
                let n = chunk.len().min(step);
                got.extend_from_slice(&chunk[..n]);
                out.advance(n);
            }
            assert_eq!(got, expected);
            assert!(out.is_empty());
        }
    }

    /// What a vectored write sees is what plain writes see.
    #[cfg(feature = "std")]
    #[test]
    fn vectored_is_the_same_octets() {
        let mut out = Outbox::default();
        out.put(b"line");
        out.lend(Bytes::from(alloc::vec![b'y'; 4096]));
        out.put(b"END");
        out.advance(2);
        let mut slices = [std::io::IoSlice::new(&[]); 8];
        let used = out.chunks_vectored(&mut slices);
        let got: Vec<u8> = slices[..used].iter().flat_map(|s| s.to_vec()).collect();
        assert_eq!(used, 3);
        assert_eq!(got, out.take_all());
    }
}
