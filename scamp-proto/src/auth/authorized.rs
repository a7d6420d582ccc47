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
mod tests {
    use std::format;
    use std::string::{String, ToString};
    use std::vec;

    use proptest::prelude::*;

    use super::*;

    const ONE: &str = "01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14";
    const TWO: &str = "FF:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14";

    fn one() -> Fingerprint {
        ONE.parse().unwrap()
    }

    fn two() -> Fingerprint {
        TWO.parse().unwrap()
    }

    fn read(text: impl AsRef<[u8]>) -> (AuthorizedServices, Vec<Event>) {
        let mut events = Vec::new();
        let services = AuthorizedServices::parse(text.as_ref(), &mut |event| events.push(event));
        (services, events)
    }

    /// `sector:namespace.name`, where the sector may have dots and the name has none.
    fn allows(services: &AuthorizedServices, fingerprint: &Fingerprint, action: &str) -> bool {
        let (sector, action) = action.split_once(':').unwrap();
        let (namespace, name) = action.rsplit_once('.').unwrap_or(("", action));
        services.allows(fingerprint, sector, namespace, name)
    }

    fn at(line: usize, what: What) -> Event {
        Event { line, what }
    }

    /// E-16, Z-2, Z-3, Z-4, Z-6, N-52: the specification's example.
    #[test]
    fn the_example_of_the_specification() {
        let (services, events) = read(format!(
            "# comment\n{ONE}  config, constant, web:ALL, api.product:read , bg:Job\n"
        ));
        assert_eq!(events, vec![]);
        for (action, allowed) in [
            ("main:config.get", true),
            ("main:CONFIG.get", true),
            ("main:configs.get", false),
            ("web:anything.at.all", true),
            ("website:x.y", false),
            ("api.product:read.x", true),
            ("bg:job.run", true),
            ("bg:job.x.run", true),
            ("bg:Jobs.run", false),
            ("main:_meta.documentation", true),
            ("xmain:config.get", false),
            ("domain:config.get", false),
            ("main:xconfig.get", false),
        ] {
            assert_eq!(allows(&services, &one(), action), allowed, "{action}");
            assert!(!allows(&services, &two(), action), "{action} by another");
        }
        assert!(services.lists(&one()) && !services.lists(&two()));
    }

    /// Z-3, N-38: `ALL` counts alone behind a colon, in capitals, and nowhere else.
    #[test]
    fn all_is_a_whole_prefix() {
        let (services, events) = read(format!(
            "{ONE} ALL, web:ALLIANCE, up:all, two:x:ALL, deep:Deep.ALL, :ALL"
        ));
        assert_eq!(events, vec![at(1, What::BareAll)]);
        for (action, allowed) in [
            ("main:ALL.x", true),
            ("main:x.y", false),
            ("web:x.y", false),
            ("web:ALLIANCE.x", true),
            ("web:IANCE.x", false),
            ("up:x.y", false),
            ("up:all.y", true),
            ("two:x.y", false),
            ("deep:Deep.x", false),
            ("deep:Deep.ALL.x", true),
            (":x.y", true),
        ] {
            assert_eq!(allows(&services, &one(), action), allowed, "{action}");
        }
    }

    /// Z-5: a colon in any part is never authorized, not even for metadata or in tests.
    #[test]
    fn no_colons() {
        let (services, _) = read(format!("{ONE} a:ALL, x:y"));
        for services in [services, AuthorizedServices::allow_all()] {
            for (sector, namespace, name) in [
                ("a:b", "x", "y"),
                ("a", "x:y", "z"),
                ("a", "x", "y:z"),
                ("a", "_meta", "y:z"),
            ] {
                assert!(!services.allows(&one(), sector, namespace, name));
            }
            assert!(services.allows(&one(), "a", "x", "y"));
        }
    }

    /// Z-6: metadata is for those who are listed, or for all if so configured.
    #[test]
    fn metadata() {
        let (services, _) = read(ONE);
        for (action, meta) in [
            ("main:_meta.documentation", true),
            ("web:_META.x", true),
            ("main:_meta.a.b", true),
            ("main:_metal.x", false),
            ("main:x._meta", false),
        ] {
            assert_eq!(allows(&services, &one(), action), meta, "{action}");
            assert!(!allows(&services, &two(), action), "{action}");
            let for_all = services.clone().meta_for_all();
            assert_eq!(allows(&for_all, &two(), action), meta, "{action}");
        }
        assert!(!services.meta_for_all().lists(&two()));
    }

    /// Z-1: blanks, comments, carriage returns, an order mark, and lines that are none.
    #[test]
    fn lines() {
        let text = format!(
            "\u{FEFF}{} a ,, b,# c\r\n\n#\n  {TWO}\tx\r\n0102 y\n{} z\nnot-one\n",
            ONE.to_lowercase(),
            ONE.replace(':', "")
        );
        let (services, events) = read(text);
        let wrong = [5, 6, 7].map(|line| at(line, What::NotAFingerprint));
        assert_eq!(events, wrong);
        assert_eq!(services.len(), 2);
        for action in ["main:a.x", "main:b.x"] {
            assert!(allows(&services, &one(), action));
        }
        assert!(!allows(&services, &one(), "main:z.x") && allows(&services, &two(), "main:x.x"));
        let (services, events) = read(b"\xFF\xFE \x80\n");
        assert_eq!(events, vec![at(1, What::NotAFingerprint)]);
        assert!(services.is_empty());
    }

    /// Z-8: the last line of a fingerprint wins, whole.
    #[test]
    fn the_last_line_wins() {
        let (services, events) = read(format!("{ONE} a\n{TWO} b\n{ONE} c\n{ONE} d\n"));
        assert_eq!(events, vec![at(3, What::Duplicate), at(4, What::Duplicate)]);
        let (one, two) = (one(), two());
        let allowed = ["a", "b", "c", "d"]
            .map(|space| [&one, &two].map(|who| services.allows(who, "main", space, "x")));
        assert_eq!(
            allowed,
            [[false, false], [false, true], [false, false], [true, false]]
        );
    }

    /// Z-7, N-12: without a file nothing is allowed; all is allowed only if code says so.
    #[test]
    fn nothing_without_a_file() {
        let none = AuthorizedServices::none();
        assert!(!none.allows(&one(), "main", "x", "y") && !none.lists(&one()));
        assert!(!none.allows(&one(), "main", "_meta", "y"));
        let all = AuthorizedServices::allow_all().meta_for_all();
        assert!(all.allows(&one(), "main", "x", "y") && all.lists(&one()));
    }

    /// Z-11, HD-15: the file, its lines and a line, each at its limit and one beyond.
    #[test]
    fn limits_act_at_their_value() {
        let mut text = format!("{ONE} a");
        let line = |len: usize, text: &str| format!("{text}{}", " ".repeat(len - text.len()));
        let (services, events) = read(line(AUTHORIZED_LINE, &text) + "\n");
        assert_eq!((services.len(), events), (1, vec![]));
        let (services, events) = read(line(AUTHORIZED_LINE + 1, &text) + "\n");
        assert_eq!(services.len(), 0);
        assert_eq!(events, vec![at(1, What::LimitHit(AUTHORIZED_LINE))]);

        let lines = "\n".repeat(AUTHORIZED_LINES - 1);
        assert_eq!(read(format!("{lines}{text}\n")).1, vec![]);
        let (services, events) = read(format!("{lines}\n{text}\n"));
        assert_eq!(services.len(), 0);
        let excess = What::LimitHit(AUTHORIZED_LINES);
        assert_eq!(events, vec![at(AUTHORIZED_LINES + 1, excess)]);

        text.push('\n');
        let comments = format!("#{}\n", "x".repeat(AUTHORIZED_LINE - 2)).repeat(15);
        let rest = AUTHORIZED_FILE - comments.len();
        let file = comments.clone() + &line(rest - 1, "#") + "\n";
        assert_eq!(file.len(), AUTHORIZED_FILE);
        assert_eq!(read(&file).1, vec![]);
        let file = comments + &line(rest - text.len(), "#") + "\n" + &text;
        assert_eq!(file.len(), AUTHORIZED_FILE + 1);
        let (services, events) = read(&file);
        assert_eq!(events, vec![at(0, What::LimitHit(AUTHORIZED_FILE))]);
        assert_eq!(
            services.len(),
            0,
            "a line beyond the limit is not half taken"
        );

        let token = "x".repeat(AUTHORIZED_TOKEN);
        let (services, events) = read(format!("{ONE} {token}, y"));
        assert!(events.is_empty() && allows(&services, &one(), &format!("main:{token}.x")));
        let (services, events) = read(format!("{ONE} {token}x, y"));
        assert_eq!(events, vec![at(1, What::LimitHit(AUTHORIZED_TOKEN))]);
        assert!(!allows(&services, &one(), &format!("main:{token}x.x")));
        assert!(allows(&services, &one(), "main:y.x"));
    }

    /// The file over time, with the events of each look.
    struct Looks {
        file: AuthorizedFile,
        events: Vec<What>,
    }

    impl Looks {
        fn new() -> Self {
            Self {
                file: AuthorizedFile::new(),
                events: Vec::new(),
            }
        }

        fn look(&mut self, content: Content<'_>) -> (bool, Vec<What>) {
            let changed = self
                .file
                .look(content, &mut |event| self.events.push(event.what));
            (changed, core::mem::take(&mut self.events))
        }

        fn text(&mut self, text: &str) -> (bool, Vec<What>) {
            self.look(Content::Text(text.as_bytes()))
        }

        fn allows(&self, who: &Fingerprint, action: &str) -> bool {
            allows(self.file.current(), who, action)
        }
    }

    /// Z-7, F-47: unreadable keeps what was read, absent drops it; each is one event.
    #[test]
    fn unreadable_is_not_absent() {
        let mut looks = Looks::new();
        assert_eq!(
            looks.look(Content::Unreadable),
            (false, vec![What::Unreadable])
        );
        assert!(looks.file.current().is_empty());
        assert_eq!(looks.text(&format!("{ONE} a\n")), (true, vec![]));
        assert_eq!(looks.text(&format!("{ONE} a\n")), (false, vec![]));
        assert_eq!(
            looks.look(Content::Unreadable),
            (false, vec![What::Unreadable])
        );
        assert_eq!(looks.look(Content::Unreadable), (false, vec![]));
        assert!(looks.allows(&one(), "main:a.x"));
        assert_eq!(looks.text(&format!("{ONE} a\n")), (false, vec![]));
        assert_eq!(looks.look(Content::Absent), (true, vec![What::Absent]));
        assert_eq!(looks.look(Content::Absent), (false, vec![]));
        assert!(!looks.allows(&one(), "main:a.x"));
        assert_eq!(
            looks.look(Content::Unreadable),
            (false, vec![What::Unreadable])
        );
        assert!(!looks.allows(&one(), "main:a.x"));
        assert_eq!(looks.text(&format!("{ONE} a")), (true, vec![]));
        assert!(looks.allows(&one(), "main:a.x"));
    }

    /// Z-9: a changed file takes effect at once, both ways, whoever holds the content before.
    #[test]
    fn a_change_takes_effect() {
        let mut looks = Looks::new();
        looks.text(&format!("{ONE} a\n{TWO} b\n"));
        let before = looks.file.current().clone();
        assert_eq!(looks.text(&format!("{ONE} a, c\n")), (true, vec![]));
        assert!(looks.allows(&one(), "main:c.x") && !looks.allows(&two(), "main:b.x"));
        assert!(allows(&before, &two(), "main:b.x"));
        assert_eq!(looks.text(""), (true, vec![What::Shortened]));
        assert!(looks.file.current().is_empty());
    }

    /// Z-6: what is configured outlives every look.
    #[test]
    fn metadata_for_all_stays() {
        let mut file = AuthorizedFile::new().meta_for_all();
        for content in [
            Content::Unreadable,
            Content::Text(b"#\n"),
            Content::Absent,
            Content::Text(b"\n"),
        ] {
            assert!(allows(file.current(), &one(), "main:_meta.x"));
            file.look(content, &mut |_| ());
            assert!(allows(file.current(), &one(), "main:_meta.x"));
        }
    }

    /// F-47: a token cut in the middle may mean more than the whole one; it gives nothing new.
    #[test]
    fn half_a_token_gives_nothing() {
        let mut looks = Looks::new();
        let whole = format!("{ONE} web:ALLIANCE, a\n");
        looks.text(&whole);
        let half = &whole[..whole.find("IANCE").unwrap()];
        assert_eq!(looks.text(half), (true, vec![What::Shortened]));
        assert!(!looks.allows(&one(), "web:x.y") && !looks.allows(&one(), "main:a.x"));
        assert_eq!(looks.text(&whole), (true, vec![]));
        assert!(looks.allows(&one(), "web:ALLIANCE.y"));

        // Written anew, and only as far as this.
        let other = format!("{TWO} b\n{ONE} a, web:ALL");
        assert_eq!(looks.text(&other), (true, vec![What::Unfinished]));
        assert!(looks.allows(&one(), "main:a.x") && !looks.allows(&one(), "web:x.y"));
        assert!(looks.allows(&two(), "main:b.x"));
        assert_eq!(looks.text(&format!("{other}\n")), (true, vec![]));
        assert!(looks.allows(&one(), "web:x.y"));
    }

    /// F-47, Z-8: cutting off the line that replaces another does not bring the other back.
    #[test]
    fn a_replaced_line_stays_replaced() {
        let mut looks = Looks::new();
        let first = format!("{ONE} x:ALL, a\n");
        looks.text(&format!("{first}{ONE} a, b\n"));
        assert_eq!(looks.text(&first), (true, vec![What::Shortened]));
        assert!(looks.allows(&one(), "main:a.x"));
        assert!(!looks.allows(&one(), "x:y.z") && !looks.allows(&one(), "main:b.x"));
    }

    fn files() -> impl Strategy<Value = String> {
        let words = [
            ONE, TWO, " ", "\n", ",", ":", "a", "ALL", "b", "#", ".", "x", "\r",
        ];
        let words = prop::collection::vec(prop::sample::select(words.to_vec()), 0..40);
        words.prop_map(|words| words.concat())
    }

    proptest! {
        /// F-47: whatever is left of a file allows no more than the whole of it did.
        #[test]
        fn what_is_left_allows_no_more(file in files(), cut in any::<prop::sample::Index>()) {
            let mut looks = Looks::new();
            looks.text(&file);
            let before = looks.file.current().clone();
            let cut = cut.index(file.len() + 1);
            if let Some(rest) = file.get(..cut) {
                looks.text(rest);
            }
            for sector in ["main", "a", "b", "x", "ax"] {
                for namespace in ["a", "b", "ab", "all", "x", "_meta", "ax", "a.b"] {
                    for who in [one(), two()] {
                        prop_assert!(
                            before.allows(&who, sector, namespace, "a")
                                || !looks.file.current().allows(&who, sector, namespace, "a"),
                            "{}:{}", sector, namespace
                        );
                    }
                }
            }
        }

        /// Law 9: octets of any kind.
        #[test]
        fn junk_does_no_harm(junk in prop::collection::vec(any::<u8>(), 0..200)) {
            let (services, events) = read(&junk);
            prop_assert!(services.is_empty());
            for event in events {
                prop_assert!(!event.to_string().is_empty());
            }
        }
    }
}
