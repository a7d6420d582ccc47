//! `scamp ping`: can this service be reached, and who is it?

use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use clap::Args;
use scamp_blocking::{CallError, Client, CloseReason, ExchangeError, Fingerprint, Pin, TlsVersion};
use scamp_proto::error::Loss;
use scamp_proto::limits::CONNECT_TIMEOUT;
use scamp_tls::{Options, Versions};

use crate::failure::{Exit, Failure};
use crate::json::Object;
use crate::terminal::Terminal;

/// Reach a service: TCP, TLS versions, fingerprint
#[derive(Args, Debug)]
pub(crate) struct Ping {
    /// The service's address
    #[arg(value_name = "HOST:PORT")]
    address: String,
    /// Fail unless its certificate has this fingerprint
    #[arg(long, value_name = "FP")]
    fingerprint: Option<Fingerprint>,
    /// How long each step may take
    #[arg(long, value_name = "TIME", value_parser = crate::asking::span)]
    timeout: Option<Duration>,
}

impl Ping {
    pub(crate) fn run(&self, terminal: Terminal) -> Result<(), Failure> {
        crate::interrupt::ends_the_process()?;
        let limit = self.timeout.unwrap_or(CONNECT_TIMEOUT);
        let begun = Instant::now();
        self.reach(limit)?;
        let tcp = begun.elapsed();
        let mut offered = Vec::new();
        let mut failed = None;
        for versions in [Versions::Tls13, Versions::Tls12] {
            let begun = Instant::now();
            match self.shake_hands(versions, limit) {
                Ok((version, fingerprint)) => {
                    offered.push((version.to_string(), begun.elapsed(), fingerprint));
                }
                // A version that the peer does not speak is an answer; anything else is a failure.
                Err(error) if is_tls(&error) => failed = Some(error),
                Err(error) => return Err(error.into()),
            }
        }
        let Some((_, _, fingerprint)) = offered.first() else {
            let error = failed.map(Failure::from);
            return Err(error.unwrap_or_else(|| Failure::new(Exit::NotDispatched, "no TLS")));
        };
        self.tell(terminal, tcp, &offered, *fingerprint)
    }

    /// Opens a TCP connection and closes it.
    fn reach(&self, limit: Duration) -> Result<(), Failure> {
        let failed =
            |text: String| Failure::new(Exit::NotDispatched, format!("{}: {text}", self.address));
        let addresses = self
            .address
            .to_socket_addrs()
            .map_err(|error| failed(error.to_string()))?;
        let mut last = "no address".to_owned();
        for address in addresses {
            match TcpStream::connect_timeout(&address, limit) {
                Ok(_) => return Ok(()),
                Err(error) => last = error.to_string(),
            }
        }
        Err(failed(last))
    }

    /// Which version was agreed on, and with whom.
    fn shake_hands(
        &self,
        versions: Versions,
        limit: Duration,
    ) -> Result<(TlsVersion, Fingerprint), CallError> {
        let pin = self
            .fingerprint
            .map_or(Pin::AnyCertificate, Pin::Fingerprint);
        let options = Options::default()
            .versions(versions)
            .handshake_timeout(limit);
        let client = Client::builder(pin)
            .tls(options)
            .connect_timeout(limit)
            .connect(&self.address)?;
        let version = client.tls_version();
        let version = version.expect("a connected client has agreed on a version");
        let peer = client
            .peer()
            .expect("a connected client has judged its peer");
        Ok((version, peer.fingerprint()))
    }

    fn tell(
        &self,
        terminal: Terminal,
        tcp: Duration,
        offered: &[(String, Duration, Fingerprint)],
        fingerprint: Fingerprint,
    ) -> Result<(), Failure> {
        if terminal.json {
            let mut object = Object::default();
            object.text("address", &self.address);
            object.seconds("tcp_seconds", tcp);
            object.texts("tls", offered.iter().map(|(name, ..)| name.as_str()));
            object.text("fingerprint", &fingerprint.to_string());
            object.truth("pinned", self.fingerprint.is_some());
            return terminal.data(&object.end());
        }
        terminal.data(&format!("tcp          reachable in {tcp:.1?}"))?;
        for (name, taken, _) in offered {
            terminal.data(&format!("tls {name}      ready in {taken:.1?}"))?;
        }
        let judged = if self.fingerprint.is_some() {
            ", as expected"
        } else {
            ", not checked"
        };
        terminal.data(&format!("fingerprint  {fingerprint}{judged}"))
    }
}

fn is_tls(error: &CallError) -> bool {
    let CallError::NoReply(ExchangeError::NotEstablished(reason)) = error else {
        return false;
    };
    matches!(reason, CloseReason::Lost(Loss::Tls(_)))
}
