//! Go's `encoding/gob`, as far as one record needs it (mp.md §3).
//!
//! ```text
//!  stream ──length──> block ──type id──┬─ negative: a definition ──> types
//!                                      └─ positive: a value ──plan of its type──> Message
//! ```

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use bytes::Bytes;

use super::encoding::{DecodeLimits, Encoding, Field, FieldData, Fields};
use super::error::DecodeError;
use super::message::Message;
use crate::limits::{MP_DEFINITIONS, MP_FIELDS, MP_GOB_DEPTH, MP_TYPE_NAME, MP_TYPES};

/// What an encoder writes before its first message: `Message` is type 65, and these are its fields
/// (MP-28).
pub(super) const DEFINITION: [u8; 73] = *b"\x48\xff\x81\x03\x01\x01\x07Message\x01\xff\x82\x00\
    \x01\x04\x01\x04Meta\x01\x06\x00\x01\x0bOtherClient\x01\x0c\x00\
    \x01\x0cConnectionID\x01\x0c\x00\x01\x04Data\x01\x0a\x00\x00\x00";

/// Writes a message up to its payload of `len` octets; after that comes one zero octet (MP-29).
pub(super) fn write_head(message: &Message, len: usize, out: &mut Vec<u8>) {
    let (client, id) = (
        message.other_client.as_bytes(),
        message.connection_id.as_bytes(),
    );
    let counted = |len: usize| match len {
        0 => 0,
        len => 1 + number_len(len as u64) + len,
    };
    let meta = match message.meta.0 {
        0 => 0,
        meta => 1 + number_len(meta.into()),
    };
    let block = TYPE_ID.len() + meta + counted(client.len()) + counted(id.len()) + counted(len) + 1;
    write_number(block as u64, out);
    out.extend_from_slice(&TYPE_ID);
    // Fields that are zero are left out, so that each says how far it is from the one before.
    let mut skipped = 1;
    if meta > 0 {
        out.push(1);
        write_number(message.meta.0.into(), out);
        skipped = 0;
    }
    for octets in [client, id] {
        skipped += 1;
        if !octets.is_empty() {
            out.push(skipped);
            write_number(octets.len() as u64, out);
            out.extend_from_slice(octets);
            skipped = 0;
        }
    }
    if len > 0 {
        out.push(skipped + 1);
        write_number(len as u64, out);
    }
}

/// 65, as a signed number.
const TYPE_ID: [u8; 2] = [0xff, 0x82];

/// Writes an unsigned number in as few octets as it needs (MP-20).
fn write_number(number: u64, out: &mut Vec<u8>) {
    let octets = number.to_be_bytes();
    match number {
        0..0x80 => out.push(number as u8),
        _ => {
            let len = number_len(number) - 1;
            out.push((len as u8).wrapping_neg());
            out.extend_from_slice(octets.get(octets.len() - len..).unwrap_or_default());
        }
    }
}

fn number_len(number: u64) -> usize {
    match number {
        0..0x80 => 1,
        _ => 1 + (u64::BITS - number.leading_zeros()).div_ceil(8) as usize,
    }
}

/// Finds blocks in a stream, and messages in them.
#[derive(Debug)]
pub(super) struct Decoder {
    frame_limit: usize,
    payload_limit: usize,
    /// What has arrived of a block's length.
    prefix: Vec<u8>,
    /// The length of the block that is arriving.
    block: Option<usize>,
    /// What has arrived of it.
    partial: Vec<u8>,
    types: Types,
    /// How many octets were taken, and where among them the last block began.
    offset: u64,
    begin: u64,
}

impl Decoder {
    pub(super) fn new(limits: DecodeLimits) -> Self {
        Self {
            frame_limit: limits.frame(Encoding::Gob),
            payload_limit: limits.payload,
            prefix: Vec::new(),
            block: None,
            partial: Vec::new(),
            types: Types::default(),
            offset: 0,
            begin: 0,
        }
    }

    /// Where the last block began.
    pub(super) fn begin(&self) -> u64 {
        self.begin
    }

    /// How many octets were taken.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    pub(super) fn is_between(&self) -> bool {
        self.block.is_none() && self.prefix.is_empty()
    }

    pub(super) fn decode(&mut self, input: &mut &[u8]) -> Result<Option<Message>> {
        while let Some(len) = self.block_len(input)? {
            let missing = len - self.partial.len();
            let message = if self.partial.is_empty() && input.len() >= missing {
                let (block, rest) = input.split_at(missing);
                *input = rest;
                self.offset += missing as u64;
                self.block = None;
                self.block(block, None)?
            } else {
                let (piece, rest) = input.split_at(missing.min(input.len()));
                *input = rest;
                self.offset += piece.len() as u64;
                // As it arrives, and no more than will be needed (MP-39).
                let room = (self.partial.len() * 2).max(piece.len()).min(missing);
                if self.partial.capacity() - self.partial.len() < piece.len() {
                    self.partial.reserve_exact(room);
                }
                self.partial.extend_from_slice(piece);
                if self.partial.len() < len {
                    return Ok(None);
                }
                self.block = None;
                let block = core::mem::take(&mut self.partial);
                let block = Bytes::from(block.into_boxed_slice());
                self.block(&block, Some(&block))?
            };
            if message.is_some() {
                return Ok(message);
            }
        }
        Ok(None)
    }

    /// The length of the next block, once it is known.
    fn block_len(&mut self, input: &mut &[u8]) -> Result<Option<usize>> {
        if self.block.is_some() {
            return Ok(self.block);
        }
        while let Some((&octet, rest)) = input.split_first() {
            *input = rest;
            if self.prefix.is_empty() {
                self.begin = self.offset;
            }
            self.offset += 1;
            self.prefix.push(octet);
            let first = self.prefix.first().copied().unwrap_or_default();
            if self.prefix.len() < 1 + following(first)? {
                continue;
            }
            let len = Reader(&self.prefix).unsigned()?;
            self.prefix = Vec::new();
            let len = usize::try_from(len)
                .ok()
                .filter(|len| *len <= self.frame_limit);
            let len = len.ok_or(DecodeError::TooLarge(self.frame_limit))?;
            if len == 0 {
                return bad("empty block");
            }
            self.block = Some(len);
            return Ok(self.block);
        }
        Ok(None)
    }

    /// A whole block: a definition, which is kept, or a message.
    fn block(&mut self, block: &[u8], owner: Option<&Bytes>) -> Result<Option<Message>> {
        let mut reader = Reader(block);
        let id = reader.signed()?;
        if id < 0 {
            self.types
                .define(id.unsigned_abs(), block.len(), &mut reader)?;
            return Ok(None);
        }
        let fields = self.types.message(id.unsigned_abs(), &mut reader)?;
        Message::assemble(fields, owner, self.payload_limit).map(Some)
    }
}

/// The types one stream has defined.
#[derive(Debug, Default)]
struct Types {
    known: BTreeMap<u64, Type>,
    /// Octets of all definitions.
    octets: usize,
    /// The last type a value had, and what its fields are to us.
    plan: Option<(u64, Box<[Slot]>)>,
}

/// One type, as far as it must be known to skip a value of it (MP-34).
#[derive(Debug)]
enum Type {
    /// Of arrays and slices: what they consist of.
    List(u64),
    Struct(Box<[(Box<[u8]>, u64)]>),
    Map(u64, u64),
    /// A counted string whose inside is the writer's business.
    Opaque,
}

/// What a field of a value is to us.
#[derive(Clone, Copy, Debug)]
enum Slot {
    Meta,
    OtherClient,
    ConnectionId,
    Data,
    /// Of no interest: its type.
    Other(u64),
}

impl Types {
    /// Takes a definition (MP-35).
    fn define(&mut self, id: u64, octets: usize, reader: &mut Reader<'_>) -> Result<()> {
        if id < FIRST_ID {
            return bad("a type id that is taken");
        }
        if self.known.contains_key(&id) {
            return bad("a type defined twice");
        }
        self.octets += octets;
        if self.known.len() >= MP_TYPES || self.octets > MP_DEFINITIONS {
            return bad("too many types");
        }
        // One of seven fields is set, and it says what kind of type it is.
        let defined = match reader.unsigned()? {
            delta @ 1..=2 => {
                let mut element = 0;
                reader.fields(|number, reader| match number {
                    0 => reader.common(),
                    1 => reader.id().map(|id| element = id),
                    2 if delta == 1 => reader.signed().map(|_| ()),
                    _ => bad("a type's definition"),
                })?;
                Type::List(element)
            }
            3 => {
                let mut fields = Vec::new();
                reader.fields(|number, reader| match number {
                    0 => reader.common(),
                    1 => {
                        let count = reader.unsigned()?;
                        if count > MP_FIELDS as u64 {
                            return bad("too many fields");
                        }
                        for _ in 0..count {
                            fields.push(reader.field()?);
                        }
                        Ok(())
                    }
                    _ => bad("a type's definition"),
                })?;
                Type::Struct(fields.into())
            }
            4 => {
                let (mut key, mut element) = (0, 0);
                reader.fields(|number, reader| match number {
                    0 => reader.common(),
                    1 => reader.id().map(|id| key = id),
                    2 => reader.id().map(|id| element = id),
                    _ => bad("a type's definition"),
                })?;
                Type::Map(key, element)
            }
            5..=7 => {
                reader.fields(|number, reader| match number {
                    0 => reader.common(),
                    _ => bad("a type's definition"),
                })?;
                Type::Opaque
            }
            _ => return bad("a type's definition"),
        };
        if reader.unsigned()? != 0 || !reader.0.is_empty() {
            return bad("a type's definition");
        }
        self.known.insert(id, defined);
        Ok(())
    }

    /// Reads a value of a type as a message (MP-31, MP-32).
    fn message<'a>(&mut self, id: u64, reader: &mut Reader<'a>) -> Result<Fields<'a>> {
        if self.plan.as_ref().is_none_or(|(known, _)| *known != id) {
            self.plan = Some((id, self.plan(id)?));
        }
        let plan = self.plan.as_ref().map(|(_, plan)| &plan[..]);
        let plan = plan.unwrap_or_default();
        let mut fields = Fields::default();
        reader.fields(|number, reader| {
            let Some(slot) = usize::try_from(number).ok().and_then(|n| plan.get(n)) else {
                return bad("a field number");
            };
            match slot {
                Slot::Meta => {
                    let meta = u8::try_from(reader.unsigned()?);
                    fields.meta = meta.map_err(|_| DecodeError::Malformed("Meta"))?;
                }
                Slot::OtherClient => fields.other_client = reader.text()?,
                Slot::ConnectionId => fields.connection_id = reader.text()?,
                Slot::Data => {
                    fields.data = match reader.counted()? {
                        [] => FieldData::Absent,
                        octets => FieldData::Octets(Field::Lent(octets)),
                    };
                }
                Slot::Other(id) => self.skip(*id, reader, MP_GOB_DEPTH)?,
            }
            Ok(())
        })?;
        if !reader.0.is_empty() {
            return bad("octets after a value");
        }
        Ok(fields)
    }

    /// What the fields of a type are to us: ours by name, and of the type they should have.
    fn plan(&self, id: u64) -> Result<Box<[Slot]>> {
        let Some(Type::Struct(fields)) = self.known.get(&id) else {
            return bad(if self.known.contains_key(&id) || id < FIRST_ID {
                "a value that is no message"
            } else {
                "a value of an unknown type"
            });
        };
        let mut is_ours = fields.is_empty();
        let slots = fields.iter().map(|(name, id)| {
            let (slot, wanted) = match &name[..] {
                b"Meta" => (Slot::Meta, UNSIGNED),
                b"OtherClient" => (Slot::OtherClient, TEXT),
                b"ConnectionID" => (Slot::ConnectionId, TEXT),
                b"Data" => (Slot::Data, BYTES),
                _ => return Ok(Slot::Other(*id)),
            };
            is_ours = true;
            if *id == wanted {
                Ok(slot)
            } else {
                bad("a field of another type")
            }
        });
        let slots = slots.collect::<Result<Box<[Slot]>>>()?;
        if is_ours {
            Ok(slots)
        } else {
            bad("a value that is no message")
        }
    }

    /// Reads over a value of this type (MP-34).
    fn skip(&self, id: u64, reader: &mut Reader<'_>, depth: usize) -> Result<()> {
        let Some(depth) = depth.checked_sub(1) else {
            return bad("nested too deep");
        };
        match id {
            BOOL | SIGNED | UNSIGNED | FLOAT => return reader.unsigned().map(|_| ()),
            BYTES | TEXT => return reader.counted().map(|_| ()),
            COMPLEX => {
                reader.unsigned()?;
                return reader.unsigned().map(|_| ());
            }
            _ => {}
        }
        match self.known.get(&id) {
            None => bad("a field of an unknown type"),
            Some(Type::Opaque) => reader.counted().map(|_| ()),
            Some(Type::List(element)) => {
                for _ in 0..reader.count()? {
                    self.skip(*element, reader, depth)?;
                }
                Ok(())
            }
            Some(Type::Map(key, element)) => {
                for _ in 0..reader.count()? {
                    self.skip(*key, reader, depth)?;
                    self.skip(*element, reader, depth)?;
                }
                Ok(())
            }
            Some(Type::Struct(fields)) => reader.fields(|number, reader| {
                let field = usize::try_from(number).ok().and_then(|n| fields.get(n));
                match field {
                    Some((_, id)) => self.skip(*id, reader, depth),
                    None => bad("a field number"),
                }
            }),
        }
    }
}

/// Ids below this one are taken (MP-26).
const FIRST_ID: u64 = 64;

const BOOL: u64 = 1;
const SIGNED: u64 = 2;
const UNSIGNED: u64 = 3;
const FLOAT: u64 = 4;
const BYTES: u64 = 5;
const TEXT: u64 = 6;
const COMPLEX: u64 = 7;

/// Reads numbers, strings and structs off the front of a block.
struct Reader<'a>(&'a [u8]);

type Result<T, E = DecodeError> = core::result::Result<T, E>;

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let split = self.0.split_at_checked(len);
        let (taken, rest) = split.ok_or(DecodeError::Malformed("past the end of its block"))?;
        self.0 = rest;
        Ok(taken)
    }

    /// An unsigned number, in as many octets as its writer liked (MP-24).
    fn unsigned(&mut self) -> Result<u64> {
        let first = self.take(1)?.first().copied().unwrap_or_default();
        match following(first)? {
            0 => Ok(first.into()),
            len => {
                let octets = self.take(len)?.iter();
                Ok(octets.fold(0, |sum, octet| sum << 8 | u64::from(*octet)))
            }
        }
    }

    /// A signed number (MP-21).
    fn signed(&mut self) -> Result<i64> {
        let number = self.unsigned()?;
        let half = (number >> 1) as i64;
        Ok(if number & 1 == 1 { !half } else { half })
    }

    /// The id of a type.
    fn id(&mut self) -> Result<u64> {
        u64::try_from(self.signed()?).map_err(|_| DecodeError::Malformed("a type id"))
    }

    /// How many elements follow; each of them takes at least one octet.
    fn count(&mut self) -> Result<u64> {
        let count = self.unsigned()?;
        if count > self.0.len() as u64 {
            return bad("past the end of its block");
        }
        Ok(count)
    }

    fn counted(&mut self) -> Result<&'a [u8]> {
        let len = self.unsigned()?;
        self.take(usize::try_from(len).unwrap_or(usize::MAX))
    }

    fn text(&mut self) -> Result<Field<'a>> {
        let octets = self.counted()?;
        if core::str::from_utf8(octets).is_err() {
            return bad("text that is not UTF-8");
        }
        Ok(Field::Lent(octets))
    }

    /// Hands the number of each field that is there to `read`, up to the end of a struct (MP-23).
    fn fields(&mut self, mut read: impl FnMut(u64, &mut Self) -> Result<()>) -> Result<()> {
        // One more than the number of the last field.
        let mut after = 0_u64;
        loop {
            let delta = self.unsigned()?;
            if delta == 0 {
                return Ok(());
            }
            let next = after.checked_add(delta);
            after = next.ok_or(DecodeError::Malformed("a field number"))?;
            read(after - 1, self)?;
        }
    }

    /// What all definitions have: a name and an id, which are nobody's business (MP-30).
    fn common(&mut self) -> Result<()> {
        self.fields(|number, reader| match number {
            0 => reader.name().map(|_| ()),
            1 => reader.signed().map(|_| ()),
            _ => bad("a type's definition"),
        })
    }

    /// A field in a struct's definition.
    fn field(&mut self) -> Result<(Box<[u8]>, u64)> {
        let (mut name, mut id) = (&[][..], 0);
        self.fields(|number, reader| match number {
            0 => reader.name().map(|read| name = read),
            1 => reader.id().map(|read| id = read),
            _ => bad("a type's definition"),
        })?;
        Ok((name.into(), id))
    }

    fn name(&mut self) -> Result<&'a [u8]> {
        let name = self.counted()?;
        if name.len() > MP_TYPE_NAME {
            return bad("a name that is too long");
        }
        Ok(name)
    }
}

/// How many octets of a number come after its first.
fn following(first: u8) -> Result<usize> {
    match first {
        0..0x80 => Ok(0),
        0xf8.. => Ok(first.wrapping_neg().into()),
        _ => bad("a number"),
    }
}

fn bad<T>(what: &'static str) -> Result<T> {
    Err(DecodeError::Malformed(what))
}
