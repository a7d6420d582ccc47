//! The addresses of this machine.

use std::io;
use std::net::IpAddr;

use thiserror::Error;

/// An address of this machine.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Interface {
    /// The interface's name, such as `eth0`.
    pub name: String,
    /// One of its addresses.
    pub address: IpAddr,
}

/// All addresses, in the order in which the system lists them.
///
/// # Errors
///
/// The operating system's.
pub fn interfaces() -> io::Result<Vec<Interface>> {
    let all = if_addrs::get_if_addrs()?;
    Ok(all
        .into_iter()
        .map(|each| Interface {
            address: each.ip(),
            name: each.name,
        })
        .collect())
}

/// An address of the configuration is not one of this machine (C-8).
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum AddressError {
    /// A literal that no interface has.
    #[error("`{key}` names {address}, which is no address of this machine; it has {have}")]
    NotOurs {
        /// The configuration's key.
        key: String,
        /// What it names.
        address: IpAddr,
        /// The addresses there are.
        have: String,
    },
    /// A name that no interface with an IPv4 address has.
    #[error("`{key}` names the interface {name}, which has no IPv4 address; there are {have}")]
    NoInterface {
        /// The configuration's key.
        key: String,
        /// What it names.
        name: String,
        /// The interfaces there are.
        have: String,
    },
    /// A wildcard, which nobody can call (C-8).
    #[error("`{key}` is {address}, which no peer can call; set `service.announce_address` as well")]
    Wildcard {
        /// The configuration's key.
        key: String,
        /// The wildcard.
        address: IpAddr,
    },
}
