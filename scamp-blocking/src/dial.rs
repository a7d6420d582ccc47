//! From an address to a socket.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use scamp_proto::error::Loss;

/// A host and a port, from `host:port` with or without a scheme of SCAMP's.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Address {
    /// As it was written; IPv6 in brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Address {
    pub(crate) fn parse(text: &str) -> Result<Self, Loss> {
        let fault = || Loss::Connect(format!("{text:?} is not an address: it must be host:port"));
        let rest = SCHEMES
            .iter()
            .find_map(|scheme| {
                let (start, rest) = text.split_at_checked(scheme.len())?;
                start.eq_ignore_ascii_case(scheme).then_some(rest)
            })
            .unwrap_or(text);
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = rest.rsplit_once(':').ok_or_else(fault)?;
        let is_plain = !host.contains([':', '/', '[', ']']) && !host.is_empty();
        if !is_plain && bracketed(host).is_none() {
            return Err(fault());
        }
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse().ok().filter(|port| digits && *port > 0);
        Ok(Self {
            host: host.to_owned(),
            port: port.ok_or_else(fault)?,
        })
    }

    /// Connects within `timeout`; each of several addresses gets a fair part of what is left.
    pub(crate) fn connect(&self, timeout: Duration) -> Result<TcpStream, Loss> {
        let start = Instant::now();
        let left = || timeout.saturating_sub(start.elapsed());
        let addresses = self.resolve(timeout)?;
        let mut last = None;
        for (index, address) in addresses.iter().enumerate() {
            let others = u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
            let share = left() / others;
            if share.is_zero() {
                break;
            }
            match TcpStream::connect_timeout(address, share) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = Some(error),
            }
        }
        Err(match last {
            Some(error) if !left().is_zero() => Loss::Connect(error.to_string()),
            Some(_) | None => Loss::ConnectTimeout(timeout),
        })
    }

    /// Asks the system's resolver, which knows no time limit, on a thread of its own (F-12).
    fn resolve(&self, timeout: Duration) -> Result<Vec<SocketAddr>, Loss> {
        let literal = match bracketed(&self.host) {
            Some(address) => Some(IpAddr::V6(address)),
            None => self.host.parse().ok(),
        };
        if let Some(address) = literal {
            return Ok(vec![SocketAddr::new(address, self.port)]);
        }
        let (answer, answered) = mpsc::sync_channel(1);
        let name = (self.host.clone(), self.port);
        thread::Builder::new()
            .name("scamp-resolve".into())
            .spawn(move || {
                let addresses = name.to_socket_addrs();
                let addresses = addresses.map(|found| found.take(ADDRESSES).collect::<Vec<_>>());
                // Nobody listens any more if it took too long.
                let _ = answer.send(addresses);
            })
            .map_err(|error| Loss::Connect(error.to_string()))?;
        match answered.recv_timeout(timeout) {
            Ok(Ok(addresses)) if addresses.is_empty() => {
                Err(Loss::Connect(format!("{} has no address", self.host)))
            }
            Ok(Ok(addresses)) => Ok(addresses),
            Ok(Err(error)) => Err(Loss::Connect(error.to_string())),
            Err(_) => Err(Loss::ConnectTimeout(timeout)),
        }
    }
}

fn bracketed(host: &str) -> Option<Ipv6Addr> {
    host.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

const SCHEMES: [&str; 2] = ["beepish+tls://", "scamp+tls://"];

/// Addresses of one name that are tried.
const ADDRESSES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let parsed = |text: &str| Address::parse(text).map(|a| (a.host, a.port));
        for (text, host, port) in [
            ("localhost:30100", "localhost", 30100),
            ("beepish+tls://10.0.0.1:1", "10.0.0.1", 1),
            ("SCAMP+tls://[::1]:65535/", "[::1]", 65535),
        ] {
            assert_eq!(parsed(text), Ok((host.to_owned(), port)), "{text}");
        }
        for bad in [
            "",
            "host",
            ":1",
            "host:",
            "host:0",
            "host:65536",
            "host:+1",
            "::1:1",
            "http://a:1",
            "[x]:1",
        ] {
            assert!(parsed(bad).is_err(), "{bad}");
        }
    }

    /// F-12: a name that does not exist is told with a reason; an address that refuses as well.
    #[test]
    fn failures_have_reasons() {
        let connect = |text: &str| {
            let address = Address::parse(text).expect("an address");
            address.connect(Duration::from_secs(5)).map(|_| ())
        };
        for bad in ["127.0.0.1:1", "name.invalid:1"] {
            assert!(
                matches!(
                    connect(bad),
                    Err(Loss::Connect(_) | Loss::ConnectTimeout(_))
                ),
                "{bad}"
            );
        }
    }
}
