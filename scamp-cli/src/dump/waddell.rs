//! A recorded stream of waddell frames as lines.

use std::io::{self, BufWriter, Read, StdoutLock, Write};

use scamp_proto::waddell::{Content, Frames};

use super::PIECE;
use crate::failure::Failure;
use crate::json::Object;
use crate::terminal::{Terminal, written};

/// Shows every frame, and how the record ends; either direction, which look alike.
pub(super) fn run(name: &str, input: &mut dyn Read, terminal: Terminal) -> Result<(), Failure> {
    let mut report = Report {
        out: BufWriter::with_capacity(PIECE, io::stdout().lock()),
        terminal,
    };
    let mut frames = Frames::new(usize::MAX);
    // Where the frame begins that comes next, and where the record ends so far.
    let (mut at, mut offset) = (0_u64, 0_u64);
    let mut room = vec![0; PIECE];
    loop {
        let mut piece = match input.read(&mut room) {
            Ok(0) => break,
            Ok(len) => room.get(..len).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Failure::file(name, &error)),
        };
        offset += piece.len() as u64;
        // No length is over the limit that two octets can say.
        while let Ok(Some(content)) = frames.cut(&mut piece) {
            report
                .frame(at, &content)
                .map_err(|error| written(&error))?;
            at = offset - piece.len() as u64;
        }
    }
    let is_cut = frames.is_inside();
    report.end(at, is_cut).map_err(|error| written(&error))?;
    match is_cut {
        false => Ok(()),
        true => {
            let text = format!("{name}: the frame at octet {at} is not complete");
            Err(Failure::local(text).told())
        }
    }
}

/// Writes what was found.
#[derive(Debug)]
struct Report {
    out: BufWriter<StdoutLock<'static>>,
    terminal: Terminal,
}

impl Report {
    fn frame(&mut self, offset: u64, content: &[u8]) -> io::Result<()> {
        let len = content.len() as u64;
        let meaning = Content::decode(content);
        let (id, topic, body) = match meaning {
            Content::Message { id, topic, body } => (Some(id.to_string()), topic.0, body.len()),
            Content::Keepalive | Content::Malformed => (None, 0, 0),
        };
        if self.terminal.json {
            let mut object = Object::default();
            object.number("offset", offset);
            object.number("frame_len", len);
            object.maybe("id", id.as_deref());
            object.number("topic", topic.into());
            object.number("body_len", body as u64);
            return writeln!(self.out, "{}", object.end());
        }
        match (meaning, id) {
            (Content::Keepalive, _) => writeln!(self.out, "{offset:>10} {len:>6}  keepalive"),
            (_, Some(id)) => {
                writeln!(self.out, "{offset:>10} {len:>6}  {id} {topic:>5} {body:>6}")
            }
            (_, None) => writeln!(self.out, "{offset:>10} {len:>6}  malformed"),
        }
    }

    fn end(&mut self, offset: u64, is_cut: bool) -> io::Result<()> {
        let (end, kind) = match is_cut {
            true => ("truncated", Some("TruncatedFrame")),
            false => ("clean", None),
        };
        if self.terminal.json {
            let mut object = Object::default();
            object.text("end", end);
            object.number("offset", offset);
            object.maybe("kind", kind);
            writeln!(self.out, "{}", object.end())?;
        } else {
            match kind {
                Some(kind) => writeln!(self.out, "{offset:>10}  {end}: {kind}")?,
                None => writeln!(self.out, "{offset:>10}  {end} end")?,
            }
        }
        self.out.flush()
    }
}
