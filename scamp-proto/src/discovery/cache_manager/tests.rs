//! Datagrams, files and peers, in virtual time.

use std::{format, vec};

use super::*;
use crate::discovery::datagram::compress;
use crate::discovery::tests::{Toy, certificate, sign, text_of};
use crate::discovery::{Description, Offer};

const FROM: &str = "192.0.2.9";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn seconds(seconds: u64) -> Instant {
    Instant::from_epoch(Duration::from_secs(seconds))
}

fn service(identity: &str, host: &str, weight: u32, time: i64) -> Bytes {
    let uri = format!("beepish+tls://{host}:30100").parse().unwrap();
    let mut service = Description::new(identity, uri);
    service.weight = weight;
    service.actions.push(Offer::new("A.b").unwrap());
    service
        .actions
        .push(Offer::new("A.c").unwrap().sector("web"));
    compress(sign(&service, time * 1_000_000).text().as_bytes()).unwrap()
}

fn listed() -> Arc<AuthorizedServices> {
    let line = format!("{} main:ALL\n", Fingerprint::of(&certificate()));
    Arc::new(AuthorizedServices::parse(line.as_bytes(), &mut |event| {
        panic!("{event}")
    }))
}

fn manager(settings: Settings) -> CacheManager {
    let mut manager = CacheManager::new(seconds(0), settings, 7);
    manager.set_authorized(listed());
    manager
}

fn settle(manager: &mut CacheManager, now: Instant) {
    let wall = UnixTime::default();
    while let Some(pending) = manager.poll_pending(now, wall) {
        manager.checked(now, wall, pending.verify(&Toy, false));
    }
}

fn hear(manager: &mut CacheManager, now: Instant, datagram: &[u8]) {
    manager.receive(now, ip(FROM), Via::Multicast, datagram);
    settle(manager, now);
}

fn commands(manager: &mut CacheManager, now: Instant) -> Vec<Command> {
    let mut all = Vec::new();
    while let Some(command) = manager.poll_command(now) {
        if matches!(command, Command::Write(_) | Command::Touch) {
            manager.written(now, Ok(()));
        }
        all.push(command);
    }
    all
}

/// What is written next, as identities.
fn written(commands: &[Command]) -> Vec<Vec<String>> {
    let write = |command: &Command| match command {
        Command::Write(octets) => {
            let before = super::super::cache_file::Content::new();
            let mut reading = super::super::cache_file::Reading::new(&before);
            reading.feed(octets);
            let content = reading.finish(&Toy, false, &mut |event| panic!("{event}"));
            let content = content.unwrap_or_default();
            Some(
                content
                    .instances()
                    .map(|it| it.identity().to_string())
                    .collect(),
            )
        }
        _ => None,
    };
    commands.iter().filter_map(write).collect()
}

/// D-22, D-24, D-33, D-34: what is heard is written, once a second; what is not heard any more or
/// withdraws is not; without change the file is touched.
#[test]
fn the_file_has_what_is_heard() {
    let mut manager = manager(Settings::default());
    let none = Vec::<Vec<String>>::new();
    assert_eq!(
        written(&commands(&mut manager, seconds(0))),
        [Vec::<String>::new()]
    );
    hear(&mut manager, seconds(1), &service("b", "192.0.2.7", 1, 1));
    assert_eq!(written(&commands(&mut manager, seconds(1))), [["b"]]);
    hear(&mut manager, seconds(1), &service("a", "192.0.2.7", 1, 1));
    assert_eq!(written(&commands(&mut manager, seconds(1))), none);
    assert_eq!(manager.poll_timeout(), Some(seconds(2)));
    assert_eq!(written(&commands(&mut manager, seconds(2))), [["a", "b"]]);
    // Known datagrams change nothing.
    for now in 3..8 {
        hear(&mut manager, seconds(now), &service("a", "192.0.2.7", 1, 1));
        assert_eq!(written(&commands(&mut manager, seconds(now))), none);
    }
    assert_eq!(
        (manager.stats().refreshed, manager.stats().verified),
        (5, 2)
    );
    hear(&mut manager, seconds(8), &service("a", "192.0.2.7", 0, 2));
    assert_eq!(written(&commands(&mut manager, seconds(8))), [["b"]]);
    let end = manager.registry.poll_timeout().unwrap();
    manager.handle_timeout(end);
    assert_eq!(
        written(&commands(&mut manager, end)),
        [Vec::<String>::new()]
    );
    // The same content again is not written again.
    manager.set_authorized(listed());
    let later = end + Duration::from_secs(5);
    assert_eq!(written(&commands(&mut manager, later)), none);
    let later = later + Duration::from_secs(60);
    assert!(commands(&mut manager, later).contains(&Command::Touch));
}

/// D-34: a restart listens before it writes, and then writes all it heard.
#[test]
fn a_restart_listens_first() {
    let existing_age = Some(Duration::from_secs(30));
    let mut manager = manager(Settings {
        existing_age,
        ..Settings::default()
    });
    hear(&mut manager, seconds(3), &service("a", "192.0.2.7", 1, 1));
    assert!(written(&commands(&mut manager, seconds(9))).is_empty());
    hear(&mut manager, seconds(9), &service("b", "192.0.2.7", 1, 1));
    assert_eq!(written(&commands(&mut manager, seconds(10))), [["a", "b"]]);
}

/// HD-35, D-42, G-10: an unlisted certificate costs no verification, is not written, and goes
/// when it is taken off the list; `cache_unlisted` keeps it.
#[test]
fn unlisted_certificates() {
    let mut manager = manager(Settings::default());
    commands(&mut manager, seconds(0));
    hear(&mut manager, seconds(0), &service("a", "192.0.2.7", 1, 1));
    manager.set_authorized(Arc::new(AuthorizedServices::none()));
    assert_eq!(
        written(&commands(&mut manager, seconds(2))),
        [] as [Vec<String>; 0]
    );
    manager.receive(
        seconds(3),
        ip(FROM),
        Via::Multicast,
        &service("b", "192.0.2.7", 1, 1),
    );
    assert!(
        manager
            .poll_pending(seconds(3), UnixTime::default())
            .is_none()
    );
    assert_eq!(
        (manager.stats().unlisted, manager.instances().count()),
        (1, 1)
    );
    let mut open = CacheManager::new(
        seconds(0),
        Settings {
            cache_unlisted: true,
            ..Settings::default()
        },
        1,
    );
    hear(&mut open, seconds(0), &service("b", "192.0.2.7", 1, 1));
    open.handle_timeout(seconds(0));
    open.set_authorized(Arc::new(AuthorizedServices::none()));
    assert_eq!(written(&commands(&mut open, seconds(1))), [["b"]]);
}

/// D-26, N-43, X-57: plain, compressed and prefixed datagrams are one announcement.
#[test]
fn datagrams_of_all_kinds() {
    let text = text_of(r#"[3,"a","main",1,5000,"beepish+tls://192.0.2.7:1",["json"],[],1]"#);
    let packed = compress(text.as_bytes()).unwrap();
    let with = |octet: u8, rest: &[u8]| [&[octet], rest].concat();
    for datagram in [
        text.clone().into_bytes(),
        packed.to_vec(),
        with(b'R', &packed),
        with(b'D', text.as_bytes()),
        [&packed[..], b"trailing"].concat(),
    ] {
        let mut manager = manager(Settings::default());
        hear(&mut manager, seconds(0), &datagram);
        assert_eq!(manager.instances().count(), 1);
    }
    let mut bad = manager(Settings::default());
    for datagram in [&b""[..], b"R", b"x", &packed[..40], &with(b'X', &packed)] {
        hear(&mut bad, seconds(0), datagram);
    }
    assert_eq!((bad.stats().bad, bad.instances().count()), (5, 0));
}

/// D-37, D-38, D-39: peers are greeted; what they relay waits a little, and not if multicast was
/// quicker.
#[test]
fn peers() {
    let mut manager = manager(Settings {
        seed_hosts: vec![ip("198.51.100.1")],
        ..Settings::default()
    });
    let all = commands(&mut manager, seconds(0));
    assert!(all.contains(&Command::Send(ip("198.51.100.1"), "X".into())));
    let peer = ip("198.51.100.2");
    manager.receive(seconds(0), peer, Via::Peering, b"X");
    manager.receive(
        seconds(0),
        peer,
        Via::Peering,
        &service("a", "192.0.2.7", 1, 1),
    );
    let due = manager.poll_timeout().unwrap();
    assert!(
        (200..=500).contains(&due.since_epoch().as_millis()),
        "{due:?}"
    );
    settle(
        &mut manager,
        Instant::from_epoch(Duration::from_millis(199)),
    );
    assert_eq!(manager.instances().count(), 0);
    settle(&mut manager, due);
    assert_eq!(
        (manager.instances().count(), manager.stats().verified),
        (1, 1)
    );
    // Relayed once more while multicast brings it.
    manager.receive(
        seconds(1),
        peer,
        Via::Peering,
        &service("b", "192.0.2.7", 1, 1),
    );
    hear(&mut manager, seconds(1), &service("b", "192.0.2.7", 1, 1));
    settle(&mut manager, seconds(2));
    assert_eq!(
        (manager.instances().count(), manager.stats().verified),
        (2, 2)
    );
    let all = commands(&mut manager, seconds(10));
    assert!(all.contains(&Command::Send(peer, "X198.51.100.2".into())));
    assert_eq!(
        manager.stats().relayed,
        0,
        "what came by peering is never relayed"
    );
}

/// D-40: what multicast brings of services of ours is relayed as it is to the hosts seen; that of
/// others, and of loopback, is not.
#[test]
fn relaying() {
    let mut manager = manager(Settings {
        own_addresses: vec![ip("192.0.2.7"), ip("127.0.0.1")],
        ..Settings::default()
    });
    commands(&mut manager, seconds(0));
    let peer = ip("198.51.100.2");
    manager.receive(seconds(1), peer, Via::Peering, b"X");
    let sent = |manager: &mut CacheManager, now, datagram: &Bytes| {
        hear(manager, now, datagram);
        let all = commands(manager, now);
        all.contains(&Command::Send(peer, datagram.clone()))
    };
    let ours = service("ours", "192.0.2.7", 1, 1);
    assert!(sent(&mut manager, seconds(1), &ours));
    assert!(sent(&mut manager, seconds(2), &ours), "a refresh, too");
    assert!(sent(
        &mut manager,
        seconds(2),
        &service("ours", "192.0.2.7", 0, 2)
    ));
    assert!(!sent(&mut manager, seconds(2), &ours), "but no replay");
    assert!(!sent(
        &mut manager,
        seconds(3),
        &service("theirs", "192.0.2.8", 1, 1)
    ));
    assert!(!sent(
        &mut manager,
        seconds(3),
        &service("local", "127.0.0.1", 1, 1)
    ));
    manager.receive(
        seconds(3),
        peer,
        Via::Peering,
        &service("ours", "192.0.2.7", 1, 9),
    );
    settle(&mut manager, seconds(4));
    assert_eq!(manager.stats().relayed, 3);
}

/// D-41: for development, services of this host are listed by themselves.
#[test]
fn local_services_are_listed() {
    let mut manager = CacheManager::new(
        seconds(0),
        Settings {
            auth_localhost: true,
            ..Settings::default()
        },
        1,
    );
    manager.receive(
        seconds(0),
        ip(FROM),
        Via::Multicast,
        &service("far", "192.0.2.7", 1, 1),
    );
    manager.receive(
        seconds(0),
        ip("127.0.0.1"),
        Via::Multicast,
        &service("near", "127.0.0.1", 1, 1),
    );
    settle(&mut manager, seconds(0));
    let all = commands(&mut manager, seconds(1));
    let fingerprint = Fingerprint::of(&certificate());
    let text = format!(
        "# Written by the cache manager (discovery.auth_localhost).\n{fingerprint}\tmain:ALL, web:ALL\n"
    );
    assert!(
        all.contains(&Command::WriteAuthorized(text.clone().into())),
        "{all:?}"
    );
    assert_eq!(written(&all), [["near"]]);
    assert!(may_write_authorized(None) && may_write_authorized(Some(text.as_bytes())));
    assert!(!may_write_authorized(Some(b"")) && !may_write_authorized(Some(b"# mine")));
}

/// F-45: a failed write is told, and what was to be written is written at the next change.
#[test]
fn failed_writes() {
    let mut manager = manager(Settings::default());
    commands(&mut manager, seconds(0));
    hear(&mut manager, seconds(1), &service("a", "192.0.2.7", 1, 1));
    assert!(matches!(
        manager.poll_command(seconds(1)),
        Some(Command::Write(_))
    ));
    manager.written(seconds(1), Err("no space left on device"));
    assert_eq!(
        manager.poll_event(),
        Some(Event::FileUnwritable("no space left on device".into()))
    );
    assert_eq!(manager.poll_command(seconds(3)), None);
    hear(&mut manager, seconds(3), &service("b", "192.0.2.7", 1, 1));
    assert_eq!(written(&commands(&mut manager, seconds(3))), [["a", "b"]]);
}

/// F-50, HD-34, HD-36, HD-38, HD-29: a storm of a million datagrams, of new identities, replays,
/// changed octets and bombs, from many addresses: work and memory stay within bounds, what is
/// known is refreshed through it all, and nothing of the storm is kept.
#[test]
fn storms() {
    let mut manager = manager(Settings::default());
    let honest = service("honest", "192.0.2.7", 1, 100);
    let replay = service("honest", "192.0.2.7", 1, 50);
    hear(&mut manager, seconds(0), &honest);
    let bomb = compress(&vec![b' '; 8 << 20]).unwrap();
    let mut rng = Rng::new(5);
    let mut changed = honest.to_vec();
    let mut now = seconds(0);
    for n in 0..1_000_000_u32 {
        // Some hundred thousand in a second.
        now = now + Duration::from_micros(10);
        let from = IpAddr::V4(core::net::Ipv4Addr::from_bits(0xC633_0000 + n % 5000));
        match n % 100 {
            0 => manager.receive(now, from, Via::Multicast, &replay),
            1 => manager.receive(now, from, Via::Multicast, &bomb[..bomb.len().min(900)]),
            2 if n % 1000 == 2 => manager.receive(now, from, Via::Peering, &bomb),
            _ => {
                let at = rng.below(honest.len() as u64) as usize;
                changed[at] ^= 1 << rng.below(8);
                manager.receive(now, from, Via::Multicast, &changed);
                changed[at] = honest[at];
            }
        }
        if n % 100_000 == 7 {
            let before = manager.stats().refreshed;
            manager.receive(now, ip(FROM), Via::Multicast, &honest);
            assert_eq!(manager.stats().refreshed, before + 1);
        }
        // As often as a reader of a busy socket comes round.
        if n % 50 == 0 {
            settle(&mut manager, now);
            while manager.poll_event().is_some() {}
        }
        assert!(manager.queue.len() + manager.delayed.len() <= DATAGRAM_QUEUE);
    }
    let stats = manager.stats();
    assert!(stats.verified <= 500 * 11, "{stats:?}");
    assert!(stats.dropped > 900_000, "{stats:?}");
    assert_eq!(manager.instances().count(), 1);
    assert!(manager.inflater.memory() <= 4 << 20);
    assert!(manager.events.len() <= EVENTS);
}

/// F-50, HD-34, HD-36, D-43: a storm of new services, well signed by somebody who is listed: no more
/// than may be of one certificate are taken, none of those is driven out again, and whoever looks
/// services up in what is written finds the live ones all the while.
#[test]
fn storms_of_new_services() {
    use crate::discovery::cache_file::{Content, Reading};
    use crate::discovery::{Directory, Query};

    let mut manager = manager(Settings::default());
    let honest = service("honest", "192.0.2.7", 1, 100);
    hear(&mut manager, seconds(1), &honest);
    let all = AuthorizedServices::allow_all();
    let mut content = Content::new();
    let (mut lookups, mut most) = (0, 0);
    for n in 0..8_000_u32 {
        // A thousand in a second, from forty addresses.
        let now = seconds(1) + Duration::from_millis(n.into());
        let from = IpAddr::V4(core::net::Ipv4Addr::from_bits(0xC633_0000 + n % 40));
        let intruder = service(&format!("intruder {n}"), "198.51.100.1", 1, 1);
        manager.receive(now, from, Via::Multicast, &intruder);
        if n % 1000 == 0 {
            manager.receive(now, ip(FROM), Via::Multicast, &honest);
        }
        settle(&mut manager, now);
        while manager.poll_event().is_some() {}
        most = most.max(manager.instances().count());
        for command in commands(&mut manager, now) {
            let Command::Write(file) = command else {
                continue;
            };
            let mut reading = Reading::new(&content);
            reading.feed(&file);
            content = reading
                .finish(&Toy, false, &mut |event| panic!("{event}"))
                .unwrap();
            let instances = content.instances().cloned();
            let directory = Directory::build(instances, &mut |event| panic!("{event}"));
            let query = Query {
                instance: Some("honest"),
                ..Query::new("main", "A.b")
            };
            let mut found = directory.lookup(&query, &all).unwrap();
            assert_eq!(found.next().unwrap().instance.identity(), "honest");
            lookups += 1;
        }
    }
    assert_eq!(most, 256);
    assert!(lookups >= 2, "{lookups}");
    let stats = manager.stats();
    assert!(stats.verified <= 500 * 10, "{stats:?}");
    assert!(manager.known.len() <= 10_000);
    // They are gone when they are not heard any more; the live one is not.
    manager.receive(seconds(18), ip(FROM), Via::Multicast, &honest);
    manager.handle_timeout(seconds(28));
    assert_eq!(manager.instances().count(), 1);
}

/// F-48, F-49, D-21, D-22: whatever the wall clock says here or there, and however it jumps, what
/// was heard counts for as long as it is heard, by our own clock.
#[test]
fn wall_clocks_jump() {
    const DAY: i64 = 86_400;
    const YEARS: i64 = 70 * 365 * DAY;
    const NOW: i64 = 1_700_000_000;
    let jumps = [
        0,
        DAY,
        -DAY,
        YEARS,
        -YEARS,
        -NOW,
        i64::MAX / 2_000_000,
        i64::MIN / 2_000_000,
    ];
    let mut manager = manager(Settings::default());
    for (n, jump) in (0..).zip(jumps) {
        // Here it jumps, and there it is that much off.
        let identity = format!("service {n}");
        let datagram = service(&identity, "192.0.2.7", 1, NOW + jump);
        manager.receive(seconds(n), ip(FROM), Via::Multicast, &datagram);
        let wall = UnixTime::from_micros((NOW - jump).saturating_mul(1_000_000));
        while let Some(pending) = manager.poll_pending(seconds(n), wall) {
            manager.checked(seconds(n), wall, pending.verify(&Toy, false));
        }
        assert_eq!(manager.instances().count() as u64, n + 1, "{jump}");
    }
    // Each goes when it was not heard for 10.5 s of ours, at whatever time of day.
    let millis = |n: u64| Instant::from_epoch(Duration::from_millis(n));
    for (n, left) in (0..8).zip((0..8).rev()) {
        manager.handle_timeout(millis(1000 * n + 10_499));
        assert_eq!(manager.instances().count(), left + 1);
        manager.handle_timeout(millis(1000 * n + 10_500));
        assert_eq!(manager.instances().count(), left);
    }
    // Where announcements must be fresh, no time of day goes wrong either.
    let mut strict = super::tests::manager(Settings {
        max_announcement_age: Some(Duration::from_secs(60)),
        ..Settings::default()
    });
    let datagram = service("a", "192.0.2.7", 1, NOW);
    for (wall, count) in [
        (i64::MAX, 0),
        (i64::MIN, 1),
        (0, 1),
        (NOW * 1_000_000, 1),
        ((NOW + DAY) * 1_000_000, 0),
    ] {
        strict.receive(seconds(0), ip(FROM), Via::Multicast, &datagram);
        let wall = UnixTime::from_micros(wall);
        while let Some(pending) = strict.poll_pending(seconds(0), wall) {
            strict.checked(seconds(0), wall, pending.verify(&Toy, false));
        }
        assert_eq!(strict.instances().count(), count, "{wall}");
        strict = super::tests::manager(strict.settings.clone());
    }
}
