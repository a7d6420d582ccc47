//! U-12: configuration.

use alloc::collections::BTreeMap;
use alloc::string::ToString;

use crate::config::Config;
use crate::limits::{CONFIG_EVENTS, CONFIG_LINE};

/// U-12: every key has the value that a plain reader of the same text finds, each line that is not
/// taken has its event, and every question has an answer or an error that names the line (C-1…C-3).
pub fn config(octets: &[u8]) {
    config_by(octets, &read);
}

/// The same, where `read` is the plain reader.
pub(super) fn config_by(octets: &[u8], read: &Read<'_>) {
    let (config, events) = Config::parse("soa.conf", octets);
    assert!(events.len() <= CONFIG_EVENTS);
    for event in &events {
        assert!(!event.to_string().is_empty());
    }
    ask(&config);
    let Ok(text) = core::str::from_utf8(octets) else {
        return;
    };
    let (known, odd) = read(text);
    assert_eq!(
        events.len(),
        odd.min(CONFIG_EVENTS),
        "one event for each line"
    );
    for (key, value) in &known {
        assert_eq!(config.text(key), Some(*value), "{key}");
        for error in [
            config.duration(key).err(),
            config.flag(key).err(),
            config.number::<u16>(key).err(),
        ] {
            assert!(error.is_none_or(|error| error.key == *key && error.line.is_some()));
        }
        let _ = (
            config.presence(key),
            config.list(key).count(),
            config.words(key).count(),
        );
    }
    assert_eq!(
        config.unused_keys().count(),
        0,
        "all have been asked for (C-6)"
    );
}

/// What a text says, and how many of its lines are odd.
pub(super) type Read<'a> = dyn Fn(&str) -> (BTreeMap<&str, &str>, usize) + 'a;

pub(super) fn read(text: &str) -> (BTreeMap<&str, &str>, usize) {
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    let (mut known, mut odd) = (BTreeMap::new(), 0);
    for line in text.split('\n') {
        let used = line.split('#').next().unwrap_or_default().trim_ascii();
        let pair = used
            .split_once('=')
            .map(|(key, value)| (key.trim_ascii(), value.trim_ascii()));
        match pair {
            _ if line.len() > CONFIG_LINE => odd += 1,
            None if used.is_empty() => {}
            None | Some(("", _)) => odd += 1,
            Some((key, _)) if known.contains_key(key) => odd += 1,
            Some((key, value)) => {
                known.insert(key, value);
            }
        }
    }
    (known, odd)
}

/// Every question whose answer is not a plain number, flag or duration.
fn ask(config: &Config) {
    let _ = (
        config.bus_addresses(),
        config.discovery_addresses(),
        config.service_addresses(),
        config.service_announce_address(),
        config.discovery_peer_allow(),
        config.discovery_multicast_address(),
        config.discovery_stale_policy(),
    );
    let _ = (
        config
            .beepish_ports()
            .map(|ports| assert!(ports.first <= ports.last)),
        config.beepish_heartbeat(),
        config.requester_selection(),
        config.service_announce_resign(),
        config.flow_max_inflight(),
        config.service_max_connections(),
        config.discovery_max_announcement_age(),
    );
    let _ = (
        config.ticket_verify_keys(),
        config.service_key("a"),
        config.service_certificate("a"),
        config.authorized_services(),
    );
}
