//! What the comparison should find, as ratios inside one run.

use std::fmt;

use self::Bound::{AtLeast, AtMost};
use self::Figure::{CpuPerRequest, Megabytes, Memory, P50, Requests};
use super::case::Shape;
use super::run::Outcome;

/// A bound on one figure of one kind, relative to another's in the same run.
///
/// Met when the median of the ratios, taken repeat by repeat, keeps the bound.
#[derive(Clone, Copy, Debug)]
pub struct Goal {
    /// The rule's number; several goals may share it.
    pub name: &'static str,
    /// The figure that is compared.
    pub figure: Figure,
    /// Case and kind whose figure is judged.
    pub subject: (&'static str, &'static str),
    /// Case and kind it is divided by.
    pub against: (&'static str, &'static str),
    /// What the ratio has to keep.
    pub bound: Bound,
}

/// One figure of an [`Outcome`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Figure {
    /// Requests in a second.
    Requests,
    /// Megabytes of bulk reply in a second.
    Megabytes,
    /// CPU time of both ends for a gigabyte of bulk reply.
    CpuPerGigabyte,
    /// CPU time of both ends for one request.
    CpuPerRequest,
    /// Median round-trip time.
    P50,
    /// Server memory for each idle connection.
    Memory,
}

/// What a ratio has to keep.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// Larger is better.
    AtLeast(f64),
    /// Smaller is better.
    AtMost(f64),
}

/// How a ratio stands to its bound.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// The bound is kept.
    Met,
    /// The bound is broken by less than a tenth, which a noisy machine can do.
    Missed,
    /// The bound is broken by a tenth or more.
    Defect,
}

impl Figure {
    /// The figure that says most about `shape`.
    pub fn main_of(shape: Shape) -> Self {
        match shape {
            Shape::Echo { .. } => Self::Requests,
            Shape::Bulk { .. } => Self::Megabytes,
            Shape::Beside { .. } => Self::P50,
            Shape::Idle { .. } => Self::Memory,
        }
    }

    /// The figure that says what `shape` costs, which a busy machine distorts less than a rate.
    pub fn cost_of(shape: Shape) -> Option<Self> {
        match shape {
            Shape::Echo { .. } => Some(Self::CpuPerRequest),
            Shape::Bulk { .. } | Shape::Beside { .. } => Some(Self::CpuPerGigabyte),
            Shape::Idle { .. } => None,
        }
    }

    /// Its value in `outcome`.
    pub fn of(self, outcome: &Outcome) -> f64 {
        match self {
            Self::Requests => outcome.requests_per_second(),
            Self::Megabytes => outcome.megabytes_per_second(),
            Self::CpuPerGigabyte => outcome.cpu_per_gigabyte(),
            Self::CpuPerRequest => outcome.cpu_per_request(),
            Self::P50 => outcome.p50_us,
            Self::Memory => outcome.octets_per_connection,
        }
    }
}

impl Bound {
    /// How `ratio` stands to this bound.
    pub fn judge(self, ratio: f64) -> Verdict {
        let (kept, nearly) = match self {
            Self::AtLeast(goal) => (ratio >= goal, ratio >= 0.9 * goal),
            Self::AtMost(goal) => (ratio <= goal, ratio <= goal / 0.9),
        };
        match (kept, nearly) {
            (true, _) => Verdict::Met,
            (false, true) => Verdict::Missed,
            (false, false) => Verdict::Defect,
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Requests => "requests/s",
            Self::Megabytes => "MB/s",
            Self::CpuPerGigabyte => "CPU per GB",
            Self::CpuPerRequest => "CPU per request",
            Self::P50 => "p50",
            Self::Memory => "memory per connection",
        })
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(goal) => write!(f, ">= {goal}"),
            Self::AtMost(goal) => write!(f, "<= {goal}"),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Met => "met",
            Self::Missed => "missed",
            Self::Defect => "missed by a tenth or more",
        })
    }
}

const ECHO_1: &str = "echo,c=1,body=100,pin=one,workers=0";
const ECHO_64: &str = "echo,c=64,body=100,pin=one,workers=0";
const ECHO_256: &str = "echo,c=256,body=100,pin=two,workers=0";
const ECHO_WORKERS: &str = "echo,c=64,body=100,pin=free,workers=2";
const BULK_ONE: &str = "bulk,window=262144,chunk=32768,pin=one,workers=0";
const BULK_TWO: &str = "bulk,window=262144,chunk=32768,pin=two,workers=0";
const BULK_NARROW: &str = "bulk,window=65536,chunk=32768,pin=one,workers=0";
const BULK_SMALL: &str = "bulk,window=65536,chunk=2048,pin=one,workers=0";
const BESIDE_ONE: &str = "beside,window=262144,chunk=32768,pin=one,workers=0";
const BESIDE_TWO: &str = "beside,window=262144,chunk=32768,pin=two,workers=0";
const IDLE: &str = "idle,n=1000,pin=one,workers=0";

/// The cases that the goals speak of, each once, plus echoes between them for the curve.
pub const CASES: &[&str] = &[
    ECHO_1,
    "echo,c=16,body=100,pin=one,workers=0",
    ECHO_64,
    "echo,c=256,body=100,pin=one,workers=0",
    ECHO_256,
    ECHO_WORKERS,
    BULK_ONE,
    BULK_TWO,
    BULK_NARROW,
    BULK_SMALL,
    BESIDE_ONE,
    BESIDE_TWO,
    IDLE,
];

/// All goals, in the order of their numbers. `control` is the harness's own: three writes must
/// cost more than one.
pub const GOALS: &[Goal] = &[
    goal("PF-1", Requests, ECHO_1, "tonic", AtLeast(3.0)),
    goal("PF-1", Requests, ECHO_1, "tarpc", AtLeast(1.15)),
    goal("PF-1", Requests, ECHO_1, "raw", AtLeast(0.75)),
    goal("PF-2", Requests, ECHO_64, "tonic", AtLeast(7.0)),
    goal("PF-2", Requests, ECHO_64, "tarpc", AtLeast(1.35)),
    goal("PF-2", CpuPerRequest, ECHO_64, "tonic", AtMost(0.15)),
    goal("PF-3", Requests, ECHO_256, "tonic", AtLeast(7.0)),
    goal("PF-3", Requests, ECHO_256, "tarpc", AtLeast(1.4)),
    goal("PF-4", Requests, ECHO_WORKERS, "tonic", AtLeast(6.0)),
    goal("PF-4", Requests, ECHO_WORKERS, "tarpc", AtLeast(2.0)),
    goal("PF-7", Megabytes, BULK_ONE, "raw-limited", AtLeast(0.90)),
    goal("PF-7", Megabytes, BULK_TWO, "raw-limited", AtLeast(0.93)),
    goal("PF-7", Megabytes, BULK_ONE, "tonic", AtLeast(1.7)),
    goal("PF-7", Megabytes, BULK_TWO, "tonic", AtLeast(1.35)),
    goal("PF-8", Megabytes, BULK_NARROW, "tonic", AtLeast(1.4)),
    across(
        "PF-8",
        Megabytes,
        (BULK_SMALL, "scamp"),
        (BULK_NARROW, "scamp"),
        AtLeast(0.75),
    ),
    goal("PF-9", P50, BESIDE_ONE, "tonic", AtMost(0.05)),
    goal("PF-9", P50, BESIDE_TWO, "tonic", AtMost(0.25)),
    across(
        "PF-9",
        Megabytes,
        (BESIDE_ONE, "scamp"),
        (BULK_ONE, "scamp"),
        AtLeast(0.85),
    ),
    goal("PF-14", Memory, IDLE, "raw", AtMost(1.15)),
    goal("PF-14", Memory, IDLE, "tonic", AtMost(0.45)),
    across(
        "control",
        Requests,
        (ECHO_1, "raw-split"),
        (ECHO_1, "raw"),
        AtMost(0.8),
    ),
    across(
        "control",
        Requests,
        (ECHO_64, "raw-split"),
        (ECHO_64, "raw"),
        AtMost(0.5),
    ),
];

/// A goal for scamp against `kind` in the same case.
const fn goal(
    name: &'static str,
    figure: Figure,
    case: &'static str,
    kind: &'static str,
    bound: Bound,
) -> Goal {
    across(name, figure, (case, "scamp"), (case, kind), bound)
}

/// A goal for one case and kind against another.
const fn across(
    name: &'static str,
    figure: Figure,
    subject: (&'static str, &'static str),
    against: (&'static str, &'static str),
    bound: Bound,
) -> Goal {
    Goal {
        name,
        figure,
        subject,
        against,
        bound,
    }
}

#[cfg(test)]
mod tests {
    use super::super::case::Case;
    use super::*;

    #[test]
    fn every_case_of_a_goal_is_run_and_is_written_in_full() {
        for goal in GOALS {
            assert!(CASES.contains(&goal.subject.0) && CASES.contains(&goal.against.0));
        }
        for text in CASES {
            assert_eq!(text.parse::<Case>().expect("a case").to_string(), *text);
        }
    }

    #[test]
    fn bounds_look_both_ways() {
        assert_eq!(Bound::AtLeast(2.0).judge(2.0), Verdict::Met);
        assert_eq!(Bound::AtLeast(2.0).judge(1.9), Verdict::Missed);
        assert_eq!(Bound::AtLeast(2.0).judge(1.7), Verdict::Defect);
        assert_eq!(Bound::AtMost(0.9).judge(0.95), Verdict::Missed);
        assert_eq!(Bound::AtMost(0.9).judge(1.1), Verdict::Defect);
    }
}
