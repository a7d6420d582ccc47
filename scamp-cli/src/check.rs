//! `scamp check`: whether as many instances are there as should be (K-9).

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use serde_json::Value;

use crate::bus::Bus;
use crate::certificate;
use crate::failure::{Exit, Failure};
use crate::json::Object;
use crate::settings::Settings;
use crate::table::{Table, Tone};
use crate::terminal::Terminal;

/// Compare the discovery cache with an inventory
///
/// The inventory is JSON: `{"sector:Class.action~1":{"red":1,"yellow":2}}`. An action with fewer
/// usable instances than `red` is red, with fewer than `yellow` yellow. The exit code is 1 if there
/// is red, and 3 if there is yellow only.
#[derive(Args, Debug)]
pub(crate) struct Check {
    /// The inventory; `-` is standard input
    #[arg(long, value_name = "FILE", required_unless_present = "dump")]
    inventory: Option<PathBuf>,
    /// Print an inventory of what is there now
    #[arg(long, conflicts_with = "inventory")]
    dump: bool,
    /// The cache file, if not the configuration's
    #[arg(long, value_name = "FILE")]
    cache: Option<PathBuf>,
}

/// How many instances an action should have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Need {
    red: u64,
    yellow: u64,
}

/// How an action is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum State {
    Green,
    Yellow,
    Red,
}

impl Check {
    pub(crate) fn run(&self, terminal: Terminal, settings: &Settings) -> Result<(), Failure> {
        // What is wrong with the inventory is known before the cache is read.
        let inventory = self.inventory.as_ref().map(|file| {
            let octets = certificate::read(file)?;
            let failed = |why: String| Failure::local(format!("{}: {why}", file.display()));
            parse(&octets).map_err(failed)
        });
        let inventory = inventory.transpose()?;
        let bus = Bus::load(terminal, settings, self.cache.as_deref())?;
        let Some(inventory) = inventory else {
            bus.usable()?;
            return dump(terminal, &bus);
        };
        if let Err(failure) = bus.usable() {
            terminal.say(&failure.text);
        }
        let there = count(&bus);
        let mut table = Table::new(&["State", "Action", "Instances", "Red", "Yellow"]);
        table.numbers(&[2, 3, 4]);
        let mut worst = BTreeMap::from([(State::Red, 0), (State::Yellow, 0)]);
        for (action, need) in inventory {
            let entry = there.get(&action.to_ascii_lowercase());
            let instances = entry.map_or(0, |(_, count)| *count);
            let state = need.state(instances);
            *worst.entry(state).or_default() += 1;
            if terminal.json {
                let mut object = Object::default();
                object.text("action", &action);
                object.text("state", state.word());
                object.number("instances", instances);
                object.number("red", need.red);
                object.number("yellow", need.yellow);
                terminal.data(&object.end())?;
                continue;
            }
            let numbers = [instances, need.red, need.yellow].map(|number| number.to_string());
            let [instances, red, yellow] = &numbers;
            let row = [state.word(), &action, instances, red, yellow];
            table.row(row, state.tone());
        }
        table.print(terminal)?;
        let (red, yellow) = (worst[&State::Red], worst[&State::Yellow]);
        let exit = match (red, yellow) {
            (0, 0) => return Ok(()),
            (0, _) => Exit::YELLOW,
            (_, _) => Exit::RED,
        };
        Err(Failure::new(exit, format!("{red} red, {yellow} yellow")).told())
    }
}

impl Need {
    fn state(self, instances: u64) -> State {
        if instances < self.red {
            State::Red
        } else if instances < self.yellow {
            State::Yellow
        } else {
            State::Green
        }
    }
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Green => "green",
            Self::Yellow => "yellow",
            Self::Red => "red",
        }
    }

    fn tone(self) -> Tone {
        match self {
            Self::Green => Tone::Good,
            Self::Yellow => Tone::Doubtful,
            Self::Red => Tone::Bad,
        }
    }
}

/// Usable instances of each action, by its name in lower case, and the name as it is written.
fn count(bus: &Bus) -> BTreeMap<String, (String, u64)> {
    let mut actions = BTreeMap::new();
    for instance in bus.directory.instances() {
        // Who offers an action twice, for two envelopes, is one instance of it.
        let mut own = BTreeMap::new();
        for action in instance.actions() {
            if bus.why_not(instance, &action).is_none() {
                let name = action.to_string();
                own.insert(name.to_ascii_lowercase(), name);
            }
        }
        for (key, name) in own {
            actions.entry(key).or_insert((name, 0)).1 += 1;
        }
    }
    actions
}

/// One JSON object: one instance is needed, and as many as are there now are good.
fn dump(terminal: Terminal, bus: &Bus) -> Result<(), Failure> {
    let mut inventory = Object::default();
    for (name, instances) in count(bus).into_values() {
        let mut need = Object::default();
        need.number("red", 1);
        need.number("yellow", instances);
        inventory.raw(&name, &need.end());
    }
    terminal.data(&inventory.end())
}

fn parse(octets: &[u8]) -> Result<Vec<(String, Need)>, String> {
    let value: Value = serde_json::from_slice(octets).map_err(|error| error.to_string())?;
    let Value::Object(actions) = value else {
        return Err("an inventory is a JSON object".to_owned());
    };
    let mut inventory = Vec::new();
    for (action, need) in actions {
        let number = |name: &str| match need.get(name) {
            None => Ok(0),
            Some(value) => value
                .as_u64()
                .ok_or_else(|| format!("{name} of {action:?} is not a number")),
        };
        if !need.is_object() {
            return Err(format!("{action:?} is not {{\"red\":n,\"yellow\":m}}"));
        }
        let (red, yellow) = (number("red")?, number("yellow")?);
        let name =
            crate::action::Action::parse(&action).map_err(|why| format!("{action:?}: {why}"))?;
        inventory.push((format!("{}:{name}", name.sector), Need { red, yellow }));
    }
    Ok(inventory)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// K-9: fewer than the numbers, and not as many.
    #[test]
    fn states() {
        let need = Need { red: 1, yellow: 3 };
        let states = [0, 1, 2, 3].map(|instances| need.state(instances));
        assert_eq!(
            states,
            [State::Red, State::Yellow, State::Yellow, State::Green]
        );
    }

    /// K-9: watchdog2's form, and what is none.
    #[test]
    fn inventories() {
        let good = parse(br#"{"web:A.b~2":{"red":1},"A.c":{"yellow":2}}"#).expect("an inventory");
        let (red, yellow) = (1, 2);
        assert_eq!(good[0].1, Need { red: 0, yellow });
        assert_eq!(good[0].0, "main:A.c~1");
        assert_eq!(good[1], ("web:A.b~2".to_owned(), Need { red, yellow: 0 }));
        for bad in [
            "",
            "[]",
            r#"{"A.b":1}"#,
            r#"{"A.b":{"red":-1}}"#,
            r#"{"A":{"red":1}}"#,
        ] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
