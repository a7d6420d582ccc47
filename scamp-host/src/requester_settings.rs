//! What there is to be set of a requester, whatever face calls.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use scamp_proto::Instant;
use scamp_proto::auth::AuthorizedServices;
use scamp_proto::config::Config;
use scamp_proto::discovery::{Directory, Instance};
use scamp_proto::requester::{self, Requester};
use scamp_proto::session::{self, Side};
use scamp_tls::Options;

use crate::bus::{Bus, News};
use crate::setup::{SetupError, requester_config, seed, session_config};

/// Where tickets come from, for calls that bring none.
pub type TicketSource = Arc<dyn Fn(&Instance) -> Option<String> + Send + Sync>;

/// What a face's `RequesterBuilder` keeps; its setters are written once, by
/// the macro `requester_settings!`.
#[derive(Default)]
pub struct RequesterSettings {
    /// How calls are seen to.
    pub machine: requester::Config,
    /// How connections behave, if that was set.
    pub session: Option<session::Config>,
    /// How TLS behaves, if that was set.
    pub tls: Option<Options>,
    /// How long connecting may take, if that was set.
    pub connect_timeout: Option<Duration>,
    /// What the files of the configuration say.
    pub bus: Option<Bus>,
    /// Services that are known to the program itself.
    pub directory: Option<Directory>,
    /// Who may offer what, for a requester without `bus.authorized_services`.
    pub authorized: Option<AuthorizedServices>,
    /// Where tickets come from.
    pub tickets: Option<TicketSource>,
}

impl RequesterSettings {
    /// Takes what the configuration has.
    ///
    /// # Errors
    ///
    /// [`SetupError`] names the key and what is wrong with it.
    pub fn config(self, config: &Config) -> Result<Self, SetupError> {
        Ok(Self {
            machine: requester_config(config)?,
            session: Some(session_config(config, Side::Client)?),
            connect_timeout: Some(config.beepish_connect_timeout()?),
            bus: Some(Bus::from_config(config)?),
            ..self
        })
    }

    /// The machine, knowing what there is to know at first; the files are looked at for it.
    ///
    /// # Errors
    ///
    /// [`SetupError`]: nothing says where services are to be found, or the system has no randomness.
    pub fn machine(&mut self, now: Instant) -> Result<Requester, SetupError> {
        if self.bus.is_none() && self.directory.is_none() {
            return Err(SetupError::NoServices);
        }
        let authorized = self.authorized.take();
        let mut news = News {
            directory: Arc::new(self.directory.take().unwrap_or_default()),
            authorized: Arc::new(authorized.unwrap_or_else(AuthorizedServices::none)),
        };
        if let Some(found) = self.bus.as_mut().and_then(|bus| bus.refresh(now)) {
            news = found;
        }
        let mut machine = Requester::new(self.machine.clone(), seed()?);
        machine.set_authorized(now, news.authorized);
        machine.set_directory(now, news.directory);
        Ok(machine)
    }
}

impl fmt::Debug for RequesterSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequesterSettings")
            .field("machine", &self.machine)
            .field("session", &self.session)
            .field("connect_timeout", &self.connect_timeout)
            .finish_non_exhaustive()
    }
}

/// The setters that the builders of all faces have, for a field `settings` that is
/// [`RequesterSettings`].
#[doc(hidden)]
#[macro_export]
macro_rules! requester_settings {
    () => {
        /// Takes everything from the configuration: the cache, `bus.authorized_services`, time
        /// limits, how instances are chosen.
        ///
        /// # Errors
        ///
        /// [`SetupError`] names the key and what is wrong with it.
        pub fn config(mut self, config: &scamp_proto::config::Config) -> Result<Self, SetupError> {
            self.settings = self.settings.config(config)?;
            Ok(self)
        }

        /// Sets services that are known to the program itself (D-46).
        pub fn directory(mut self, directory: scamp_proto::discovery::Directory) -> Self {
            self.settings.directory = Some(directory);
            self
        }

        /// Sets who may offer what, for a requester without `bus.authorized_services`.
        pub fn authorized(mut self, authorized: scamp_proto::auth::AuthorizedServices) -> Self {
            self.settings.authorized = Some(authorized);
            self
        }

        /// Sets how calls are seen to.
        pub fn machine(mut self, machine: scamp_proto::requester::Config) -> Self {
            self.settings.machine = machine;
            self
        }

        /// Sets how connections behave.
        pub fn session(mut self, session: scamp_proto::session::Config) -> Self {
            self.settings.session = Some(session);
            self
        }

        /// Sets how TLS behaves.
        pub fn tls(mut self, options: scamp_tls::Options) -> Self {
            self.settings.tls = Some(options);
            self
        }

        /// Sets how long resolving, connecting and shaking hands may take together; 10 s unless set.
        pub fn connect_timeout(mut self, timeout: std::time::Duration) -> Self {
            self.settings.connect_timeout = Some(timeout);
            self
        }

        /// Sets where tickets come from, for calls that bring none: asked whenever a request is about
        /// to leave, so that one that waited has a fresh ticket (T-19).
        pub fn tickets(
            mut self,
            source: impl Fn(&scamp_proto::discovery::Instance) -> Option<String> + Send + Sync + 'static,
        ) -> Self {
            self.settings.tickets = Some(std::sync::Arc::new(source));
            self
        }
    };
}
