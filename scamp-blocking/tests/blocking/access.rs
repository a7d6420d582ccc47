//! Who may call what, with real tickets over real connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use scamp_blocking::scamp_proto::auth::{Sign, Ticket};
use scamp_blocking::{
    Action, Bytes, CallError, Client, Identity, Name, RemoteError, Reply, Request, RequestHead,
    Service, ServiceBuilder, Table, TableState, TicketKeys,
};

use crate::support::{Running, head, identity};

const CERTIFICATE: &str = include_str!("../../../scamp-tls/tests/data/rsa2048.crt");
const KEY: &str = include_str!("../../../scamp-tls/tests/data/rsa2048.key");

/// A ticket of user 3063, client 21, that is valid now.
fn ticket(privileges: &[u64]) -> String {
    let issuer = Identity::from_pem(CERTIFICATE, KEY).unwrap();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let start = now.unwrap().as_secs() as i64 - 60;
    let ticket = Ticket::new(3063, 21, start, 3600, privileges.iter().copied());
    ticket.issue(&issuer as &dyn Sign).unwrap()
}

/// Says who asks.
fn who(request: Request) -> Result<Reply, RemoteError> {
    let user = request.real_ticket().map(|ticket| ticket.user_id());
    Ok(Reply::new(format!("{user:?} {}", request.client_id())))
}

fn builder() -> ServiceBuilder {
    let protected = Action::parse("Test.code").unwrap().requires(&[20]);
    Service::builder(identity())
        .tickets(TicketKeys::from_pem(CERTIFICATE).unwrap())
        .name(Name::parse("tester").unwrap())
        .action(("Test.open", "noauth,public"), who)
        .unwrap()
        .action(protected.clone(), who)
        .unwrap()
        .streaming_action(
            Action::parse("Test.stream").unwrap().requires(&[20]),
            |mut request| Ok(Reply::new(request.text()?.to_uppercase())),
        )
        .unwrap()
        .action("Test.plain", who)
        .unwrap()
}

fn call(client: &Client, action: &str, ticket: Option<&str>) -> Result<String, String> {
    let mut head: RequestHead<'_> = head(action).client_id(7);
    if let Some(ticket) = ticket {
        head = head.ticket(ticket);
    }
    match client.call(head, "body") {
        Ok(reply) => Ok(String::from_utf8(reply.body.into()).unwrap()),
        Err(CallError::Remote(error)) => Err(error.code),
        Err(error) => panic!("{error}"),
    }
}

/// T-9, T-11, T-5: what is open, what needs a ticket, what nobody may call; and who the handler is
/// told that asks.
#[test]
fn tickets() {
    let service = Running::start(builder());
    let client = service.client();
    let (good, poor) = (ticket(&[1, 20]), ticket(&[1]));
    let forged = good.replace("3063,21", "3063,22");
    let ask = |action, ticket| call(&client, action, ticket);
    for _ in 0..2 {
        assert_eq!(ask("Test.open", None), Ok("None 7".into()));
        assert_eq!(ask("Test.open", Some(&good)), Ok("Some(3063) 21".into()));
        assert_eq!(ask("Test.open", Some(&forged)), Ok("None 7".into()));
        assert_eq!(ask("Test.code", Some(&good)), Ok("Some(3063) 21".into()));
        assert_eq!(ask("Test.stream", Some(&good)), Ok("BODY".into()));
        for (ticket, code) in [
            (None, "authn"),
            (Some(&*forged), "authn"),
            (Some(&poor), "authz"),
        ] {
            assert_eq!(ask("Test.code", ticket), Err(code.into()));
            assert_eq!(ask("Test.stream", ticket), Err(code.into()));
        }
        assert_eq!(ask("Test.plain", Some(&good)), Err("authz".into()));
    }
    let notes = service.handle.notes();
    let notes: Vec<_> = notes
        .iter()
        .map(|note| format!("{:?}", note.what))
        .collect();
    assert!(
        notes.iter().any(|note| note.contains("BadTicket")),
        "{notes:?}"
    );
    assert!(
        !notes.iter().any(|note| note.contains(&forged)),
        "tickets are secret (HD-12)"
    );
}

/// HD-76, T-7: many callers at once, each with a ticket never seen before.
#[test]
fn many_tickets_at_once() {
    let service = Running::start(builder());
    let client = service.client();
    thread::scope(|scope| {
        for number in 0..16 {
            let client = &client;
            scope.spawn(move || {
                let held = ticket(&[20, 100 + number]);
                for _ in 0..10 {
                    let reply = call(client, "Test.code", Some(&held));
                    assert_eq!(reply, Ok("Some(3063) 21".into()));
                }
            });
        }
    });
    crate::support::until("nobody is in a handler", || {
        service.handle.stats().requests_active == 0
    });
    assert_eq!(service.handle.stats().requests_started, 160);
}

/// T-16: many requests wait for one fetch of the table; it is not fetched again while it is fresh.
#[test]
fn one_fetch_for_all() {
    let fetches = Arc::new(AtomicUsize::new(0));
    let counted = fetches.clone();
    let source = move || {
        counted.fetch_add(1, Ordering::SeqCst);
        thread::sleep(Duration::from_millis(20));
        Ok(Bytes::from_static(br#"{"test.plain":[1],"test.code":[]}"#))
    };
    let table = TableState::remote(Duration::ZERO);
    let service = Running::start(builder().table(table).table_source(source));
    let (good, poor) = (ticket(&[1, 20]), ticket(&[20]));
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let client = service.client();
                let ask = |action, ticket| call(&client, action, ticket);
                assert_eq!(ask("Test.plain", Some(&good)), Ok("Some(3063) 21".into()));
                assert_eq!(ask("Test.plain", Some(&poor)), Err("authz".into()));
                assert_eq!(ask("Test.code", Some(&poor)), Ok("Some(3063) 21".into()));
                assert_eq!(ask("Test.stream", Some(&good)), Err("authz".into()));
                assert_eq!(ask("Test.open", None), Ok("None 7".into()));
            });
        }
    });
    assert_eq!(fetches.load(Ordering::SeqCst), 1);
}

/// T-16: a table that cannot be had fails those who need it, with `internal`, and nobody else; a
/// panic while fetching is no more than that.
#[test]
fn no_table() {
    for panics in [false, true] {
        let source = move || match panics {
            true => panic!("as the test wants it"),
            false => Err("no such service".to_owned()),
        };
        let table = TableState::remote(Duration::ZERO);
        let service = Running::start(builder().table(table).table_source(source));
        let client = service.client();
        let good = ticket(&[1, 20]);
        assert_eq!(
            call(&client, "Test.plain", Some(&good)),
            Err("internal".into())
        );
        assert_eq!(call(&client, "Test.plain", None), Err("authn".into()));
        assert_eq!(call(&client, "Test.open", None), Ok("None 7".into()));
    }
}

/// V-8, T-13: what is built in, with a table from the code.
#[test]
fn built_in() {
    let table = TableState::fixed(Table::parse(b"{}").unwrap());
    let service = Running::start(builder().table(table));
    let client = service.client();
    let reply = call(&client, "tester.queue_depth", None);
    assert_eq!(reply, Ok("{\"queue_depth\":0}".into()));
    let listed = call(&client, "_meta.documentation", None).unwrap();
    assert!(
        listed.contains("Test.open") && !listed.contains("Test.code"),
        "{listed}"
    );

    let without = Running::start(builder().queue_depth(false).documentation(false));
    let client = without.client();
    for action in ["tester.queue_depth", "_meta.documentation"] {
        assert_eq!(call(&client, action, None), Err("no_action".into()));
    }
    let json = without.handle.stats().to_json();
    assert!(json.contains("\"total_clients_accepted\":1"), "{json}");
}
