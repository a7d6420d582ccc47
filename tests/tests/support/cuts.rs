//! Ways to cut a stream, none of which may matter.

use std::ops::Range;

use scamp_proto::Rng;

/// The stream whole; in octets, or in thousands of them if it is long; and thrice at random.
pub(crate) fn cuts(len: usize) -> Vec<Vec<Range<usize>>> {
    let step = if len <= 64 << 10 { 1 } else { 1000 };
    let even = (0..len).step_by(step);
    let mut all = vec![
        vec![0..len],
        even.map(|at| at..len.min(at + step)).collect(),
    ];
    for seed in 0..3 {
        let mut rng = Rng::new(seed);
        let mut cut = Vec::new();
        let mut at = 0;
        while at < len {
            let most = 1 << rng.below(14);
            let next = len.min(at + 1 + rng.below(most) as usize);
            cut.push(at..next);
            at = next;
        }
        all.push(cut);
    }
    all
}
