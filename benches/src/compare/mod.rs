//! scamp beside other ways to send a request over one TLS connection.
//!
//! ```text
//! side_by_side ── starts and pins ──> serve KIND   (one per kind, kept for the whole case)
//!       │                                 ^ TLS 1.3 over loopback
//!       └──────── starts and pins ──> client KIND  (a fresh process for every repeat)
//! ```
//!
//! All kinds share one TLS configuration ([`tls`]), one runtime flavour and one way to measure
//! ([`run`]). Only ratios taken inside one repeat mean anything; absolute rates give the scale.

pub mod args;
pub mod case;
pub mod goals;
pub mod kinds;
pub mod machine;
pub mod report;
pub mod run;
pub mod side_by_side;
pub mod tls;
pub mod whole_stack;
