//! What the machines do, one by one.

mod client;
mod router;
mod server;
mod station;

use core::time::Duration;
use std::vec::Vec;

use super::*;
use crate::{Duplex, Instant, Outbox};

/// The moment so many milliseconds after the beginning.
fn at(millis: u64) -> Instant {
    Instant::EPOCH + Duration::from_millis(millis)
}

fn id(number: u8) -> PeerId {
    PeerId::from_octets([number; 16])
}

fn frame(to: PeerId, topic: u16, body: &[u8]) -> Frame {
    Frame::message(to, TopicId(topic), &[body]).unwrap()
}

/// A frame's octets.
fn wire(frame: Frame) -> Vec<u8> {
    let mut out = Outbox::default();
    frame.encode(&mut out);
    out.take_all()
}

/// Everything a machine sends now.
fn sent(machine: &mut impl Duplex, now: Instant) -> Vec<u8> {
    let mut out = Outbox::default();
    while machine.poll_transmit(now, &mut out).is_some() {}
    out.take_all()
}

/// The contents of a stream of frames.
fn contents(stream: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Frames::new(65_535);
    let mut input = stream;
    let mut all = Vec::new();
    while let Some(content) = frames.cut(&mut input).unwrap() {
        all.push(content.into_owned());
    }
    assert!(!frames.is_inside(), "only whole frames are sent");
    all
}
