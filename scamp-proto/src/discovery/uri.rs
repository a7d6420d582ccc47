//! Where a service listens.

use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::str::FromStr;

use thiserror::Error;

/// The address a service announces: `beepish+tls://host:port`.
///
/// The scheme `scamp+tls` is read as the same thing (X-85). The host is an IPv4 address, an IPv6
/// address in brackets, or a name; a name is kept in lower case.
///
/// # Example
///
/// ```
/// use scamp_proto::discovery::Uri;
///
/// let uri: Uri = "scamp+tls://[2001:db8::1]:30101".parse()?;
/// assert_eq!((uri.host().as_str(), uri.port()), ("2001:db8::1", 30101));
/// assert_eq!(uri.to_string(), "beepish+tls://[2001:db8::1]:30101");
/// # Ok::<(), scamp_proto::discovery::UriError>(())
/// ```
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Uri {
    host: Host,
    port: u16,
}

#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
enum Host {
    V4(Ipv4Addr),
    V6(Ipv6Addr),
    Name(Box<str>),
}

/// Why a text is no address of a service.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum UriError {
    /// The part before the port is neither an address nor a name.
    #[error("its host is neither an address nor a name")]
    BadHost,
    /// There is no port, or not one from 1 to 65535.
    #[error("its port is not a number from 1 to 65535")]
    BadPort,
    /// It begins with neither `beepish+tls://` nor `scamp+tls://`.
    #[error("it begins with neither beepish+tls:// nor scamp+tls://")]
    BadScheme,
}

impl Uri {
    /// The address of a service at a socket's address.
    pub fn of(address: SocketAddr) -> Self {
        Self {
            host: match address.ip() {
                IpAddr::V4(ip) => Host::V4(ip),
                IpAddr::V6(ip) => Host::V6(ip),
            },
            port: address.port(),
        }
    }

    /// The host without brackets, as a resolver takes it.
    pub fn host(&self) -> String {
        use alloc::string::ToString;
        match &self.host {
            Host::V4(ip) => ip.to_string(),
            Host::V6(ip) => ip.to_string(),
            Host::Name(name) => name.to_string(),
        }
    }

    /// The host, if it is an address and needs no resolver.
    pub fn ip(&self) -> Option<IpAddr> {
        match &self.host {
            Host::V4(ip) => Some(IpAddr::V4(*ip)),
            Host::V6(ip) => Some(IpAddr::V6(*ip)),
            Host::Name(_) => None,
        }
    }

    /// The host, if it is a name and must be resolved.
    pub fn name(&self) -> Option<&str> {
        match &self.host {
            Host::V4(_) | Host::V6(_) => None,
            Host::Name(name) => Some(name),
        }
    }

    /// The TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for Uri {
    type Err = UriError;

    /// # Errors
    ///
    /// [`UriError`] says which part is wrong.
    fn from_str(text: &str) -> Result<Self, UriError> {
        let rest = ["beepish+tls://", "scamp+tls://"]
            .iter()
            .find_map(|scheme| text.strip_prefix(scheme))
            .ok_or(UriError::BadScheme)?;
        let (host, port) = rest.rsplit_once(':').ok_or(UriError::BadPort)?;
        let digits = !port.is_empty() && port.bytes().all(|octet| octet.is_ascii_digit());
        let port = port.parse().ok().filter(|port| digits && *port != 0);
        let port = port.ok_or(UriError::BadPort)?;
        let host = match host.strip_prefix('[') {
            Some(rest) => rest
                .strip_suffix(']')
                .and_then(|ip| ip.parse().ok())
                .map(Host::V6),
            None => match host.parse() {
                Ok(ip) => Some(Host::V4(ip)),
                Err(_) => is_name(host).then(|| Host::Name(host.to_ascii_lowercase().into())),
            },
        };
        Ok(Self {
            host: host.ok_or(UriError::BadHost)?,
            port,
        })
    }
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::V4(ip) => write!(f, "beepish+tls://{ip}:{}", self.port),
            Host::V6(ip) => write!(f, "beepish+tls://[{ip}]:{}", self.port),
            Host::Name(name) => write!(f, "beepish+tls://{name}:{}", self.port),
        }
    }
}

/// What a resolver may be asked for. The underscore is no host's, but people use it.
fn is_name(text: &str) -> bool {
    let last = text.rsplit('.').find(|label| !label.is_empty());
    (1..=255).contains(&text.len())
        && text
            .bytes()
            .all(|octet| octet.is_ascii_alphanumeric() || b"-._".contains(&octet))
        // What looks like an address but is none must not reach a resolver, which may guess.
        && last.is_some_and(|label| !label.bytes().all(|octet| octet.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use std::format;
    use std::string::ToString;

    use super::*;

    /// X-85, N-43: both schemes, addresses of both kinds, and names.
    #[test]
    fn what_is_read() {
        for (text, same) in [
            (
                "beepish+tls://192.0.2.7:30100",
                "beepish+tls://192.0.2.7:30100",
            ),
            ("scamp+tls://localhost:1", "beepish+tls://localhost:1"),
            (
                "beepish+tls://Svc.Example.net:65535",
                "beepish+tls://svc.example.net:65535",
            ),
            (
                "beepish+tls://[2001:DB8::0:1]:5",
                "beepish+tls://[2001:db8::1]:5",
            ),
            ("beepish+tls://my_host-1:5", "beepish+tls://my_host-1:5"),
        ] {
            let uri: Uri = text.parse().unwrap();
            assert_eq!(uri.to_string(), same);
            assert_eq!(uri.to_string().parse(), Ok(uri));
        }
    }

    /// F-51: and what is not.
    #[test]
    fn what_is_refused() {
        for (text, error) in [
            ("", UriError::BadScheme),
            ("tcp://192.0.2.7:30100", UriError::BadScheme),
            ("beepish+tls://", UriError::BadPort),
            ("beepish+tls://192.0.2.7", UriError::BadPort),
            ("beepish+tls://192.0.2.7:", UriError::BadPort),
            ("beepish+tls://192.0.2.7:0", UriError::BadPort),
            ("beepish+tls://192.0.2.7:+1", UriError::BadPort),
            ("beepish+tls://192.0.2.7:65536", UriError::BadPort),
            ("beepish+tls://192.0.2.7:1/x", UriError::BadPort),
            ("beepish+tls://<nil>:30120", UriError::BadHost),
            ("beepish+tls://:30120", UriError::BadHost),
            ("beepish+tls://2001:db8::1:30120", UriError::BadHost),
            ("beepish+tls://[2001:db8::1:30120", UriError::BadHost),
            ("beepish+tls://[192.0.2.7]:30120", UriError::BadHost),
            ("beepish+tls://192.0.2.256:30120", UriError::BadHost),
            ("beepish+tls://1.2.3:30120", UriError::BadHost),
            ("beepish+tls://2130706433:30120", UriError::BadHost),
            ("beepish+tls://a b:30120", UriError::BadHost),
        ] {
            assert_eq!(text.parse::<Uri>(), Err(error), "{text}");
        }
        let long = format!("beepish+tls://{}:1", "a".repeat(4096));
        assert_eq!(long.parse::<Uri>(), Err(UriError::BadHost));
    }
}
