//! Bus addresses: what is written, and what it means on this machine.

use alloc::borrow::ToOwned;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr};
use core::str::FromStr;

use thiserror::Error;

use super::value::{digits, shortened};
use super::{Config, ConfigError, Found, Problem};

/// One entry of `bus.address` and its like (C-7).
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Address {
    /// An address, written out.
    Ip(IpAddr),
    /// The first IPv4 address of the interface with this name, written `if:` and the name.
    Interface(String),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Interface(name) => write!(f, "if:{name}"),
        }
    }
}

/// One address of one network interface, as the system lists them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Interface<'a> {
    /// The interface's name.
    pub name: &'a str,
    /// The address.
    pub address: IpAddr,
}

/// What the entries mean on the machine with these interfaces, in their order and each once (C-8).
///
/// Where `wildcard` is set, `0.0.0.0` and `::` are taken as well: for `service.address`, if
/// `service.announce_address` is given.
///
/// # Errors
///
/// [`AddressError`] names the first entry that is not an address of this machine (N-48: Perl took the
/// entry before it once more).
///
/// # Example
///
/// ```
/// use scamp_proto::config::{Address, Interface, resolve};
///
/// let eth0 = Interface { name: "eth0", address: [10, 0, 0, 5].into() };
/// let entries = [Address::Interface("eth0".into())];
/// assert_eq!(resolve(&entries, &[eth0], false), Ok(vec![[10, 0, 0, 5].into()]));
/// ```
pub fn resolve(
    entries: &[Address],
    interfaces: &[Interface<'_>],
    wildcard: bool,
) -> Result<Vec<IpAddr>, AddressError> {
    let mut addresses = Vec::new();
    for entry in entries {
        let address = resolve_one(entry, interfaces, wildcard).map_err(|problem| AddressError {
            entry: shortened(&entry.to_string()),
            problem,
        })?;
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Ok(addresses)
}

fn resolve_one(
    entry: &Address,
    interfaces: &[Interface<'_>],
    wildcard: bool,
) -> Result<IpAddr, AddressProblem> {
    let ours = || interfaces.iter().map(|interface| interface.address);
    match entry {
        Address::Ip(address) if address.is_unspecified() => match wildcard {
            true => Ok(*address),
            false => Err(AddressProblem::Wildcard),
        },
        // The whole of 127.0.0.0/8 belongs to a machine that has any of it.
        Address::Ip(IpAddr::V4(address))
            if address.is_loopback() && ours().any(|ours| ours.is_ipv4() && ours.is_loopback()) =>
        {
            Ok((*address).into())
        }
        Address::Ip(address) if ours().any(|ours| ours == *address) => Ok(*address),
        Address::Ip(_) => Err(AddressProblem::NotOurs),
        Address::Interface(name) => {
            let mut its = interfaces.iter().filter(|interface| interface.name == name);
            let first = its.clone().find(|interface| interface.address.is_ipv4());
            match (first, its.next()) {
                (Some(interface), _) => Ok(interface.address),
                (None, Some(_)) => Err(AddressProblem::NoIpv4),
                (None, None) => Err(AddressProblem::NoInterface),
            }
        }
    }
}

/// An entry means no address of this machine.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("{entry:?} {problem}")]
pub struct AddressError {
    /// The entry, or its beginning.
    pub entry: String,
    /// What is wrong with it.
    pub problem: AddressProblem,
}

/// What is wrong with an entry.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum AddressProblem {
    /// There is no such interface, or it has no address.
    #[error("names an interface that is not there or has no address")]
    NoInterface,
    /// The interface has other addresses only.
    #[error("names an interface without an IPv4 address")]
    NoIpv4,
    /// The address is another machine's.
    #[error("is not an address of this machine")]
    NotOurs,
    /// A wildcard tells nobody where to connect.
    #[error("cannot be announced; give service.announce_address as well")]
    Wildcard,
}

/// Where to listen and announce when no address is given.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DefaultAddress {
    /// An address of a private network.
    Private(IpAddr),
    /// There is only the loopback: other machines will not find this one, which is worth an event.
    Loopback(IpAddr),
}

/// The address to take when none is given (C-9); `None` if the machine has public ones only.
///
/// The first in 10.0.0.0/8, else in 192.168.0.0/16, else in 172.16.0.0/12, else 127.0.0.1 if there is
/// nothing but loopback. The order is that of the interfaces.
pub fn default_address(interfaces: &[Interface<'_>]) -> Option<DefaultAddress> {
    let private = PRIVATE.iter().find_map(|network| {
        interfaces
            .iter()
            .find(|interface| network.contains(interface.address))
    });
    let only_loopback = interfaces
        .iter()
        .all(|interface| interface.address.is_loopback());
    match private {
        Some(interface) => Some(DefaultAddress::Private(interface.address)),
        None if only_loopback => Some(DefaultAddress::Loopback(Ipv4Addr::LOCALHOST.into())),
        None => None,
    }
}

/// An IP network, as in `discovery.peer_allow`: an address, and how many of its bits count.
///
/// ```
/// use scamp_proto::config::Network;
///
/// let network: Network = "10.1.0.0/16".parse().expect("a network");
/// assert!(network.contains([10, 1, 2, 3].into()) && !network.contains([10, 2, 0, 1].into()));
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Network {
    address: IpAddr,
    bits: u32,
}

impl Network {
    /// Whether an address belongs to it.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                let differing = ours.to_bits() ^ theirs.to_bits();
                differing.leading_zeros() >= self.bits
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => {
                let differing = ours.to_bits() ^ theirs.to_bits();
                differing.leading_zeros() >= self.bits
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }

    const fn private(a: u8, b: u8, bits: u32) -> Self {
        let address = IpAddr::V4(Ipv4Addr::new(a, b, 0, 0));
        Self { address, bits }
    }
}

impl FromStr for Network {
    type Err = NotANetwork;

    /// An address, with `/` and the number of bits unless all of them count.
    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NotANetwork)?;
        let all = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits.map(digits) {
            None => all,
            Some(bits) => bits
                .and_then(|bits| u32::try_from(bits).ok())
                .filter(|bits| *bits <= all)
                .ok_or(NotANetwork)?,
        };
        Ok(Self { address, bits })
    }
}

/// The text is no network.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("a network is an IP address and, after a slash, how many of its bits count")]
pub struct NotANetwork;

impl Config {
    /// `bus.address`; an empty list asks for [`default_address`] (C-7, C-9).
    ///
    /// # Errors
    ///
    /// [`Problem::NotAddresses`].
    pub fn bus_addresses(&self) -> Result<Vec<Address>, ConfigError> {
        self.addresses(&["bus.address"])
    }

    /// `discovery.address`, or [`bus_addresses`](Self::bus_addresses).
    ///
    /// # Errors
    ///
    /// [`Problem::NotAddresses`].
    pub fn discovery_addresses(&self) -> Result<Vec<Address>, ConfigError> {
        self.addresses(&["discovery.address", "bus.address"])
    }

    /// `service.address`, or [`bus_addresses`](Self::bus_addresses); a service listens on all (C-10).
    ///
    /// # Errors
    ///
    /// [`Problem::NotAddresses`].
    pub fn service_addresses(&self) -> Result<Vec<Address>, ConfigError> {
        self.addresses(&["service.address", "bus.address"])
    }

    /// `service.announce_address`: what to announce instead of the address listened on.
    ///
    /// # Errors
    ///
    /// [`Problem::NotAnAddress`].
    pub fn service_announce_address(&self) -> Result<Option<IpAddr>, ConfigError> {
        let found = self.find(&["service.announce_address"]);
        found
            .filter(|found| !found.value.is_empty())
            .map(|found| found.ip("an IP address to connect to", |ip| !ip.is_unspecified()))
            .transpose()
    }

    /// `discovery.peer_allow`: which networks' hosts are believed; `None` is all (D-38).
    ///
    /// # Errors
    ///
    /// [`Problem::NotNetworks`].
    pub fn discovery_peer_allow(&self) -> Result<Option<Vec<Network>>, ConfigError> {
        let Some(found) = self.find(&["discovery.peer_allow"]) else {
            return Ok(None);
        };
        if found.value.is_empty() || found.value.eq_ignore_ascii_case("all") {
            return Ok(None);
        }
        let separator = |ch: char| ch == ',' || ch.is_ascii_whitespace();
        let entries = found.value.split(separator);
        let networks = entries.filter(|entry| !entry.is_empty()).map(|entry| {
            let problem = |_| found.error(Problem::NotNetworks(shortened(entry)));
            entry.parse().map_err(problem)
        });
        networks.collect::<Result<_, _>>().map(Some)
    }

    /// The entries of the first of these keys that has any.
    fn addresses(&self, keys: &[&'static str]) -> Result<Vec<Address>, ConfigError> {
        let mut found = keys.iter().filter_map(|key| self.find(&[key]));
        let Some(found) = found.find(|found| !found.value.is_empty()) else {
            return Ok(Vec::new());
        };
        let entries = found.value.split(',').map(str::trim_ascii).map(|entry| {
            let address = match entry.strip_prefix("if:").map(str::trim_ascii) {
                Some("") => None,
                Some(name) => Some(Address::Interface(name.to_owned())),
                None => entry.parse().ok().map(Address::Ip),
            };
            address.ok_or_else(|| found.error(Problem::NotAddresses(shortened(entry))))
        });
        entries.collect()
    }
}

impl Found<'_> {
    /// An IP address of a kind.
    pub(super) fn ip(
        self,
        kind: &'static str,
        fits: impl FnOnce(&IpAddr) -> bool,
    ) -> Result<IpAddr, ConfigError> {
        let address = self.value.parse().ok().filter(fits);
        address.ok_or_else(|| self.error(Problem::NotAnAddress(kind)))
    }
}

/// C-9, in this order.
const PRIVATE: [Network; 3] = [
    Network::private(10, 0, 8),
    Network::private(192, 168, 16),
    Network::private(172, 16, 12),
];
