//! What scamp costs, and how that compares.
//!
//! Two programs share this library:
//!
//! * `scamp-count` counts instructions, allocations and writes of the core ([`count`]). It needs
//!   no quiet machine and no feature.
//! * `scamp-bench` runs scamp beside tonic, tarpc and raw TLS (module `compare`), with feature
//!   `compare`. Only its ratios mean anything, and only those taken inside one run.
//!
//! Both print the goals beside the results.

#[cfg(feature = "compare")]
pub mod compare;
pub mod count;
