//! Placeholder
use crate::{Duplex, End, Instant, Outbox};
/// x
#[derive(Debug)]
pub struct Personality;
/// x
#[derive(Debug)]
pub enum Habit {}
impl Duplex for Personality {
    fn receive(&mut self, _: Instant, _: &[u8]) {}
    fn receive_end(&mut self, _: Instant, _: End) {}
    fn wants_read(&self) -> bool {
        false
    }
    fn poll_transmit(&mut self, _: Instant, _: &mut Outbox) -> Option<usize> {
        None
    }
    fn poll_timeout(&self) -> Option<Instant> {
        None
    }
    fn handle_timeout(&mut self, _: Instant) {}
    fn is_drained(&self) -> bool {
        true
    }
}
