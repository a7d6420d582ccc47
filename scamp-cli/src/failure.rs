//! Why a verb did not succeed, and the exit code that says so.

use std::io;

use scamp_host::{LoadError, SetupError};
use scamp_proto::config::ConfigError;
use scamp_proto::discovery::LookupError;
use scamp_proto::error::{
    BodyError, CallError, CloseReason, DispatchError, ExchangeError, Loss, Phase, SendError,
};
use scamp_proto::wire::RemoteError;

use crate::json::Object;

/// The exit codes, as `cli.md` lists them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Exit {
    /// Everything went well.
    Success = 0,
    /// The service answered with an error.
    Remote = 1,
    /// The command line cannot be understood; clap uses the same number.
    Usage = 2,
    /// There is no such action, or discovery is empty or stale.
    NotFound = 3,
    /// The request was certainly not processed: it is safe to try again.
    NotDispatched = 4,
    /// There was no answer in time.
    Timeout = 5,
    /// The peer is not who it should be.
    Trust = 6,
    /// The connection was lost in the middle: whether the request was processed is unknown.
    Lost = 7,
    /// Something on this side: a file, its contents, the system.
    Local = 8,
    /// The user asked for the end.
    Interrupted = 130,
}

impl Exit {
    /// An action has too few instances (K-9).
    pub(crate) const RED: Self = Self::Remote;
    /// An action has fewer instances than it should, and none has too few (K-9).
    pub(crate) const YELLOW: Self = Self::NotFound;

    /// The number given to the shell.
    pub(crate) fn code(self) -> u8 {
        self as u8
    }
}

/// Why a verb did not succeed: one line for a person, an exit code for a script.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    /// One line; nothing is printed when it is empty.
    pub(crate) text: String,
    /// The `error_code`, where the failure has one (H-12).
    pub(crate) code: Option<String>,
    /// The `error_data` as JSON, where the service sent some.
    pub(crate) data: Option<String>,
    /// Whether standard output has told it already.
    pub(crate) told: bool,
}

impl Failure {
    /// A fault on this side, which names the thing at fault first.
    pub(crate) fn local(text: impl Into<String>) -> Self {
        Self::new(Exit::Local, text)
    }

    /// The command line asks for something that makes no sense.
    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self::new(Exit::Usage, text)
    }

    /// A file, or something like one, could not be read or written.
    pub(crate) fn file(name: impl std::fmt::Display, error: &io::Error) -> Self {
        Self::local(format!("{name}: {error}"))
    }

    /// Whoever read our standard output has gone: nothing to say, and nobody to say it to.
    pub(crate) fn reader_gone() -> Self {
        Self::new(Exit::Success, "")
    }

    pub(crate) fn new(exit: Exit, text: impl Into<String>) -> Self {
        Self {
            exit,
            text: text.into(),
            code: None,
            data: None,
            told: false,
        }
    }

    /// The same, for a verb whose output on standard output says it in its own way.
    pub(crate) fn told(self) -> Self {
        Self { told: true, ..self }
    }

    /// The failure as `--json` shows it.
    pub(crate) fn to_json(&self) -> String {
        let mut object = Object::default();
        object.text("error", &self.text);
        if let Some(code) = &self.code {
            object.text("error_code", code);
        }
        if let Some(data) = &self.data {
            object.raw("error_data", data);
        }
        object.number("exit", self.exit.code().into());
        object.end()
    }

    /// The same as a `transport` error, the `error_code` of everything that is not an answer.
    fn transport(self) -> Self {
        Self {
            code: Some("transport".to_owned()),
            ..self
        }
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        Self::local(error.to_string())
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::local(error.to_string())
    }
}

impl From<SetupError> for Failure {
    fn from(error: SetupError) -> Self {
        Self::local(error.to_string())
    }
}

impl From<DispatchError> for Failure {
    fn from(error: DispatchError) -> Self {
        let exit = match &error {
            DispatchError::NotFound(_)
            | DispatchError::StaleCache
            | DispatchError::UnsupportedEnvelope { .. } => Exit::NotFound,
            DispatchError::NotAuthorized(_) => Exit::Trust,
            DispatchError::NotEstablished { reason, .. } if is_trust(reason) => Exit::Trust,
            DispatchError::Timeout(_) => Exit::Timeout,
            _ => Exit::NotDispatched,
        };
        let text = error.to_string();
        let code = CallError::from(error).code().to_owned();
        Self {
            code: Some(code),
            ..Self::new(exit, text)
        }
    }
}

impl From<LookupError> for Failure {
    fn from(error: LookupError) -> Self {
        let exit = match error {
            LookupError::NotAuthorized => Exit::Trust,
            _ => Exit::NotFound,
        };
        Self::new(exit, error.to_string())
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Remote(error) => Self::from(error),
            CallError::NotDispatched(error) => Self::from(error),
            CallError::NotSent(error) => Self::from(error),
            CallError::NoReply(error) => Self::from(error),
            CallError::Body(error) => Self::from(error),
            other => Self::new(Exit::Lost, other.to_string()).transport(),
        }
    }
}

impl From<RemoteError> for Failure {
    fn from(error: RemoteError) -> Self {
        let (code, data) = (Some(error.code), error.data);
        Self {
            code,
            data,
            ..Self::new(Exit::Remote, error.text)
        }
    }
}

impl From<SendError> for Failure {
    fn from(error: SendError) -> Self {
        let exit = match error {
            SendError::HeaderTooLarge(_) | SendError::BadField(_) => Exit::Local,
            _ => Exit::NotDispatched,
        };
        Self::new(exit, format!("request was not sent: {error}"))
    }
}

impl From<ExchangeError> for Failure {
    fn from(error: ExchangeError) -> Self {
        let exit = match &error {
            ExchangeError::NotEstablished(reason) if is_trust(reason) => Exit::Trust,
            ExchangeError::ConnectionLost { reason, .. } if is_trust(reason) => Exit::Trust,
            ExchangeError::NotEstablished(_)
            | ExchangeError::ConnectionLost {
                phase: Phase::Unsent,
                ..
            } => Exit::NotDispatched,
            ExchangeError::Timeout(_) => Exit::Timeout,
            ExchangeError::Cancelled => Exit::Interrupted,
            _ => Exit::Lost,
        };
        Self::new(exit, error.to_string()).transport()
    }
}

impl From<BodyError> for Failure {
    fn from(error: BodyError) -> Self {
        let exit = match &error {
            BodyError::PeerError(_) => Exit::Remote,
            BodyError::Timeout => Exit::Timeout,
            BodyError::BodyTooLarge(_) => Exit::Local,
            BodyError::Cancelled => Exit::Interrupted,
            _ => Exit::Lost,
        };
        Self::new(exit, format!("reply is not complete: {error}")).transport()
    }
}

fn is_trust(reason: &CloseReason) -> bool {
    matches!(reason, CloseReason::Lost(Loss::Untrusted(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use scamp_proto::error::Untrusted;
    use std::time::Duration;

    fn exit(error: impl Into<CallError>) -> u8 {
        Failure::from(error.into()).exit.code()
    }

    /// cli.md: each error has one exit code, and a wrong fingerprint is 6 in every phase.
    #[test]
    fn every_error_has_its_code() {
        let lost = |phase, reason| ExchangeError::ConnectionLost { phase, reason };
        let untrusted = CloseReason::Lost(Loss::Untrusted(Untrusted::CertificateMismatch));
        let slow = CloseReason::Lost(Loss::ConnectTimeout(Duration::from_secs(10)));
        let refused = CloseReason::Lost(Loss::Connect("refused".to_owned()));
        let gone = CloseReason::ClosedByPeer;
        assert_eq!(exit(RemoteError::new("general", "no")), 1);
        assert_eq!(exit(ExchangeError::NotEstablished(refused)), 4);
        assert_eq!(exit(ExchangeError::NotEstablished(slow)), 4);
        assert_eq!(exit(ExchangeError::NotEstablished(untrusted.clone())), 6);
        assert_eq!(exit(lost(Phase::Waiting, untrusted)), 6);
        assert_eq!(exit(lost(Phase::Unsent, gone.clone())), 4);
        assert_eq!(exit(lost(Phase::Sending, gone.clone())), 7);
        assert_eq!(exit(lost(Phase::Waiting, gone)), 7);
        assert_eq!(exit(ExchangeError::Timeout(1)), 5);
        assert_eq!(exit(ExchangeError::Cancelled), 130);
        assert_eq!(exit(ExchangeError::BadHeader("request_id")), 7);
        assert_eq!(exit(SendError::Closed), 4);
        assert_eq!(exit(SendError::HeaderTooLarge(200_000)), 8);
        assert_eq!(exit(BodyError::PeerError("no".to_owned())), 1);
        assert_eq!(exit(BodyError::ConnectionLost), 7);
        assert_eq!(exit(BodyError::Timeout), 5);
        assert_eq!(exit(BodyError::BodyTooLarge(1)), 8);
    }

    /// cli.md: why a call was given to nobody has a code as well.
    #[test]
    fn undispatched_calls_have_their_codes() {
        let action = || "A.b~1".to_owned();
        let not_established = |reason| DispatchError::NotEstablished {
            uri: "beepish+tls://192.0.2.7:1".to_owned(),
            reason,
        };
        let untrusted = CloseReason::Lost(Loss::Untrusted(Untrusted::CertificateMismatch));
        assert_eq!(exit(DispatchError::NotFound(action())), 3);
        assert_eq!(exit(DispatchError::StaleCache), 3);
        assert_eq!(exit(DispatchError::NotAuthorized(action())), 6);
        assert_eq!(exit(not_established(CloseReason::ClosedByPeer)), 4);
        assert_eq!(exit(not_established(untrusted)), 6);
        assert_eq!(exit(DispatchError::Timeout(Duration::from_secs(1))), 5);
        assert_eq!(exit(DispatchError::Draining), 4);
        assert_eq!(exit(DispatchError::TooManyWaiting(1)), 4);
    }

    /// cli.md: `--json` tells the `error_code` and the exit code.
    #[test]
    fn failures_are_objects() {
        let error = RemoteError::new("x_y", "no\u{1b}").with_data("{ \"n\": 1 }");
        assert_eq!(
            Failure::from(error).to_json(),
            r#"{"error":"no\u001b","error_code":"x_y","error_data":{"n":1},"exit":1}"#
        );
    }
}
