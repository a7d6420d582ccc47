//! U-2: the header reader.

use serde_json::Value;
use serde_json::value::RawValue;

use crate::limits::HEADER_DEPTH;
use crate::wire::Header;

/// U-2: never a panic, accepted exactly when it is one JSON object of at most 128 levels in UTF-8
/// (H-1), and the text fields are those a generic reader finds.
pub fn header(json: &[u8]) {
    header_by(json, &is_object);
}

/// The same, where `is_object` says what is to be accepted.
pub(super) fn header_by(json: &[u8], is_object: &dyn Fn(&[u8]) -> bool) {
    let read = Header::decode(json);
    assert_eq!(read.is_ok(), is_object(json), "H-1");
    let Ok(header) = read else {
        return;
    };
    assert_eq!(header.as_json().as_bytes(), json);
    // Every question has an answer that is no panic.
    let _ = (
        header.kind(),
        header.request_id(),
        header.version(),
        header.client_id(),
    );
    let _ = (
        header.ticket(),
        header.identifying_token(),
        header.terminal(),
        header.sector(),
    );
    let _ = header.error().map(|error| error.is_dispatch_failure());
    header.for_each(|name, value| assert!(header.get(name).is_some(), "{name} {value}"));
    let Ok(Value::Object(fields)) = serde_json::from_slice::<Value>(json) else {
        // Numbers out of range and lone surrogates are nobody's field here.
        return;
    };
    if header.bad_field().is_some() {
        return;
    }
    let text = |name: &str| fields.get(name).and_then(Value::as_str);
    assert_eq!(header.type_text().as_deref(), text("type"), "type");
    assert_eq!(header.action().as_deref(), text("action"), "action");
    assert_eq!(
        header.envelope(),
        text("envelope").unwrap_or("json"),
        "envelope"
    );
    assert_eq!(header.sector().as_deref(), text("sector"), "sector");
    let id = fields.get("request_id").and_then(Value::as_u64);
    if let Some(id) = id {
        assert_eq!(
            header.request_id().and_then(|id| id.number()),
            Some(id),
            "request_id"
        );
    }
}

/// Whether this is one JSON object in UTF-8 that is not too deep.
pub(super) fn is_object(json: &[u8]) -> bool {
    core::str::from_utf8(json).is_ok()
        && serde_json::from_slice::<&RawValue>(json).is_ok()
        && json.trim_ascii_start().first() == Some(&b'{')
        && depth(json) <= HEADER_DEPTH
}

/// Levels of nesting of a JSON text.
pub(super) fn depth(json: &[u8]) -> usize {
    let (mut depth, mut most, mut in_text, mut escaped) = (0_usize, 0, false, false);
    for octet in json {
        match octet {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => {
                depth += 1;
                most = most.max(depth);
            }
            b'}' | b']' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    most
}
