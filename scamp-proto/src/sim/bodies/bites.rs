//! Decisions, taken from octets one after the other.

/// Octets that say what to do; once they are used up, everything is zero.
#[derive(Debug)]
pub(super) struct Bites<'a>(&'a [u8]);

impl<'a> Bites<'a> {
    pub(super) fn new(octets: &'a [u8]) -> Self {
        Self(octets)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn octet(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or_default()
    }

    /// A number of which small values are as likely as large ones: its first octet says how many
    /// octets follow.
    pub(super) fn number(&mut self) -> u64 {
        let len = usize::from(self.octet() % 9);
        let octets = self.take(len);
        octets
            .iter()
            .fold(0, |sum, octet| sum << 8 | u64::from(*octet))
    }

    /// A number below `bound`, or zero.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        let wide = match bound {
            0..=256 => u64::from(self.octet()),
            _ => self.number(),
        };
        wide.checked_rem(bound as u64).unwrap_or(0) as usize
    }

    pub(super) fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    pub(super) fn rest(&mut self) -> &'a [u8] {
        core::mem::take(&mut self.0)
    }
}
