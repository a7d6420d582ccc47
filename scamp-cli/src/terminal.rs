//! What the user sees: data on standard output, everything else on standard error.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

use clap::Args;

use crate::failure::{Exit, Failure};

/// How to talk to the user; the same for every verb.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct Terminal {
    /// Print JSON, one object per line
    #[arg(long, global = true, help_heading = "Output")]
    pub(crate) json: bool,
    /// Print errors only on standard error
    #[arg(
        short,
        long,
        global = true,
        conflicts_with = "verbose",
        help_heading = "Output"
    )]
    pub(crate) quiet: bool,
    /// Say more on standard error
    #[arg(short, long, global = true, help_heading = "Output")]
    pub(crate) verbose: bool,
}

impl Terminal {
    /// A line of data.
    pub(crate) fn data(self, line: &str) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        writeln!(out, "{line}")
            .and_then(|()| out.flush())
            .map_err(|error| written(&error))
    }

    /// A line on standard error that was asked for.
    pub(crate) fn always(self, line: &str) {
        complain(line);
    }

    /// Something worth knowing that is not data; `-q` hides it.
    pub(crate) fn say(self, line: &str) {
        if !self.quiet {
            complain(line);
        }
    }

    /// A detail that only `-v` shows.
    pub(crate) fn detail(self, line: &str) {
        if self.verbose {
            complain(line);
        }
    }

    /// Tells why a verb failed: on standard error, and with `--json` as an object on standard
    /// output too.
    pub(crate) fn fail(self, failure: &Failure) {
        if failure.text.is_empty() && failure.code.is_none() {
            return;
        }
        let text = outside(&failure.text, FIELD);
        let mut line = match (&failure.code, failure.exit) {
            (Some(code), Exit::Remote) => {
                format!("scamp: error_code {}: {text}", outside(code, FIELD))
            }
            _ => format!("scamp: {text}"),
        };
        if let Some(data) = &failure.data {
            let _ = write!(line, " (error_data {})", outside(data, FIELD));
        }
        complain(&line);
        if self.json && !failure.told {
            // Nobody is left to tell if this fails too.
            let _ = self.data(&failure.to_json());
        }
    }

    /// How to set off parts of a line on standard output.
    pub(crate) fn paint(self) -> Paint {
        Paint {
            on: !self.json
                && io::stdout().is_terminal()
                && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
                && std::env::var_os("TERM").is_none_or(|term| term != "dumb"),
        }
    }
}

/// Sets off parts of a line, on a terminal that shows colours and where `NO_COLOR` is not set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint {
    on: bool,
}

impl Paint {
    pub(crate) fn strong(self, text: &str) -> String {
        self.wrap("1", text)
    }

    pub(crate) fn good(self, text: &str) -> String {
        self.wrap("32", text)
    }

    pub(crate) fn bad(self, text: &str) -> String {
        self.wrap("31", text)
    }

    pub(crate) fn doubtful(self, text: &str) -> String {
        self.wrap("33", text)
    }

    pub(crate) fn faint(self, text: &str) -> String {
        self.wrap("2", text)
    }

    /// Whether the terminal does more than take lines.
    pub(crate) fn is_on(self) -> bool {
        self.on
    }

    fn wrap(self, code: &str, text: &str) -> String {
        match self.on {
            true => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            false => text.to_owned(),
        }
    }
}

/// What became of a write to standard output: a reader that has gone is no fault of ours.
pub(crate) fn written(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::reader_gone(),
        _ => Failure::file("standard output", error),
    }
}

/// Text from outside, safe for a terminal: control characters become `\x..`, and what is over
/// `limit` octets is left out (HD-13).
pub(crate) fn outside(text: &str, limit: usize) -> String {
    let mut out = String::with_capacity(text.len().min(limit));
    for c in text.chars() {
        if out.len() >= limit {
            out.push_str("...");
            break;
        }
        push_safe(c, &mut out);
    }
    out
}

/// Octets from outside, as [`outside`]; those that are not UTF-8 become `\x..` too.
pub(crate) fn outside_octets(octets: &[u8], limit: usize) -> String {
    let mut out = String::new();
    for chunk in octets.utf8_chunks() {
        for c in chunk.valid().chars() {
            push_safe(c, &mut out);
        }
        for octet in chunk.invalid() {
            let _ = write!(out, "\\x{octet:02x}");
        }
        if out.len() >= limit {
            break;
        }
    }
    match out.len() > limit {
        true => outside(&out, limit),
        false => out,
    }
}

/// Octets of one field of outside text that are shown (HD-13).
pub(crate) const FIELD: usize = 256;

fn push_safe(c: char, out: &mut String) {
    // Direction marks could make a line read as something else.
    let misleads =
        matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if c.is_control() || misleads {
        for octet in c.encode_utf8(&mut [0; 4]).bytes() {
            let _ = write!(out, "\\x{octet:02x}");
        }
    } else {
        out.push(c);
    }
}

/// Writes a line to standard error, in one piece so that lines of several threads do not mix.
pub(crate) fn complain(line: &str) {
    // With standard error gone there is nobody left to tell.
    let _ = io::stderr()
        .lock()
        .write_all(format!("{line}\n").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// HD-13: no control character of theirs reaches the terminal, nor more than the limit.
    #[test]
    fn outside_text_is_tame() {
        assert_eq!(
            outside("a\u{1b}[2J\r\n\u{9b}\u{202e}é", 256),
            "a\\x1b[2J\\x0d\\x0a\\xc2\\x9b\\xe2\\x80\\xaeé"
        );
        assert_eq!(
            outside(&"x".repeat(300), 256),
            format!("{}...", "x".repeat(256))
        );
        assert_eq!(outside_octets(b"ok\xff\x00\xc3\xa9", 256), "ok\\xff\\x00é");
        assert_eq!(
            outside_octets(&[0; 1000], 16),
            format!("{}...", "\\x00".repeat(4))
        );
    }
}
