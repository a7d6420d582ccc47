//! What one service tells the world, signed.
//!
//! ```text
//! announcement = json LF LF certificate LF signature LF
//! ```
//!
//! An [`Unverified`] text is split into its parts and nothing more; what its JSON says can only be
//! had from the [`Announcement`] that [`Unverified::verify`] makes of it (D-6).

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use memchr::{memchr, memchr_iter};

use super::action::{ActionRef, Envelopes};
use super::body::{BadAction, Body, Timestamp};
use super::{AnnouncementError, Uri};
use crate::auth::{Fingerprint, Padding, PublicKey, Verify};
use crate::limits::{ANNOUNCEMENT, SIGNING_KEY_LEAST, SIGNING_KEY_MOST};

/// An announcement whose signature is good.
///
/// Its texts stay where they stand in the announcement's own text, and the vectors of version 4 are
/// not expanded, so it takes little more memory than its text.
#[derive(Clone)]
pub struct Announcement {
    body: Body,
    fingerprint: Fingerprint,
    /// Where the certificate stands.
    certificate: core::ops::Range<u32>,
    has_more: bool,
}

impl Announcement {
    /// What the certificate's owner is known by.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The DER of the certificate, for comparison with the one a peer shows (HD-11).
    ///
    /// It is decoded anew each time; connections are opened rarely.
    pub fn certificate(&self) -> Bytes {
        let index = |at| usize::try_from(at).unwrap_or(usize::MAX);
        let range = index(self.certificate.start)..index(self.certificate.end);
        let pem = self.text().get(range).unwrap_or_default();
        // It could be read once, so it can be read again.
        read_certificate(pem.as_bytes()).map_or_else(|_| Bytes::new(), |(der, _)| der)
    }

    /// The service's name for itself, which means something together with the fingerprint only.
    pub fn identity(&self) -> &str {
        self.body.identity()
    }

    /// The sector of the service, and of those actions that have none of their own.
    pub fn sector(&self) -> &str {
        self.body.sector()
    }

    /// How much of the requests it wants, compared with others; 0 withdraws it (D-24).
    pub fn weight(&self) -> f64 {
        self.body.weight()
    }

    /// Whether it withdraws its service.
    pub fn is_withdrawal(&self) -> bool {
        self.weight() <= 0.0
    }

    /// The time to the next one, as announced; zero is possible.
    pub fn interval(&self) -> Duration {
        self.body.interval()
    }

    /// Where the service listens.
    pub fn uri(&self) -> &Uri {
        self.body.uri()
    }

    /// The envelopes of those actions that have none of their own.
    pub fn envelopes(&self) -> Envelopes<'_> {
        self.body.envelopes()
    }

    /// When it was made.
    pub fn timestamp(&self) -> Timestamp {
        self.body.timestamp()
    }

    /// The text, as it was signed and received.
    pub fn text(&self) -> &str {
        self.body.text()
    }

    /// The actions in their order, those of version 3 first.
    pub fn actions(&self) -> impl Iterator<Item = ActionRef<'_>> {
        (0..self.action_count()).filter_map(|index| self.action(index))
    }

    /// How many actions it claims; some of them may be left out of [`actions`](Self::actions).
    pub fn action_count(&self) -> u32 {
        self.body.action_count()
    }

    /// The action at an index below [`action_count`](Self::action_count), unless it is left out.
    pub fn action(&self, index: u32) -> Option<ActionRef<'_>> {
        self.body.action(index)
    }

    /// The first actions that were left out as bad, and how many there are in all (D-11).
    pub fn bad_actions(&self) -> (&[BadAction], u32) {
        self.body.bad_actions()
    }

    /// Whether something follows the signature, which is ignored (D-3).
    pub fn has_more(&self) -> bool {
        self.has_more
    }

    pub(super) fn body(&self) -> &Body {
        &self.body
    }

    /// Octets of memory that it takes, itself included.
    pub fn memory(&self) -> usize {
        size_of::<Self>().saturating_add(self.body.memory())
    }
}

impl fmt::Debug for Announcement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Announcement")
            .field("identity", &self.identity())
            .field("fingerprint", &self.fingerprint)
            .field("weight", &self.weight())
            .field("uri", &self.uri())
            .field("actions", &self.action_count())
            .finish_non_exhaustive()
    }
}

/// A text that has the parts of an announcement; whether the signature fits is not known.
///
/// # Example
///
/// ```
/// use scamp_proto::auth::{Padding, PublicKey, Verify};
/// use scamp_proto::discovery::{AnnouncementError, Unverified};
///
/// struct Nobody;
/// impl Verify for Nobody {
///     fn verify(&self, _: &PublicKey<'_>, _: Padding, _: &[u8], _: &[u8]) -> bool {
///         false
///     }
/// }
///
/// let text = include_bytes!("../../tests/data/e13.txt");
/// let unverified = Unverified::split(text)?;
/// assert_eq!(
///     unverified.fingerprint().to_string(),
///     "78:CA:21:FA:B2:36:96:66:B2:F0:FC:3F:D0:BD:AD:E5:34:D4:E5:62"
/// );
/// assert_eq!(unverified.verify(&Nobody).unwrap_err(), AnnouncementError::WrongSignature);
/// # Ok::<(), AnnouncementError>(())
/// ```
#[derive(Clone)]
pub struct Unverified {
    text: Box<str>,
    json_len: usize,
    certificate: core::ops::Range<u32>,
    der: Bytes,
    signature: Vec<u8>,
    fingerprint: Fingerprint,
    has_more: bool,
}

impl Unverified {
    /// Splits a text into JSON, certificate and signature, and decodes the latter two (D-1…D-5).
    ///
    /// The JSON is not looked at. Of the three parts the last may end with the text. What follows
    /// them is ignored. If that is no UTF-8 it is left out of the text, too.
    ///
    /// # Errors
    ///
    /// [`AnnouncementError`] names the part that is missing or malformed.
    pub fn split(text: &[u8]) -> Result<Self, AnnouncementError> {
        Self::split_with(text, None)
    }

    /// The same for one of many texts, which often have a certificate in common.
    pub(super) fn split_with(
        text: &[u8],
        certificates: Option<&mut Certificates>,
    ) -> Result<Self, AnnouncementError> {
        if text.len() > ANNOUNCEMENT {
            return Err(AnnouncementError::TooLong);
        }
        let missing = AnnouncementError::Missing;
        let (json, rest) = split_at_gap(text).ok_or(missing("certificate"))?;
        let (certificate, rest) = split_at_gap(rest).ok_or(missing("signature"))?;
        let (signature, more) = split_at_gap(rest).unwrap_or((rest, b""));
        let begin = json.len().saturating_add(GAP.len());
        let end = begin.saturating_add(certificate.len());
        let (der, fingerprint) = match certificates {
            Some(certificates) => certificates.read(certificate)?,
            None => read_certificate(certificate)?,
        };
        let signature = decode_base64(signature).ok_or(AnnouncementError::BadSignatureText)?;
        let text = match core::str::from_utf8(text) {
            Ok(text) => text,
            Err(_) => {
                let parts = text.get(..text.len().saturating_sub(more.len()));
                core::str::from_utf8(parts.unwrap_or_default()).map_err(|error| {
                    AnnouncementError::NotJson {
                        at: error.valid_up_to(),
                    }
                })?
            }
        };
        let offset = |at| u32::try_from(at).unwrap_or(u32::MAX);
        Ok(Self {
            text: text.into(),
            json_len: json.len(),
            certificate: offset(begin)..offset(end),
            fingerprint,
            der,
            signature,
            has_more: !more.trim_ascii().is_empty(),
        })
    }

    /// Whose signature it should be.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The text, as received.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The size of the key in the certificate, which decides what verifying costs; `None` if it is
    /// not RSA.
    pub fn key_bits(&self) -> Option<usize> {
        PublicKey::of_certificate(&self.der)?.rsa_bits()
    }

    /// Checks the signature, RSASSA-PKCS1-v1_5 with SHA-256 over the JSON (D-8), then reads the JSON.
    ///
    /// The certificate's own signature, dates and names are not looked at.
    ///
    /// # Errors
    ///
    /// [`AnnouncementError`] names what is wrong with the key, the signature or the JSON.
    pub fn verify(self, verify: &dyn Verify) -> Result<Announcement, AnnouncementError> {
        self.verify_with(verify, &[Padding::Pkcs1])
    }

    /// The same, where a signature in PSS is as good (`discovery.accept_pss`).
    ///
    /// # Errors
    ///
    /// As [`verify`](Self::verify).
    pub fn verify_or_pss(self, verify: &dyn Verify) -> Result<Announcement, AnnouncementError> {
        self.verify_with(verify, &[Padding::Pkcs1, Padding::Pss])
    }

    fn verify_with(
        self,
        verify: &dyn Verify,
        paddings: &[Padding],
    ) -> Result<Announcement, AnnouncementError> {
        let bad = AnnouncementError::BadCertificate("it is no X.509");
        let key = PublicKey::of_certificate(&self.der).ok_or(bad)?;
        let bits = key.rsa_bits().ok_or(AnnouncementError::NotRsa)?;
        if !(SIGNING_KEY_LEAST..=SIGNING_KEY_MOST).contains(&bits) {
            return Err(AnnouncementError::KeySize { bits });
        }
        let json = self
            .text
            .as_bytes()
            .get(..self.json_len)
            .unwrap_or_default();
        let fits = |padding: &Padding| verify.verify(&key, *padding, json, &self.signature);
        match paddings.iter().any(fits) {
            true => self.trusted(),
            false => Err(AnnouncementError::WrongSignature),
        }
    }

    /// Reads the JSON of a text whose signature is known to be good.
    pub(super) fn trusted(self) -> Result<Announcement, AnnouncementError> {
        Ok(Announcement {
            body: Body::parse(self.text, self.json_len)?,
            fingerprint: self.fingerprint,
            certificate: self.certificate,
            has_more: self.has_more,
        })
    }
}

impl fmt::Debug for Unverified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unverified")
            .field("fingerprint", &self.fingerprint)
            .field("octets", &self.text.len())
            .finish_non_exhaustive()
    }
}

/// The certificates read last, so that reading many texts does not decode one again and again.
#[derive(Debug, Default)]
pub(super) struct Certificates {
    known: BTreeMap<Box<[u8]>, (Bytes, Fingerprint)>,
}

impl Certificates {
    fn read(&mut self, part: &[u8]) -> Result<(Bytes, Fingerprint), AnnouncementError> {
        if let Some(known) = self.known.get(part) {
            return Ok(known.clone());
        }
        let read = read_certificate(part)?;
        if self.known.len() >= CERTIFICATES {
            self.known.clear();
        }
        self.known.insert(part.into(), read.clone());
        Ok(read)
    }
}

/// What stands before the first empty line, and what follows it.
fn split_at_gap(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut ends = memchr_iter(b'\n', text);
    let at = ends.find(|end| text.get(end.saturating_add(1)) == Some(&b'\n'))?;
    let (part, rest) = text.split_at_checked(at)?;
    Some((part, rest.get(GAP.len()..)?))
}

/// The DER of the one certificate that a part consists of, and its fingerprint (D-3, D-4).
fn read_certificate(part: &[u8]) -> Result<(Bytes, Fingerprint), AnnouncementError> {
    let bad = AnnouncementError::BadCertificate;
    let base64 = part
        .trim_ascii()
        .strip_prefix(BEGIN)
        .ok_or(bad("it does not begin with BEGIN CERTIFICATE"))?
        .strip_suffix(END)
        .ok_or(bad("it does not end with END CERTIFICATE"))?;
    if base64.contains(&b'-') {
        return Err(bad("there is more than one"));
    }
    let der = decode_base64(base64).ok_or(bad("it is not base64"))?;
    match PublicKey::of_certificate(&der) {
        Some(_) => {
            let fingerprint = Fingerprint::of(&der);
            Ok((der.into(), fingerprint))
        }
        None => Err(bad("it is no X.509")),
    }
}

/// Base64 with padding, white space within it skipped.
fn decode_base64(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.trim_ascii();
    // Lines are all of one length, but for the last.
    let width = memchr(b'\n', text).map_or(text.len(), |end| end.saturating_add(1));
    let mut dense = Vec::with_capacity(text.len());
    for line in text.chunks(width.max(1)) {
        dense.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
    }
    STANDARD.decode(&dense).ok().or_else(|| {
        dense.retain(|octet| !octet.is_ascii_whitespace());
        STANDARD.decode(&dense).ok()
    })
}

/// Certificates remembered while a file is read.
const CERTIFICATES: usize = 256;
const GAP: &[u8] = b"\n\n";
pub(super) const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";
pub(super) const END: &[u8] = b"-----END CERTIFICATE-----";
