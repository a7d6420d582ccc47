//! A port to listen on (V-2).

use std::io;
use std::net::{IpAddr, SocketAddr};

use scamp_proto::Rng;
use scamp_proto::service::Ports;
use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;

/// What listens: the standard library's, for any runtime to take over.
pub use std::net::TcpListener;

/// Listens on one of these ports, chosen at random.
///
/// A port that is taken is not shared; another is tried.
///
/// # Errors
///
/// [`ListenError::NoFreePort`], or whatever else the system says to the first port that fails
/// otherwise.
pub fn listen(address: IpAddr, ports: Ports, rng: &mut Rng) -> Result<TcpListener, ListenError> {
    for port in ports.choose(Rng::new(rng.next_u64())) {
        let at = SocketAddr::new(address, port);
        match listen_on(at) {
            Ok(listener) => return Ok(listener),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(source) => return Err(ListenError::Bind { at, source }),
        }
    }
    Err(ListenError::NoFreePort { address, ports })
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
    #[error("no free port on {address} between {} and {} in {} tries; see beepish.first_port, beepish.last_port and beepish.bind_tries", ports.first, ports.last, ports.tries)]
    NoFreePort {
        /// Where.
        address: IpAddr,
        /// Which ports.
        ports: Ports,
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
    const RANGE: Ports = Ports {
        first: 30_500,
        last: 30_539,
        tries: 100,
    };

    /// V-2, N-48: all of the range is used, a taken port is not, and a full range is an error.
    #[test]
    fn a_port_of_the_range() {
        let mut rng = Rng::new(7);
        let first = listen(HERE, RANGE, &mut rng).unwrap();
        let taken = first.local_addr().unwrap().port();
        assert!((30_500..=30_539).contains(&taken));
        let mut others = Vec::new();
        for _ in 0..8 {
            others.push(listen(HERE, RANGE, &mut rng).unwrap());
        }
        let ports: std::collections::BTreeSet<u16> = others
            .iter()
            .map(|listener| listener.local_addr().unwrap().port())
            .chain([taken])
            .collect();
        assert_eq!(ports.len(), 9);
        let none = listen(
            HERE,
            Ports {
                first: taken,
                last: taken,
                tries: 3,
            },
            &mut rng,
        );
        assert!(
            matches!(none, Err(ListenError::NoFreePort { .. })),
            "{none:?}"
        );
    }

    /// V-2: an error other than a taken port ends the search at once.
    #[test]
    fn another_error_is_fatal() {
        let elsewhere = "192.0.2.1".parse().unwrap();
        let error = listen(elsewhere, RANGE, &mut Rng::new(1)).unwrap_err();
        assert!(matches!(error, ListenError::Bind { .. }), "{error}");
    }
}
