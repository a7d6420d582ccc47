//! Announcements as datagrams carry them: compressed, or plain (D-25, D-26).

use alloc::boxed::Box;
use alloc::vec::Vec;

use bytes::Bytes;
use miniz_oxide::deflate::compress_to_vec_zlib;
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress, inflate_flags};
use thiserror::Error;

use super::{AnnouncementError, OfferError};
use crate::limits::{
    ANNOUNCEMENT, DATAGRAM, DATAGRAM_SENT, INFLATE_FLOOR, INFLATE_KEPT, INFLATE_RATIO,
};

/// Why a datagram is dropped.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum DatagramError {
    /// The text in it is no announcement, or none to be believed.
    #[error("{0}")]
    Announcement(#[from] AnnouncementError),
    /// It inflates to more than it may (HD-33).
    #[error("it inflates to more than {0} octets")]
    Bomb(usize),
    /// It says that it is compressed, but is damaged.
    #[error("its compressed data is damaged")]
    Damaged,
    /// It comes from where nobody is believed (D-38).
    #[error("its sender is not among discovery.peer_allow")]
    NotAllowed,
    /// It is larger than UDP allows.
    #[error("it has more than {DATAGRAM} octets")]
    TooLong,
}

/// Compresses an announcement's text for sending.
///
/// # Errors
///
/// [`OfferError::TooLong`] if it does not fit into a datagram (D-30).
pub fn compress(text: &[u8]) -> Result<Bytes, OfferError> {
    let datagram = compress_to_vec_zlib(text, LEVEL);
    match datagram.len() {
        0..=DATAGRAM_SENT => Ok(datagram.into()),
        len => Err(OfferError::TooLong(len)),
    }
}

/// Undoes what senders do to announcements; its memory is used again.
///
/// # Example
///
/// ```
/// use scamp_proto::discovery::datagram::{Inflater, compress};
///
/// let mut inflater = Inflater::new();
/// let datagram = compress(b"[3,\"an announcement\"]")?;
/// assert_eq!(inflater.text(&datagram), Ok(&b"[3,\"an announcement\"]"[..]));
/// assert_eq!(inflater.text(b"[3,\"a plain one\"]"), Ok(&b"[3,\"a plain one\"]"[..]));
/// # Ok::<(), scamp_proto::discovery::OfferError>(())
/// ```
#[derive(Default)]
pub struct Inflater {
    state: Box<DecompressorOxide>,
    room: Vec<u8>,
}

impl Inflater {
    /// One that has no memory yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The text in a datagram: inflated, or the datagram itself where it is not compressed.
    ///
    /// A first octet `R` or `D` is dropped if the rest is compressed or begins like JSON. What
    /// follows the compressed data is ignored. Memory never exceeds what the datagram may inflate
    /// to (HD-33).
    ///
    /// # Errors
    ///
    /// [`DatagramError::Bomb`], [`DatagramError::Damaged`], [`DatagramError::TooLong`].
    pub fn text<'a>(&'a mut self, datagram: &'a [u8]) -> Result<&'a [u8], DatagramError> {
        if datagram.len() > DATAGRAM {
            return Err(DatagramError::TooLong);
        }
        let packed = match datagram {
            [b'R' | b'D', rest @ ..] if is_zlib(rest) => rest,
            [b'R' | b'D', rest @ ..] if matches!(rest.first(), Some(b'[' | b'{')) => {
                return Ok(rest);
            }
            _ if is_zlib(datagram) => datagram,
            _ => return Ok(datagram),
        };
        self.inflate(packed, most(datagram.len()))
    }

    /// Octets of memory that it holds, for the next datagram too.
    pub fn memory(&self) -> usize {
        self.room.capacity()
    }

    fn inflate(&mut self, packed: &[u8], most: usize) -> Result<&[u8], DatagramError> {
        const FLAGS: u32 = inflate_flags::TINFL_FLAG_PARSE_ZLIB_HEADER
            | inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF
            | inflate_flags::TINFL_FLAG_COMPUTE_ADLER32;
        if self.room.len() > INFLATE_KEPT {
            self.room = Vec::new();
        }
        self.state.init();
        if self.room.is_empty() {
            self.grow(
                packed.len().saturating_mul(4).clamp(1024, INFLATE_FLOOR),
                most,
            );
        }
        let (mut taken, mut len) = (0_usize, 0_usize);
        loop {
            let rest = packed.get(taken..).unwrap_or_default();
            // Kept room may be more than this datagram may have.
            let end = self.room.len().min(most);
            let room = self.room.get_mut(..end).unwrap_or_default();
            let (status, used, made) = decompress(&mut self.state, rest, room, len, FLAGS);
            taken = taken.saturating_add(used);
            len = len.saturating_add(made);
            match status {
                TINFLStatus::Done => return Ok(self.room.get(..len).unwrap_or_default()),
                TINFLStatus::HasMoreOutput if end < most => {
                    self.grow(end.saturating_mul(2), most);
                }
                TINFLStatus::HasMoreOutput => return Err(DatagramError::Bomb(most)),
                _ => return Err(DatagramError::Damaged),
            }
        }
    }

    fn grow(&mut self, len: usize, most: usize) {
        let len = len.min(most);
        if len > self.room.len() {
            self.room.reserve_exact(len.saturating_sub(self.room.len()));
            self.room.resize(len, 0);
        }
    }
}

impl core::fmt::Debug for Inflater {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Inflater")
            .field("memory", &self.memory())
            .finish_non_exhaustive()
    }
}

/// The most that a datagram of this length may inflate to (HD-33).
pub fn most(datagram: usize) -> usize {
    datagram
        .saturating_mul(INFLATE_RATIO)
        .saturating_add(INFLATE_FLOOR)
        .min(ANNOUNCEMENT)
}

/// Whether this begins as RFC 1950 says: deflate, and a check that fits. No JSON begins so.
fn is_zlib(octets: &[u8]) -> bool {
    match octets {
        [method, flags, ..] => {
            method & 0x0F == 8
                && method >> 4 <= 7
                && u16::from_be_bytes([*method, *flags]) % 31 == 0
        }
        _ => false,
    }
}

/// Announcements are small and sent seldom; every octet less is one that fits.
const LEVEL: u8 = 9;

#[cfg(test)]
mod tests {
    use std::vec;

    use super::*;

    /// D-26: what a datagram may be wrapped in.
    #[test]
    fn wrappings() {
        let text = &b"[3,\"an announcement\"]"[..];
        let packed = compress(text).unwrap();
        let with = |begin: &[u8], rest: &[u8], end: &[u8]| [begin, rest, end].concat();
        let mut inflater = Inflater::new();
        for datagram in [
            packed.to_vec(),
            with(b"", &packed, b"more"),
            with(b"R", &packed, b""),
            with(b"D", &packed, b""),
            text.to_vec(),
            with(b"R", text, b""),
            with(b"D", text, b""),
        ] {
            assert_eq!(inflater.text(&datagram), Ok(text), "{datagram:?}");
        }
        // Nothing is dropped that might mean something.
        for plain in [&b"R"[..], b"Rx", b"X[", b"", b"{", b"\x1F\x8B\x08"] {
            assert_eq!(inflater.text(plain), Ok(plain));
        }
        let mut damaged = packed.to_vec();
        *damaged.last_mut().unwrap() ^= 1;
        for bad in [
            &damaged[..],
            &packed[..packed.len() - 1],
            &packed[..3],
            b"\x78\x9C",
        ] {
            assert_eq!(inflater.text(bad), Err(DatagramError::Damaged), "{bad:?}");
        }
        let error = inflater.text(&[b'['; DATAGRAM + 1]);
        assert_eq!(error, Err(DatagramError::TooLong));
    }

    /// HD-33, B-15, Q-15: a datagram gets 64 times its size and 16 KiB, 4 MiB at most, and not an
    /// octet more of memory; at the limit it is taken, beyond it is a bomb.
    #[test]
    fn bombs() {
        let mut inflater = Inflater::new();
        for size in [20_000, 100_000, 1 << 20, 4 << 20, 5 << 20, 64 << 20] {
            let bomb = compress_to_vec_zlib(&vec![0; size], 9);
            let most = most(bomb.len());
            let expected = if size <= most {
                Ok(size)
            } else {
                Err(DatagramError::Bomb(most))
            };
            assert_eq!(inflater.text(&bomb).map(<[u8]>::len), expected, "{size}");
            assert!(
                inflater.memory() <= most.max(INFLATE_KEPT),
                "{size}: {}",
                inflater.memory()
            );
        }
        assert_eq!(most(100), 100 * 64 + 16 * 1024);
        assert_eq!(most(65_507), 4 << 20);
        // The limit is exact.
        let packed = |size: usize| compress_to_vec_zlib(&vec![0; size], 9);
        let exact = (16_384..40_000)
            .find(|size| most(packed(*size).len()) == *size)
            .unwrap();
        assert!(inflater.text(&packed(exact)).is_ok());
        assert!(inflater.text(&packed(exact + 1)).is_err());
        // What is kept afterwards is little.
        inflater.text(&packed(1000)).unwrap();
        assert!(inflater.memory() <= INFLATE_KEPT);
    }
}
