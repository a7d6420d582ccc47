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
    row("decode-data-0", 201, 0.00),
    row("decode-data-100", 201, 0.00),
    row("decode-data-2048", 201, 0.00),
    row("decode-data-32768", 201, 0.00),
    row("decode-data-131072", 201, 0.00),
    row("encode-data-100", 256, 0.00),
    row("header-parse", 2757, 0.00),
    row("header-parse-ticket", 4723, 0.00),
    row("receive-data-1", 403, 0.00),
    row("receive-data-100", 405, 0.00),
    row("receive-data-2048", 406, 0.00),
    row("receive-data-32768", 407, 0.00),
    row("receive-data-131072", 408, 0.00),
    row("turn-data-100", 1213, 0.00),
    row("read-data-100", 2166, 0.00),
    row("read-data-2048", 2385, 0.00),
    row("read-data-32768", 34928, 0.00),
    row("receive-ack", 770, 0.00),
    row("echo-1", 15524, 2.00),
    row("echo-64", 15507, 3.81),
    row("echo-1-beside-100", 15394, 2.00),
    row("echo-1-beside-4000", 15422, 2.00),
    row("echo-1-beside-10000", 15422, 2.00),
    row("bulk-mebibyte", 1046584, 22.05),
    row("session-echo-1", 19288, 2.00),
    row("session-echo-64", 19276, 3.88),
    row("session-echo-1-ticket", 21707, 2.00),
    row("lookup-10000", 1906, 0.00),
    row("lookup-10000-same", 1907, 0.00),
    row("lookup-alias", 2167, 0.00),
    row("choose-of-100", 127501, 0.00),
    row("announcement-read", 57953, 12.00),
    row("cache-load-1000", 34075119, 12157.00),
    row("cache-reload-1000", 2512610, 4.00),
    row("call-1-instance", 4342, 3.00),
    row("call-10-instances", 14789, 3.00),
];

const fn row(job: &'static str, instructions: u64, allocations: f64) -> Budget {
    Budget {
        job,
        instructions,
        allocations,
    }
}
