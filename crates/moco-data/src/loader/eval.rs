//! Every image once and in order, for evaluation.

use super::pool::share_out;
use super::{BadFile, bad_files};
use crate::augment::{Scratch, View};
use crate::error::{DataError, ImageError};
use crate::random::ViewKey;
use crate::source::Dataset;
use std::ops::ControlFlow;
use std::sync::OnceLock;
use std::sync::mpsc::sync_channel;
use std::thread;

/// A batch of images for evaluation.
#[derive(Clone, Debug, PartialEq)]
pub struct EvalBatch {
    /// Index in the data set of each image.
    pub indices: Vec<usize>,
    /// Normalised pixels, `[n, H, W, 3]` with `n` the number of indices, times the draws of each
    /// image, times the patches of the view; what belongs to an image lies together.
    pub pixels: Vec<f32>,
}

/// Calls `f` with the images of `indices`, in that order, in batches of at most `batch`, until it
/// breaks. The next batch is decoded on `threads` threads meanwhile.
///
/// Images that cannot be read are left out, and returned sorted by name. A view that draws random
/// numbers draws the same ones at every call.
///
/// # Errors
/// If a server does not give the images.
///
/// # Panics
/// If `batch` or `threads` is 0, or an image in memory has no pixels.
pub fn for_each_batch(
    dataset: &Dataset,
    indices: &[usize],
    view: &View,
    batch: usize,
    threads: usize,
    f: &mut dyn FnMut(EvalBatch) -> ControlFlow<()>,
) -> Result<Vec<BadFile>, DataError> {
    for_each_batch_of_draws(dataset, indices, view, 1, batch, threads, f)
}

/// As [`for_each_batch`], with `draws` independent draws of the view from each image, which is
/// decoded once. Draw `i` is the same at every call.
///
/// # Errors
/// If a server does not give the images.
///
/// # Panics
/// As [`for_each_batch`], and if `draws` is 0.
pub fn for_each_batch_of_draws(
    dataset: &Dataset,
    indices: &[usize],
    view: &View,
    draws: usize,
    batch: usize,
    threads: usize,
    f: &mut dyn FnMut(EvalBatch) -> ControlFlow<()>,
) -> Result<Vec<BadFile>, DataError> {
    assert!(draws > 0, "no draws of the view");
    assert!(batch > 0 && threads > 0, "a batch of {batch} on {threads} threads");
    let (sender, receiver) = sync_channel(1);
    let lost = &OnceLock::new();
    let decoded = || {
        let mut workers: Vec<Scratch> = Vec::new();
        workers.resize_with(threads, Scratch::default);
        indices
            .chunks(batch)
            .map(move |chunk| decode_batch(dataset, chunk, view, draws, &mut workers, lost))
    };
    let mut bad = Vec::new();
    let take = |(batch, unreadable): (EvalBatch, Vec<(usize, String)>)| {
        bad.extend(unreadable);
        match batch.indices.is_empty() {
            true => ControlFlow::Continue(()),
            false => f(batch),
        }
    };
    thread::scope(|scope| {
        let ahead = thread::Builder::new()
            .spawn_scoped(scope, move || decoded().try_for_each(|batch| sender.send(batch)));
        // Owned here, so that it is gone when `f` breaks and the producer stops.
        let mut receiver = receiver.into_iter();
        let _ = match ahead {
            Ok(_) => receiver.try_for_each(take),
            // The system starts no more threads: one batch after the other, here.
            Err(_) => decoded().try_for_each(take),
        };
    });
    if let Some(reason) = lost.get() {
        return Err(DataError::Unreachable { reason: String::clone(reason) });
    }
    bad.sort();
    bad.dedup_by_key(|(index, _)| *index);
    Ok(bad_files(dataset, bad.into_iter()))
}

/// The images that can be read, and those that cannot. When a server is lost, that is noted, and
/// nothing more is read.
fn decode_batch(
    dataset: &Dataset,
    indices: &[usize],
    view: &View,
    draws: usize,
    workers: &mut [Scratch],
    lost: &OnceLock<String>,
) -> (EvalBatch, Vec<(usize, String)>) {
    let one = view.value_count();
    let size = one * draws;
    let mut pixels = vec![0.0; indices.len() * size];
    let mut errors: Vec<Option<String>> = vec![None; indices.len()];
    let slots = indices.iter().zip(pixels.chunks_exact_mut(size)).zip(&mut errors);
    let reachable = slots.take_while(|_| lost.get().is_none());
    share_out(reachable, workers, |((&index, out), error), scratch| {
        match dataset.fetch(index, view.range()) {
            Ok(image) => {
                for (draw, out) in out.chunks_exact_mut(one).enumerate() {
                    let key = ViewKey { seed: 0, epoch: 0, image: index as u64, view: draw as u64 };
                    view.apply_with(scratch, &image, key, out, &mut |_| {});
                }
            }
            Err(ImageError::Unreachable { reason }) => {
                let _ = lost.set(reason);
            }
            Err(reason) => *error = Some(reason.to_string()),
        }
    })
    .unwrap_or_else(|error| panic!("{error}"));

    if lost.get().is_some() {
        return (EvalBatch { indices: Vec::new(), pixels: Vec::new() }, Vec::new());
    }
    let mut kept = Vec::with_capacity(indices.len());
    let mut bad = Vec::new();
    for (slot, (&index, error)) in indices.iter().zip(errors).enumerate() {
        match error {
            Some(reason) => bad.push((index, reason)),
            None => {
                pixels.copy_within(slot * size..(slot + 1) * size, kept.len() * size);
                kept.push(index);
            }
        }
    }
    pixels.truncate(kept.len() * size);
    (EvalBatch { indices: kept, pixels }, bad)
}
