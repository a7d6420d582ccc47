//! What there is to be set of a service, whatever face serves it.

use std::io;
use std::time::Duration;

use scamp_proto::auth::{TableState, TicketKeys};
use scamp_proto::config::Config;
use scamp_proto::service::{ActionError, Actions, Guard, Limits, Name};
use scamp_proto::session::{self, Side};
use scamp_tls::{Identity, Options, ServerTls};
use thiserror::Error;

use crate::presence::Site;
use crate::setup::{SetupError, server_config, service_limits};
use crate::ticket_keys::TicketKeyFiles;

/// What a face's `ServiceBuilder` keeps besides handlers; its setters are written once, by
/// the macro `service_settings!`.
#[derive(Clone, Debug)]
pub struct ServiceSettings {
    /// Certificate and key; `None` is without TLS.
    pub identity: Option<Identity>,
    /// How TLS behaves, if that was set.
    pub tls: Option<Options>,
    /// How each connection behaves.
    pub session: session::Config,
    /// What the service takes on at once.
    pub limits: Limits,
    /// What tickets are checked with.
    pub guard: Guard,
    /// The service's name.
    pub name: Option<Name>,
    /// Whether `NAME.queue_depth` is offered (V-8).
    pub has_queue_depth: bool,
    /// Whether `_meta.documentation` is offered (V-8).
    pub has_documentation: bool,
    /// Whether that lists actions that are not `public`, too.
    pub documents_all: bool,
    /// The place on the bus that the configuration gives the service.
    pub site: Option<Site>,
    /// An authorization table that is still to be fetched (`auth.table_grace`,
    /// `auth.table_all_sectors`).
    pub remote_table: TableState,
}

impl ServiceSettings {
    /// Those of a service that the configuration says nothing of, in a process that may have `files`
    /// files open.
    pub fn new(identity: Option<Identity>, files: usize) -> Self {
        let session = session::Config {
            subscriptions: true,
            ..session::Config::new(Side::Server)
        };
        Self {
            identity,
            tls: None,
            session,
            limits: Limits::for_files(files),
            guard: Guard::default(),
            name: None,
            has_queue_depth: true,
            has_documentation: true,
            documents_all: false,
            site: None,
            remote_table: TableState::remote(Duration::ZERO),
        }
    }

    /// Those that the configuration has for the service called `name`.
    ///
    /// # Errors
    ///
    /// [`SetupError`] names the key of the configuration, or the file.
    pub fn from_config(config: &Config, name: &str, files: usize) -> Result<Self, SetupError> {
        let mut site = Site::from_config(config, name)?;
        let mut settings = Self::new(Some(site.identity().clone()), files);
        settings.name = Some(site.name().clone());
        settings.session = server_config(config)?;
        settings.limits = service_limits(config, files)?;
        settings.guard.set_sector(config.bus_default_sector());
        settings.guard.set_skew(config.ticket_clock_skew()?);
        let (key_files, keys) = TicketKeyFiles::read(config)?;
        if let Some(keys) = keys {
            settings.guard.set_keys(keys);
        }
        site.watched_keys = Some(key_files);
        let table = TableState::remote(config.auth_table_grace()?);
        settings.remote_table = match config.auth_table_all_sectors()? {
            true => table.all_sectors(),
            false => table,
        };
        settings.site = Some(site);
        Ok(settings)
    }

    /// Verifies tickets with these keys, and not with those of the configuration.
    pub fn set_ticket_keys(&mut self, keys: TicketKeys) {
        self.guard.set_keys(keys);
        if let Some(site) = &mut self.site {
            site.watched_keys = None;
        }
    }

    /// Adds the actions that are built in (V-8). Who registered one of that name has it so.
    pub fn build_in<H>(&self, actions: &mut Actions<H>) {
        if let Some(name) = self.name.as_ref().filter(|_| self.has_queue_depth) {
            let _ = actions.add_queue_depth(name);
        }
        if self.has_documentation {
            let _ = actions.add_documentation(self.documents_all);
        }
    }

    /// How it answers handshakes; `None` without TLS. `default` is for settings that were not set.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for settings that cannot work together.
    pub fn server_tls(&self, default: Option<Options>) -> io::Result<Option<ServerTls>> {
        let Some(identity) = self.identity.clone() else {
            return Ok(None);
        };
        let invalid = |text: String| io::Error::new(io::ErrorKind::InvalidInput, text);
        let options = self.tls.clone().or(default);
        let options = options.ok_or_else(|| invalid("no crypto provider".into()))?;
        let tls = ServerTls::with_options(identity, &options);
        tls.map(Some).map_err(|error| invalid(error.to_string()))
    }
}

/// Why an action cannot be added to a service that runs, or taken from it.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// It cannot be registered.
    #[error(transparent)]
    Action(#[from] ActionError),
    /// The service could not be announced with it (D-30).
    #[error("the service could not be announced: {0}")]
    Offer(#[from] scamp_proto::discovery::OfferError),
    /// There is no such action.
    #[error("there is no action {0}")]
    NoSuch(String),
}

/// The setters that the builders of all faces have, for a field `settings` that is
/// [`ServiceSettings`].
#[doc(hidden)]
#[macro_export]
macro_rules! service_settings {
    () => {
        /// Sets the keys that tickets are verified with; without any, no ticket is valid.
        ///
        /// They take the place of those of the configuration, whose files are then not looked at any
        /// more (T-6).
        pub fn tickets(mut self, keys: scamp_proto::auth::TicketKeys) -> Self {
            self.settings.set_ticket_keys(keys);
            self
        }

        /// Sets how far the clocks of those who issue tickets may be from ours
        /// (`ticket.clock_skew`).
        pub fn clock_skew(mut self, skew: std::time::Duration) -> Self {
            self.settings.guard.set_skew(skew);
            self
        }

        /// Sets the authorization table (T-13). One that is
        /// [`remote`](scamp_proto::auth::TableState::remote) is fetched with what
        /// [`table_source`](Self::table_source) or [`requester`](Self::requester) sets.
        pub fn table(mut self, table: scamp_proto::auth::TableState) -> Self {
            self.settings.guard.set_table(table);
            self
        }

        /// Sets the sector the service is in; `main` unless set.
        pub fn sector(mut self, sector: &str) -> Self {
            self.settings.guard.set_sector(sector);
            self
        }

        /// Names the service, for its identity and for `NAME.queue_depth` (V-3, V-8).
        pub fn name(mut self, name: scamp_proto::service::Name) -> Self {
            self.settings.name = Some(name);
            self
        }

        /// Sets whether a service with a name offers `NAME.queue_depth`; it does unless told
        /// otherwise (V-8).
        pub fn queue_depth(mut self, is_offered: bool) -> Self {
            self.settings.has_queue_depth = is_offered;
            self
        }

        /// Sets whether `_meta.documentation` is offered, which lists the actions that are
        /// `public`; it is unless told otherwise (V-8).
        pub fn documentation(mut self, is_offered: bool) -> Self {
            self.settings.has_documentation = is_offered;
            self
        }

        /// Sets whether `_meta.documentation` lists actions that are not `public`, too; those that
        /// are `secret` never.
        pub fn documentation_all(mut self, all: bool) -> Self {
            self.settings.documents_all = all;
            self
        }

        /// Sets what the service takes on at once, and for how long; unless set,
        /// [`Limits::for_files`](scamp_proto::service::Limits::for_files) with as many files as the
        /// process may open.
        pub fn limits(mut self, limits: scamp_proto::service::Limits) -> Self {
            self.settings.limits = limits;
            self
        }

        /// Sets how each connection behaves. Subscriptions are served unless that says otherwise.
        pub fn session(mut self, session: scamp_proto::session::Config) -> Self {
            self.settings.session = session;
            self
        }

        /// Sets how TLS behaves.
        pub fn tls(mut self, options: scamp_tls::Options) -> Self {
            self.settings.tls = Some(options);
            self
        }
    };
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const CERTIFICATE: &str = include_str!("../../scamp-tls/tests/data/rsa2048.crt");
    const KEY: &str = include_str!("../../scamp-tls/tests/data/rsa2048.key");

    /// T-6: the files of the configuration's keys are watched, unless the program has keys of its own.
    #[test]
    fn keys_of_the_program_stay() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name).display().to_string();
        fs::write(path("crt"), CERTIFICATE).unwrap();
        fs::write(path("key"), KEY).unwrap();
        let text = format!(
            "bus.address=127.0.0.1\nauth.ticket_verify_key={}\nx.soa_key={}\nx.soa_cert={}\n",
            path("crt"),
            path("key"),
            path("crt"),
        );
        let (config, _) = Config::parse("test.conf", text.as_bytes());
        let mut settings = ServiceSettings::from_config(&config, "x", 100).unwrap();
        let watches = |settings: &ServiceSettings| {
            let site = settings.site.as_ref();
            site.is_some_and(|site| site.watched_keys.is_some())
        };
        assert!(watches(&settings));
        settings.set_ticket_keys(TicketKeys::from_pem(CERTIFICATE).unwrap());
        assert!(!watches(&settings));
    }
}
