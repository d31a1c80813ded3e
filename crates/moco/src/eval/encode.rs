//! Encoding the images of a data set, alone or as one of several ranks.
//!
//! Images go through the network in the same batches for any number of ranks: batch b is that of rank
//! b mod R. So every number is the same, to the bit. After each round of batches the ranks tell each
//! other what they have, by which none runs far ahead, and a rank that cannot go on stops all.

use super::EvalError;
use moco_data::{BadFile, DataError, Dataset, EvalBatch, View, for_each_batch_of_draws};
use moco_peers::{Failure, Peers};
use std::ops::ControlFlow;

/// Images, and how they are seen.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    pub dataset: &'a Dataset,
    /// Numbers of the images.
    pub indices: &'a [usize],
    pub view: &'a View,
    /// Draws of the view from each image.
    pub draws: usize,
    /// Images per forward pass.
    pub at_once: usize,
    /// Threads that decode.
    pub threads: usize,
}

/// What became of images, the same on all ranks.
#[derive(Default)]
pub(super) struct Encoded {
    /// The images that can be read, in the order asked for.
    pub indices: Vec<usize>,
    /// What the network makes of them, as much of each.
    pub values: Vec<f32>,
    /// The others.
    pub bad: Vec<BadFile>,
}

/// Passes images through `network`, which is given their number and pixels. A collective call;
/// `progress` hears (done, total) of all ranks together.
///
/// # Errors
/// [`EvalError`] when a server does not give the images, to this rank or another.
pub(super) fn encode(
    seen: Seen<'_>,
    peers: Peers,
    progress: &mut dyn FnMut(usize, usize),
    network: &mut dyn FnMut(usize, Vec<f32>) -> Vec<f32>,
) -> Result<Encoded, EvalError> {
    let Seen { dataset, indices, view, draws, at_once, threads } = seen;
    let batches: Vec<&[usize]> = indices.chunks(at_once).collect();
    let own: Vec<usize> = peers.share(batches.len()).flat_map(|b| batches[b]).copied().collect();
    let mut numbers = peers.share(batches.len());
    let mut rounds = Rounds::new(batches.len(), peers);
    let take = &mut |batch: EvalBatch| {
        // A batch of which nothing can be read does not come.
        let number = numbers.find(|b| batches[*b].contains(&batch.indices[0]));
        let values = network(batch.indices.len(), batch.pixels);
        let part = Part { number: number.unwrap_or_default(), indices: batch.indices, values };
        let goes_on = rounds.add(Ok(Some(part)));
        progress(rounds.count, indices.len());
        goes_on
    };
    let read = for_each_batch_of_draws(dataset, &own, view, draws, at_once, threads, take);
    while rounds.left > 0 && rounds.add(read.as_ref().map(|_| None)).is_continue() {
        progress(rounds.count, indices.len());
    }
    let bad = share_bad(together(read.map_err(EvalError::from), peers)?, peers);
    let (indices, values) = rounds.all();
    Ok(Encoded { indices, values, bad })
}

/// What this rank has made, if all have; else the error of one. A collective call.
pub(crate) fn together<T>(own: Result<T, EvalError>, peers: Peers) -> Result<T, EvalError> {
    peers.together(own, "images that are read").map_err(|failure| match failure {
        Failure::Own(error) => error,
        Failure::Other { rank, host, reason } => EvalError::Peer { rank, host, reason },
    })
}

/// The unreadable images of all ranks, by name. A collective call.
pub(crate) fn share_bad(own: Vec<BadFile>, peers: Peers) -> Vec<BadFile> {
    if peers.alone() {
        return own;
    }
    let own: Vec<(usize, String, String)> =
        own.into_iter().map(|file| (file.index, file.name, file.reason)).collect();
    let text = serde_json::to_vec(&own).expect("numbers and strings");
    let mut all: Vec<BadFile> = Vec::new();
    for text in peers.gather_each(&text, "bad files") {
        let files: Vec<(usize, String, String)> =
            serde_json::from_slice(&text).expect("as another rank wrote it");
        all.extend(files.into_iter().map(|(index, name, reason)| BadFile { index, name, reason }));
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

/// One batch.
struct Part {
    number: usize,
    indices: Vec<usize>,
    values: Vec<f32>,
}

/// The batches of all ranks, one of each in every round.
struct Rounds {
    peers: Peers,
    left: usize,
    /// Images so far.
    count: usize,
    parts: Vec<Part>,
}

/// Stands for the batch of a rank that cannot go on.
const FAILED: u64 = u64::MAX;

impl Rounds {
    fn new(batches: usize, peers: Peers) -> Rounds {
        let left = batches.div_ceil(peers.size());
        Rounds { peers, left, count: 0, parts: Vec::new() }
    }

    /// Brings this rank's batch, or none, to the round; breaks if any rank cannot go on.
    fn add(&mut self, own: Result<Option<Part>, &DataError>) -> ControlFlow<()> {
        self.left -= 1;
        if self.peers.alone() {
            let Ok(part) = own else { return ControlFlow::Break(()) };
            self.keep(part);
            return ControlFlow::Continue(());
        }
        let (head, values) = match own {
            Ok(Some(Part { number, indices, values })) => {
                let numbers = [number].into_iter().chain(indices).map(|n| n as u64);
                (numbers.collect::<Vec<u64>>(), values)
            }
            Ok(None) => (Vec::new(), Vec::new()),
            Err(_) => (vec![FAILED], Vec::new()),
        };
        let heads = self.peers.gather_each(&head, "encoded images");
        if heads.iter().any(|head| head.first() == Some(&FAILED)) {
            return ControlFlow::Break(());
        }
        let values = self.peers.gather_each(&values, "features");
        for (head, values) in heads.iter().zip(values) {
            let Some((number, indices)) = head.split_first() else { continue };
            let indices = indices.iter().map(|i| *i as usize).collect();
            self.keep(Some(Part { number: *number as usize, indices, values }));
        }
        ControlFlow::Continue(())
    }

    fn keep(&mut self, part: Option<Part>) {
        self.count += part.as_ref().map_or(0, |part| part.indices.len());
        self.parts.extend(part);
    }

    /// The images in their order, and their values.
    fn all(self) -> (Vec<usize>, Vec<f32>) {
        let mut parts = self.parts;
        // A rank that found nothing to read in a batch was a round ahead.
        parts.sort_by_key(|part| part.number);
        let mut values = Vec::with_capacity(parts.iter().map(|part| part.values.len()).sum());
        let mut indices = Vec::with_capacity(self.count);
        for part in parts {
            values.extend(part.values);
            indices.extend(part.indices);
        }
        (indices, values)
    }
}
