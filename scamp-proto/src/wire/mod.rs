//! Bytes to packets and back, and the header JSON; nothing is kept between calls.
//!
//! ```text
//! packet  =  TYPE SP msgno SP size CR LF  body  END CR LF
//! ```
//!
//! [`decode`] answers for bytes that are all there; [`LineDecoder`] is the same automaton (W-20)
//! for bytes that arrive in pieces, with its state in the caller's hands.
//!
//! # Example
//!
//! ```
//! use scamp_proto::limits::PACKET_BODY;
//! use scamp_proto::wire::{Decoded, PacketType, decode};
//!
//! let Decoded::Packet(packet, len) = decode(b"DATA 4 2\r\nhiEND\r\nEOF", PACKET_BODY)? else {
//!     panic!("the packet is whole");
//! };
//! assert_eq!((packet.kind(), packet.body(), len), (PacketType::Data, &b"hi"[..], 17));
//! assert_eq!(decode(b"EOF", PACKET_BODY)?, Decoded::Need(1));
//! # Ok::<(), scamp_proto::ViolationKind>(())
//! ```
#![cfg_attr(
    not(test),
    deny(clippy::arithmetic_side_effects, clippy::as_conversions)
)]

mod field;
mod header;
mod json;
mod line;
mod number;
mod packet;
mod write;

pub use field::Field;
pub use header::{Header, MessageType, NotObject, RemoteError, RequestId};
pub use line::{Line, LineDecoder, Step};
pub use number::MsgNo;
pub(crate) use number::parse_ack;
pub use packet::{Decoded, Packet, PacketType, TRAILER, check_trailer, decode, txerr_text};
pub(crate) use packet::{encode_ack, encode_line};
pub use write::{ReplyHead, RequestHead, Secret};
pub(crate) use write::{push_string, write_plain};
