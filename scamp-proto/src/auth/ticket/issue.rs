//! Making tickets, for tests and tools.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use thiserror::Error;

use super::Ticket;
use crate::auth::{Sign, SignError};
use crate::limits;

impl Ticket {
    /// The ticket as it is sent, signed with `key`: privileges in ascending order, nothing extra (T-8).
    ///
    /// # Errors
    ///
    /// [`IssueError`].
    pub fn issue(&self, key: &dyn Sign) -> Result<String, IssueError> {
        if self.start < 0 || self.ttl < 0 {
            return Err(IssueError::NegativeTime);
        }
        let mut text = format!(
            "1,{},{},{},{}",
            self.user_id, self.client_id, self.start, self.ttl
        );
        if let Some(privileges) = &self.privileges {
            let privileges: Vec<_> = privileges.iter().map(u64::to_string).collect();
            text.push(',');
            text.push_str(&privileges.join("+"));
        }
        let signature = key.sign(text.as_bytes())?;
        text.push(',');
        URL_SAFE_NO_PAD.encode_string(signature, &mut text);
        match text.len() {
            0..=limits::TICKET => Ok(text),
            octets => Err(IssueError::TooLong(octets)),
        }
    }
}

/// Why a ticket cannot be issued.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum IssueError {
    /// A ticket has no way to say a time before 1970, or a negative length.
    #[error("start and length of a ticket cannot be negative")]
    NegativeTime,
    /// The key makes no such signature.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// Nobody would look at it.
    #[error("a ticket of {0} octets is too long; {max} is the most", max = limits::TICKET)]
    TooLong(usize),
}
