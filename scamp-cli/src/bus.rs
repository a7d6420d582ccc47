//! The services that are known, and what may be asked of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use scamp_host::Authorized;
use scamp_proto::auth::AuthorizedServices;
use scamp_proto::config::{Config, StalePolicy};
use scamp_proto::discovery::{ActionRef, Directory, Instance, WhyNot};
use scamp_proto::limits::CACHE_FILE;

use crate::failure::{Exit, Failure};
use crate::records::{self, Record};
use crate::settings::Settings;
use crate::terminal::{FIELD, Terminal, outside};

/// What the cache file and `authorized_services` say at this moment.
pub(crate) struct Bus {
    pub(crate) cache: Cache,
    pub(crate) authorized: Arc<AuthorizedServices>,
    pub(crate) directory: Directory,
    /// Records that count for nothing, with the reason.
    pub(crate) bad: Vec<Record>,
    /// Records of all kinds.
    pub(crate) records: usize,
}

/// The cache file.
pub(crate) struct Cache {
    pub(crate) path: PathBuf,
    pub(crate) age: Duration,
    pub(crate) octets: usize,
    pub(crate) max_age: Duration,
    pub(crate) policy: StalePolicy,
}

impl Cache {
    pub(crate) fn is_old(&self) -> bool {
        self.age > self.max_age
    }

    /// Whether it is too old for what it lists to be used (D-36).
    pub(crate) fn is_stale(&self) -> bool {
        self.is_old() && self.policy == StalePolicy::Error
    }
}

impl Bus {
    /// Reads the cache file, `given` or the configuration's, and verifies what is in it.
    pub(crate) fn load(
        terminal: Terminal,
        settings: &Settings,
        given: Option<&Path>,
    ) -> Result<Self, Failure> {
        let config = settings.load(terminal)?.config;
        let authorized = authorized(terminal, &config)?;
        let path = cache_path(&config, given)?;
        let content = scamp_host::file::read(&path, CACHE_FILE).map_err(|error| {
            let text = format!("{}: {error}; is a cache manager running?", path.display());
            Failure::new(Exit::NotFound, text)
        })?;
        let age = SystemTime::now().duration_since(content.stamp.modified);
        let cache = Cache {
            path,
            age: age.unwrap_or_default(),
            octets: content.octets.len(),
            max_age: config.discovery_cache_max_age()?,
            policy: config.discovery_stale_policy()?,
        };
        let (mut instances, mut bad, mut all) = (Vec::new(), Vec::new(), 0);
        let accept_pss = config.discovery_accept_pss()?;
        let mut tell = |text: String| terminal.say(&text);
        records::records(&content.octets, accept_pss, &mut tell, &mut |record| {
            all += 1;
            for oddity in record.oddities() {
                terminal.detail(&format!("record {}: {oddity}", record.index));
            }
            match record.outcome {
                Ok(good) => instances.push(Arc::new(Instance::from_cache(Arc::new(good)))),
                Err(_) => bad.push(record),
            }
            Ok(())
        })?;
        let mut on_event = |event: scamp_proto::discovery::Event| terminal.say(&event.to_string());
        let directory = Directory::build(instances, &mut on_event);
        let bus = Self {
            directory: directory.with_stale_cache(cache.is_stale()),
            cache,
            authorized,
            bad,
            records: all,
        };
        if bus.cache.is_old() && bus.cache.policy == StalePolicy::Warn {
            terminal.say(&format!("{}; used all the same", bus.age()));
        }
        Ok(bus)
    }

    /// A failure if the cache file is too old or lists nobody.
    pub(crate) fn usable(&self) -> Result<(), Failure> {
        let text = if self.cache.is_stale() {
            format!("{}; is a cache manager running?", self.age())
        } else if self.directory.instances().is_empty() {
            format!("{}: no service in it", self.cache.path.display())
        } else {
            return Ok(());
        };
        Err(Failure::new(Exit::NotFound, text))
    }

    /// Why an action of an instance may not be asked for, if it may not.
    pub(crate) fn why_not(&self, instance: &Instance, action: &ActionRef<'_>) -> Option<WhyNot> {
        if let Some(reason) = self.why_nothing(instance) {
            return Some(reason);
        }
        let (sector, namespace, name) = (action.sector, action.namespace, action.name);
        let fingerprint = instance.fingerprint();
        let allowed = self
            .authorized
            .allows(&fingerprint, sector, namespace, name);
        (!allowed).then_some(WhyNot::NotAuthorized)
    }

    /// Why nothing at all may be asked of an instance, if so.
    pub(crate) fn why_nothing(&self, instance: &Instance) -> Option<WhyNot> {
        if instance.weight() <= 0.0 {
            return Some(WhyNot::Withdrawn);
        }
        self.directory.is_stale().then_some(WhyNot::StaleCache)
    }

    fn age(&self) -> String {
        format!(
            "{}: {} s old, and {} s is the most",
            self.cache.path.display(),
            self.cache.age.as_secs(),
            self.cache.max_age.as_secs()
        )
    }
}

/// Where the cache file is.
pub(crate) fn cache_path(config: &Config, given: Option<&Path>) -> Result<PathBuf, Failure> {
    let configured = || {
        config
            .discovery_cache_path()
            .filter(|path| !path.is_empty())
    };
    given
        .or_else(|| configured().map(Path::new))
        .map(Path::to_owned)
        .ok_or_else(|| {
            Failure::local("no cache file: set discovery.cache_path in the configuration")
        })
}

/// Who may provide what, according to the configuration.
pub(crate) fn authorized(
    terminal: Terminal,
    config: &Config,
) -> Result<Arc<AuthorizedServices>, Failure> {
    let mut file = Authorized::of(config)?;
    let mut events = Vec::new();
    file.look(&mut |event| events.push(event));
    let name = match file.path() {
        Some(path) => path.display().to_string(),
        None => "bus.authorized_services is not set".to_owned(),
    };
    for event in events {
        terminal.say(&outside(&format!("{name}: {event}"), FIELD));
    }
    Ok(file.current().clone())
}
