//! PEM: DER in base64 between two marks.

use alloc::vec::Vec;

use base64::Engine;

use super::BASE64;

/// One section of a PEM text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Section<'a> {
    /// What the marks say it is, for example `CERTIFICATE`.
    pub label: &'a str,
    /// The lines between the marks.
    base64: &'a [u8],
}

impl Section<'_> {
    /// The DER, or `None` if the lines are not base64; white space is skipped.
    pub fn decode(&self) -> Option<Vec<u8>> {
        let octets: Vec<u8> = self
            .base64
            .iter()
            .copied()
            .filter(|octet| !octet.is_ascii_whitespace())
            .collect();
        BASE64.decode(octets).ok()
    }
}

/// The sections of a text, in their order. What is around them is skipped, and so is a section
/// without an end.
///
/// ```
/// use scamp_proto::auth::pem;
///
/// let text = b"a note\n-----BEGIN X-----\nYW\nJj\n-----END X-----\n";
/// let section = pem::sections(text).next().expect("it is there");
/// assert_eq!((section.label, section.decode()), ("X", Some(b"abc".to_vec())));
/// ```
pub fn sections(text: &[u8]) -> impl Iterator<Item = Section<'_>> {
    let mut rest = text;
    core::iter::from_fn(move || {
        loop {
            let (line, after) = split_line(rest)?;
            rest = after;
            let Some(label) = mark(line, BEGIN) else {
                continue;
            };
            let body = after;
            let mut end = 0_usize;
            while let Some((line, after)) = split_line(rest) {
                if mark(line, BEGIN).is_some() {
                    // The one before never ended; this one may.
                    break;
                }
                rest = after;
                if mark(line, END) == Some(label) {
                    let base64 = body.get(..end)?;
                    return Some(Section { label, base64 });
                }
                end = body.len().saturating_sub(after.len());
            }
        }
    })
}

/// The first line and what follows it; `None` at the end.
fn split_line(text: &[u8]) -> Option<(&[u8], &[u8])> {
    if text.is_empty() {
        return None;
    }
    let end = text.iter().position(|octet| *octet == b'\n');
    let end = end.map_or(text.len(), |end| end.saturating_add(1));
    text.split_at_checked(end)
}

fn mark<'a>(line: &'a [u8], begin: &[u8]) -> Option<&'a str> {
    let label = line
        .trim_ascii()
        .strip_prefix(begin)?
        .strip_suffix(DASHES)?;
    core::str::from_utf8(label).ok()
}

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
const DASHES: &[u8] = b"-----";

#[cfg(test)]
mod tests {
    use std::vec;

    use super::*;

    fn read(text: &str) -> Vec<(&str, Option<Vec<u8>>)> {
        sections(text.as_bytes())
            .map(|section| (section.label, section.decode()))
            .collect()
    }

    /// Sections come in order, whatever is around and whatever the lines end with.
    #[test]
    fn sections_come_in_order() {
        let text = "note\r\n-----BEGIN A-----\r\nYWJj\r\n-----END A-----\r\n\n-----BEGIN B B-----\nYQ==\n-----END B B-----";
        let found = vec![("A", Some(b"abc".to_vec())), ("B B", Some(b"a".to_vec()))];
        assert_eq!(read(text), found);
    }

    /// What is no section is none, and what is no base64 says so.
    #[test]
    fn what_is_no_section() {
        assert_eq!(read(""), vec![]);
        assert_eq!(read("-----BEGIN A-----\nYWJj\n"), vec![]);
        assert_eq!(read("-----BEGIN A-----\nYWJj\n-----END B-----\n"), vec![]);
        assert_eq!(
            read("-----BEGIN A-----\nYW\n-----BEGIN A-----\nYWJj\n-----END A-----"),
            vec![("A", Some(b"abc".to_vec()))]
        );
        assert_eq!(
            read("-----BEGIN A-----\nProc-Type: 4,ENCRYPTED\nYWJj\n-----END A-----"),
            vec![("A", None)]
        );
        assert_eq!(
            read("-----BEGIN A-----\n-----END A-----"),
            vec![("A", Some(vec![]))]
        );
    }
}
