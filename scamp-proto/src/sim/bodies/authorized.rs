//! U-10: authorized services and the questions asked of them.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::auth::Fingerprint;
use crate::auth::authorized::{AuthorizedFile, AuthorizedServices, Content};

/// U-10: the matcher allows what a plain reader of the same text allows, and what is left of a
/// file allows no more than the whole (F-47).
///
/// The octets are the file, then sector, namespace and name for each question, with NUL between them.
pub fn authorized(octets: &[u8]) {
    authorized_by(octets, &allows);
}

/// The same, where `allows` is the plain reader.
pub(super) fn authorized_by(octets: &[u8], allows: &Allows<'_>) {
    let mut parts = octets.split(|octet| *octet == 0);
    let file = parts.next().unwrap_or_default();
    let mut lines = 0;
    let services = AuthorizedServices::parse(file, &mut |event| {
        assert!(!event.to_string().is_empty());
        lines = lines.max(event.line);
    });
    assert!(lines <= file.split(|octet| *octet == b'\n').count());
    let Ok(text) = core::str::from_utf8(file) else {
        return;
    };
    let stranger = Fingerprint::of(b"stranger");
    let mut asked = parts.map(String::from_utf8_lossy);
    let questions: Vec<_> = core::iter::from_fn(|| {
        let (sector, namespace) = (asked.next()?, asked.next()?);
        Some([sector, namespace, asked.next()?])
    })
    .collect();
    for [sector, namespace, name] in &questions {
        for (who, _) in lines_of(text).into_iter().chain([(stranger, Vec::new())]) {
            assert_eq!(
                services.allows(&who, sector, namespace, name),
                allows(text, &who, sector, namespace, name),
                "Q-19: {who} {sector}:{namespace}.{name}"
            );
        }
    }
    let mut left = AuthorizedFile::new();
    left.look(Content::Text(file), &mut |_| ());
    let cut = file
        .get(..octets.len() % (file.len() + 1))
        .unwrap_or_default();
    left.look(Content::Text(cut), &mut |_| ());
    for [sector, namespace, name] in &questions {
        for (who, _) in lines_of(text) {
            assert!(
                services.allows(&who, sector, namespace, name)
                    || !left.current().allows(&who, sector, namespace, name),
                "F-47: {who} {sector}:{namespace}.{name}"
            );
        }
    }
}

/// Whether a file's text allows somebody a sector, a namespace and a name.
pub(super) type Allows<'a> = dyn Fn(&str, &Fingerprint, &str, &str, &str) -> bool + 'a;

/// Fingerprints and tokens, line by line.
pub(super) fn lines_of(text: &str) -> Vec<(Fingerprint, Vec<&str>)> {
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    let lines = text.split('\n').filter_map(|line| {
        let line = line.split('#').next()?.trim_ascii();
        let mut words = line.splitn(2, |ch: char| ch.is_ascii_whitespace());
        let who = words.next().filter(|who| who.len() == 59)?.parse().ok()?;
        let tokens = words.next().unwrap_or_default().split(',');
        Some((who, tokens.map(str::trim_ascii).collect()))
    });
    lines.collect()
}

pub(super) fn allows(
    text: &str,
    who: &Fingerprint,
    sector: &str,
    namespace: &str,
    name: &str,
) -> bool {
    let lines = lines_of(text);
    let Some((_, tokens)) = lines.iter().rev().find(|(other, _)| other == who) else {
        return false;
    };
    let action = format!("{sector}:{namespace}.{name}").to_ascii_lowercase();
    if action.matches(':').count() != 1 {
        return false;
    }
    format!("{namespace}.")
        .to_ascii_lowercase()
        .starts_with("_meta.")
        || tokens
            .iter()
            .filter(|token| !token.is_empty())
            .any(|token| {
                let whole = token
                    .strip_suffix(":ALL")
                    .filter(|sector| !sector.contains(':'));
                let token = match token.contains(':') {
                    true => token.to_ascii_lowercase(),
                    false => format!("main:{}", token.to_ascii_lowercase()),
                };
                match whole {
                    Some(whole) => whole.eq_ignore_ascii_case(sector),
                    None => action == token || action.starts_with(&format!("{token}.")),
                }
            })
}
