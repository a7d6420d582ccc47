//! Instructions, counted by valgrind.

use std::ffi::OsStr;
use std::io;
use std::process::{Command, Stdio};

/// Instructions that this program takes with these arguments.
///
/// # Errors
///
/// Valgrind is not installed, the program failed, or valgrind's report has no total.
pub fn instructions<A: AsRef<OsStr>>(args: &[A]) -> io::Result<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe()?)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .output()?;
    let report = String::from_utf8_lossy(&output.stderr);
    match (output.status.success(), total(&report)) {
        (true, Some(total)) => Ok(total),
        _ => Err(io::Error::other(format!("valgrind: {}", report.trim_end()))),
    }
}

/// Instructions for one of something, from programs that do it `times` times and twice as often.
///
/// # Errors
///
/// As [`instructions`].
pub fn each<A: AsRef<OsStr>>(times: u64, args: impl Fn(u64) -> Vec<A>) -> io::Result<f64> {
    let once = instructions(&args(times))?;
    let twice = instructions(&args(2 * times))?;
    Ok((twice as f64 - once as f64) / times as f64)
}

/// The figure of the line `==123== Collected : 456`.
fn total(report: &str) -> Option<u64> {
    report
        .lines()
        .find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::total;

    #[test]
    fn the_total_is_found() {
        let report = "==7== Events    : Ir\n==7== Collected : 1234567\n==7== \n";
        assert_eq!(total(report), Some(1_234_567));
        assert_eq!(total("valgrind: no such program"), None);
    }
}
