//! Calls, one rule at a time. Whole worlds are in `sim::bus`.

use std::format;
use std::string::ToString;
use std::vec::Vec;

use super::*;
use crate::auth::Fingerprint;
use crate::discovery::{Description, Offer};
use crate::error::Loss;
use crate::limits::RECONNECT_STEADY;
use crate::wire::RemoteError;

/// An instance of this name at this port with this certificate, which offers `A.b` with these flags.
fn instance(name: &str, port: u16, certificate: &str, flags: &str) -> Arc<Instance> {
    let uri = format!("beepish+tls://192.0.2.1:{port}");
    let mut service = Description::new(name, uri.parse().expect("an address"));
    let offer = Offer::new("A.b").expect("a name");
    service.actions.push(offer.flags(flags));
    let fingerprint = Fingerprint::of(certificate.as_bytes());
    Arc::new(Instance::fixed(&service, fingerprint, None).expect("it fits"))
}

/// The first, second … of instances that have nothing in common.
fn plain(number: u16) -> Arc<Instance> {
    let name = format!("s{number}");
    instance(&name, 30_100 + number, &name, "")
}

struct World {
    requester: Requester,
    now: Instant,
}

impl World {
    fn new(instances: &[Arc<Instance>]) -> Self {
        Self::with(instances, Config::default(), 1)
    }

    fn with(instances: &[Arc<Instance>], config: Config, seed: u64) -> Self {
        let mut world = Self {
            requester: Requester::new(config, seed),
            now: Instant::EPOCH,
        };
        let all = Arc::new(AuthorizedServices::allow_all());
        world.requester.set_authorized(world.now, all);
        world.list(instances);
        world
    }

    fn list(&mut self, instances: &[Arc<Instance>]) {
        let directory = Directory::build(instances.iter().cloned(), &mut |_| {});
        self.requester.set_directory(self.now, directory.into());
    }

    fn call(&mut self) -> CallId {
        self.requester.call(self.now, &Call::new("A.b"))
    }

    fn commands(&mut self) -> Vec<Command> {
        core::iter::from_fn(|| self.requester.poll_command()).collect()
    }

    fn dialled(&mut self) -> (LinkId, Arc<Instance>) {
        match self.commands().as_slice() {
            [Command::Dial { link, instance }] => (*link, instance.clone()),
            other => panic!("one dial expected: {other:?}"),
        }
    }

    fn sent(&mut self) -> Dispatch {
        match self.commands().as_slice() {
            [Command::Send(dispatch)] => dispatch.clone(),
            other => panic!("one request expected: {other:?}"),
        }
    }

    fn failed(&mut self) -> CallError {
        match self.commands().as_slice() {
            [Command::Fail { error, .. }] => error.clone(),
            other => panic!("one failure expected: {other:?}"),
        }
    }

    fn quiet(&mut self) {
        let commands = self.commands();
        assert!(commands.is_empty(), "{commands:?}");
    }

    /// Dials as told, and the connection is there.
    fn connect(&mut self) -> (LinkId, Arc<Instance>) {
        let (link, instance) = self.dialled();
        self.requester.established(self.now, link);
        (link, instance)
    }

    fn refuse(&mut self, link: LinkId) {
        let reason = CloseReason::Lost(Loss::Connect("connection refused".into()));
        self.requester.not_established(self.now, link, reason);
    }

    fn outcome(&mut self, call: CallId, result: Result<(), CallError>) -> Verdict {
        let result = result.as_ref().copied();
        self.requester.outcome(self.now, call, result)
    }

    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(at) = self.requester.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.requester.handle_timeout(self.now);
        }
        self.now = until;
    }
}

fn refusal() -> CallError {
    RemoteError::refusal("transport", "Service is shutting down").into()
}

fn lost(phase: Phase) -> CallError {
    let reason = CloseReason::ClosedByPeer;
    ExchangeError::ConnectionLost { phase, reason }.into()
}

/// N-6: a call opens one connection, to the instance it goes to, and waits for it; the next call
/// rides along.
#[test]
fn one_connection_for_all() {
    let mut world = World::new(&[plain(1), plain(2), plain(3)]);
    let config = Config {
        selection: Selection::LeastOutstanding,
        ..Config::default()
    };
    assert_eq!(world.requester.stats(), Stats::default());
    let first = world.call();
    let (link, chosen) = world.dialled();
    assert_eq!(world.requester.stats().waiting, 1);
    world.requester.established(world.now, link);
    let sent = world.sent();
    assert_eq!((sent.call, sent.link), (first, link));
    assert_eq!((&*sent.action, sent.version), ("A.b", 1));
    assert!(Arc::ptr_eq(&sent.instance, &chosen));
    assert_eq!(world.outcome(first, Ok(())), Verdict::Done);
    world.quiet();
    assert_eq!(world.requester.stats().calls, 0);

    let mut one = World::with(&[plain(1)], config, 1);
    let calls: Vec<_> = (0..5).map(|_| one.call()).collect();
    one.connect();
    let commands = one.commands();
    let order = commands.iter().map(|command| match command {
        Command::Send(dispatch) => dispatch.call,
        other => panic!("{other:?}"),
    });
    assert_eq!(order.collect::<Vec<_>>(), calls);
}

/// N-56, X-49: the same address with another certificate is another place; another name with the
/// same of both is the same.
#[test]
fn places() {
    let (old, new) = (
        instance("s", 30_100, "old", ""),
        instance("s", 30_100, "new", ""),
    );
    let mut world = World::new(&[old]);
    world.call();
    let (link, _) = world.connect();
    world.sent();
    world.list(&[new]);
    world.call();
    let (other, instance) = world.dialled();
    assert_ne!(link, other);
    assert_eq!(instance.fingerprint(), Fingerprint::of(b"new"));

    let names = [instance_named("before"), instance_named("after")];
    let mut world = World::new(&names[..1]);
    world.call();
    let (link, _) = world.connect();
    world.sent();
    world.list(&names[1..]);
    world.call();
    let sent = world.sent();
    assert_eq!((sent.link, sent.instance.identity()), (link, "after"));
}

fn instance_named(name: &str) -> Arc<Instance> {
    instance(name, 30_100, "same", "")
}

/// X-44, S-33, D-45, N-36: a call that cannot be connected goes to another instance, once; those that
/// failed are marked, and no other.
#[test]
fn not_established() {
    let mut world = World::new(&[plain(1), plain(2), plain(3)]);
    let call = world.call();
    let (link, first) = world.dialled();
    world.refuse(link);
    let (link, second) = world.dialled();
    assert_ne!(first.identity(), second.identity());
    world.refuse(link);
    let CallError::NotDispatched(DispatchError::NotEstablished { uri, .. }) = world.failed() else {
        panic!("it could not be connected");
    };
    assert_eq!(uri, second.uri().to_string());
    assert_eq!(world.outcome(call, Ok(())), Verdict::Done, "it is over");
    // The third is the only one that is not marked.
    for _ in 0..20 {
        let next = world.call();
        let commands = world.commands();
        let instance = match commands.as_slice() {
            [Command::Dial { instance, link }] => {
                world.requester.established(world.now, *link);
                instance.clone()
            }
            [Command::Send(dispatch)] => dispatch.instance.clone(),
            other => panic!("{other:?}"),
        };
        let others = [first.identity(), second.identity()];
        assert!(!others.contains(&instance.identity()));
        world.commands();
        assert_eq!(world.outcome(next, Ok(())), Verdict::Done);
    }
}

/// S-30, S-33: with nobody else there, the failure to connect is the outcome; its text says what to
/// look at (N-58).
#[test]
fn nobody_else() {
    let mut world = World::new(&[plain(1)]);
    world.call();
    let (link, _) = world.dialled();
    world.refuse(link);
    let error = world.failed();
    assert_eq!(
        error.to_string(),
        "Connection could not be established to beepish+tls://192.0.2.1:30101: \
         could not connect: connection refused"
    );
    assert_eq!(error.code(), "transport");
    assert!(error.is_dispatch_failure());
}

/// S-33, X-45: what was refused as not processed goes to another instance, once, on the same
/// deadline.
#[test]
fn refused() {
    let mut world = World::new(&[plain(1), plain(2), plain(3)]);
    let call = world.call();
    let (_, first) = world.connect();
    let deadline = world.sent().deadline;
    world.pass(Duration::from_secs(3));
    assert_eq!(world.outcome(call, Err(refusal())), Verdict::Again);
    let (_, second) = world.connect();
    assert_ne!(first.identity(), second.identity());
    assert_eq!(world.sent().deadline, deadline);
    assert_eq!(world.outcome(call, Err(refusal())), Verdict::Done);
    world.quiet();
    assert_eq!(world.requester.stats().calls_repeated, 1);
}

/// S-33: not for a named instance, not without another one, not when the body is gone, not when it
/// is too late.
#[test]
fn refused_for_good() {
    let both = [plain(1), plain(2)];
    let named = Call {
        instance: Some("s1"),
        ..Call::new("A.b")
    };
    let streamed = Call {
        replayable: false,
        ..Call::new("A.b")
    };
    let nobody = &both[..1];
    for (instances, call) in [
        (&both[..], named),
        (&both[..], streamed),
        (nobody, Call::new("A.b")),
    ] {
        let mut world = World::new(instances);
        let id = world.requester.call(world.now, &call);
        world.connect();
        world.sent();
        assert_eq!(world.outcome(id, Err(refusal())), Verdict::Done, "{call:?}");
        world.quiet();
    }
    let mut world = World::new(&both);
    let id = world.call();
    world.connect();
    world.sent();
    world.now = world.now + Duration::from_secs(75);
    assert_eq!(world.outcome(id, Err(refusal())), Verdict::Done);
}

/// N-25: of a body that streams nothing has been asked for while it is being dialled, so it may go
/// elsewhere; once it was sent it may not.
#[test]
fn streamed_bodies() {
    let mut world = World::new(&[plain(1), plain(2)]);
    let call = Call {
        replayable: false,
        idempotent: Some(true),
        ..Call::new("A.b")
    };
    let id = world.requester.call(world.now, &call);
    let (link, _) = world.dialled();
    world.refuse(link);
    world.connect();
    world.sent();
    assert_eq!(world.outcome(id, Err(lost(Phase::Sending))), Verdict::Done);
}

/// S-30, S-32, HD-51, F-14, N-50: what may have been processed is sent again only if that is safe.
#[test]
fn lost_connections() {
    for (phase, flags, idempotent, verdict) in [
        (Phase::Unsent, "", None, Verdict::Again),
        (Phase::Sending, "", None, Verdict::Done),
        (Phase::Waiting, "", None, Verdict::Done),
        (Phase::Sending, "read", None, Verdict::Again),
        (Phase::Waiting, "read", None, Verdict::Again),
        (Phase::Waiting, "read", Some(false), Verdict::Done),
        (Phase::Waiting, "", Some(true), Verdict::Again),
        (Phase::Receiving, "read", Some(true), Verdict::Done),
    ] {
        let both = [
            instance("s1", 30_101, "s1", flags),
            instance("s2", 30_102, "s2", flags),
        ];
        let mut world = World::new(&both);
        let call = Call {
            idempotent,
            ..Call::new("A.b")
        };
        let id = world.requester.call(world.now, &call);
        let (link, first) = world.connect();
        world.sent();
        let told = world.outcome(id, Err(lost(phase)));
        assert_eq!(told, verdict, "{phase:?} {flags} {idempotent:?}");
        world
            .requester
            .lost(world.now, link, CloseReason::ClosedByPeer);
        if verdict == Verdict::Again {
            let (_, second) = world.connect();
            assert_ne!(first.identity(), second.identity());
            world.sent();
            assert_eq!(world.outcome(id, Err(lost(phase))), Verdict::Done);
        }
        world.quiet();
    }
}

/// S-32: what is safe to repeat goes to the same instance if there is no other, on a connection that
/// is new.
#[test]
fn safe_and_alone() {
    let mut world = World::new(&[instance("s", 30_100, "s", "read")]);
    let id = world.call();
    let (link, _) = world.connect();
    world.sent();
    assert_eq!(world.outcome(id, Err(lost(Phase::Waiting))), Verdict::Again);
    let (other, _) = world.connect();
    assert_ne!(link, other);
    assert_eq!(world.sent().link, other);
    world
        .requester
        .lost(world.now, link, CloseReason::ClosedByPeer);
    assert_eq!(world.outcome(id, Err(lost(Phase::Waiting))), Verdict::Done);
}

/// S-30, N-3: errors of the service, of the reply's body and of time are outcomes; none of them is
/// repeated.
#[test]
fn final_outcomes() {
    let timeout = ExchangeError::Timeout(1);
    let errors: [CallError; 6] = [
        RemoteError::new("general", "no").into(),
        RemoteError::new("transport", "lost behind it").into(),
        crate::BodyError::ConnectionLost.into(),
        timeout.into(),
        ExchangeError::Cancelled.into(),
        SendError::HeaderTooLarge(200_000).into(),
    ];
    for error in errors {
        let mut world = World::new(&[plain(1), plain(2)]);
        let call = Call {
            idempotent: Some(true),
            ..Call::new("A.b")
        };
        let id = world.requester.call(world.now, &call);
        world.connect();
        world.sent();
        assert_eq!(world.outcome(id, Err(error.clone())), Verdict::Done);
        let healthy = world.requester.marks.clone();
        let (one, other) = (plain(1), plain(2));
        assert!(!healthy.is_failed(&one, world.now) && !healthy.is_failed(&other, world.now));
        world.quiet();
    }
}

/// S-22, S-35: a connection that takes nothing new is replaced by one to the same instance, and
/// says nothing against that; but not for ever.
#[test]
fn closed_before_anything_was_sent() {
    let mut world = World::new(&[plain(1)]);
    let id = world.call();
    let (first, _) = world.connect();
    world.sent();
    let closed = || Err(SendError::Draining.into());
    assert_eq!(world.outcome(id, closed()), Verdict::Again);
    let (second, _) = world.connect();
    assert_ne!(first, second);
    world.sent();
    assert!(!world.requester.marks.is_failed(&plain(1), world.now));
    assert_eq!(world.outcome(id, closed()), Verdict::Done);
    // Retired connections are used no more, and are not dialled twice.
    world.requester.retire(world.now, second);
    world.call();
    world.call();
    world.connect();
    assert_eq!(world.commands().len(), 2);
}

/// S-21, N-24, F-12: the deadline covers resolving and connecting; what is established later has nothing to send.
#[test]
fn the_deadline_covers_connecting() {
    let mut world = World::new(&[plain(1)]);
    let call = Call {
        timeout: Some(Duration::from_secs(3)),
        ..Call::new("A.b")
    };
    world.requester.call(world.now, &call);
    let (link, _) = world.dialled();
    world.pass(Duration::from_millis(2999));
    world.quiet();
    world.pass(Duration::from_millis(1));
    let error = DispatchError::Timeout(Duration::from_secs(3));
    assert_eq!(world.failed(), error.into());
    world.requester.established(world.now, link);
    world.quiet();
    assert_eq!(
        (
            world.requester.stats().calls,
            world.requester.poll_timeout()
        ),
        (0, None)
    );
}

/// S-21: how long a call may take: what the caller says, or the last valid `tN` and 5 s, or 75 s.
#[test]
fn deadlines() {
    for (flags, asked, seconds) in [
        ("", None, 75),
        ("t7", None, 12),
        ("t7,t90", None, 95),
        ("t90,t0,t86401,tx,t", None, 95),
        ("t7", Some(3), 3),
    ] {
        let mut world = World::new(&[instance("s", 30_100, "s", flags)]);
        world.now = world.now + Duration::from_secs(1000);
        let call = Call {
            timeout: asked.map(Duration::from_secs),
            ..Call::new("A.b")
        };
        world.requester.call(world.now, &call);
        world.connect();
        let deadline = world.sent().deadline;
        assert_eq!(
            deadline - world.now,
            Duration::from_secs(seconds),
            "{flags}"
        );
    }
    // HD-32: any time is a legal one.
    let mut world = World::new(&[plain(1)]);
    for timeout in [Duration::ZERO, Duration::MAX] {
        let call = Call {
            timeout: Some(timeout),
            ..Call::new("A.b")
        };
        world.requester.call(world.now, &call);
    }
    world.pass(Duration::ZERO);
    assert_eq!(world.requester.stats().calls, 1);
}

/// S-34: after a failure others come first; with none, calls wait for the next attempt.
#[test]
fn backing_off() {
    let (down, up) = (plain(1), plain(2));
    let mut world = World::new(core::slice::from_ref(&down));
    world.call();
    let (link, _) = world.dialled();
    world.refuse(link);
    world.failed();
    let call = world.call();
    world.quiet();
    let again = world.requester.poll_timeout().expect("it waits");
    assert!(again - world.now >= Duration::from_millis(40));
    assert!(again - world.now <= Duration::from_millis(60));
    world.pass(again - world.now);
    world.connect();
    assert_eq!(world.sent().call, call);

    // The other is preferred although nothing is known against the first any more.
    let mut world = World::new(&[down, up]);
    world.call();
    let (link, first) = world.dialled();
    world.refuse(link);
    world.connect();
    world.sent();
    world.requester.marks.succeeded(&first);
    for _ in 0..50 {
        world.call();
        assert_ne!(world.sent().instance.identity(), first.identity());
    }
}

/// S-34, D-20: who waits out a failure is given to an instance that turns up meanwhile.
#[test]
fn better_instances() {
    let mut world = World::new(&[plain(1)]);
    world.call();
    let (link, _) = world.dialled();
    world.refuse(link);
    world.failed();
    let call = world.call();
    world.quiet();
    world.list(&[plain(1), plain(2)]);
    let (_, instance) = world.connect();
    assert_eq!(instance.identity(), "s2");
    assert_eq!(world.sent().call, call);
    assert_eq!(
        world.requester.stats().calls_repeated,
        0,
        "that was no retry"
    );
}

/// D-43, N-58, Z-9: why there is nobody to ask, each for itself, with a text to act on.
#[test]
fn nobody_to_ask() {
    let mut world = World::new(&[plain(1)]);
    let fail = |world: &mut World, call: Call<'_>| {
        world.requester.call(world.now, &call);
        world.failed()
    };
    let error = fail(&mut world, Call::new("A.nope~3"));
    let text = "no service offers main:A.nope~3: is one running, and is the discovery cache being \
                written?";
    assert_eq!((error.code(), &*error.to_string()), ("no_action", text));
    let elsewhere = Call {
        sector: Some("web"),
        ..Call::new("A.b")
    };
    assert_eq!(fail(&mut world, elsewhere).code(), "no_action");
    let named = Call {
        instance: Some("s9"),
        ..Call::new("A.b")
    };
    let error = DispatchError::NotFound("main:A.b~1 at s9".into());
    assert_eq!(fail(&mut world, named), error.into());
    let web = Call {
        envelope: "web",
        ..Call::new("A.b")
    };
    let error = fail(&mut world, web);
    assert_eq!(
        error.to_string(),
        "main:A.b~1 is not offered under envelope web"
    );

    let nobody = Arc::new(AuthorizedServices::none());
    world.requester.set_authorized(world.now, nobody);
    let error = fail(&mut world, Call::new("A.b"));
    assert_eq!(
        error,
        DispatchError::NotAuthorized("main:A.b~1".into()).into()
    );
    assert_eq!(error.code(), "authz");
}

/// D-43: an instance is named by its identity, or by fingerprint and identity.
#[test]
fn named_instances() {
    let both = [
        instance("same", 30_101, "one", ""),
        instance("same", 30_102, "two", ""),
    ];
    let mut world = World::new(&both);
    let name = format!("{}#same", Fingerprint::of(b"two"));
    let call = Call {
        instance: Some(&name),
        ..Call::new("A.b")
    };
    for _ in 0..20 {
        world.requester.call(world.now, &call);
    }
    let (link, instance) = world.dialled();
    assert_eq!(instance.uri().port(), 30_102);
    world.refuse(link);
    assert_eq!(
        world.commands().len(),
        20,
        "they all fail, and nobody else is asked"
    );
}

/// H-8, D-19: an alias goes out under the real name, in the case of the announcement.
#[test]
fn aliases() {
    let mut world = World::new(&[instance("s", 30_100, "s", "read")]);
    world.requester.call(world.now, &Call::new("a._READ"));
    world.connect();
    assert_eq!(world.sent().action, "A.b");
}

/// S-35: draining takes nothing new, lets the rest end, and then closes.
#[test]
fn draining() {
    let mut world = World::new(&[plain(1), plain(2)]);
    let sent = world.call();
    let (link, _) = world.connect();
    world.sent();
    world.requester.drain(world.now);
    world.quiet();
    world.call();
    assert_eq!(world.failed(), DispatchError::Draining.into());
    assert_eq!(
        world.requester.pin(world.now, &Call::new("A.b")),
        Err(DispatchError::Draining)
    );
    assert_eq!(world.outcome(sent, Ok(())), Verdict::Done);
    assert!(matches!(world.commands()[..], [Command::Close(closed)] if closed == link));
    assert!(!world.requester.is_drained());
    world
        .requester
        .lost(world.now, link, CloseReason::ClosedLocally);
    assert!(world.requester.is_drained());

    // What waits for a connection may still have it, and is then closed with it.
    let mut world = World::new(&[plain(1)]);
    let waiting = world.call();
    let (link, _) = world.dialled();
    world.requester.drain(world.now);
    world.quiet();
    world.requester.established(world.now, link);
    assert_eq!(world.sent().call, waiting);
    assert_eq!(world.outcome(waiting, Ok(())), Verdict::Done);
    assert_eq!(world.commands().len(), 1);
}

/// S-14, N-3: of a call given up nothing more is heard, wherever it is.
#[test]
fn abandoned() {
    let mut world = World::new(&[plain(1)]);
    let waiting = world.call();
    let (link, _) = world.dialled();
    world.requester.abandon(world.now, waiting);
    world.requester.established(world.now, link);
    world.quiet();
    let queued = world.call();
    world.requester.abandon(world.now, queued);
    world.quiet();
    let sent = world.call();
    world.sent();
    world.requester.abandon(world.now, sent);
    assert_eq!(world.outcome(sent, Ok(())), Verdict::Done);
    let failed = world.requester.call(world.now, &Call::new("A.nope"));
    world.requester.abandon(world.now, failed);
    world.quiet();
    let stats = world.requester.stats();
    assert_eq!((stats.calls, stats.waiting, stats.links), (0, 0, 1));
}

/// HD-4: calls that wait are bounded; those that need not wait are not.
#[test]
fn too_many_wait() {
    let config = Config {
        max_waiting: 2,
        ..Config::default()
    };
    let mut world = World::with(&[plain(1)], config, 1);
    world.call();
    world.call();
    let (link, _) = world.dialled();
    world.call();
    assert_eq!(world.failed(), DispatchError::TooManyWaiting(2).into());
    world.requester.established(world.now, link);
    for _ in 0..10 {
        world.call();
    }
    assert_eq!(world.commands().len(), 12);
}

/// S-34: a pinned connection comes back by itself, and is told anew each time.
#[test]
fn pins() {
    let mut world = World::new(&[plain(1)]);
    let pin = world
        .requester
        .pin(world.now, &Call::new("A.b"))
        .expect("it is offered");
    let mut told = Vec::new();
    for _ in 0..5 {
        let (link, _) = world.connect();
        match world.commands()[..] {
            [Command::Pinned { pin: other, link }] if other == pin => told.push(link),
            ref other => panic!("{other:?}"),
        }
        world.now = world.now + RECONNECT_STEADY;
        world
            .requester
            .lost(world.now, link, CloseReason::ClosedByPeer);
        world.quiet();
        let at = world.requester.poll_timeout().expect("it comes back");
        assert!(at - world.now < RECONNECT_SPREAD);
        world.pass(at - world.now);
    }
    told.dedup();
    assert_eq!(told.len(), 5);
    // While it cannot be reached, the waits grow.
    let mut waits = Vec::new();
    for _ in 0..10 {
        let (link, _) = world.dialled();
        world.refuse(link);
        world.quiet();
        let at = world.requester.poll_timeout().expect("it tries again");
        waits.push(at - world.now);
        world.pass(at - world.now);
    }
    assert!(waits[0] <= Duration::from_millis(60) && waits[9] >= Duration::from_secs(8));
    // Ended, it leaves nothing but a dial that is in progress.
    let (link, _) = world.dialled();
    world.requester.unpin(world.now, pin);
    world.refuse(link);
    world.quiet();
    assert!(world.requester.pins.is_empty());
}

/// A connection has one subscription, so two pins have two; calls may use either (H-6, S-40).
#[test]
fn two_pins() {
    let mut world = World::new(&[plain(1)]);
    let pin = |world: &mut World| {
        let pinned = world.requester.pin(world.now, &Call::new("A.b"));
        pinned.expect("it is offered")
    };
    let (one, other) = (pin(&mut world), pin(&mut world));
    let (first, _) = world.connect();
    let commands = world.commands();
    let [
        Command::Pinned { pin, link },
        Command::Dial { link: second, .. },
    ] = commands[..]
    else {
        panic!("{commands:?}");
    };
    assert_eq!((pin, link), (one, first));
    let call = world.call();
    assert_eq!(world.sent().link, first);
    world.requester.established(world.now, second);
    assert!(
        matches!(world.commands()[..], [Command::Pinned { pin, link }] if pin == other && link == second)
    );
    assert_eq!(world.outcome(call, Ok(())), Verdict::Done);
    // One that was let go of is taken by the next.
    world.requester.unpin(world.now, one);
    world.quiet();
    let third = world.requester.pin(world.now, &Call::new("A.b"));
    assert!(
        matches!(world.commands()[..], [Command::Pinned { pin, link }]
        if Ok(pin) == third && link == first)
    );
}

/// S-34: a pin whose instance is announced no more, and cannot be reached, goes to another.
#[test]
fn pins_move() {
    let mut world = World::new(&[plain(1)]);
    let pin = world.requester.pin(world.now, &Call::new("A.b"));
    let (link, _) = world.connect();
    world.commands();
    world.list(&[plain(2)]);
    world.quiet();
    world
        .requester
        .lost(world.now, link, CloseReason::ClosedByPeer);
    world.pass(RECONNECT_SPREAD);
    let (link, _) = world.dialled();
    world.refuse(link);
    let (_, instance) = world.connect();
    assert_eq!(instance.identity(), "s2");
    assert!(matches!(world.commands()[..], [Command::Pinned { pin: told, .. }] if Ok(told) == pin));
}

/// F-13: ten thousand reconnects, every second of them refused, leave nothing behind.
#[test]
fn ten_thousand_reconnects() {
    let mut world = World::new(&[plain(1), plain(2), plain(3)]);
    let mut most = 0;
    for round in 0..10_000 {
        world.call();
        while world.requester.stats().calls > 0 {
            for command in world.commands() {
                match command {
                    Command::Dial { link, .. } if round % 2 == 0 => world.refuse(link),
                    Command::Dial { link, .. } => world.requester.established(world.now, link),
                    Command::Send(dispatch) => {
                        assert_eq!(world.outcome(dispatch.call, Ok(())), Verdict::Done);
                        let reason = CloseReason::ClosedByPeer;
                        world.requester.lost(world.now, dispatch.link, reason);
                    }
                    Command::Fail { .. } | Command::Pinned { .. } | Command::Close(_) => {}
                }
            }
            world.pass(Duration::from_millis(100));
        }
        most = most.max(world.requester.stats().places);
    }
    assert!(most <= 3);
    world.pass(crate::limits::PLACE_KEPT);
    let stats = world.requester.stats();
    assert_eq!((stats.places, stats.links, stats.dialing), (0, 0, 0));
    assert_eq!(world.requester.poll_timeout(), None);
}

/// F-13: a thousand subscribers that lose one server at once come back over more than a second, be it
/// there again at once or after a while.
#[test]
fn no_thundering_herd() {
    for down in [0, 5] {
        let back = Instant::EPOCH + Duration::from_secs(60 + down);
        let mut came = Vec::new();
        for seed in 0..1000 {
            let mut world = World::with(&[plain(1)], Config::default(), seed);
            let pinned = world.requester.pin(world.now, &Call::new("A.b"));
            assert!(pinned.is_ok());
            let (link, _) = world.connect();
            world.commands();
            world.now = Instant::EPOCH + Duration::from_secs(60);
            world
                .requester
                .lost(world.now, link, CloseReason::ClosedByPeer);
            loop {
                let at = world.requester.poll_timeout().expect("it tries again");
                world.pass(at - world.now);
                let (link, _) = world.dialled();
                if world.now >= back {
                    came.push(world.now);
                    break;
                }
                world.refuse(link);
            }
        }
        came.sort();
        let middle = came[975] - came[25];
        assert!(
            middle >= Duration::from_secs(1),
            "{middle:?}, {down} s down"
        );
    }
}

/// D-44: the least busy instance is the one with the fewest calls that wait or were sent.
#[test]
fn the_least_busy() {
    let config = Config {
        selection: Selection::LeastOutstanding,
        ..Config::default()
    };
    let mut world = World::with(&[plain(1), plain(2), plain(3)], config, 9);
    for _ in 0..9 {
        world.call();
    }
    let links: Vec<_> = world
        .commands()
        .iter()
        .map(|command| match command {
            Command::Dial { link, .. } => *link,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(links.len(), 3);
    for link in links {
        world.requester.established(world.now, link);
        assert_eq!(world.commands().len(), 3);
    }
}
