//! Why a connection ended, which rule a peer broke, and what was asked that cannot be done.

use alloc::string::String;
use core::time::Duration;

use thiserror::Error;

use crate::wire::{MsgNo, RemoteError};

/// Why a connection ended.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum CloseReason {
    /// The application closed the connection.
    #[error("closed locally")]
    ClosedLocally,
    /// The peer closed the transport between messages.
    #[error("closed by peer")]
    ClosedByPeer,
    /// Nothing was in progress and nothing passed for the whole idle timeout (S-24).
    #[error("idle limit exceeded ({0:?})")]
    Idle(Duration),
    /// The transport ended inside a message.
    #[error("transport ended with {open} message(s) unfinished")]
    Unfinished {
        /// Messages that were open, in either direction.
        open: usize,
    },
    /// The peer broke a rule of the protocol.
    #[error("peer broke the protocol: {0}")]
    Violation(#[from] Violation),
    /// The peer does not answer PING (S-27).
    #[error("heartbeat expired: no PONG within {0:?}")]
    HeartbeatExpired(Duration),
    /// The transport took too little of our output for too long (HD-31).
    #[error("peer stalled: it took fewer than 64 KiB in {0:?}")]
    PeerStalled(Duration),
    /// The application read nothing for too long while its buffer was full.
    #[error("receiver stalled: nothing was read for {0:?}")]
    ReceiverStalled(Duration),
    /// All message numbers or request ids are used up (W-5); the connection has drained.
    #[error("message numbers are exhausted")]
    MsgnoExhausted,
    /// The layer below failed, for example TLS.
    #[error("{0}")]
    Lost(#[from] Loss),
}

/// How the layer below a connection failed.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum Loss {
    /// The transport failed; the operating system's own words.
    #[error("transport failed: {0}")]
    Io(String),
    /// The transport could not be opened; the operating system's own words.
    #[error("could not connect: {0}")]
    Connect(String),
    /// TLS failed: no common version or cipher suite, a corrupt record, an alert.
    #[error("TLS failed: {0}")]
    Tls(String),
    /// Connecting and shaking hands took too long (S-20).
    #[error("no connection within {0:?}")]
    ConnectTimeout(Duration),
    /// The peer is not who it should be (L-3, L-6, HD-11).
    #[error("peer is not trusted: {0}")]
    Untrusted(#[from] Untrusted),
}

/// Why a peer's certificate was refused.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum Untrusted {
    /// The certificate has another fingerprint than the one pinned (L-3).
    #[error("fingerprint is {got}, expected {expected}")]
    FingerprintMismatch {
        /// The fingerprint that was pinned.
        expected: String,
        /// The fingerprint of what the peer presented.
        got: String,
    },
    /// The fingerprint matches, but the certificate is not the one known (HD-11).
    #[error("certificate differs from the one announced, with the same fingerprint")]
    CertificateMismatch,
    /// The peer presented no certificate (L-3).
    #[error("no certificate was presented")]
    NoPeerCertificate,
    /// The peer does not hold the certificate's key (L-6).
    #[error("handshake signature does not fit the certificate: {0}")]
    BadSignature(String),
}

/// A rule the peer broke, and where in its byte stream it did so.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("{kind} at byte {offset}")]
pub struct Violation {
    /// The rule.
    pub kind: ViolationKind,
    /// Offset of the offending packet's first byte in the inbound stream.
    pub offset: u64,
}

/// The rules a peer can break; each ends the connection (P-5).
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum ViolationKind {
    /// No complete header line within the limit (W-4).
    #[error("header line longer than 80 octets")]
    HeaderLineTooLong,
    /// A header line that cannot be one (W-2, W-3, W-5).
    #[error("malformed header line")]
    HeaderLineMalformed,
    /// A packet type that does not exist (W-9).
    #[error("unknown packet type")]
    UnknownPacketType,
    /// A packet body over the limit (W-6).
    #[error("packet body of {size} octets, limit {limit}")]
    PacketTooLarge {
        /// The size on the header line, saturated at `u64::MAX`.
        size: u64,
        /// The limit in force.
        limit: u64,
    },
    /// The five octets after a body were not `END` CR LF (W-8).
    #[error("malformed packet trailer")]
    TrailerMalformed,
    /// A HEADER that is not one JSON object (H-1).
    #[error("header is not a JSON object")]
    HeaderNotObject,
    /// A HEADER out of sequence (W-14).
    #[error("HEADER for message {got} where {expected} was due")]
    MsgnoOutOfSequence {
        /// The number that was due.
        expected: MsgNo,
        /// The number that came.
        got: MsgNo,
    },
    /// DATA, EOF or TXERR for a message that is not open (W-14).
    #[error("packet for message {0}, which is not open")]
    NoSuchMessage(MsgNo),
    /// An EOF with a body (W-14).
    #[error("EOF with a body")]
    EofNotEmpty,
    /// An empty or `0` TXERR, where strictness was asked for (S-8).
    #[error("TXERR without a text")]
    TxErrEmpty,
    /// An ACK whose body is not a decimal number.
    #[error("malformed ACK for message {0}")]
    AckMalformed(MsgNo),
    /// An ACK that acknowledges nothing new.
    #[error("ACK of {acked} for message {msgno} does not advance")]
    AckNotAdvancing {
        /// The message.
        msgno: MsgNo,
        /// The number in the ACK.
        acked: u64,
    },
    /// An ACK for more than was sent.
    #[error("ACK of {acked} for message {msgno} with {sent} octets sent")]
    AckBeyondSent {
        /// The message.
        msgno: MsgNo,
        /// The number in the ACK.
        acked: u64,
        /// The octets sent.
        sent: u64,
    },
    /// The stream ended inside a packet (W-19).
    #[error("stream ended inside a packet")]
    TruncatedPacket,
    /// A packet begun and not completed in time (HD-30).
    #[error("packet not complete in time")]
    PacketTimeout,
    /// Twice the limit of open messages (S-6).
    #[error("too many open messages")]
    TooManyMessages,
    /// More of something cheap than any honest peer sends (HD-27, HD-28).
    #[error("flood of {0}")]
    Flood(Flood),
}

impl ViolationKind {
    /// The kind's name, as the specification spells it (P-5).
    pub fn name(self) -> &'static str {
        match self {
            Self::HeaderLineTooLong => "HeaderLineTooLong",
            Self::HeaderLineMalformed => "HeaderLineMalformed",
            Self::UnknownPacketType => "UnknownPacketType",
            Self::PacketTooLarge { .. } => "PacketTooLarge",
            Self::TrailerMalformed => "TrailerMalformed",
            Self::HeaderNotObject => "HeaderNotObject",
            Self::MsgnoOutOfSequence { .. } => "MsgnoOutOfSequence",
            Self::NoSuchMessage(_) => "NoSuchMessage",
            Self::EofNotEmpty => "EofNotEmpty",
            Self::TxErrEmpty => "TxErrEmpty",
            Self::AckMalformed(_) => "AckMalformed",
            Self::AckNotAdvancing { .. } => "AckNotAdvancing",
            Self::AckBeyondSent { .. } => "AckBeyondSent",
            Self::TruncatedPacket => "TruncatedPacket",
            Self::PacketTimeout => "PacketTimeout",
            Self::TooManyMessages => "TooManyMessages",
            Self::Flood(_) => "Flood",
        }
    }
}

/// What a peer sent too much of (HD-27, HD-28).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Flood {
    /// Messages opened and aborted before anyone saw them.
    Aborts,
    /// Headers with a bad field or an unknown type.
    BadHeaders,
    /// DATA packets without an octet.
    EmptyData,
    /// ACKs for messages that are finished or were never sent.
    IdleAcks,
    /// PING packets.
    Pings,
    /// PONG packets nobody asked for.
    Pongs,
    /// DATA packets of a few octets that nobody has read yet.
    SmallData,
}

impl core::fmt::Display for Flood {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Aborts => "aborted messages",
            Self::BadHeaders => "bad headers",
            Self::EmptyData => "empty DATA packets",
            Self::IdleAcks => "ACKs without effect",
            Self::Pings => "PING packets",
            Self::Pongs => "unasked PONG packets",
            Self::SmallData => "small DATA packets",
        })
    }
}

/// A call that this connection cannot honour; the connection itself is unharmed.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum SendError {
    /// The connection has ended.
    #[error("connection is closed")]
    Closed,
    /// The connection takes nothing new; what is in progress goes on (S-35).
    #[error("connection is draining")]
    Draining,
    /// The header JSON is over 126 976 octets (W-7). No message number was used.
    #[error("header of {0} octets, limit 126976")]
    HeaderTooLarge(usize),
    /// A header field cannot be sent: a raw extra that is not JSON, or a name twice.
    #[error("header field {0} cannot be sent")]
    BadField(&'static str),
    /// Message numbers or request ids have reached 2^53 - 1 (W-5).
    #[error("message numbers are exhausted")]
    MsgnoExhausted,
    /// The message, exchange or request is not open (any more).
    #[error("not open")]
    NotOpen,
    /// Too much is waiting to leave, or outstanding; try again after some of it is done.
    #[error("would block")]
    WouldBlock,
    /// More octets were to be acknowledged than were received, or fewer than before.
    #[error("acknowledged octets out of range")]
    AckOutOfRange,
}

/// Why an incoming body did not come to its proper end. A body that ended so is never complete.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum BodyError {
    /// The sender gave up, with a text (TXERR, S-8).
    #[error("{0}")]
    PeerError(String),
    /// The connection ended first (S-30, S-31).
    #[error("Connection closed before message finished")]
    ConnectionLost,
    /// The deadline passed, or the message brought nothing for too long (S-21, HD-30).
    #[error("timed out")]
    Timeout,
    /// Too much was waiting unread, and this was the largest part of it (HD-24).
    #[error("overloaded: the unread body was dropped")]
    Overloaded,
    /// A collected body went over its limit.
    #[error("body larger than {0} octets")]
    BodyTooLarge(usize),
    /// The exchange was cancelled (S-14).
    #[error("cancelled")]
    Cancelled,
}

/// Why a request has no reply. A request ends in exactly one of these, or in a reply (HD-49).
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum ExchangeError {
    /// No connection could be made, so the request was certainly not processed (S-30).
    #[error("Connection could not be established: {0}")]
    NotEstablished(CloseReason),
    /// The connection was lost (S-30).
    #[error("Connection lost ({phase}): {reason}")]
    ConnectionLost {
        /// How far the request had come.
        phase: Phase,
        /// What ended the connection.
        reason: CloseReason,
    },
    /// No reply before the deadline (S-21).
    #[error("RPC Timeout (request {0})")]
    Timeout(u64),
    /// The caller gave up (S-14).
    #[error("cancelled")]
    Cancelled,
    /// The reply's header has a field that cannot be used (H-3).
    #[error("reply header has an unusable field: {0}")]
    BadHeader(&'static str),
}

impl ExchangeError {
    /// Whether the request was certainly not processed, so that it may be sent again (H-13).
    pub fn is_dispatch_failure(&self) -> bool {
        matches!(
            self,
            Self::NotEstablished(_)
                | Self::ConnectionLost {
                    phase: Phase::Unsent,
                    ..
                }
        )
    }
}

/// How far a request had come when its connection was lost (S-30).
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Phase {
    /// The HEADER had not been handed to the transport: certainly not processed.
    Unsent,
    /// The HEADER had been handed over, the EOF had not.
    Sending,
    /// The request had been handed over whole; no reply had begun.
    Waiting,
    /// A reply had begun.
    Receiving,
}

impl core::fmt::Display for Phase {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Unsent => "before the request was sent",
            Self::Sending => "while the request was being sent",
            Self::Waiting => "while waiting for the reply",
            Self::Receiving => "while the reply was arriving",
        })
    }
}

/// Why a call was given to no service: nothing of it has left (S-30, D-43).
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum DispatchError {
    /// No service that is known offers the action.
    #[error("no service offers {0}: is one running, and is the discovery cache being written?")]
    NotFound(String),
    /// Services offer the action, and none of them may (Z-4).
    #[error("{0} is announced, but bus.authorized_services lists no service that may offer it")]
    NotAuthorized(String),
    /// Services offer the action, but not under the envelope (H-9).
    #[error("{action} is not offered under envelope {envelope}")]
    UnsupportedEnvelope {
        /// The action.
        action: String,
        /// The envelope that was asked for.
        envelope: String,
    },
    /// What is known of services is too old to be relied on (D-36).
    #[error("the discovery cache is stale: is the cache manager running?")]
    StaleCache,
    /// No connection to a service could be made (S-30).
    #[error("Connection could not be established to {uri}: {reason}")]
    NotEstablished {
        /// Where the service was to be.
        uri: String,
        /// What went wrong.
        reason: CloseReason,
    },
    /// No connection to a service was there before the deadline (S-21).
    #[error("RPC Timeout: no connection within {0:?}")]
    Timeout(Duration),
    /// The requester begins nothing new (S-35).
    #[error("the requester is draining")]
    Draining,
    /// As many calls as may wait for a connection wait already.
    #[error("{0} calls wait for a connection already")]
    TooManyWaiting(usize),
}

/// Why a call brought no result: what the faces return.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum CallError {
    /// No service was found or reached; nothing of the request has left.
    #[error("{0}")]
    NotDispatched(#[from] DispatchError),
    /// The request could not be sent; nothing of it has left.
    #[error("request was not sent: {0}")]
    NotSent(#[from] SendError),
    /// There is no reply, and there will be none.
    #[error("{0}")]
    NoReply(#[from] ExchangeError),
    /// The service answered with an error.
    #[error("{0}")]
    Remote(#[from] RemoteError),
    /// The reply began and did not come to its end.
    #[error("reply is not complete: {0}")]
    Body(#[from] BodyError),
}

impl CallError {
    /// Whether the request was certainly not processed, so that it may be sent again (H-13).
    pub fn is_dispatch_failure(&self) -> bool {
        match self {
            Self::NotDispatched(_) | Self::NotSent(_) => true,
            Self::NoReply(error) => error.is_dispatch_failure(),
            Self::Remote(error) => error.is_dispatch_failure(),
            Self::Body(_) => false,
        }
    }

    /// The `error_code` that says this to somebody else: the table after H-13.
    pub fn code(&self) -> &str {
        match self {
            Self::NotDispatched(error) => match error {
                DispatchError::NotFound(_) => "no_action",
                DispatchError::NotAuthorized(_) => "authz",
                DispatchError::UnsupportedEnvelope { .. } => "bad_request",
                DispatchError::TooManyWaiting(_) => "overloaded",
                DispatchError::StaleCache
                | DispatchError::NotEstablished { .. }
                | DispatchError::Timeout(_)
                | DispatchError::Draining => "transport",
            },
            Self::Remote(error) => &error.code,
            Self::NotSent(_) | Self::NoReply(_) | Self::Body(_) => "transport",
        }
    }
}
