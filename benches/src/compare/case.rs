//! What is measured: the shape of the traffic, the pinning, the runtime.

use std::fmt;
use std::io;
use std::str::FromStr;

/// One case, written as text like `echo,c=64,body=100,pin=one,workers=0`.
///
/// What is left out of the text has a default: `c=1`, `body=100`, `window=262144`, `chunk=32768`,
/// `n=1000`, `pin=one`, `workers=0`.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Case {
    /// What goes over the connection.
    pub shape: Shape,
    /// Which cores the two ends may use.
    pub pin: Pin,
    /// Threads of the tokio runtime at each end; 0 is the current-thread flavour.
    pub workers: usize,
}

/// What goes over the connection.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Shape {
    /// `callers` at once on one connection, each sending `body` octets and awaiting the same.
    Echo {
        /// Requests open at once.
        callers: usize,
        /// Octets of body in each direction.
        body: usize,
    },
    /// An endless reply, in pieces of `chunk` octets, with at most `window` in flight where the
    /// kind has such a limit.
    Bulk {
        /// Octets sent and not yet acknowledged.
        window: usize,
        /// Octets the server hands over at once.
        chunk: usize,
    },
    /// An echo of 100 octets with one caller, beside an endless reply on the same connection.
    Beside {
        /// As in [`Shape::Bulk`].
        window: usize,
        /// As in [`Shape::Bulk`].
        chunk: usize,
    },
    /// Connections that did one echo and are then left alone; the server's memory is measured.
    Idle {
        /// Connections open at once. Needs as many file descriptors at each end.
        connections: usize,
    },
}

/// Which cores the two ends may use.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Pin {
    /// Both on the same core.
    One,
    /// One core each.
    Two,
    /// Wherever the kernel likes.
    Free,
}

impl FromStr for Case {
    type Err = io::Error;

    fn from_str(text: &str) -> io::Result<Self> {
        let mut parts = text.split(',');
        let shape = parts.next().unwrap_or_default();
        let (mut callers, mut body, mut connections) = (1, 100, 1_000);
        let (mut window, mut chunk) = (262_144, 32_768);
        let (mut pin, mut workers) = (Pin::One, 0);
        for part in parts {
            let (key, value) = part.split_once('=').ok_or_else(|| bad(text))?;
            let number = || value.parse::<usize>().map_err(|_| bad(text));
            match key {
                "c" => callers = number()?.max(1),
                "body" => body = number()?,
                "window" => window = number()?,
                "chunk" => chunk = number()?.max(1),
                "n" => connections = number()?.max(1),
                "workers" => workers = number()?,
                "pin" => pin = value.parse()?,
                _ => return Err(bad(text)),
            }
        }
        let shape = match shape {
            "echo" => Shape::Echo { callers, body },
            "bulk" => Shape::Bulk { window, chunk },
            "beside" => Shape::Beside { window, chunk },
            "idle" => Shape::Idle { connections },
            _ => return Err(bad(text)),
        };
        Ok(Self {
            shape,
            pin,
            workers,
        })
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.shape {
            Shape::Echo { callers, body } => write!(f, "echo,c={callers},body={body}")?,
            Shape::Bulk { window, chunk } => write!(f, "bulk,window={window},chunk={chunk}")?,
            Shape::Beside { window, chunk } => write!(f, "beside,window={window},chunk={chunk}")?,
            Shape::Idle { connections } => write!(f, "idle,n={connections}")?,
        }
        write!(f, ",pin={},workers={}", self.pin, self.workers)
    }
}

impl FromStr for Pin {
    type Err = io::Error;

    fn from_str(text: &str) -> io::Result<Self> {
        match text {
            "one" => Ok(Self::One),
            "two" => Ok(Self::Two),
            "free" => Ok(Self::Free),
            _ => Err(bad(text)),
        }
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::One => "one",
            Self::Two => "two",
            Self::Free => "free",
        })
    }
}

fn bad(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("not a case: {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_survives_being_written_and_read() {
        for text in [
            "echo,c=64,body=2048,pin=two,workers=2",
            "bulk,window=65536,chunk=2048,pin=one,workers=0",
            "beside,window=262144,chunk=32768,pin=free,workers=0",
            "idle,n=10000,pin=one,workers=0",
        ] {
            let case: Case = text.parse().expect("a case of the documented form");
            assert_eq!(case.to_string(), text);
        }
    }

    #[test]
    fn what_is_not_a_case_is_refused() {
        for text in [
            "",
            "echo,c",
            "echo,c=x",
            "echo,pin=three",
            "shout",
            "echo,d=1",
        ] {
            assert!(text.parse::<Case>().is_err(), "{text:?}");
        }
    }
}
