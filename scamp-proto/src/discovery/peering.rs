//! Cache managers of different networks telling each other what they hear (D-37…D-40).
//!
//! The exchange has no authentication, and what a peer says makes us send datagrams to others: hence
//! the bounds, and `discovery.peer_allow`.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::IpAddr;

use bytes::Bytes;

use crate::Instant;
use crate::config::Network;
use crate::limits::{DATAGRAM_SENT, PEER_AGE, PEER_INTERVAL, PEERS};

/// The UDP port of peering (D-37).
pub const PEERING_PORT: u16 = 55_436;

/// The other hosts, and when to greet them.
///
/// # Example
///
/// ```
/// use scamp_proto::Instant;
/// use scamp_proto::discovery::peering::{Message, Peering};
///
/// let now = Instant::EPOCH;
/// let mut peering = Peering::new(now, vec!["192.0.2.9".parse()?], vec![], vec![]);
/// let greeting = peering.poll_greeting(now).expect("the host configured is greeted at once");
/// assert_eq!(greeting, ("192.0.2.9".parse()?, "X".into()));
///
/// let message = peering.receive(now, "192.0.2.8".parse()?, b"X 192.0.2.10");
/// assert_eq!(message, Message::Greeting);
/// # Ok::<(), core::net::AddrParseError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Peering {
    seeds: Vec<IpAddr>,
    own: Vec<IpAddr>,
    allowed: Vec<Network>,
    hosts: BTreeMap<IpAddr, Host>,
    next: Instant,
    /// Those still to be greeted in this round, last first.
    due: Vec<IpAddr>,
    greeting: Bytes,
}

#[derive(Clone, Copy, Debug, Default)]
struct Host {
    seen: Option<Instant>,
    hinted: Option<Instant>,
}

/// What a peer's datagram is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Message {
    /// One to be looked into like those of multicast.
    Announcement,
    /// It said that it is there, and maybe who else is.
    Greeting,
    /// Its sender is none of those who are believed.
    NotAllowed,
}

impl Peering {
    /// Greets `seeds` from now on, and whoever turns up, unless it is one of `own` addresses.
    ///
    /// Only hosts in `allowed` networks are believed; none given means all.
    pub fn new(now: Instant, seeds: Vec<IpAddr>, own: Vec<IpAddr>, allowed: Vec<Network>) -> Self {
        Self {
            seeds,
            own,
            allowed,
            hosts: BTreeMap::new(),
            next: now,
            due: Vec::new(),
            greeting: Bytes::new(),
        }
    }

    /// Takes a datagram that came to the peering port.
    pub fn receive(&mut self, now: Instant, from: IpAddr, datagram: &[u8]) -> Message {
        let from = from.to_canonical();
        if !self.is_allowed(from) {
            return Message::NotAllowed;
        }
        if let Some(host) = self.host(now, from) {
            host.seen = Some(now);
        }
        match datagram {
            [] | [_] => Message::Greeting,
            [b'X', hints @ ..] => {
                let hints = core::str::from_utf8(hints).unwrap_or_default();
                let hints = hints.split(' ').filter_map(|hint| hint.trim().parse().ok());
                for hint in hints.take(PEERS).map(|hint: IpAddr| hint.to_canonical()) {
                    if is_host(hint) && self.is_allowed(hint) {
                        if let Some(host) = self.host(now, hint) {
                            host.hinted = Some(now);
                        }
                    }
                }
                Message::Greeting
            }
            _ => Message::Announcement,
        }
    }

    /// The hosts seen lately, by address; our own left out.
    pub fn seen(&self, now: Instant) -> impl Iterator<Item = IpAddr> {
        self.hosts
            .iter()
            .filter(move |(_, host)| is_recent(host.seen, now))
            .map(|(ip, _)| *ip)
    }

    /// Whether this is one of our addresses.
    pub fn is_own(&self, ip: IpAddr) -> bool {
        self.own.contains(&ip.to_canonical())
    }

    /// When [`poll_greeting`](Self::poll_greeting) has something next.
    pub fn poll_timeout(&self) -> Instant {
        self.next
    }

    /// The next greeting to send now, and to whom; to be asked until there is none.
    pub fn poll_greeting(&mut self, now: Instant) -> Option<(IpAddr, Bytes)> {
        if self.next <= now {
            self.next = now + PEER_INTERVAL;
            self.forget(now);
            let mut due: Vec<_> = self.hosts.keys().copied().collect();
            let own = |ip: &IpAddr| self.own.contains(ip);
            due.extend(self.seeds.iter().filter(|seed| !own(seed)));
            due.sort_unstable_by(|one, other| other.cmp(one));
            due.dedup();
            self.due = due;
            self.greeting = self.greeting(now);
        }
        let ip = self.due.pop()?;
        Some((ip, self.greeting.clone()))
    }

    /// `X` and who was seen, as many as fit.
    fn greeting(&self, now: Instant) -> Bytes {
        let mut text = String::from("X");
        for (index, ip) in self.seen(now).enumerate() {
            let ip = ip.to_string();
            if text.len().saturating_add(ip.len()) >= DATAGRAM_SENT {
                break;
            }
            if index > 0 {
                text.push(' ');
            }
            text.push_str(&ip);
        }
        text.into()
    }

    /// What is known of a host, unless it is ourselves, or one too many.
    fn host(&mut self, now: Instant, ip: IpAddr) -> Option<&mut Host> {
        if self.is_own(ip) {
            return None;
        }
        if self.hosts.len() >= PEERS && !self.hosts.contains_key(&ip) {
            self.forget(now);
            if self.hosts.len() >= PEERS {
                return None;
            }
        }
        Some(self.hosts.entry(ip).or_default())
    }

    fn forget(&mut self, now: Instant) {
        self.hosts
            .retain(|_, host| is_recent(host.seen, now) || is_recent(host.hinted, now));
    }

    fn is_allowed(&self, ip: IpAddr) -> bool {
        self.allowed.is_empty() || self.allowed.iter().any(|network| network.contains(ip))
    }
}

fn is_recent(time: Option<Instant>, now: Instant) -> bool {
    time.is_some_and(|time| now - time <= PEER_AGE)
}

/// Whether an address is that of one host; a hint at all of them would be a loudspeaker.
fn is_host(ip: IpAddr) -> bool {
    let is_everybody = match ip {
        IpAddr::V4(ip) => ip.is_broadcast(),
        IpAddr::V6(_) => false,
    };
    !is_everybody && !ip.is_multicast() && !ip.is_unspecified()
}

#[cfg(test)]
mod tests {
    use core::time::Duration;
    use std::vec;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn round(peering: &mut Peering, now: Instant) -> Vec<(IpAddr, Bytes)> {
        core::iter::from_fn(|| peering.poll_greeting(now)).collect()
    }

    /// D-37, D-38: who is greeted, with what, how often, and for how long.
    #[test]
    fn hosts_come_and_go() {
        let start = Instant::EPOCH;
        let seeds = vec![ip("192.0.2.1"), ip("192.0.2.2")];
        let mut peering = Peering::new(start, seeds, vec![ip("192.0.2.2")], vec![]);
        assert_eq!(round(&mut peering, start), [(ip("192.0.2.1"), "X".into())]);
        assert_eq!(peering.poll_timeout(), start + Duration::from_secs(10));

        let now = start + Duration::from_secs(5);
        let hints = b"X192.0.2.7 192.0.2.2 nonsense example.net 224.0.0.1 255.255.255.255 0.0.0.0 2001:db8::5";
        assert_eq!(
            peering.receive(now, ip("192.0.2.9"), hints),
            Message::Greeting
        );
        assert_eq!(
            peering.receive(now, ip("::ffff:192.0.2.5"), b"?"),
            Message::Greeting
        );
        assert_eq!(
            peering.receive(now, ip("192.0.2.9"), b"x\x9C"),
            Message::Announcement
        );
        assert!(round(&mut peering, now).is_empty());

        let now = start + Duration::from_secs(10);
        let greeting: Bytes = "X192.0.2.5 192.0.2.9".into();
        let greeted = [
            "192.0.2.1",
            "192.0.2.5",
            "192.0.2.7",
            "192.0.2.9",
            "2001:db8::5",
        ];
        assert_eq!(
            round(&mut peering, now),
            greeted.map(|host| (ip(host), greeting.clone()))
        );

        let now = start + Duration::from_secs(305);
        assert_eq!(round(&mut peering, now).len(), 5);
        let now = start + Duration::from_secs(316);
        assert_eq!(round(&mut peering, now), [(ip("192.0.2.1"), "X".into())]);
    }

    /// D-38: only those allowed are believed, in what they are and in what they hint at.
    #[test]
    fn strangers_are_not_believed() {
        let now = Instant::EPOCH;
        let mut peering = Peering::new(now, vec![], vec![], vec!["10.0.0.0/8".parse().unwrap()]);
        assert_eq!(
            peering.receive(now, ip("192.0.2.9"), b"X10.0.0.5"),
            Message::NotAllowed
        );
        assert_eq!(
            peering.receive(now, ip("10.0.0.1"), b"X 192.0.2.9 10.0.0.2"),
            Message::Greeting
        );
        let greeted: Vec<_> = round(&mut peering, now)
            .into_iter()
            .map(|(ip, _)| ip)
            .collect();
        assert_eq!(greeted, [ip("10.0.0.1"), ip("10.0.0.2")]);
    }
    /// D-38: at most 1024 hosts are remembered.
    #[test]
    fn hosts_are_bounded() {
        let mut peering = Peering::new(Instant::EPOCH, vec![], vec![], vec![]);
        for n in 0..3000 {
            let host = core::net::Ipv4Addr::from_bits(0x0A00_0001 + n);
            peering.receive(Instant::EPOCH, host.into(), b"X");
        }
        let hosts = round(&mut peering, Instant::EPOCH);
        assert_eq!((hosts.len(), hosts[0].0), (1024, ip("10.0.0.1")));
    }
}
