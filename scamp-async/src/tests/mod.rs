//! Two ends in one thread, on streams that misbehave and a clock that nobody waits for.

#![allow(clippy::unwrap_used)]

mod cancel;
mod drive;
mod sim;
mod waits;
