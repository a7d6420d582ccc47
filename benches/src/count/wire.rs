//! The wire: one packet, one header.

use std::hint::black_box;

use bytes::Bytes;
use scamp_proto::limits::PACKET_BODY;
use scamp_proto::wire::{Decoded, Header, Packet, decode};
use scamp_proto::{MsgNo, Outbox};

use super::{Job, SIZES};

/// Its jobs.
pub const JOBS: &[Job] = &[
    tokenize("decode-data-0", |n| decode_data(n, SIZES[0])),
    tokenize("decode-data-100", |n| decode_data(n, SIZES[1])),
    tokenize("decode-data-2048", |n| decode_data(n, SIZES[2])),
    tokenize("decode-data-32768", |n| decode_data(n, SIZES[3])),
    tokenize("decode-data-131072", |n| decode_data(n, SIZES[4])),
    Job::new("encode-data-100", encode_data).goal("", None, Some(0.0)),
    Job::new("header-parse", |n| parse_header(n, PLAIN.to_owned())).goal("", None, Some(0.0)),
    Job::new("header-parse-ticket", |n| parse_header(n, with_ticket())).goal("", None, Some(0.0)),
];

/// A header JSON of 146 octets, the one that the goals count with.
pub const PLAIN: &str = concat!(
    r#"{"type":"request","request_id":123456,"action":"Benchmark.Echo.say","version":1,"#,
    r#""envelope":"json","client_id":1234567890,"terminal":"10.10.0.101"}"#
);

/// A ticket as long as those that an RSA-2048 key signs.
pub const TICKET_TEXT: &str = concat!(
    "1,123456,1234567890,1700000000,86400,1+2+3+4+5+6+7+8,",
    "QWxsIHRoYXQgaXMgZ29sZCBkb2VzIG5vdCBnbGl0dGVyLCBub3QgYWxsIHRob3NlIHdobyB3YW5kZXIgYXJl",
    "IGxvc3Q7IHRoZSBvbGQgdGhhdCBpcyBzdHJvbmcgZG9lcyBub3Qgd2l0aGVyLCBkZWVwIHJvb3RzIGFyZSBu",
    "b3QgcmVhY2hlZCBieSB0aGUgZnJvc3QuIEZyb20gdGhlIGFzaGVzIGEgZmlyZSBzaGFsbCBiZSB3b2tlbi4u",
    "LiBBIGxpZ2h0IGZyb20gdGhlIHNoYWRvd3Mgc2hhbGwgc3ByaW5nLCByZW5ld2VkIHNoYWxsIGJlIGJsYWRl",
);

/// The header JSON of `PLAIN` with `TICKET_TEXT` in it.
pub fn with_ticket() -> String {
    let fields = PLAIN.strip_suffix('}').unwrap_or(PLAIN);
    format!("{fields},\"ticket\":\"{TICKET_TEXT}\"}}")
}

/// One packet of DATA as it is on the wire.
pub fn data_packet(msgno: u64, size: usize) -> Vec<u8> {
    let mut out = Outbox::default();
    Packet::data(MsgNo(msgno), &vec![b'x'; size]).encode(&mut out);
    out.take_all()
}

const fn tokenize(name: &'static str, run: fn(u64)) -> Job {
    Job::new(name, run).goal("PF-10", Some(260), Some(0.0))
}

fn decode_data(times: u64, size: usize) {
    let input = data_packet(12_345, size);
    for _ in 0..times {
        match decode(black_box(&input), PACKET_BODY) {
            Ok(Decoded::Packet(packet, len)) => {
                black_box((packet, len));
            }
            Ok(Decoded::Need(_)) | Err(_) => unreachable!("the packet is whole and in order"),
        }
    }
}

fn encode_data(times: u64) {
    let body = [b'x'; 100];
    let mut out = Outbox::default();
    for _ in 0..times {
        Packet::data(MsgNo(12_345), black_box(&body)).encode(&mut out);
        black_box(&out);
        out.clear();
    }
}

/// Reads what a session reads: the kind, the id, the action, the version and who asks.
fn parse_header(times: u64, text: String) {
    let body = Bytes::from(text);
    for _ in 0..times {
        let header = Header::decode_bytes(black_box(&body).clone()).expect("a JSON object");
        black_box((
            header.kind(),
            header.request_id().is_some(),
            header.version(),
        ));
        black_box((header.action(), header.envelope(), header.ticket()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_as_long_as_the_goals_say() {
        assert_eq!(PLAIN.len(), 146);
        let header = Header::decode(with_ticket().as_bytes()).expect("a JSON object");
        assert_eq!(header.ticket().as_deref(), Some(TICKET_TEXT));
    }
}
