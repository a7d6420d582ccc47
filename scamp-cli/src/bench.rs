//! `scamp bench`: many requests, and how long they take (K-11).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use clap::{ArgGroup, Args};
use scamp_blocking::{Bytes, CallError, Client, RequestHead, RequestOptions};
use scamp_proto::limits::COLLECTED_BODY;

use crate::action::Action;
use crate::asking::{Asking, span};
use crate::certificate;
use crate::completion;
use crate::failure::{Exit, Failure};
use crate::finder::Finder;
use crate::histogram::Histogram;
use crate::json::Object;
use crate::peer::{self, Peer};
use crate::progress::Progress;
use crate::settings::Settings;
use crate::terminal::{FIELD, Terminal, outside};

/// Send many requests, and tell how long they take
///
/// Without --rate each of --conc callers asks again as soon as it is answered. With --rate requests
/// are begun at fixed times, whatever became of those before, and their latencies count from those
/// times. A request that fails is told once, and makes the exit code that of `call`.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("trust"))]
pub(crate) struct Bench {
    /// What to call: `[SECTOR:]Name.space.verb[~VERSION]`
    #[arg(value_parser = Action::parse, add = completion::actions())]
    action: Action,
    /// Each request's body; `@FILE` reads a file, `-` standard input; empty without it
    #[arg(allow_negative_numbers = true)]
    data: Option<String>,
    #[command(flatten)]
    asking: Asking,
    #[command(flatten)]
    peer: Peer,
    /// How many requests in all
    #[arg(short, long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    number: Option<u64>,
    /// How long; without it, and without a number, 5 s
    #[arg(long, value_name = "TIME", value_parser = span)]
    duration: Option<Duration>,
    /// How many requests at a time; 1 unless set, and with --rate 64 at the most
    #[arg(short = 'p', long, visible_alias = "concurrency", short_alias = 'c', value_name = "NUMBER",
        value_parser = clap::value_parser!(u64).range(1..=4096))]
    conc: Option<u64>,
    /// How many requests to begin in a second
    #[arg(long, value_name = "NUMBER", value_parser = rate)]
    rate: Option<f64>,
}

impl Bench {
    pub(crate) fn run(&self, terminal: Terminal, settings: &Settings) -> Result<(), Failure> {
        let head = self.asking.head(&self.action)?;
        let body = self.body()?;
        let target = match &self.peer.connect {
            Some(address) => {
                let pin = self.peer.pin()?;
                Target::Direct(peer::connect(address, pin, self.asking.timeout)?)
            }
            None => {
                let finder = Finder::open(terminal, settings)?;
                self.asking.look_up(terminal, &self.action, &finder)?;
                Target::Bus(Box::new(finder))
            }
        };
        let conc = self.conc.unwrap_or(match self.rate {
            Some(_) => 64,
            None => 1,
        });
        let duration = match (self.duration, self.number) {
            (None, None) => Some(CUSTOMARY),
            (duration, _) => duration,
        };
        let stop = std::sync::Arc::new(AtomicBool::new(false));
        let signal = stop.clone();
        crate::interrupt::shuts_down(
            move || signal.store(true, Ordering::SeqCst),
            || std::process::exit(Exit::Interrupted.code().into()),
        )?;
        let begun = Instant::now();
        let run = Run {
            bench: self,
            terminal,
            target,
            head,
            body,
            begun,
            end: duration.map(|span| begun + span),
            next: AtomicU64::new(0),
            stop: &stop,
            tally: Mutex::default(),
            progress: Progress::new(terminal, begun),
        };
        thread::scope(|scope| {
            // Over when the last of them has dropped its end.
            let (asking, over) = mpsc::channel::<()>();
            if run.progress.is_wanted() {
                let run = &run;
                scope.spawn(move || run.show_progress(&over));
            }
            for _ in 0..conc {
                let (run, asking) = (&run, asking.clone());
                scope.spawn(move || {
                    run.work();
                    drop(asking);
                });
            }
        });
        self.report(&run, conc)?;
        let tally = run.tally();
        match (&tally.first, stop.load(Ordering::SeqCst)) {
            (_, true) => Err(Failure::new(Exit::Interrupted, "")),
            (None, false) => Ok(()),
            (Some(first), false) => {
                let (failed, all) = (tally.failed(), tally.failed() + tally.latencies.count());
                let text = format!("{failed} of {all} requests failed");
                Err(Failure::new(*first, text).told())
            }
        }
    }

    fn body(&self) -> Result<Bytes, Failure> {
        let text = self.data.as_deref().unwrap_or_default();
        let file = match text {
            "-" | "@-" => Some("-"),
            _ => text.strip_prefix('@'),
        };
        Ok(match file {
            None => text.as_bytes().to_vec().into(),
            Some(file) => certificate::read_up_to(Path::new(file), COLLECTED_BODY as u64)?.into(),
        })
    }

    fn report(&self, run: &Run<'_>, conc: u64) -> Result<(), Failure> {
        let tally = run.tally();
        let (ok, failed) = (tally.latencies.count(), tally.failed());
        let seconds = tally
            .last
            .map_or(Duration::ZERO, |last| last - run.begun)
            .as_secs_f64();
        let rate = match seconds > 0.0 {
            true => ok as f64 / seconds,
            false => 0.0,
        };
        let repeated = match &run.target {
            Target::Bus(finder) => finder.requester.stats().calls_repeated,
            Target::Direct(_) => 0,
        };
        let latency = |quantile: f64| Duration::from_nanos(tally.latencies.quantile(quantile));
        let terminal = run.terminal;
        if terminal.json {
            let mut times = Object::default();
            times.seconds("min", latency(0.0));
            times.seconds("mean", Duration::from_nanos(tally.latencies.mean()));
            for (name, quantile) in QUANTILES {
                times.seconds(name, latency(quantile));
            }
            times.seconds("max", latency(1.0));
            let mut errors = Object::default();
            for (kind, count) in &tally.errors {
                errors.number(kind, *count);
            }
            let mut object = Object::default();
            object.text("action", &self.action.to_string());
            object.number("requests", ok + failed);
            object.number("ok", ok);
            object.number("failed", failed);
            object.number("repeated", repeated);
            object.number("conc", conc);
            object.seconds("seconds", Duration::from_secs_f64(seconds));
            object.float("per_second", (rate * 10.0).round() / 10.0);
            object.number("octets_sent", (ok + failed) * run.body.len() as u64);
            object.number("octets_received", tally.octets);
            object.raw("latency", &times.end());
            object.raw("errors", &errors.end());
            return terminal.data(&object.end());
        }
        let paint = terminal.paint();
        let failures = match failed {
            0 => paint.good("none failed"),
            _ => paint.bad(&format!("{failed} failed")),
        };
        terminal.data(&format!(
            "{} requests in {seconds:.2} s, {rate:.0} a second, {failures}, {repeated} sent twice",
            ok + failed
        ))?;
        if ok > 0 {
            let mut line = format!("latency  min {:.1?}", latency(0.0));
            for (name, quantile) in QUANTILES {
                line.push_str(&format!("  {name} {:.1?}", latency(quantile)));
            }
            line.push_str(&format!("  max {:.1?}", latency(1.0)));
            terminal.data(&line)?;
        }
        for (kind, count) in &tally.errors {
            terminal.data(&paint.bad(&format!("{count:>8}  {}", outside(kind, FIELD))))?;
        }
        Ok(())
    }
}

/// Who is asked.
enum Target {
    Bus(Box<Finder>),
    Direct(Client),
}

struct Run<'a> {
    bench: &'a Bench,
    terminal: Terminal,
    target: Target,
    head: RequestHead<'static>,
    body: Bytes,
    begun: Instant,
    end: Option<Instant>,
    next: AtomicU64,
    stop: &'a AtomicBool,
    tally: Mutex<Tally>,
    progress: Progress,
}

/// What came of the requests.
#[derive(Default)]
struct Tally {
    /// In nanoseconds, of those that were answered well.
    latencies: Histogram,
    octets: u64,
    errors: BTreeMap<String, u64>,
    /// The exit code of the first that failed.
    first: Option<Exit>,
    last: Option<Instant>,
}

impl Tally {
    fn failed(&self) -> u64 {
        self.errors.values().sum()
    }
}

impl Run<'_> {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        while let Some((number, at)) = self.turn() {
            let result = self.ask();
            let now = Instant::now();
            self.count(number, now, now - at, result);
        }
    }

    /// Shows how far it is until it is over.
    fn show_progress(&self, over: &Receiver<()>) {
        while over.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
            let (done, failed) = {
                let tally = self.tally();
                (tally.latencies.count() + tally.failed(), tally.failed())
            };
            let elapsed = self.begun.elapsed().as_secs_f64();
            let of_number = self.bench.number.map(|all| done as f64 / all as f64);
            let of_time = self.end.map(|end| {
                let whole = (end - self.begun).as_secs_f64();
                elapsed / whole.max(f64::MIN_POSITIVE)
            });
            // Whichever comes first ends it.
            let share = of_number.unwrap_or(0.0).max(of_time.unwrap_or(0.0));
            let rate = done as f64 / elapsed.max(f64::MIN_POSITIVE);
            let text = format!("{done} requests, {rate:.0} a second, {failed} failed");
            self.progress.show(share, &text);
        }
        self.progress.aside(|| ());
    }

    /// The number of the next request, and since when it should be under way; waits until then.
    fn turn(&self) -> Option<(u64, Instant)> {
        let is_over =
            |at: Instant| self.stop.load(Ordering::SeqCst) || self.end.is_some_and(|end| at >= end);
        if is_over(Instant::now()) {
            return None;
        }
        let number = self.next.fetch_add(1, Ordering::SeqCst);
        if self.bench.number.is_some_and(|all| number >= all) {
            return None;
        }
        let Some(rate) = self.bench.rate else {
            return Some((number, Instant::now()));
        };
        let at = self.begun + Duration::from_secs_f64(number as f64 / rate);
        if is_over(at) {
            return None;
        }
        while let Some(left) = at.checked_duration_since(Instant::now()) {
            if is_over(at) {
                return None;
            }
            thread::sleep(left.min(LOOK));
        }
        Some((number, at))
    }

    fn ask(&self) -> Result<usize, CallError> {
        let Bench { asking, action, .. } = self.bench;
        let response = match &self.target {
            Target::Bus(finder) => {
                let mut ask = asking.ask(action, self.head.clone());
                if let Some(timeout) = asking.timeout {
                    ask = ask.timeout(timeout);
                }
                finder.requester.call_raw(ask, self.body.clone())?
            }
            Target::Direct(client) => {
                let options = RequestOptions {
                    timeout: asking.timeout,
                    timeout_covers_body: true,
                    ..RequestOptions::default()
                };
                client.call_with(self.head.clone(), self.body.clone(), &options)?
            }
        };
        Ok(response.body.len())
    }

    fn count(&self, number: u64, now: Instant, took: Duration, result: Result<usize, CallError>) {
        let mut tally = self.tally();
        tally.last = tally.last.max(Some(now));
        match result {
            Ok(octets) => {
                tally
                    .latencies
                    .add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
                tally.octets += octets as u64;
            }
            Err(error) => {
                *tally.errors.entry(kind(&error)).or_default() += 1;
                let failure = Failure::from(error);
                tally.first.get_or_insert(failure.exit);
                // Under the lock, so that what is told comes in one piece and before the summary.
                let told = || self.tell(number, &failure, tally.failed());
                self.progress.aside(told);
            }
        }
    }

    /// Tells of a request that failed.
    fn tell(&self, number: u64, failure: &Failure, failed: u64) {
        if self.terminal.json {
            let mut object = Object::default();
            object.number("request", number);
            object.raw("failure", &failure.to_json());
            // Whoever does not read it will not read the rest either.
            let _ = self.terminal.data(&object.end());
            return;
        }
        match failed {
            ..=TOLD => {
                let text = outside(&failure.text, FIELD);
                self.terminal.say(&format!("request {number}: {text}"));
            }
            _ if failed == TOLD + 1 => self.terminal.say("more that fail are only counted"),
            _ => {}
        }
    }
}

/// What kind of failure it was, for counting.
fn kind(error: &CallError) -> String {
    if let CallError::Remote(error) = error {
        return format!("error_code {}", error.code);
    }
    let word = match Failure::from(error.clone()).exit {
        Exit::NotFound => "not found",
        Exit::NotDispatched => "not dispatched",
        Exit::Timeout => "timeout",
        Exit::Trust => "not trusted",
        Exit::Lost => "lost",
        Exit::Interrupted => "cancelled",
        _ => "other",
    };
    word.to_owned()
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: Option<f64> = text.parse().ok();
    rate.filter(|rate| (0.001..=1e6).contains(rate))
        .ok_or_else(|| "a rate is from 0.001 to 1000000 requests a second".to_owned())
}

const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)];

/// How long it goes on if nobody says.
const CUSTOMARY: Duration = Duration::from_secs(5);

/// Failures that people are told one by one.
const TOLD: u64 = 1000;

/// How often somebody who waits for his turn looks whether it is over.
const LOOK: Duration = Duration::from_millis(50);
