//! Topics, their keys and values, and who hears of changes (S-40…S-43).

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use serde_json::value::RawValue;

use crate::limits::TOPICS;
use crate::wire::push_string;

/// One record of an event: a key of a topic, and its new value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Change {
    /// The topic's code.
    pub code: String,
    /// The key within the topic.
    pub key: String,
    /// The value as JSON; `null` deletes the key.
    pub value: String,
}

/// Everything a service publishes: for each topic, its keys and their values.
///
/// # Example
///
/// ```
/// use scamp_proto::session::Board;
///
/// let mut board = Board::default();
/// let change = board.set("stock", "sku:1", r#"{"qty":4}"#).expect("news");
/// assert_eq!(change.key, "sku:1");
/// assert_eq!(board.set("stock", "sku:1", r#"{"qty":4}"#), None); // an equal value is no news
/// assert!(board.set("stock", "sku:1", "null").is_some());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Board {
    topics: BTreeMap<String, BTreeMap<String, String>>,
}

impl Board {
    /// Sets a key to a JSON value, or removes it with `null`; returns the change, if it is one.
    ///
    /// Values that are not JSON are no change.
    pub fn set(&mut self, code: &str, key: &str, json: &str) -> Option<Change> {
        serde_json::from_str::<&RawValue>(json).ok()?;
        let value = json.trim();
        let topic = self.topics.entry(code.to_owned()).or_default();
        let changed = match value {
            "null" => topic.remove(key).is_some(),
            _ => topic.insert(key.to_owned(), value.to_owned()).as_deref() != Some(value),
        };
        changed.then(|| Change {
            code: code.to_owned(),
            key: key.to_owned(),
            value: value.to_owned(),
        })
    }

    /// The records of these topics, in order.
    pub fn records<'a>(
        &'a self,
        topics: &'a [String],
    ) -> impl Iterator<Item = (&'a str, &'a str, &'a str)> {
        topics.iter().flat_map(|code| {
            let keys = self.topics.get(code).into_iter().flatten();
            keys.map(move |(key, value)| (code.as_str(), key.as_str(), value.as_str()))
        })
    }
}

/// The body of an event with these records.
pub(super) fn event_body<'a>(
    records: impl Iterator<Item = (&'a str, &'a str, &'a str)>,
) -> Vec<u8> {
    let mut out = Vec::from(*b"[");
    for (code, key, value) in records {
        if out.len() > 1 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"code\":");
        push_string(code, &mut out);
        out.extend_from_slice(b",\"key\":");
        push_string(key, &mut out);
        out.extend_from_slice(b",\"value\":");
        out.extend_from_slice(value.as_bytes());
        out.push(b'}');
    }
    out.push(b']');
    out
}

/// The records of an event's body, and whether any had to be skipped (S-41).
pub(super) fn parse_event(body: &[u8]) -> (Vec<Change>, bool) {
    let Ok(records) = serde_json::from_slice::<Vec<&RawValue>>(body) else {
        return (Vec::new(), true);
    };
    let count = records.len();
    let changes: Vec<Change> = records
        .into_iter()
        .filter_map(|raw| parse_record(raw.get()))
        .collect();
    let skipped = changes.len() < count;
    (changes, skipped)
}

fn parse_record(json: &str) -> Option<Change> {
    let mut fields: BTreeMap<String, Box<RawValue>> = serde_json::from_str(json).ok()?;
    let value = fields.remove("value")?;
    let text = |raw: Option<Box<RawValue>>| serde_json::from_str::<String>(raw?.get()).ok();
    Some(Change {
        code: text(fields.remove("code"))?,
        key: text(fields.remove("key"))?,
        value: value.get().to_owned(),
    })
}

/// What a subscribe asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Filter {
    Topics(Vec<String>),
    Cancel,
    Malformed,
}

impl Filter {
    pub(super) fn parse(body: &[u8]) -> Self {
        match serde_json::from_slice::<Option<Vec<String>>>(body) {
            Ok(None) => Self::Cancel,
            Ok(Some(topics)) if topics.len() <= TOPICS => Self::Topics(topics),
            Ok(Some(_)) | Err(_) => Self::Malformed,
        }
    }

    pub(super) fn body(topics: Option<&[&str]>) -> Vec<u8> {
        let Some(topics) = topics else {
            return Vec::from(*b"null");
        };
        let mut out = Vec::from(*b"[");
        for (index, code) in topics.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            push_string(code, &mut out);
        }
        out.push(b']');
        out
    }
}

/// The changes one subscriber has still to be told: the newest of each key (S-42).
#[derive(Debug, Default)]
pub(super) struct Pending {
    changes: BTreeMap<(String, String), String>,
}

impl Pending {
    pub(super) fn push(&mut self, change: &Change) {
        self.changes.insert(
            (change.code.clone(), change.key.clone()),
            change.value.clone(),
        );
    }

    pub(super) fn pop(&mut self) -> Option<Change> {
        let ((code, key), value) = self.changes.pop_first()?;
        Some(Change { code, key, value })
    }

    pub(super) fn clear(&mut self) {
        self.changes.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    /// E-11: what a snapshot looks like.
    #[test]
    fn bodies() {
        let mut board = Board::default();
        assert_eq!(event_body(board.records(&["announce".to_string()])), b"[]");
        board.set("announce", "", "\"x\"");
        board.set("other", "y", "1");
        let body = event_body(board.records(&["announce".to_string()]));
        assert_eq!(body, br#"[{"code":"announce","key":"","value":"x"}]"#);
        let (changes, skipped) = parse_event(&body);
        assert_eq!((changes.len(), skipped), (1, false));
        assert_eq!(changes[0].value, "\"x\"");
    }

    /// S-41: records that are none are skipped, the others count.
    #[test]
    fn bad_records() {
        let good = r#"{"code":"a","key":"b","value":null,"more":1}"#;
        for bad in [
            "1",
            "{}",
            r#"{"code":"a","key":"b"}"#,
            r#"{"code":1,"key":"b","value":1}"#,
        ] {
            let (changes, skipped) = parse_event(alloc::format!("[{bad},{good}]").as_bytes());
            assert_eq!((changes.len(), skipped), (1, true), "{bad}");
        }
        assert_eq!(parse_event(b"{}"), (Vec::new(), true));
        assert_eq!(parse_event(b"[]"), (Vec::new(), false));
    }

    /// H-6: at most ten strings, or `null`.
    #[test]
    fn filters() {
        assert_eq!(Filter::parse(b"null"), Filter::Cancel);
        assert_eq!(Filter::parse(b"[]"), Filter::Topics(Vec::new()));
        assert_eq!(
            Filter::parse(&Filter::body(Some(&["a"; 10]))),
            Filter::Topics(alloc::vec!["a".to_string(); 10])
        );
        for bad in [
            &Filter::body(Some(&["a"; 11]))[..],
            b"{}",
            b"[1]",
            b"",
            b"\"a\"",
        ] {
            assert_eq!(Filter::parse(bad), Filter::Malformed);
        }
    }
}
