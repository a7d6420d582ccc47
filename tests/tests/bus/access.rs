//! Who may call what, by name.

use std::fs;
use std::time::SystemTime;

use scamp_blocking::scamp_proto::auth::{Sign, Ticket};
use scamp_blocking::{Action, CallError, Identity, JsonError};
use serde_json::Value;

use crate::support::{Blocking, Bus, CERTIFICATE, Face, KEY, Tokio, eventually};

const OTHER_CERTIFICATE: &str = include_str!("../../../scamp-tls/tests/data/rsa4096.crt");

/// A ticket that is valid now.
fn ticket(privileges: &[u64]) -> String {
    let issuer = Identity::from_pem(CERTIFICATE, KEY).unwrap();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let start = now.unwrap().as_secs() as i64 - 60;
    let ticket = Ticket::new(3063, 21, start, 3600, privileges.iter().copied());
    ticket.issue(&issuer as &dyn Sign).unwrap()
}

fn code_of(result: Result<Value, JsonError>) -> String {
    match result {
        Ok(reply) => reply.to_string(),
        Err(JsonError::Call(CallError::Remote(error))) => error.code,
        Err(error) => error.to_string(),
    }
}

/// T-13, T-16, T-17, Z-9: a service with a requester fetches the authorization table by name, from
/// the service that offers it, and asks it about everything that is not `noauth`.
fn the_table_is_fetched_by_name(face: &impl Face, number: u8) {
    let bus = Bus::new(number);
    let _keeper = bus.keep_cache();
    let requester = face.requester(&bus);
    let table = r#"{"greetings.hello":[20],"greetings.wave":["21"]}"#;
    let actions = ["Greetings.hello", "Greetings.wave", "Greetings.none"];
    let actions = actions.map(|name| Action::parse(name).unwrap());
    let service = face.serve_guarded(&bus, &actions, Some((&requester, table)));
    let held = ticket(&[20]);
    let call = |action| code_of(face.call_with(&requester, action, &held));
    // The table itself has to be found first.
    eventually(
        || call("Greetings.hello"),
        |code| code == "\"Greetings.hello\"",
    );
    assert_eq!(call("Greetings.wave"), "authz");
    assert_eq!(call("Greetings.none"), "authz");
    let without = code_of(face.call(&requester, "Greetings.hello"));
    assert_eq!(without, "authn");
    face.stop(service);
}

/// T-6: a ticket key that is replaced counts soon, for tickets seen before as well; a file that is
/// gone or rubbish leaves the last key in force.
fn ticket_keys_are_read_again(face: &impl Face, number: u8) {
    let bus = Bus::new(number);
    let _keeper = bus.keep_cache();
    let requester = face.requester(&bus);
    let actions = [Action::parse("Greetings.hello").unwrap().requires(&[20])];
    let service = face.serve_guarded(&bus, &actions, None);
    let held = ticket(&[20]);
    let call = || code_of(face.call_with(&requester, "Greetings.hello", &held));
    eventually(call, |code| code == "\"Greetings.hello\"");
    fs::write(bus.path("ticket.pem"), OTHER_CERTIFICATE).unwrap();
    eventually(call, |code| code == "authn");
    fs::write(bus.path("ticket.pem"), CERTIFICATE).unwrap();
    eventually(call, |code| code == "\"Greetings.hello\"");
    fs::write(bus.path("ticket.pem"), "rubbish").unwrap();
    eventually(
        || face.notes(&service),
        |notes| notes.iter().any(|note| note.contains("ticket.pem")),
    );
    assert_eq!(call(), "\"Greetings.hello\"");
    face.stop(service);
}

#[test]
fn the_table_is_fetched_by_name_blocking() {
    the_table_is_fetched_by_name(&Blocking, 9);
}

#[test]
fn the_table_is_fetched_by_name_tokio() {
    the_table_is_fetched_by_name(&Tokio::new(), 10);
}

#[test]
fn ticket_keys_are_read_again_blocking() {
    ticket_keys_are_read_again(&Blocking, 11);
}

#[test]
fn ticket_keys_are_read_again_tokio() {
    ticket_keys_are_read_again(&Tokio::new(), 12);
}
