//! `scamp list`: who is there, and what may be asked (K-5).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use scamp_proto::discovery::{ActionRef, Instance, WhyNot};

use crate::action::Action;
use crate::bus::Bus;
use crate::failure::Failure;
use crate::json::Object;
use crate::records::Record;
use crate::settings::Settings;
use crate::table::{Table, Tone};
use crate::terminal::Terminal;

/// List the services of the discovery cache, and their actions
///
/// What may not be used is left out, as are actions with the flag `secret`; --all shows everything,
/// with the reason.
#[derive(Args, Debug)]
pub(crate) struct List {
    #[arg(value_enum, default_value = "actions")]
    what: What,
    #[command(flatten)]
    filter: Filter,
    /// The actions of this service, as `list actions --name SERVICE`
    #[arg(long, value_name = "SERVICE", conflicts_with_all = ["what", "name"])]
    actions: Option<String>,
    /// What may not be used, too, and why
    #[arg(short, long)]
    all: bool,
    /// The announcements themselves, as a cache file has them
    #[arg(long, conflicts_with = "json")]
    raw: bool,
    /// The cache file, if not the configuration's
    #[arg(long, value_name = "FILE")]
    cache: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum What {
    Actions,
    Services,
    Sectors,
}

/// Which of the services.
#[derive(Args, Clone, Debug, Default)]
struct Filter {
    /// Of this sector
    #[arg(long)]
    sector: Option<String>,
    /// With this name: an identity, or what it begins with before `:` or `-`
    #[arg(long)]
    name: Option<String>,
    /// At this address
    #[arg(long, value_name = "IP")]
    host: Option<IpAddr>,
    /// That offer this action: `[SECTOR:]Name.space.verb[~VERSION]`
    #[arg(long, value_name = "ACTION", value_parser = Wanted::parse)]
    with_action: Option<Wanted>,
}

impl List {
    pub(crate) fn run(&self, terminal: Terminal, settings: &Settings) -> Result<(), Failure> {
        let bus = Bus::load(terminal, settings, self.cache.as_deref())?;
        if !self.all {
            bus.usable()?;
        }
        let mut filter = self.filter.clone();
        let mut what = self.what;
        if let Some(service) = &self.actions {
            filter.name = Some(service.clone());
            what = What::Actions;
        }
        let instances = bus.directory.instances().iter();
        let chosen: Vec<&Instance> = instances
            .map(|instance| &**instance)
            .filter(|instance| filter.takes(instance))
            .collect();
        let listing = Listing {
            terminal,
            bus: &bus,
            all: self.all,
        };
        if self.raw {
            return listing.raw(&chosen);
        }
        let hidden = match what {
            What::Actions => listing.actions(&chosen, filter.sector.as_deref())?,
            What::Services => listing.services(&chosen)?,
            What::Sectors => listing.sectors(&chosen)?,
        };
        if hidden > 0 {
            terminal.say(&format!("{hidden} not shown: --all shows them, and why"));
        }
        Ok(())
    }
}

impl Filter {
    fn takes(&self, instance: &Instance) -> bool {
        let of = |sector: &str| {
            let wanted = self.sector.as_deref();
            wanted.is_none_or(|wanted| wanted.eq_ignore_ascii_case(sector))
        };
        let in_sector = of(instance.sector()) || instance.actions().any(|action| of(action.sector));
        let named = self.name.as_deref().is_none_or(|name| {
            let rest = instance.identity().strip_prefix(name);
            instance.is_named(name) || rest.is_some_and(|rest| rest.starts_with([':', '-']))
        });
        let here = self
            .host
            .is_none_or(|host| instance.uri().ip() == Some(host));
        let offers = self
            .with_action
            .as_ref()
            .is_none_or(|wanted| instance.actions().any(|action| wanted.is(&action)));
        in_sector && named && here && offers
    }
}

/// An action to look for; what is not said may be anything.
#[derive(Clone, Debug)]
struct Wanted {
    action: Action,
    sector: bool,
    version: bool,
}

impl Wanted {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(Self {
            action: Action::parse(text)?,
            sector: text.contains(':'),
            version: text.contains('~'),
        })
    }

    fn is(&self, action: &ActionRef<'_>) -> bool {
        let name = format!("{}.{}", action.namespace, action.name);
        self.action.name.eq_ignore_ascii_case(&name)
            && (!self.sector || self.action.sector.eq_ignore_ascii_case(action.sector))
            && (!self.version || self.action.version == action.version)
    }
}

struct Listing<'a> {
    terminal: Terminal,
    bus: &'a Bus,
    all: bool,
}

/// An action, wherever it is offered.
struct Offered<'a> {
    action: ActionRef<'a>,
    instances: usize,
    usable: usize,
    why_not: Option<WhyNot>,
}

impl Listing<'_> {
    /// Each prints what is to be shown, and returns how much is not.
    fn actions(&self, chosen: &[&Instance], sector: Option<&str>) -> Result<usize, Failure> {
        let mut table = Table::new(&["Name", "Ver", "Flags", "Instances", "AuthOK"]);
        table.numbers(&[1, 3]);
        let mut hidden = 0;
        for offered in self.offered(chosen).values() {
            let action = &offered.action;
            if sector.is_some_and(|sector| !sector.eq_ignore_ascii_case(action.sector)) {
                continue;
            }
            if !self.all && (offered.usable == 0 || action.flags.is_secret()) {
                hidden += 1;
                continue;
            }
            let name = format!("{}:{}.{}", action.sector, action.namespace, action.name);
            let flags: Vec<&str> = action.flags.iter().collect();
            let reason = offered.why_not.map(|reason| reason.to_string());
            if self.terminal.json {
                let mut object = Object::default();
                object.text("action", &action.to_string());
                object.text("sector", action.sector);
                object.text("name", &format!("{}.{}", action.namespace, action.name));
                object.number("version", action.version.into());
                object.texts("flags", flags);
                object.texts("envelopes", action.envelopes.iter());
                object.number("instances", offered.instances as u64);
                object.number("usable", offered.usable as u64);
                object.truth("authorized", offered.usable > 0);
                object.maybe("reason", reason.as_deref());
                self.terminal.data(&object.end())?;
                continue;
            }
            let instances = match offered.usable == offered.instances {
                true => offered.instances.to_string(),
                false => format!("{} of {}", offered.usable, offered.instances),
            };
            let (tone, ok) = match &reason {
                None => (Tone::Plain, "yes"),
                Some(reason) => (Tone::Faint, reason.as_str()),
            };
            let version = action.version.to_string();
            table.row([&name, &version, &flags.join(","), &instances, ok], tone);
        }
        table.print(self.terminal)?;
        self.bad_records()?;
        Ok(hidden)
    }

    fn offered<'a>(&self, chosen: &[&'a Instance]) -> BTreeMap<(String, u32), Offered<'a>> {
        let mut actions = BTreeMap::new();
        for instance in chosen {
            for action in instance.actions() {
                let name = format!("{}:{}.{}", action.sector, action.namespace, action.name);
                let why_not = self.bus.why_not(instance, &action);
                let offered = actions
                    .entry((name.to_ascii_lowercase(), action.version))
                    .or_insert(Offered {
                        action,
                        instances: 0,
                        usable: 0,
                        why_not,
                    });
                offered.instances += 1;
                offered.usable += usize::from(why_not.is_none());
                offered.why_not = offered.why_not.and(why_not);
            }
        }
        actions
    }

    fn services(&self, chosen: &[&Instance]) -> Result<usize, Failure> {
        let headings = [
            "ID",
            "Sector",
            "Weight",
            "Interval",
            "Address",
            "Envelopes",
            "Fingerprint",
            "#OK",
            "Reason",
        ];
        let mut table = Table::new(match self.all {
            true => &headings,
            false => &headings[..headings.len() - 1],
        });
        table.numbers(&[2, 3, 7]);
        let mut hidden = 0;
        for instance in chosen {
            let reason = self.why_not(instance);
            if reason.is_some() && !self.all {
                hidden += 1;
                continue;
            }
            let all = instance.actions().count();
            let usable = instance
                .actions()
                .filter(|action| self.bus.why_not(instance, action).is_none())
                .count();
            if self.terminal.json {
                let line = service_json(instance, all, usable, reason.as_deref());
                self.terminal.data(&line)?;
                continue;
            }
            let envelopes: Vec<&str> = instance.envelopes().iter().collect();
            let interval = interval(instance);
            let mut row = vec![
                instance.identity().to_owned(),
                instance.sector().to_owned(),
                instance.weight().to_string(),
                format!("{interval} s"),
                instance.uri().to_string(),
                envelopes.join(","),
                instance.fingerprint().to_string(),
                format!("{usable}/{all}"),
            ];
            if self.all {
                row.push(reason.clone().unwrap_or_default());
            }
            let tone = if reason.is_none() {
                Tone::Plain
            } else {
                Tone::Faint
            };
            table.row(row, tone);
        }
        table.print(self.terminal)?;
        self.bad_records()?;
        Ok(hidden)
    }

    /// Why a service is of no use, if it is of none.
    fn why_not(&self, instance: &Instance) -> Option<String> {
        if let Some(reason) = self.bus.why_nothing(instance) {
            return Some(reason.to_string());
        }
        if !self.bus.authorized.lists(&instance.fingerprint()) {
            return Some("its certificate is not listed".to_owned());
        }
        let mut actions = instance.actions();
        match actions.any(|action| self.bus.why_not(instance, &action).is_none()) {
            true => None,
            false => Some("none of its actions is authorized".to_owned()),
        }
    }

    fn sectors(&self, chosen: &[&Instance]) -> Result<usize, Failure> {
        let mut sectors: BTreeMap<&str, (usize, usize, usize)> = BTreeMap::new();
        for offered in self.offered(chosen).values() {
            let sector = sectors.entry(offered.action.sector).or_default();
            sector.1 += 1;
            sector.2 += usize::from(offered.usable > 0);
        }
        for instance in chosen {
            let of_actions = instance.actions().map(|action| action.sector);
            let own: BTreeSet<&str> = of_actions.chain([instance.sector()]).collect();
            for sector in own {
                sectors.entry(sector).or_default().0 += 1;
            }
        }
        let mut table = Table::new(&["Sector", "Services", "Actions", "Usable"]);
        table.numbers(&[1, 2, 3]);
        let mut hidden = 0;
        for (name, (services, actions, usable)) in sectors {
            if usable == 0 && !self.all {
                hidden += 1;
                continue;
            }
            if self.terminal.json {
                let mut object = Object::default();
                object.text("sector", name);
                object.number("services", services as u64);
                object.number("actions", actions as u64);
                object.number("usable", usable as u64);
                self.terminal.data(&object.end())?;
                continue;
            }
            let numbers = [services, actions, usable].map(|number| number.to_string());
            let [services, actions, usable] = &numbers;
            table.row([name, services, actions, usable], Tone::Plain);
        }
        table.print(self.terminal)?;
        Ok(hidden)
    }

    /// With --all: records that are no services, and why (K-5).
    fn bad_records(&self) -> Result<(), Failure> {
        let bad = self.bus.bad.iter().filter(|_| self.all);
        for Record {
            index,
            fingerprint,
            outcome,
        } in bad
        {
            let reason = outcome.as_ref().err().map_or("", String::as_str);
            let fingerprint = fingerprint.map(|fingerprint| fingerprint.to_string());
            if self.terminal.json {
                let mut object = Object::default();
                object.number("index", *index as u64);
                object.truth("valid", false);
                object.maybe("fingerprint", fingerprint.as_deref());
                object.text("reason", reason);
                self.terminal.data(&object.end())?;
                continue;
            }
            let owner = fingerprint.unwrap_or_default();
            let line = format!("record {index} skipped: {reason} {owner}");
            let paint = self.terminal.paint();
            self.terminal.data(&paint.bad(line.trim_end()))?;
        }
        Ok(())
    }

    fn raw(&self, chosen: &[&Instance]) -> Result<(), Failure> {
        for instance in chosen {
            if self.all || self.why_not(instance).is_none() {
                let text = instance.announcement().map(|known| known.text());
                let text = text.unwrap_or_default();
                // `data` adds the last line feed.
                let text = text.strip_suffix('\n').unwrap_or(text);
                self.terminal.data(&format!("\n%%%\n{text}"))?;
            }
        }
        Ok(())
    }
}

/// A service as `--json` shows it.
pub(crate) fn service_json(
    instance: &Instance,
    actions: usize,
    usable: usize,
    reason: Option<&str>,
) -> String {
    let mut object = Object::default();
    object.text("identity", instance.identity());
    object.text("fingerprint", &instance.fingerprint().to_string());
    object.text("sector", instance.sector());
    object.float("weight", instance.weight());
    object.float("interval", interval(instance));
    object.text("uri", &instance.uri().to_string());
    object.texts("envelopes", instance.envelopes().iter());
    object.float("timestamp", instance.timestamp().number());
    object.number("actions", actions as u64);
    object.number("usable", usable as u64);
    object.truth("authorized", usable > 0);
    object.maybe("reason", reason);
    object.end()
}

/// Seconds from one announcement to the next.
fn interval(instance: &Instance) -> f64 {
    let announcement = instance.announcement();
    announcement.map_or(0.0, |known| known.interval().as_secs_f64())
}
