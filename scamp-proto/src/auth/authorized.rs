//! Which certificate may provide which actions: the file `authorized_services`.
//!
//! It is the only defence against any host that can reach the multicast group, so nothing in it is
//! guessed at: what cannot be read allows nothing.
//!
//! ```text
//! # fingerprint, then what it may provide: prefixes of Namespace.name, in a sector or in `main`
//! 01:02:…:14  config, web:ALL, api.product:read
//! ```
//!
//! # Limits
//!
//! | What | Bound | Set by |
//! | --- | --- | --- |
//! | the file, in octets | 16 MiB | [`AUTHORIZED_FILE`] |
//! | its lines | 65 536 | [`AUTHORIZED_LINES`] |
//! | one line, in octets | 1 MiB | [`AUTHORIZED_LINE`] |
//!
//! What is beyond a limit is ignored, with an event.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use super::Fingerprint;
use crate::limits::{AUTHORIZED_FILE, AUTHORIZED_LINE, AUTHORIZED_LINES, AUTHORIZED_TOKEN};

/// Who may provide what, ready to be asked.
///
/// # Example
///
/// ```
/// use scamp_proto::auth::{AuthorizedServices, Fingerprint};
///
/// let text = b"A9:99:3E:36:47:06:81:6A:BA:3E:25:71:78:50:C2:6C:9C:D0:D8:9D  config, web:ALL # ours";
/// let services = AuthorizedServices::parse(text, &mut |event| panic!("{event}"));
/// let ours = Fingerprint::of(b"abc");
/// assert!(services.allows(&ours, "main", "Config", "get"));
/// assert!(services.allows(&ours, "web", "Page.Home", "render"));
/// assert!(!services.allows(&ours, "main", "Configs", "get"));
/// assert!(!services.allows(&Fingerprint::of(b"stranger"), "main", "Config", "get"));
/// ```
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct AuthorizedServices {
    rule: Rule,
    /// By fingerprint, each once.
    lines: Vec<Line>,
    /// The tokens of all lines, one after the other, as [`Tokens`] reads them.
    tokens: Vec<u8>,
}

/// What holds beside the lines.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Rule {
    #[default]
    Listed,
    /// Metadata may come from anyone (Z-6, `auth.meta_for_all`).
    MetaForAll,
    Everything,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Line {
    fingerprint: Fingerprint,
    tokens: Range<usize>,
}

impl AuthorizedServices {
    /// Nobody may provide anything.
    pub fn none() -> Self {
        Self::default()
    }

    /// Everybody may provide everything: for tests, and never by configuration (Z-7).
    pub fn allow_all() -> Self {
        Self {
            rule: Rule::Everything,
            ..Self::default()
        }
    }

    /// Reads the file's text. What cannot be used is told to `on_event`, and allows nothing.
    pub fn parse(text: &[u8], on_event: &mut dyn FnMut(Event)) -> Self {
        parse(text, on_event).0
    }

    /// Lets anyone at all answer for metadata, as Perl, JS and RS do (Z-6, `auth.meta_for_all`).
    pub fn meta_for_all(self) -> Self {
        Self {
            rule: match self.rule {
                Rule::Listed | Rule::MetaForAll => Rule::MetaForAll,
                Rule::Everything => Rule::Everything,
            },
            ..self
        }
    }

    /// Whether the holder of this certificate may provide this action.
    ///
    /// ASCII case is ignored; nothing is allocated. The names are those of the announcement, never
    /// an alias or the caller's spelling (Z-10).
    pub fn allows(
        &self,
        fingerprint: &Fingerprint,
        sector: &str,
        namespace: &str,
        name: &str,
    ) -> bool {
        if [sector, namespace, name]
            .iter()
            .any(|part| part.contains(':'))
        {
            return false;
        }
        match self.rule {
            Rule::Everything => return true,
            Rule::MetaForAll if is_meta(namespace) => return true,
            Rule::Listed | Rule::MetaForAll => {}
        }
        self.tokens_of(fingerprint).is_some_and(|mut tokens| {
            is_meta(namespace) || tokens.any(|token| token.allows(sector, namespace, name))
        })
    }

    /// Whether the file has a line for this certificate, whatever the line says.
    pub fn lists(&self, fingerprint: &Fingerprint) -> bool {
        self.rule == Rule::Everything || self.tokens_of(fingerprint).is_some()
    }

    /// How many certificates are listed.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether no certificate is listed.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    fn tokens_of(&self, fingerprint: &Fingerprint) -> Option<Tokens<'_>> {
        let at = self
            .lines
            .binary_search_by(|line| line.fingerprint.cmp(fingerprint))
            .ok()?;
        self.tokens
            .get(self.lines.get(at)?.tokens.clone())
            .map(Tokens)
    }

    /// Takes away what the same certificates could not do `before`, from all lines or from one.
    fn withhold_what_is_new(&mut self, before: &Self, only: Option<Fingerprint>) {
        let mut tokens = Vec::new();
        self.lines.retain_mut(|line| {
            let begin = tokens.len();
            let mine = Tokens(self.tokens.get(line.tokens.clone()).unwrap_or_default());
            if only.is_some_and(|only| only != line.fingerprint) {
                tokens.extend_from_slice(mine.0);
            } else {
                let Some(known) = before.tokens_of(&line.fingerprint) else {
                    return false;
                };
                // Both may be long: sorted, so that this is not their product (HD-5).
                let mut known: Vec<_> = known.collect();
                known.sort_unstable();
                mine.filter(|token| known.binary_search(token).is_ok())
                    .for_each(|token| token.encode(&mut tokens));
            }
            line.tokens = begin..tokens.len();
            true
        });
        self.tokens = tokens;
    }
}

/// The file, as it is found from time to time: what counts until the next look (Z-7, Z-9).
///
/// A file that was readable and is not any more goes on counting; one that is gone allows nothing.
/// A file that seems half written, since it is a mere beginning of what it was or its last line does
/// not end, takes rights away and gives no new ones until it is whole (F-47).
///
/// # Example
///
/// ```
/// use scamp_proto::auth::authorized::{AuthorizedFile, Content};
/// use scamp_proto::auth::Fingerprint;
///
/// let mut file = AuthorizedFile::new();
/// let text = b"A9:99:3E:36:47:06:81:6A:BA:3E:25:71:78:50:C2:6C:9C:D0:D8:9D config\n";
/// assert!(file.look(Content::Text(text), &mut |event| println!("{event}")));
/// assert!(!file.look(Content::Unreadable, &mut |event| println!("{event}")));
/// assert!(file.current().lists(&Fingerprint::of(b"abc")));
/// assert!(file.look(Content::Absent, &mut |event| println!("{event}")));
/// assert!(!file.current().lists(&Fingerprint::of(b"abc")));
/// ```
#[derive(Clone, Debug, Default)]
pub struct AuthorizedFile {
    meta_for_all: bool,
    current: Arc<AuthorizedServices>,
    text: Vec<u8>,
    found: Found,
}

/// How the last look went.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Found {
    #[default]
    NotLooked,
    Text,
    Absent,
    Unreadable,
}

/// What is found where the file should be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Content<'a> {
    /// The whole text.
    Text(&'a [u8]),
    /// There is no file.
    Absent,
    /// There is something that cannot be read.
    Unreadable,
}

impl AuthorizedFile {
    /// A file not yet looked at: nothing is allowed.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets anyone answer for metadata (Z-6, `auth.meta_for_all`).
    pub fn meta_for_all(self) -> Self {
        Self {
            meta_for_all: true,
            current: Arc::new(AuthorizedServices::none().meta_for_all()),
            ..self
        }
    }

    /// Takes note of what the file is now, and says whether anything changed.
    ///
    /// That it is absent or unreadable is one event, not one for each look.
    pub fn look(&mut self, content: Content<'_>, on_event: &mut dyn FnMut(Event)) -> bool {
        let found = match content {
            Content::Text(_) => Found::Text,
            Content::Absent => Found::Absent,
            Content::Unreadable => Found::Unreadable,
        };
        let before = core::mem::replace(&mut self.found, found);
        match content {
            Content::Text(text) => {
                if self.text == text && (before == Found::Text || !text.is_empty()) {
                    return false;
                }
                self.take(text, on_event);
            }
            Content::Absent => {
                if before == found {
                    return false;
                }
                on_event(Event::of_file(What::Absent));
                self.text = Vec::new();
                self.set(AuthorizedServices::none());
            }
            Content::Unreadable => {
                if before != found {
                    on_event(Event::of_file(What::Unreadable));
                }
                return false;
            }
        }
        true
    }

    /// What counts now.
    pub fn current(&self) -> &Arc<AuthorizedServices> {
        &self.current
    }

    fn take(&mut self, text: &[u8], on_event: &mut dyn FnMut(Event)) {
        let (mut services, unfinished) = parse(text, on_event);
        if self.text.starts_with(text) && !self.text.is_empty() {
            on_event(Event::of_file(What::Shortened));
            services.withhold_what_is_new(&self.current, None);
        } else if let (Some((line, fingerprint)), false) = (unfinished, self.text.is_empty()) {
            on_event(Event {
                line,
                what: What::Unfinished,
            });
            services.withhold_what_is_new(&self.current, Some(fingerprint));
        }
        self.text = text.to_vec();
        self.set(services);
    }

    fn set(&mut self, services: AuthorizedServices) {
        self.current = Arc::new(match self.meta_for_all {
            true => services.meta_for_all(),
            false => services,
        });
    }
}

/// Something about the file that somebody should look at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Event {
    /// Which line, from 1; 0 where it is about the whole file.
    pub line: usize,
    /// What there is to tell.
    pub what: What,
}

/// What an [`Event`] tells.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum What {
    /// There is no file, so nothing is allowed (Z-7).
    Absent,
    /// A bare `ALL` is a prefix like any other; everything in `main` would be `main:ALL` (Z-3).
    BareAll,
    /// An earlier line has the same fingerprint, and no longer counts (Z-8).
    Duplicate,
    /// A limit acted; what is beyond it is ignored. The limit in octets or lines (Z-11).
    LimitHit(usize),
    /// The first word is no fingerprint; the line is ignored (Z-1).
    NotAFingerprint,
    /// The file is a mere beginning of what it was: it gives no new rights (F-47).
    Shortened,
    /// The last line has no line feed and changed: it gives no new rights until it has one (F-47).
    Unfinished,
    /// The file cannot be read; what it said before goes on counting (Z-7).
    Unreadable,
}

impl Event {
    fn of_file(what: What) -> Self {
        Self { line: 0, what }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "authorized services: {}", self.what),
            line => write!(f, "authorized services, line {line}: {}", self.what),
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Absent => "the file is absent, so nothing is authorized",
            Self::BareAll => "ALL without a sector means the namespace ALL; did you mean main:ALL?",
            Self::Duplicate => {
                "the fingerprint is listed before; this line replaces the earlier one"
            }
            Self::LimitHit(limit) => return write!(f, "more than {limit}; the excess is ignored"),
            Self::NotAFingerprint => {
                "the line does not begin with a fingerprint of 20 hex octets with colons"
            }
            Self::Shortened => "the file seems cut short; it gives no new rights",
            Self::Unfinished => {
                "the line does not end with a line feed; it gives no new rights yet"
            }
            Self::Unreadable => "the file cannot be read; what it said before goes on counting",
        })
    }
}

/// The services, and the number and fingerprint of a last line that does not end.
fn parse(
    text: &[u8],
    on_event: &mut dyn FnMut(Event),
) -> (AuthorizedServices, Option<(usize, Fingerprint)>) {
    let text = whole_lines(text, on_event);
    let ends = text.last().is_none_or(|octet| *octet == b'\n');
    let text = text.strip_prefix(BOM).unwrap_or(text);
    let mut reader = Reader::default();
    let mut lines = text.split_inclusive(|octet| *octet == b'\n').zip(1..);
    let mut last = None;
    for (line, number) in lines.by_ref().take(AUTHORIZED_LINES) {
        let mut event = |what| on_event(Event { line: number, what });
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        last = match line.len() {
            0..=AUTHORIZED_LINE => reader.take(number, line, &mut event),
            _ => {
                event(What::LimitHit(AUTHORIZED_LINE));
                None
            }
        }
        .map(|fingerprint| (number, fingerprint));
    }
    let excess = lines.next();
    if let Some((_, line)) = excess {
        let what = What::LimitHit(AUTHORIZED_LINES);
        on_event(Event { line, what });
    }
    let unfinished = last.filter(|_| !ends && excess.is_none());
    (reader.finish(on_event), unfinished)
}

/// As much of the text as is looked at, to the end of a line.
fn whole_lines<'a>(text: &'a [u8], on_event: &mut dyn FnMut(Event)) -> &'a [u8] {
    match text.split_at_checked(AUTHORIZED_FILE) {
        None | Some((_, [])) => text,
        Some((first, _)) => {
            on_event(Event::of_file(What::LimitHit(AUTHORIZED_FILE)));
            let end = first.iter().rposition(|octet| *octet == b'\n');
            end.and_then(|end| first.get(..=end)).unwrap_or_default()
        }
    }
}

/// The lines so far, in their order.
#[derive(Default)]
struct Reader {
    lines: Vec<(Line, usize)>,
    tokens: Vec<u8>,
}

impl Reader {
    /// Takes a line, and returns its fingerprint if it has one (Z-1).
    fn take(
        &mut self,
        number: usize,
        line: &[u8],
        event: &mut dyn FnMut(What),
    ) -> Option<Fingerprint> {
        let line = line.split(|octet| *octet == b'#').next()?.trim_ascii();
        if line.is_empty() {
            return None;
        }
        let word_end = line.iter().position(u8::is_ascii_whitespace);
        let (word, tokens) = line.split_at_checked(word_end.unwrap_or(line.len()))?;
        let fingerprint = core::str::from_utf8(word)
            .ok()
            .filter(|word| word.contains(':'))
            .and_then(|word| word.parse().ok());
        let Some(fingerprint) = fingerprint else {
            event(What::NotAFingerprint);
            return None;
        };
        let begin = self.tokens.len();
        for token in tokens.split(|octet| *octet == b',').map(<[u8]>::trim_ascii) {
            if token.len() > AUTHORIZED_TOKEN {
                event(What::LimitHit(AUTHORIZED_TOKEN));
            } else if let Some(token) = Token::parse(token) {
                if token == Token::BARE_ALL {
                    event(What::BareAll);
                }
                token.encode(&mut self.tokens);
            }
        }
        let tokens = begin..self.tokens.len();
        let line = Line {
            fingerprint,
            tokens,
        };
        self.lines.push((line, number));
        Some(fingerprint)
    }

    /// The services: of several lines with one fingerprint the last (Z-8).
    fn finish(mut self, on_event: &mut dyn FnMut(Event)) -> AuthorizedServices {
        self.lines
            .sort_unstable_by_key(|(line, number)| (line.fingerprint, *number));
        let mut replacing = Vec::new();
        self.lines.dedup_by(|later, kept| {
            let same = later.0.fingerprint == kept.0.fingerprint;
            if same {
                replacing.push(later.1);
                core::mem::swap(later, kept);
            }
            same
        });
        replacing.sort_unstable();
        for line in replacing {
            let what = What::Duplicate;
            on_event(Event { line, what });
        }
        AuthorizedServices {
            rule: Rule::Listed,
            lines: self.lines.into_iter().map(|(line, _)| line).collect(),
            tokens: self.tokens,
        }
    }
}

/// What one token of a line allows.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Token<'a> {
    sector: &'a [u8],
    prefix: Prefix<'a>,
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Prefix<'a> {
    All,
    Literal(&'a [u8]),
}

impl<'a> Token<'a> {
    const BARE_ALL: Token<'static> = Token {
        sector: MAIN,
        prefix: Prefix::Literal(ALL),
    };

    /// Z-2, Z-3; `None` if there is nothing in it.
    fn parse(text: &'a [u8]) -> Option<Self> {
        let colon = text.iter().position(|octet| *octet == b':');
        match colon.map(|colon| text.split_at(colon)) {
            None if text.is_empty() => None,
            None => Some(Self {
                sector: MAIN,
                prefix: Prefix::Literal(text),
            }),
            Some((sector, rest)) => {
                let prefix = match rest.split_first()?.1 {
                    ALL => Prefix::All,
                    prefix => Prefix::Literal(prefix),
                };
                Some(Self { sector, prefix })
            }
        }
    }

    /// Z-4, for names without a colon.
    fn allows(&self, sector: &str, namespace: &str, name: &str) -> bool {
        if !self.sector.eq_ignore_ascii_case(sector.as_bytes()) {
            return false;
        }
        let Prefix::Literal(prefix) = self.prefix else {
            return true;
        };
        let mut action = namespace.bytes().chain([b'.']).chain(name.bytes());
        prefix.iter().all(|octet| {
            action
                .next()
                .is_some_and(|other| other.eq_ignore_ascii_case(octet))
        }) && matches!(action.next(), None | Some(b'.'))
    }

    /// Writes the token as [`Tokens`] reads it: two lengths and two texts.
    fn encode(&self, out: &mut Vec<u8>) {
        let (len, prefix) = match self.prefix {
            Prefix::All => (EVERYTHING, &[][..]),
            // At most AUTHORIZED_TOKEN, which is far below.
            Prefix::Literal(prefix) => (u16::try_from(prefix.len()).unwrap_or(0), prefix),
        };
        let (sector_len, sector) = match self.sector {
            MAIN => (IN_MAIN, &[][..]),
            sector => (u16::try_from(sector.len()).unwrap_or(0), sector),
        };
        out.extend_from_slice(&sector_len.to_le_bytes());
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(sector);
        out.extend_from_slice(prefix);
    }
}

/// The tokens of one line, as they are kept: without a pointer for each.
struct Tokens<'a>(&'a [u8]);

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        let (sector_len, rest) = self.0.split_first_chunk()?;
        let (len, rest) = rest.split_first_chunk()?;
        let (sector, rest) = match u16::from_le_bytes(*sector_len) {
            IN_MAIN => (MAIN, rest),
            len => rest.split_at_checked(len.into())?,
        };
        let (prefix, rest) = match u16::from_le_bytes(*len) {
            EVERYTHING => (Prefix::All, rest),
            len => {
                let (prefix, rest) = rest.split_at_checked(len.into())?;
                (Prefix::Literal(prefix), rest)
            }
        };
        self.0 = rest;
        Some(Token { sector, prefix })
    }
}

/// Z-6
fn is_meta(namespace: &str) -> bool {
    match namespace.as_bytes().split_at_checked(META.len()) {
        Some((space, rest)) => {
            space.eq_ignore_ascii_case(META) && matches!(rest.first(), None | Some(b'.'))
        }
        None => false,
    }
}

const ALL: &[u8] = b"ALL";
const BOM: &[u8] = b"\xEF\xBB\xBF";
const MAIN: &[u8] = b"main";
const META: &[u8] = b"_meta";

/// The length that stands for a prefix of everything.
const EVERYTHING: u16 = u16::MAX;

/// The length that stands for the sector `main`.
const IN_MAIN: u16 = u16::MAX;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
