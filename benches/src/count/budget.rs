//! What the jobs cost when this table was last written.
//!
//! `scamp-count --table` prints it anew. A commit that changes a figure by more than two in a
//! hundred says why. Instructions are those of a release build on x86-64; allocations are the same
//! in every build, and the ordinary tests hold the jobs to them.

/// One row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// The job's name.
    pub job: &'static str,
    /// Instructions each time.
    pub instructions: u64,
    /// Allocations each time.
    pub allocations: f64,
}

/// The table.
#[rustfmt::skip]
pub const BUDGETS: &[Budget] = &[
    row("decode-data-0", 279, 0.00),
    row("decode-data-100", 293, 0.00),
    row("decode-data-2048", 312, 0.00),
    row("decode-data-32768", 323, 0.00),
    row("decode-data-131072", 326, 0.00),
    row("encode-data-100", 392, 0.00),
    row("header-parse", 6709, 0.00),
    row("header-parse-ticket", 10521, 0.00),
    row("receive-data-1", 543, 0.00),
    row("receive-data-100", 560, 0.00),
    row("receive-data-2048", 574, 0.00),
    row("receive-data-32768", 584, 0.00),
    row("receive-data-131072", 596, 0.00),
    row("turn-data-100", 1406, 0.00),
    row("read-data-100", 2310, 0.00),
    row("read-data-2048", 2540, 0.00),
    row("read-data-32768", 35094, 0.00),
    row("receive-ack", 864, 0.00),
    row("echo-1", 25853, 4.00),
    row("echo-64", 26720, 8.25),
    row("echo-1-beside-100", 25613, 4.00),
    row("echo-1-beside-4000", 25435, 4.00),
    row("echo-1-beside-10000", 25585, 4.00),
    row("bulk-mebibyte", 1110064, 60.15),
    row("session-echo-1", 30788, 4.17),
    row("session-echo-64", 32841, 8.98),
    row("session-echo-1-ticket", 38900, 4.17),
];

const fn row(job: &'static str, instructions: u64, allocations: f64) -> Budget {
    Budget {
        job,
        instructions,
        allocations,
    }
}
