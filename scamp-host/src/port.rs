//! A port to listen on (V-2).

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::ops::RangeInclusive;

use scamp_proto::Rng;
use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;

/// Listens on a port of `ports`, chosen at random.
///
/// A port that is taken is not shared; another is tried, `tries` times in all. A range of one port
/// is a fixed port.
///
/// # Errors
///
/// [`ListenError::NoFreePort`], or whatever else the system says to the first port that fails
/// otherwise.
pub fn listen(
    address: IpAddr,
    ports: RangeInclusive<u16>,
    tries: u32,
    rng: &mut Rng,
) -> Result<TcpListener, ListenError> {
    let count = u64::from(ports.end().saturating_sub(*ports.start())) + 1;
    for _ in 0..tries {
        let offset = u16::try_from(rng.below(count)).unwrap_or(0);
        let at = SocketAddr::new(address, ports.start().saturating_add(offset));
        match listen_on(at) {
            Ok(listener) => return Ok(listener),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(source) => return Err(ListenError::Bind { at, source }),
        }
    }
    Err(ListenError::NoFreePort {
        address,
        first: *ports.start(),
        last: *ports.end(),
        tries,
    })
}

/// Listens on exactly this address, which must not be in use.
fn listen_on(at: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP))?;
    socket.bind(&at.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Why nothing listens.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ListenError {
    /// Every port that was tried is in use.
    #[error(
        "no free port on {address} between {first} and {last} in {tries} tries; see beepish.first_port, beepish.last_port and beepish.bind_tries"
    )]
    NoFreePort {
        /// Where.
        address: IpAddr,
        /// Lowest port.
        first: u16,
        /// Highest port.
        last: u16,
        /// How many were tried.
        tries: u32,
    },
    /// The system refuses.
    #[error("cannot listen on {at}: {source}")]
    Bind {
        /// Where.
        at: SocketAddr,
        /// What it says.
        source: io::Error,
    },
}

/// Connections the system accepts before we do.
const BACKLOG: i32 = 1024;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    /// V-2, N-48: all of the range is used, a taken port is not, and a full range is an error.
    #[test]
    fn a_port_of_the_range() {
        let mut rng = Rng::new(7);
        let first = listen(HERE, 30_500..=30_539, 100, &mut rng).unwrap();
        let taken = first.local_addr().unwrap().port();
        assert!((30_500..=30_539).contains(&taken));
        let mut others = Vec::new();
        for _ in 0..8 {
            others.push(listen(HERE, 30_500..=30_539, 100, &mut rng).unwrap());
        }
        let ports: std::collections::BTreeSet<u16> = others
            .iter()
            .map(|listener| listener.local_addr().unwrap().port())
            .chain([taken])
            .collect();
        assert_eq!(ports.len(), 9);
        let none = listen(HERE, taken..=taken, 3, &mut rng);
        assert!(
            matches!(none, Err(ListenError::NoFreePort { tries: 3, .. })),
            "{none:?}"
        );
    }

    /// V-2: an error other than a taken port ends the search at once.
    #[test]
    fn another_error_is_fatal() {
        let elsewhere = "192.0.2.1".parse().unwrap();
        let error = listen(elsewhere, 30_500..=30_539, 20, &mut Rng::new(1)).unwrap_err();
        assert!(matches!(error, ListenError::Bind { .. }), "{error}");
    }
}
