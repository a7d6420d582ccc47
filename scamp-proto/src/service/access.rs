//! Who may call what.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::time::Duration;

use super::Action;
use crate::Instant;
use crate::auth::table::{Answer, WaiterId};
use crate::auth::{
    Padding, PublicKey, Table, TableState, TicketCache, TicketError, TicketKeys, VerifiedTicket,
    Verify,
};
use crate::session::ServeId;
use crate::wire::{Header, RemoteError};

/// What becomes of requests for an action that nothing is said about (T-9, step 5).
///
/// It is set in code and never by configuration.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Access {
    /// They are served, whoever asks. Go, RS and JS services do this.
    Allow,
    /// They are refused with `authz`.
    #[default]
    Deny,
}

/// Who asks, as far as the service has checked it (T-11).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Caller {
    ticket: Option<VerifiedTicket>,
    token: Option<VerifiedTicket>,
    claimed_client: u64,
}

impl Caller {
    /// The request's ticket, if it has a valid one.
    pub fn ticket(&self) -> Option<&VerifiedTicket> {
        self.ticket.as_ref()
    }

    /// Who really asks: the identifying token if the request has a valid one, else the ticket.
    pub fn real_ticket(&self) -> Option<&VerifiedTicket> {
        self.token.as_ref().or(self.ticket.as_ref())
    }

    /// The client of the real ticket, or, if that names none, the one in the request's header.
    ///
    /// Without a ticket this is what the caller says of itself, and proves nothing.
    pub fn client_id(&self) -> u64 {
        let vouched = self.real_ticket().map_or(0, |ticket| ticket.client_id());
        match vouched {
            0 => self.claimed_client,
            vouched => vouched,
        }
    }
}

/// What a service checks tickets with: keys, tickets seen before, and the authorization table.
///
/// There is one for each service, shared by its connections.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    keys: Option<Arc<TicketKeys>>,
    skew: Duration,
    seen: TicketCache,
    table: Option<TableState>,
    sector: Option<String>,
}

impl Guard {
    /// Sets the keys that tickets are verified with; without any, no ticket is valid.
    pub fn set_keys(&mut self, keys: TicketKeys) {
        self.keys = Some(Arc::new(keys));
    }

    /// Sets how far an issuer's clock may be from ours (`ticket.clock_skew`).
    pub fn set_skew(&mut self, skew: Duration) {
        self.skew = skew;
    }

    /// Sets the table to ask, or where it comes from.
    pub fn set_table(&mut self, table: TableState) {
        self.table = Some(table);
    }

    /// Sets the sector the service is in; `main` unless set. The table may have no say in others
    /// (T-18).
    pub fn set_sector(&mut self, sector: &str) {
        self.sector = Some(sector.to_owned());
    }

    /// Whether the table has a say.
    pub fn is_tabled(&self) -> bool {
        let sector = self.sector.as_deref().unwrap_or("main");
        let table = self.table.as_ref();
        table.is_some_and(|table| table.applies_to(sector))
    }

    /// Whether the table is to be fetched now; `true` once for each fetch, which must be answered
    /// with [`table_answered`](Self::table_answered) or [`table_failed`](Self::table_failed).
    #[must_use = "nobody else is told to fetch"]
    pub fn poll_fetch(&mut self) -> bool {
        self.table.as_mut().is_some_and(TableState::poll_fetch)
    }

    /// Takes a table that was fetched. Then let every desk
    /// [`resume`](super::Desk::resume).
    ///
    /// # Errors
    ///
    /// If it is no table: as if it could not be fetched (T-15).
    pub fn table_answered(
        &mut self,
        now: Instant,
        json: &[u8],
    ) -> Result<(), crate::auth::table::TableError> {
        let Some(table) = &mut self.table else {
            return Ok(());
        };
        let answered = table.answered(now, json);
        self.forget_decided();
        answered
    }

    /// Notes that the table could not be fetched. Then let every desk
    /// [`resume`](super::Desk::resume).
    pub fn table_failed(&mut self, now: Instant) {
        if let Some(table) = &mut self.table {
            table.failed(now);
        }
        self.forget_decided();
    }

    /// Every desk asks again for those who waited, so nobody is told by name.
    fn forget_decided(&mut self) {
        if let Some(table) = &mut self.table {
            while table.poll_decided().is_some() {}
        }
    }

    /// What is known of a text that should be a ticket, without verifying it.
    fn look_up(&self, text: Option<&str>, unix: i64) -> Lookup {
        let Some(text) = text else {
            return Lookup::Known(Err(TicketError::Missing));
        };
        // Without keys nothing can be verified, and nobody could have vouched for anything.
        let Some(keys) = &self.keys else {
            return Lookup::Known(Err(TicketError::BadSignature));
        };
        match self.seen.find(keys, text, unix, self.skew) {
            Some(known) => Lookup::Known(known),
            None => Lookup::Unknown,
        }
    }

    pub(super) fn ask_table(&mut self, now: Instant, until: Instant) -> TableAnswer {
        match self.table.as_mut().map(|table| table.ask(now, until)) {
            Some(Answer::Ready(table)) => TableAnswer::Ready(table),
            Some(Answer::Waiting(waiter)) => TableAnswer::Waiting(waiter),
            Some(Answer::Unavailable(_) | Answer::Full(_)) | None => TableAnswer::Unavailable,
        }
    }

    pub(super) fn leave_table(&mut self, waiter: WaiterId) {
        if let Some(table) = &mut self.table {
            table.leave(waiter);
        }
    }

    /// What a request presents, as far as it can be told without verifying anything; or what is to
    /// be verified first.
    pub(super) fn present(&self, id: ServeId, header: &Header, unix: i64) -> Result<Papers, Check> {
        let (ticket, token) = (header.ticket(), header.identifying_token());
        let of_ticket = self.look_up(ticket.as_deref(), unix);
        let of_token = self.look_up(token.as_deref(), unix);
        match (of_ticket, of_token, &self.keys) {
            (Lookup::Known(ticket), Lookup::Known(token), _) => Ok(Papers { ticket, token }),
            (_, _, None) => Ok(Papers::none()),
            (of_ticket, of_token, Some(keys)) => Err(Check {
                id,
                keys: keys.clone(),
                skew: self.skew,
                unix,
                ticket: of_ticket.or_text(ticket),
                token: of_token.or_text(token),
            }),
        }
    }

    /// Remembers what was verified.
    pub(super) fn keep(&mut self, papers: &Papers) {
        for ticket in [&papers.ticket, &papers.token].into_iter().flatten() {
            self.seen.keep(ticket);
        }
    }
}

enum Lookup {
    Known(Result<VerifiedTicket, TicketError>),
    Unknown,
}

impl Lookup {
    fn or_text(self, text: Option<alloc::borrow::Cow<'_, str>>) -> Paper {
        match self {
            Self::Known(known) => Paper::Known(known),
            Self::Unknown => Paper::Text(text.unwrap_or_default().into_owned()),
        }
    }
}

pub(super) enum TableAnswer {
    Ready(Arc<Table>),
    Waiting(WaiterId),
    Unavailable,
}

/// Tickets to be verified. That is work, so it is done where it delays no other request (HD-76).
///
/// Its `Debug` shows no ticket.
pub struct Check {
    id: ServeId,
    keys: Arc<TicketKeys>,
    skew: Duration,
    unix: i64,
    ticket: Paper,
    token: Paper,
}

enum Paper {
    Known(Result<VerifiedTicket, TicketError>),
    Text(String),
}

impl Check {
    /// Does the work. Hand the result to [`Desk::checked`](super::Desk::checked).
    pub fn run(self, rsa: &dyn Verify) -> Checked {
        let judge = |paper| match paper {
            Paper::Known(known) => known,
            Paper::Text(text) => self.keys.verify(&text, self.unix, self.skew, rsa),
        };
        Checked {
            id: self.id,
            papers: Papers {
                ticket: judge(self.ticket),
                token: judge(self.token),
            },
        }
    }

    /// Leaves the work undone, where there is nobody to do it: what was not verified counts for
    /// nothing.
    pub fn give_up(self) -> Checked {
        struct Nobody;
        impl Verify for Nobody {
            fn verify(&self, _: &PublicKey<'_>, _: Padding, _: &[u8], _: &[u8]) -> bool {
                false
            }
        }
        self.run(&Nobody)
    }

    /// The request it is about.
    pub fn id(&self) -> ServeId {
        self.id
    }
}

impl core::fmt::Debug for Check {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Check")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Tickets that were verified, or found to be none.
#[derive(Debug)]
pub struct Checked {
    pub(super) id: ServeId,
    pub(super) papers: Papers,
}

/// What a request presents.
#[derive(Clone, Debug)]
pub(super) struct Papers {
    ticket: Result<VerifiedTicket, TicketError>,
    token: Result<VerifiedTicket, TicketError>,
}

impl Papers {
    pub(super) fn none() -> Self {
        Self {
            ticket: Err(TicketError::Missing),
            token: Err(TicketError::Missing),
        }
    }

    /// Why something that was presented does not count.
    pub(super) fn worthless(&self) -> Option<TicketError> {
        let errors = [self.ticket.as_ref().err(), self.token.as_ref().err()];
        let mut errors = errors.into_iter().flatten();
        errors
            .find(|error| **error != TicketError::Missing)
            .copied()
    }

    fn caller(self, header: &Header) -> Caller {
        Caller {
            ticket: self.ticket.ok(),
            token: self.token.ok(),
            claimed_client: header.client_id(),
        }
    }
}

/// What has to be known before a request may be served.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Need {
    /// Nothing: it is served whatever is presented.
    Nothing,
    /// A valid ticket.
    Ticket,
    /// A valid ticket and the table.
    TicketAndTable,
    /// It is refused whatever is presented.
    Refused,
}

/// What T-9 asks for an action, from its registration alone (T-12).
pub(super) fn need(action: &Action, is_tabled: bool, default: Access) -> Need {
    if action.is_noauth() {
        return Need::Nothing;
    }
    match (is_tabled, action.required().is_empty(), default) {
        (true, _, _) => Need::TicketAndTable,
        (false, false, _) => Need::Ticket,
        (false, true, Access::Allow) => Need::Nothing,
        (false, true, Access::Deny) => Need::Refused,
    }
}

/// The decision, as far as it can be made without the table: T-9, steps 2, 3 and 5.
pub(super) fn decide(need: Need, action: &Action, papers: &Papers) -> Result<(), RemoteError> {
    match need {
        Need::Nothing => Ok(()),
        Need::Refused => Err(RemoteError::new(
            "authz",
            format!("Unconfigured action: {}", action.name()),
        )),
        Need::Ticket | Need::TicketAndTable => {
            let Ok(ticket) = &papers.ticket else {
                return Err(RemoteError::new(TicketError::CODE, TicketError::TEXT));
            };
            let missing = action.required().iter().find(|id| !ticket.has(**id));
            match missing {
                None => Ok(()),
                Some(id) => Err(RemoteError::new(
                    "authz",
                    format!("Missing privilege {id} for {}", action.name()),
                )),
            }
        }
    }
}

/// The rest of the decision: T-9, step 4.
pub(super) fn decide_by_table(
    table: &Table,
    action: &Action,
    papers: &Papers,
) -> Result<(), RemoteError> {
    let Ok(ticket) = &papers.ticket else {
        return Err(RemoteError::new(TicketError::CODE, TicketError::TEXT));
    };
    let checked = table.check(action.name(), ticket);
    checked.map_err(|denied| RemoteError::new("authz", format!("{denied}")))
}

/// What a request is told whose action needs the table, when there is none (T-16).
pub(super) fn no_table() -> RemoteError {
    RemoteError::new("internal", "Authorization table unavailable")
}

pub(super) fn admit(papers: Papers, header: &Header) -> Caller {
    papers.caller(header)
}
