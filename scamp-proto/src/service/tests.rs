//! Requests over two sessions, as a desk decides about them.

use core::cell::{Cell, RefCell};
use core::time::Duration;
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::auth::table::Table;
use crate::auth::{Padding, PublicKey, TableState, TicketKeys, Verify};
use crate::error::{BodyError, CallError, SendError};
use crate::note::What;
use crate::session::{Config, Event, Read, RequestOptions, ServeId, Session, Side};
use crate::wire::{RemoteError, ReplyHead, RequestHead};
use crate::{Duplex, End, Instant, Outbox, limits};

/// The key of E-17; what it is said to have signed is up to [`Lenient`].
const KEY: &str = "-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAqOSuQ+HoLUnWqABwk7cV
dsitomaIffUI7PgF1PJ2sWI+ve7FhRDui5EbBCsBiLgRmGtCetGhMpkYpLDFZjw+
tgKtQtmz/cVx6bJ4qzP0bLXugmP4tbjPIhbLB6lDGmrB26i2TwyOFC3IsN7SQc6Y
C2UR6y93aTQu7DtGPHkpYCCFY96ccC6B+SNoHSQpAwWxgJ2lDtR+QpTihKPB+lmt
PzKPYnnt6RF1IX6rctzZg5T1H1R8DK6aKxtOWrZMDqMRnDthkNqUTjDtJUyIq/9b
Ly4aE/k/9qyU6v0BircO6ZnmfqJssqL9W3iuquappbh3e426fjP0z4Cco94PXn2L
pwIDAQAB
-----END PUBLIC KEY-----";

/// Takes `good` for the signature of anything.
struct Lenient;

impl Verify for Lenient {
    fn verify(&self, _: &PublicKey<'_>, _: Padding, _: &[u8], signature: &[u8]) -> bool {
        signature == b"good"
    }
}

/// A ticket of user 3063, client 21, from 1000 to 2000, with these privileges.
fn ticket(privileges: &str) -> String {
    format!("1,3063,21,1000,1000,{privileges},Z29vZA")
}

const BAD: &str = "1,3063,21,1000,1000,1+20,YmFk";

struct Place {
    guard: RefCell<Guard>,
    active: Cell<usize>,
    max: usize,
    unix: Cell<i64>,
}

impl House for Place {
    fn enter(&self) -> bool {
        let room = self.has_room();
        self.active.set(self.active.get() + usize::from(room));
        room
    }

    fn leave(&self) {
        self.active.set(self.active.get() - 1);
    }

    fn has_room(&self) -> bool {
        self.active.get() < self.max
    }

    fn active(&self) -> usize {
        self.active.get()
    }

    fn unix(&self) -> i64 {
        self.unix.get()
    }

    fn is_tabled(&self) -> bool {
        self.guard.borrow().is_tabled()
    }

    fn guard<T>(&self, look: impl FnOnce(&mut Guard) -> T) -> T {
        look(&mut self.guard.borrow_mut())
    }
}

/// A service in memory and a client of it.
struct World {
    client: Session,
    server: Session,
    desk: Desk<&'static str>,
    actions: Actions<&'static str>,
    house: Place,
    now: Instant,
    started: Vec<(ServeId, &'static str, Caller)>,
    checks: Vec<Check>,
    fetches: usize,
    cancelled: Vec<ServeId>,
    notes: Vec<What>,
}

impl World {
    /// The actions of E-17, in all their kinds.
    fn new(access: Access) -> Self {
        let mut actions = Actions::default();
        actions.set_default_access(access);
        let add = |actions: &mut Actions<_>, action: Action, handler| {
            actions.insert(action, handler).expect("its first");
        };
        let action = |name: &str| Action::parse(name).expect("a name");
        add(&mut actions, action("Greetings.hello"), "hello");
        add(&mut actions, action("Greetings.wave"), "wave");
        add(&mut actions, action("Greetings.x"), "x");
        add(&mut actions, action("Greetings.y"), "y");
        add(&mut actions, action("Greetings.open").noauth(), "open");
        add(
            &mut actions,
            action("Greetings.code").requires(&[1, 31]),
            "code",
        );
        add(
            &mut actions,
            action("Greetings.code99").requires(&[1, 99]),
            "code99",
        );
        add(
            &mut actions,
            action("Greetings.stream").noauth().streaming(),
            "stream",
        );
        add(
            &mut actions,
            action("Greetings.brief").noauth().flags("t30"),
            "brief",
        );
        add(
            &mut actions,
            action("Greetings.pour").requires(&[1]).streaming(),
            "pour",
        );
        let now = Instant::EPOCH;
        Self {
            client: Session::new(Config::new(Side::Client), Side::Client, now),
            server: Session::new(Config::new(Side::Server), Side::Server, now),
            desk: Desk::default(),
            actions,
            house: Place {
                guard: RefCell::default(),
                active: Cell::new(0),
                max: 1000,
                unix: Cell::new(1500),
            },
            now,
            started: Vec::new(),
            checks: Vec::new(),
            fetches: 0,
            cancelled: Vec::new(),
            notes: Vec::new(),
        }
    }

    fn with_keys(self) -> Self {
        let keys = TicketKeys::from_pem(KEY).expect("a key");
        self.house.guard(|guard| guard.set_keys(keys));
        self
    }

    fn with_table(self, table: TableState) -> Self {
        self.house.guard(|guard| guard.set_table(table));
        self
    }

    /// Carries octets until nothing moves, and handles what comes of it.
    fn settle(&mut self) {
        for _ in 0..10 {
            carry(self.now, &mut self.client, &mut self.server);
            while let Some(event) = self.server.poll_event() {
                if let Event::Note(note) = &event {
                    self.notes.push(note.what.clone());
                }
                let step = self.desk.handle(
                    self.now,
                    &mut self.server,
                    &self.actions,
                    &self.house,
                    event,
                );
                if let Step::Cancel(id) = step {
                    self.cancelled.push(id);
                    continue;
                }
                take(step, &mut self.started, &mut self.checks, &mut self.fetches);
            }
            while let Some(step) =
                self.desk
                    .poll(self.now, &mut self.server, &self.actions, &self.house)
            {
                take(step, &mut self.started, &mut self.checks, &mut self.fetches);
            }
            carry(self.now, &mut self.server, &mut self.client);
        }
    }

    /// Lets time pass.
    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.server.handle_timeout(self.now);
        self.settle();
    }

    /// Verifies what is to be verified.
    fn check(&mut self) -> usize {
        let checks: Vec<_> = self.checks.drain(..).collect();
        let count = checks.len();
        for check in checks {
            let checked = check.run(&Lenient);
            let step = self.desk.checked(
                self.now,
                &mut self.server,
                &self.actions,
                &self.house,
                checked,
            );
            take(step, &mut self.started, &mut self.checks, &mut self.fetches);
        }
        self.settle();
        count
    }

    fn send(&mut self, head: &RequestHead<'_>, body: &'static str) {
        let options = RequestOptions::default();
        let (_, send) = self.client.request(self.now, head, &options).expect("open");
        let mut body = Bytes::from_static(body.as_bytes());
        self.client.write(self.now, send, &mut body).expect("open");
        self.client.finish(self.now, send).expect("open");
        self.settle();
    }

    /// Answers every handler that runs with its name.
    fn answer(&mut self) -> Vec<Caller> {
        let mut callers = Vec::new();
        for (id, name, caller) in core::mem::take(&mut self.started) {
            let reply = self.server.reply(self.now, id, &ReplyHead::default());
            let send = reply.expect("it has no answer");
            let mut body = Bytes::from_static(name.as_bytes());
            self.server.write(self.now, send, &mut body).expect("open");
            self.server.finish(self.now, send).expect("open");
            assert!(self.desk.finished(self.now, &mut self.server, id));
            self.house.leave();
            callers.push(caller);
        }
        self.settle();
        callers
    }

    /// The replies that have come.
    fn replies(&mut self) -> Vec<Result<String, (String, String)>> {
        let mut replies = Vec::new();
        while let Some(event) = self.client.poll_event() {
            if let Event::Reply { header, body, .. } = event {
                let mut text = Vec::new();
                while let Read::Data(piece) = self.client.read(self.now, body) {
                    text.extend_from_slice(&piece);
                }
                replies.push(match header.error() {
                    Some(error) => Err((error.code, error.text)),
                    None => Ok(String::from_utf8(text).expect("text")),
                });
            }
        }
        replies
    }

    /// The one reply to a request, whatever it takes.
    fn call(&mut self, action: &str, ticket: Option<&str>) -> Result<String, (String, String)> {
        let mut head = RequestHead::new(action);
        if let Some(ticket) = ticket {
            head = head.ticket(ticket);
        }
        self.send(&head, "{}");
        self.check();
        self.answer();
        let mut replies = self.replies();
        assert_eq!(replies.len(), 1, "{action}: {replies:?}");
        assert!(self.desk.is_empty() && self.house.active() == 0);
        replies.remove(0)
    }
}

fn take(
    step: Step<&'static str>,
    started: &mut Vec<(ServeId, &'static str, Caller)>,
    checks: &mut Vec<Check>,
    fetches: &mut usize,
) {
    match step {
        Step::Start(job) => started.push((job.id, job.handler, job.caller)),
        Step::Check(check) => checks.push(check),
        Step::FetchTable => *fetches += 1,
        Step::Cancel(_) | Step::Other(_) | Step::Done => {}
    }
}

fn carry(now: Instant, from: &mut Session, to: &mut Session) {
    let mut out = Outbox::default();
    while from.poll_transmit(now, &mut out).is_some() {}
    let octets = out.take_all();
    if !octets.is_empty() {
        to.receive(now, &octets);
    }
}

fn table() -> TableState {
    let json = br#"{"greetings.hello":["20"],"greetings.wave":[20,99],"greetings.x":[],
        "greetings.code":[20],"_NAMES":[null,"login"]}"#;
    TableState::fixed(Table::parse(json).expect("a table"))
}

fn refused(code: &str, text: &str) -> Result<String, (String, String)> {
    Err((code.into(), text.into()))
}

fn fine(text: &str) -> Result<String, (String, String)> {
    Ok(text.into())
}

/// T-9.1, T-9.5, N-23: an unknown action is told as such; one that nothing is said about is refused, or
/// served if the code says so.
#[test]
fn default_access() {
    let mut world = World::new(Access::default());
    assert_eq!(
        world.call("Greetings.nope", None),
        refused("no_action", "No such action: Greetings.nope.v1")
    );
    let unconfigured = refused("authz", "Unconfigured action: Greetings.x");
    assert_eq!(world.call("Greetings.x", None), unconfigured);
    assert_eq!(world.call("Greetings.x", Some(&ticket("1"))), unconfigured);
    assert_eq!(world.call("Greetings.open", None), fine("open"));

    let mut world = World::new(Access::Allow);
    assert_eq!(world.call("Greetings.x", None), fine("x"));
    assert_eq!(world.call("Greetings.x", Some("rubbish")), fine("x"));
    let unticketed = refused("authn", "Invalid ticket");
    assert_eq!(world.call("Greetings.code", None), unticketed);
}

/// T-9.2: `noauth` serves anybody; an invalid ticket is passed on as absent, with a note.
#[test]
fn noauth() {
    let mut world = World::new(Access::Deny).with_keys().with_table(table());
    for (ticket, noted) in [(None, 0), (Some(BAD), 1), (Some("rubbish"), 2)] {
        assert_eq!(world.call("Greetings.open", ticket), fine("open"));
        let notes = world.notes.iter();
        let bad = notes.filter(|what| matches!(what, What::BadTicket(_)));
        assert_eq!(bad.count(), noted);
    }
    let good = ticket("1");
    let head = RequestHead::new("Greetings.open").ticket(good.as_str());
    world.send(&head, "");
    world.check();
    let callers = world.answer();
    let held = callers[0].ticket().expect("it is valid");
    assert_eq!((held.user_id(), held.privileges()), (3063, &[1][..]));
}

/// T-9.3, T-5: privileges required in code; every bad ticket is told the same.
#[test]
fn required_privileges() {
    let mut world = World::new(Access::Deny).with_keys();
    let invalid = refused("authn", "Invalid ticket");
    let expired = ticket("1+31").replace("1000,1000", "100,100");
    let early = ticket("1+31").replace("1000,1000", "1501,100");
    let tickets = [
        None,
        Some(""),
        Some(BAD),
        Some("x"),
        Some(&*expired),
        Some(&*early),
    ];
    for bad in tickets {
        assert_eq!(world.call("Greetings.code", bad), invalid, "{bad:?}");
    }
    assert_eq!(
        world.call("Greetings.code", Some(&ticket("1+20+31"))),
        fine("code")
    );
    assert_eq!(
        world.call("Greetings.code99", Some(&ticket("1+20+31"))),
        refused("authz", "Missing privilege 99 for Greetings.code99")
    );
    assert_eq!(
        world.call("Greetings.code", Some(&ticket(""))),
        refused("authz", "Missing privilege 1 for Greetings.code")
    );
}

/// E-17, T-9.4: the table of the example, with a ticket and without.
#[test]
fn the_table_of_the_example() {
    let mut world = World::new(Access::Allow).with_keys().with_table(table());
    let held = ticket("1+20+31");
    assert_eq!(world.call("Greetings.hello", Some(&held)), fine("hello"));
    assert_eq!(
        world.call("Greetings.wave", Some(&held)),
        refused("authz", "Missing privilege 99 for Greetings.wave")
    );
    assert_eq!(world.call("Greetings.x", Some(&held)), fine("x"));
    assert_eq!(
        world.call("Greetings.y", Some(&held)),
        refused("authz", "Unconfigured action: Greetings.y")
    );
    for action in ["hello", "wave", "x", "y"] {
        let action = format!("Greetings.{action}");
        assert_eq!(
            world.call(&action, None),
            refused("authn", "Invalid ticket")
        );
    }
    assert_eq!(world.call("Greetings.open", None), fine("open"));
}

/// T-10: where both the code and the table ask for something, both must be met.
#[test]
fn code_and_table() {
    let mut world = World::new(Access::Deny).with_keys().with_table(table());
    for (privileges, missing) in [("1+20+31", None), ("1+31", Some(20)), ("1+20", Some(31))] {
        let expected = match missing {
            None => fine("code"),
            Some(id) => refused(
                "authz",
                &format!("Missing privilege {id} for Greetings.code"),
            ),
        };
        assert_eq!(
            world.call("Greetings.code", Some(&ticket(privileges))),
            expected
        );
    }
}

/// T-18: a service in another sector is none of the table's business, unless it is for all.
#[test]
fn other_sectors() {
    let mut world = World::new(Access::Allow).with_keys().with_table(table());
    world.house.guard(|guard| guard.set_sector("web"));
    assert_eq!(world.call("Greetings.y", None), fine("y"));
    world
        .house
        .guard(|guard| guard.set_table(table().all_sectors()));
    assert_eq!(
        world.call("Greetings.y", None),
        refused("authn", "Invalid ticket")
    );
}

/// T-11: whose ticket, whose client.
#[test]
fn who_asks() {
    let mut world = World::new(Access::Allow).with_keys();
    let (own, other) = (ticket("1"), ticket("2").replace("3063,21", "7,8"));
    let nobodys = ticket("1").replace("3063,21", "3063,0");
    for (ticket, token, header, users, client) in [
        (None, None, 5, None, 5),
        (Some(&*own), None, 5, Some((3063, 3063)), 21),
        (Some(&*own), Some(&*other), 5, Some((3063, 7)), 8),
        (Some(&*own), Some(BAD), 5, Some((3063, 3063)), 21),
        (Some(&*nobodys), None, 5, Some((3063, 3063)), 5),
        (Some(BAD), None, 5, None, 5),
    ] {
        let mut head = RequestHead::new("Greetings.open").client_id(header);
        if let Some(ticket) = ticket {
            head = head.ticket(ticket);
        }
        if let Some(token) = token {
            head = head.identifying_token(token);
        }
        world.send(&head, "");
        world.check();
        let caller = world.answer().remove(0);
        let user = |ticket: Option<&crate::auth::VerifiedTicket>| ticket.map(|t| t.user_id());
        let both = user(caller.ticket()).zip(user(caller.real_ticket()));
        assert_eq!((both, caller.client_id()), (users, client));
        world.replies();
    }
}

/// T-7, HD-76: a ticket is verified once and elsewhere; its time is looked at on every use.
#[test]
fn tickets_are_remembered() {
    let mut world = World::new(Access::Deny).with_keys();
    let held = ticket("1+31");
    let head = RequestHead::new("Greetings.code").ticket(held.as_str());
    world.send(&head, "");
    assert_eq!((world.started.len(), world.checks.len()), (0, 1));
    assert_eq!(world.check(), 1);
    world.send(&head, "");
    assert_eq!((world.started.len(), world.checks.len()), (2, 0));
    world.answer();
    assert_eq!(world.replies().len(), 2);
    world.house.unix.set(2000);
    assert_eq!(
        world.call("Greetings.code", Some(&held)),
        refused("authn", "Invalid ticket")
    );
}

/// T-9: it is decided before the body is there, so a refusal does not wait for it; nothing is started
/// before it is decided.
#[test]
fn decided_by_the_header() {
    let mut world = World::new(Access::Deny).with_keys();
    let now = world.now;
    let good = ticket("1");
    for (action, ticket, code) in [
        ("Greetings.code", Some(BAD), Some("authn")),
        ("Greetings.x", None, Some("authz")),
        ("Greetings.pour", Some(&*good), None),
    ] {
        let mut head = RequestHead::new(action);
        if let Some(ticket) = ticket {
            head = head.ticket(ticket);
        }
        let options = RequestOptions::default();
        let (_, send) = world.client.request(now, &head, &options).expect("open");
        let mut half = Bytes::from_static(b"half");
        world.client.write(now, send, &mut half).expect("open");
        world.settle();
        world.check();
        let replies = world.replies();
        let codes: Vec<_> = replies
            .iter()
            .map(|reply| reply.as_ref().err().map(|error| &*error.0))
            .collect();
        match code {
            Some(code) => assert_eq!((codes, world.started.len()), (Vec::from([Some(code)]), 0)),
            None => assert_eq!((codes, world.started.len()), (Vec::new(), 1)),
        }
    }
}

/// T-16: requests wait for one fetch together; each is then decided for itself.
#[test]
fn waiting_for_the_table() {
    let mut world = World::new(Access::Deny)
        .with_keys()
        .with_table(TableState::remote(Duration::ZERO));
    let held = ticket("20");
    for action in ["Greetings.hello", "Greetings.wave", "Greetings.hello"] {
        world.send(&RequestHead::new(action).ticket(held.as_str()), "{}");
        world.check();
    }
    assert_eq!((world.fetches, world.started.len()), (1, 0));
    // A ticket that is bad needs no table to be refused.
    world.send(&RequestHead::new("Greetings.hello").ticket(BAD), "{}");
    world.check();
    assert_eq!(world.replies(), [refused("authn", "Invalid ticket")]);

    let now = world.now;
    let json = br#"{"greetings.hello":[20],"greetings.wave":[20,99]}"#;
    let answered = world.house.guard(|guard| guard.table_answered(now, json));
    assert_eq!(answered, Ok(()));
    world.desk.resume();
    world.settle();
    world.answer();
    let mut replies = world.replies();
    replies.sort();
    let denied = refused("authz", "Missing privilege 99 for Greetings.wave");
    assert_eq!(replies, [fine("hello"), fine("hello"), denied]);
    assert!(world.desk.is_empty() && world.desk.poll_timeout().is_none());
    assert_eq!(world.call("Greetings.hello", Some(&held)), fine("hello"));
    assert_eq!(world.fetches, 1);
}

/// T-15, T-16: without a table whoever needs it fails with `internal`, and it is fetched again at the
/// earliest a second later.
#[test]
fn no_table_to_be_had() {
    let unavailable = refused("internal", "Authorization table unavailable");
    for json in [None, Some(&b"[]"[..])] {
        let mut world = World::new(Access::Allow)
            .with_keys()
            .with_table(TableState::remote(Duration::ZERO));
        let held = ticket("20");
        let head = RequestHead::new("Greetings.hello").ticket(held.as_str());
        world.send(&head, "{}");
        world.check();
        let now = world.now;
        world.house.guard(|guard| match json {
            None => guard.table_failed(now),
            Some(json) => assert!(guard.table_answered(now, json).is_err()),
        });
        world.desk.resume();
        world.settle();
        assert_eq!(world.replies(), core::slice::from_ref(&unavailable));
        assert_eq!(world.call("Greetings.hello", Some(&held)), unavailable);
        assert_eq!(world.call("Greetings.open", None), fine("open"));
        world.now = now + Duration::from_secs(1);
        world.send(&head, "{}");
        assert_eq!((world.fetches, world.replies().len()), (2, 0));
    }
}

/// T-16: nobody waits longer than a request may take, whatever became of the fetch.
#[test]
fn waiting_ends() {
    let mut world = World::new(Access::Allow)
        .with_keys()
        .with_table(TableState::remote(Duration::ZERO));
    let held = ticket("20");
    let options = RequestOptions {
        timeout: Some(Duration::from_secs(500)),
        ..RequestOptions::default()
    };
    let head = RequestHead::new("Greetings.hello").ticket(held.as_str());
    let sent = world.client.request(world.now, &head, &options);
    let (_, send) = sent.expect("open");
    world.client.finish(world.now, send).expect("open");
    world.settle();
    world.check();
    let until = world.desk.poll_timeout().expect("it waits");
    assert_eq!(until - world.now, Duration::from_secs(75));
    world.now = until;
    world.desk.handle_timeout(until);
    world.settle();
    let unavailable = refused("internal", "Authorization table unavailable");
    assert_eq!(world.replies(), [unavailable]);
    assert!(world.desk.is_empty());
}

/// S-31: a peer that is gone is forgotten, whatever is being decided about it.
#[test]
fn the_peer_is_gone() {
    let mut world = World::new(Access::Deny)
        .with_keys()
        .with_table(TableState::remote(Duration::ZERO));
    let known = ticket("20");
    world.send(
        &RequestHead::new("Greetings.hello").ticket(known.as_str()),
        "",
    );
    world.check();
    let other = ticket("21");
    world.send(
        &RequestHead::new("Greetings.hello").ticket(other.as_str()),
        "",
    );
    assert_eq!((world.checks.len(), world.fetches), (1, 1));
    world.server.close(world.now);
    world.settle();
    assert!(world.desk.is_empty());
    world.check();
    assert_eq!(world.house.active(), 0);
    world.desk.resume();
    world.settle();
    assert!(world.started.is_empty());
}

/// V-6, V-9: limits come first, also before an action that is not there; none of it was processed.
#[test]
fn limits_come_first() {
    let mut world = World::new(Access::Allow);
    world.house.max = 1;
    world.send(&RequestHead::new("Greetings.stream"), "");
    assert_eq!(world.started.len(), 1);
    let overloaded = refused("overloaded", "Too many requests");
    for action in ["Greetings.nope", "Greetings.x", "Greetings.code"] {
        world.send(&RequestHead::new(action), "");
        assert_eq!(world.replies(), core::slice::from_ref(&overloaded));
    }
    world.answer();
    assert_eq!(world.replies(), [fine("stream")]);
    assert_eq!(world.call("Greetings.x", None), fine("x"));
    let error = RemoteError::refusal("overloaded", "Too many requests");
    assert!(CallError::Remote(error).is_dispatch_failure());
}

/// V-8: the built-in actions answer by themselves, whoever asks.
#[test]
fn built_in() {
    let mut world = World::new(Access::Deny).with_keys().with_table(table());
    let name = Name::parse("greeter").expect("a name");
    world.actions.add_queue_depth(&name).expect("its first");
    world.actions.add_documentation(true).expect("its first");
    assert_eq!(
        world.call("greeter.queue_depth", None),
        fine("{\"queue_depth\":0}")
    );
    world.send(&RequestHead::new("Greetings.open"), "");
    world.send(&RequestHead::new("GREETER.Queue_Depth"), "ignored");
    assert_eq!(world.replies(), [fine("{\"queue_depth\":1}")]);
    world.answer();
    world.replies();
    let listed = world
        .call("_meta.documentation", Some(BAD))
        .expect("it is for all");
    let json: serde_json::Value = serde_json::from_str(&listed).expect("JSON");
    let names = json["actions"].as_array().expect("an array").iter();
    let names: Vec<_> = names.map(|action| action["name"].to_string()).collect();
    assert!(
        names.contains(&"\"greeter.queue_depth\"".to_string()),
        "{names:?}"
    );
    assert_eq!(names.len(), 12);
}

/// V-8: an answer of any length arrives whole.
#[test]
fn long_documentation() {
    let mut world = World::new(Access::Deny);
    for number in 0..300 {
        let action = Action::parse(&format!("Many.a{number}")).expect("a name");
        let action = action.flags("public").html("x".repeat(10_000));
        world.actions.insert(action, "many").expect("its first");
    }
    world.actions.add_documentation(false).expect("its first");
    world.send(&RequestHead::new("_meta.documentation"), "");
    let mut text = Vec::new();
    let mut body = None;
    for _ in 0..1000 {
        while let Some(event) = world.client.poll_event() {
            if let Event::Reply { body: id, .. } = event {
                body = Some(id);
            }
        }
        match body.map(|body| world.client.read(world.now, body)) {
            Some(Read::Data(piece)) => text.extend_from_slice(&piece),
            Some(Read::End) => break,
            _ => world.settle(),
        }
    }
    let json: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    assert_eq!(json["actions"].as_array().map(Vec::len), Some(300));
    world.settle();
    assert_eq!(world.server.serving(), 0);
    assert!(world.server.is_empty());
}

/// What T-9 and T-10 say, written down anew.
fn expected(
    action: &str,
    privileges: Option<&[u64]>,
    has_table: bool,
    access: Access,
) -> Option<&'static str> {
    let code: &[u64] = match action {
        "open" | "stream" => return None,
        "code" => &[1, 31],
        "code99" => &[1, 99],
        "pour" => &[1],
        _ => &[],
    };
    let listed: Option<&[u64]> = match action {
        "hello" | "code" => Some(&[20]),
        "wave" => Some(&[20, 99]),
        "x" => Some(&[]),
        _ => None,
    };
    if code.is_empty() && !has_table {
        return (access == Access::Deny).then_some("authz");
    }
    let Some(held) = privileges else {
        return Some("authn");
    };
    let all = |needed: &[u64]| needed.iter().all(|id| held.contains(id));
    let fine = all(code) && (!has_table || listed.is_some_and(all));
    (!fine).then_some("authz")
}

proptest! {
    /// T-9, T-10, T-12, N-26: every combination of registration, table, default and ticket comes out as
    /// written, and nothing else in the header changes it.
    #[test]
    fn access_is_as_written(
        at in 0_usize..9,
        privileges in prop::option::of(prop::sample::subsequence(
            Vec::from([1_u64, 20, 31, 99]), 0..=4)),
        has_table in any::<bool>(),
        allow in any::<bool>(),
        extra in prop::sample::select(Vec::from(["sudo", "noauth", "flags", "privileges"])),
    ) {
        let names = ["hello", "wave", "x", "y", "open", "code", "code99", "stream", "pour"];
        let access = if allow { Access::Allow } else { Access::Deny };
        let mut world = World::new(access).with_keys();
        if has_table {
            world = world.with_table(table());
        }
        let joined = privileges.as_ref().map(|list| {
            let list: Vec<_> = list.iter().map(u64::to_string).collect();
            ticket(&list.join("+"))
        });
        let mut head = RequestHead::new(format!("Greetings.{}", names[at])).client_id(99);
        head.extras.push((extra.into(), "\"noauth\"".into()));
        if let Some(ticket) = &joined {
            head = head.ticket(ticket.as_str());
        }
        world.send(&head, "{}");
        world.check();
        world.answer();
        let reply = world.replies().pop().expect("a reply");
        let code = reply.as_ref().err().map(|error| &*error.0);
        prop_assert_eq!(
            code,
            expected(names[at], privileges.as_deref(), has_table, access)
        );
        prop_assert!(world.desk.is_empty() && world.house.active() == 0);
    }
}

/// S-20: a handler that takes longer than its action's `tN`, counted from the end of the request, is
/// told so and its request answered; what it says later is said to nobody.
#[test]
fn a_time_limit_of_its_own() {
    let mut world = World::new(Access::Deny);
    world.desk = Desk::default().handler_timeout(Some(Duration::from_secs(7)));
    world.send(&RequestHead::new("Greetings.brief"), "{}");
    let (id, ..) = world.started.remove(0);
    let due = world.now + Duration::from_secs(30);
    assert_eq!(world.server.poll_timeout(), Some(due));
    world.pass(Duration::from_micros(29_999_999));
    assert_eq!((world.replies().len(), world.cancelled.len()), (0, 0));
    world.pass(Duration::from_micros(1));
    let text = "handler took longer than 30 s";
    assert_eq!(world.replies(), [refused("general", text)]);
    assert_eq!(world.cancelled, [id]);
    let told = What::HandlerTimeout(Duration::from_secs(30));
    assert_eq!(world.notes.last(), Some(&told));
    assert_eq!(world.desk.active(), 1, "it still runs");
    let late = world.server.reply(world.now, id, &ReplyHead::default());
    assert_eq!(late, Err(SendError::NotOpen));
    assert!(world.desk.finished(world.now, &mut world.server, id));
    world.house.leave();
    world.settle();
    assert_eq!(world.replies(), []);
    assert!(world.desk.is_empty());
}

/// S-20: `service.handler_timeout` is for actions without a limit of their own. Of a request that
/// streams it counts from its end, and a reply that has begun is cut, never complete.
#[test]
fn the_time_limit_of_the_service() {
    let mut world = World::new(Access::Deny);
    world.desk = Desk::default().handler_timeout(Some(Duration::from_secs(7)));
    let head = RequestHead::new("Greetings.stream");
    let (_, send) = world
        .client
        .request(world.now, &head, &RequestOptions::default())
        .expect("open");
    world.settle();
    let (id, ..) = world.started.remove(0);
    world.pass(Duration::from_secs(50));
    assert_eq!(world.cancelled, [], "the request has not ended");
    world.client.finish(world.now, send).expect("open");
    world.settle();
    let reply = world.server.reply(world.now, id, &ReplyHead::default());
    let reply = reply.expect("in time");
    let mut piece = Bytes::from_static(b"half");
    world
        .server
        .write(world.now, reply, &mut piece)
        .expect("open");
    world.settle();
    world.pass(Duration::from_secs(6));
    assert_eq!(world.cancelled, []);
    world.pass(Duration::from_secs(1));
    assert_eq!(world.cancelled, [id]);
    let mut more = Bytes::from_static(b"rest");
    let late = world.server.write(world.now, reply, &mut more);
    assert_eq!(late, Err(SendError::NotOpen));
    let body = core::iter::from_fn(|| world.client.poll_event()).find_map(|event| match event {
        Event::Reply { body, .. } => Some(body),
        _ => None,
    });
    let body = body.expect("a reply");
    assert_eq!(
        world.client.read(world.now, body),
        Read::Data("half".into())
    );
    let cut = BodyError::PeerError("handler took longer than 7 s".into());
    assert_eq!(world.client.read(world.now, body), Read::Failed(cut));
    assert!(world.desk.finished(world.now, &mut world.server, id));
    assert_eq!(world.server.serving(), 0);
}

/// S-20, R-11: an answer in time leaves no timer, and neither does a connection that is lost.
#[test]
fn no_time_limit_is_left() {
    let mut world = World::new(Access::Deny);
    assert_eq!(world.call("Greetings.brief", None), fine("brief"));
    let idle = world.now + limits::SERVER_IDLE;
    assert_eq!(world.server.poll_timeout(), Some(idle));
    world.send(&RequestHead::new("Greetings.brief"), "{}");
    let (id, ..) = world.started.remove(0);
    world.server.receive_end(world.now, End::io("gone"));
    world.settle();
    assert_eq!(world.cancelled, [id]);
    world.desk.finished(world.now, &mut world.server, id);
    assert!(world.server.is_empty());
    assert_eq!(world.server.poll_timeout(), None);
}

/// V-1, T-9: a request is served by the action that was asked whether it may, even if another of
/// that name comes before its body has.
#[test]
fn served_as_decided() {
    let mut world = World::new(Access::Deny);
    let head = RequestHead::new("Greetings.open");
    let (_, send) = world
        .client
        .request(world.now, &head, &RequestOptions::default())
        .expect("open");
    world.settle();
    assert!(world.actions.remove("greetings.OPEN", 1));
    let other = Action::parse("Greetings.open").expect("a name");
    world
        .actions
        .insert(other.requires(&[31]), "secret")
        .expect("free again");
    world.client.finish(world.now, send).expect("open");
    world.settle();
    world.answer();
    assert_eq!(world.replies(), [fine("open")]);
    assert_eq!(
        world.call("Greetings.open", None),
        refused("authn", "Invalid ticket")
    );
}
