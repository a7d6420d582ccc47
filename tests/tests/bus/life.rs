//! From the first announcement to the last.

use scamp_blocking::scamp_proto::error::DispatchError;
use scamp_blocking::{CallError, Fingerprint, Identity, JsonError};
use serde_json::Value;

use crate::support::{Bus, CERTIFICATE, Face, KEY, eventually, files};

/// D-25, D-28, D-29, D-33…D-36, D-43, V-1…V-4, V-7, V-12, Z-9: from the first announcement to the last.
fn a_life(face: &impl Face, number: u8) {
    let bus = Bus::new(number);
    let requester = face.requester(&bus);
    // Nothing has written the cache yet.
    let error = face.call(&requester, "Greetings.hello").unwrap_err();
    let JsonError::Call(CallError::NotDispatched(DispatchError::StaleCache)) = error else {
        panic!("{error}");
    };

    let keeper = bus.keep_cache();
    let first = face.serve(&bus, "first");
    let call = |action: &str| face.call(&requester, action);
    eventually(
        || call("greetings.HELLO"),
        |reply| matches!(reply, Ok(reply) if reply == "first"),
    );
    assert_eq!(files(&bus.path("running")), 1);
    assert_eq!(keeper.handle.instances().len(), 1);

    // An action that nobody offers, and a caller that the service may not serve.
    let error = call("Greetings.goodbye").unwrap_err();
    assert!(
        matches!(&error, JsonError::Call(CallError::NotDispatched(DispatchError::NotFound(name))) if name.contains("Greetings.goodbye")),
        "{error}"
    );
    bus.authorize("main:Elsewhere");
    let is_refused = |reply: &Result<Value, JsonError>| {
        matches!(
            reply,
            Err(JsonError::Call(CallError::NotDispatched(
                DispatchError::NotAuthorized(_)
            )))
        )
    };
    eventually(|| call("Greetings.hello"), is_refused);
    bus.authorize("main:Greetings");
    eventually(|| call("Greetings.hello"), Result::is_ok);

    // A second instance, which stays when the first leaves; no call fails on the way.
    let second = face.serve(&bus, "second");
    let name = face.identity(&second);
    eventually(
        || face.call_at(&requester, &name),
        |reply| matches!(reply, Ok(reply) if reply == "second"),
    );
    std::thread::scope(|scope| {
        let leaving = scope.spawn(|| face.leave(first));
        while !leaving.is_finished() {
            call("Greetings.hello").unwrap();
        }
    });
    eventually(|| keeper.handle.instances().len(), |count| *count == 1);
    for _ in 0..10 {
        assert_eq!(call("Greetings.hello").unwrap(), "second");
    }
    face.leave(second);
    assert_eq!(files(&bus.path("running")), 0);
    let is_gone = |reply: &Result<Value, JsonError>| {
        matches!(
            reply,
            Err(JsonError::Call(CallError::NotDispatched(
                DispatchError::NotFound(_)
            )))
        )
    };
    eventually(|| call("Greetings.hello"), is_gone);
}

on_every_face!(a_life: 1);

/// L-3, D-45, F-51, N-11, N-37: where an announced address answers with another certificate, nothing is sent to it.
#[test]
fn an_impostor_is_not_asked() {
    use scamp_blocking::scamp_proto::auth::AuthorizedServices;
    use scamp_blocking::scamp_proto::discovery::{Description, Directory, Instance, Offer};
    use scamp_blocking::{Requester, Service};

    let identity = Identity::from_pem(CERTIFICATE, KEY).unwrap();
    let service = Service::builder(identity)
        .action(("Greetings.hello", "noauth"), |_| {
            Ok(scamp_blocking::Reply::new("\"impostor\""))
        })
        .unwrap()
        .bind("127.0.0.1:0")
        .unwrap();
    let uri = format!("beepish+tls://{}", service.local_addr());
    let handle = service.handle();
    let running = std::thread::spawn(move || service.run());

    let mut described = Description::new("greeter:1", uri.parse().unwrap());
    described
        .actions
        .push(Offer::new("Greetings.hello").unwrap());
    let expected = Fingerprint::of(b"another certificate");
    let instance = Instance::fixed(&described, expected, None).unwrap();
    let requester = Requester::builder()
        .directory(Directory::build([instance.into()], &mut |_| {}))
        .authorized(AuthorizedServices::allow_all())
        .build()
        .unwrap();
    let error = requester.call_raw("Greetings.hello", "{}").unwrap_err();
    assert!(error.to_string().contains("fingerprint"), "{error}");
    assert_eq!(handle.stats().requests_started, 0);
    handle.shutdown();
    running.join().unwrap();
}
