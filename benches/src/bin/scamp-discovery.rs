//! What finding services costs, beside the signatures that must be verified for it.
//!
//! Prints goal and result: loading a cache of a thousand announcements with 2048-bit keys, compared
//! with the bare verifications; loading it again unchanged; one lookup among ten thousand services;
//! and memory. Each figure is the median of eleven runs; needs `--features tls`.

use std::alloc::System;
use std::hint::black_box;
use std::time::{Duration, Instant};

use scamp_bench::count::discovery::{authorized, cache_file, look_up, many, read_file, same};
use scamp_proto::auth::{Padding, PublicKey, Sign, Verify};
use scamp_proto::discovery::Directory;
use scamp_proto::discovery::cache_file::Content;
use scamp_tls::{Identity, Rsa};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() {
    let key = include_str!("../../../tests/vectors/scamp/discovery/key-js.key");
    let certificate = scamp_bench::count::discovery::CERTIFICATE;
    let identity = Identity::from_pem(certificate, key).expect("a certificate and its key");
    let file = cache_file(identity.certificate(), &identity);

    let held = |from: &stats_alloc::Stats| {
        let now = ALLOCATOR.stats() - *from;
        now.bytes_allocated as f64 - now.bytes_deallocated as f64
    };
    let before = ALLOCATOR.stats();
    let content = read_file(&file, &Content::new(), &Rsa).expect("there are services");
    let directory = Directory::build(content.instances().cloned(), &mut |event| panic!("{event}"));
    let memory = held(&before) / file.len() as f64;
    println!("{} octets in {} records", file.len(), content.len());

    let bare = median(|| verify_all(&content, &identity));
    let load = median(|| {
        let content = read_file(&file, &Content::new(), &Rsa).expect("there are services");
        black_box(Directory::build(
            content.instances().cloned(),
            &mut |event| panic!("{event}"),
        ));
    });
    let again = median(|| assert!(read_file(&file, &content, &Rsa).is_none()));
    row("bare verifications", &format!("{bare:?}"), "", true);
    let share = |time: Duration| time.as_secs_f64() / bare.as_secs_f64();
    row(
        "load, verify, build",
        &format!("{:.3} x", share(load)),
        "1.15 x",
        share(load) <= 1.15,
    );
    let percent = share(again) * 100.0;
    row(
        "load again unchanged",
        &format!("{percent:.2} %"),
        "2 %",
        percent < 2.0,
    );
    for (name, directory) in [
        ("lookup, each its own", many()),
        ("lookup, all the same", same()),
    ] {
        const TIMES: u32 = 100_000;
        let time = median(|| look_up(TIMES.into(), &directory)) / TIMES;
        row(
            name,
            &format!("{time:?}"),
            "300ns",
            time < Duration::from_nanos(300),
        );
    }
    row(
        "memory by text",
        &format!("{memory:.2} x"),
        "4 x",
        memory < 4.0,
    );
    black_box((directory, authorized()));
}

/// Verifies what a load must verify, and nothing else.
fn verify_all(content: &Content, identity: &Identity) {
    let key = PublicKey::of_certificate(identity.certificate()).expect("it has one");
    // The signature is of another text; verifying it takes as long.
    let signature = identity.sign(b"a text").expect("an RSA key");
    for instance in content.instances() {
        let text = instance.announcement().expect("announced").text();
        let json = text.split("\n\n").next().unwrap_or_default();
        black_box(Rsa.verify(&key, Padding::Pkcs1, json.as_bytes(), &signature));
    }
}

fn median(mut run: impl FnMut()) -> Duration {
    let mut times: Vec<_> = (0..11)
        .map(|_| {
            let begin = Instant::now();
            run();
            begin.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[times.len() / 2]
}

fn row(name: &str, result: &str, goal: &str, is_met: bool) {
    let met = if is_met { "" } else { "missed" };
    println!("{name:<22} {result:>14} {goal:>8} {met}");
}
