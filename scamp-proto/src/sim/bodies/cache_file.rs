//! U-9: the cache file, however it is cut, and torn.

use alloc::vec::Vec;
use core::cell::Cell;
use core::time::Duration;

use super::Bites;
use super::announcement::Anybody;
use crate::Instant;
use crate::auth::{Padding, PublicKey, Verify};
use crate::discovery::UnixTime;
use crate::discovery::cache_file::{Content, Look, Piece, Reading, Splitter, Stat, Step, Watch};
use crate::limits::TORN_READS;

/// Counts what is verified.
#[derive(Default)]
struct Counting(Cell<usize>);

impl Verify for Counting {
    fn verify(&self, key: &PublicKey<'_>, padding: Padding, text: &[u8], signature: &[u8]) -> bool {
        self.0.set(self.0.get() + 1);
        Anybody.verify(key, padding, text, signature)
    }
}

/// U-9: the first octet is the size of the pieces, the next ones tell how the file is torn, and the
/// rest from the third on is the file.
///
/// The records are those that a naive reader finds who has it all and splits it at its lines; a
/// second reading of the same verifies nothing and is no change; and what was torn does not count.
pub fn cache_file(octets: &[u8]) {
    cache_file_by(octets, &naive_records);
}

/// The same, where `naive_records` is the naive reader.
pub(super) fn cache_file_by(octets: &[u8], naive_records: &dyn Fn(&[u8]) -> Vec<Vec<u8>>) {
    let mut bites = Bites::new(octets);
    let piece = usize::from(bites.octet()).max(1);
    let script = bites.octet();
    let file = bites.rest();

    let mut found = Vec::new();
    let mut take = |piece: Piece<'_>| {
        if let Piece::Record(_, text) = piece {
            found.push(text.to_vec());
        }
    };
    let mut splitter = Splitter::new();
    file.chunks(piece)
        .for_each(|piece| splitter.feed(piece, &mut take));
    splitter.finish(&mut take);
    assert_eq!(found, naive_records(file), "D-31");

    let rsa = Counting::default();
    let read = |before: &Content, piece| {
        let mut reading = Reading::new(before);
        file.chunks(piece).for_each(|piece| reading.feed(piece));
        reading.finish(&rsa, false, &mut |_| ())
    };
    let content = read(&Content::new(), piece).unwrap_or_default();
    assert!(rsa.0.replace(0) <= content.len(), "D-7");
    assert!(
        read(&content, file.len().max(1)).is_none() && rsa.0.get() == 0,
        "N-57"
    );
    tear(script);
}

/// The records, from the whole file at once.
pub(super) fn naive_records(file: &[u8]) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    let mut record: Vec<u8> = Vec::new();
    let mut separated = false;
    let mut lines = file.split_inclusive(|octet| *octet == b'\n').peekable();
    loop {
        let line = lines.next();
        let is_mark = match line {
            Some(b"%%%\n" | b"%%%\r\n") => true,
            Some(b"%%%") => lines.peek().is_none(),
            Some(_) => false,
            None => true,
        };
        if !is_mark {
            record.extend_from_slice(line.unwrap_or_default());
            continue;
        }
        if line.is_some() && record.last() == Some(&b'\n') {
            record.pop();
        }
        let counts = separated || matches!(record.first(), Some(b'[' | b'{'));
        let is_blank = record.iter().all(u8::is_ascii_whitespace);
        if counts && (line.is_some() || !is_blank) {
            records.push(core::mem::take(&mut record));
        }
        record.clear();
        separated = true;
        if line.is_none() {
            return records;
        }
    }
}

/// A file that changes under its reader as the bits of `script` say.
fn tear(script: u8) {
    let mut watch = Watch::default();
    let (mut size, mut reads) = (0_u64, 0);
    let wall = UnixTime::from_micros(1_000_000);
    let file = |size| {
        Look::Found(Stat {
            modified: wall,
            size,
            inode: 1,
        })
    };
    let mut now = Instant::EPOCH;
    for bit in 0..8 {
        let mut step = watch.look(now, file(size), &mut |_| ());
        let before_any = reads;
        while step == Step::Read {
            reads += 1;
            let before = size;
            size += u64::from(script >> bit & 1);
            let is_torn = size != before;
            step = watch.finished(now, wall, file(before), file(size), &mut |_| ());
            assert_eq!(step == Step::Take, !is_torn, "HD-41");
        }
        assert!(reads - before_any <= TORN_READS + 1, "HD-41");
        now = now + Duration::from_secs(1);
    }
}
