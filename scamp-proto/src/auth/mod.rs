//! Who may do what: fingerprints, authorized services, tickets, the authorization table.
//!
//! A peer is known by its [`Fingerprint`]; [`AuthorizedServices`] says what its holder may provide.
//! A caller is known by a [`Ticket`], and counts once that is a [`VerifiedTicket`]; the [`Table`]
//! says which privileges an action asks of it. Signatures are checked and made through the two
//! traits [`Verify`] and [`Sign`], so that this crate needs no cryptographic library of its own.

pub mod authorized;
pub mod der;
mod fingerprint;
pub mod pem;
mod seam;
pub mod table;
pub mod ticket;

use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

pub use authorized::{AuthorizedFile, AuthorizedServices};
pub use der::PublicKey;
pub use fingerprint::{Fingerprint, FingerprintError};
pub use seam::{Padding, Sign, SignError, Verify};
pub use table::{Table, TableState};
pub use ticket::{Ticket, TicketCache, TicketError, TicketKeys, VerifiedTicket};

/// Base64 of the standard alphabet, padded or not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
