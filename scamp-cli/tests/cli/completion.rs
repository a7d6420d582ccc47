//! What the scripts of `completions` get for an answer.

use std::fs;
use std::process::Command;

use crate::named::Bus;
use crate::support::{Run, run, scamp, text};

/// What is offered for the last of these words; the first is the command's name. Options are left out
/// unless one is begun.
fn offered(command: &mut Command, words: &[&str]) -> Vec<String> {
    let asked = command.env("SCAMP_COMPLETE", "fish").arg("--").args(words);
    let seen = Run::from(asked.output().unwrap());
    assert_eq!(seen.stderr, "", "{words:?}");
    let first = |line: &str| line.split('\t').next().unwrap_or_default().to_owned();
    let all = seen.good().lines().map(first);
    let is_begun = words.last().is_some_and(|word| word.starts_with('-'));
    all.filter(|word| is_begun || !word.starts_with('-'))
        .collect()
}

/// cli.md, Z-4, HD-13: live completion of action names from the cache, of those that may be called and
/// that a shell takes for nothing else; a configuration or a cache file that is
/// missing, or of no use, gives no names and no complaint.
#[test]
fn names_of_actions() {
    let bus = Bus::new();
    let config = bus.config();
    let offered = |words: &[&str]| offered(scamp([""; 0]).env("SCAMP_CONFIG", &config), words);
    assert_eq!(
        offered(&["scamp", "call", ""]),
        [""; 0],
        "there is no cache file"
    );
    assert!(offered(&["scamp", "call", "--ti"]).contains(&"--timeout".to_owned()));

    bus.announce_some();
    let greetings = ["Greetings.hello", "Greetings.wave~2"];
    for verb in ["call", "request", "bench", "describe"] {
        let all = [
            "Demo.echo",
            "Greetings.hello",
            "Greetings.wave~2",
            "web:Page.get",
        ];
        assert_eq!(offered(&["scamp", verb, ""]), all, "{verb}");
    }
    assert_eq!(offered(&["scamp", "call", "Gr"]), greetings);
    assert_eq!(offered(&["scamp", "call", "greetings."]), greetings);
    assert_eq!(
        offered(&["scamp", "call", "--timeout", "2s", "De"]),
        ["Demo.echo"]
    );
    assert_eq!(offered(&["scamp", "call", "main:D"]), ["main:Demo.echo"]);
    assert_eq!(offered(&["scamp", "call", "web:"]), ["web:Page.get"]);
    assert_eq!(offered(&["scamp", "call", "Nobody"]), [""; 0]);
    assert_eq!(offered(&["scamp", "call", "é\u{301}"]), [""; 0]);
    // No name is offered for what is no action.
    assert_eq!(offered(&["scamp", "ticket", "show", "De"]), [""; 0]);

    fs::write(bus.at("cache"), "\n%%%\nnonsense\n\n").unwrap();
    assert_eq!(offered(&["scamp", "call", ""]), [""; 0]);
    fs::write(&config, "nonsense\n").unwrap();
    assert_eq!(offered(&["scamp", "call", ""]), [""; 0]);
    fs::remove_file(&config).unwrap();
    assert_eq!(offered(&["scamp", "call", ""]), [""; 0]);
}

/// cli.md: the configuration may be named on the line that is being written, and counts more than
/// the environment's.
#[test]
fn the_configuration_of_the_line() {
    let bus = Bus::new();
    bus.announce_some();
    let config = bus.config();
    let config = text(&config);
    let offered = |words: &[&str]| {
        let mut command = scamp([""; 0]);
        offered(command.env("SCAMP_CONFIG", "/no/such.conf"), words)
    };
    let inline = format!("--config={config}");
    for named in [&["--config", config][..], &[&inline]] {
        let words = [&["scamp"], named, &["call", "D"]].concat();
        assert_eq!(offered(&words), ["Demo.echo"], "{words:?}");
    }
    assert_eq!(offered(&["scamp", "call", "D"]), [""; 0]);
}

/// cli.md: the script of each shell asks this command by the variable that it answers to; without it,
/// it does what it always does.
#[test]
fn scripts() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(["completions", shell]);
        assert!(script.good().contains("SCAMP_COMPLETE"), "{shell}");
    }
    let mut version = scamp(["--version"]);
    let seen = Run::from(version.env("SCAMP_COMPLETE", "").output().unwrap());
    assert!(seen.good().starts_with("scamp "));
}

/// cli.md: bash itself, where there is one, puts the name of an action on the line.
#[test]
#[cfg(unix)]
fn bash() {
    let bus = Bus::new();
    bus.announce_some();
    let scamp = env!("CARGO_BIN_EXE_scamp");
    let folder = std::path::Path::new(scamp).parent().unwrap();
    let script = "eval \"$(scamp completions bash)\"\n\
         COMP_WORDS=(scamp call Greetings.h) COMP_CWORD=2 COMP_TYPE=9\n\
         _clap_complete_scamp scamp Greetings.h call\n\
         printf '%s\\n' \"${COMPREPLY[@]}\"\n";
    let path = format!("{}:{}", text(folder), std::env::var("PATH").unwrap());
    let output = Command::new("bash")
        .args(["-c", script])
        .env("PATH", path)
        .env("SCAMP_CONFIG", bus.config())
        .output();
    let Ok(output) = output else {
        return println!("no bash here");
    };
    let seen = Run::from(output);
    assert_eq!(seen.good().trim_end(), "Greetings.hello", "{seen:?}");
}
