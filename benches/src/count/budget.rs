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
    row("decode-data-0", 471, 0.00),
    row("decode-data-100", 511, 0.00),
    row("decode-data-2048", 543, 0.00),
    row("decode-data-32768", 567, 0.00),
    row("decode-data-131072", 583, 0.00),
    row("encode-data-100", 391, 0.00),
    row("header-parse", 5777, 0.00),
    row("header-parse-ticket", 12366, 0.00),
    row("receive-data-1", 667, 0.00),
    row("receive-data-100", 710, 0.00),
    row("receive-data-2048", 739, 0.00),
    row("receive-data-32768", 760, 0.00),
    row("receive-data-131072", 785, 0.00),
    row("turn-data-100", 1592, 0.00),
    row("read-data-100", 2590, 0.00),
    row("read-data-2048", 2842, 0.00),
    row("read-data-32768", 35425, 0.00),
    row("receive-ack", 964, 0.00),
    row("echo-1", 26557, 4.00),
    row("echo-64", 32349, 8.50),
    row("echo-1-beside-100", 35604, 4.00),
    row("echo-1-beside-4000", 48004, 4.00),
    row("echo-1-beside-10000", 47692, 8.00),
    row("bulk-mebibyte", 1115843, 60.15),
];

const fn row(job: &'static str, instructions: u64, allocations: f64) -> Budget {
    Budget {
        job,
        instructions,
        allocations,
    }
}
