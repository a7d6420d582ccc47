//! Every place where a connection can be cut (F-1, HD-58).

use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use super::script::{Answer, Ask, Finale, Happening, Listen, Plan, Script, What};
use super::wire::Cut;
use super::world::{Report, World};
use crate::connection::Heartbeat;
use crate::{Instant, limits};

/// A conversation to cut.
#[derive(Clone, Debug)]
pub struct Scene {
    /// What it is about.
    pub name: &'static str,
    /// How it goes when nobody cuts it.
    pub script: Script,
}

/// Where and how to cut.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Place {
    /// The side whose octets are cut off.
    pub side: usize,
    /// After how many of them.
    pub offset: u64,
    /// How.
    pub cut: Cut,
}

impl Scene {
    /// The conversations of the matrix.
    pub fn all() -> Vec<Self> {
        let chunk = limits::CHUNK as u64;
        let window = limits::WINDOW;
        let mut early = Plan::request(70_000, 10);
        early.answer = Answer::Early;
        let mut talks_on = early.clone();
        talks_on.keep_sending = true;
        let mut failed = Plan::request(100, 100);
        failed.body.end = Finale::Fail;
        let mut half = Plan::request(10, 3000);
        half.reply.end = Finale::Fail;
        let mut error = Plan::request(10, 0);
        error.answer = Answer::Error;
        let mut abandoned = Plan::request(10, 0);
        abandoned.answer = Answer::Abandon;
        let mut notify = Plan::request(500, 0);
        notify.ask = Ask::Notify;
        let mut discard = Plan::request(10, 5000);
        discard.listening = Listen::DiscardAt(0);
        let mut cancel = Plan::request(70_000, 10);
        cancel.cancel_after = Some(Duration::ZERO);
        let mut late_cancel = Plan::request(10, 5000);
        late_cancel.thinking = Duration::from_secs(1);
        late_cancel.cancel_after = Some(Duration::from_millis(500));
        let mut timeout = Plan::request(10, 10);
        timeout.thinking = Duration::from_secs(5);
        timeout.timeout = Some(Duration::from_secs(2));
        let mut collected = Plan::request(1000, 1000);
        collected.reading = Listen::Collect(10_000);
        collected.listening = Listen::Collect(10_000);
        let mut back = Plan::request(20, 20);
        back.from = 1;
        let mut other = Plan::request(300, 40);
        other.body.piece = 100;
        let scenes = [
            ("empty", Script::plain(vec![Plan::request(0, 0)])),
            (
                "one packet each way",
                Script::plain(vec![Plan::request(10, 20)]),
            ),
            (
                "exactly a window",
                Script::plain(vec![Plan::request(window, 5)]),
            ),
            (
                "a window less one",
                Script::plain(vec![Plan::request(5, window - 1)]),
            ),
            (
                "a window and one",
                Script::plain(vec![Plan::request(window + 1, 5)]),
            ),
            (
                "several chunks",
                Script::plain(vec![Plan::request(5, 3 * chunk + 7)]),
            ),
            (
                "interleaved",
                Script::plain(vec![Plan::request(2000, 10), other, Plan::request(0, 700)]),
            ),
            (
                "both ways",
                Script::plain(vec![Plan::request(30, 30), back]),
            ),
            ("early reply", Script::plain(vec![early])),
            ("early reply, talked over", Script::plain(vec![talks_on])),
            ("request fails", Script::plain(vec![failed])),
            ("reply fails", Script::plain(vec![half])),
            ("error reply", Script::plain(vec![error])),
            ("no reply", Script::plain(vec![abandoned])),
            ("notification", Script::plain(vec![notify])),
            ("discarded reply", Script::plain(vec![discard])),
            ("cancelled while sending", Script::plain(vec![cancel])),
            ("cancelled while waiting", Script::plain(vec![late_cancel])),
            ("timed out", Script::plain(vec![timeout])),
            ("collected", Script::plain(vec![collected])),
            ("subscription", subscription()),
            ("heartbeat", heartbeat()),
            ("refused while draining", refusal()),
            ("message numbers run out", exhaustion()),
        ];
        let scenes = scenes.into_iter();
        scenes.map(|(name, script)| Self { name, script }).collect()
    }

    /// Every place to cut: each octet up to 4 KiB, and each packet's end with two octets around it
    /// beyond, in both directions, in each way.
    pub fn places(&self) -> Vec<Place> {
        let whole = World::new(self.script.clone()).run();
        let mut places = Vec::new();
        for side in 0..2 {
            let total = whole.octets[side];
            let mut offsets: Vec<u64> = (0..=total.min(EVERY)).collect();
            for end in &whole.boundaries[side] {
                let around = end.saturating_sub(2)..=end + 2;
                offsets.extend(around.filter(|offset| *offset > EVERY && *offset <= total));
            }
            offsets.dedup();
            for offset in offsets {
                places.extend(Cut::ALL.map(|cut| Place { side, offset, cut }));
            }
        }
        places
    }

    /// The conversation, cut there.
    pub fn run(&self, place: Place) -> Report {
        self.world(place).run()
    }

    /// The world of that run, not yet run.
    pub fn world(&self, place: Place) -> World {
        let mut script = self.script.clone();
        script.links[place.side].cut = Some((place.offset, place.cut));
        World::new(script)
    }
}

fn subscription() -> Script {
    let mut plan = Plan::request(0, 0);
    plan.ask = Ask::Subscribe(2);
    let mut script = Script::plain(vec![plan]);
    script.configs[1].subscriptions = true;
    for (millis, value) in [(0, 1), (100, 2), (200, 0)] {
        script.happenings.push(Happening {
            at: Instant::from_epoch(Duration::from_millis(millis)),
            side: 1,
            what: What::Publish(0, 0, value),
        });
    }
    end_at(&mut script, 1);
    script
}

fn heartbeat() -> Script {
    let mut plan = Plan::request(10, 10);
    plan.thinking = Duration::from_millis(2500);
    let mut script = Script::plain(vec![plan]);
    for config in &mut script.configs {
        config.connection.heartbeat = Heartbeat::On(Duration::from_secs(1));
    }
    end_at(&mut script, 4);
    script
}

/// One request is being served when the service begins to drain, and a second one comes.
fn refusal() -> Script {
    let mut slow = Plan::request(10, 10);
    slow.thinking = Duration::from_secs(2);
    let mut late = Plan::request(10, 10);
    late.at = Instant::from_epoch(Duration::from_secs(1));
    let mut script = Script::plain(vec![slow, late]);
    script.happenings.push(Happening {
        at: Instant::from_epoch(Duration::from_millis(500)),
        side: 1,
        what: What::Drain,
    });
    script
}

fn exhaustion() -> Script {
    let mut script = Script::plain(vec![Plan::request(1, 1), Plan::request(1, 1)]);
    for config in &mut script.configs {
        config.connection.first_msgno = limits::LAST_NUMBER;
    }
    script
}

/// Has the dialling side leave after so many seconds, so that what lasts does not last long.
fn end_at(script: &mut Script, seconds: u64) {
    script.happenings.push(Happening {
        at: Instant::from_epoch(Duration::from_secs(seconds)),
        side: 0,
        what: What::Drain,
    });
}

/// Octets from the beginning that are each a place to cut after.
const EVERY: u64 = 4096;
