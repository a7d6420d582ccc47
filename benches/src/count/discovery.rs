//! Discovery: looking up, choosing, and reading the cache file.
//!
//! Signatures are believed here without looking: what RSA costs is no matter of this crate, and
//! `scamp-discovery` compares the whole with it.

use std::hint::black_box;
use std::sync::Arc;

use scamp_proto::auth::{
    AuthorizedServices, Fingerprint, Padding, PublicKey, Sign, SignError, Verify,
};
use scamp_proto::discovery::cache_file::{Content, Reading};
use scamp_proto::discovery::{
    Description, Directory, Instance, Marks, Offer, Query, Selection, UnixTime, Unverified,
};
use scamp_proto::{Instant, Rng};

use super::Job;

/// Its jobs.
pub const JOBS: &[Job] = &[
    Job::new("lookup-10000", |n| look_up(n, &many())).goal("directory", None, Some(0.0)),
    Job::new("lookup-10000-same", |n| look_up(n, &same())).goal("directory", None, Some(0.0)),
    Job::new("lookup-alias", |n| look_up_alias(n, &many())).goal("directory", None, Some(0.0)),
    Job::new("choose-of-100", choose).goal("directory", None, Some(0.0)),
    Job::new("announcement-read", read).times(100),
    Job::new("cache-load-1000", |n| load(n, &Content::new())).times(1),
    Job::new("cache-reload-1000", |n| load(n, &content())).times(2),
];

/// Believes and signs anything.
#[derive(Clone, Copy, Debug)]
pub struct Anybody;

impl Verify for Anybody {
    fn verify(&self, _: &PublicKey<'_>, _: Padding, _: &[u8], _: &[u8]) -> bool {
        true
    }
}

impl Sign for Anybody {
    /// Another one for each message.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        Ok(Fingerprint::of(message).octets().repeat(13))
    }
}

/// A certificate with a 2048-bit key, as PEM.
pub const CERTIFICATE: &str = include_str!("../../../tests/vectors/scamp/discovery/key-js.crt");

/// Its DER.
pub fn certificate() -> Vec<u8> {
    let json = r#"[3,"x","main",1,1,"beepish+tls://192.0.2.7:1",[],[],1]"#;
    let text = format!("{json}\n\n{}\n\nAAAA\n\n", CERTIFICATE.trim_end());
    let announcement = Unverified::split(text.as_bytes()).and_then(|it| it.verify(&Anybody));
    announcement
        .expect("it has all parts")
        .certificate()
        .to_vec()
}

/// A service like those of the recordings: a dozen actions, three envelopes.
pub fn service(number: usize) -> Description {
    let uri = format!(
        "beepish+tls://10.8.{}.{}:30100",
        number / 250 % 250,
        number % 250
    );
    let identity = format!("service{number}:QUJDREVGR0hJSktMTU5PUFFS");
    let mut service = Description::new(identity, uri.parse().expect("an address"));
    service.envelopes = ["json", "jsonstore", "extdirect"]
        .map(str::to_owned)
        .to_vec();
    service.actions = (0..12)
        .map(|action| {
            let flags = ["read", "", "noauth", "update,t600"][action % 4];
            let name = format!("Area{number}.Part{}.action{action}", action / 4);
            Offer::new(&name).expect("a name").flags(flags)
        })
        .collect();
    service
}

/// A cache file of a thousand services, signed by `key`.
pub fn cache_file(certificate: &[u8], key: &dyn Sign) -> Vec<u8> {
    let mut file = Vec::new();
    for number in 0..1000 {
        let time = UnixTime::from_micros(1_700_000_000_000_000);
        let text = service(number)
            .sign(time, certificate, key)
            .expect("it can be announced");
        file.extend_from_slice(b"\n%%%\n");
        file.extend_from_slice(&text);
    }
    file
}

/// Reads a whole file, as if it were read in pieces.
pub fn read_file(file: &[u8], before: &Content, verify: &dyn Verify) -> Option<Content> {
    let mut reading = Reading::new(before);
    let mut rest = file;
    while !rest.is_empty() {
        let room = reading.room();
        let len = room.len().min(rest.len());
        let (first, after) = rest.split_at(len);
        room[..len].copy_from_slice(first);
        reading.filled(len);
        rest = after;
    }
    reading.finish(verify, false, &mut |event| panic!("{event}"))
}

/// Ten thousand services with twelve actions each, no two of which have one in common.
pub fn many() -> Directory {
    directory((0..10_000).map(service))
}

/// Ten thousand instances of one service.
pub fn same() -> Directory {
    directory((0..10_000).map(|number| Description {
        identity: format!("instance {number}"),
        ..service(5000)
    }))
}

fn directory(services: impl Iterator<Item = Description>) -> Directory {
    let fingerprint = Fingerprint::of(b"a certificate");
    let instances = services.map(|service| {
        let instance = Instance::fixed(&service, fingerprint, None);
        Arc::new(instance.expect("it can be announced"))
    });
    Directory::build(instances, &mut |event| panic!("{event}"))
}

/// A list in which the services' certificate is one of some.
pub fn authorized() -> AuthorizedServices {
    let line = |name: String| format!("{} main:ALL\n", Fingerprint::of(name.as_bytes()));
    let lines: String = (0..100).map(|n| line(n.to_string())).collect();
    let text = lines + &line("a certificate".to_owned());
    AuthorizedServices::parse(text.as_bytes(), &mut |event| panic!("{event}"))
}

/// Looks something up that is there, and takes the first candidate.
pub fn look_up(times: u64, directory: &Directory) {
    let authorized = authorized();
    let query = Query::new("main", "Area5000.Part1.action5");
    for _ in 0..times {
        let mut found = directory
            .lookup(black_box(&query), &authorized)
            .expect("it is there");
        black_box(found.next().expect("at least one"));
    }
}

fn look_up_alias(times: u64, directory: &Directory) {
    let authorized = authorized();
    let query = Query::new("main", "area5000.part1._read");
    for _ in 0..times {
        let mut found = directory
            .lookup(black_box(&query), &authorized)
            .expect("it is there");
        black_box(found.next().expect("at least one"));
    }
}

fn choose(times: u64) {
    let directory = directory((0..100).map(|number| Description {
        identity: format!("instance {number}"),
        ..service(5000)
    }));
    let authorized = authorized();
    let query = Query::new("main", "Area5000.Part1.action5");
    let mut marks = Marks::new();
    marks.failed(&directory.instances()[7], Instant::EPOCH);
    let mut rng = Rng::new(1);
    for _ in 0..times {
        let found = directory
            .lookup(black_box(&query), &authorized)
            .expect("it is there");
        let chosen = Selection::Weighted.choose(found, &marks, |_| 0, &mut rng, Instant::EPOCH);
        black_box(chosen.expect("one of them"));
    }
}

fn read(times: u64) {
    let time = UnixTime::from_micros(1_700_000_000_000_000);
    let text = service(1)
        .sign(time, &certificate(), &Anybody)
        .expect("it can be announced");
    for _ in 0..times {
        let unverified = Unverified::split(black_box(&text)).expect("it has all parts");
        black_box(unverified.verify(&Anybody).expect("it is an announcement"));
    }
}

fn load(times: u64, before: &Content) {
    let file = cache_file(&certificate(), &Anybody);
    for _ in 0..times {
        black_box(read_file(black_box(&file), before, &Anybody));
    }
}

fn content() -> Content {
    let file = cache_file(&certificate(), &Anybody);
    read_file(&file, &Content::new(), &Anybody).expect("there are services")
}
