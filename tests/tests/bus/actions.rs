//! Actions of a service that runs.

use scamp_blocking::scamp_proto::error::DispatchError;
use scamp_blocking::{Action, ActionError, CallError, JsonError, RegisterError};
use std::sync::atomic::Ordering;

use crate::support::{Bus, Face, eventually};

fn open(name: &str) -> Action {
    Action::parse(name).unwrap().noauth()
}

fn code_of<T: std::fmt::Debug>(result: Result<T, JsonError>) -> (String, String) {
    match result {
        Err(JsonError::Call(CallError::Remote(error))) => (error.code, error.text),
        other => panic!("{other:?}"),
    }
}

/// V-1, V-5, D-28: an action that is added is found by its name; one that is taken away is not, and
/// who asks for it all the same is told so.
fn actions_come_and_go(face: &impl Face, number: u8) {
    let bus = Bus::new(number);
    let _keeper = bus.keep_cache();
    let service = face.serve_guarded(&bus, &[open("Greetings.hello")], None);
    let requester = face.requester(&bus);
    let call = |action: &str| face.call(&requester, action);
    eventually(|| call("Greetings.hello"), Result::is_ok);
    assert!(call("Greetings.wave").is_err());

    face.add(&service, open("Greetings.wave")).unwrap();
    let taken = face.add(&service, open("greetings.WAVE")).unwrap_err();
    assert!(
        matches!(&taken, RegisterError::Action(ActionError::Duplicate(name)) if name == "greetings.WAVE~1"),
        "{taken}"
    );
    eventually(
        || call("Greetings.wave"),
        |reply| matches!(reply, Ok(name) if name == "Greetings.wave"),
    );

    face.remove(&service, "Greetings.wave").unwrap();
    let unknown = face.remove(&service, "Greetings.wave").unwrap_err();
    assert!(
        matches!(&unknown, RegisterError::NoSuch(name) if name == "Greetings.wave~1"),
        "{unknown}"
    );
    let not_found = |reply: &Result<_, JsonError>| {
        matches!(
            reply,
            Err(JsonError::Call(CallError::NotDispatched(
                DispatchError::NotFound(_)
            )))
        )
    };
    // Until the cache says so, the service itself does.
    let reply = call("Greetings.wave");
    if !not_found(&reply) {
        assert_eq!(code_of(reply).0, "no_action");
    }
    eventually(|| call("Greetings.wave"), not_found);
    assert!(call("Greetings.hello").is_ok());
    face.stop(service);
}

/// D-30: an action with which the service could not be announced is refused, and nothing changes.
fn actions_that_cannot_be_announced(face: &impl Face, number: u8) {
    let bus = Bus::new(number);
    let service = face.serve_guarded(&bus, &[open("Greetings.hello")], None);
    // Letters that no compression makes fewer.
    let mut seed = 1_u64;
    let mut name = String::from("Greetings.");
    let mut refused = None;
    for count in 0..400 {
        name.truncate("Greetings.".len());
        for _ in 0..1000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            name.push(char::from(b'a' + (seed >> 60) as u8));
        }
        if let Err(error) = face.add(&service, open(&name)) {
            refused = Some((count, error));
            break;
        }
    }
    let (count, error) = refused.expect("65507 octets are not enough for all of them");
    assert!(matches!(error, RegisterError::Offer(_)), "{count}: {error}");
    assert!(count > 20, "{count}");
    let again = face.remove(&service, &name).unwrap_err();
    assert!(matches!(again, RegisterError::NoSuch(_)), "{again}");
    face.stop(service);
}

/// S-20: a handler that takes longer than its action's `tN`, or than `service.handler_timeout`, is
/// told that nobody waits, and its caller that it took too long.
fn handlers_have_a_limit(face: &impl Face, number: u8) {
    let bus = Bus::new(number);
    let _keeper = bus.keep_cache();
    let actions = [open("Slow.quick"), open("Slow.slow").flags("t1")];
    let (service, told) = face.serve_slow(&bus, &actions);
    let requester = face.requester(&bus);
    let found = |reply: &Result<_, JsonError>| {
        !matches!(reply, Err(JsonError::Call(CallError::NotDispatched(_))))
    };
    eventually(|| face.call(&requester, "Slow.quick"), found);
    let count = || told.load(Ordering::SeqCst);
    eventually(count, |count| *count == 1);
    for (action, text) in [
        ("Slow.quick", "handler took longer than 0.3 s"),
        ("Slow.slow", "handler took longer than 1 s"),
    ] {
        let answer = code_of(face.call(&requester, action));
        assert_eq!(answer, ("general".into(), text.into()));
    }
    eventually(count, |count| *count == 3);
    face.stop(service);
}

on_every_face!(actions_come_and_go: 5);
on_every_face!(actions_that_cannot_be_announced: 9);
on_every_face!(handlers_have_a_limit: 13);
