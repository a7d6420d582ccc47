//! Packets by regular expression over the whole input.
//!
//! The language of W-20 is one pattern, `LINE`. Every part of it is optional from the right, so
//! what it matches is the longest beginning of a header line that is still good; the octet after
//! the match, if there is one, is the offending one.

use std::sync::LazyLock;

use regex::bytes::Regex;

use super::{End, Kind, Packet, PacketType, Stream};

/// Reads all of `input`, whose packet bodies may have up to `max_body` octets.
pub fn parse(input: &[u8], max_body: u64) -> Stream {
    let mut packets = Vec::new();
    let mut offset = 0;
    while offset < input.len() {
        match packet(&input[offset..], max_body) {
            Outcome::Packet {
                packet_type,
                msgno,
                body,
                len,
            } => {
                packets.push(Packet {
                    offset,
                    after: offset + len,
                    packet_type,
                    msgno,
                    body,
                });
                offset += len;
            }
            Outcome::Incomplete => {
                return Stream {
                    packets,
                    end: End::Truncated { offset },
                    noticed_at: input.len(),
                };
            }
            Outcome::Bad { kind, seen } => {
                let end = End::Violation { offset, kind };
                return Stream {
                    packets,
                    end,
                    noticed_at: offset + seen,
                };
            }
        }
    }
    Stream {
        packets,
        end: End::Clean,
        noticed_at: input.len(),
    }
}

/// What the octets at one packet boundary amount to.
enum Outcome {
    /// A packet of `len` octets in all.
    Packet {
        packet_type: PacketType,
        msgno: u64,
        body: Vec<u8>,
        len: usize,
    },
    /// The input ends before the packet does.
    Incomplete,
    /// A violation, known after `seen` octets of the packet.
    Bad { kind: Kind, seen: usize },
}

fn packet(input: &[u8], max_body: u64) -> Outcome {
    // W-4: nothing beyond the 80th octet can belong to the line.
    let region = &input[..input.len().min(MAX_LINE)];
    let line = LINE
        .captures(region)
        .expect("the pattern matches the empty string");
    let good = line.get(0).expect("group 0 always takes part").len();

    // W-5: the first digit that makes the message number too large offends, whatever follows.
    if let Some(msgno) = line.name("msgno") {
        let digits = msgno.as_bytes();
        if let Some(extra) = (1..=digits.len()).find(|&n| exceeds(&digits[..n], MAX_MSGNO)) {
            return bad_line(msgno.start() + extra);
        }
    }
    if line.name("lf").is_none() {
        return if good < region.len() {
            bad_line(good + 1)
        } else if good == MAX_LINE {
            Outcome::Bad {
                kind: Kind::HeaderLineTooLong,
                seen: MAX_LINE,
            }
        } else {
            Outcome::Incomplete
        };
    }

    // W-11: type, then size, then EOF with a body, then the trailer.
    let Some(packet_type) = PacketType::from_word(&line["type"]) else {
        return Outcome::Bad {
            kind: Kind::UnknownPacketType,
            seen: good,
        };
    };
    if exceeds(&line["size"], max_body) {
        return Outcome::Bad {
            kind: Kind::PacketTooLarge,
            seen: good,
        };
    }
    let size = number(&line["size"]);
    if packet_type == PacketType::Eof && size > 0 {
        return Outcome::Bad {
            kind: Kind::EofNotEmpty,
            seen: good,
        };
    }

    let after_line = &input[good..];
    if (after_line.len() as u64) < size {
        return Outcome::Incomplete;
    }
    let size = usize::try_from(size).expect("not more than the input's length");
    let (body, after_body) = after_line.split_at(size);
    for (i, expected) in TRAILER.iter().enumerate() {
        match after_body.get(i) {
            None => return Outcome::Incomplete,
            Some(octet) if octet == expected => {}
            Some(_) => {
                return Outcome::Bad {
                    kind: Kind::TrailerMalformed,
                    seen: good + size + i + 1,
                };
            }
        }
    }
    Outcome::Packet {
        packet_type,
        msgno: number(&line["msgno"]),
        body: body.to_vec(),
        len: good + size + TRAILER.len(),
    }
}

/// A line is bad at its `seen`-th octet. W-11: its length is looked at before its syntax.
fn bad_line(seen: usize) -> Outcome {
    let kind = if seen == MAX_LINE {
        Kind::HeaderLineTooLong
    } else {
        Kind::HeaderLineMalformed
    };
    Outcome::Bad { kind, seen }
}

/// Whether decimal `digits`, however many, are a number over `limit`.
fn exceeds(digits: &[u8], limit: u64) -> bool {
    let zeros = digits.iter().take_while(|&&digit| digit == b'0').count();
    let significant = &digits[zeros..];
    let limit = limit.to_string();
    (significant.len(), significant) > (limit.len(), limit.as_bytes())
}

/// The value of decimal `digits` known to fit.
fn number(digits: &[u8]) -> u64 {
    let digits = std::str::from_utf8(digits).expect("digits are ASCII");
    digits
        .parse()
        .expect("the value was compared with a limit before")
}

/// The longest beginning of a header line that W-20 allows. `lf` takes part when it is complete.
static LINE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?x-u) \A (?:
            (?<type>[A-Z]{1,6}) (?: \x20 (?:
                (?<msgno>[0-9]+) (?: \x20 (?:
                    (?<size>[0-9]+) (?: \r (?<lf>\n)?
                    )?
                )? )?
            )? )?
        )?",
    )
    .expect("the pattern is well-formed")
});

/// W-4: octets of a header line, CR LF included.
const MAX_LINE: usize = 80;

/// W-5: the largest message number.
const MAX_MSGNO: u64 = i64::MAX as u64;

/// W-8: what follows every body.
const TRAILER: &[u8] = b"END\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    /// The default of `wire.max_packet_body` (W-6).
    const MAX_BODY: u64 = 131_072;

    fn violation(input: &[u8]) -> (Kind, usize) {
        let stream = parse(input, MAX_BODY);
        match stream.end {
            End::Violation { offset: 0, kind } => (kind, stream.noticed_at),
            end => panic!("{:?}: {end:?}", String::from_utf8_lossy(input)),
        }
    }

    /// E-12: the rows that concern packets alone, with the octet at which each is raised.
    #[test]
    fn first_octets_of_a_fresh_connection() {
        use Kind::*;
        let zeros = format!("DATA {}", "0".repeat(75));
        let nines = format!("DATA {}", "9".repeat(20));
        let rows: [(&str, Kind, usize); 23] = [
            ("HEADER  0 2\r\n", HeaderLineMalformed, 8),
            (" HEADER 0 2\r\n", HeaderLineMalformed, 1),
            ("HEADER 0 2 \r\n", HeaderLineMalformed, 11),
            ("HEADER 0\r\n", HeaderLineMalformed, 9),
            ("HEADER 0 2 3\r\n", HeaderLineMalformed, 11),
            ("HEADER\t0 2\r\n", HeaderLineMalformed, 7),
            ("HEADER 0 2\n", HeaderLineMalformed, 11),
            ("HEADER 0 2\rX", HeaderLineMalformed, 12),
            ("HEADER -1 2\r\n", HeaderLineMalformed, 8),
            ("HEADER 0 -2\r\n", HeaderLineMalformed, 10),
            ("HEADER 0x0 2\r\n", HeaderLineMalformed, 9),
            ("header 0 2\r\n", HeaderLineMalformed, 1),
            ("HELLO 0 0\r\n", UnknownPacketType, 11),
            ("GET / HTTP/1.1\r\n", HeaderLineMalformed, 5),
            ("DATA 0 131073\r\n", PacketTooLarge, 15),
            ("HEADER 9223372036854775808 2\r\n", HeaderLineMalformed, 26),
            ("HEADER 0 99999999999999999999\r\n", PacketTooLarge, 31),
            (&zeros, HeaderLineTooLong, 80),
            (&nines, HeaderLineMalformed, 5 + 19),
            ("HEADER 0 2\r\n{}END\n", TrailerMalformed, 18),
            ("HEADER 0 2\r\n{}XEND\r\n", TrailerMalformed, 15),
            ("EOF 0 1\r\nxEND\r\n", EofNotEmpty, 9),
            ("HEADERS 0 2\r\n", HeaderLineMalformed, 7),
        ];
        for (input, kind, noticed_at) in rows {
            assert_eq!(violation(input.as_bytes()), (kind, noticed_at), "{input:?}");
            // Raised at that octet and not before.
            let before = parse(&input.as_bytes()[..noticed_at - 1], MAX_BODY);
            assert!(!matches!(before.end, End::Violation { .. }), "{input:?}");
        }
        for good in ["HEADER 0 2\r\n{}END\r\n", "HEADER 00 02\r\n{}END\r\n"] {
            let stream = parse(good.as_bytes(), MAX_BODY);
            assert_eq!((stream.packets.len(), stream.end), (1, End::Clean));
            assert_eq!(
                (stream.packets[0].msgno, &stream.packets[0].body[..]),
                (0, &b"{}"[..])
            );
        }
        let cut = parse(b"HEADER 0 2\r\n{", MAX_BODY);
        assert_eq!(
            (cut.end, cut.noticed_at),
            (End::Truncated { offset: 0 }, 13)
        );
    }

    /// W-4: the 80th octet is the line's LF or an error, and W-11 looks at length before syntax.
    #[test]
    fn a_line_has_eighty_octets_at_most() {
        let line = |zeros: usize| format!("DATA 0 {}1\r\nxEND\r\n", "0".repeat(zeros));
        assert_eq!(parse(line(70).as_bytes(), MAX_BODY).packets.len(), 1);
        assert_eq!(
            violation(line(71).as_bytes()),
            (Kind::HeaderLineTooLong, 80)
        );
        let late = |octet: char| format!("DATA 0 {}{octet}", "0".repeat(72));
        for octet in ['x', ' ', '\n', '\r'] {
            assert_eq!(
                violation(late(octet).as_bytes()),
                (Kind::HeaderLineTooLong, 80)
            );
        }
        let overflow = format!("A {}9223372036854775808", "0".repeat(59));
        assert_eq!(
            violation(overflow.as_bytes()),
            (Kind::HeaderLineTooLong, 80)
        );
    }

    /// W-11: a line with several faults reports the first of type, size, EOF with a body.
    #[test]
    fn checks_of_a_complete_line_have_an_order() {
        assert_eq!(
            violation(b"NOPE 0 999999999\r\n").0,
            Kind::UnknownPacketType
        );
        assert_eq!(violation(b"EOF 0 999999999\r\n").0, Kind::PacketTooLarge);
        assert_eq!(violation(b"EOF 0 3\r\nabcXXX").0, Kind::EofNotEmpty);
    }

    /// W-5, W-6: the limits act exactly at their value.
    #[test]
    fn numbers_are_taken_up_to_their_limits() {
        let top = parse(b"ACK 9223372036854775807 1\r\n5END\r\n", 1);
        assert_eq!(
            (top.packets[0].msgno, top.end),
            (i64::MAX as u64, End::Clean)
        );
        let large = parse(b"DATA 0 2\r\n", 1);
        assert_eq!(
            large.end,
            End::Violation {
                offset: 0,
                kind: Kind::PacketTooLarge
            }
        );
        assert!(exceeds(b"00018446744073709551616", u64::MAX));
        assert!(!exceeds(b"00018446744073709551615", u64::MAX));
        assert!(!exceeds(b"000", 0));
    }

    /// W-13: offsets are those of the packet's first octet, and nothing is read after a violation.
    #[test]
    fn offsets_point_at_the_packet() {
        let stream = parse(
            b"PING 0 0\r\nEND\r\nPONG 0 1\r\nxEND\n\nPING 0 0\r\nEND\r\n",
            MAX_BODY,
        );
        assert_eq!(stream.packets.len(), 1);
        assert_eq!((stream.packets[0].offset, stream.packets[0].after), (0, 15));
        assert_eq!(
            stream.end,
            End::Violation {
                offset: 15,
                kind: Kind::TrailerMalformed
            }
        );
        assert_eq!(stream.noticed_at, 15 + 10 + 1 + 4);
    }
}
