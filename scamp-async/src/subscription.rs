//! Changes that a service tells its subscribers.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures_core::Stream;
use scamp_proto::limits::COLLECTED_BODY;
use scamp_proto::session::Change;

use crate::client::Handle;
use crate::wakers::Wakers;

/// The changes of the topics subscribed to: a [`Stream`] of batches.
///
/// The first batch is everything there is, and may be empty. While nobody takes them, changes of
/// one key are kept as one, the newest (S-42). The stream ends with the connection, with another
/// subscription of the same client, and when more than 16 MiB wait: subscribing again then brings
/// everything anew.
///
/// It keeps its connection open; dropping it unsubscribes.
///
/// # Example
///
/// ```
/// use scamp_async::Subscription;
///
/// async fn print(mut stock: Subscription) {
///     while let Some(changes) = stock.next().await {
///         for change in changes {
///             println!("{} {} = {}", change.code, change.key, change.value);
///         }
///     }
/// }
/// ```
pub struct Subscription {
    handle: Arc<Handle>,
    serial: u64,
}

impl Subscription {
    pub(crate) fn new(handle: Arc<Handle>, serial: u64) -> Self {
        Self { handle, serial }
    }

    /// The next changes; `None` when there will be no more.
    pub async fn next(&mut self) -> Option<Vec<Change>> {
        poll_fn(|cx| self.poll_changes(cx)).await
    }

    fn poll_changes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Vec<Change>>> {
        self.handle.shared.look(|state| {
            let inbox = state
                .inbox
                .as_mut()
                .filter(|inbox| inbox.serial == self.serial);
            match inbox {
                Some(inbox) => inbox.poll(cx, &mut state.wakers),
                None => Poll::Ready(None),
            }
        })
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.handle.shared.with(|state, now| {
            if state
                .inbox
                .as_ref()
                .is_some_and(|inbox| inbox.serial == self.serial)
            {
                let inbox = state.inbox.take();
                state.wakers.discard(inbox.and_then(|inbox| inbox.waker));
                // It fails only if the connection takes nothing new, and so will end by itself.
                let _ = state.session().subscribe(now, None);
                state.touch();
            }
        });
    }
}

impl Stream for Subscription {
    type Item = Vec<Change>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_changes(cx)
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("serial", &self.serial)
            .finish_non_exhaustive()
    }
}

/// Changes that nobody has taken yet.
pub(crate) struct Inbox {
    pub(crate) serial: u64,
    batches: VecDeque<Vec<Change>>,
    octets: usize,
    ended: bool,
    pub(crate) waker: Option<Waker>,
}

impl Inbox {
    pub(crate) fn new(serial: u64) -> Self {
        Self {
            serial,
            batches: VecDeque::new(),
            octets: 0,
            ended: false,
            waker: None,
        }
    }

    pub(crate) fn push(&mut self, changes: Vec<Change>, wakers: &mut Wakers) {
        if self.ended {
            return;
        }
        self.octets += changes.iter().map(size).sum::<usize>();
        self.batches.push_back(changes);
        if self.batches.len() > BATCHES {
            self.merge();
        }
        if self.octets > COLLECTED_BODY {
            self.batches.clear();
            self.octets = 0;
            return self.end(wakers);
        }
        wakers.push_from(&mut self.waker);
    }

    /// Ends it after what waits.
    pub(crate) fn end(&mut self, wakers: &mut Wakers) {
        self.ended = true;
        wakers.push_from(&mut self.waker);
    }

    fn poll(&mut self, cx: &Context<'_>, wakers: &mut Wakers) -> Poll<Option<Vec<Change>>> {
        if let Some(changes) = self.batches.pop_front() {
            self.octets -= changes.iter().map(size).sum::<usize>();
            return Poll::Ready(Some(changes));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        wakers.park(&mut self.waker, cx);
        Poll::Pending
    }

    /// Makes one batch of all, with the newest value of each key.
    fn merge(&mut self) {
        let all = self.batches.drain(..).flatten();
        let newest: BTreeMap<_, _> = all
            .map(|change| ((change.code, change.key), change.value))
            .collect();
        let merged = newest
            .into_iter()
            .map(|((code, key), value)| Change { code, key, value });
        let merged: Vec<Change> = merged.collect();
        self.octets = merged.iter().map(size).sum();
        self.batches.push_back(merged);
    }
}

/// What a change costs, in octets.
fn size(change: &Change) -> usize {
    change.code.len() + change.key.len() + change.value.len() + std::mem::size_of::<Change>()
}

/// Batches kept before they are merged.
const BATCHES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn change(key: usize, value: &str) -> Change {
        Change {
            code: "stock".into(),
            key: key.to_string(),
            value: value.into(),
        }
    }

    /// S-42: what nobody takes is merged by key, and the newest value counts.
    #[test]
    fn slow_subscribers_see_the_newest() {
        let mut inbox = Inbox::new(1);
        let mut wakers = Wakers::default();
        for n in 0..10_000 {
            inbox.push(vec![change(n % 10, &n.to_string())], &mut wakers);
        }
        assert!(inbox.batches.len() <= BATCHES);
        let mut newest = BTreeMap::new();
        for change in inbox.batches.iter().flatten() {
            newest.insert(change.key.clone(), change.value.clone());
        }
        let expected: BTreeMap<_, _> = (0..10)
            .map(|n| (n.to_string(), (9_990 + n).to_string()))
            .collect();
        assert_eq!(newest, expected);
    }

    /// HD-4: a service that never stops cannot fill our memory.
    #[test]
    fn too_much_ends_it() {
        let mut inbox = Inbox::new(1);
        let mut wakers = Wakers::default();
        let value = "x".repeat(1 << 20);
        for n in 0..17 {
            inbox.push(vec![change(n, &value)], &mut wakers);
        }
        assert!(inbox.ended && inbox.batches.is_empty());
    }
}
