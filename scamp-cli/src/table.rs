//! Tables for people.

use comfy_table::{CellAlignment, Table as Grid, presets};

use crate::failure::Failure;
use crate::terminal::{Terminal, outside};

/// Rows under headings, as wide as they need to be.
pub(crate) struct Table {
    grid: Grid,
    tones: Vec<Tone>,
}

/// What a row is to look like.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Tone {
    Plain,
    Good,
    Doubtful,
    Bad,
    Faint,
}

impl Table {
    pub(crate) fn new(headings: &[&str]) -> Self {
        let mut grid = Grid::new();
        grid.load_preset(presets::NOTHING).set_header(headings);
        for column in grid.column_iter_mut() {
            column.set_padding((0, 2));
        }
        Self {
            grid,
            tones: Vec::new(),
        }
    }

    /// Puts the numbers of these columns below each other.
    pub(crate) fn numbers(&mut self, columns: &[usize]) {
        for column in columns {
            if let Some(column) = self.grid.column_mut(*column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
    }

    /// A row; its texts may come from outside (HD-13).
    pub(crate) fn row<T: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = T>, tone: Tone) {
        let cells = cells.into_iter().map(|cell| outside(cell.as_ref(), CELL));
        self.grid.add_row(cells);
        self.tones.push(tone);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tones.is_empty()
    }

    /// Prints it; nothing at all where there are no rows.
    pub(crate) fn print(&self, terminal: Terminal) -> Result<(), Failure> {
        if self.is_empty() {
            return Ok(());
        }
        let paint = terminal.paint();
        let tones = [None].into_iter().chain(self.tones.iter().map(Some));
        for (line, tone) in self.grid.lines().zip(tones) {
            let line = line.trim_end();
            terminal.data(&match tone {
                None => paint.strong(line),
                Some(Tone::Plain) => line.to_owned(),
                Some(Tone::Good) => paint.good(line),
                Some(Tone::Doubtful) => paint.doubtful(line),
                Some(Tone::Bad) => paint.bad(line),
                Some(Tone::Faint) => paint.faint(line),
            })?;
        }
        Ok(())
    }
}

/// Octets of a cell that are shown; the longest fingerprint and identity fit.
const CELL: usize = 120;
