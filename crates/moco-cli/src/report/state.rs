//! What a method carries beside its encoder, from the newest checkpoint.

use super::gallery::Images;
use super::opened::Opened;
use crate::session::Machine;
use moco::batch::to_host;
use moco::checkpoint::Checkpoint;
use moco::config::FeatureKind;
use moco::eval::{self, FrozenEncoder};
use moco::methods::{Expectation, Mae, MaeConfig, Method, MocoConfig};
use moco::nn::{Leaf, for_each_leaf};
use moco::plan::Plan;
use moco_data::Dataset;
use moco_page::Rows;
use moco_page::page::Part;
use rayon::prelude::*;
use std::fmt::Display;

/// Products of images and prototypes that are held at once: 64 MiB of them.
const OUTPUTS: usize = 1 << 24;

/// A method as a run left it.
pub struct State {
    /// What its loss should look like.
    pub expectation: Option<Expectation>,
    mae: Option<Mae>,
    /// Whose image each key of the queue is, if there is a queue.
    owners: Option<Vec<f32>>,
    /// Prototypes, or a teacher's last layer, `[K, D]`, and its centre.
    prototypes: Option<Rows>,
    centre: Option<Vec<f32>>,
    /// What the images' embeddings say of prototypes and centre.
    seen: Vec<Part>,
    /// What could not be looked at, in sentences.
    pub missing: Vec<String>,
}

impl State {
    /// Of the method that `run` trained on `images`. What memory is too short for, or no checkpoint
    /// holds, is not there; what cannot be read is named in [`State::missing`].
    pub fn of(run: &Opened, images: Option<&Dataset>, machine: &Machine) -> State {
        let config = &run.config;
        let mut state = State {
            expectation: None,
            mae: None,
            owners: None,
            prototypes: None,
            centre: None,
            seen: Vec::new(),
            missing: Vec::new(),
        };
        // Banks have a row for each image; of a run whose images are gone nobody asks for theirs.
        let count = images.map_or(config.train.batch_size, Dataset::len);
        if let Err(error) = config.check_memory(count) {
            state.lacks(&error);
            return state;
        }
        if let Some(settings) = config.settings_as::<MaeConfig>() {
            let mut mae = Mae::new(settings, config.network(), &machine.device);
            state.expectation = Some(mae.expectation());
            match restored(run, &mut mae, machine) {
                Ok(restored) => state.mae = restored.then_some(mae),
                Err(error) => state.lacks(&error),
            }
            return state;
        }
        let mut method = config.method(count, &machine.device);
        state.expectation = Some(method.expectation());
        match restored(run, method.as_mut(), machine) {
            Ok(true) => state.take(method.as_mut()),
            Ok(false) => {}
            Err(error) => state.lacks(&error),
        }
        state
    }

    fn lacks(&mut self, why: &dyn Display) {
        self.missing.push(format!("What the method keeps beside its encoder: {why}."));
    }

    /// Takes what there is to look at from the walk over a method's state.
    fn take(&mut self, method: &mut dyn Method) {
        let mut lengths = None;
        for_each_leaf(method, |name, leaf| {
            let (Leaf::Param(tensor) | Leaf::Buffer(tensor)) = leaf else { return };
            let values = || to_host(tensor.flat());
            let rows = || Rows::new(values(), tensor.shape()[1]);
            match name {
                "queue.owners" => self.owners = Some(values()),
                "center" => self.centre = Some(values()),
                "student.prototypes.weight" => self.prototypes = Some(rows().unit()),
                "teacher.head.last_layer.weight_v" => self.prototypes = Some(rows().unit()),
                "teacher.head.last_layer.weight_g" => lengths = Some(values()),
                _ => {}
            }
        });
        if let (Some(lengths), Some(rows)) = (lengths, &self.prototypes) {
            let scaled = rows.iter().zip(lengths).flat_map(|(row, length): (&[f32], f32)| {
                row.iter().map(move |value| value * length).collect::<Vec<f32>>()
            });
            self.prototypes = Some(Rows::new(scaled.collect(), rows.dim()));
        }
    }

    /// The masked autoencoder with its decoder, if it is one.
    pub fn mae(&mut self) -> Option<&mut Mae> {
        self.mae.as_mut()
    }

    /// Looks at the images through prototypes and centre.
    pub fn see(&mut self, frozen: &mut FrozenEncoder, config: &Plan, images: &Images) {
        let Some(prototypes) = &self.prototypes else { return };
        let kind = FeatureKind::Head;
        if config.check_feature("monitor.knn_feature", kind).is_err() {
            return;
        }
        let embedded = eval::features(frozen, &images.sample, kind, images.threads, &mut |_, _| {});
        let features = match embedded {
            Ok(features) => features,
            Err(error) => return self.missing.push(format!("Prototypes and centre: {error}.")),
        };
        if features.is_empty() || features.dim != prototypes.dim() {
            return;
        }
        let few = (OUTPUTS / prototypes.len().max(1)).max(1);
        let rows = Rows::new(features.values, features.dim).sample(few).unit();
        self.seen = seen(&rows, prototypes, self.centre.as_deref());
    }

    /// All parts whose health can be told.
    pub fn parts(&self, run: &Opened) -> Vec<Part> {
        let mut parts = Vec::new();
        let queue = run.config.settings_as::<MocoConfig>();
        if let (Some(owners), Some(moco)) = (&self.owners, queue) {
            let directions = if moco.symmetric { 2 } else { 1 };
            let written = run.config.train.batch_size * directions;
            let age = (owners.len() as f64 / written as f64).min(run.steps() as f64);
            let random = owners.iter().filter(|owner| **owner < 0.0).count();
            let (keys, momentum) = (owners.len(), moco.momentum);
            parts.push(Part::Queue { keys, random, age, momentum });
            parts.extend(run.recent("own_keys").map(|count| Part::OwnKeys {
                count,
                masked: moco.mask_own_keys,
                of: keys,
            }));
        }
        parts.extend_from_slice(&self.seen);
        parts
    }
}

/// Gives the method the state of the newest checkpoint; whether there is one.
fn restored(run: &Opened, method: &mut dyn Method, machine: &Machine) -> anyhow::Result<bool> {
    let Some(path) = run.dir.list_checkpoints()?.pop() else { return Ok(false) };
    let checkpoint = Checkpoint::open(&path)?;
    checkpoint.restore(&mut [("method", method)], &machine.device)?;
    Ok(true)
}

/// Which prototype each row is nearest to, and how outputs and centre deviate.
fn seen(rows: &Rows, prototypes: &Rows, centre: Option<&[f32]>) -> Vec<Part> {
    let outputs: Vec<Vec<f32>> = rows
        .values()
        .par_chunks_exact(rows.dim())
        .map(|row| {
            let product = |p: &[f32]| row.iter().zip(p).map(|(a, b)| a * b).sum::<f32>();
            prototypes.iter().map(product).collect()
        })
        .collect();
    let centre_of = |at: usize| centre.map_or(0.0, |centre| centre[at]);
    let mut counts = vec![0usize; prototypes.len()];
    for row in &outputs {
        let centred = row.iter().enumerate().map(|(at, value)| (at, value - centre_of(at)));
        let nearest = centred.max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)));
        counts[nearest.map_or(0, |(at, _)| at)] += 1;
    }
    let shares = counts.iter().filter(|count| **count > 0);
    let shares = shares.map(|count| *count as f64 / rows.len() as f64);
    let entropy: f64 = shares.map(|share| -share * share.ln()).sum();
    let mut parts = vec![Part::Prototypes {
        count: prototypes.len(),
        used: counts.iter().filter(|count| **count > 0).count(),
        images: rows.len(),
        perplexity: entropy.exp(),
    }];
    parts.extend(centre.map(|centre| Part::Centre {
        deviation: deviation(centre.iter().map(|value| f64::from(*value))),
        outputs: over_images(&outputs),
    }));
    parts
}

/// Mean over outputs of their standard deviation over images.
fn over_images(outputs: &[Vec<f32>]) -> f64 {
    let count = outputs.first().map_or(0, Vec::len);
    let of = |at: usize| deviation(outputs.iter().map(move |row| f64::from(row[at])));
    (0..count).map(of).sum::<f64>() / count.max(1) as f64
}

fn deviation(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let count = values.clone().count().max(1) as f64;
    let mean = values.clone().sum::<f64>() / count;
    (values.map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prototypes_are_counted_by_the_rows_nearest_to_them() {
        let rows = Rows::new(vec![1.0, 0.0, 0.9, 0.1, 0.0, 1.0, 0.1, 0.9], 2).unit();
        let prototypes = Rows::new(vec![1.0, 0.0, 0.0, 1.0, -1.0, 0.0], 2);
        let expected = Part::Prototypes { count: 3, used: 2, images: 4, perplexity: 2.0 };
        let Part::Prototypes { count, used, images, perplexity } =
            seen(&rows, &prototypes, None)[0]
        else {
            panic!("prototypes")
        };
        assert!((perplexity - 2.0).abs() < 1e-9);
        assert_eq!(Part::Prototypes { count, used, images, perplexity: 2.0 }, expected);
        // A centre that takes out what all rows share changes who is nearest.
        let parts = seen(&rows, &prototypes, Some(&[5.0, 0.0, 0.0]));
        let Part::Prototypes { used, .. } = parts[0] else { panic!("prototypes") };
        assert_eq!(used, 1);
        assert!(
            matches!(parts[1], Part::Centre { deviation, .. } if (deviation - 2.357).abs() < 1e-3)
        );
    }
}
