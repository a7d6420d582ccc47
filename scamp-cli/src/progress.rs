//! How far a long run is, for people who wait for it.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::terminal::Terminal;

/// A line on standard error that is written over again and again, and removed in the end.
///
/// It is there only if that is a terminal, and not with `--json` or `-q`; and not before a second is
/// over, since nobody wonders before that.
pub(crate) struct Progress {
    is_wanted: bool,
    begun: Instant,
    /// Whether the line is there.
    shown: Mutex<bool>,
}

impl Progress {
    pub(crate) fn new(terminal: Terminal, begun: Instant) -> Self {
        Self {
            is_wanted: !terminal.json
                && !terminal.quiet
                && io::stderr().is_terminal()
                && std::env::var_os("TERM").is_none_or(|term| term != "dumb"),
            begun,
            shown: Mutex::new(false),
        }
    }

    /// Whether [`show`](Self::show) does anything.
    pub(crate) fn is_wanted(&self) -> bool {
        self.is_wanted
    }

    /// Shows how much of the run is over, from 0 to 1, and what there is to say of it.
    pub(crate) fn show(&self, share: f64, text: &str) {
        if self.is_wanted && self.begun.elapsed() >= SOON {
            let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
            put(&format!("\r{}{TO_THE_END}", line(share, text)));
            *shown = true;
        }
    }

    /// Takes the line out of the way of something else that is said; the next
    /// [`show`](Self::show) brings it back.
    pub(crate) fn aside(&self, say: impl FnOnce()) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut *shown) {
            put(&format!("\r{TO_THE_END}"));
        }
        say();
    }
}

fn line(share: f64, text: &str) -> String {
    let share = share.clamp(0.0, 1.0);
    let done = "#".repeat((share * BAR as f64) as usize);
    let percent = (share * 100.0) as u64;
    let line = format!("[{done:.<BAR$}] {percent:>3} %  {text}");
    // On a second line it could not be written over.
    line.chars().take(WIDTH).collect()
}

fn put(text: &str) {
    // With standard error gone there is nobody left to show it to.
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Removes what is left of a longer line.
const TO_THE_END: &str = "\u{1b}[K";

/// How wide the bar is, and how wide the whole line may be.
const BAR: usize = 20;
const WIDTH: usize = 79;

/// How long a run is not worth a line.
const SOON: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    /// cli.md, `bench`: the line is no longer than a terminal's, whatever there is to say.
    #[test]
    fn lines() {
        assert_eq!(line(0.0, "x"), "[....................]   0 %  x");
        assert_eq!(line(0.5, "x"), "[##########..........]  50 %  x");
        for share in [1.0, 7.0, f64::INFINITY] {
            assert_eq!(line(share, ""), "[####################] 100 %  ");
        }
        for share in [-1.0, f64::NAN] {
            assert!(line(share, &"é".repeat(100)).starts_with("[....................]   0 %  é"));
        }
        assert_eq!(line(0.3, &"é".repeat(100)).chars().count(), 79);
    }
}
