//! `authorized_services`, read by splitting: the reference of Q-19.
//!
//! It keeps every line as texts in lower case, and looks through all of them each time.

use std::collections::BTreeMap;

/// The tokens of each fingerprint, both in lower case except for `ALL`.
#[derive(Clone, Debug, Default)]
pub struct Authorized(BTreeMap<String, Vec<String>>);

impl Authorized {
    /// Reads the lines (Z-1, Z-2, Z-8).
    pub fn read(text: &str) -> Self {
        let mut lines = BTreeMap::new();
        for line in text.trim_start_matches('\u{FEFF}').split('\n') {
            let line = line.split('#').next().unwrap_or_default().trim();
            let (who, tokens) = line.split_once([' ', '\t']).unwrap_or((line, ""));
            let octets: Vec<_> = who.split(':').collect();
            let hex =
                |octet: &&str| octet.len() == 2 && octet.chars().all(|c| c.is_ascii_hexdigit());
            if octets.len() == 20 && octets.iter().all(hex) {
                let tokens = tokens
                    .split(',')
                    .map(str::trim)
                    .filter(|token| !token.is_empty());
                let full = |token: &str| match token.contains(':') {
                    true => token.to_owned(),
                    false => format!("main:{token}"),
                };
                // A bare ALL is a name like any other (Z-3).
                let marked = |token: &str| match token.split_once(':') {
                    Some((sector, "ALL")) => format!("{sector}:*"),
                    _ => full(token),
                };
                let tokens = tokens.map(marked).map(|token| token.to_ascii_lowercase());
                lines.insert(who.to_ascii_uppercase(), tokens.collect());
            }
        }
        Self(lines)
    }

    /// Whether the action is authorized (Z-3 to Z-7); `who` is a fingerprint in capitals.
    pub fn allows(&self, who: &str, sector: &str, namespace: &str, name: &str) -> bool {
        let action = format!("{namespace}.{name}").to_ascii_lowercase();
        let sector = sector.to_ascii_lowercase();
        let (Some(tokens), false) = (
            self.0.get(who),
            [&sector, &action].iter().any(|part| part.contains(':')),
        ) else {
            return false;
        };
        let full = format!("{sector}:{action}.");
        let meta = format!("{}.", namespace.to_ascii_lowercase()).starts_with("_meta.");
        meta || tokens.iter().any(|token| match token.strip_suffix(":*") {
            Some(whole) => whole == sector,
            None => full.starts_with(&format!("{token}.")),
        })
    }
}
