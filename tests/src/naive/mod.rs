//! The naive second implementation (HD-59): a [`Stream`] is what a whole input amounts to.
//!
//! [`packets`] reads packets by regular expression, [`header`] reads the header JSON through a
//! generic tree, and [`semantics`] says what a receiver reports about the packets. [`authorized`]
//! says who may provide what.

pub mod authorized;
pub mod header;
pub mod packets;
pub mod semantics;

/// Everything a packet parser has to say about one whole input.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Stream {
    /// The packets that are complete and valid, in order.
    pub packets: Vec<Packet>,
    /// How the input ended.
    pub end: End,
    /// How many octets of the input must have been seen before `end` is known.
    ///
    /// For a violation this counts the offending octet. For the other ends it is the length of
    /// the input.
    pub noticed_at: usize,
}

/// One complete packet (section 2.1).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Packet {
    /// Offset of the packet's first octet in the input.
    pub offset: usize,
    /// Offset just after the packet's last octet.
    pub after: usize,
    /// The word the packet begins with.
    pub packet_type: PacketType,
    /// The first number of the header line.
    pub msgno: u64,
    /// The octets between the header line and the trailer.
    pub body: Vec<u8>,
}

/// The seven packet types (section 2.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PacketType {
    /// `HEADER`: a message begins.
    Header,
    /// `DATA`: octets of a message's body.
    Data,
    /// `EOF`: a message ends normally.
    Eof,
    /// `TXERR`: a message ends with an error.
    TxErr,
    /// `ACK`: the other end took octets of a message.
    Ack,
    /// `PING`: the other end asks for a `PONG`.
    Ping,
    /// `PONG`: the answer to `PING`.
    Pong,
}

impl PacketType {
    /// All types, in the order of the grammar.
    pub const ALL: [Self; 7] = [
        Self::Header,
        Self::Data,
        Self::Eof,
        Self::TxErr,
        Self::Ack,
        Self::Ping,
        Self::Pong,
    ];

    /// The word on the wire.
    pub fn word(self) -> &'static str {
        match self {
            Self::Header => "HEADER",
            Self::Data => "DATA",
            Self::Eof => "EOF",
            Self::TxErr => "TXERR",
            Self::Ack => "ACK",
            Self::Ping => "PING",
            Self::Pong => "PONG",
        }
    }

    /// The type whose word is exactly `word`.
    pub fn from_word(word: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|known| known.word().as_bytes() == word)
    }
}

/// How an input ended. Offsets are those of the first octet of the packet concerned.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// The input ended between packets (W-19).
    Clean,
    /// The input ended inside a packet (W-19).
    Truncated {
        /// First octet of the incomplete packet.
        offset: usize,
    },
    /// A packet broke a rule; nothing after it was read (W-13).
    Violation {
        /// First octet of the packet in which it happened.
        offset: usize,
        /// Which rule.
        kind: Kind,
    },
}

/// The connection errors of P-5 that packets can cause.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// 80 octets and no complete line (W-4).
    HeaderLineTooLong,
    /// An octet that cannot continue a header line, or a message number over 2⁶³−1 (W-2, W-3, W-5).
    HeaderLineMalformed,
    /// One to six capitals that name no packet type (W-9).
    UnknownPacketType,
    /// A size over the limit (W-6).
    PacketTooLarge,
    /// An EOF with a body (W-14).
    EofNotEmpty,
    /// Not `END` CR LF after the body (W-8).
    TrailerMalformed,
    /// A HEADER that is not the next of its direction (W-14).
    MsgnoOutOfSequence,
    /// A HEADER whose body is no JSON object (H-1).
    HeaderNotObject,
    /// DATA, EOF or TXERR for a message that is not open (W-14).
    NoSuchMessage,
    /// An ACK whose body is not of A-1's form.
    AckMalformed,
    /// An ACK that repeats or goes back.
    AckNotAdvancing,
    /// An ACK of more than was sent.
    AckBeyondSent,
}
