//! A recorded MessagePasser stream as lines that can be read: one for each message.
//!
//! The record is one direction of one stream; its first octets say whether it is JSON or gob.

use std::io::{self, Read, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use scamp_proto::limits::{MP_JSON_DEPTH, MP_MESSAGE_MOST};
use scamp_proto::mp::{Data, DecodeError, DecodeLimits, Decoder, Encoding, Message, Meta};

use super::{PIECE, Report, SHOWN};
use crate::failure::Failure;
use crate::json::Object;
use crate::terminal::{FIELD, outside, outside_octets, written};

/// Shows every message of `input`, and how it ends.
pub(super) fn messages(
    name: &str,
    input: &mut dyn Read,
    report: &mut Report,
) -> Result<(), Failure> {
    let mut begin = Vec::new();
    let mut decoder = None;
    let mut room = vec![0; PIECE];
    loop {
        let piece = match input.read(&mut room) {
            Ok(0) => break,
            Ok(len) => room.get(..len).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Failure::file(name, &error)),
        };
        let taken = match &mut decoder {
            Some(decoder) => take(decoder, piece, report)?,
            None => {
                begin.extend_from_slice(piece);
                match Encoding::sniff(&begin) {
                    Ok(None) => continue,
                    Err(error) => Err((error, 0)),
                    Ok(Some(encoding)) => {
                        let decoder = decoder.insert(Decoder::new(encoding, LIMITS));
                        take(decoder, &std::mem::take(&mut begin), report)?
                    }
                }
            }
        };
        if let Err((error, offset)) = taken {
            report.end("violation", offset, Some(error.name()))?;
            let text = format!("{name}: {error}, in the message at octet {offset}");
            return Err(Failure::local(text).told());
        }
    }
    let (is_between, offset, at) = match &decoder {
        Some(one) => (one.is_between(), one.offset(), one.message_offset()),
        None => (begin.is_empty(), 0, 0),
    };
    if is_between {
        return report.end("clean", offset, None);
    }
    report.end("truncated", at, Some(DecodeError::Truncated.name()))?;
    let text = format!("{name}: the message at octet {at} is not complete");
    Err(Failure::local(text).told())
}

/// Any payload that any end accepts.
const LIMITS: DecodeLimits = DecodeLimits {
    payload: MP_MESSAGE_MOST,
    json_depth: MP_JSON_DEPTH,
};

/// Shows the messages that end in `piece`; or says what is wrong, and where.
fn take(
    decoder: &mut Decoder,
    mut piece: &[u8],
    report: &mut Report,
) -> Result<Result<(), (DecodeError, u64)>, Failure> {
    loop {
        match decoder.decode(&mut piece) {
            Ok(None) => return Ok(Ok(())),
            Ok(Some(message)) => {
                let shown = show(decoder.message_offset(), &message, report);
                shown.map_err(|error| written(&error))?;
            }
            Err(error) => return Ok(Err((error, decoder.message_offset()))),
        }
    }
}

fn show(offset: u64, message: &Message, report: &mut Report) -> io::Result<()> {
    let is_hidden = report.redact && message.meta == Meta::AUTH;
    if report.terminal.json {
        let mut object = Object::default();
        object.number("offset", offset);
        object.number("meta", message.meta.0.into());
        object.text("other_client", &message.other_client);
        object.text("connection_id", &message.connection_id);
        match &message.data {
            Data::Absent => object.null("data_b64"),
            _ if is_hidden => object.text("data_b64", "<redacted>"),
            data => object.text("data_b64", &BASE64.encode(data.to_bytes())),
        }
        return writeln!(report.out, "{}", object.end());
    }
    let limit = if report.terminal.verbose {
        usize::MAX
    } else {
        FIELD
    };
    let meta = message.meta.to_string();
    let client = outside(&message.other_client, limit);
    let id = outside(&message.connection_id, limit);
    let octets = message.data.to_bytes();
    let data = match octets.get(..SHOWN) {
        _ if is_hidden => "<redacted>".to_owned(),
        Some(begin) if begin.len() < octets.len() => format!("{}...", outside_octets(begin, SHOWN)),
        _ => outside_octets(&octets, SHOWN),
    };
    let len = octets.len();
    let line = format!("{offset:>10}  {meta:<16} {client:<12} {id:<14} {len:>7}  {data}");
    writeln!(report.out, "{}", line.trim_end())
}
