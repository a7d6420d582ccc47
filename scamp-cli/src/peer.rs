//! A service whose address is given.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use scamp_blocking::{CallError, Client, CloseReason, ExchangeError, Fingerprint, Pin};
use scamp_proto::error::Loss;
use scamp_proto::limits::CONNECT_TIMEOUT;

use crate::certificate;
use crate::failure::{Exit, Failure};

/// Where a service is, and how it is to be recognized.
///
/// Whoever has these arguments declares the group `trust`.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub(crate) struct Peer {
    /// The service's address; without it, a service that offers the action is looked up
    #[arg(
        long,
        value_name = "HOST:PORT",
        requires = "trust",
        help_heading = "Without discovery"
    )]
    pub(crate) connect: Option<String>,
    /// Talk to the service only if its certificate has this fingerprint
    #[arg(
        long,
        value_name = "FP",
        group = "trust",
        requires = "connect",
        help_heading = "Without discovery"
    )]
    fingerprint: Option<Fingerprint>,
    /// Talk to the service only if it has this certificate
    #[arg(
        long,
        value_name = "FILE",
        group = "trust",
        requires = "connect",
        help_heading = "Without discovery"
    )]
    certificate: Option<PathBuf>,
    /// Talk to whoever answers: for diagnosis and tests only
    #[arg(
        long,
        group = "trust",
        requires = "connect",
        help_heading = "Without discovery"
    )]
    any_certificate: bool,
}

impl Peer {
    pub(crate) fn pin(&self) -> Result<Pin, Failure> {
        if let Some(fingerprint) = self.fingerprint {
            return Ok(Pin::Fingerprint(fingerprint));
        }
        if let Some(file) = &self.certificate {
            let first = certificate::load(file)?.into_iter().next();
            return Ok(Pin::Certificate(
                first.expect("a loaded file has a certificate"),
            ));
        }
        Ok(Pin::AnyCertificate)
    }
}

/// Connects within the caller's deadline, if there is one.
pub(crate) fn connect(
    address: &str,
    pin: Pin,
    timeout: Option<Duration>,
) -> Result<Client, Failure> {
    let limit = timeout.unwrap_or(CONNECT_TIMEOUT).min(CONNECT_TIMEOUT);
    let connected = Client::builder(pin).connect_timeout(limit).connect(address);
    connected.map_err(|error| match &error {
        // The caller's deadline covers connecting (S-21); our own limit is another matter.
        CallError::NoReply(ExchangeError::NotEstablished(CloseReason::Lost(
            Loss::ConnectTimeout(_),
        ))) if timeout.is_some_and(|all| all <= CONNECT_TIMEOUT) => Failure {
            exit: Exit::Timeout,
            ..Failure::from(error)
        },
        _ => Failure::from(error),
    })
}
