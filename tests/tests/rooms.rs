//! Who may know whom: the walls of ARCHITECTURE.md, read off the source.

use std::fs;
use std::path::{Path, PathBuf};

/// The code lines of every Rust file under `folder`, with the file's own tests left out.
fn code(folder: &str) -> Vec<(PathBuf, usize, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = Vec::new();
    collect(&root.join(folder), &mut files);
    assert!(!files.is_empty(), "no Rust files under {folder}");
    let mut lines = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("a readable file");
        for (index, line) in text.lines().enumerate() {
            if line.starts_with("#[cfg(test)]") {
                break;
            }
            let code = line.split("//").next().unwrap_or_default();
            lines.push((file.clone(), index + 1, code.to_owned()));
        }
    }
    lines
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) {
    if path.is_file() {
        files.push(path.to_owned());
        return;
    }
    let mut entries: Vec<_> = fs::read_dir(path)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    entries.sort();
    for entry in entries {
        let is_rust = entry.extension().is_some_and(|extension| extension == "rs");
        let is_tests = entry
            .file_name()
            .is_some_and(|name| name == "tests" || name == "tests.rs");
        if (entry.is_dir() || is_rust) && !is_tests {
            collect(&entry, files);
        }
    }
}

/// Fails for every line under `folder` that has one of `words` in it.
fn never(folder: &str, words: &[&str]) {
    let mut found = Vec::new();
    for (file, line, code) in code(folder) {
        for word in words {
            if code.contains(word) {
                found.push(format!("{}:{line}: {word}", file.display()));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// P-1, P-2: the core asks for no time, randomness, I/O, thread, task, waker or log.
#[test]
fn the_core_performs_no_io() {
    let words = [
        "Instant::now",
        "SystemTime",
        "std::net",
        "std::fs",
        "std::thread",
        "std::env",
        "std::time",
        "std::sync",
        "std::process",
        "std::task",
        "core::task",
        "Waker",
        "thread_local",
        "println!",
        "eprintln!",
        "log::",
        "tracing",
        "rand::thread",
        "getrandom",
        "unsafe ",
    ];
    for room in [
        "wire",
        "connection",
        "session",
        "service",
        "requester",
        "auth",
        "config",
        "discovery",
        "mp",
        "waddell",
    ] {
        never(&format!("scamp-proto/src/{room}"), &words);
    }
    for file in [
        "time", "rand", "limits", "note", "error", "duplex", "outbox", "flag", "lib",
    ] {
        never(&format!("scamp-proto/src/{file}.rs"), &words);
    }
}

/// P-1, Q-13: nothing in the core is ordered by a hash.
#[test]
fn no_order_depends_on_a_hash() {
    never(
        "scamp-proto/src",
        &["HashMap", "HashSet", "hashbrown", "RandomState"],
    );
}

/// The wire knows no connection, the connection no session, the session no service.
#[test]
fn rooms_know_only_those_beneath() {
    never(
        "scamp-proto/src/wire",
        &[
            "crate::connection",
            "crate::session",
            "crate::service",
            "crate::duplex",
        ],
    );
    never(
        "scamp-proto/src/connection",
        &[
            "crate::session",
            "crate::service",
            "MessageType",
            "RequestHead",
            "ReplyHead",
        ],
    );
    never(
        "scamp-proto/src/session",
        &["crate::service", "PacketType", "Packet::"],
    );
    never(
        "scamp-proto/src/service",
        &["crate::connection", "PacketType", "Packet::"],
    );
    never(
        "scamp-proto/src/requester",
        &[
            "crate::connection",
            "crate::service",
            "crate::wire",
            "PacketType",
            "Packet::",
        ],
    );
}

/// The sister protocols stand on the floor and know nothing of SCAMP.
#[test]
fn sister_protocols_know_nothing_of_scamp() {
    never(
        "scamp-proto/src/mp",
        &[
            "crate::wire",
            "crate::connection",
            "crate::session",
            "crate::service",
            "crate::requester",
            "crate::auth",
            "crate::config",
            "crate::discovery",
            "crate::http",
            "crate::waddell",
            "crate::sim",
            "crate::Connection",
            "crate::Session",
            "crate::Header",
            "MsgNo",
        ],
    );
}

/// Trust and configuration know no connection, and signatures only through their traits.
#[test]
fn trust_and_configuration_stand_alone() {
    let above = [
        "crate::wire",
        "crate::connection",
        "crate::session",
        "crate::service",
        "crate::duplex",
        "rustls",
        " ring::",
        "aws_lc",
    ];
    never("scamp-proto/src/auth", &above);
    never("scamp-proto/src/discovery", &above);
    never("scamp-proto/src/config", &above);
    never("scamp-proto/src/config", &["crate::auth"]);
}

/// Waddell stands on the floor alone: time, limits, randomness, the seam and what it carries.
#[test]
fn waddell_knows_nothing_of_scamp() {
    let floor = ["duplex", "error", "limits", "waddell"];
    let names = ["Duplex", "End", "Instant", "Outbox", "Rng"];
    let mut found = Vec::new();
    for (file, line, code) in code("scamp-proto/src/waddell") {
        for (at, path) in code.match_indices("crate::") {
            let rest = &code[at + path.len()..];
            let list = rest.strip_prefix('{').unwrap_or(rest);
            let list = list.split('}').next().unwrap_or_default();
            let many = rest.starts_with('{');
            for name in list.split(',').take(if many { usize::MAX } else { 1 }) {
                let name = name.trim();
                let word = name
                    .split(|c: char| !c.is_alphanumeric() && c != '_')
                    .next()
                    .unwrap_or_default();
                let allowed = floor.contains(&word) || names.contains(&word) || word.is_empty();
                // Of the errors, what the seam carries and no more.
                let allowed = allowed && (word != "error" || name.starts_with("error::Loss"));
                if !allowed {
                    found.push(format!("{}:{line}: {name}", file.display()));
                }
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    let words = [
        "serde",
        "crate::wire",
        "crate::session",
        "crate::connection",
        "crate::note",
    ];
    never("scamp-proto/src/waddell", &words);
}

/// HD-9: nothing drives TLS in a loop that a peer can hold.
#[test]
fn tls_is_a_machine_in_memory() {
    never(
        "scamp-tls/src",
        &[
            "TcpListener",
            "UdpSocket",
            "TcpStream",
            "complete_io",
            "StreamOwned",
            "rustls::Stream",
            "install_default",
        ],
    );
}

/// The faces move bytes: they name no packet, parse nothing, and keep no clock of the protocol's.
#[test]
fn faces_are_thin() {
    let words = [
        "PacketType",
        "MsgNo",
        "wire::decode",
        "LineDecoder",
        "HEADER",
        "TXERR",
        "txerr_text",
    ];
    for face in [
        "scamp-async/src",
        "scamp-tokio/src",
        "scamp-async-std/src",
        "scamp-blocking/src",
    ] {
        never(face, &words);
    }
    // tokio's two I/O traits on bodies are all of a runtime that the async face may name.
    let runtimes = [
        "tokio::net",
        "tokio::time",
        "tokio::spawn",
        "tokio::task",
        "tokio::runtime",
        "async_std",
        "smol::",
        "std::net::Tcp",
    ];
    never("scamp-async/src", &runtimes);
}

/// HD-16: the least versions with every known fix, as the lock file has them.
#[test]
fn dependencies_have_their_fixes() {
    let lock = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.lock"));
    let lock = lock.expect("the lock file");
    for (name, least) in [
        ("rustls", [0, 23, 18]),
        ("bytes", [1, 11, 1]),
        ("rustls-webpki", [0, 103, 13]),
        ("h2", [0, 4, 16]),
    ] {
        for found in versions(&lock, name) {
            assert!(
                found >= least,
                "{name} is {found:?}, at least {least:?} is needed"
            );
        }
    }
    assert!(!versions(&lock, "rustls").is_empty());
    for denied in ["openssl-sys", "native-tls", "rsa"] {
        assert!(
            versions(&lock, denied).is_empty(),
            "{denied} must not be used"
        );
    }
}

fn versions(lock: &str, name: &str) -> Vec<[u64; 3]> {
    let head = format!("name = \"{name}\"\nversion = \"");
    lock.split("[[package]]\n")
        .filter_map(|package| package.strip_prefix(&head)?.split('"').next())
        .map(|version| {
            let mut numbers = version
                .split(['.', '-', '+'])
                .map(|part| part.parse().unwrap_or(0));
            core::array::from_fn(|_| numbers.next().unwrap_or(0))
        })
        .collect()
}
