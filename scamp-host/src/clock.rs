//! The time of day, and randomness.

use std::time::{SystemTime, UNIX_EPOCH};

/// Microseconds since 1970; before it, they are negative.
///
/// This clock may jump (F-48). Only what is written into announcements and tickets is taken from
/// it; deadlines are not.
pub fn unix_micros() -> i64 {
    micros_of(SystemTime::now())
}

/// The same for any moment.
pub fn micros_of(moment: SystemTime) -> i64 {
    let micros = |length: std::time::Duration| i64::try_from(length.as_micros());
    match moment.duration_since(UNIX_EPOCH) {
        Ok(since) => micros(since).unwrap_or(i64::MAX),
        Err(before) => micros(before.duration()).map_or(i64::MIN, |micros| -micros),
    }
}

/// Seconds since 1970, rounded down.
pub fn unix_seconds() -> i64 {
    unix_micros().div_euclid(1_000_000)
}

/// Octets that nobody can foresee.
///
/// # Errors
///
/// The operating system has none to give.
pub fn random<const N: usize>() -> std::io::Result<[u8; N]> {
    let mut octets = [0; N];
    getrandom::fill(&mut octets)?;
    Ok(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// P-2: what the machines are told of time and chance is plausible.
    #[test]
    fn time_and_chance() {
        assert!(unix_seconds() > 1_700_000_000);
        assert_ne!(random::<16>().unwrap(), random::<16>().unwrap());
    }
}
