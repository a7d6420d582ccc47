//! One service that may be asked.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt;

use bytes::Bytes;

use super::action::{ActionRef, Envelopes};
use super::body::{Body, Timestamp};
use super::{Announcement, AnnouncementError, Description, UnixTime, Uri};
use crate::auth::Fingerprint;

/// A service that may be asked: announced, or known from elsewhere (D-46).
#[derive(Clone)]
pub struct Instance {
    source: Source,
}

#[derive(Clone)]
enum Source {
    /// Read from the cache file, and only as good as the file is fresh.
    Cache(Arc<Announcement>),
    /// Heard on the network; it goes when nothing more is heard of it.
    Heard(Arc<Announcement>),
    Fixed(Box<Fixed>),
}

#[derive(Clone)]
struct Fixed {
    body: Body,
    fingerprint: Fingerprint,
    certificate: Option<Bytes>,
}

impl Instance {
    /// A service that the cache file lists.
    pub fn from_cache(announcement: Arc<Announcement>) -> Self {
        Self {
            source: Source::Cache(announcement),
        }
    }

    /// A service that announced itself to this program.
    pub fn heard(announcement: Arc<Announcement>) -> Self {
        Self {
            source: Source::Heard(announcement),
        }
    }

    /// A service that the application knows of; it never expires (D-46).
    ///
    /// What the description says counts like an announcement, authorization included.
    ///
    /// # Errors
    ///
    /// [`AnnouncementError`] if it could not be announced like this.
    pub fn fixed(
        description: &Description,
        fingerprint: Fingerprint,
        certificate: Option<Bytes>,
    ) -> Result<Self, AnnouncementError> {
        let json = description.json(UnixTime::default());
        let bad = |error: core::str::Utf8Error| AnnouncementError::NotJson {
            at: error.valid_up_to(),
        };
        let json: Box<str> = core::str::from_utf8(&json).map_err(bad)?.into();
        let len = json.len();
        let fixed = Fixed {
            body: Body::parse(json, len)?,
            fingerprint,
            certificate,
        };
        Ok(Self {
            source: Source::Fixed(Box::new(fixed)),
        })
    }

    /// What its certificate is known by.
    pub fn fingerprint(&self) -> Fingerprint {
        match &self.source {
            Source::Cache(announcement) | Source::Heard(announcement) => announcement.fingerprint(),
            Source::Fixed(fixed) => fixed.fingerprint,
        }
    }

    /// Its name for itself.
    pub fn identity(&self) -> &str {
        self.body().identity()
    }

    /// Where it listens.
    pub fn uri(&self) -> &Uri {
        self.body().uri()
    }

    /// How much of the requests it wants; 0 means none at all.
    pub fn weight(&self) -> f64 {
        self.body().weight()
    }

    /// Its sector.
    pub fn sector(&self) -> &str {
        self.body().sector()
    }

    /// Its envelopes.
    pub fn envelopes(&self) -> Envelopes<'_> {
        self.body().envelopes()
    }

    /// When it was announced.
    pub fn timestamp(&self) -> Timestamp {
        self.body().timestamp()
    }

    /// The DER of its certificate, where that is known (HD-11).
    pub fn certificate(&self) -> Option<Bytes> {
        match &self.source {
            Source::Cache(announcement) | Source::Heard(announcement) => {
                Some(announcement.certificate())
            }
            Source::Fixed(fixed) => fixed.certificate.clone(),
        }
    }

    /// Its announcement, if it was announced.
    pub fn announcement(&self) -> Option<&Arc<Announcement>> {
        match &self.source {
            Source::Cache(announcement) | Source::Heard(announcement) => Some(announcement),
            Source::Fixed(_) => None,
        }
    }

    /// Its actions in their order.
    pub fn actions(&self) -> impl Iterator<Item = ActionRef<'_>> {
        (0..self.action_count()).filter_map(|index| self.action(index))
    }

    /// Whether `text` names it: its identity, or `fingerprint#identity` (D-43).
    pub fn is_named(&self, text: &str) -> bool {
        text == self.identity()
            || text.split_once('#').is_some_and(|(fingerprint, identity)| {
                identity == self.identity() && fingerprint.parse() == Ok(self.fingerprint())
            })
    }

    /// Whether it is listed by the cache file, and so as old as that.
    pub fn is_from_cache(&self) -> bool {
        matches!(self.source, Source::Cache(_))
    }

    pub(super) fn action_count(&self) -> u32 {
        self.body().action_count()
    }

    pub(super) fn action(&self, index: u32) -> Option<ActionRef<'_>> {
        self.body().action(index)
    }

    fn body(&self) -> &Body {
        match &self.source {
            Source::Cache(announcement) | Source::Heard(announcement) => announcement.body(),
            Source::Fixed(fixed) => &fixed.body,
        }
    }
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}#{} at {}",
            self.fingerprint(),
            self.identity(),
            self.uri()
        )
    }
}
