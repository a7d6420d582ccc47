//! Requests to the actions that serve them.
//!
//! [`Actions`] is what a service offers, a table from names to whatever its adapter calls. A
//! [`Desk`] stands at one connection: it takes its session's events, refuses what must be refused
//! in the order of V-6, collects the bodies of actions that want them whole, and hands out
//! [`Job`]s. It starts no handler; that is the adapter's part.
//!
//! ```text
//!  Session ──Event::Request──> Desk ──no such action, wrong envelope, too many──> error reply
//!                               │
//!                               ├──streaming action────────────────> Job { body: Stream }
//!                               └──other: body complete────────────> Job { body: Whole }
//! ```
//!
//! # Example
//!
//! ```
//! use scamp_proto::service::{Action, Actions};
//!
//! let mut actions = Actions::default();
//! actions.insert(Action::parse("Greetings.hello~2")?, "the handler")?;
//! let found = actions.find("greetings.HELLO", 2, "json").map(|(_, handler)| *handler);
//! assert_eq!(found, Ok("the handler"));
//! let missing = actions.find("Greetings.hello", 1, "json").map_err(|error| error.code);
//! assert_eq!(missing, Err("no_action".to_string()));
//! # Ok::<(), scamp_proto::service::ActionError>(())
//! ```

mod action;
mod desk;
mod limits;

pub use action::{Action, ActionError, Actions, IntoAction};
pub use desk::{Desk, Job, JobBody, Step};
pub use limits::Limits;
