//! Configuration as a whole: lines, values, keys and their defaults, places.

use std::format;
use std::string::ToString;
use std::{vec, vec::Vec};

use core::net::IpAddr;
use core::time::Duration;
use proptest::prelude::*;

use super::*;
use crate::limits;

fn read(text: impl AsRef<[u8]>) -> (Config, Vec<Event>) {
    Config::parse("soa.conf", text.as_ref())
}

fn config(text: &str) -> Config {
    let (config, events) = read(text);
    assert_eq!(events, vec![]);
    config
}

fn at(line: usize, what: What) -> Event {
    Event { line, what }
}

fn problem<T>(result: Result<T, ConfigError>) -> Problem {
    match result {
        Ok(_) => panic!("no error"),
        Err(error) => error.problem,
    }
}

/// E-18, C-1, C-2: the specification's example.
#[test]
fn the_example_of_the_specification() {
    let (config, events) = read(
        "bus.address = if:eth0, 10.0.0.5   # two
  beepish.first_port=30100
beepish.first_port = 40000
rpc.timeout =
note = a=b#c
just words
",
    );
    assert_eq!(config.text("bus.address"), Some("if:eth0, 10.0.0.5"));
    assert_eq!(config.text("beepish.first_port"), Some("30100"));
    assert_eq!(config.text("rpc.timeout"), Some(""));
    assert_eq!(config.text("note"), Some("a=b"));
    assert_eq!(config.text("just words"), None);
    let duplicate = What::Duplicate("beepish.first_port".into());
    assert_eq!(events, [at(3, duplicate), at(6, What::NoEqualsSign)]);
    let error = config.rpc_timeout().unwrap_err();
    assert_eq!((error.line, &*error.key), (Some(4), "rpc.timeout"));
    assert_eq!(
        error.to_string(),
        r#"soa.conf, line 4: rpc.timeout: "" is not a number of seconds"#
    );
}

/// C-1, C-2: blanks, line ends, comments, order mark; lines without key or sign; keys are flat and
/// case counts.
#[test]
fn lines() {
    let (config, events) = read(
        b"\xEF\xBB\xBFa.b=1\r\n\tA.b =\t2 x \t\r\n#a=3\n\n = 4\n=\na\n a.b.c==5= \n\xFFx = 6\na#=7\n9.9=x",
    );
    for (key, value) in [
        ("a.b", Some("1")),
        ("A.b", Some("2 x")),
        ("a.b.c", Some("=5=")),
        ("9.9", Some("x")),
        ("a", None),
        ("", None),
    ] {
        assert_eq!(config.text(key), value, "{key}");
    }
    let expected = [
        at(5, What::NoKey),
        at(6, What::NoKey),
        at(7, What::NoEqualsSign),
        at(9, What::NotUtf8),
        at(10, What::NoEqualsSign),
    ];
    assert_eq!(events, expected);
    assert!(
        expected
            .iter()
            .all(|event| event.to_string().starts_with("line "))
    );
}

/// C-5: what the program sets wins, and errors say that it did.
#[test]
fn overrides() {
    let mut config = config("rpc.timeout = x");
    config.set_override("rpc.timeout", "3");
    config.set_override("flow.chunk_size", "0");
    assert_eq!(config.rpc_timeout(), Ok(Duration::from_secs(3)));
    let copy = config.clone();
    let error = copy.flow_chunk_size().unwrap_err();
    assert_eq!(error.line, None);
    assert_eq!(
        error.to_string(),
        r#"flow.chunk_size, set by the program: "0" is not a whole number from 1 to 131072"#
    );
}

/// C-5, HD-15: the file and a line, each at its limit and one beyond; HD-4: so are events.
#[test]
fn limits_act_at_their_value() {
    let line = |len: usize| format!("a={}", "x".repeat(len - 2));
    assert_eq!(read(line(CONFIG_LINE)).1, vec![]);
    let (config, events) = read(line(CONFIG_LINE + 1));
    assert_eq!(events, [at(1, What::LimitHit(CONFIG_LINE))]);
    assert_eq!(config.text("a"), None);

    let comments = format!("#{}\n", "x".repeat(CONFIG_LINE - 2)).repeat(16);
    let file = |last: &str| comments[..CONFIG_FILE - last.len()].to_string() + last;
    let (config, events) = read(file("\nb=1"));
    assert_eq!((config.text("b"), events), (Some("1"), vec![]));
    let (config, events) = read(file("\nb=1") + "2");
    assert_eq!(config.text("b"), None, "half a line is none");
    assert_eq!(events, [at(0, What::LimitHit(CONFIG_FILE))]);

    let events = |lines: usize| read("x\n".repeat(lines)).1;
    assert_eq!(events(CONFIG_EVENTS).len(), CONFIG_EVENTS);
    assert_eq!(
        events(CONFIG_EVENTS).last(),
        Some(&at(CONFIG_EVENTS, What::NoEqualsSign))
    );
    let more = events(CONFIG_EVENTS + 5);
    assert_eq!(more.len(), CONFIG_EVENTS);
    assert_eq!(more.last(), Some(&at(0, What::More(6))));
}

/// C-6: keys that mean nothing here are kept, and told when asked for.
#[test]
fn unused_keys() {
    let config =
        config("rpc.timeout=1\nours.a=2\nours.b=3\nworker.limit=4\ngreeter.key=k\nbus.address=\n");
    assert_eq!(config.text("ours.a"), Some("2"));
    let unused = |config: &Config| config.unused_keys().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(unused(&config), ["greeter.key", "ours.b", "worker.limit"]);
    config.service_key("greeter");
    assert_eq!(unused(&config), ["ours.b", "worker.limit"]);
    assert_eq!(unused(&config.clone()), ["ours.b", "worker.limit"]);
}

/// C-3, N-27, N-44: a number is digits, and anything else is an error.
#[test]
fn numbers() {
    let number = |value: &str| config(&format!("n = {value}")).number::<u16>("n");
    assert_eq!(number("0"), Ok(Some(0)));
    assert_eq!(number("65535"), Ok(Some(65_535)));
    assert_eq!(number("007"), Ok(Some(7)));
    assert_eq!(Config::new().number::<u16>("n"), Ok(None));
    for bad in [
        "",
        "65536",
        "-1",
        "+1",
        "1 2",
        "1.0",
        "0x10",
        "1e3",
        "99999999999999999999",
    ] {
        let (least, most) = (0, 65_535);
        assert_eq!(problem(number(bad)), Problem::NotANumber { least, most });
    }
    let large = config("n = 18446744073709551615");
    assert_eq!(large.number::<u64>("n"), Ok(Some(u64::MAX)));
    let most = i32::MAX as u64;
    assert_eq!(
        problem(large.number::<i32>("n")),
        Problem::NotANumber { least: 0, most }
    );
}

/// C-3: a duration is seconds with an optional fraction.
#[test]
fn durations() {
    let duration = |value: &str| config(&format!("d = {value}")).duration("d");
    for (value, seconds, nanos) in [
        ("0", 0, 0),
        ("75", 75, 0),
        ("10.5", 10, 500_000_000),
        ("0.000000001", 0, 1),
        ("1.0000000019", 1, 1),
        ("18446744073709551615.9", u64::MAX, 900_000_000),
    ] {
        assert_eq!(duration(value), Ok(Some(Duration::new(seconds, nanos))));
    }
    for bad in [
        "",
        ".5",
        "5.",
        "-1",
        "1s",
        "1,5",
        "1.-5",
        "1.5.5",
        "18446744073709551616",
        "off",
    ] {
        assert_eq!(problem(duration(bad)), Problem::NotADuration, "{bad}");
    }
}

/// C-3: words for yes and no, and keys that are yes when they are there.
#[test]
fn flags() {
    for (value, flag) in [
        ("1", true),
        ("true", true),
        ("YES", true),
        ("on", true),
        ("0", false),
        ("False", false),
        ("no", false),
        ("off", false),
        ("", false),
    ] {
        let config = config(&format!("f = {value}"));
        assert_eq!(config.flag("f"), Ok(Some(flag)), "{value}");
        assert_eq!(config.presence("f"), flag, "{value}");
    }
    let config = config("f = maybe\ndiscovery.auth_localhost = 127.0.0.1");
    assert_eq!(problem(config.flag("f")), Problem::NotAFlag);
    assert!(config.presence("f") && !config.presence("absent"));
    assert!(config.discovery_auth_localhost() && !config.discovery_local_multicast());
}

/// Lists are split at commas or blanks, and have no empty entries.
#[test]
fn lists() {
    let config = config("l = a, b c,, d ,\nw = a  b\tc\n");
    assert_eq!(config.list("l").collect::<Vec<_>>(), ["a", "b c", "d"]);
    assert_eq!(config.words("w").collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(
        config.list("absent").count() + config.words("absent").count(),
        0
    );
}

/// 10.2: every default is the table's.
#[test]
fn defaults() {
    let config = Config::new();
    let seconds = |seconds| Ok(Duration::from_secs(seconds));
    assert_eq!(config.bus_addresses(), Ok(vec![]));
    assert_eq!(config.service_announce_address(), Ok(None));
    assert_eq!(config.authorized_services(), None);
    assert_eq!(config.bus_default_sector(), "main");
    for flag in [
        config.auth_meta_for_all(),
        config.auth_table_all_sectors(),
        config.discovery_accept_pss(),
        config.discovery_cache_unlisted(),
        config.wire_strict_txerr(),
        Ok(config.discovery_auth_localhost()),
        Ok(config.discovery_local_multicast()),
    ] {
        assert_eq!(flag, Ok(false));
    }
    for (duration, expected) in [
        (config.auth_table_grace(), 0),
        (config.ticket_clock_skew(), 0),
        (config.discovery_cache_max_age(), 120),
        (config.beepish_client_timeout(), 90),
        (config.beepish_server_timeout(), 120),
        (config.beepish_connect_timeout(), 10),
        (config.rpc_timeout(), 75),
        (config.rpc_reply_stall(), 300),
        (config.flow_shed_after(), 5),
        (config.flow_stall_timeout(), 60),
        (config.wire_packet_timeout(), 30),
        (config.wire_message_idle(), 300),
        (config.net_write_timeout(), 120),
        (config.service_announce_interval(), 5),
        (config.service_shutdown_grace(), 5),
        (config.service_shutdown_drain(), 30),
    ] {
        assert_eq!(duration, seconds(expected));
    }
    assert_eq!(
        config.discovery_min_ttl(),
        Ok(Duration::from_millis(10_500))
    );
    for off in [
        config.discovery_max_announcement_age(),
        config.service_handler_timeout(),
        config.net_max_age(),
    ] {
        assert_eq!(off, Ok(None));
    }
    for (number, expected) in [
        (config.rpc_max_body(), 16_777_216),
        (config.rpc_max_collected(), 33_554_432),
        (config.rpc_max_outstanding(), 16_384),
        (config.flow_chunk_size(), 32_768),
        (config.flow_max_queued(), 1_048_576),
        (config.flow_max_buffered(), 8_388_608),
        (config.flow_max_control(), 262_144),
        (config.wire_max_packet_body(), 131_072),
        (config.wire_max_open_messages(), 4096),
        (config.mem_budget(), 536_870_912),
        (config.service_max_requests(), 1024),
        (config.service_max_handshakes_per_address(), 64),
    ] {
        assert_eq!(number, Ok(expected));
    }
    assert_eq!(config.flow_max_inflight(), Ok(None));
    assert_eq!(config.flow_max_inflight_cap(), Ok(262_144));
    assert_eq!(config.service_max_connections(), Ok(None));
    let multicast = Ok(IpAddr::from([239, 63, 248, 106]));
    assert_eq!(config.discovery_multicast_address(), multicast);
    assert_eq!(config.discovery_local_multicast_address(), multicast);
    assert_eq!(
        (config.discovery_port(), config.discovery_local_port()),
        (Ok(5555), Ok(5555))
    );
    assert_eq!(config.discovery_cache_path(), None);
    assert_eq!(config.discovery_stale_policy(), Ok(StalePolicy::Error));
    assert_eq!(config.discovery_seed_hosts(), Vec::<&str>::new());
    assert_eq!(config.discovery_peer_allow(), Ok(None));
    let (first, last) = (30_100, 30_399);
    assert_eq!(config.beepish_ports(), Ok(Ports { first, last }));
    assert_eq!(config.beepish_bind_tries(), Ok(20));
    assert_eq!(config.beepish_heartbeat(), Ok(Heartbeat::Off));
    assert_eq!(config.requester_selection(), Ok(Selection::Weighted));
    assert_eq!(config.service_announce_resign(), Ok(Resign::Always));
    assert_eq!(config.service_running_service_file_dir_path(), None);
}

/// C-6: no key that the library reads is ever called unused.
#[test]
fn every_key_that_is_read_is_known() {
    let keys = "bus.address discovery.address service.address service.announce_address
        bus.authorized_services bus.default_sector auth.meta_for_all auth.ticket_verify_key
        auth.table_grace auth.table_all_sectors ticket.clock_skew discovery.multicast_address
        discovery.port discovery.cache_path discovery.cache_max_age discovery.stale_policy
        discovery.min_ttl discovery.max_announcement_age discovery.accept_pss discovery.seed_hosts
        discovery.known_hosts discovery.peer_allow discovery.cache_unlisted discovery.auth_localhost
        discovery.local_multicast discovery.local_multicast_address discovery.local_port
        beepish.first_port beepish.last_port beepish.bind_tries beepish.client_timeout
        beepish.server_timeout beepish.connect_timeout beepish.heartbeat scamp.first_port
        scamp.last_port scamp.bind_tries scamp.client_timeout scamp.server_timeout rpc.timeout
        rpc.max_body flow.max_inflight flow.max_inflight_cap flow.chunk_size flow.max_queued
        flow.max_buffered flow.stall_timeout wire.max_packet_body wire.max_open_messages
        wire.strict_txerr requester.selection service.announce_interval service.announce_resign
        service.handler_timeout service.max_requests service.shutdown_grace service.shutdown_drain
        service.running_service_file_dir_path";
    let keys = keys.split_ascii_whitespace();
    let text: String = keys.map(|key| format!("{key} = 1\n")).collect();
    assert_eq!(config(&text).unused_keys().count(), 0);
}

/// C-11: `beepish.` before `scamp.`, whichever stands first in the file.
#[test]
fn old_and_new_names() {
    let both = config("scamp.client_timeout=1\nbeepish.client_timeout=2\nscamp.server_timeout=3");
    assert_eq!(both.beepish_client_timeout(), Ok(Duration::from_secs(2)));
    assert_eq!(both.beepish_server_timeout(), Ok(Duration::from_secs(3)));
    let hosts = config("discovery.known_hosts = a b\ndiscovery.seed_hosts = c");
    assert_eq!(hosts.discovery_seed_hosts(), ["c"]);
    let hosts = config("discovery.known_hosts = a b");
    assert_eq!(hosts.discovery_seed_hosts(), ["a", "b"]);
}

/// V-2, N-27, N-48: the last port is the last port, and not the first with something behind it.
#[test]
fn ports() {
    let ports = |text: &str| {
        config(text)
            .beepish_ports()
            .map(|ports| (ports.first, ports.last))
    };
    assert_eq!(
        ports("beepish.first_port=4\nbeepish.last_port=7"),
        Ok((4, 7))
    );
    assert_eq!(ports("scamp.first_port=4\nbeepish.last_port=4"), Ok((4, 4)));
    assert_eq!(ports("scamp.last_port=40000"), Ok((30_100, 40_000)));
    assert_eq!(ports("scamp.first_port=40000"), Ok((40_000, 40_000)));
    let range = |least| Problem::NotANumber {
        least,
        most: 65_535,
    };
    assert_eq!(problem(ports("beepish.first_port=0")), range(1));
    assert_eq!(problem(ports("beepish.first_port=30100150")), range(1));
    assert_eq!(
        problem(ports("beepish.first_port=9\nbeepish.last_port=8")),
        range(9)
    );
}

/// 10.2: values that are words.
#[test]
fn words() {
    let with = |key: &str, value: &str| config(&format!("{key} = {value}"));
    let selection = |value| with("requester.selection", value).requester_selection();
    assert_eq!(selection("Uniform"), Ok(Selection::Uniform));
    assert_eq!(
        selection("least_outstanding"),
        Ok(Selection::LeastOutstanding)
    );
    let words = Problem::NotOneOf("weighted, uniform, least_outstanding");
    assert_eq!(problem(selection("best")), words);
    let stale = |value| with("discovery.stale_policy", value).discovery_stale_policy();
    assert_eq!(
        (stale("warn"), stale("error")),
        (Ok(StalePolicy::Warn), Ok(StalePolicy::Error))
    );
    assert!(stale("").is_err());
    let heartbeat = |value| with("beepish.heartbeat", value).beepish_heartbeat();
    assert_eq!(
        (heartbeat("off"), heartbeat("0")),
        (Ok(Heartbeat::Off), Ok(Heartbeat::Off))
    );
    assert_eq!(heartbeat("auto"), Ok(Heartbeat::Auto));
    assert_eq!(
        heartbeat("15"),
        Ok(Heartbeat::Every(Duration::from_secs(15)))
    );
    assert!(heartbeat("often").is_err());
    let resign = |value| with("service.announce_resign", value).service_announce_resign();
    assert_eq!(
        (resign("always"), resign("0")),
        (Ok(Resign::Always), Ok(Resign::OnChange))
    );
    assert_eq!(resign("60"), Ok(Resign::Every(Duration::from_secs(60))));
    let handler = |value| with("service.handler_timeout", value).service_handler_timeout();
    assert_eq!(
        (handler("off"), handler("9")),
        (Ok(None), Ok(Some(Duration::from_secs(9))))
    );
    let window = |value| with("flow.max_inflight", value).flow_max_inflight();
    assert_eq!(
        (window("0"), window("65536")),
        (Ok(Some(0)), Ok(Some(65_536)))
    );
    assert_eq!(window("2147483648"), Ok(Some(1 << 31)));
    assert!(window("2147483649").is_err());
    assert_eq!(
        with("bus.default_sector", "web").bus_default_sector(),
        "web"
    );
    assert_eq!(
        with("discovery.cache_path", "/x").discovery_cache_path(),
        Some("/x")
    );
    let multicast =
        |value| with("discovery.multicast_address", value).discovery_multicast_address();
    assert_eq!(multicast("ff02::1"), Ok("ff02::1".parse().unwrap()));
    assert!(multicast("10.0.0.1").is_err() && multicast("").is_err());
}

/// C-7: entries, defaults, and what is no entry.
#[test]
fn addresses() {
    let ip = |text: &str| Address::Ip(text.parse().unwrap());
    let all =
        config("bus.address = if:eth0, 10.0.0.5 ,::1\nservice.address=0.0.0.0\ndiscovery.address=");
    let bus = vec![Address::Interface("eth0".into()), ip("10.0.0.5"), ip("::1")];
    assert_eq!(all.bus_addresses(), Ok(bus.clone()));
    assert_eq!(all.service_addresses(), Ok(vec![ip("0.0.0.0")]));
    assert_eq!(all.discovery_addresses(), Ok(bus));
    for (value, entry) in [
        ("10.0.0.5,", ""),
        ("10.0.0.5, if:", "if:"),
        ("eth0", "eth0"),
        ("10.0.0", "10.0.0"),
        ("10.0.0.5:80", "10.0.0.5:80"),
    ] {
        let error = config(&format!("\nbus.address = {value}"))
            .service_addresses()
            .unwrap_err();
        assert_eq!((error.line, &*error.key), (Some(2), "bus.address"));
        assert_eq!(error.problem, Problem::NotAddresses(entry.into()));
    }
    let announce = |value: &str| {
        config(&format!("service.announce_address={value}")).service_announce_address()
    };
    assert_eq!(
        announce("192.0.2.1"),
        Ok(Some("192.0.2.1".parse().unwrap()))
    );
    assert_eq!(announce(""), Ok(None));
    assert!(announce("0.0.0.0").is_err() && announce("host").is_err());
}

fn interfaces() -> [Interface<'static>; 5] {
    [
        ("lo", "127.0.0.1"),
        ("eth0", "fe80::1"),
        ("eth0", "203.0.113.7"),
        ("eth1", "10.0.0.5"),
        ("tun", "fe80::2"),
    ]
    .map(|(name, address)| Interface {
        name,
        address: address.parse().unwrap(),
    })
}

/// C-8, N-48: every entry means an address of this machine, or names itself in the error.
#[test]
fn resolving() {
    let interfaces = interfaces();
    let resolve = |value: &str, wildcard| {
        let entries = config(&format!("bus.address={value}"))
            .bus_addresses()
            .unwrap();
        resolve(&entries, &interfaces, wildcard)
            .map(|all| all.iter().map(IpAddr::to_string).collect::<Vec<_>>())
    };
    let ours = |addresses: &[&str]| Ok(addresses.iter().map(ToString::to_string).collect());
    assert_eq!(
        resolve("if:eth1, if:eth0, 10.0.0.5, fe80::1, 127.0.0.9", false),
        ours(&["10.0.0.5", "203.0.113.7", "fe80::1", "127.0.0.9"])
    );
    assert_eq!(resolve("0.0.0.0,::", true), ours(&["0.0.0.0", "::"]));
    for (value, entry, problem) in [
        ("10.0.0.5,10.0.0.6", "10.0.0.6", AddressProblem::NotOurs),
        ("10.0.0.5,if:eth2", "if:eth2", AddressProblem::NoInterface),
        ("if:tun", "if:tun", AddressProblem::NoIpv4),
        ("0.0.0.0", "0.0.0.0", AddressProblem::Wildcard),
        ("::", "::", AddressProblem::Wildcard),
        ("::1", "::1", AddressProblem::NotOurs),
    ] {
        let entry = entry.to_string();
        assert_eq!(resolve(value, false), Err(AddressError { entry, problem }));
    }
}

/// C-9: 10/8 before 192.168/16 before 172.16/12, and loopback only where there is nothing else.
#[test]
fn the_default_address() {
    let of = |addresses: &[&str]| {
        let interface = |address: &&str| Interface {
            name: "x",
            address: address.parse().unwrap(),
        };
        let interfaces: Vec<_> = addresses.iter().map(interface).collect();
        default_address(&interfaces)
    };
    let private = |address: &str| Some(DefaultAddress::Private(address.parse().unwrap()));
    assert_eq!(
        of(&["172.31.0.1", "192.168.0.1", "10.9.9.9", "10.0.0.1"]),
        private("10.9.9.9")
    );
    assert_eq!(
        of(&["127.0.0.1", "172.16.0.1", "192.168.9.1"]),
        private("192.168.9.1")
    );
    assert_eq!(
        of(&["203.0.113.7", "172.31.255.255"]),
        private("172.31.255.255")
    );
    let loopback = Some(DefaultAddress::Loopback([127, 0, 0, 1].into()));
    assert_eq!(of(&["127.0.0.2", "::1"]), loopback);
    assert_eq!(of(&[]), loopback);
    assert_eq!(of(&["127.0.0.1", "172.32.0.1"]), None);
    assert_eq!(of(&["11.0.0.1", "192.169.0.1", "fd00::1"]), None);
}

/// D-38: networks.
#[test]
fn networks() {
    let allow =
        |value: &str| config(&format!("discovery.peer_allow={value}")).discovery_peer_allow();
    assert_eq!((allow("all"), allow("")), (Ok(None), Ok(None)));
    let networks = allow("10.0.0.0/8, fd00::/8 192.0.2.7").unwrap().unwrap();
    let allowed = |address: &str| {
        let address = address.parse().unwrap();
        networks.iter().any(|network| network.contains(address))
    };
    assert!(allowed("10.255.0.1") && allowed("fdff::1") && allowed("192.0.2.7"));
    assert!(!allowed("11.0.0.1") && !allowed("fe00::1") && !allowed("192.0.2.8"));
    for bad in [
        "10.0.0.0/33",
        "10.0.0.0/",
        "::/129",
        "x/8",
        "10.0.0.0/-1",
        "/8",
        "10.0.0/8",
    ] {
        assert_eq!(problem(allow(bad)), Problem::NotNetworks(bad.into()));
    }
    let all: Network = "0.0.0.0/0".parse().unwrap();
    assert!(all.contains([255; 4].into()) && !all.contains([0; 16].into()));
}

fn named(path: &str, by: By) -> Search {
    let in_directory = None;
    let path = path.into();
    Search::Named(vec![NamedFile {
        path,
        by,
        in_directory,
    }])
}

fn first_of(paths: &[&str]) -> Search {
    Search::FirstOf(paths.iter().map(ToString::to_string).collect())
}

/// C-4, C-12: who names the file, in what order, and where it is otherwise.
#[test]
fn where_the_file_is() {
    let find = |explicit: Option<&str>, set: &[(&str, &str)]| {
        search(explicit, |name| {
            let set = set.iter().find(|(variable, _)| *variable == name);
            set.map(|(_, value)| value.to_string())
        })
    };
    let all = [("GTSOA", "/g/"), ("SCAMP", "/s"), ("SCAMP_CONFIG", "/c")];
    assert_eq!(find(Some("/x"), &all), named("/x", By::Caller));
    assert_eq!(find(None, &all), named("/c", By::Variable("SCAMP_CONFIG")));
    assert_eq!(find(None, &all[..2]), named("/s", By::Variable("SCAMP")));
    let Search::Named(files) = find(None, &all[..1]) else {
        panic!("it is named");
    };
    let in_directory = files[0].in_directory.as_deref();
    assert_eq!(
        (&*files[0].path, in_directory),
        ("/g/", Some("/g/etc/soa.conf"))
    );
    let defaults = first_of(&[
        "/etc/scamp/scamp.conf",
        "/etc/SCAMP/soa.conf",
        "/etc/GTSOA/soa.conf",
        "/etc/GTSOA/scamp.conf",
    ]);
    assert_eq!(find(None, &[("SCAMP", ""), ("HOME", "/h")]), defaults);
}

/// 10.2, C-11, T-6, C-12: where keys, certificates and authorized_services are.
#[test]
fn where_keys_are() {
    let mut config = config("a.soa_key=/1\na.key=/2\nb.key=/3\nb.cert=/4\nc.soa_cert=");
    let key = |path, key: &str| named(path, By::Key(key.into()));
    assert_eq!(config.service_key("a"), key("/1", "a.soa_key"));
    assert_eq!(config.service_key("b"), key("/3", "b.key"));
    assert_eq!(config.service_certificate("b"), key("/4", "b.cert"));
    let customary = first_of(&[
        "/etc/scamp/services/c.crt",
        "/etc/SCAMP/services/c.crt",
        "/etc/GT_private/services/c.crt",
    ]);
    assert_eq!(config.service_certificate("c"), customary);
    config.set_directory("/d/");
    let Search::FirstOf(files) = config.service_key("c") else {
        panic!("nobody names it");
    };
    assert_eq!((files.len(), &*files[0]), (4, "/d/services/c.key"));

    assert_eq!(
        config.authorized_services().as_deref(),
        Some("/d/authorized_services")
    );
    config.set_override("bus.authorized_services", "/e");
    assert_eq!(config.authorized_services().as_deref(), Some("/e"));

    let folders = ["scamp", "SCAMP", "GTSOA", "GT"];
    let files = folders.map(|folder| format!("/etc/{folder}/auth/ticket_verify_public_key.pem"));
    assert_eq!(config.ticket_verify_keys(), Search::FirstOf(files.into()));
    config.set_override("auth.ticket_verify_key", "/new.pem, /old.pem");
    let Search::Named(files) = config.ticket_verify_keys() else {
        panic!("they are named");
    };
    let paths: Vec<_> = files.iter().map(|file| &*file.path).collect();
    assert_eq!(paths, ["/new.pem", "/old.pem"]);
}

/// HD-13: what is shown of a value is short and escaped.
#[test]
fn errors_show_little() {
    let config = config(&format!("rpc.timeout = \u{1b}[31m{}", "x".repeat(500)));
    let text = config.rpc_timeout().unwrap_err().to_string();
    assert!(text.len() < 200 && !text.contains('\u{1b}'), "{text}");
}

/// The limits this room shares with others are the specification's (C-5).
#[test]
fn limits_are_the_specification_s() {
    assert_eq!(
        (limits::CONFIG_FILE, limits::CONFIG_LINE),
        (1_048_576, 65_536)
    );
}

proptest! {
    /// C-1, C-2: what is written is read, the first of each key.
    #[test]
    fn what_is_written_is_read(
        lines in prop::collection::vec(("[a-z.]{1,3}", "[ -\"$-~]{0,6}", "[ \t]{0,2}"), 0..20),
    ) {
        let text: String = lines
            .iter()
            .map(|(key, value, blank)| format!("{blank}{key}{blank}={blank}{value}{blank}#x\n"))
            .collect();
        let (config, events) = read(&text);
        let mut seen = std::collections::BTreeSet::new();
        for (key, value, _) in &lines {
            if seen.insert(key) {
                prop_assert_eq!(config.text(key), Some(value.trim_ascii()));
            }
        }
        prop_assert_eq!(events.len(), lines.len() - seen.len());
    }

    /// Law 9: octets of any kind, and every accessor.
    #[test]
    fn junk_does_no_harm(junk in prop::collection::vec(any::<u8>(), 0..200)) {
        let (config, events) = read(&junk);
        prop_assert!(events.len() <= CONFIG_EVENTS);
        prop_assert_eq!(config.rpc_timeout(), Ok(limits::RPC_TIMEOUT));
    }
}
