//! Fault matrix
