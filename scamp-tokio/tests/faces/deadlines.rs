//! Deadlines, on a clock that does not run: pipes in memory, no sockets.

use std::time::Duration;

use scamp_proto::limits::{CLIENT_IDLE, RPC_TIMEOUT};
use scamp_proto::session::{Config, Side};
use scamp_tokio::{
    BodyError, CallError, Client, CloseReason, ExchangeError, Io, Loss, RequestOptions, Service,
    ServiceHandle,
};
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use crate::support::{actions, identity};

async fn pair() -> (Client, ServiceHandle) {
    let service = actions(Service::builder(identity()).default_access(scamp_tokio::Access::Allow))
        .unwrap()
        .detached()
        .unwrap();
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    assert!(service.serve(Io(theirs), ([10, 0, 0, 1], 1).into()));
    let pin = service.fingerprint().unwrap().into();
    (
        Client::builder(pin).over("memory", Io(ours)).await.unwrap(),
        service,
    )
}

/// S-21: a call takes at most 75 seconds, or what was asked for; the connection goes on.
#[tokio::test(start_paused = true)]
async fn calls_end_in_time() {
    let (client, _service) = pair().await;
    let start = Instant::now();
    let error = client.call("Slow.never", "").await.unwrap_err();
    assert_eq!(error, CallError::NoReply(ExchangeError::Timeout(1)));
    assert_eq!(start.elapsed().as_secs(), RPC_TIMEOUT.as_secs());

    let (client, _service) = pair().await;
    let start = Instant::now();
    let options = RequestOptions {
        timeout: Some(Duration::from_secs(3)),
        ..Default::default()
    };
    let late = client.call_with("Slow.never", "", &options);
    let echoes = async {
        for _ in 0..5 {
            client.call("Echo.whole", "a").await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let (late, ()) = tokio::join!(late, echoes);
    assert_eq!(late, Err(CallError::NoReply(ExchangeError::Timeout(1))));
    assert_eq!(start.elapsed().as_secs(), 5);
    assert_eq!(client.call("Echo.whole", "b").await.unwrap().body, "b");
}

/// S-21: a deadline may cover the reply's body, or leave it alone.
#[tokio::test(start_paused = true)]
async fn deadlines_of_bodies() {
    let (client, _service) = pair().await;
    for covers in [true, false] {
        let options = RequestOptions {
            timeout: Some(Duration::from_secs(3)),
            timeout_covers_body: covers,
            ..Default::default()
        };
        let (mut out, reply) = client.request("Echo.stream", &options).await.unwrap();
        out.write_all(b"a").await.unwrap();
        let mut reply = reply.wait().await.unwrap();
        assert_eq!(reply.body.chunk().await, Ok(Some("a".into())));
        let next = async {
            let start = Instant::now();
            (reply.body.chunk().await, start.elapsed().as_secs())
        };
        let finish = async {
            tokio::time::sleep(Duration::from_secs(10)).await;
            out.finish().await
        };
        let (next, finished) = tokio::join!(next, finish);
        match covers {
            true => assert_eq!(next, (Err(BodyError::Timeout), 3)),
            false => assert_eq!((next, finished), ((Ok(None), 10), Ok(()))),
        }
    }
}

/// S-24: what is not used closes by itself, and what is, does not.
#[tokio::test(start_paused = true)]
async fn idle_connections_close() {
    let (client, service) = pair().await;
    let start = Instant::now();
    for _ in 0..3 {
        tokio::time::sleep(CLIENT_IDLE - Duration::from_secs(1)).await;
        client.call("Echo.whole", "a").await.unwrap();
    }
    assert_eq!(client.wait_closed().await, CloseReason::Idle(CLIENT_IDLE));
    assert_eq!(start.elapsed().as_secs(), 4 * CLIENT_IDLE.as_secs() - 3);
    while service.connections() > 0 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// F-5, S-20: a service that does not shake hands costs ten seconds, or what was asked for.
#[tokio::test(start_paused = true)]
async fn connecting_ends_in_time() {
    let (ours, _theirs) = tokio::io::duplex(1 << 16);
    let timeout = Duration::from_secs(4);
    let builder = Client::builder(scamp_tokio::Pin::AnyCertificate).connect_timeout(timeout);
    let start = Instant::now();
    let error = builder.over("memory", Io(ours)).await.unwrap_err();
    let reason = CloseReason::Lost(Loss::ConnectTimeout(timeout));
    assert_eq!(
        error,
        CallError::NoReply(ExchangeError::NotEstablished(reason))
    );
    assert_eq!(start.elapsed().as_secs(), 4);
}

/// F-11, S-22: a peer that has fallen silent costs each request its time; then none is sent to it.
#[tokio::test(start_paused = true)]
async fn a_silent_peer() {
    let (ours, mut theirs) = tokio::io::duplex(1 << 16);
    let timeout = Duration::from_secs(5);
    let config = Config {
        timeout,
        ..Config::new(Side::Client)
    };
    let client = Client::plain()
        .session(config)
        .over("", Io(ours))
        .await
        .unwrap();
    let error = client.call("A.b", "").await.unwrap_err();
    assert_eq!(error, CallError::NoReply(ExchangeError::Timeout(1)));
    assert!(matches!(
        client.call("A.b", "").await,
        Err(CallError::NotSent(_))
    ));
    client.wait_closed().await;
    let mut heard = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut theirs, &mut heard)
        .await
        .unwrap();
    assert_eq!(heard.windows(6).filter(|text| text == b"HEADER").count(), 1);
}
