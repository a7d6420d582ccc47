//! Actions that are programs: `serve --exec ACTION=COMMAND`.

use std::io::{self, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use scamp_blocking::{Action, Body, BodyWriter, RemoteError, Reply, Request};

/// An action, and the command that serves it.
#[derive(Clone, Debug)]
pub(crate) struct Exec {
    /// The sector, if it was written.
    pub(crate) sector: Option<String>,
    action: Action,
    command: String,
}

impl Exec {
    /// `[SECTOR:]Name.space.verb[~VERSION][,FLAG…]=COMMAND`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (action, command) = text
            .split_once('=')
            .ok_or("expected ACTION=COMMAND, as in main:x.y~1=./script")?;
        if command.trim().is_empty() {
            return Err("the command is empty".to_owned());
        }
        let (name, flags) = action.split_once(',').unwrap_or((action, ""));
        let (sector, name) = match name.split_once(':') {
            Some((sector, name)) => (Some(sector.to_owned()), name),
            None => (None, name),
        };
        let action = Action::parse(name).map_err(|error| error.to_string())?;
        Ok(Self {
            sector,
            action: action.flags(flags).envelopes(&[]),
            command: command.to_owned(),
        })
    }

    pub(crate) fn action(&self) -> &Action {
        &self.action
    }

    /// `Name.space.verb~VERSION`.
    pub(crate) fn name(&self) -> String {
        format!("{}~{}", self.action.name(), self.action.version())
    }

    /// Runs the command: the request's body is its input, its output the reply's body.
    pub(crate) fn serve(&self, mut request: Request) -> Result<Reply, RemoteError> {
        let mut child = self.spawn(&request).map_err(|error| {
            RemoteError::new("general", format!("{} cannot be run: {error}", self.name()))
        })?;
        let is_broken = Arc::new(AtomicBool::new(false));
        if let Some(input) = child.stdin.take() {
            let (body, is_broken) = (std::mem::take(&mut request.body), is_broken.clone());
            thread::spawn(move || feed(body, input, &is_broken));
        }
        let pieces = child.stdout.take().map(listen);
        let trouble = child.stderr.take().map(|mut errors| {
            thread::spawn(move || {
                let mut text = Vec::new();
                // What there is of it will do.
                let _ = errors.by_ref().take(ERRORS).read_to_end(&mut text);
                let _ = io::copy(&mut errors, &mut io::sink());
                String::from_utf8_lossy(&text).into_owned()
            })
        });
        let mut run = Run {
            child,
            name: self.name(),
            pieces,
            trouble,
            request,
            is_broken,
        };
        // A short reply waits for the exit code, which may make an error of it; a long one cannot.
        let mut begun = Vec::new();
        while begun.len() < HELD {
            match run.next()? {
                Some(piece) => begun.extend_from_slice(&piece),
                None => return run.end().map(|()| Reply::new(begun)),
            }
        }
        Ok(Reply::stream(move |writer| run.stream(&begun, writer)))
    }

    fn spawn(&self, request: &Request) -> io::Result<Child> {
        let header = &request.header;
        let mut command = Command::new("sh");
        command
            .args(["-c", &self.command])
            .env("SCAMP_ACTION", self.action.name())
            .env("SCAMP_VERSION", self.action.version().to_string())
            .env(
                "SCAMP_HEADER",
                crate::json::one_line(&public(header.as_json())),
            )
            .env("SCAMP_CLIENT_ID", request.client_id().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(peer) = request.peer() {
            command.env("SCAMP_PEER", peer.to_string());
        }
        match request.real_ticket() {
            Some(ticket) => command.env("SCAMP_USER_ID", ticket.user_id().to_string()),
            // Nobody else's, if this service was started by such a program.
            None => command.env_remove("SCAMP_USER_ID"),
        };
        command.spawn()
    }
}

/// A header without what other programs of this machine could read off the environment (HD-12).
fn public(header: &str) -> String {
    match serde_json::from_str::<serde_json::Value>(header) {
        Ok(serde_json::Value::Object(mut fields)) => {
            fields.remove("ticket");
            fields.remove("identifying_token");
            serde_json::Value::Object(fields).to_string()
        }
        _ => "{}".to_owned(),
    }
}

fn feed(body: Body, mut input: ChildStdin, is_broken: &AtomicBool) {
    for piece in body {
        let Ok(piece) = piece else {
            // Before its end, which could be taken for the body's.
            is_broken.store(true, Ordering::SeqCst);
            return;
        };
        // A program need not read everything.
        if input.write_all(&piece).is_err() {
            return;
        }
    }
}

/// Reads a program's output on a thread, so that waiting for it can be given up.
fn listen(mut output: ChildStdout) -> Receiver<io::Result<Vec<u8>>> {
    let (sender, receiver) = mpsc::sync_channel(1);
    thread::spawn(move || {
        let mut room = vec![0; PIECE];
        loop {
            let piece = match output.read(&mut room) {
                Ok(0) => return,
                Ok(len) => Ok(room.get(..len).unwrap_or_default().to_vec()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
            if sender.send(piece).is_err() {
                return;
            }
        }
    });
    receiver
}

/// A program that runs; dropped, it is killed.
struct Run {
    child: Child,
    name: String,
    pieces: Option<Receiver<io::Result<Vec<u8>>>>,
    trouble: Option<thread::JoinHandle<String>>,
    request: Request,
    /// Whether the request's body broke off, so that what the program makes of it is worth nothing.
    is_broken: Arc<AtomicBool>,
}

impl Run {
    /// The next of its output; `None` at the end.
    fn next(&mut self) -> Result<Option<Vec<u8>>, RemoteError> {
        let Some(pieces) = &self.pieces else {
            return Ok(None);
        };
        loop {
            match pieces.recv_timeout(LOOK) {
                Ok(Ok(piece)) => return Ok(Some(piece)),
                Err(RecvTimeoutError::Disconnected) => return self.check().map(|()| None),
                Err(RecvTimeoutError::Timeout) => self.check()?,
                Ok(Err(error)) => return Err(RemoteError::new("general", error.to_string())),
            }
        }
    }

    /// Whether there is any use in going on.
    fn check(&self) -> Result<(), RemoteError> {
        let text = match (
            self.request.cancelled(),
            self.is_broken.load(Ordering::SeqCst),
        ) {
            (true, _) => "nobody waits for the reply",
            (false, true) => "the request's body broke off",
            (false, false) => return Ok(()),
        };
        Err(RemoteError::new("transport", text))
    }

    /// Waits for its end, and judges by its exit code.
    fn end(&mut self) -> Result<(), RemoteError> {
        let status = self.child.wait();
        let status = status.map_err(|error| RemoteError::new("general", error.to_string()))?;
        let said = self.trouble.take().and_then(|said| said.join().ok());
        let said = said.unwrap_or_default();
        if !said.trim().is_empty() {
            for line in said.lines() {
                let line = crate::terminal::outside(line, crate::terminal::FIELD);
                crate::terminal::complain(&format!("{}: {line}", self.name));
            }
        }
        if status.success() {
            return Ok(());
        }
        let (code, what) = describe(status);
        let last = said.lines().map(str::trim).rfind(|line| !line.is_empty());
        let text = last.map_or(what, |line| crate::terminal::outside(line, 1000));
        Err(RemoteError::new(code, text))
    }

    fn stream(mut self, begun: &[u8], writer: &mut BodyWriter) -> io::Result<()> {
        writer.write_all(begun)?;
        let gone = |error: RemoteError| io::Error::other(error.text);
        while let Some(piece) = self.next().map_err(gone)? {
            writer.write_all(&piece)?;
        }
        self.end().map_err(gone)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The `error_code` for how a program ended, and the same in words.
fn describe(status: ExitStatus) -> (String, String) {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return (
            format!("signal_{signal}"),
            format!("the program was ended by signal {signal}"),
        );
    }
    let code = status.code().unwrap_or_default();
    (
        format!("exit_{code}"),
        format!("the program ended with code {code}"),
    )
}

/// Octets of output that wait for the exit code.
const HELD: usize = 65_536;

/// Octets read from a program at a time.
const PIECE: usize = 32_768;

/// Octets of standard error that are looked at.
const ERRORS: u64 = 16_384;

/// How often a program that is silent is looked after.
const LOOK: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    /// cli.md: `--exec 'main:x.y~1=./script'`, with flags after commas.
    #[test]
    fn syntax() {
        let exec = Exec::parse("main:x.y~2,read,t30=./script a=b").expect("good");
        assert_eq!(exec.sector.as_deref(), Some("main"));
        assert_eq!(exec.name(), "x.y~2");
        assert_eq!(exec.command, "./script a=b");
        assert!(exec.action.has_flag("read"));
        assert_eq!(Exec::parse("x.y=cat").expect("good").sector, None);
        for bad in ["x.y", "x.y=", "x=cat", "x.y~0=cat", "a:b:c.d=cat"] {
            assert!(Exec::parse(bad).is_err(), "{bad}");
        }
    }

    /// HD-12: a ticket is not for everybody who may look at a process's environment.
    #[test]
    fn secrets_stay_out_of_the_environment() {
        let header = r#"{"ticket":"1,2","identifying_token":"x","action":"A.b"}"#;
        assert_eq!(public(header), r#"{"action":"A.b"}"#);
        assert_eq!(public("[1]"), "{}");
    }
}
