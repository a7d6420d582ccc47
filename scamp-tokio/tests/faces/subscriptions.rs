//! Subscriptions, from both ends.

use scamp_tokio::{CallError, Change, Service};

use crate::support::{Running, actions, identity, in_both};

fn change(key: &str, value: &str) -> Change {
    Change {
        code: "stock".into(),
        key: key.into(),
        value: value.into(),
    }
}

/// S-40, S-41: first what is there, then what changes, and nothing that does not.
#[test]
fn what_is_there_and_what_changes() {
    in_both(|| async {
        let service = Running::ordinary();
        assert!(service.handle.publish("stock", "a", "1"));
        assert!(service.handle.publish("other", "x", "1"));
        let client = service.client().await;
        let mut stock = client.subscribe(&["stock"]).await.unwrap();
        assert_eq!(stock.next().await, Some(vec![change("a", "1")]));
        assert!(!service.handle.publish("stock", "a", "1"), "no news");
        assert!(!service.handle.publish("stock", "a", "no json"));
        assert!(service.handle.publish("stock", "b", "{\"n\":2}"));
        assert_eq!(stock.next().await, Some(vec![change("b", "{\"n\":2}")]));
        assert!(service.handle.publish("stock", "a", "null"));
        assert_eq!(stock.next().await, Some(vec![change("a", "null")]));

        // A subscription keeps its connection open, and ends with it.
        drop(client);
        service.handle.publish("stock", "c", "3");
        assert_eq!(stock.next().await, Some(vec![change("c", "3")]));
        service.handle.shutdown();
        assert_eq!(stock.next().await, None);
        service.stop().await;
    });
}

/// S-40: a second subscription takes the place of the first; dropping it unsubscribes.
#[test]
fn one_at_a_time() {
    in_both(|| async {
        let service = Running::ordinary();
        let client = service.client().await;
        let mut first = client.subscribe(&["stock"]).await.unwrap();
        assert_eq!(first.next().await, Some(vec![]));
        let mut second = client.subscribe(&["stock", "other"]).await.unwrap();
        assert_eq!(first.next().await, None);
        drop(first);
        assert_eq!(second.next().await, Some(vec![]));
        service.handle.publish("stock", "a", "1");
        assert_eq!(second.next().await, Some(vec![change("a", "1")]));
        drop(second);
        // The topics are gone once the service has answered that, and so by the next reply.
        client.call("Echo.whole", "").await.unwrap();
        service.handle.publish("stock", "b", "1");
        let mut third = client.subscribe(&["stock"]).await.unwrap();
        let all = vec![change("a", "1"), change("b", "1")];
        assert_eq!(third.next().await, Some(all));
        drop((client, third));
        service.stop().await;
    });
}

/// S-42: ten thousand changes reach a subscriber in order, or merged; the last value is the last.
#[test]
fn many_changes() {
    in_both(|| async {
        let service = Running::ordinary();
        let client = service.client().await;
        let mut stock = client.subscribe(&["stock"]).await.unwrap();
        assert_eq!(stock.next().await, Some(vec![]));
        for n in 0..10_000 {
            assert!(
                service
                    .handle
                    .publish("stock", &(n % 7).to_string(), &n.to_string())
            );
        }
        let mut last = [None; 7];
        while last.iter().flatten().max() != Some(&9_999) {
            for change in stock.next().await.unwrap() {
                let key: usize = change.key.parse().unwrap();
                let value: u32 = change.value.parse().unwrap();
                assert!(last[key] < Some(value), "in order");
                last[key] = Some(value);
            }
        }
        drop((client, stock));
        service.stop().await;
    });
}

/// S-40: a service may do without.
#[test]
fn a_service_without() {
    in_both(|| async {
        let config = scamp_proto::session::Config::new(scamp_proto::session::Side::Server);
        let builder =
            actions(Service::builder(identity()).default_access(scamp_tokio::Access::Allow))
                .unwrap()
                .session(config);
        let service = Running::start(builder);
        let client = service.client().await;
        let refused = client.subscribe(&["stock"]).await;
        assert!(matches!(refused, Err(CallError::Remote(_))));
        assert_eq!(client.call("Echo.whole", "a").await.unwrap().body, "a");
        drop(client);
        service.stop().await;
    });
}
