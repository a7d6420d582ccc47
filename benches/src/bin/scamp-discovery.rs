//! What finding services costs, beside the signatures that must be verified for it.
//!
//! Prints goal and result: loading a cache of a thousand announcements with 2048-bit keys, compared
//! with the bare verifications; loading it again unchanged; the worst datagram, compared with one
//! verification (B-15); one lookup among ten thousand services; and memory. What is compared is done
//! in turns, and each figure is the median of fifteen.

use std::alloc::System;
use std::hint::black_box;
use std::time::{Duration, Instant};

use miniz_oxide::deflate::compress_to_vec_zlib;
use scamp_bench::count::discovery::{authorized, cache_file, look_up, many, read_file, same};
use scamp_proto::auth::{Padding, PublicKey, Sign, Verify};
use scamp_proto::discovery::Directory;
use scamp_proto::discovery::cache_file::Content;
use scamp_proto::discovery::datagram::Inflater;
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

    let (mut bare, mut load, mut build, mut again) = (vec![], vec![], vec![], vec![]);
    for _ in 0..REPEATS {
        let verified = time(|| verify_all(&content, &identity));
        let share = |time: Duration| time.as_secs_f64() / verified.as_secs_f64();
        let reading = time(|| copy(&file));
        let loading = time(|| {
            black_box(read_file(&file, &Content::new(), &Rsa).expect("there are services"));
        });
        load.push(share(loading.saturating_sub(reading)));
        build.push(share(time(|| {
            let all = content.instances().cloned();
            black_box(Directory::build(all, &mut |event| panic!("{event}")));
        })));
        again.push(share(time(|| {
            assert!(read_file(&file, &content, &Rsa).is_none())
        })));
        bare.push(verified.as_secs_f64());
    }
    let verified = median(bare);
    row(
        "bare verifications",
        &format!("{:.1} ms", verified * 1e3),
        "",
        true,
    );
    let (load, build, again) = (median(load), median(build), median(again) * 100.0);
    row(
        "load, less reading",
        &format!("{load:.3} x"),
        "1.15 x",
        load <= 1.15,
    );
    row("build the directory", &format!("{build:.3} x"), "", true);
    row(
        "load again unchanged",
        &format!("{again:.2} %"),
        "2 %",
        again < 2.0,
    );
    let (mut inflater, bomb) = (Inflater::new(), bomb());
    let inflating = median(
        (0..REPEATS)
            .map(|_| time(|| assert!(inflater.text(&bomb).is_err())).as_secs_f64())
            .collect(),
    );
    let bombs = inflating / (verified / content.len() as f64);
    row(
        "the worst datagram",
        &format!("{bombs:.0} x"),
        "200 x",
        bombs <= 200.0,
    );
    for (name, directory) in [
        ("lookup, each its own", many()),
        ("lookup, all the same", same()),
    ] {
        const TIMES: u32 = 100_000;
        let run = || time(|| look_up(TIMES.into(), &directory)).as_secs_f64();
        let each = median((0..REPEATS).map(|_| run()).collect()) / f64::from(TIMES) * 1e9;
        row(name, &format!("{each:.0} ns"), "300 ns", each < 300.0);
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

/// The datagram that takes longest to inflate: as long as can be, and larger than may be (B-15).
fn bomb() -> Vec<u8> {
    let mut bomb = compress_to_vec_zlib(&vec![0; 67_000_000], 9);
    bomb.truncate(65_507);
    bomb
}

/// What any reader does: takes the octets from somewhere else.
fn copy(file: &[u8]) {
    let mut room = vec![0; 65_536];
    for piece in file.chunks(room.len()) {
        room[..piece.len()].copy_from_slice(piece);
        black_box(&mut room);
    }
}

fn time(run: impl FnOnce()) -> Duration {
    let begin = Instant::now();
    run();
    begin.elapsed()
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    figures[figures.len() / 2]
}

const REPEATS: usize = 15;

fn row(name: &str, result: &str, goal: &str, is_met: bool) {
    let met = if is_met { "" } else { "missed" };
    println!("{name:<22} {result:>14} {goal:>8} {met}");
}
