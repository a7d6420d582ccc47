//! `scamp verify`: whether announcements are what they say.

use std::path::{Path, PathBuf};

use clap::Args;
use scamp_proto::discovery::datagram::Inflater;

use crate::failure::{Exit, Failure};
use crate::json::Object;
use crate::records::{self, Record};
use crate::table::{Table, Tone};
use crate::terminal::Terminal;

/// Check the signatures of announcements
///
/// FILE is one announcement as text, or a cache file of many. The exit code is 6 if any of them is
/// not valid.
#[derive(Args, Debug)]
pub(crate) struct Verify {
    /// An announcement or a cache file; `-` is standard input
    #[arg(required_unless_present = "datagram")]
    file: Option<PathBuf>,
    /// The payload of one UDP datagram, compressed or plain
    #[arg(long, value_name = "FILE", conflicts_with = "file")]
    datagram: Option<PathBuf>,
    /// Take signatures with PSS padding, too (`discovery.accept_pss`)
    #[arg(long)]
    accept_pss: bool,
}

impl Verify {
    pub(crate) fn run(&self, terminal: Terminal) -> Result<(), Failure> {
        let mut report = Report::new(terminal);
        if let Some(file) = &self.datagram {
            let octets = records::read_datagram(file)?;
            let mut inflater = Inflater::new();
            report.add(&match inflater.text(&octets) {
                Ok(text) => Record::judge(0, text, self.accept_pss),
                Err(error) => Record::malformed(0, error),
            })?;
            return report.end();
        }
        let file = self.file.as_deref().unwrap_or(Path::new("-"));
        let octets = records::read(file)?;
        match records::has_separator(&octets) {
            true => report.file(&octets, self.accept_pss)?,
            false => report.add(&Record::judge(0, &octets, self.accept_pss))?,
        }
        report.end()
    }
}

/// What was judged so far.
pub(crate) struct Report {
    terminal: Terminal,
    table: Table,
    judged: usize,
    bad: usize,
}

impl Report {
    pub(crate) fn new(terminal: Terminal) -> Self {
        let mut table = Table::new(&[
            "#",
            "Identity",
            "Sector",
            "Weight",
            "Address",
            "Actions",
            "Fingerprint",
            "Valid",
        ]);
        table.numbers(&[0, 3, 5]);
        Self {
            terminal,
            table,
            judged: 0,
            bad: 0,
        }
    }

    /// Adds all records of a cache file.
    pub(crate) fn file(&mut self, octets: &[u8], accept_pss: bool) -> Result<(), Failure> {
        let terminal = self.terminal;
        let mut tell = |text: String| terminal.say(&text);
        records::records(octets, accept_pss, &mut tell, &mut |record| {
            self.add(&record)
        })
    }

    pub(crate) fn add(&mut self, record: &Record) -> Result<(), Failure> {
        self.judged += 1;
        self.bad += usize::from(record.outcome.is_err());
        for oddity in record.oddities() {
            self.terminal
                .say(&format!("record {}: {oddity}", record.index));
        }
        if self.terminal.json {
            return self.terminal.data(&to_json(record));
        }
        let index = record.index.to_string();
        let fingerprint = record
            .fingerprint
            .map(|fingerprint| fingerprint.to_string());
        let fingerprint = fingerprint.unwrap_or_default();
        match &record.outcome {
            Ok(announcement) => {
                let row = [
                    &index,
                    announcement.identity(),
                    announcement.sector(),
                    &announcement.weight().to_string(),
                    &announcement.uri().to_string(),
                    &announcement.actions().count().to_string(),
                    &fingerprint,
                    "yes",
                ];
                self.table.row(row, Tone::Plain);
            }
            Err(reason) => {
                let row = [&index, "", "", "", "", "", &fingerprint, reason];
                self.table.row(row, Tone::Bad);
            }
        }
        Ok(())
    }

    /// Says what came of it.
    pub(crate) fn end(self) -> Result<(), Failure> {
        self.table.print(self.terminal)?;
        match self.bad {
            0 => Ok(()),
            bad => {
                let text = format!("{bad} of {} announcements not valid", self.judged);
                Err(Failure::new(Exit::Trust, text).told())
            }
        }
    }
}

/// A judged announcement as `--json` shows it. What a bad one says about itself is left out.
fn to_json(record: &Record) -> String {
    let good = record.outcome.as_ref().ok();
    let mut object = Object::default();
    object.number("index", record.index as u64);
    object.truth("valid", good.is_some());
    object.maybe("reason", record.outcome.as_ref().err().map(String::as_str));
    object.maybe("identity", good.map(|good| good.identity()));
    let fingerprint = record
        .fingerprint
        .map(|fingerprint| fingerprint.to_string());
    object.maybe("fingerprint", fingerprint.as_deref());
    object.maybe("sector", good.map(|good| good.sector()));
    match good {
        Some(good) => object.float("weight", good.weight()),
        None => object.null("weight"),
    }
    object.maybe("uri", good.map(|good| good.uri().to_string()).as_deref());
    let actions = good.into_iter().flat_map(|good| good.actions());
    let actions: Vec<String> = actions.map(|action| action.to_string()).collect();
    object.texts("actions", actions.iter().map(String::as_str));
    object.end()
}
