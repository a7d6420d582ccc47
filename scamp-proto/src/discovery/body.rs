//! What an announcement says: the JSON of its first part, read.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::time::Duration;

use super::Uri;
use super::action::{ActionRef, Envelopes, Flags, List};
use super::error::{ActionFault, AnnouncementError};
use super::json::{Cursor, Kind, Quoted, whole};
use super::vector::{Draft, Extension, checked_version, name_fault, namespace_fault, sector_fault};
use crate::limits::{ANNOUNCEMENT_ACTIONS, ANNOUNCEMENT_TEXT, BAD_ACTIONS};

/// A service as its JSON describes it; most texts stay where they stand.
#[derive(Clone, Debug)]
pub(super) struct Body {
    /// Begins with the JSON; what follows is the announcement's.
    text: Box<str>,
    /// Those texts that had escapes, without them.
    extra: Box<str>,
    identity: Span,
    sector: Span,
    weight: f64,
    interval: Duration,
    uri: Uri,
    envelopes: Box<[Span]>,
    timestamp: Timestamp,
    namespaces: Box<[Span]>,
    actions: Box<[Plain]>,
    extension: Option<Box<Extension>>,
    bad_actions: Box<[BadAction]>,
    bad_action_count: u32,
}

/// An action of element 7, in the service's sector and with its envelopes.
#[derive(Clone, Copy, Debug)]
struct Plain {
    namespace: u32,
    name: Span,
    flags: Span,
    version: u32,
}

/// A stretch of the texts. What begins beyond the text is in `extra`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Span {
    pub(super) at: u32,
    pub(super) len: u16,
}

/// An action that was left out (D-11).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BadAction {
    /// Which of the announcement's actions, counted from 0.
    pub index: u32,
    /// Why.
    pub fault: ActionFault,
}

/// When an announcement was made, by its maker's clock and in its maker's unit (D-9, D-21).
///
/// It is compared with others of the same service and with nothing else.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timestamp(f64);

impl Timestamp {
    /// The number as it was announced: seconds from Perl, Go and RS, milliseconds from JS and C#.
    pub fn number(self) -> f64 {
        self.0
    }

    /// Seconds since 1970, if a number that large is taken for milliseconds (D-22).
    pub fn seconds(self) -> f64 {
        // In milliseconds this is 1973, in seconds the year 5138.
        if self.0 >= 1e11 {
            self.0 / 1000.0
        } else {
            self.0
        }
    }
}

impl Eq for Timestamp {}

impl Ord for Timestamp {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Timestamp {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Body {
    /// Reads the JSON that `text` begins with.
    pub(super) fn parse(text: Box<str>, json_len: usize) -> Result<Self, AnnouncementError> {
        let json = text.get(..json_len).unwrap_or_default();
        let mut reader = Reader {
            json,
            beyond: text.len(),
            extra: String::new(),
            service: Service::default(),
        };
        let mut cursor = Cursor::new(json);
        match cursor.kind()? {
            Kind::Array => reader.version_3(&mut cursor)?,
            Kind::Object => reader.version_4(&mut cursor)?,
            _ => return Err(AnnouncementError::BadVersion),
        }
        cursor.end()?;
        let Reader { extra, service, .. } = reader;
        service.finish(text, extra)
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn identity(&self) -> &str {
        self.texts().of(self.identity)
    }

    pub(super) fn sector(&self) -> &str {
        self.texts().of(self.sector)
    }

    pub(super) fn weight(&self) -> f64 {
        self.weight
    }

    pub(super) fn interval(&self) -> Duration {
        self.interval
    }

    pub(super) fn uri(&self) -> &Uri {
        &self.uri
    }

    pub(super) fn timestamp(&self) -> Timestamp {
        self.timestamp
    }

    pub(super) fn envelopes(&self) -> Envelopes<'_> {
        Envelopes(List::Spans(self.texts(), &self.envelopes))
    }

    pub(super) fn bad_actions(&self) -> (&[BadAction], u32) {
        (&self.bad_actions, self.bad_action_count)
    }

    /// How many actions there are, run lengths summed and those left out included.
    pub(super) fn action_count(&self) -> u32 {
        self.plain_count().saturating_add(
            self.extension
                .as_ref()
                .map_or(0, |extension| extension.len()),
        )
    }

    /// The action at an index below [`action_count`](Self::action_count), unless it is left out.
    pub(super) fn action(&self, index: u32) -> Option<ActionRef<'_>> {
        let texts = self.texts();
        let Some(beyond) = index.checked_sub(self.plain_count()) else {
            let plain = self.actions.get(usize::try_from(index).ok()?)?;
            let namespace = self
                .namespaces
                .get(usize::try_from(plain.namespace).ok()?)?;
            return Some(ActionRef {
                sector: self.sector(),
                namespace: texts.of(*namespace),
                name: texts.of(plain.name),
                version: plain.version,
                flags: Flags(texts.of(plain.flags)),
                envelopes: self.envelopes(),
            });
        };
        let row = self.extension.as_ref()?.row(beyond)?;
        Some(ActionRef {
            sector: texts.of(row.sector),
            namespace: texts.of(row.namespace),
            name: texts.of(row.name),
            version: row.version,
            flags: Flags(texts.of(row.flags)),
            envelopes: Envelopes(List::Commas(texts.of(row.envelopes))),
        })
    }

    /// Octets of memory beside this value itself.
    pub(super) fn memory(&self) -> usize {
        let extension = match &self.extension {
            Some(extension) => size_of::<Extension>().saturating_add(extension.memory()),
            None => 0,
        };
        [
            self.text.len(),
            self.extra.len(),
            size_of_val(&*self.envelopes),
            size_of_val(&*self.namespaces),
            size_of_val(&*self.actions),
            extension,
            size_of_val(&*self.bad_actions),
        ]
        .into_iter()
        .fold(0, usize::saturating_add)
    }

    fn plain_count(&self) -> u32 {
        u32::try_from(self.actions.len()).unwrap_or(u32::MAX)
    }

    fn texts(&self) -> Texts<'_> {
        Texts {
            text: &self.text,
            extra: &self.extra,
        }
    }
}

/// What spans are stretches of.
#[derive(Clone, Copy)]
pub(super) struct Texts<'a> {
    text: &'a str,
    extra: &'a str,
}

impl<'a> Texts<'a> {
    pub(super) fn of(&self, span: Span) -> &'a str {
        slice(self.text, self.extra, self.text.len(), span)
    }
}

fn slice<'a>(text: &'a str, extra: &'a str, beyond: usize, span: Span) -> &'a str {
    let at = usize::try_from(span.at).unwrap_or(usize::MAX);
    let (whole, at) = match at.checked_sub(beyond) {
        None => (text, at),
        Some(at) => (extra, at),
    };
    whole
        .get(at..at.saturating_add(usize::from(span.len)))
        .unwrap_or_default()
}

/// The reading of one JSON.
pub(super) struct Reader<'a> {
    json: &'a str,
    /// Where spans of `extra` begin: the length of the whole announcement.
    beyond: usize,
    extra: String,
    service: Service,
}

/// What has been read so far.
#[derive(Default)]
struct Service {
    identity: Option<Span>,
    sector: Option<Span>,
    sector_is_bad: bool,
    weight: Option<f64>,
    interval: Option<Duration>,
    uri: Option<Uri>,
    envelopes: Option<Vec<Span>>,
    timestamp: Option<Timestamp>,
    namespaces: Vec<Span>,
    actions: Vec<Plain>,
    extension: Option<Extension>,
    bad: Bad,
    count: u32,
}

/// The actions left out.
#[derive(Default)]
struct Bad {
    actions: Vec<BadAction>,
    count: u32,
}

impl Bad {
    fn note(&mut self, index: u32, count: u32, fault: ActionFault) {
        self.count = self.count.saturating_add(count);
        if self.actions.len() < BAD_ACTIONS {
            self.actions.push(BadAction { index, fault });
        }
    }
}

impl Service {
    fn finish(mut self, text: Box<str>, extra: String) -> Result<Body, AnnouncementError> {
        let field = AnnouncementError::BadField;
        if self.sector_is_bad && !self.actions.is_empty() {
            self.actions.clear();
            self.bad.note(0, self.count, ActionFault::Sector);
        }
        if let Some(extension) = &self.extension {
            let count = self.count.saturating_add(extension.len());
            if count > ANNOUNCEMENT_ACTIONS {
                return Err(AnnouncementError::TooManyActions);
            }
            for (index, count, fault) in extension.faults() {
                let index = index.saturating_add(self.count);
                self.bad.note(index, count, fault);
            }
        }
        Ok(Body {
            text,
            extra: extra.into_boxed_str(),
            identity: self.identity.ok_or(field("identity"))?,
            sector: self.sector.ok_or(field("sector"))?,
            weight: self.weight.ok_or(field("weight"))?,
            interval: self.interval.ok_or(field("interval"))?,
            uri: self.uri.ok_or(field("address"))?,
            envelopes: self.envelopes.ok_or(field("list of envelopes"))?.into(),
            timestamp: self.timestamp.ok_or(field("timestamp"))?,
            namespaces: self.namespaces.into_boxed_slice(),
            actions: self.actions.into_boxed_slice(),
            extension: self.extension.map(Box::new),
            bad_actions: self.bad.actions.into_boxed_slice(),
            bad_action_count: self.bad.count,
        })
    }
}

impl<'a> Reader<'a> {
    /// D-9: an array of exactly nine elements.
    fn version_3(&mut self, cursor: &mut Cursor<'a>) -> Result<(), AnnouncementError> {
        let elements = cursor.array(|cursor, index| match index {
            0 => match cursor.kind()? {
                Kind::Number if whole(cursor.number()?) == Some(3) => Ok(()),
                _ => Err(AnnouncementError::BadVersion),
            },
            1 => self.identity(cursor),
            2 => self.sector(cursor),
            3 => self.weight(cursor),
            4 => self.interval(cursor),
            5 => self.uri(cursor),
            6 => self.envelopes(cursor),
            7 => self.actions(cursor),
            8 => self.timestamp(cursor),
            _ => Err(AnnouncementError::BadField("number of elements")),
        })?;
        match elements {
            9 => Ok(()),
            _ => Err(AnnouncementError::BadField("number of elements")),
        }
    }

    /// D-15: an object, of which nothing counts if its version is a later one.
    fn version_4(&mut self, cursor: &mut Cursor<'a>) -> Result<(), AnnouncementError> {
        let mut version = None;
        cursor.clone().object(|cursor, key| {
            match cursor.kind()? {
                Kind::Number if key.is("vmaj") => version = whole(cursor.number()?),
                _ => cursor.skip()?,
            }
            Ok::<(), AnnouncementError>(())
        })?;
        match version {
            None => return Err(AnnouncementError::BadVersion),
            Some(version) if version > 4 => return Err(AnnouncementError::TooNew(version)),
            Some(_) => {}
        }
        // What only element 7 needs may be left out with it.
        self.service.sector = Some(Span::default());
        self.service.envelopes = Some(Vec::new());
        let mut extension = Draft::default();
        let mut has_sector = false;
        cursor.object(|cursor, key| {
            if extension.take(self, cursor, &key)? {
                return Ok(());
            }
            let is = |name| key.is(name);
            match () {
                () if is("ident") => self.identity(cursor),
                () if is("sector") => {
                    has_sector = true;
                    self.sector(cursor)
                }
                () if is("wgt") => self.weight(cursor),
                () if is("intvl") => self.interval(cursor),
                () if is("uri") => self.uri(cursor),
                () if is("env") => self.envelopes(cursor),
                () if is("v3actions") => self.actions(cursor),
                () if is("ts") => self.timestamp(cursor),
                () => Ok(cursor.skip()?),
            }
        })?;
        if !has_sector && !self.service.actions.is_empty() {
            return Err(AnnouncementError::BadField("sector"));
        }
        self.service.extension = extension.finish()?;
        Ok(())
    }

    fn identity(&mut self, cursor: &mut Cursor<'a>) -> Result<(), AnnouncementError> {
        let identity = self.text(cursor, "identity")?;
        if identity.len == 0 {
            return Err(AnnouncementError::BadField("identity"));
        }
        self.service.identity = Some(identity);
        Ok(())
    }

    fn sector(&mut self, cursor: &mut Cursor<'a>) -> Result<(), AnnouncementError> {
        let sector = self.text(cursor, "sector")?;
        self.service.sector_is_bad = sector_fault(self.of(sector)).is_some();
        self.service.sector = Some(sector);
        Ok(())
    }

    fn weight(&mut self, cursor: &mut Cursor<'a>) -> Result<(), AnnouncementError> {
        self.service.weight = Some(positive(cursor, "weight")?);
        Ok(())
    }

    /// Zero is taken, as every peer does: what counts is when the next one comes (D-22).
    fn interval(&mut self, cursor: &mut Cursor<'a>) -> Result<(), AnnouncementError> {
        let milliseconds = positive(cursor, "interval")?;
        let interval = Duration::try_from_secs_f64(milliseconds / 1000.0);
        self.service.interval = Some(interval.unwrap_or(Duration::MAX));
        Ok(())
    }

    fn uri(&mut self, cursor: &mut Cursor<'a>) -> Result<(), AnnouncementError> {
        let uri = self.text(cursor, "address")?;
        self.service.uri = Some(self.of(uri).parse()?);
        Ok(())
    }

    /// D-12: texts, and after them maybe an object.
    fn envelopes(&mut self, cursor: &mut Cursor<'a>) -> Result<(), AnnouncementError> {
        let bad = AnnouncementError::BadField("list of envelopes");
        if cursor.kind()? != Kind::Array {
            return Err(bad);
        }
        let mut envelopes = Vec::new();
        let mut ended = false;
        cursor.array(|cursor, _| match cursor.kind()? {
            _ if ended => Err(bad),
            Kind::String => {
                envelopes.push(self.text(cursor, "list of envelopes")?);
                Ok(())
            }
            Kind::Object => {
                ended = true;
                let mut extension = Draft::default();
                cursor.object(|cursor, key| match extension.take(self, cursor, &key)? {
                    true => Ok(()),
                    false => Ok::<(), AnnouncementError>(cursor.skip()?),
                })?;
                self.service.extension = extension.finish()?;
                Ok(())
            }
            _ => Err(bad),
        })?;
        self.service.envelopes = Some(envelopes);
        Ok(())
    }

    fn timestamp(&mut self, cursor: &mut Cursor<'a>) -> Result<(), AnnouncementError> {
        let timestamp = number(cursor, "timestamp")?;
        // Two spellings of zero would be two times.
        self.service.timestamp = Some(Timestamp(timestamp + 0.0));
        Ok(())
    }

    /// D-10: lists that begin with a namespace, and go on with actions.
    fn actions(&mut self, cursor: &mut Cursor<'a>) -> Result<(), AnnouncementError> {
        match cursor.kind()? {
            Kind::Null => return Ok(cursor.null()?),
            Kind::Array => {}
            _ => return Err(AnnouncementError::BadField("list of actions")),
        }
        // Most services have about as many; the excess is given back.
        self.service.actions.reserve(16);
        cursor.array(|cursor, _| match cursor.kind()? {
            Kind::Array => self.namespace(cursor),
            _ => {
                self.next_action()?;
                self.bad(ActionFault::Form);
                Ok(cursor.skip()?)
            }
        })?;
        Ok(())
    }

    fn namespace(&mut self, cursor: &mut Cursor<'a>) -> Result<(), AnnouncementError> {
        let mut place = Err(ActionFault::Form);
        cursor.array(|cursor, index| {
            if index > 0 {
                self.next_action()?;
                return match (cursor.kind()?, place) {
                    (Kind::Array, Ok(place)) => self.action(cursor, place),
                    (_, place) => {
                        self.bad(place.err().unwrap_or(ActionFault::Form));
                        Ok(cursor.skip()?)
                    }
                };
            }
            match cursor.kind()? {
                Kind::String => {
                    let span = self.span(&cursor.string()?)?;
                    place = match namespace_fault(self.of(span)) {
                        Some(fault) => Err(fault),
                        None => {
                            let place = u32::try_from(self.service.namespaces.len());
                            self.service.namespaces.push(span);
                            Ok(place.unwrap_or(u32::MAX))
                        }
                    };
                    Ok(())
                }
                _ => Ok::<(), AnnouncementError>(cursor.skip()?),
            }
        })?;
        Ok(())
    }

    /// `[name, flags?, version?]`
    fn action(&mut self, cursor: &mut Cursor<'a>, namespace: u32) -> Result<(), AnnouncementError> {
        let mut fault = None;
        let mut name = None;
        let mut flags = Span::default();
        let mut version = 1;
        cursor.array(|cursor, index| {
            match (index, cursor.kind()?) {
                (0, Kind::String) => name = Some(self.span(&cursor.string()?)?),
                (1, Kind::String) => flags = self.span(&cursor.string()?)?,
                (1 | 2, Kind::Null) => cursor.null()?,
                (2, Kind::Number | Kind::String) => match read_version(cursor)? {
                    Some(number) => version = number,
                    None => fault = Some(ActionFault::Version),
                },
                (_, _) => {
                    fault = match index {
                        0 => Some(ActionFault::Form),
                        1 => Some(ActionFault::Flags),
                        2 => Some(ActionFault::Version),
                        _ => fault,
                    };
                    cursor.skip()?;
                }
            }
            Ok::<(), AnnouncementError>(())
        })?;
        let name = name.ok_or(ActionFault::Form);
        let name = name.and_then(|name| match name_fault(self.of(name)).or(fault) {
            Some(fault) => Err(fault),
            None => Ok(name),
        });
        match name {
            Ok(name) => self.service.actions.push(Plain {
                namespace,
                name,
                flags,
                version,
            }),
            Err(fault) => self.bad(fault),
        }
        Ok(())
    }

    /// Counts one more action (D-5).
    fn next_action(&mut self) -> Result<(), AnnouncementError> {
        let count = self.service.count.saturating_add(1);
        self.service.count = count;
        match count > ANNOUNCEMENT_ACTIONS {
            true => Err(AnnouncementError::TooManyActions),
            false => Ok(()),
        }
    }

    /// Leaves out the action counted last.
    fn bad(&mut self, fault: ActionFault) {
        let index = self.service.count.saturating_sub(1);
        self.service.bad.note(index, 1, fault);
    }

    fn text(
        &mut self,
        cursor: &mut Cursor<'a>,
        field: &'static str,
    ) -> Result<Span, AnnouncementError> {
        match cursor.kind()? {
            Kind::String => self.span(&cursor.string()?),
            _ => Err(AnnouncementError::BadField(field)),
        }
    }

    /// Where the text stands, or will from now on.
    pub(super) fn span(&mut self, quoted: &Quoted<'a>) -> Result<Span, AnnouncementError> {
        let (at, len) = match quoted.escaped {
            false => (quoted.at, quoted.raw.len()),
            true => {
                let begin = self.extra.len();
                quoted.unescape(&mut self.extra);
                let len = self.extra.len().saturating_sub(begin);
                (begin.saturating_add(self.beyond), len)
            }
        };
        match (u32::try_from(at), u16::try_from(len)) {
            (Ok(at), Ok(short)) if len <= ANNOUNCEMENT_TEXT => Ok(Span { at, len: short }),
            _ => Err(AnnouncementError::TextTooLong),
        }
    }

    pub(super) fn of(&self, span: Span) -> &str {
        slice(self.json, &self.extra, self.beyond, span)
    }
}

/// A version: a whole number, or decimal digits in quotes; `None` if it is another one (D-10).
fn read_version(cursor: &mut Cursor<'_>) -> Result<Option<u32>, AnnouncementError> {
    let version = match cursor.kind()? {
        Kind::Number => whole(cursor.number()?),
        _ => {
            let quoted = cursor.string()?;
            let digits = quoted.raw.iter().all(u8::is_ascii_digit);
            let text = core::str::from_utf8(quoted.raw).ok();
            text.filter(|_| digits).and_then(|text| text.parse().ok())
        }
    };
    Ok(version.and_then(checked_version))
}

/// A finite number.
fn number(cursor: &mut Cursor<'_>, field: &'static str) -> Result<f64, AnnouncementError> {
    let bad = AnnouncementError::BadField(field);
    match cursor.kind()? {
        Kind::Number => {
            let number: f64 = cursor.number()?.parse().map_err(|_| bad)?;
            number.is_finite().then_some(number).ok_or(bad)
        }
        _ => Err(bad),
    }
}

/// A finite number that is not below zero.
fn positive(cursor: &mut Cursor<'_>, field: &'static str) -> Result<f64, AnnouncementError> {
    let number = number(cursor, field)?;
    match number >= 0.0 {
        // Without the sign that a zero may have.
        true => Ok(number + 0.0),
        false => Err(AnnouncementError::BadField(field)),
    }
}
