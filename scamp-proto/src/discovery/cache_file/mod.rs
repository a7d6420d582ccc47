//! The cache file: what a cache manager writes and programs read.
//!
//! ```text
//! cache-file = *(LF "%%%" LF announcement)
//!
//!  octets ──> Splitter ──> Reading ──finish, verify──> Content ──> Directory::build
//!  stat ──> Watch: when to look, whether to read, whether what was read counts, how old it is
//!  Registry ──> encode, Writer: when to write, when to touch
//! ```
//!
//! # Limits
//!
//! | What | Bound | Set by |
//! | --- | --- | --- |
//! | octets read | 256 MiB | [`CACHE_FILE`](crate::limits::CACHE_FILE) |
//! | records read | 100 000 | [`CACHE_RECORDS`](crate::limits::CACHE_RECORDS) |
//! | memory while reading | the texts that are new, and one record | [`ANNOUNCEMENT`](crate::limits::ANNOUNCEMENT) |

mod reading;
mod splitter;
mod watch;
mod writer;

pub(super) use reading::tell_oddities;
pub use reading::{Content, Reading};
pub use splitter::{Piece, Splitter};
pub use watch::{Look, StalePolicy, Stat, Step, Watch};
pub use writer::{Task, Writer, encode};

/// The line that separates records.
const MARK: &[u8] = b"%%%";

#[cfg(test)]
mod tests;
