//! What the machine is, what a process has used, and how to pin one.

use std::fs;
use std::io;
use std::process::Command;
use std::time::Duration;

use serde::Serialize;

use super::case::Pin;

/// Facts that belong beside any absolute figure.
#[derive(Clone, Debug, Serialize)]
pub struct Facts {
    /// Name of the processor.
    pub processor: String,
    /// Cores this process may use.
    pub cores: Vec<usize>,
    /// Release of the kernel.
    pub kernel: String,
    /// Congestion control of TCP; it shows even on loopback.
    pub congestion_control: String,
    /// Load averages.
    pub load: String,
}

/// Which end of a connection a process is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// It connects.
    Client,
    /// It accepts.
    Server,
}

impl Facts {
    /// Looks at the machine; what cannot be read is empty.
    pub fn read() -> Self {
        let line = |path| {
            fs::read_to_string(path)
                .unwrap_or_default()
                .trim()
                .to_owned()
        };
        let cpuinfo = line("/proc/cpuinfo");
        Self {
            processor: field(&cpuinfo, "model name").unwrap_or_default().to_owned(),
            cores: cores(),
            kernel: line("/proc/sys/kernel/osrelease"),
            congestion_control: line("/proc/sys/net/ipv4/tcp_congestion_control"),
            load: line("/proc/loadavg"),
        }
    }
}

/// A command that runs `program` on the cores that `pin` gives to this end.
///
/// Pinning is the business of `taskset`, which replaces itself by the program, so that the
/// child's process number is the program's.
pub fn pinned(program: &std::path::Path, pin: Pin, end: End) -> io::Result<Command> {
    let cores = cores();
    let core = match (pin, end) {
        (Pin::Free, _) => return Ok(Command::new(program)),
        (Pin::One, _) | (Pin::Two, End::Server) => cores.first(),
        (Pin::Two, End::Client) => cores.get(1),
    };
    let core = core.ok_or_else(|| io::Error::other("too few cores for this pinning"))?;
    let mut command = Command::new("taskset");
    command.arg("-c").arg(core.to_string()).arg(program);
    Ok(command)
}

/// CPU time that all threads of a process have used.
pub fn cpu_time(process: u32) -> io::Result<Duration> {
    let mut total = 0;
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        let text = fs::read_to_string(thread?.path().join("schedstat"))?;
        let used = text.split(' ').next().and_then(|ns| ns.parse::<u64>().ok());
        total += used.ok_or_else(|| io::Error::other("schedstat has no figures"))?;
    }
    Ok(Duration::from_nanos(total))
}

/// Octets of memory that a process holds.
pub fn resident(process: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let text = field(&status, "VmRSS").unwrap_or_default();
    let kibibytes = text
        .trim_end_matches(" kB")
        .parse::<u64>()
        .map_err(io::Error::other)?;
    Ok(kibibytes * 1024)
}

/// The cores this process may use, in order.
fn cores() -> Vec<usize> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    parse_cores(field(&status, "Cpus_allowed_list").unwrap_or_default())
}

/// Reads a list such as `0-3,6`.
fn parse_cores(list: &str) -> Vec<usize> {
    let mut cores = Vec::new();
    for part in list.split(',') {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(from), Ok(to)) = (from.parse::<usize>(), to.parse::<usize>()) {
            cores.extend(from..=to);
        }
    }
    cores
}

/// The value of the first line `name: value`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cores() {
        assert_eq!(parse_cores("0-1"), [0, 1]);
        assert_eq!(parse_cores("2,4-6"), [2, 4, 5, 6]);
        assert_eq!(parse_cores(""), [0; 0]);
    }

    #[test]
    fn this_process_has_used_something() {
        assert!(cpu_time(std::process::id()).expect("procfs") > Duration::ZERO);
        assert!(resident(std::process::id()).expect("procfs") > 0);
    }
}
