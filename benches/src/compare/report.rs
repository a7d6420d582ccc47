//! Tables for people, JSON lines for programs.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};

use serde_json::json;

use super::case::{Case, Shape};
use super::goals::{Figure, GOALS, Goal};
use super::kinds::Kind;
use super::machine::Facts;
use super::run::Outcome;

/// All outcomes of one run of the driver, and where they are written.
#[derive(Debug, Default)]
pub struct Report {
    /// One outcome for each repeat, by the text of the case and of the kind.
    outcomes: BTreeMap<(String, String), Vec<Outcome>>,
    json: Option<File>,
}

/// Smallest, middle and largest of some figures.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Spread {
    least: f64,
    median: f64,
    most: f64,
}

impl Report {
    /// A report that also writes JSON lines to `json`, where there is one.
    pub fn new(json: Option<File>) -> Self {
        Self {
            outcomes: BTreeMap::new(),
            json,
        }
    }

    /// Writes what the machine is.
    pub fn machine(&mut self, when: &str, facts: &Facts) -> io::Result<()> {
        println!(
            "{when}: {}, cores {:?}, Linux {}, {}, load {}",
            facts.processor, facts.cores, facts.kernel, facts.congestion_control, facts.load
        );
        self.line(json!({ "type": "machine", "when": when, "facts": facts }))
    }

    /// Takes in one outcome.
    pub fn add(
        &mut self,
        case: &Case,
        kind: Kind,
        repeat: usize,
        outcome: Outcome,
    ) -> io::Result<()> {
        let (case, kind) = (case.to_string(), kind.to_string());
        self.line(json!({
            "type": "outcome", "case": case, "kind": kind, "repeat": repeat, "outcome": outcome,
        }))?;
        self.outcomes.entry((case, kind)).or_default().push(outcome);
        Ok(())
    }

    /// Prints the table of one case. Its last columns say how much better the first kind is than
    /// each, by the main figure and by CPU time.
    pub fn case(&self, case: &Case, kinds: &[Kind]) {
        let Some(first) = kinds.first() else { return };
        println!("\n{case}");
        println!(
            "  {:<11} {:>29} {:>9} {:>9}  {:<23}  {first} / this{:17}by CPU",
            "",
            figure_heading(case.shape),
            "p50 us",
            "p99 us",
            cpu_heading(case.shape),
            "",
        );
        for kind in kinds {
            self.row(case, *kind, *first);
        }
    }

    fn row(&self, case: &Case, kind: Kind, first: Kind) {
        let (case_text, kind_text) = (case.to_string(), kind.to_string());
        let Some(outcomes) = self.of(&case_text, &kind_text) else {
            return;
        };
        let figure = Figure::main_of(case.shape);
        let main = Spread::of(outcomes.iter().map(|one| scaled(figure, one)));
        let middle =
            |figure: &dyn Fn(&Outcome) -> f64| Spread::of(outcomes.iter().map(figure)).median;
        print!(
            "  {kind_text:<11} {:>9.1} {:>9.1} {:>9.1} {:>9.1} {:>9.1}",
            main.least,
            main.median,
            main.most,
            middle(&|one| one.p50_us),
            middle(&|one| one.p99_us),
        );
        // For each request, or for each gigabyte.
        let per = |one: &Outcome| match case.shape {
            Shape::Echo { .. } => 1e6 / one.requests as f64,
            Shape::Bulk { .. } | Shape::Beside { .. } => 1e9 / one.octets as f64,
            Shape::Idle { .. } => 0.0,
        };
        print!(
            "  {:>9.2} + {:>9.2}  ",
            middle(&|one| one.client_cpu * per(one)),
            middle(&|one| one.server_cpu * per(one)),
        );
        let first_text = first.to_string();
        let (subject, this) = (
            (case_text.as_str(), first_text.as_str()),
            (&*case_text, &*kind_text),
        );
        if let Some(ratio) = self.ratios(figure, subject, this) {
            print!("  {:<28}", ratio.text());
        }
        if let Some(ratio) =
            Figure::cost_of(case.shape).and_then(|cost| self.ratios(cost, this, subject))
        {
            print!("  {:.3}", ratio.median);
        }
        println!();
        if let Shape::Beside { .. } = case.shape {
            let bulk = Spread::of(outcomes.iter().map(Outcome::megabytes_per_second));
            println!("  {:<11} MB/s beside it: {}", "", bulk.text());
        }
    }

    /// Prints and writes every goal whose two kinds were run; returns how many were not.
    pub fn goals(&mut self) -> io::Result<usize> {
        println!("\ngoals (median of the ratios, least and most)");
        let mut not_run = 0;
        for goal in GOALS {
            let Some(ratio) = self.ratios(goal.figure, goal.subject, goal.against) else {
                not_run += 1;
                continue;
            };
            self.goal(goal, ratio)?;
        }
        Ok(not_run)
    }

    fn goal(&mut self, goal: &Goal, ratio: Spread) -> io::Result<()> {
        let verdict = goal.bound.judge(ratio.median);
        let (case, subject) = goal.subject;
        let (other_case, against) = goal.against;
        let of = if case == other_case {
            String::new()
        } else {
            format!(" of {other_case}")
        };
        println!(
            "  {:<8} {:<54} {:<16} {subject} / {against}{of}: {}, goal {}: {verdict}",
            goal.name,
            case,
            goal.figure.to_string(),
            ratio.text(),
            goal.bound,
        );
        self.line(json!({
            "type": "goal", "goal": goal.name, "figure": goal.figure.to_string(),
            "case": case, "kind": subject, "against_case": other_case, "against": against,
            "ratio": ratio.median, "least": ratio.least, "most": ratio.most,
            "bound": goal.bound.to_string(), "verdict": verdict.to_string(),
        }))
    }

    /// The ratios of a figure, repeat by repeat.
    fn ratios(
        &self,
        figure: Figure,
        subject: (&str, &str),
        against: (&str, &str),
    ) -> Option<Spread> {
        let (subject, against) = (
            self.of(subject.0, subject.1)?,
            self.of(against.0, against.1)?,
        );
        let pairs = subject.iter().zip(against);
        Some(Spread::of(
            pairs.map(|(one, other)| figure.of(one) / figure.of(other)),
        ))
    }

    fn of(&self, case: &str, kind: &str) -> Option<&[Outcome]> {
        self.outcomes
            .get(&(case.to_owned(), kind.to_owned()))
            .map(Vec::as_slice)
    }

    fn line(&mut self, value: serde_json::Value) -> io::Result<()> {
        match &mut self.json {
            Some(file) => writeln!(file, "{value}"),
            None => Ok(()),
        }
    }
}

impl Spread {
    /// The spread of at least one figure; of none, three zeros.
    fn of(figures: impl Iterator<Item = f64>) -> Self {
        let mut figures: Vec<f64> = figures.collect();
        figures.sort_by(f64::total_cmp);
        let at = |index: usize| figures.get(index).copied().unwrap_or_default();
        Self {
            least: at(0),
            median: (at((figures.len().max(1) - 1) / 2) + at(figures.len() / 2)) / 2.0,
            most: at(figures.len().max(1) - 1),
        }
    }

    fn text(self) -> String {
        format!("{:.3} ({:.3} to {:.3})", self.median, self.least, self.most)
    }
}

/// The figure in the unit of [`figure_heading`].
fn scaled(figure: Figure, outcome: &Outcome) -> f64 {
    match figure {
        Figure::Requests => figure.of(outcome) / 1e3,
        Figure::Memory => figure.of(outcome) / 1024.0,
        Figure::Megabytes | Figure::CpuPerGigabyte | Figure::CpuPerRequest | Figure::P50 => {
            figure.of(outcome)
        }
    }
}

fn figure_heading(shape: Shape) -> &'static str {
    match shape {
        Shape::Echo { .. } => "1000/s: least, median, most",
        Shape::Bulk { .. } => "MB/s: least, median, most",
        Shape::Beside { .. } => "p50 us: least, median, most",
        Shape::Idle { .. } => "KiB each: least, median, most",
    }
}

fn cpu_heading(shape: Shape) -> &'static str {
    match shape {
        Shape::Echo { .. } => "CPU us, client+server",
        Shape::Bulk { .. } | Shape::Beside { .. } => "CPU s/GB, client+server",
        Shape::Idle { .. } => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads_of_odd_and_even_counts() {
        let of = |figures: &[f64]| Spread::of(figures.iter().copied());
        assert_eq!(
            of(&[3.0, 1.0, 2.0]),
            Spread {
                least: 1.0,
                median: 2.0,
                most: 3.0
            }
        );
        assert_eq!(of(&[4.0, 1.0]).median, 2.5);
        assert_eq!(of(&[]).median, 0.0);
    }

    #[test]
    fn ratios_are_taken_repeat_by_repeat() {
        let case: Case = "echo".parse().expect("a case");
        let mut report = Report::default();
        for (repeat, (raw, tonic)) in [(10, 5), (100, 25), (30, 10)].into_iter().enumerate() {
            let outcome = |requests| Outcome {
                seconds: 1.0,
                requests,
                ..Outcome::default()
            };
            report
                .add(&case, Kind::Raw, repeat, outcome(raw))
                .expect("no file");
            report
                .add(&case, Kind::Tonic, repeat, outcome(tonic))
                .expect("no file");
        }
        let case = case.to_string();
        let ratio = report.ratios(Figure::Requests, (&case, "raw"), (&case, "tonic"));
        assert_eq!(
            ratio,
            Some(Spread {
                least: 2.0,
                median: 3.0,
                most: 4.0
            })
        );
    }
}
