//! The driver: starts both ends as children, pins them, and takes turns A B C A B C.

use std::env;
use std::io::{self, BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use super::case::{Case, Shape};
use super::kinds::{self, Kind};
use super::machine::{self, End, Facts};
use super::report::Report;
use super::run::{Outcome, Run, measure};
use super::tls::{Listener, Target};

/// How the driver goes about it.
#[derive(Debug)]
pub struct Plan {
    /// What is measured, in this order.
    pub cases: Vec<Case>,
    /// Which kinds take part, in this order; the first is what the tables divide.
    pub kinds: Vec<Kind>,
    /// Turns; the goals want at least 5.
    pub repeats: usize,
    /// What each turn does before it counts.
    pub warm_up: Duration,
    /// What each turn measures.
    pub span: Duration,
}

/// Runs all of `plan`, printing a table for each case and the goals at the end.
pub fn side_by_side(plan: &Plan, mut report: Report) -> io::Result<()> {
    report.machine("before", &Facts::read())?;
    for case in &plan.cases {
        let kinds: Vec<Kind> = plan
            .kinds
            .iter()
            .copied()
            .filter(|kind| kind.takes_part_in(case.shape))
            .collect();
        run_case(plan, case, &kinds, &mut report)?;
        report.case(case, &kinds);
        io::stdout().flush()?;
    }
    let not_run = report.goals()?;
    println!("  {not_run} goals speak of cases or kinds that were not run");
    report.machine("after", &Facts::read())
}

/// Serves `kind`: prints one line that says where, then goes on until the process is ended.
pub fn serve(kind: Kind, case: &Case) -> io::Result<()> {
    runtime(case.workers)?.block_on(async {
        let listener = Listener::bind().await?;
        let certificate = hex(&listener.identity().certificate);
        println!("{} {certificate}", listener.address()?);
        io::stdout().flush()?;
        kinds::serve(kind, case, listener).await
    })
}

/// Runs one client and returns what it found.
pub fn client(
    kind: Kind,
    case: &Case,
    target: &Target,
    server: u32,
    warm_up: Duration,
    span: Duration,
) -> io::Result<Outcome> {
    runtime(case.workers)?.block_on(async {
        if let Shape::Idle { connections } = case.shape {
            return idle(kind, target, server, connections).await;
        }
        let run = Run::timed();
        // In a task of its own, as an application would have it, and so that the runtime's main
        // task costs no kind more than another.
        let work = {
            let (case, target, run) = (case.clone(), target.clone(), run.clone());
            tokio::spawn(async move { kinds::client(kind, &case, &target, &run).await })
        };
        measure(&run, server, warm_up, span, async {
            work.await.map_err(io::Error::other)?
        })
        .await
    })
}

fn run_case(plan: &Plan, case: &Case, kinds: &[Kind], report: &mut Report) -> io::Result<()> {
    let mut servers = Vec::new();
    for kind in kinds {
        servers.push(Server::start(*kind, case)?);
    }
    for repeat in 0..plan.repeats {
        for server in &mut servers {
            // A server that has held idle connections has memory to give to the next ones.
            if repeat > 0 && matches!(case.shape, Shape::Idle { .. }) {
                *server = Server::start(server.kind, case)?;
            }
            let outcome = server.client(plan, case)?;
            report.add(case, server.kind, repeat, outcome)?;
        }
    }
    Ok(())
}

/// A serving child; ended when dropped.
struct Server {
    kind: Kind,
    child: Child,
    address: SocketAddr,
    certificate: String,
}

impl Server {
    fn start(kind: Kind, case: &Case) -> io::Result<Self> {
        let mut child = machine::pinned(&program()?, case.pin, End::Server)?
            .args(["serve", &kind.to_string(), "--case", &case.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().expect("it was asked to be piped");
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let (address, certificate) = line
            .trim_end()
            .split_once(' ')
            .ok_or_else(|| io::Error::other(format!("the {kind} server did not start")))?;
        let address = address.parse().map_err(io::Error::other)?;
        Ok(Self {
            kind,
            child,
            address,
            certificate: certificate.to_owned(),
        })
    }

    /// Runs a fresh client process against this server.
    fn client(&self, plan: &Plan, case: &Case) -> io::Result<Outcome> {
        let output = machine::pinned(&program()?, case.pin, End::Client)?
            .args([
                "client",
                &self.kind.to_string(),
                "--case",
                &case.to_string(),
            ])
            .args([
                "--to",
                &self.address.to_string(),
                "--certificate",
                &self.certificate,
            ])
            .args(["--server", &self.child.id().to_string()])
            .args(["--warm-up", &plan.warm_up.as_secs_f64().to_string()])
            .args(["--seconds", &plan.span.as_secs_f64().to_string()])
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()?;
        if !output.status.success() {
            return Err(io::Error::other(format!(
                "the {} client failed in {case}",
                self.kind
            )));
        }
        serde_json::from_slice(&output.stdout).map_err(io::Error::other)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Errors mean that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Opens `connections` one after another and weighs the server before and after.
async fn idle(kind: Kind, target: &Target, server: u32, connections: usize) -> io::Result<Outcome> {
    // The first connections pay for what all share: buffers, tasks, certificates.
    let mut parked = Vec::new();
    for _ in 0..IDLE_WARM_UP {
        parked.push(kinds::park(kind, target).await?);
    }
    let before = machine::resident(server)?;
    for _ in 0..connections {
        parked.push(kinds::park(kind, target).await?);
    }
    let grown = machine::resident(server)?.saturating_sub(before);
    Ok(Outcome {
        seconds: 1.0,
        octets_per_connection: grown as f64 / connections as f64,
        ..Outcome::default()
    })
}

/// The runtime that every kind uses at both ends.
pub(super) fn runtime(workers: usize) -> io::Result<tokio::runtime::Runtime> {
    match workers {
        0 => tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build(),
        _ => tokio::runtime::Builder::new_multi_thread()
            .worker_threads(workers)
            .enable_all()
            .build(),
    }
}

/// This program, to start it again as a child.
fn program() -> io::Result<PathBuf> {
    env::current_exe()
}

/// Octets as lower-case hexadecimal digits.
pub fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// The octets that `text` writes as hexadecimal digits.
pub fn unhex(text: &str) -> io::Result<Vec<u8>> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .map(|digit| digit.to_digit(16).map(|value| value as u8))
        .collect();
    let digits = digits.ok_or_else(|| io::Error::other("not hexadecimal"))?;
    Ok(digits
        .chunks(2)
        .map(|pair| pair.iter().fold(0, |octet, digit| octet << 4 | digit))
        .collect())
}

/// Connections opened before the server is weighed for the first time.
const IDLE_WARM_UP: usize = 50;
