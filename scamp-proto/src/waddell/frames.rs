//! Cutting a stream into frames.

use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::fmt;

use super::error::CloseReason;
use super::frame::HEAD;
use crate::limits::WADDELL_FRAME;

/// Cuts a stream into the contents of its frames (WD-1, WD-120).
///
/// A content that lies whole in the input is lent, not copied. One that comes in pieces takes memory
/// as it arrives, and the memory goes with it, so that nothing is held between frames (WD-45).
///
/// # Example
///
/// ```
/// use scamp_proto::waddell::Frames;
///
/// let mut frames = Frames::new(65_535);
/// let mut input = &b"\x01\x00k\x05\x00Hel"[..];
/// assert_eq!(frames.cut(&mut input)?.as_deref(), Some(&b"k"[..]));
/// assert_eq!(frames.cut(&mut input)?, None);
/// assert!(frames.is_inside());
/// let mut input = &b"lo"[..];
/// assert_eq!(frames.cut(&mut input)?.as_deref(), Some(&b"Hello"[..]));
/// # Ok::<(), scamp_proto::waddell::FrameTooLong>(())
/// ```
pub struct Frames {
    limit: usize,
    stage: Stage,
}

enum Stage {
    /// Between frames.
    Between,
    /// The length's first octet has come.
    Length(u8),
    /// The content is coming.
    Content { len: usize, have: Vec<u8> },
    /// The stream cannot be followed any more.
    Broken(FrameTooLong),
}

impl Frames {
    /// Takes contents of at most `limit` octets, which is held between 18 and 65 535.
    pub fn new(limit: usize) -> Self {
        Self {
            limit: limit.clamp(HEAD, WADDELL_FRAME),
            stage: Stage::Between,
        }
    }

    /// Takes the next content off the front of `input`, or `None` and all of it if there is no more.
    ///
    /// # Errors
    ///
    /// [`FrameTooLong`] as soon as the length is read (WD-34), and ever after.
    pub fn cut<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Cow<'a, [u8]>>, FrameTooLong> {
        loop {
            match &mut self.stage {
                Stage::Between => {
                    let Some(low) = take_one(input) else {
                        return Ok(None);
                    };
                    self.stage = Stage::Length(low);
                }
                Stage::Length(low) => {
                    let Some(high) = take_one(input) else {
                        return Ok(None);
                    };
                    let length = usize::from(u16::from_le_bytes([*low, high]));
                    let limit = self.limit;
                    self.stage = match length > limit {
                        true => Stage::Broken(FrameTooLong { length, limit }),
                        false => Stage::Content {
                            len: length,
                            have: Vec::new(),
                        },
                    };
                }
                Stage::Content { len, have } => {
                    let missing = *len - have.len();
                    let (piece, rest) = input.split_at(missing.min(input.len()));
                    *input = rest;
                    if piece.len() == *len {
                        self.stage = Stage::Between;
                        return Ok(Some(Cow::Borrowed(piece)));
                    }
                    if have.capacity() - have.len() < piece.len() {
                        // Twice what has come, and never more than is to come.
                        have.reserve_exact(piece.len().max(have.len()).min(missing));
                    }
                    have.extend_from_slice(piece);
                    if have.len() < *len {
                        return Ok(None);
                    }
                    let content = core::mem::take(have);
                    self.stage = Stage::Between;
                    return Ok(Some(Cow::Owned(content)));
                }
                Stage::Broken(error) => return Err(*error),
            }
        }
    }

    /// Whether a frame has begun and is not complete.
    pub fn is_inside(&self) -> bool {
        !matches!(self.stage, Stage::Between)
    }

    /// Octets of an incomplete content that are held.
    pub fn held(&self) -> usize {
        match &self.stage {
            Stage::Content { have, .. } => have.capacity(),
            Stage::Between | Stage::Length(_) | Stage::Broken(_) => 0,
        }
    }

    /// The content that is coming: its length, and how much of it is there.
    pub fn incomplete(&self) -> Option<(usize, usize)> {
        match &self.stage {
            Stage::Content { len, have } => Some((*len, have.len())),
            Stage::Between | Stage::Length(_) | Stage::Broken(_) => None,
        }
    }
}

/// Contents are not shown (HD-12).
impl fmt::Debug for Frames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frames")
            .field("limit", &self.limit)
            .field("is_inside", &self.is_inside())
            .field("held", &self.held())
            .finish()
    }
}

fn take_one(input: &mut &[u8]) -> Option<u8> {
    let (first, rest) = input.split_first()?;
    *input = rest;
    Some(*first)
}

/// A frame over the limit (WD-34).
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("frame of {length} octets, limit {limit}")]
pub struct FrameTooLong {
    /// Octets of its content.
    pub length: usize,
    /// The limit in force.
    pub limit: usize,
}

impl From<FrameTooLong> for CloseReason {
    fn from(FrameTooLong { length, limit }: FrameTooLong) -> Self {
        Self::FrameTooLong { length, limit }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec;

    /// The contents of a stream that comes in pieces that end at `cuts`, and what is left inside.
    fn contents(stream: &[u8], cuts: &[usize]) -> (Vec<Vec<u8>>, bool) {
        let mut frames = Frames::new(WADDELL_FRAME);
        let (mut all, mut at) = (Vec::new(), 0);
        for &end in cuts.iter().chain([&stream.len()]) {
            let end = end.clamp(at, stream.len());
            let mut piece = &stream[at..end];
            while let Some(content) = frames.cut(&mut piece).unwrap() {
                all.push(content.into_owned());
            }
            assert!(piece.is_empty());
            at = end;
        }
        (all, frames.is_inside())
    }

    proptest! {
        /// WD-1, WD-2, WD-127: any cut of the stream gives the same frames, and an incomplete one
        /// gives nothing.
        #[test]
        fn wd_127_any_cut_gives_the_same_frames(
            sent in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..12),
            missing in 0_usize..400,
            mut cuts in prop::collection::vec(0_usize..3000, 0..30),
        ) {
            let mut stream = Vec::new();
            let mut ends = vec![0];
            for content in &sent {
                stream.extend((content.len() as u16).to_le_bytes());
                stream.extend(content);
                ends.push(stream.len());
            }
            stream.truncate(stream.len().saturating_sub(missing));
            let whole = ends.iter().skip(1).filter(|end| **end <= stream.len()).count();
            cuts.sort_unstable();
            let (all, inside) = contents(&stream, &cuts);
            prop_assert_eq!(&all[..], &sent[..whole]);
            prop_assert_eq!(inside, !ends.contains(&stream.len()));
            prop_assert_eq!(contents(&stream, &(0..stream.len()).collect::<Vec<_>>()), (all, inside));
        }
    }

    /// WD-120, WD-126: what lies whole in the input is lent.
    #[test]
    fn wd_120_whole_contents_are_not_copied() {
        let stream = b"\x03\x00abc\x00\x00\x01\x00k";
        let mut input = &stream[..];
        let mut frames = Frames::new(WADDELL_FRAME);
        for expected in [&b"abc"[..], b"", b"k"] {
            let content = frames.cut(&mut input).unwrap().unwrap();
            assert!(matches!(content, Cow::Borrowed(content) if content == expected));
        }
        assert_eq!(frames.cut(&mut input), Ok(None));
    }

    /// WD-34: the limit acts when the length is read, and for good.
    #[test]
    fn wd_34_the_length_is_judged_first() {
        let too_long = FrameTooLong {
            length: 101,
            limit: 100,
        };
        let mut frames = Frames::new(100);
        let mut input = &[&[100, 0][..], &[b'x'; 100], &[101]].concat()[..];
        assert_eq!(frames.cut(&mut input).unwrap().unwrap().len(), 100);
        assert_eq!(frames.cut(&mut input), Ok(None));
        assert_eq!(frames.cut(&mut &[0][..]), Err(too_long));
        assert_eq!(frames.cut(&mut &b"\x01\x00k"[..]), Err(too_long));
        assert_eq!(frames.held(), 0);
        for (asked, limit) in [(0, 18), (17, 18), (usize::MAX, 65_535)] {
            assert_eq!(Frames::new(asked).limit, limit);
        }
    }

    /// WD-45, defect 14: memory comes with the content, and goes with it.
    #[test]
    fn wd_45_no_buffer_is_held_for_a_promise() {
        let mut frames = Frames::new(WADDELL_FRAME);
        assert_eq!(frames.cut(&mut &[0xff, 0xff][..]), Ok(None));
        assert_eq!(frames.held(), 0);
        for have in 1..65_535_usize {
            assert_eq!(frames.cut(&mut &b"x"[..]), Ok(None));
            assert!(
                frames.held() <= 2 * have && frames.held() <= 65_535,
                "{have}"
            );
        }
        let content = frames.cut(&mut &b"x"[..]).unwrap().unwrap().into_owned();
        assert_eq!((content.len(), content.capacity()), (65_535, 65_535));
        assert_eq!((frames.held(), frames.is_inside()), (0, false));
    }
}
