//! Running the command.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::thread;

use serde_json::Value;

/// The command with these arguments, nothing on its standard input, and no colours asked for.
pub(crate) fn scamp<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_scamp"));
    command
        .args(arguments)
        .env_remove("NO_COLOR")
        .env_remove("SCAMP_CONFIG")
        .env_remove("SCAMP_CONFIG_DIR")
        .env_remove("SCAMP")
        .env_remove("GTSOA")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A file of the recorded vectors, by its path below `tests/vectors/scamp`.
pub(crate) fn vector(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/vectors/scamp")
        .join(name)
}

/// An index of recorded vectors.
pub(crate) fn index(name: &str) -> Value {
    let octets = std::fs::read(vector(name)).expect("it is there");
    serde_json::from_slice(&octets).expect("it is JSON")
}

/// A path as an argument.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// What became of a run.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Run {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).expect("standard output is UTF-8")
    }

    /// Standard output as one JSON value per line.
    pub(crate) fn lines(&self) -> Vec<Value> {
        let parse =
            |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
        self.text().lines().map(parse).collect()
    }

    /// The run ended well, and what it printed.
    #[track_caller]
    pub(crate) fn good(&self) -> &str {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.text()
    }

    /// The run ended with this code and one line on standard error that has `word` in it.
    #[track_caller]
    pub(crate) fn failed(&self, code: i32, word: &str) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(self.stderr.contains(word), "{word:?} is not in {self:?}");
        if code != 2 {
            assert_eq!(self.stderr.lines().count(), 1, "{self:?}");
        }
    }
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: output.stdout,
            stderr: String::from_utf8(output.stderr).expect("standard error is UTF-8"),
        }
    }
}

/// Runs the command to its end.
pub(crate) fn run<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Run {
    scamp(arguments).output().expect("it starts").into()
}

/// Runs the command to its end with these octets on its standard input.
pub(crate) fn run_with<S: AsRef<OsStr>>(
    arguments: impl IntoIterator<Item = S>,
    input: &[u8],
) -> Run {
    let mut child = scamp(arguments)
        .stdin(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    // It may end before it has read everything.
    let writer = thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("the writer ends");
    output.into()
}

/// A running `scamp serve`, killed when dropped.
pub(crate) struct Serve {
    child: Child,
    stderr: Option<BufReader<ChildStderr>>,
    pub(crate) address: String,
    pub(crate) fingerprint: String,
    pub(crate) ready: Value,
}

impl Serve {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::spawned(scamp(["serve", "--json", "-v"]).args(arguments))
    }

    /// One with this configuration.
    pub(crate) fn on(config: &Path, arguments: &[&str]) -> Self {
        Self::spawned(
            scamp(["serve", "--json"])
                .args(arguments)
                .env("SCAMP_CONFIG", config),
        )
    }

    /// One that may have only this many files open.
    #[cfg(unix)]
    pub(crate) fn with_files(files: usize) -> Self {
        let limited = format!("ulimit -n {files}; exec \"$@\"");
        let mut command = Command::new("sh");
        command
            .args(["-c", &limited, "sh", env!("CARGO_BIN_EXE_scamp")])
            .args(["serve", "--json", "-v"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Self::spawned(&mut command)
    }

    fn spawned(command: &mut Command) -> Self {
        let mut child = command.spawn().expect("it starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("piped");
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("it prints a line");
        let stderr = child.stderr.take().map(BufReader::new);
        let ready: Value = serde_json::from_str(&line).expect("the line is JSON");
        let text = |name: &str| ready[name].as_str().expect("a text").to_owned();
        Self {
            address: text("address"),
            fingerprint: text("fingerprint"),
            child,
            stderr,
            ready,
        }
    }

    /// `call` with these arguments, to this service.
    pub(crate) fn arguments<'a>(&'a self, arguments: &[&'a str]) -> Vec<&'a str> {
        let rest = [
            "--connect",
            &self.address,
            "--fingerprint",
            &self.fingerprint,
        ];
        [&["call"], arguments, &rest].concat()
    }

    pub(crate) fn call(&self, arguments: &[&str]) -> Run {
        run(self.arguments(arguments))
    }

    pub(crate) fn call_with(&self, arguments: &[&str], input: &[u8]) -> Run {
        run_with(self.arguments(arguments), input)
    }

    pub(crate) fn spawn(&self, arguments: &[&str]) -> Child {
        scamp(self.arguments(arguments)).spawn().expect("it starts")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line on standard error that has this in it.
    pub(crate) fn wait_for(&mut self, word: &str) {
        let stderr = self.stderr.as_mut().expect("piped");
        let mut line = String::new();
        while !line.contains(word) {
            line.clear();
            let octets = stderr.read_line(&mut line).expect("it is UTF-8");
            assert!(octets > 0, "standard error ended without {word:?}");
        }
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
    }

    /// Waits for its end; returns its exit code.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        // Somebody must read what it still says, or it would wait for that.
        if let Some(mut stderr) = self.stderr.take() {
            thread::spawn(move || stderr.read_to_end(&mut Vec::new()));
        }
        self.child.wait().expect("it ends").code()
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal, such as `INT`.
pub(crate) fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill")
        .args([&format!("-{name}"), &pid.to_string()])
        .status();
    assert!(sent.expect("kill starts").success());
}

/// The most memory a process has had, in octets.
#[cfg(target_os = "linux")]
pub(crate) fn peak_memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it is running");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .expect("Linux tells it");
    let number = line.split_whitespace().nth(1).expect("a number");
    number.parse::<u64>().expect("a number") * 1024
}
