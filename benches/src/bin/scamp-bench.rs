//! scamp beside tonic, tarpc and raw TLS, on this machine, in one run.

use std::fs::File;
use std::io;
use std::process::ExitCode;
use std::time::Duration;

use scamp_bench::compare::args::Args;
use scamp_bench::compare::goals::CASES;
use scamp_bench::compare::kinds::Kind;
use scamp_bench::compare::report::Report;
use scamp_bench::compare::side_by_side::{Plan, client, serve, side_by_side, unhex};
use scamp_bench::compare::tls::Target;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("scamp-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> io::Result<()> {
    let args = Args::parse(std::env::args().skip(1), OPTIONS)?;
    let words: Vec<&str> = args.words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["side-by-side", cases @ ..] => {
            let json = args.text("json").map(File::create).transpose()?;
            side_by_side(&plan(&args, cases)?, Report::new(json))
        }
        ["serve", kind] => serve(kind.parse()?, &args.required("case")?),
        ["client", kind] => {
            let certificate = unhex(&args.required::<String>("certificate")?)?;
            let outcome = client(
                kind.parse()?,
                &args.required("case")?,
                &Target::new(args.required("to")?, certificate)?,
                args.required("server")?,
                seconds(&args, "warm-up", 0.3)?,
                seconds(&args, "seconds", 0.7)?,
            )?;
            serde_json::to_writer(io::stdout(), &outcome)?;
            Ok(())
        }
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, USAGE)),
    }
}

fn plan(args: &Args, cases: &[&str]) -> io::Result<Plan> {
    let cases = if cases.is_empty() { CASES } else { cases };
    let kinds = match args.text("kinds") {
        Some(list) => list
            .split(',')
            .map(str::parse)
            .collect::<io::Result<Vec<Kind>>>()?,
        None => Kind::ALL.to_vec(),
    };
    Ok(Plan {
        cases: cases
            .iter()
            .map(|text| text.parse())
            .collect::<io::Result<_>>()?,
        kinds,
        repeats: args.option("repeats", 5)?,
        warm_up: seconds(args, "warm-up", 0.3)?,
        span: seconds(args, "seconds", 0.7)?,
    })
}

fn seconds(args: &Args, name: &str, default: f64) -> io::Result<Duration> {
    Duration::try_from_secs_f64(args.option(name, default)?).map_err(io::Error::other)
}

const OPTIONS: &[&str] = &[
    "case",
    "certificate",
    "json",
    "kinds",
    "repeats",
    "seconds",
    "server",
    "to",
    "warm-up",
];

const USAGE: &str = "usage:
  scamp-bench side-by-side [CASE...] [--kinds KIND,KIND] [--repeats N] [--seconds S]
                           [--warm-up S] [--json FILE]
  scamp-bench serve KIND --case CASE
  scamp-bench client KIND --case CASE --to ADDRESS --certificate HEX --server PROCESS
cases: echo,c=64,body=100  bulk,window=262144,chunk=32768  beside,window=262144,chunk=32768
       idle,n=1000; each also with pin=one|two|free and workers=N
kinds: scamp raw raw-limited raw-split tonic tarpc";
