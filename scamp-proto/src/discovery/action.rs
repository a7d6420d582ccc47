//! One action of an announcement, borrowed from it.

use core::cmp::Ordering;
use core::fmt;
use core::time::Duration;

use super::body::Span;
use crate::flag::time_limit;

/// An action as a service announces it.
#[derive(Clone, Copy)]
pub struct ActionRef<'a> {
    /// Its sector.
    pub sector: &'a str,
    /// Its namespace, dots included.
    pub namespace: &'a str,
    /// Its name, which has no dots.
    pub name: &'a str,
    /// Its version, from 1.
    pub version: u32,
    /// What is said about it.
    pub flags: Flags<'a>,
    /// What it takes its bodies in.
    pub envelopes: Envelopes<'a>,
}

impl<'a> ActionRef<'a> {
    /// The time its flags give it, if they do (`tN`, in seconds).
    pub fn timeout(&self) -> Option<Duration> {
        self.flags.timeout()
    }

    pub(super) fn key(&self) -> Key<'a> {
        Key {
            sector: self.sector,
            namespace: self.namespace,
            name: self.name,
            version: self.version,
        }
    }
}

/// `sector:Namespace.name~version`
impl fmt::Display for ActionRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            sector,
            namespace,
            name,
            version,
            ..
        } = self;
        write!(f, "{sector}:{namespace}.{name}~{version}")
    }
}

impl fmt::Debug for ActionRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} {:?} {:?}", self.flags, self.envelopes)
    }
}

/// An action's flags: a list with commas, as it was announced (D-17).
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct Flags<'a>(pub(super) &'a str);

impl<'a> Flags<'a> {
    /// Reads a list with commas.
    pub fn parse(text: &'a str) -> Self {
        Self(text)
    }

    /// The flags in their order, empty ones left out.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &'a str> + use<'a> {
        self.0.split(',').filter(|flag| !flag.is_empty())
    }

    /// Whether `flag` is among them.
    pub fn has(&self, flag: &str) -> bool {
        self.iter().any(|own| own == flag)
    }

    /// Whether the action may be called without a ticket.
    pub fn is_noauth(&self) -> bool {
        self.has("noauth")
    }

    /// Whether listings leave the action out (D-47).
    pub fn is_secret(&self) -> bool {
        self.has("secret")
    }

    /// Whether calling it changes nothing, so that it may be called again.
    pub fn is_read(&self) -> bool {
        self.has("read")
    }

    /// The time limit `tN`, N in seconds: of several the last valid one, from 1 to 86 400 (S-21).
    pub fn timeout(&self) -> Option<Duration> {
        self.iter().rev().find_map(time_limit)
    }

    /// The aliases it is found by, too: `_create`, `_read`, `_update`, `_destroy` (D-19).
    pub(super) fn aliases(&self) -> impl Iterator<Item = Alias> + use<'a> {
        let flags = *self;
        let any = !flags.0.is_empty();
        ALIASES
            .into_iter()
            .filter(move |alias| any && flags.has(alias.flag()))
    }
}

impl fmt::Debug for Flags<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// How a key of the index names an action.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Alias {
    Create,
    Read,
    Update,
    Destroy,
}

const ALIASES: [Alias; 4] = [Alias::Create, Alias::Read, Alias::Update, Alias::Destroy];

impl Alias {
    pub(super) fn flag(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Read => "read",
            Self::Update => "update",
            Self::Destroy => "destroy",
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Create => "_create",
            Self::Read => "_read",
            Self::Update => "_update",
            Self::Destroy => "_destroy",
        }
    }
}

/// The envelopes an action is offered under.
#[derive(Clone, Copy)]
pub struct Envelopes<'a>(pub(super) List<'a>);

#[derive(Clone, Copy)]
pub(super) enum List<'a> {
    /// Those of the service.
    Spans(super::body::Texts<'a>, &'a [Span]),
    /// An own list with commas (D-12).
    Commas(&'a str),
}

impl<'a> Envelopes<'a> {
    /// The envelopes in their order.
    pub fn iter(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let (texts, spans, commas) = match self.0 {
            List::Spans(texts, spans) => (Some(texts), spans, ""),
            List::Commas(text) => (None, &[][..], text),
        };
        let spans = spans.iter().filter_map(move |span| Some(texts?.of(*span)));
        spans.chain(commas.split(',').filter(|name| !name.is_empty()))
    }

    /// Whether `envelope` is among them; case counts.
    pub fn contains(&self, envelope: &str) -> bool {
        match self.0 {
            List::Spans(texts, spans) => spans.iter().any(|span| texts.of(*span) == envelope),
            List::Commas(text) => {
                !envelope.is_empty() && text.split(',').any(|own| own == envelope)
            }
        }
    }
}

impl fmt::Debug for Envelopes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// What an action is found by: compared without regard to ASCII case, and to nothing else (D-18).
#[derive(Clone, Copy, Debug)]
pub(super) struct Key<'a> {
    pub(super) sector: &'a str,
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
    pub(super) version: u32,
}

impl<'a> Key<'a> {
    /// The key of `Namespace.name`; a namespace may have dots, a name has none.
    pub(super) fn of(sector: &'a str, action: &'a str, version: u32) -> Option<Self> {
        // Names are short: looking from the end, octet by octet, is the quickest.
        let dot = action.as_bytes().iter().rposition(|octet| *octet == b'.')?;
        let (namespace, name) = (action.get(..dot)?, action.get(dot.saturating_add(1)..)?);
        Some(Self {
            sector,
            namespace,
            name,
            version,
        })
    }

    /// Sixty-four bits that spread keys; whoever can choose keys can make them equal (HD-14).
    pub(super) fn hash(&self) -> u64 {
        // What differs in the bit of the case alone is taken for one here. That is so for a few
        // octets that are no letters, too; comparing tells those apart.
        const CASE: u64 = 0x2020_2020_2020_2020;
        let mix = |hash: u64, word: u64| {
            let hash = (hash ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            hash ^ (hash >> 32)
        };
        let mut hash = u64::from(self.version);
        for part in [self.sector, self.namespace, self.name] {
            let mut words = part.as_bytes().chunks_exact(8);
            for word in words.by_ref() {
                let word = word.try_into().map_or(0, u64::from_le_bytes);
                hash = mix(hash, word | CASE);
            }
            let rest = words.remainder().iter();
            let last = rest.fold(0x80, |word, octet| word << 8 | u64::from(octet | 0x20));
            hash = mix(hash, last);
        }
        hash
    }

    /// Whether both name one action, in any version.
    pub(super) fn is_same_action(&self, other: &Self) -> bool {
        // Most ask in the very letters of the announcement, which is quickly seen.
        let is_same = |own: &str, theirs: &str| own == theirs || own.eq_ignore_ascii_case(theirs);
        is_same(self.name, other.name)
            && is_same(self.namespace, other.namespace)
            && is_same(self.sector, other.sector)
    }
}

impl Ord for Key<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        fn lower(text: &str) -> impl Iterator<Item = u8> {
            text.bytes().map(|octet| octet.to_ascii_lowercase())
        }
        let parts = |key: &Self| [key.sector, key.namespace, key.name];
        parts(self)
            .into_iter()
            .zip(parts(other))
            .map(|(own, theirs)| lower(own).cmp(lower(theirs)))
            .find(|order| order.is_ne())
            .unwrap_or(Ordering::Equal)
            .then(self.version.cmp(&other.version))
    }
}

impl PartialOrd for Key<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Key<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.version == other.version && self.is_same_action(other)
    }
}

impl Eq for Key<'_> {}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    /// D-17, S-21, N-29, F-51: flags of all kinds; of several time limits the last valid one counts, and
    /// one of any size does no harm.
    #[test]
    fn flags_are_read() {
        let flags = Flags::parse("create,,noauth,t30,whatever,undefined");
        let all: Vec<_> = flags.iter().collect();
        assert_eq!(all, ["create", "noauth", "t30", "whatever", "undefined"]);
        assert_eq!(flags.timeout(), Some(Duration::from_secs(30)));
        assert!(flags.is_noauth() && !flags.is_read() && !flags.is_secret());
        for (text, seconds) in [
            ("t0", None),
            ("t86400", Some(86_400)),
            ("t86401", None),
            ("t99999999999999999999", None),
            ("t30,t60,t0,t,t99999999999", Some(60)),
        ] {
            assert_eq!(
                Flags::parse(text).timeout(),
                seconds.map(Duration::from_secs),
                "{text}"
            );
        }
        assert_eq!(Flags::parse("").iter().count(), 0);
    }

    /// D-18: only ASCII folds, the version counts, and the parts do not run into each other.
    #[test]
    fn keys() {
        let key = |sector, action, version| Key::of(sector, action, version).unwrap();
        let one = key("main", "Greetings.Hello", 1);
        let same = key("MAIN", "gREETINGS.hello", 1);
        assert_eq!((one, one.hash()), (same, same.hash()));
        assert_eq!(one.cmp(&same), Ordering::Equal);
        for other in [
            key("main", "Greetings.Hello", 2),
            key("mai", "nGreetings.Hello", 1),
            key("main", "Greetings.Hell", 1),
            key("main", "Gre.etingsHello", 1),
            key("main", "Greetings.Hellö", 1),
        ] {
            assert_ne!(one, other);
            assert_ne!(one.hash(), other.hash());
            assert_ne!(one.cmp(&other), Ordering::Equal);
        }
        assert_ne!(key("main", "A.Ö", 1), key("main", "A.ö", 1));
        assert!(Key::of("main", "nodot", 1).is_none());
    }
}
