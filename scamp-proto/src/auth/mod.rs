//! Who may do what: fingerprints, and the keys behind them.
//!
//! A peer is known by its [`Fingerprint`]. Signatures are checked and made through the two traits
//! [`Verify`] and [`Sign`], so that this crate needs no cryptographic library of its own.

pub mod authorized;
pub mod der;
mod fingerprint;
mod seam;

pub use authorized::{AuthorizedFile, AuthorizedServices};
pub use der::PublicKey;
pub use fingerprint::{Fingerprint, FingerprintError};
pub use seam::{Padding, Sign, SignError, Verify};
