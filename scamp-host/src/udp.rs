//! The sockets of discovery (D-25, D-27, D-37).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// Octets of the receive buffer that are asked for; the system may give less.
const RECEIVE_BUFFER: usize = 1 << 20;

/// A socket that sends announcements out of the interface with this address (D-27).
///
/// What it sends is looped back to receivers on this machine and goes no further than one hop.
///
/// # Errors
///
/// The operating system's.
pub fn multicast_sender(from: IpAddr) -> io::Result<UdpSocket> {
    let socket = datagrams(from)?;
    match from {
        IpAddr::V4(address) => {
            socket.set_multicast_if_v4(&address)?;
            socket.set_multicast_loop_v4(true)?;
            socket.set_multicast_ttl_v4(1)?;
        }
        IpAddr::V6(address) => {
            socket.set_multicast_if_v6(index_of(address)?)?;
            socket.set_multicast_loop_v6(true)?;
            socket.set_multicast_hops_v6(1)?;
        }
    }
    socket.bind(&SocketAddr::new(from, 0).into())?;
    finish(socket)
}

/// A socket that receives what is sent to `group`, on each interface with one of these addresses.
///
/// It is bound to the group's address, so that datagrams sent to this machine alone do not reach
/// it, and shares its port with other receivers.
///
/// # Errors
///
/// The operating system's; no interface could be joined.
pub fn multicast_receiver(group: SocketAddr, on: &[IpAddr]) -> io::Result<UdpSocket> {
    let socket = datagrams(group.ip())?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    match socket.bind(&group.into()) {
        // Some systems bind to addresses of their own only.
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
            socket.bind(&wildcard(group))?;
        }
        bound => bound?,
    }
    let mut failure = None;
    let mut joined = 0_usize;
    for address in on {
        let result = match (group.ip(), address) {
            (IpAddr::V4(group), IpAddr::V4(address)) => socket.join_multicast_v4(&group, address),
            (IpAddr::V6(group), IpAddr::V6(address)) => {
                index_of(*address).and_then(|index| socket.join_multicast_v6(&group, index))
            }
            _ => continue,
        };
        match result {
            Ok(()) => joined += 1,
            // Two addresses of one interface.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => joined += 1,
            Err(error) => failure = Some(error),
        }
    }
    match (joined, failure) {
        (0, Some(error)) => Err(error),
        (0, None) => Err(io::Error::other(format!(
            "no address of the kind of {group} to receive it on"
        ))),
        _ => finish(socket),
    }
}

/// A socket for datagrams to and from single machines (D-37).
///
/// # Errors
///
/// The operating system's; the port may be in use.
pub fn unicast(at: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(at), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    socket.bind(&at.into())?;
    finish(socket)
}

fn datagrams(like: IpAddr) -> io::Result<Socket> {
    let domain = match like {
        IpAddr::V4(_) => Domain::IPV4,
        IpAddr::V6(_) => Domain::IPV6,
    };
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    Ok(socket)
}

fn wildcard(like: SocketAddr) -> SockAddr {
    let any: IpAddr = match like {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    SocketAddr::new(any, like.port()).into()
}

/// The number of the interface with this address.
fn index_of(address: Ipv6Addr) -> io::Result<u32> {
    if_addrs::get_if_addrs()?
        .into_iter()
        .find(|each| each.ip() == address)
        .and_then(|each| each.index)
        .ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))
}

/// Sockets are handed out non-blocking, as runtimes want them.
fn finish(socket: Socket) -> io::Result<UdpSocket> {
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    /// D-25, D-27: what one socket sends to the group, every receiver on the interface gets, the
    /// largest datagram included; what is sent to the machine alone does not get in.
    #[test]
    fn everybody_in_the_group_hears_it() {
        let group: SocketAddr = "239.63.248.107:35555".parse().unwrap();
        let receivers = [(); 2].map(|()| {
            let receiver = multicast_receiver(group, &[HERE]).unwrap();
            receiver.set_nonblocking(false).unwrap();
            receiver
                .set_read_timeout(Some(Duration::from_secs(20)))
                .unwrap();
            receiver
        });
        let sender = multicast_sender(HERE).unwrap();
        sender
            .send_to(b"for us alone", (HERE, group.port()))
            .unwrap();
        let largest = vec![7; 65_507];
        sender.send_to(&largest, group).unwrap();
        for receiver in receivers {
            let mut room = vec![0; 65_535];
            let (len, from) = receiver.recv_from(&mut room).unwrap();
            assert_eq!(
                (&room[..len], from),
                (&largest[..], sender.local_addr().unwrap())
            );
        }
    }

    /// D-27: an address of no interface is refused.
    #[test]
    fn elsewhere_is_an_error() {
        let group: SocketAddr = "239.63.248.107:35556".parse().unwrap();
        assert!(multicast_receiver(group, &["192.0.2.1".parse().unwrap()]).is_err());
        assert!(multicast_receiver(group, &[]).is_err());
    }
}
