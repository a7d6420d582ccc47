//! A service to call, and bodies that can be told from others.

use std::future::Future;
use std::time::Duration;

use scamp_tokio::{
    ActionError, Bytes, Client, Fingerprint, Identity, Pin, RemoteError, Reply, Service,
    ServiceBuilder, ServiceHandle,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

/// Runs a test in a runtime of one thread, and in one of two; neither may take a minute.
pub(crate) fn in_both<F, W>(test: F)
where
    F: Fn() -> W,
    W: Future<Output = ()>,
{
    let bounded = || async {
        tokio::time::timeout(Duration::from_secs(60), test())
            .await
            .expect("it takes too long");
    };
    let one = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    one.block_on(bounded());
    let mut two = tokio::runtime::Builder::new_multi_thread();
    two.worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(bounded());
}

pub(crate) fn identity() -> Identity {
    let certificate = include_str!("../data/greeter.crt");
    Identity::from_pem(certificate, include_str!("../data/greeter.key")).unwrap()
}

/// A service that runs.
pub(crate) struct Running {
    pub(crate) address: String,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) handle: ServiceHandle,
    pub(crate) task: JoinHandle<()>,
}

impl Running {
    pub(crate) fn start(builder: ServiceBuilder) -> Self {
        let service = builder.bind("127.0.0.1:0").unwrap();
        Self {
            address: service.local_addr().to_string(),
            fingerprint: service.fingerprint().unwrap(),
            handle: service.handle(),
            task: tokio::spawn(service.run()),
        }
    }

    /// A service with all of [`actions`].
    pub(crate) fn ordinary() -> Self {
        Self::start(
            actions(Service::builder(identity()).default_access(scamp_tokio::Access::Allow))
                .unwrap(),
        )
    }

    pub(crate) fn pin(&self) -> Pin {
        Pin::Fingerprint(self.fingerprint)
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(&self.address, self.pin()).await.unwrap()
    }

    /// Shuts down and waits for the end.
    pub(crate) async fn stop(self) {
        self.handle.shutdown();
        self.task.await.unwrap();
        assert_eq!(self.handle.connections(), 0);
        // A handler may have given its answer and not returned yet.
        while self.handle.stats().requests_active > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(self.handle.stats().memory, 0, "and so is the memory");
    }
}

/// What the tests call.
pub(crate) fn actions(builder: ServiceBuilder) -> Result<ServiceBuilder, ActionError> {
    builder
        .action("Echo.whole", |request| async move {
            Ok(Reply::new(request.bytes().clone()))
        })?
        .streaming_action("Echo.stream", |mut request| async move {
            Ok(Reply::stream(|mut out| async move {
                while let Some(piece) = request.body.chunk().await? {
                    out.write_bytes(piece).await?;
                }
                Ok(out.finish().await?)
            }))
        })?
        .streaming_action("Make.octets", |request| async move {
            let size: usize = request
                .header
                .get("size")
                .and_then(|n| n.parse().ok())
                .unwrap_or(0);
            Ok(Reply::stream(move |mut out| async move {
                let mut at = 0;
                while at < size {
                    let piece = pattern(at, (size - at).min(100_000));
                    at += piece.len();
                    out.write_all(&piece).await?;
                }
                Ok(out.finish().await?)
            }))
        })?
        .streaming_action("Check.octets", |mut request| async move {
            let mut at = 0;
            let mut room = vec![0; 30_000];
            loop {
                let count = request.body.read(&mut room).await.map_err(general)?;
                if count == 0 {
                    return Ok(Reply::new(at.to_string()));
                }
                if room[..count] != pattern(at, count) {
                    return Err(RemoteError::new("general", format!("wrong after {at}")));
                }
                at += count;
            }
        })?
        .action("Slow.never", |request| async move {
            request.cancelled().await;
            Err(RemoteError::new("general", "nobody hears this"))
        })?
        .action("Slow.yields", |request| async move {
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
            Ok(Reply::new(request.bytes().clone()))
        })?
        .action("Bad.panic", |request| async move {
            match request.bytes().first() {
                Some(b'a') => panic!("at once"),
                _ => {
                    tokio::task::yield_now().await;
                    panic!("later")
                }
            }
        })?
        .streaming_action("Bad.half", |mut request| async move {
            Ok(Reply::stream(|mut out| async move {
                out.write_all(b"half of").await?;
                while request.body.chunk().await?.is_some() {}
                panic!("in the middle of a reply")
            }))
        })?
        .action("Bad.error", |_| async move {
            Err(RemoteError::new("bad_luck", "not today").with_data("{\"tomorrow\":true}"))
        })
}

pub(crate) fn general(error: impl std::fmt::Display) -> RemoteError {
    RemoteError::new("general", error.to_string())
}

/// Octets `at`, `at + 1`, … of a body in which none can go missing unnoticed.
pub(crate) fn pattern(at: usize, len: usize) -> Bytes {
    (at..at + len)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 7) as u8)
        .collect()
}
