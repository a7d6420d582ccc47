//! Who may call what, with real tickets over real connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use scamp_tokio::scamp_proto::auth::{Sign, Ticket};
use scamp_tokio::{
    Action, Bytes, CallError, Client, Identity, Name, RemoteError, Reply, Request, RequestHead,
    Service, ServiceBuilder, Table, TableState, TicketKeys,
};

use crate::support::{Running, identity, in_both};

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
async fn who(request: Request) -> Result<Reply, RemoteError> {
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
            |request| async move {
                let body = request.body.collect(100).await.unwrap();
                Ok(Reply::new(body.to_ascii_uppercase()))
            },
        )
        .unwrap()
        .action("Test.plain", who)
        .unwrap()
}

async fn call(client: &Client, action: &str, ticket: Option<&str>) -> Result<String, String> {
    let mut head = RequestHead::new(action).client_id(7);
    if let Some(ticket) = ticket {
        head = head.ticket(ticket);
    }
    match client.call(head, "body").await {
        Ok(reply) => Ok(String::from_utf8(reply.body.into()).unwrap()),
        Err(CallError::Remote(error)) => Err(error.code),
        Err(error) => panic!("{error}"),
    }
}

/// T-9, T-11, T-5: what is open, what needs a ticket, what nobody may call; and who the handler is
/// told that asks.
#[test]
fn tickets() {
    in_both(|| async {
        let service = Running::start(builder());
        let client = service.client().await;
        let (good, poor) = (ticket(&[1, 20]), ticket(&[1]));
        let forged = good.replace("3063,21", "3063,22");
        let ask = |action, ticket| call(&client, action, ticket);
        for _ in 0..2 {
            assert_eq!(ask("Test.open", None).await, Ok("None 7".into()));
            let known = Ok("Some(3063) 21".into());
            assert_eq!(ask("Test.open", Some(&good)).await, known);
            assert_eq!(ask("Test.open", Some(&forged)).await, Ok("None 7".into()));
            assert_eq!(ask("Test.code", Some(&good)).await, known);
            assert_eq!(ask("Test.stream", Some(&good)).await, Ok("BODY".into()));
            for (ticket, code) in [
                (None, "authn"),
                (Some(&*forged), "authn"),
                (Some(&poor), "authz"),
            ] {
                assert_eq!(ask("Test.code", ticket).await, Err(code.into()));
                assert_eq!(ask("Test.stream", ticket).await, Err(code.into()));
            }
            assert_eq!(ask("Test.plain", Some(&good)).await, Err("authz".into()));
        }
        let notes = format!("{:?}", service.handle.notes());
        assert!(notes.contains("BadTicket"), "{notes}");
        assert!(!notes.contains(&forged), "tickets are secret (HD-12)");
        drop(client);
        let handle = service.handle.clone();
        service.stop().await;
        let stats = handle.stats();
        assert_eq!(
            (stats.total_clients_accepted, stats.open_connections),
            (1, 0)
        );
        assert!(stats.bytes_in > 1000 && stats.bytes_out > 1000, "{stats:?}");
        assert_eq!((stats.requests_started, stats.requests_failed), (10, 0));
    });
}

/// T-16: many requests wait for one fetch of the table; it is not fetched again while it is fresh.
#[test]
fn one_fetch_for_all() {
    in_both(|| async {
        let fetches = Arc::new(AtomicUsize::new(0));
        let counted = fetches.clone();
        let source = move || {
            counted.fetch_add(1, Ordering::SeqCst);
            async {
                tokio::time::sleep(Duration::from_millis(20)).await;
                Ok(Bytes::from_static(br#"{"test.plain":[1],"test.code":[]}"#))
            }
        };
        let table = TableState::remote(Duration::ZERO);
        let service = Running::start(builder().table(table).table_source(source));
        let mut tasks = Vec::new();
        for _ in 0..8 {
            let client = service.client().await;
            tasks.push(tokio::spawn(async move {
                let (good, poor) = (ticket(&[1, 20]), ticket(&[20]));
                let ask = |action, ticket| call(&client, action, ticket);
                let known = Ok("Some(3063) 21".into());
                assert_eq!(ask("Test.plain", Some(&good)).await, known);
                assert_eq!(ask("Test.plain", Some(&poor)).await, Err("authz".into()));
                assert_eq!(ask("Test.code", Some(&poor)).await, known);
                assert_eq!(ask("Test.stream", Some(&good)).await, Err("authz".into()));
                assert_eq!(ask("Test.open", None).await, Ok("None 7".into()));
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(fetches.load(Ordering::SeqCst), 1);
        service.stop().await;
    });
}

/// T-16: a table that cannot be had fails those who need it, with `internal`, and nobody else; a
/// panic while fetching is no more than that.
#[test]
fn no_table() {
    in_both(|| async {
        for panics in [false, true] {
            let source = move || async move {
                match panics {
                    true => panic!("as the test wants it"),
                    false => Err("no such service".to_owned()),
                }
            };
            let table = TableState::remote(Duration::ZERO);
            let service = Running::start(builder().table(table).table_source(source));
            let client = service.client().await;
            let good = ticket(&[1, 20]);
            let failed = call(&client, "Test.plain", Some(&good)).await;
            assert_eq!(failed, Err("internal".into()));
            let refused = call(&client, "Test.plain", None).await;
            assert_eq!(refused, Err("authn".into()));
            assert_eq!(call(&client, "Test.open", None).await, Ok("None 7".into()));
            drop(client);
            service.stop().await;
        }
    });
}

/// V-8, T-13: what is built in, with a table from the code.
#[test]
fn built_in() {
    in_both(|| async {
        let table = TableState::fixed(Table::parse(b"{}").unwrap());
        let service = Running::start(builder().table(table));
        let client = service.client().await;
        let reply = call(&client, "tester.queue_depth", None).await;
        assert_eq!(reply, Ok("{\"queue_depth\":0}".into()));
        let listed = call(&client, "_meta.documentation", None).await.unwrap();
        assert!(
            listed.contains("Test.open") && !listed.contains("Test.code"),
            "{listed}"
        );
        service.stop().await;

        let without = Running::start(builder().queue_depth(false).documentation(false));
        let client = without.client().await;
        for action in ["tester.queue_depth", "_meta.documentation"] {
            assert_eq!(call(&client, action, None).await, Err("no_action".into()));
        }
        without.stop().await;
    });
}
