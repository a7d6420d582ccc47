//! What MessagePasser costs in memory, counted by the allocator.

use std::alloc::System;

use bytes::{Buf, Bytes};
use scamp_proto::mp::{
    Data, DecodeLimits, Decoder, Encoder, Encoding, Message, Meta, Router, RouterEvent,
    ServerConfig, Session, SessionId,
};
use scamp_proto::{Duplex, Instant, Outbox};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// All counts in one test: the allocator counts for the whole process.
#[test]
fn memory_is_what_it_should_be() {
    claims_cost_nothing();
    white_space_costs_nothing();
    long_payloads_are_copied_once();
    idle_sessions_are_small();
    departed_sessions_leave_nothing();
}

/// Octets held more than at the beginning of the region.
fn held(region: &Region<'_, System>) -> isize {
    let change = region.change();
    change.bytes_allocated as isize - change.bytes_deallocated as isize
}

/// MP-15, MP-39: memory comes with octets, not with what they claim.
fn claims_cost_nothing() {
    let region = Region::new(ALLOCATOR);
    let mut decoder = Decoder::new(Encoding::Gob, DecodeLimits::default());
    // A block of nearly 16 MiB.
    let mut claim = &b"\xfd\xff\x00\x00"[..];
    assert_eq!(decoder.decode(&mut claim), Ok(None));
    assert!(held(&region) < 1024, "{}", held(&region));
    for _ in 0..1000 {
        assert_eq!(decoder.decode(&mut &b"\xff"[..]), Ok(None));
    }
    assert!(region.change().bytes_allocated < 8192);
}

/// MP-17: white space between values is consumed as it comes.
fn white_space_costs_nothing() {
    let region = Region::new(ALLOCATOR);
    let mut decoder = Decoder::new(Encoding::Json, DecodeLimits::default());
    for _ in 0..1000 {
        let mut blank = &[b' '; 16_384][..];
        assert_eq!(decoder.decode(&mut blank), Ok(None));
    }
    assert!(decoder.is_between());
    assert_eq!(decoder.offset(), 16_384_000);
    assert_eq!(region.change().bytes_allocated, 0);
}

/// MP-135: a payload of 64 KiB in gob is copied once on its way in, and lent on its way out.
fn long_payloads_are_copied_once() {
    let mut out = Outbox::default();
    let payload = Data::Octets(Bytes::from(vec![7; 65_536]));
    let message = Message::new(Meta::NONE, "bob", "al:0", payload);
    Encoder::new(Encoding::Gob).encode(&message, &mut out);
    let octets = out.take_all();

    let region = Region::new(ALLOCATOR);
    let mut decoder = Decoder::new(Encoding::Gob, DecodeLimits::default());
    let mut message = None;
    for mut piece in octets.chunks(16_384) {
        message = decoder.decode(&mut piece).expect("valid");
    }
    let message = message.expect("whole");
    // It grows as it arrives: by doubling, so at most twice its size passes through memory.
    let moved = region.change().bytes_allocated;
    assert!(moved < 3 * 65_536, "{moved}");

    let region = Region::new(ALLOCATOR);
    let mut out = Outbox::default();
    Encoder::new(Encoding::Gob).encode(&message, &mut out);
    assert!(out.remaining() > 65_536);
    assert!(region.change().bytes_allocated < 2048);
}

fn sign_in(router: &mut Router, session: &mut Session, id: SessionId, name: usize) {
    let now = Instant::EPOCH;
    session.receive(
        now,
        format!("{{\"Meta\":8,\"OtherClient\":\"n{name}\"}}").as_bytes(),
    );
    while let Some(value) = session.poll_router() {
        router.handle(now, id, value);
    }
    let Some(RouterEvent::Verify { .. }) = router.poll_event() else {
        panic!("nobody signs in");
    };
    router.verdict(now, id, Ok(()));
    while let Some((_, value)) = router.poll() {
        session.from_router(now, value);
    }
    while router.poll_event().is_some() {}
    let mut out = Outbox::default();
    while session.poll_transmit(now, &mut out).is_some() {
        out.clear();
    }
}

/// Issue 5's budget: an idle client costs a server less than 2 KiB beside its socket, of which a
/// driver needs some.
fn idle_sessions_are_small() {
    let config = ServerConfig::default();
    let mut router = Router::new(config.clone());
    let mut sessions = Vec::with_capacity(1000);
    let region = Region::new(ALLOCATOR);
    for name in 0..1000 {
        let id = router.add(None);
        let mut session = Session::new(&config, Instant::EPOCH);
        sign_in(&mut router, &mut session, id, name);
        sessions.push(session);
    }
    let each = held(&region) / 1000 + size_of::<Session>() as isize;
    println!("{each} octets for an idle session");
    assert!(each < 1280, "{each}");
}

/// MP-71, MP-139, defect 1: after many sign-ins and departures under one name the router is what it
/// was.
fn departed_sessions_leave_nothing() {
    let now = Instant::EPOCH;
    let config = ServerConfig::default();
    let mut router = Router::new(config.clone());
    let turn = |router: &mut Router| {
        let id = router.add(None);
        let mut session = Session::new(&config, now);
        sign_in(router, &mut session, id, 7);
        session.receive_end(now, scamp_proto::End::Eof);
        while let Some(value) = session.poll_router() {
            router.handle(now, id, value);
        }
        while router.poll_event().is_some() || router.poll().is_some() {}
    };
    (0..10).for_each(|_| turn(&mut router));
    let region = Region::new(ALLOCATOR);
    (0..1000).for_each(|_| turn(&mut router));
    assert!(held(&region).abs() < 1024, "{}", held(&region));
}
