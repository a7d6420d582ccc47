//! Two hosts, as network namespaces with a cable between them: discovery and failover across it.
//!
//! Needs to be root, `ip` of iproute2, and a kernel that lets it; says so and does nothing elsewhere.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Run, text, vector};

const GO: &str = crate::named::GO;

/// One host: its namespace, its address, and its configuration.
struct Host {
    name: String,
    address: &'static str,
    folder: tempfile::TempDir,
}

/// Two hosts and the cable; gone when dropped.
struct Network {
    hosts: [Host; 2],
}

impl Network {
    /// `None` where the system does not allow it.
    fn new() -> Option<Self> {
        let id = std::process::id();
        let host = |letter: char, address| Host {
            name: format!("scamp-{letter}-{id}"),
            address,
            folder: tempfile::tempdir().unwrap(),
        };
        let network = Self {
            hosts: [host('a', "10.77.0.1"), host('b', "10.77.0.2")],
        };
        let [a, b] = &network.hosts;
        let (end_a, end_b) = (format!("sa{id}"), format!("sb{id}"));
        let made = ip(&["netns", "add", &a.name])
            && ip(&["netns", "add", &b.name])
            && ip(&[
                "link", "add", &end_a, "type", "veth", "peer", "name", &end_b,
            ])
            && [(a, &end_a), (b, &end_b)].iter().all(|(host, end)| {
                let address = format!("{}/24", host.address);
                ip(&["link", "set", end, "netns", &host.name])
                    && host.ip(&["addr", "add", &address, "dev", end])
                    && host.ip(&["link", "set", end, "up"])
                    && host.ip(&["link", "set", "lo", "up"])
            });
        made.then_some(network)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for host in &self.hosts {
            ip(&["netns", "del", &host.name]);
        }
    }
}

fn ip(arguments: &[&str]) -> bool {
    let run = Command::new("ip").args(arguments).output();
    run.is_ok_and(|output| output.status.success())
}

impl Host {
    fn ip(&self, arguments: &[&str]) -> bool {
        ip(&[&["-n", &self.name], arguments].concat())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn configure(&self) {
        let root = text(self.folder.path());
        let config = format!(
            "bus.address = {}\n\
             bus.authorized_services = {root}/services\n\
             discovery.cache_path = {root}/cache\n\
             service.announce_interval = 1\n\
             service.shutdown_grace = 1\n\
             greeter.soa_key = {}\n\
             greeter.soa_cert = {}\n",
            self.address,
            text(&vector("discovery/key-go.key")),
            text(&vector("discovery/key-go.crt")),
        );
        fs::write(self.path("scamp.conf"), config).unwrap();
        fs::write(self.path("services"), format!("{GO} main:ALL\n")).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.name, env!("CARGO_BIN_EXE_scamp")])
            .args(arguments)
            .env("SCAMP_CONFIG", self.path("scamp.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn start(&self, arguments: &[&str]) -> Running {
        let mut command = self.command(arguments);
        Running(
            command
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap(),
        )
    }

    fn run(&self, arguments: &[&str]) -> Run {
        self.command(arguments).output().unwrap().into()
    }

    #[track_caller]
    fn until(&self, arguments: &[&str], is_it: impl Fn(&Run) -> bool) {
        let begun = Instant::now();
        loop {
            let seen = self.run(arguments);
            if is_it(&seen) {
                return;
            }
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "{arguments:?}: {seen:?}"
            );
        }
    }
}

/// A process, killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// D-22, D-25, D-27, D-34, D-45, S-33: a service on one host is called from the other, by name; when
/// it is killed, another takes over; when nothing is left, that is what callers are told; a cache
/// manager that starts anew learns it all again.
#[test]
fn across_two_hosts() {
    let Some(network) = Network::new() else {
        eprintln!("network namespaces are not to be had here: not run");
        return;
    };
    let [there, here] = &network.hosts;
    there.configure();
    here.configure();
    let manager = here.start(&["cache", "serve"]);
    let first = there.start(&["serve"]);
    let echo = ["call", "Demo.echo", "{\"n\":1}"];
    here.until(&echo, |run| run.code == Some(0));

    let second = there.start(&["serve"]);
    let list = ["list", "services", "--json"];
    here.until(&list, |run| run.text().lines().count() == 2);
    drop(first);
    // What was not sent is sent to the other; nobody waits for the announcements to run out.
    for _ in 0..5 {
        here.run(&echo).good();
    }
    here.until(&list, |run| run.text().lines().count() == 1);

    drop(manager);
    let _manager = here.start(&["cache", "serve"]);
    here.until(&echo, |run| run.code == Some(0));
    drop(second);
    here.until(&echo, |run| run.code == Some(3));
}
