//! Requests to the actions that serve them.
//!
//! [`Actions`] is what a service offers, a table from names to whatever its adapter calls. A
//! [`Desk`] stands at one connection: it takes its session's events, refuses what must be refused
//! in the order of V-6, collects the bodies of actions that want them whole, and hands out
//! [`Job`]s. It starts no handler; that is the adapter's part. What the connections of a service
//! share, their [`House`], holds the [`Guard`] that knows tickets and the authorization table.
//!
//! ```text
//!  Session ──Event::Request──> Desk ──too many, no such action, wrong envelope──> error reply
//!                               │
//!                               ├──tickets never seen──> Check ──elsewhere──> checked()
//!                               ├──no table──> FetchTable ──elsewhere──> resume(), poll()
//!                               ├──not allowed───────────────────────────────> error reply
//!                               │
//!                               ├──streaming action────────────────> Job { body: Stream }
//!                               └──other: body complete────────────> Job { body: Whole }
//! ```
//!
//! # Rules
//!
//! * **Refused unless allowed.** An action is for everybody if it is
//!   [`noauth`](Action::noauth), for those it [`requires`](Action::requires) and those the table
//!   names, and for nobody otherwise, unless [`Access::Allow`] says so in code (T-9).
//! * **Only the registration counts.** Nothing that others announce, and nothing in a request but
//!   its tickets, opens an action (T-12, N-26).
//! * **Verifying delays nobody**: it is done elsewhere (HD-76).
//!
//! # Example
//!
//! ```
//! use scamp_proto::service::{Action, Actions};
//!
//! let mut actions = Actions::default();
//! actions.insert(Action::parse("Greetings.hello~2")?.noauth(), "the handler")?;
//! let found = actions.get("greetings.HELLO", 2).map(Action::name);
//! assert_eq!(found, Some("Greetings.hello"));
//! assert!(actions.get("Greetings.hello", 1).is_none());
//! # Ok::<(), scamp_proto::service::ActionError>(())
//! ```

mod access;
mod action;
mod builtin;
mod desk;
mod lifecycle;
mod limits;
mod name;
mod notes;
#[cfg(feature = "discovery")]
mod offer;
mod stats;

pub use access::{Access, Caller, Check, Checked, Guard};
pub use action::{Action, ActionError, Actions, IntoAction};
pub use desk::{Desk, House, Job, JobBody, Step};
pub use lifecycle::{Lifecycle, Order};
pub use limits::Limits;
pub use name::{Name, NameError, Ports, running_file_name};
pub use notes::{Occurrence, ServiceNote};
pub use stats::Stats;

#[cfg(test)]
mod tests;
