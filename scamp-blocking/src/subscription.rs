//! News of topics.

use std::fmt;
use std::sync::Arc;

use scamp_proto::session::Change;

use crate::link::{Link, Wait};
use crate::waiters::Key;

/// What a service publishes under some topics: first all there is, then changes as they come.
///
/// An iterator that waits; it ends when the connection does. Of changes that pile up (from 1 MiB
/// on) only the newest of each key is kept; a subscriber that is 16 MiB behind loses its connection.
///
/// Dropped, the subscription is given up.
pub struct Subscription {
    link: Arc<Link>,
}

impl Subscription {
    pub(crate) fn new(link: Arc<Link>) -> Self {
        Self { link }
    }
}

impl Iterator for Subscription {
    type Item = Vec<Change>;

    fn next(&mut self) -> Option<Self::Item> {
        self.link.lock().wait(|core, _| {
            if let Some(changes) = core.take_changes() {
                return Wait::Done(Some(changes));
            }
            match core.closed.is_some() {
                true => Wait::Done(None),
                false => Wait::For(Key::Changes),
            }
        })
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut core = self.link.lock();
        core.keep_changes(false);
        // It fails only if there is nobody left to tell, or too much to tell already.
        let _ = core.session().subscribe(self.link.now(), None);
        core.flush_or_leave();
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").finish_non_exhaustive()
    }
}
