//! Fuzz bodies
