//! The connections of a requester, and what was decided of its calls.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use scamp_proto::discovery::Instance;
use scamp_proto::requester::{CallId, Command, Dispatch, LinkId, Requester, Verdict};
use scamp_proto::{CallError, CloseReason, ExchangeError, Instant};

/// A [`Requester`] with a face's clients `C` for its links, and its commands sorted by whom they
/// concern.
///
/// A face keeps it under one lock, calls [`settle`](Self::settle) after whatever it did to the
/// machine, and then does what [`take_dial`](Self::take_dial), [`take_closing`](Self::take_closing)
/// and [`take_decision`](Self::take_decision) have for it.
#[derive(Debug)]
pub struct Switchboard<C> {
    /// The machine that decides.
    pub machine: Requester,
    links: BTreeMap<LinkId, C>,
    decided: BTreeMap<CallId, Result<Dispatch, CallError>>,
    dials: VecDeque<(LinkId, Arc<Instance>)>,
    closing: Vec<(LinkId, C)>,
}

impl<C: Clone> Switchboard<C> {
    /// One without connections.
    pub fn new(machine: Requester) -> Self {
        Self {
            machine,
            links: BTreeMap::new(),
            decided: BTreeMap::new(),
            dials: VecDeque::new(),
            closing: Vec::new(),
        }
    }

    /// Does what is due, and takes the machine's commands.
    pub fn settle(&mut self, now: Instant) {
        if self.machine.poll_timeout().is_some_and(|at| at <= now) {
            self.machine.handle_timeout(now);
        }
        while let Some(command) = self.machine.poll_command() {
            match command {
                Command::Dial { link, instance } => self.dials.push_back((link, instance)),
                Command::Send(dispatch) => {
                    self.decided.insert(dispatch.call, Ok(dispatch));
                }
                Command::Fail { call, error } => {
                    self.decided.insert(call, Err(error));
                }
                Command::Close(link) => {
                    if let Some(client) = self.links.remove(&link) {
                        self.closing.push((link, client));
                    }
                }
                // Nothing is pinned by a face yet.
                _ => {}
            }
        }
    }

    /// What was decided of a call, once it was: to send it by this client, which is gone if the
    /// connection was lost meanwhile.
    pub fn take_decision(&mut self, id: CallId) -> Option<Decision<C>> {
        let decided = self.decided.remove(&id)?;
        Some(decided.map(|dispatch| {
            let client = self.links.get(&dispatch.link).cloned();
            (dispatch, client)
        }))
    }

    /// The calls of which something was decided.
    pub fn decided(&self) -> impl Iterator<Item = CallId> {
        self.decided.keys().copied()
    }

    /// The next connection to make.
    pub fn take_dial(&mut self) -> Option<(LinkId, Arc<Instance>)> {
        self.dials.pop_front()
    }

    /// The connections to close in good order; tell [`lost`](Self::lost) when they are gone.
    pub fn take_closing(&mut self) -> Vec<(LinkId, C)> {
        std::mem::take(&mut self.closing)
    }

    /// All connections, for when nobody needs them any more.
    pub fn take_links(&mut self) -> impl Iterator<Item = C> + use<C> {
        std::mem::take(&mut self.links).into_values()
    }

    /// The client of a link.
    pub fn client(&self, link: LinkId) -> Option<C> {
        self.links.get(&link).cloned()
    }

    /// Takes note of how dialling ended.
    pub fn dialled(&mut self, now: Instant, link: LinkId, result: Result<C, CallError>) {
        match result {
            Ok(client) => {
                self.links.insert(link, client);
                self.machine.established(now, link);
            }
            Err(error) => {
                let reason = match error {
                    CallError::NoReply(ExchangeError::NotEstablished(reason)) => reason,
                    // Dialling fails in no other way.
                    _ => CloseReason::ClosedLocally,
                };
                self.machine.not_established(now, link, reason);
            }
        }
        self.settle(now);
    }

    /// Takes note that a connection is gone.
    pub fn lost(&mut self, now: Instant, link: LinkId, reason: CloseReason) {
        self.links.remove(&link);
        self.machine.lost(now, link, reason);
        self.settle(now);
    }

    /// Takes note of what became of a request, and whether its connection takes more of them.
    pub fn outcome(
        &mut self,
        now: Instant,
        dispatch: &Dispatch,
        result: Result<(), &CallError>,
        is_open: bool,
    ) -> Verdict {
        let verdict = self.machine.outcome(now, dispatch.call, result);
        if !is_open {
            self.machine.retire(now, dispatch.link);
        }
        self.settle(now);
        verdict
    }

    /// Gives up a call.
    pub fn abandon(&mut self, now: Instant, id: CallId) {
        self.machine.abandon(now, id);
        self.decided.remove(&id);
        self.settle(now);
    }
}

/// A request to send by a client, if it is still there, or why there is none.
pub type Decision<C> = Result<(Dispatch, Option<C>), CallError>;
