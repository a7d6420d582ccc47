//! What can be wrong with an announcement.

use thiserror::Error;

use super::UriError;
use super::json::Fault;
use crate::limits::{
    ANNOUNCEMENT, ANNOUNCEMENT_ACTIONS, ANNOUNCEMENT_DEPTH, ANNOUNCEMENT_TEXT, SIGNING_KEY_LEAST,
    SIGNING_KEY_MOST,
};

/// Why a text is not taken for an announcement.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum AnnouncementError {
    /// The second part is not one certificate in PEM (D-4).
    #[error("its certificate cannot be read: {0}")]
    BadCertificate(&'static str),
    /// A field of the service has another form than it should (D-9).
    #[error("its {0} cannot be used")]
    BadField(&'static str),
    /// The third part is not base64.
    #[error("its signature is not base64")]
    BadSignatureText,
    /// The address is none (D-9).
    #[error("its address cannot be used: {0}")]
    BadUri(#[from] UriError),
    /// One of the vectors of version 4 is malformed, or has another length than the names (D-13).
    #[error("its vector {0} cannot be used")]
    BadVector(&'static str),
    /// The form is neither version 3 nor version 4.
    #[error("it is of no version known here")]
    BadVersion,
    /// The JSON nests too deeply (D-5).
    #[error("its JSON has more than {ANNOUNCEMENT_DEPTH} levels")]
    JsonTooDeep,
    /// The RSA key is of a size that nobody verifies (D-8).
    #[error("its key has {bits} bits; {SIGNING_KEY_LEAST} to {SIGNING_KEY_MOST} are taken")]
    KeySize {
        /// The size found.
        bits: usize,
    },
    /// A part is missing: the certificate or the signature (D-3).
    #[error("its {0} is missing")]
    Missing(&'static str),
    /// The first part is no JSON (D-9).
    #[error("its JSON is malformed at octet {at}")]
    NotJson {
        /// Where.
        at: usize,
    },
    /// The certificate's key is not RSA (D-8).
    #[error("its key is not RSA")]
    NotRsa,
    /// The certificate is on no list, so its signature was not looked at (HD-35).
    #[error("its certificate is not listed in authorized_services")]
    NotListed,
    /// One of the texts in the JSON is too long (D-5).
    #[error("a text in its JSON has more than {ANNOUNCEMENT_TEXT} octets")]
    TextTooLong,
    /// More than the inflater or anybody else gives room for (D-5).
    #[error("it has more than {ANNOUNCEMENT} octets")]
    TooLong,
    /// More actions than one service may have, run lengths summed (D-5).
    #[error("it has more than {ANNOUNCEMENT_ACTIONS} actions")]
    TooManyActions,
    /// A later major version, which is nobody's fault (D-15).
    #[error("it is of version {0}, which is not known here")]
    TooNew(u64),
    /// The signature is not that of the certificate's owner over this JSON (D-8).
    #[error("its signature does not fit")]
    WrongSignature,
}

impl From<Fault> for AnnouncementError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Syntax(at) => Self::NotJson { at },
            Fault::TooDeep => Self::JsonTooDeep,
            Fault::TooLong => Self::TextTooLong,
        }
    }
}

/// Why an action of an announcement is left out; the others are not touched (D-11).
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum ActionFault {
    /// The flags are not a text.
    #[error("its flags are not a text")]
    Flags,
    /// It is not a list that begins with a name.
    #[error("it is not a list that begins with a name")]
    Form,
    /// The name is empty, or has a `:` or a `.` in it.
    #[error("its name is empty or has a colon or a dot in it")]
    Name,
    /// The namespace is empty, or has a `:` in it.
    #[error("its namespace is empty or has a colon in it")]
    Namespace,
    /// The sector has a `:` in it.
    #[error("its sector has a colon in it")]
    Sector,
    /// The version is not a number from 1 to 2 147 483 647.
    #[error("its version is not a number from 1 to 2147483647")]
    Version,
}
