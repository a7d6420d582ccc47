//! `scamp watch`: announcements as they come (K-7).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use scamp_host::Bus;
use scamp_proto::auth::Fingerprint;
use scamp_proto::discovery::Instance;
use scamp_proto::discovery::registry::Change;

use crate::bus::cache_path;
use crate::failure::Failure;
use crate::hear::{Ear, Heard};
use crate::interrupt;
use crate::json::Object;
use crate::settings::Settings;
use crate::terminal::{FIELD, Paint, Terminal, outside};

/// Tell of services that come, change and go, one line each
///
/// Listens to announcements; --cache follows the cache file instead, where it cannot be told whether
/// a service that is gone withdrew or fell silent.
#[derive(Args, Debug)]
pub(crate) struct Watch {
    /// Follow the cache file: this one, or the configuration's
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true)]
    cache: Option<Option<PathBuf>>,
    /// Each announcement, also of what is known already
    #[arg(short, long, conflicts_with = "cache")]
    all: bool,
    /// The announcements themselves, as a cache file has them
    #[arg(long, conflicts_with_all = ["json", "cache"])]
    raw: bool,
    /// Only this long: `10s`
    #[arg(long = "for", value_name = "TIME", value_parser = crate::asking::span)]
    span: Option<Duration>,
}

impl Watch {
    pub(crate) fn run(&self, terminal: Terminal, settings: &Settings) -> Result<(), Failure> {
        let mut config = settings.load(terminal)?.config;
        let show = Show {
            terminal,
            paint: terminal.paint(),
        };
        let end = self.span.map(|span| Instant::now() + span);
        let left = || match end {
            Some(end) => end.checked_duration_since(Instant::now()),
            None => Some(Duration::MAX),
        };
        match &self.cache {
            None => {
                let ear = Ear::open(&config)?;
                interrupt::ends_the_process()?;
                self.listen(&show, ear, left)
            }
            Some(file) => {
                let path = cache_path(&config, file.as_deref())?;
                config.set_override("discovery.cache_path", path.display().to_string());
                let bus = Bus::from_config(&config)?;
                interrupt::ends_the_process()?;
                follow(&show, bus, left)
            }
        }
    }

    fn listen(
        &self,
        show: &Show,
        mut ear: Ear,
        left: impl Fn() -> Option<Duration>,
    ) -> Result<(), Failure> {
        while let Some(left) = left() {
            let heard = ear.next(left.min(LOOK))?;
            for instance in ear.expired() {
                show.service("expired", &instance, None)?;
            }
            if let Some(heard) = heard {
                self.tell(show, heard)?;
            }
        }
        Ok(())
    }

    fn tell(&self, show: &Show, heard: Heard) -> Result<(), Failure> {
        let news = match heard.news {
            Ok(news) => news,
            Err(error) => return show.rejected(&heard, &error.to_string()),
        };
        let sizes = (heard.octets, news.announcement.text().len());
        let instance = Instance::heard(Arc::new(news.announcement));
        let word = match (news.change, news.before) {
            (Change::Added, _) => "added",
            (Change::Withdrawn, _) => "withdrawn",
            (Change::Replaced, Some(before)) if is_other(&before, &instance) => "changed",
            (Change::Replaced | Change::Refreshed | Change::Ignored, _) => "announced",
            (Change::Replayed, _) => "replayed",
            (Change::TooOld, _) => "too old",
            (Change::Refused(limit, _), _) => limit,
        };
        if word == "announced" && !self.all {
            return Ok(());
        }
        if self.raw {
            let text = instance.announcement().map_or("", |known| known.text());
            let text = text.strip_suffix('\n').unwrap_or(text);
            return show.terminal.data(&format!("\n%%%\n{text}"));
        }
        show.service(word, &instance, Some(sizes))
    }
}

/// Tells the differences from one state of the cache file to the next.
fn follow(show: &Show, mut bus: Bus, left: impl Fn() -> Option<Duration>) -> Result<(), Failure> {
    let begun = Instant::now();
    let mut known: BTreeMap<(Fingerprint, String), Arc<Instance>> = BTreeMap::new();
    let mut was_stale = None;
    while let Some(left) = left() {
        let now = scamp_proto::Instant::from_epoch(begun.elapsed());
        if bus.refresh(now).is_some() || was_stale.is_none() {
            let directory = bus.news().directory;
            let there: BTreeMap<_, _> = directory
                .instances()
                .iter()
                .map(|each| {
                    (
                        (each.fingerprint(), each.identity().to_owned()),
                        each.clone(),
                    )
                })
                .collect();
            for (key, instance) in &known {
                if !there.contains_key(key) {
                    show.service("removed", instance, None)?;
                }
            }
            for (key, instance) in &there {
                match known.get(key) {
                    None => show.service("added", instance, None)?,
                    Some(before) if is_other(before, instance) => {
                        show.service("changed", instance, None)?;
                    }
                    Some(_) => {}
                }
            }
            known = there;
            let is_stale = directory.is_stale();
            if was_stale.replace(is_stale).unwrap_or(false) != is_stale {
                show.cache(is_stale)?;
            }
        }
        for note in bus.notes() {
            show.terminal.say(&outside(&note, FIELD));
        }
        thread::sleep(left.min(LOOK));
    }
    Ok(())
}

/// Whether a service says something else of itself than before; its time is nothing new.
fn is_other(before: &Instance, now: &Instance) -> bool {
    let interval = |of: &Instance| of.announcement().map(|known| known.interval());
    let head = |of: &Instance| {
        let envelopes: Vec<String> = of.envelopes().iter().map(str::to_owned).collect();
        let (weight, uri) = (of.weight(), of.uri().to_string());
        (
            weight.to_bits(),
            uri,
            of.sector().to_owned(),
            envelopes,
            interval(of),
        )
    };
    let actions = |of: &Instance| -> Vec<String> {
        let describe = of.actions().map(|action| {
            let flags: Vec<&str> = action.flags.iter().collect();
            let envelopes: Vec<&str> = action.envelopes.iter().collect();
            format!("{action} {} {}", flags.join(","), envelopes.join(","))
        });
        describe.collect()
    };
    head(before) != head(now) || actions(before) != actions(now)
}

struct Show {
    terminal: Terminal,
    paint: Paint,
}

impl Show {
    fn service(
        &self,
        word: &str,
        instance: &Instance,
        sizes: Option<(usize, usize)>,
    ) -> Result<(), Failure> {
        let actions: Vec<String> = instance
            .actions()
            .map(|action| action.to_string())
            .collect();
        if self.terminal.json {
            let mut object = Object::default();
            object.text("change", word);
            object.text("identity", instance.identity());
            object.text("fingerprint", &instance.fingerprint().to_string());
            object.text("sector", instance.sector());
            object.float("weight", instance.weight());
            object.text("uri", &instance.uri().to_string());
            object.float("timestamp", instance.timestamp().number());
            object.texts("actions", actions.iter().map(String::as_str));
            if let Some((datagram, text)) = sizes {
                object.number("datagram", datagram as u64);
                object.number("text", text as u64);
            }
            return self.terminal.data(&object.end());
        }
        let padded = format!("{word:<9}");
        let word = match word {
            "added" => self.paint.good(&padded),
            "changed" | "announced" => padded,
            _ => self.paint.doubtful(&padded),
        };
        let identity = outside(instance.identity(), FIELD);
        let mut line = format!(
            "{word} {identity} at {}, weight {}, {} actions",
            instance.uri(),
            instance.weight(),
            actions.len()
        );
        if let Some((datagram, text)) = sizes {
            line = format!("{line}, {text} octets in {datagram}");
        }
        self.terminal.data(&line)
    }

    fn rejected(&self, heard: &Heard, why: &str) -> Result<(), Failure> {
        if self.terminal.json {
            let mut object = Object::default();
            object.text("change", "rejected");
            object.text("from", &heard.from.to_string());
            object.number("datagram", heard.octets as u64);
            object.text("reason", why);
            return self.terminal.data(&object.end());
        }
        let (from, octets) = (heard.from, heard.octets);
        let line = format!(
            "rejected  {octets} octets from {from}: {}",
            outside(why, FIELD)
        );
        self.terminal.data(&self.paint.bad(&line))
    }

    fn cache(&self, is_stale: bool) -> Result<(), Failure> {
        let word = if is_stale { "stale" } else { "fresh" };
        if self.terminal.json {
            let mut object = Object::default();
            object.text("change", word);
            return self.terminal.data(&object.end());
        }
        self.terminal.data(&format!("{word:<9} the cache file"))
    }
}

/// How often the file, and the services that may have fallen silent, are looked at.
const LOOK: Duration = Duration::from_millis(200);
