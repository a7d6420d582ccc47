//! Files as they are and as they should not be.

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
