//! Hearing announcements on the network (D-25, D-26).

use std::io;
use std::net::{IpAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use scamp_host::Addresses;
use scamp_host::clock::unix_micros;
use scamp_proto::config::Config;
use scamp_proto::discovery::datagram::Inflater;
use scamp_proto::discovery::known::Digest;
use scamp_proto::discovery::registry::Change;
use scamp_proto::discovery::{
    Announcement, DatagramError, Instance, Registry, UnixTime, Unverified,
};
use scamp_proto::limits::DATAGRAM;
use scamp_tls::Rsa;

use crate::failure::Failure;

/// What listens, and who was heard.
pub(crate) struct Ear {
    socket: UdpSocket,
    inflater: Inflater,
    pub(crate) registry: Registry,
    accept_pss: bool,
    begun: Instant,
    room: Vec<u8>,
}

/// A datagram that came.
pub(crate) struct Heard {
    pub(crate) from: IpAddr,
    /// Octets as it came.
    pub(crate) octets: usize,
    pub(crate) news: Result<News, DatagramError>,
}

/// An announcement that is as it should be.
pub(crate) struct News {
    pub(crate) announcement: Announcement,
    /// The service as it was known before.
    pub(crate) before: Option<Arc<Instance>>,
    pub(crate) change: Change,
}

impl Ear {
    pub(crate) fn open(config: &Config) -> Result<Self, Failure> {
        let Addresses {
            discovery, group, ..
        } = Addresses::from_config(config)?;
        let failed = |error: io::Error| Failure::file(format!("hearing {group}"), &error);
        let socket = scamp_host::udp::multicast_receiver(group, &discovery).map_err(failed)?;
        socket.set_nonblocking(false).map_err(failed)?;
        let registry = Registry::new(
            config.discovery_min_ttl()?,
            config.discovery_max_announcement_age()?,
        );
        Ok(Self {
            socket,
            inflater: Inflater::new(),
            registry,
            accept_pss: config.discovery_accept_pss()?,
            begun: Instant::now(),
            room: vec![0; DATAGRAM + 1],
        })
    }

    /// Waits for a datagram, but no longer than `patience`.
    pub(crate) fn next(&mut self, patience: Duration) -> Result<Option<Heard>, Failure> {
        let failed = |error: io::Error| Failure::file("hearing", &error);
        let patience = patience.max(Duration::from_millis(1));
        self.socket
            .set_read_timeout(Some(patience))
            .map_err(failed)?;
        let (octets, from) = match self.socket.recv_from(&mut self.room) {
            Ok((octets, from)) => (octets, from.ip()),
            Err(error) => {
                return match error.kind() {
                    io::ErrorKind::WouldBlock
                    | io::ErrorKind::TimedOut
                    | io::ErrorKind::Interrupted => Ok(None),
                    _ => Err(failed(error)),
                };
            }
        };
        Ok(Some(Heard {
            from,
            octets,
            news: self.take(octets),
        }))
    }

    /// Forgets services that were not heard for too long, and returns them.
    pub(crate) fn expired(&mut self) -> Vec<Arc<Instance>> {
        let now = self.now();
        if self.registry.poll_timeout().is_none_or(|at| at > now) {
            return Vec::new();
        }
        let mut before: Vec<Arc<Instance>> = self.registry.instances().cloned().collect();
        self.registry.handle_timeout(now);
        for left in self.registry.instances() {
            before.retain(|known| !Arc::ptr_eq(known, left));
        }
        before
    }

    fn take(&mut self, octets: usize) -> Result<News, DatagramError> {
        let now = self.now();
        let datagram = self.room.get(..octets).unwrap_or_default();
        let digest = Digest::of(datagram);
        let unverified = Unverified::split(self.inflater.text(datagram)?)?;
        let announcement = match self.accept_pss {
            true => unverified.verify_or_pss(&Rsa),
            false => unverified.verify(&Rsa),
        }?;
        let before = self.registry.instances().find(|known| {
            known.fingerprint() == announcement.fingerprint()
                && known.identity() == announcement.identity()
        });
        let before = before.cloned();
        let wall = UnixTime::from_micros(unix_micros());
        let change = self
            .registry
            .receive(now, wall, announcement.clone(), Some(digest));
        Ok(News {
            announcement,
            before,
            change,
        })
    }

    fn now(&self) -> scamp_proto::Instant {
        scamp_proto::Instant::from_epoch(self.begun.elapsed())
    }
}
