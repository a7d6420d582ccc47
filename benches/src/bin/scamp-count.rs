//! Instructions and allocations of the core, beside their goals.
//!
//! `scamp-count [NAME...]` prints a table of all jobs, or of those whose name begins with one of
//! the words, and fails if one costs more than its budget by over two in a hundred.
//! `scamp-count --table` prints the budgets' table anew. Instructions need valgrind; without it
//! that column is empty. With feature `compare`, `scamp-count whole-stack [KIND...]` counts both
//! ends of each kind in one thread, TLS and runtime included.

use std::alloc::System;
use std::io;
use std::process::ExitCode;

use scamp_bench::count::{Job, callgrind, jobs};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["run", name, times] => run(name, times),
        ["--table"] => table(),
        #[cfg(feature = "compare")]
        ["both", kind, case, requests] => both(kind, case, requests),
        #[cfg(feature = "compare")]
        ["whole-stack", kinds @ ..] => whole_stack(kinds),
        names => report(names),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("scamp-count: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Does one job and nothing else, for valgrind to count.
fn run(name: &str, times: &str) -> io::Result<()> {
    let job = jobs().find(|job| job.name == name);
    let job = job.ok_or_else(|| io::Error::other(format!("no such job: {name}")))?;
    (job.run)(times.parse().map_err(io::Error::other)?);
    Ok(())
}

/// Does echoes of one kind and nothing else, for valgrind to count.
#[cfg(feature = "compare")]
fn both(kind: &str, case: &str, requests: &str) -> io::Result<()> {
    let requests = requests.parse().map_err(io::Error::other)?;
    scamp_bench::compare::whole_stack::both(kind.parse()?, &case.parse()?, requests)?;
    Ok(())
}

/// Counts the kinds named, or all.
#[cfg(feature = "compare")]
fn whole_stack(names: &[&str]) -> io::Result<()> {
    use scamp_bench::compare::kinds::Kind;
    let kinds = names
        .iter()
        .map(|name| name.parse())
        .collect::<io::Result<Vec<Kind>>>()?;
    let kinds = if kinds.is_empty() { Kind::ALL } else { &kinds };
    scamp_bench::compare::whole_stack::report(kinds, ALLOCATOR)
}

/// Prints the rows of the budgets' table.
fn table() -> io::Result<()> {
    for job in jobs() {
        let (instructions, spent) = (instructions(job)?, job.allocations(ALLOCATOR));
        println!(
            "    row({:?}, {instructions:.0}, {:.2}),",
            job.name, spent.calls
        );
    }
    Ok(())
}

fn report(names: &[&str]) -> io::Result<()> {
    println!(
        "{:<22} {:>12} {:>7} {:>8}   {:>11} {:>5} {:>11}",
        "each time", "instructions", "goal", "change", "allocations", "goal", "octets"
    );
    let mut without_valgrind = None;
    let (mut missed, mut dearer) = (0, Vec::new());
    for job in jobs() {
        if !names.is_empty() && !names.iter().any(|name| job.name.starts_with(name)) {
            continue;
        }
        let counted = match &without_valgrind {
            None => instructions(job)
                .map_err(|error| without_valgrind = Some(error))
                .ok(),
            Some(_) => None,
        };
        let row = Row::new(job, counted);
        row.print();
        missed += usize::from(row.misses_a_goal());
        if row.is_dearer() {
            dearer.push(job.name);
        }
    }
    if let Some(error) = without_valgrind {
        println!("instructions were not counted: {error}");
    }
    println!("{missed} of them miss a goal");
    match dearer.as_slice() {
        [] => Ok(()),
        names => Err(io::Error::other(format!(
            "over budget: {}",
            names.join(", ")
        ))),
    }
}

fn instructions(job: &Job) -> io::Result<f64> {
    callgrind::each(job.times, |times| {
        vec!["run".to_owned(), job.name.to_owned(), times.to_string()]
    })
}

/// One job's line in the report.
struct Row<'a> {
    job: &'a Job,
    instructions: Option<f64>,
    allocations: f64,
    octets: f64,
}

impl<'a> Row<'a> {
    fn new(job: &'a Job, instructions: Option<f64>) -> Self {
        let spent = job.allocations(ALLOCATOR);
        Self {
            job,
            instructions,
            allocations: spent.calls,
            octets: spent.octets,
        }
    }

    fn misses_a_goal(&self) -> bool {
        let goal = self.job.instructions.map(|goal| goal as f64);
        let dear = self
            .instructions
            .zip(goal)
            .is_some_and(|(figure, goal)| figure > goal);
        dear || self
            .job
            .allocations
            .is_some_and(|goal| self.allocations > goal + ROUNDING)
    }

    /// Instructions beyond the budget, as a share of it.
    fn change(&self) -> Option<f64> {
        let budget = self.job.budget()?.instructions as f64;
        Some(self.instructions? / budget - 1.0)
    }

    fn is_dearer(&self) -> bool {
        let budget = self.job.budget();
        self.change().is_some_and(|change| change > TOLERANCE)
            || budget.is_some_and(|budget| self.allocations > budget.allocations + ROUNDING)
    }

    fn print(&self) {
        let or_blank = |text: Option<String>| text.unwrap_or_default();
        println!(
            "{:<22} {:>12} {:>7} {:>8}   {:>11.2} {:>5} {:>11.1}   {}{}",
            self.job.name,
            or_blank(self.instructions.map(|count| format!("{count:.0}"))),
            or_blank(self.job.instructions.map(|goal| goal.to_string())),
            or_blank(
                self.change()
                    .map(|change| format!("{:+.1} %", change * 100.0))
            ),
            self.allocations,
            or_blank(self.job.allocations.map(|goal| goal.to_string())),
            self.octets,
            self.job.rule,
            if self.misses_a_goal() { " missed" } else { "" },
        );
    }
}

/// How far instructions may pass their budget.
const TOLERANCE: f64 = 0.02;
/// A buffer that doubles now and then leaves a fraction in the quotient.
const ROUNDING: f64 = 0.02;
