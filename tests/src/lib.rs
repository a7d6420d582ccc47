//! What the tests compare the real implementation with.
//!
//! Nothing in this package's library is derived from the code under test: [`naive`] and
//! [`automaton`] were written from the specification alone (HD-59, W-20), and [`vectors`] loads
//! what live peers sent (HD-60). The comparisons themselves are the integration tests beside
//! `src`.
//!
//! Everything here favours being obviously right over being fast: it allocates freely, looks at
//! the whole input, and panics only when a vector file of our own is broken.

pub mod automaton;
pub mod generate;
pub mod naive;
pub mod vectors;

/// The examples of README.md, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
