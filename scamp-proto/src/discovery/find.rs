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

/// Small enough for the lines of base64, large enough for whole files.
const BLOCK: usize = 32;

#[cfg(test)]
mod tests {
    use std::vec;

    use super::find;

    #[test]
    fn finds_the_first() {
        for len in 0..100 {
            let mut octets = vec![b'x'; len];
            assert_eq!(find(&octets, b'%'), None);
            for at in (0..len).rev() {
                octets[at] = b'%';
                assert_eq!(find(&octets, b'%'), Some(at));
            }
        }
    }
}
