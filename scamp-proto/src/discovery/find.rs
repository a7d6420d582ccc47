//! Looking for one octet among many that are not.

/// Where the first `wanted` is.
pub(super) fn find(octets: &[u8], wanted: u8) -> Option<usize> {
    let mut at = 0_usize;
    let mut blocks = octets.chunks_exact(BLOCK);
    for block in blocks.by_ref() {
        // Without a way out of the middle it is done many octets at a time.
        let found = block
            .iter()
            .fold(false, |found, octet| found | (*octet == wanted));
        if found {
            let within = block.iter().position(|octet| *octet == wanted)?;
            return Some(at.saturating_add(within));
        }
        at = at.saturating_add(BLOCK);
    }
    let within = blocks
        .remainder()
        .iter()
        .position(|octet| *octet == wanted)?;
    Some(at.saturating_add(within))
}

/// Where the first two of `wanted` in a row are.
pub(super) fn find_pair(octets: &[u8], wanted: u8) -> Option<usize> {
    let second = octets.get(1..)?;
    let mut at = 0_usize;
    for (first, second) in octets.chunks(BLOCK).zip(second.chunks(BLOCK)) {
        let mut pairs = first.iter().zip(second);
        let is_found = |(one, other): (&u8, &u8)| (*one == wanted) & (*other == wanted);
        if pairs
            .clone()
            .fold(false, |found, pair| found | is_found(pair))
        {
            return Some(at.saturating_add(pairs.position(is_found)?));
        }
        at = at.saturating_add(BLOCK);
    }
    None
}

/// Small enough for the lines of base64, large enough for whole files.
const BLOCK: usize = 64;

#[cfg(test)]
mod tests {
    use std::vec;

    use super::{find, find_pair};

    #[test]
    fn finds_the_first() {
        for len in 0..100 {
            let mut octets = vec![b'x'; len];
            assert_eq!(find(&octets, b'%'), None);
            for at in (0..len).rev() {
                octets[at] = b'%';
                assert_eq!(find(&octets, b'%'), Some(at));
                let pair = (at + 1 < len).then_some(at);
                assert_eq!(find_pair(&octets, b'%'), pair);
                if at + 2 < len {
                    // One by itself in front of it is none.
                    let mut apart = vec![b'x'; len + 2];
                    apart[at] = b'%';
                    apart[at + 2] = b'%';
                    apart[at + 3] = b'%';
                    assert_eq!(find_pair(&apart, b'%'), Some(at + 2));
                }
            }
        }
    }
}
