//! The addresses of this machine.

use std::io;
use std::net::IpAddr;

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
