//! The table of W-20, as data, driven one octet at a time.
//!
//! [`TABLE`] is the specification's table row by row. An [`Automaton`] looks every octet up in it
//! and carries out the row's [`Action`]; what no row names is malformed.

use crate::naive::{End, Kind, Packet, PacketType, Stream};

/// Reads all of `input`, whose packet bodies may have up to `max_body` octets.
pub fn parse(input: &[u8], max_body: u64) -> Stream {
    let mut automaton = Automaton::new(max_body);
    let mut packets = Vec::new();
    for (i, &octet) in input.iter().enumerate() {
        match automaton.step(octet) {
            Ok(None) => {}
            Ok(Some(packet)) => packets.push(packet),
            Err(kind) => {
                let end = End::Violation {
                    offset: automaton.packet_offset,
                    kind,
                };
                return Stream {
                    packets,
                    end,
                    noticed_at: i + 1,
                };
            }
        }
    }
    Stream {
        packets,
        end: automaton.end(),
        noticed_at: input.len(),
    }
}

/// The automaton, and what its actions have collected of the packet it is in.
#[derive(Clone, Debug)]
pub struct Automaton {
    max_body: u64,
    state: State,
    /// Octets taken since the start of the input.
    taken: usize,
    /// Offset of the current packet's first octet.
    packet_offset: usize,
    /// Octets of the current header line.
    line_len: usize,
    word: Vec<u8>,
    packet_type: Option<PacketType>,
    msgno: u64,
    size: u64,
    body: Vec<u8>,
}

impl Automaton {
    /// An automaton at a packet boundary.
    pub fn new(max_body: u64) -> Self {
        Self {
            max_body,
            state: State::Type,
            taken: 0,
            packet_offset: 0,
            line_len: 0,
            word: Vec::new(),
            packet_type: None,
            msgno: 0,
            size: 0,
            body: Vec::new(),
        }
    }

    /// Takes one octet. Returns the packet it completes.
    ///
    /// # Errors
    ///
    /// The violation this octet causes. The automaton must not be used afterwards (W-13).
    pub fn step(&mut self, octet: u8) -> Result<Option<Packet>, Kind> {
        let row = TABLE.iter().find(|(state, guard, input, _, _)| {
            *state == self.state && self.allows(*guard) && input.matches(octet)
        });
        self.taken += 1;
        if self.state.is_in_line() {
            self.line_len += 1;
            let is_line_lf = matches!(row, Some((_, _, _, Action::CheckLine, _)));
            if self.line_len == 80 && !is_line_lf {
                return Err(Kind::HeaderLineTooLong);
            }
        }
        let Some(&(_, _, _, action, next)) = row else {
            return Err(if self.state.is_in_line() {
                Kind::HeaderLineMalformed
            } else {
                Kind::TrailerMalformed
            });
        };
        self.state = next;
        self.perform(action, octet)
    }

    /// What the input amounts to if it ends here.
    pub fn end(&self) -> End {
        if self.taken == self.packet_offset {
            End::Clean
        } else {
            End::Truncated {
                offset: self.packet_offset,
            }
        }
    }

    fn allows(&self, guard: Guard) -> bool {
        match guard {
            Guard::Always => true,
            Guard::TypeHasRoom => self.word.len() < 6,
            Guard::TypeNotEmpty => !self.word.is_empty(),
        }
    }

    fn perform(&mut self, action: Action, octet: u8) -> Result<Option<Packet>, Kind> {
        match action {
            Action::Nothing => {}
            Action::AppendType => self.word.push(octet),
            Action::AccumulateMsgno => {
                self.msgno = self
                    .msgno
                    .saturating_mul(10)
                    .saturating_add(u64::from(octet - b'0'));
                if self.msgno > i64::MAX as u64 {
                    return Err(Kind::HeaderLineMalformed);
                }
            }
            Action::AccumulateSize => {
                self.size = self
                    .size
                    .saturating_mul(10)
                    .saturating_add(u64::from(octet - b'0'));
            }
            Action::CheckLine => {
                let known = PacketType::from_word(&self.word).ok_or(Kind::UnknownPacketType)?;
                if self.size > self.max_body {
                    return Err(Kind::PacketTooLarge);
                }
                if known == PacketType::Eof && self.size > 0 {
                    return Err(Kind::EofNotEmpty);
                }
                self.packet_type = Some(known);
                self.state = if self.size == 0 {
                    State::Trailer0
                } else {
                    State::Body
                };
            }
            Action::AppendBody => {
                self.body.push(octet);
                self.size -= 1;
                self.state = if self.size == 0 {
                    State::Trailer0
                } else {
                    State::Body
                };
            }
            Action::Emit => return Ok(Some(self.emit())),
        }
        Ok(None)
    }

    fn emit(&mut self) -> Packet {
        let fresh = Self {
            taken: self.taken,
            packet_offset: self.taken,
            ..Self::new(self.max_body)
        };
        let done = std::mem::replace(self, fresh);
        Packet {
            offset: done.packet_offset,
            after: done.taken,
            packet_type: done
                .packet_type
                .expect("the trailer follows a checked line"),
            msgno: done.msgno,
            body: done.body,
        }
    }
}

/// The states of W-20; the five of the trailer are written out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// In the packet type.
    Type,
    /// Before the first digit of the message number.
    MsgnoFirst,
    /// In the message number.
    Msgno,
    /// Before the first digit of the size.
    SizeFirst,
    /// In the size.
    Size,
    /// Between CR and LF.
    LineLf,
    /// In the body.
    Body,
    /// Before `E`.
    Trailer0,
    /// Before `N`.
    Trailer1,
    /// Before `D`.
    Trailer2,
    /// Before CR.
    Trailer3,
    /// Before LF.
    Trailer4,
}

impl State {
    fn is_in_line(self) -> bool {
        match self {
            Self::Type
            | Self::MsgnoFirst
            | Self::Msgno
            | Self::SizeFirst
            | Self::Size
            | Self::LineLf => true,
            Self::Body
            | Self::Trailer0
            | Self::Trailer1
            | Self::Trailer2
            | Self::Trailer3
            | Self::Trailer4 => false,
        }
    }
}

/// What must hold besides state and input.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Guard {
    /// Nothing.
    Always,
    /// Fewer than six letters so far.
    TypeHasRoom,
    /// At least one letter so far.
    TypeNotEmpty,
}

/// The inputs a row stands for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Input {
    /// `A` to `Z`.
    Capital,
    /// `0` to `9`.
    Digit,
    /// This octet.
    Only(u8),
    /// Every octet.
    Any,
}

impl Input {
    fn matches(self, octet: u8) -> bool {
        match self {
            Self::Capital => octet.is_ascii_uppercase(),
            Self::Digit => octet.is_ascii_digit(),
            Self::Only(one) => octet == one,
            Self::Any => true,
        }
    }
}

/// What a row does with the octet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Action {
    /// Nothing but the change of state.
    Nothing,
    /// Appends to the packet type.
    AppendType,
    /// Appends a digit to the message number; over 2⁶³−1 is malformed.
    AccumulateMsgno,
    /// Appends a digit to the size, saturating.
    AccumulateSize,
    /// The checks of W-11; then the body, or the trailer if the size is 0.
    CheckLine,
    /// Appends to the body; then the trailer if it is complete.
    AppendBody,
    /// Hands the packet out.
    Emit,
}

/// W-20, row by row. Where the action decides on the next state, the last column is the state
/// that W-20 names last.
pub const TABLE: [(State, Guard, Input, Action, State); 15] = [
    (
        State::Type,
        Guard::TypeHasRoom,
        Input::Capital,
        Action::AppendType,
        State::Type,
    ),
    (
        State::Type,
        Guard::TypeNotEmpty,
        Input::Only(b' '),
        Action::Nothing,
        State::MsgnoFirst,
    ),
    (
        State::MsgnoFirst,
        Guard::Always,
        Input::Digit,
        Action::AccumulateMsgno,
        State::Msgno,
    ),
    (
        State::Msgno,
        Guard::Always,
        Input::Digit,
        Action::AccumulateMsgno,
        State::Msgno,
    ),
    (
        State::Msgno,
        Guard::Always,
        Input::Only(b' '),
        Action::Nothing,
        State::SizeFirst,
    ),
    (
        State::SizeFirst,
        Guard::Always,
        Input::Digit,
        Action::AccumulateSize,
        State::Size,
    ),
    (
        State::Size,
        Guard::Always,
        Input::Digit,
        Action::AccumulateSize,
        State::Size,
    ),
    (
        State::Size,
        Guard::Always,
        Input::Only(b'\r'),
        Action::Nothing,
        State::LineLf,
    ),
    (
        State::LineLf,
        Guard::Always,
        Input::Only(b'\n'),
        Action::CheckLine,
        State::Body,
    ),
    (
        State::Body,
        Guard::Always,
        Input::Any,
        Action::AppendBody,
        State::Body,
    ),
    (
        State::Trailer0,
        Guard::Always,
        Input::Only(b'E'),
        Action::Nothing,
        State::Trailer1,
    ),
    (
        State::Trailer1,
        Guard::Always,
        Input::Only(b'N'),
        Action::Nothing,
        State::Trailer2,
    ),
    (
        State::Trailer2,
        Guard::Always,
        Input::Only(b'D'),
        Action::Nothing,
        State::Trailer3,
    ),
    (
        State::Trailer3,
        Guard::Always,
        Input::Only(b'\r'),
        Action::Nothing,
        State::Trailer4,
    ),
    (
        State::Trailer4,
        Guard::Always,
        Input::Only(b'\n'),
        Action::Emit,
        State::Type,
    ),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::parse;
    use crate::{generate, naive, naive::Kind, vectors::Vectors};

    /// E-12: the automaton says the same as the pattern for every row, at every cut of it.
    #[test]
    fn table_and_pattern_agree_on_the_specification_s_examples() {
        for row in generate::E12 {
            for len in 0..=row.len() {
                let (table, pattern) = (
                    parse(&row[..len], 131_072),
                    naive::packets::parse(&row[..len], 131_072),
                );
                assert_eq!(table, pattern, "{:?}", String::from_utf8_lossy(&row[..len]));
            }
        }
    }

    /// W-20, HD-60: the same packets from every recorded stream.
    #[test]
    fn table_and_pattern_agree_on_recorded_streams() {
        let vectors = Vectors::best();
        let wire = vectors.wire();
        wire.announce("automaton, wire");
        for case in &wire.cases {
            for stream in [&case.client, &case.server] {
                let bytes = &stream.bytes;
                assert_eq!(
                    parse(bytes, 131_072),
                    naive::packets::parse(bytes, 131_072),
                    "{}",
                    case.name
                );
            }
        }
        let malformed = vectors.malformed();
        malformed.announce("automaton, malformed");
        for case in &malformed.cases {
            let bytes = &case.bytes;
            assert_eq!(
                parse(bytes, 131_072),
                naive::packets::parse(bytes, 131_072),
                "{}",
                case.name
            );
        }
    }

    /// HD-65: all lines of a few symbols over the nine-symbol alphabet, alone and after beginnings
    /// that bring the body and the trailer into reach.
    #[test]
    fn table_and_pattern_agree_on_every_short_line() {
        let symbols = if cfg!(debug_assertions) { 5 } else { 7 };
        for start in generate::STARTS {
            let symbols = if start.is_empty() {
                symbols
            } else {
                symbols - 1
            };
            generate::for_each_line(start, symbols, &mut |line| {
                let (table, pattern) = (parse(line, 30), naive::packets::parse(line, 30));
                assert_eq!(table, pattern, "{:?}", String::from_utf8_lossy(line));
            });
        }
    }

    /// W-20: each kind of violation and a clean end do occur among the generated streams.
    #[test]
    fn generated_streams_reach_every_outcome() {
        use proptest::{strategy::ValueTree, test_runner::TestRunner};
        let mut runner = TestRunner::deterministic();
        let mut kinds: Vec<String> = Vec::new();
        for _ in 0..4096 {
            let (input, max_body) = generate::mutated_stream()
                .new_tree(&mut runner)
                .expect("the strategy rejects nothing")
                .current();
            let kind = match parse(&input, max_body).end {
                naive::End::Clean => "clean".to_owned(),
                naive::End::Truncated { .. } => "truncated".to_owned(),
                naive::End::Violation { kind, .. } => format!("{kind:?}"),
            };
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        for kind in [
            Kind::HeaderLineTooLong,
            Kind::HeaderLineMalformed,
            Kind::UnknownPacketType,
            Kind::PacketTooLarge,
            Kind::EofNotEmpty,
            Kind::TrailerMalformed,
        ] {
            assert!(
                kinds.contains(&format!("{kind:?}")),
                "{kind:?} never occurs: {kinds:?}"
            );
        }
        assert!(kinds.contains(&"clean".to_owned()) && kinds.contains(&"truncated".to_owned()));
    }

    proptest! {
        #![proptest_config(generate::config())]

        /// W-20: table and pattern agree on generated and mutated input.
        #[test]
        fn table_and_pattern_agree_on_mutated_streams((input, max_body) in generate::mutated_stream()) {
            prop_assert_eq!(parse(&input, max_body), naive::packets::parse(&input, max_body));
        }
    }
}
