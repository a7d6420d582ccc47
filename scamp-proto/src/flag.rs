//! The time limit `tN` among the flags of an action, for whoever announces, asks or serves.

use core::time::Duration;

use crate::limits::FLAG_TIMEOUT_MOST;

/// The time limit that a flag is, if it is a valid one: `tN`, N whole seconds from 1 to 86 400 (S-21).
///
/// Others, such as `t0` and `t86401`, are flags that nobody knows.
pub(crate) fn time_limit(flag: &str) -> Option<Duration> {
    let digits = flag.strip_prefix('t')?;
    // Before a number, `parse` would take a sign.
    let all = !digits.is_empty() && digits.bytes().all(|octet| octet.is_ascii_digit());
    let seconds = digits.parse().ok().filter(|seconds| all && *seconds > 0)?;
    Some(Duration::from_secs(seconds)).filter(|limit| *limit <= FLAG_TIMEOUT_MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S-21, D-17, F-51, F-36: which flags are time limits, at the edges and far beyond.
    #[test]
    fn time_limits() {
        for (flag, seconds) in [
            ("t1", Some(1)),
            ("t030", Some(30)),
            ("t86400", Some(86_400)),
            ("t0", None),
            ("t86401", None),
            ("t99999999999", None),
            ("t18446744073709551615", None),
            ("t18446744073709551617", None),
            ("t99999999999999999999", None),
            ("t", None),
            ("t+5", None),
            ("t-5", None),
            ("t 5", None),
            ("t5 ", None),
            ("t5.0", None),
            ("t\u{665}", None),
            ("T5", None),
            ("5", None),
            ("time", None),
            ("", None),
        ] {
            assert_eq!(time_limit(flag), seconds.map(Duration::from_secs), "{flag}");
        }
    }
}
