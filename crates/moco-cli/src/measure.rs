//! What a few steps cost, in time and memory, and the batch that a GPU's memory has room for.

use crate::failure::RunFailed;
use crate::memory::{bytes_in_use, with_peak_memory};
use crate::session::Machine;
use moco::device::{self, Device};
use moco::plan::Plan;
use moco::train::Trainer;
use moco_data::Dataset;
use std::sync::Arc;

/// Steps that are timed, after one that warms up.
const TIMED_STEPS: usize = 4;
/// A first step that takes longer than this, in seconds, is not repeated.
const LONG_STEP: f64 = 10.0;
/// Pixels in a timed batch at most, so that a plan for a large machine can be checked on a small
/// one; time and memory grow in proportion to the batch.
const TIMED_PIXELS: usize = 1 << 20;
/// Share of a GPU's memory that tensors can have; the rest is the driver's, libraries' and lost in gaps.
const USABLE: f64 = 0.9;

/// What a few steps cost.
pub struct Measured {
    pub batch_size: usize,
    /// Parts of the batch.
    pub parts: usize,
    /// Typical time of a step.
    pub seconds: f64,
    /// Bytes in use before the first step, and at most during the steps.
    pub memory: Option<(usize, usize)>,
    pub gpu: Option<GpuMemory>,
}

/// Takes a few steps, of a smaller batch where that of the run is large.
pub fn measure(
    config: &Plan,
    dataset: Arc<Dataset>,
    machine: &Machine,
) -> anyhow::Result<Measured> {
    let (images, parts) = timed_batch(config);
    let config = config.for_timing(images, parts);
    let used = device::used_memory(&machine.device);
    let mut trainer = Trainer::new(&config, dataset, &machine.device, machine.options)?;
    let (before, begin) = (bytes_in_use(), device::used_memory(&machine.device));
    device::reset_peak_memory(&machine.device);
    let (seconds, peak) = with_peak_memory(|| {
        let mut steps = trainer.time_steps(1).map_err(RunFailed::from)?;
        if steps[0].seconds < LONG_STEP {
            // The first step also pays for cold caches and first touches of memory.
            steps = trainer.time_steps(TIMED_STEPS).map_err(RunFailed::from)?;
        }
        let mut seconds: Vec<f64> = steps.iter().map(|step| step.seconds).collect();
        seconds.sort_by(f64::total_cmp);
        anyhow::Ok(seconds[seconds.len() / 2])
    });
    let gpu =
        used.zip(begin).and_then(|used| GpuMemory::now(used, images / parts, &machine.device));
    Ok(Measured { batch_size: images, parts, seconds: seconds?, memory: before.zip(peak), gpu })
}

/// A batch to try out and its parts, two at most: each as in the run, halved while it is too large
/// and can be halved.
fn timed_batch(config: &Plan) -> (usize, usize) {
    let views = config.views();
    let pixels = views.iter().map(|view| view.size().iter().product()).max().unwrap_or(1);
    let (mut part, groups) =
        (config.train.batch_size / config.optim.accumulate, config.model.bn_groups());
    while part * pixels > TIMED_PIXELS && part.is_multiple_of(4 * groups) {
        part /= 2;
    }
    let parts = config.optim.accumulate.min(2);
    (part * parts, parts)
}

/// What steps take of a GPU's memory: weights and state, and what grows with the images at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GpuMemory {
    /// Bytes of weights and state.
    fixed: f64,
    /// Bytes for each image that is computed at once.
    image: f64,
    /// Bytes of the GPU.
    total: f64,
}

impl GpuMemory {
    /// After steps of so many images at once, from the bytes in use before the trainer was made and before
    /// its first step.
    fn now((used, begin): (u64, u64), at_once: usize, device: &Device) -> Option<Self> {
        let grown = device::peak_memory(device)?.saturating_sub(begin).max(1);
        let total = device::memory(device)?.total as f64;
        let fixed = begin.saturating_sub(used) as f64;
        Some(Self { fixed, image: grown as f64 / at_once as f64, total })
    }

    /// Images that fit at once.
    fn fits(&self) -> usize {
        ((self.total * USABLE - self.fixed) / self.image).max(0.0) as usize
    }

    /// What the run of `config` needs, and the batch that would fit.
    pub fn in_words(&self, config: &Plan) -> String {
        let (batch, parts) = (config.train.batch_size, config.optim.accumulate);
        let needed = self.fixed + self.image * (batch / parts) as f64;
        let verdict = match self.fits() {
            fits if batch / parts <= fits => format!("a batch of about {fits} would fit"),
            _ => format!("too much: {}", self.mend(batch, parts)),
        };
        format!("about {:.1} of {:.1} GB; {verdict}", needed / 1e9, self.total / 1e9)
    }

    /// What to do where a batch in so many parts does not fit.
    pub fn mend(&self, batch: usize, parts: usize) -> String {
        match self.fits() {
            0 => "not even one image fits: take a smaller network or view".to_owned(),
            fits if batch / parts <= fits => format!(
                "about {fits} images would fit at once if nothing else used it, and {} did not: lower \
                 --batch-size, or raise optim.accumulate",
                batch / parts
            ),
            fits => format!(
                "about {fits} images fit at once, and {} did not: lower --batch-size, or compute it in \
                 parts with --set optim.accumulate={}",
                batch / parts,
                parts_that_fit(batch, fits)
            ),
        }
    }
}

/// The fewest equal parts of a batch that have at most `fits` images each.
fn parts_that_fit(batch: usize, fits: usize) -> usize {
    let equal = |parts: &usize| batch.is_multiple_of(*parts);
    (batch.div_ceil(fits)..=batch).find(equal).unwrap_or(batch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_batch_that_fits_is_named() {
        // 9 GB can be used, 1 GB of them is taken, and an image takes 40 MB.
        let memory = GpuMemory { fixed: 1e9, image: 4e7, total: 1e10 };
        assert_eq!(memory.fits(), 200);
        let words = memory.mend(512, 1);
        assert!(words.contains("about 200 images fit at once, and 512 did not"), "{words}");
        assert!(words.ends_with("optim.accumulate=4"), "3 parts are not equal: {words}");
        let words = memory.mend(512, 4);
        assert!(words.contains("if nothing else used it, and 128 did not"), "{words}");
        let full = GpuMemory { fixed: 1e10, ..memory };
        assert!(full.mend(512, 1).starts_with("not even one image fits"));
    }
}
