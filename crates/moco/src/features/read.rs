//! What images are made of, read by one rank or by several.

use crate::eval::{EvalError, share_bad, together};
use moco_data::{BadFile, Content, Contents, Dataset};
use moco_peers::Peers;
use std::sync::Arc;

/// Images that all ranks read before they tell each other: none then waits long for another.
const ROUND: usize = 1 << 16;

/// What the images of `dataset` are made of, every R-th read by this rank. A collective call.
///
/// # Errors
/// [`EvalError`] when a server does not give the images, to this rank or another.
pub(super) fn contents(
    dataset: &Arc<Dataset>,
    threads: usize,
    peers: Peers,
    progress: &mut dyn FnMut(&'static str, usize, usize),
) -> Result<Contents, EvalError> {
    let count = dataset.len();
    if peers.alone() {
        return Ok(moco_data::contents(dataset, threads, &mut |n, all| {
            progress("reading", n, all)
        })?);
    }
    let mut all = Contents::default();
    for start in (0..count).step_by(ROUND) {
        let round = ROUND.min(count - start);
        let own: Vec<usize> = peers.share(round).map(|i| start + i).collect();
        let part = dataset.subset(own.clone());
        let mut told = |n: usize, _: usize| {
            progress("reading", start + (n * peers.size()).min(round), count);
        };
        let read = moco_data::contents(&part, threads, &mut told).map_err(EvalError::from);
        let Contents { images, bad } = together(read, peers)?;
        let images = images.into_iter().map(|(i, content)| (own[i], content));
        all.images.extend(gather(images.collect(), peers));
        let bad = bad.into_iter().map(|bad| BadFile { index: own[bad.index], ..bad });
        all.bad.extend(share_bad(bad.collect(), peers));
    }
    all.bad.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

/// The images of all ranks, rising.
fn gather(own: Vec<(usize, Content)>, peers: Peers) -> Vec<(usize, Content)> {
    let numbers = |(index, content): (usize, Content)| {
        let Content { digest, bytes, pixels } = content;
        [index as u64, (digest >> 64) as u64, digest as u64, bytes, pixels]
    };
    let own: Vec<u64> = own.into_iter().flat_map(numbers).collect();
    let all = peers.gather_each(&own, "contents of images").concat();
    let image = |[index, high, low, bytes, pixels]: &[u64; 5]| {
        let digest = u128::from(*high) << 64 | u128::from(*low);
        (*index as usize, Content { digest, bytes: *bytes, pixels: *pixels })
    };
    let mut images: Vec<(usize, Content)> = all.as_chunks::<5>().0.iter().map(image).collect();
    images.sort_unstable_by_key(|(index, _)| *index);
    images
}
