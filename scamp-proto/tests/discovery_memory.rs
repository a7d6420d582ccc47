//! How much memory announcements and datagrams take, counted by the allocator.

use std::alloc::System;
use std::cell::Cell;

use scamp_proto::auth::{AuthorizedServices, Fingerprint, Padding, PublicKey, Verify};
use scamp_proto::discovery::cache_file::{Content, Reading};
use scamp_proto::discovery::datagram::{Inflater, most};
use scamp_proto::discovery::{
    AnnouncementError, DatagramError, Description, Directory, Instance, Offer, Query, Unverified,
};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

struct Answer(bool);

impl Verify for Answer {
    fn verify(&self, _: &PublicKey<'_>, _: Padding, _: &[u8], _: &[u8]) -> bool {
        self.0
    }
}

/// Octets asked for while something runs.
fn spent<T>(run: impl FnOnce() -> T) -> (usize, T) {
    let before = ALLOCATOR.stats();
    let result = run();
    ((ALLOCATOR.stats() - before).bytes_allocated, result)
}

/// One test, because a second one in another thread would be counted with it.
#[test]
fn memory() {
    claims();
    bombs();
    lookups();
    cache_files();
}

/// B-14, N-29: a text that claims gigabytes is refused within 64 KiB, unsigned and signed.
fn claims() {
    let e13 = include_str!("data/e13.txt");
    let rest = e13.split_once("\n\n").expect("two parts").1;
    for count in ["100001", "1000000000", "4294967295", "99999999999999999999"] {
        for field in [
            "acname", "acns", "acsec", "acenv", "acver", "acflag", "accompat",
        ] {
            let value = if ["acver", "accompat"].contains(&field) {
                "1"
            } else {
                "\"x\""
            };
            let columns = ["acname", "acns", "acsec", "acenv"].map(|name| match name == field {
                true => String::new(),
                false => format!("\"{name}\":[\"a\"],"),
            });
            let json = format!(
                "[3,\"x\",\"m\",1,1,\"beepish+tls://192.0.2.7:1\",[{{{}\"{field}\":[[{count},{value}]]}}],[],1]",
                columns.concat()
            );
            let text = format!("{json}\n\n{rest}");
            for answer in [false, true] {
                let read = || Unverified::split(text.as_bytes())?.verify(&Answer(answer));
                let (octets, result) = spent(read);
                let error = result.map(|_| ()).expect_err("a claim");
                assert_eq!(error == AnnouncementError::WrongSignature, !answer);
                assert!(octets <= 64 * 1024, "{octets} for {json}");
            }
        }
    }
}

/// B-15, HD-33, G-10: the worst datagram there is touches 4.2 MB at most, and others 64 times their
/// size.
fn bombs() {
    for zeros in [1_500_000, 67_000_000] {
        let bomb = miniz_oxide::deflate::compress_to_vec_zlib(&vec![0; zeros], 9);
        let bomb = &bomb[..bomb.len().min(65_507)];
        let (octets, result) = spent(|| Inflater::new().text(bomb).map(<[u8]>::len));
        assert_eq!(result, Err(DatagramError::Bomb(most(bomb.len()))));
        // The inflater's own state takes some ten thousand octets.
        assert!(octets <= most(bomb.len()) + 16_384, "{octets}");
        assert!(octets <= 4_220_000, "{octets}");
    }
}

/// D-43: looking up allocates nothing, found or not.
fn lookups() {
    let instances = (0..1000).map(|number| {
        let uri = "beepish+tls://192.0.2.7:1".parse().expect("an address");
        let mut service = Description::new(format!("service {number}"), uri);
        let name = format!("Area{}.action", number % 100);
        service
            .actions
            .push(Offer::new(&name).expect("a name").flags("read"));
        let instance = Instance::fixed(&service, Fingerprint::of(b"x"), None);
        instance.expect("it can be announced").into()
    });
    let directory = Directory::build(instances, &mut |event| panic!("{event}"));
    for authorized in [AuthorizedServices::allow_all(), AuthorizedServices::none()] {
        for action in ["Area7.action", "area7._read", "Area100.action", "nodot"] {
            for instance in [None, Some("service 7"), Some("nobody")] {
                let query = Query {
                    instance,
                    ..Query::new("main", action)
                };
                let (octets, _) =
                    spent(|| directory.lookup(&query, &authorized).map(Iterator::count));
                assert_eq!(octets, 0, "{query:?}");
            }
        }
    }
}

/// HD-40, N-57: reading a cache file of some MiB takes no more than twice its size at any time,
/// together with what is kept of it; so does reading it again, with each record changed, beside what is
/// kept of the last. An index of its actions is not part of that.
fn cache_files() {
    let rest = include_str!("data/e13.txt")
        .split_once("\n\n")
        .expect("two parts")
        .1;
    let actions = (0..40).map(|n| format!("[\"action{n}\",\"read,t30\",2]"));
    let actions = actions.collect::<Vec<_>>().join(",");
    let file = |time: u32| -> Vec<u8> {
        let record = |n: u32| {
            format!(
                "\n%%%\n[3,\"service:{n}\",\"main\",1,5000,\"beepish+tls://192.0.2.7:1\",[\"json\"],\
                 [[\"Area{n}\",{actions}]],{time}]\n\n{rest}"
            )
        };
        (0..1500).flat_map(|n| record(n).into_bytes()).collect()
    };
    let (first, second) = (file(1), file(2));
    assert!(first.len() > 3 << 20, "{}", first.len());
    let mut content = Content::new();
    for file in [&first, &second] {
        let peak = Peak::from_here();
        let mut reading = Reading::new(&content);
        let mut left = &file[..];
        while !left.is_empty() {
            let room = reading.room();
            let len = left.len().min(room.len());
            room[..len].copy_from_slice(&left[..len]);
            reading.filled(len);
            left = &left[len..];
            peak.look();
        }
        let new = reading.finish(&peak, false, &mut |event| panic!("{event}"));
        peak.look();
        let new = new.expect("it has changed");
        assert_eq!(new.instances().count(), 1500);
        let (octets, most) = (file.len(), peak.most.get());
        assert!(most <= 2 * octets, "{most} for a file of {octets}");
        content = new;
    }
}

/// The most octets in use at the moments when it looks, beyond those in use at its beginning.
struct Peak {
    begin: usize,
    most: Cell<usize>,
}

impl Peak {
    fn from_here() -> Self {
        let most = Cell::new(0);
        Self {
            begin: in_use(),
            most,
        }
    }

    fn look(&self) {
        let now = in_use().saturating_sub(self.begin);
        self.most.set(self.most.get().max(now));
    }
}

/// In the middle of each record.
impl Verify for Peak {
    fn verify(&self, _: &PublicKey<'_>, _: Padding, _: &[u8], _: &[u8]) -> bool {
        self.look();
        true
    }
}

fn in_use() -> usize {
    let stats = ALLOCATOR.stats();
    stats
        .bytes_allocated
        .saturating_sub(stats.bytes_deallocated)
}
