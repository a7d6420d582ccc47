//! The keys that tickets are verified with.

use alloc::vec::Vec;
use core::time::Duration;

use alloc::sync::Arc;
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use super::{Digest, Parts, Ticket, TicketError, Verified, VerifiedTicket, trim};
use crate::auth::{Padding, PublicKey, Verify, der, pem};
use crate::limits::{TICKET_KEY_FILE, TICKET_KEYS};

/// The keys of those who may issue tickets; several while one takes over from another (T-6).
///
/// # Example
///
/// ```
/// use core::time::Duration;
/// use scamp_proto::auth::{TicketError, TicketKeys, Verify};
///
/// fn admit(ticket: &str, pem: &[u8], rsa: &dyn Verify, unix_now: i64) -> Result<u64, TicketError> {
///     let keys = TicketKeys::from_pem(pem).expect("a key of ours");
///     let ticket = keys.verify(ticket, unix_now, Duration::ZERO, rsa)?;
///     Ok(ticket.user_id())
/// }
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TicketKeys(Vec<Key>);

#[derive(Clone, Debug, Eq, PartialEq)]
struct Key {
    info: Vec<u8>,
    digest: Digest,
}

impl TicketKeys {
    /// Reads keys from PEM: every `PUBLIC KEY` and `RSA PUBLIC KEY`, and the first `CERTIFICATE`.
    ///
    /// # Errors
    ///
    /// [`TicketKeyError`]; one key that cannot be used spoils the text.
    pub fn from_pem(text: impl AsRef<[u8]>) -> Result<Self, TicketKeyError> {
        let text = text.as_ref();
        if text.len() > TICKET_KEY_FILE {
            return Err(TicketKeyError::TooLarge);
        }
        let mut keys = Self(Vec::new());
        let mut certificate_seen = false;
        for section in pem::sections(text) {
            let info = match section.label {
                "PUBLIC KEY" => section.decode(),
                "RSA PUBLIC KEY" => section.decode().and_then(|key| der::rsa_key_info(&key)),
                "CERTIFICATE" if !certificate_seen => {
                    certificate_seen = true;
                    section.decode().and_then(|certificate| {
                        Some(PublicKey::of_certificate(&certificate)?.whole.to_vec())
                    })
                }
                _ => continue,
            };
            keys.add(info.ok_or(TicketKeyError::Unreadable)?)?;
        }
        match keys.0.is_empty() {
            true => Err(TicketKeyError::NoKey),
            false => Ok(keys),
        }
    }

    /// These keys and those.
    ///
    /// # Errors
    ///
    /// [`TicketKeyError::TooMany`].
    pub fn and(mut self, others: Self) -> Result<Self, TicketKeyError> {
        for key in others.0 {
            self.add(key.info)?;
        }
        Ok(self)
    }

    /// How many keys there are; at least one.
    #[expect(clippy::len_without_is_empty, reason = "there is always a key")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Judges a ticket (T-5): its length, form, signature, version, fields and time, in this order.
    ///
    /// `unix_now` is the time of day in seconds after 1970; `skew` is how far the issuer's clock may
    /// be from ours (`ticket.clock_skew`).
    ///
    /// # Errors
    ///
    /// [`TicketError`]; the peer is to be told less.
    pub fn verify(
        &self,
        text: &str,
        unix_now: i64,
        skew: Duration,
        rsa: &dyn Verify,
    ) -> Result<VerifiedTicket, TicketError> {
        let parts = Parts::split(text)?;
        let signature = parts.signature()?;
        let key = self
            .0
            .iter()
            .find(|key| key.verifies(parts.body, &signature, rsa))
            .ok_or(TicketError::BadSignature)?;
        let ticket = Ticket::decode_body(parts.body)?;
        ticket.check_time(unix_now, skew)?;
        Ok(VerifiedTicket(Arc::new(Verified {
            ticket,
            text: Sha256::digest(trim(text)?).into(),
            key: key.digest,
        })))
    }

    /// Whether the key with this digest is one of them.
    pub(super) fn has(&self, digest: &Digest) -> bool {
        self.0.iter().any(|key| key.digest == *digest)
    }

    fn add(&mut self, info: Vec<u8>) -> Result<(), TicketKeyError> {
        let key = PublicKey::parse(&info).ok_or(TicketKeyError::Unreadable)?;
        let bits = key.rsa_bits().ok_or(TicketKeyError::NotRsa)?;
        if !(SMALLEST..=LARGEST).contains(&bits) {
            return Err(TicketKeyError::Size { bits });
        }
        if key.rsa_exponent().is_none_or(|exponent| exponent < 3) {
            return Err(TicketKeyError::Exponent);
        }
        let digest = Sha256::digest(&info).into();
        if self.has(&digest) {
            return Ok(());
        }
        if self.0.len() >= TICKET_KEYS {
            return Err(TicketKeyError::TooMany);
        }
        self.0.push(Key { info, digest });
        Ok(())
    }
}

impl Key {
    fn verifies(&self, body: &str, signature: &[u8], rsa: &dyn Verify) -> bool {
        PublicKey::parse(&self.info)
            .is_some_and(|key| rsa.verify(&key, Padding::Pkcs1, body.as_bytes(), signature))
    }
}

/// Why a text makes no [`TicketKeys`]. Keys in force stay in force (T-6).
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum TicketKeyError {
    /// The exponent is below three, so that anyone could sign, or beyond all use.
    #[error("ticket key has a public exponent below 3 or over 64 bits")]
    Exponent,
    /// There is no key in the text.
    #[error("no ticket key found (expected PEM, `-----BEGIN PUBLIC KEY-----`)")]
    NoKey,
    /// The key is of another kind.
    #[error("ticket key is not an RSA key")]
    NotRsa,
    /// The key is too small, or larger than can be verified with.
    #[error("ticket key has {bits} bits; it must have {SMALLEST} to {LARGEST}")]
    Size {
        /// Its size in bits.
        bits: usize,
    },
    /// The text is longer than any key file.
    #[error("ticket key file is over {TICKET_KEY_FILE} octets")]
    TooLarge,
    /// There are more keys than would be tried for each wrong ticket.
    #[error("more than {TICKET_KEYS} ticket keys")]
    TooMany,
    /// The text between the marks is no key.
    #[error("ticket key cannot be read")]
    Unreadable,
}

/// Bits of the smallest key (T-6).
const SMALLEST: usize = 2048;

/// Bits of the largest key (T-6).
const LARGEST: usize = 8192;
