//! One measurement inside one client process.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::machine;

/// Tells the callers when to start counting and when to stop, and collects what they moved.
#[derive(Debug)]
pub struct Run {
    stage: AtomicU8,
    /// Requests still to be made, where the run ends by count and not by the clock.
    left: Option<AtomicI64>,
    octets: AtomicU64,
}

/// Round-trip times in nanoseconds, one for each request inside the measured span.
#[derive(Debug, Default)]
pub struct Samples(Vec<u32>);

/// What one client process found.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Outcome {
    /// Length of the measured span.
    pub seconds: f64,
    /// Requests answered in it.
    pub requests: u64,
    /// Octets of bulk reply that arrived in it.
    pub octets: u64,
    /// Median round-trip time; 0 without requests.
    pub p50_us: f64,
    /// The round-trip time that one request in a hundred exceeded; 0 without requests.
    pub p99_us: f64,
    /// CPU time of the client in the span.
    pub client_cpu: f64,
    /// CPU time of the server in the span, read at the same marks.
    pub server_cpu: f64,
    /// Growth of the server's resident memory for each idle connection; 0 in other cases.
    pub octets_per_connection: f64,
}

impl Run {
    /// A run that [`measure`] starts and stops by the clock.
    pub fn timed() -> Arc<Self> {
        Arc::new(Self {
            stage: AtomicU8::new(WARM_UP),
            left: None,
            octets: AtomicU64::new(0),
        })
    }

    /// A run of exactly `requests` requests, all of them measured.
    pub fn counted(requests: u64) -> Arc<Self> {
        let left = i64::try_from(requests).unwrap_or(i64::MAX);
        Arc::new(Self {
            stage: AtomicU8::new(MEASURED),
            left: Some(AtomicI64::new(left)),
            octets: AtomicU64::new(0),
        })
    }

    /// Whether one more request should be made; counts it where the run ends by count.
    pub fn goes_on(&self) -> bool {
        match &self.left {
            Some(left) => left.fetch_sub(1, Ordering::Relaxed) > 0,
            None => !self.is_over(),
        }
    }

    /// Whether the clock has ended the run.
    pub fn is_over(&self) -> bool {
        self.stage.load(Ordering::Relaxed) == OVER
    }

    /// Whether what happens now belongs to the measured span.
    pub fn is_measured(&self) -> bool {
        self.stage.load(Ordering::Relaxed) == MEASURED
    }

    /// Notes octets of a bulk reply.
    pub fn add_octets(&self, octets: usize) {
        if self.is_measured() {
            self.octets.fetch_add(octets as u64, Ordering::Relaxed);
        }
    }
}

impl Samples {
    /// Notes one round trip.
    pub fn push(&mut self, time: Duration) {
        self.0
            .push(u32::try_from(time.as_nanos()).unwrap_or(u32::MAX));
    }

    /// Takes in another caller's samples.
    pub fn append(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value that `share` of the samples do not exceed, in microseconds.
    fn quantile(&mut self, share: f64) -> f64 {
        if self.0.is_empty() {
            return 0.0;
        }
        let index = ((self.0.len() - 1) as f64 * share) as usize;
        let (_, value, _) = self.0.select_nth_unstable(index);
        f64::from(*value) / 1_000.0
    }
}

impl Outcome {
    /// Requests in a second.
    pub fn requests_per_second(&self) -> f64 {
        self.requests as f64 / self.seconds
    }

    /// Megabytes (a million octets) of bulk reply in a second.
    pub fn megabytes_per_second(&self) -> f64 {
        self.octets as f64 / self.seconds / 1e6
    }

    /// CPU time of both ends for one request, in microseconds.
    pub fn cpu_per_request(&self) -> f64 {
        (self.client_cpu + self.server_cpu) * 1e6 / self.requests as f64
    }

    /// CPU time of both ends for a gigabyte of bulk reply, in seconds.
    pub fn cpu_per_gigabyte(&self) -> f64 {
        (self.client_cpu + self.server_cpu) * 1e9 / self.octets as f64
    }
}

/// Runs `work` while the clock takes `run` through its stages.
///
/// `server` is the process whose CPU time is read at the marks. `work` must return soon after
/// [`Run::is_over`] turns true.
pub async fn measure(
    run: &Arc<Run>,
    server: u32,
    warm_up: Duration,
    span: Duration,
    work: impl Future<Output = io::Result<Samples>>,
) -> io::Result<Outcome> {
    let clock = tokio::spawn(take_through(Arc::clone(run), server, warm_up, span));
    let mut samples = work.await?;
    let (from, to) = clock.await.map_err(io::Error::other)??;
    Ok(Outcome {
        seconds: (to.at - from.at).as_secs_f64(),
        requests: samples.len() as u64,
        octets: run.octets.load(Ordering::Relaxed),
        p50_us: samples.quantile(0.50),
        p99_us: samples.quantile(0.99),
        client_cpu: (to.client - from.client).as_secs_f64(),
        server_cpu: (to.server - from.server).as_secs_f64(),
        octets_per_connection: 0.0,
    })
}

/// One end of the measured span.
struct Mark {
    at: Instant,
    client: Duration,
    server: Duration,
}

impl Mark {
    fn take(server: u32) -> io::Result<Self> {
        Ok(Self {
            at: Instant::now(),
            client: machine::cpu_time(std::process::id())?,
            server: machine::cpu_time(server)?,
        })
    }
}

async fn take_through(
    run: Arc<Run>,
    server: u32,
    warm_up: Duration,
    span: Duration,
) -> io::Result<(Mark, Mark)> {
    tokio::time::sleep(warm_up).await;
    let from = Mark::take(server);
    run.stage.store(MEASURED, Ordering::Relaxed);
    tokio::time::sleep(span).await;
    run.stage.store(OVER, Ordering::Relaxed);
    let to = Mark::take(server);
    Ok((from?, to?))
}

const WARM_UP: u8 = 0;
const MEASURED: u8 = 1;
const OVER: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_a_hundred() {
        let mut samples = Samples::default();
        for us in (1..=100).rev() {
            samples.push(Duration::from_micros(us));
        }
        assert_eq!(samples.quantile(0.5), 50.0);
        assert_eq!(samples.quantile(0.99), 99.0);
    }

    #[test]
    fn a_counted_run_ends_after_its_count() {
        let run = Run::counted(3);
        assert_eq!((0..10).filter(|_| run.goes_on()).count(), 3);
    }
}
