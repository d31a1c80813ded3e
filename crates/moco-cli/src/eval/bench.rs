//! What every evaluation works with: an encoder, and labelled images.

use crate::args::LabelledArgs;
use crate::console::Stage;
use crate::data;
use crate::ranks::{self, peers};
use crate::session::{Machine, open_encoder};
use anyhow::{Context, bail, ensure};
use moco::config::FeatureKind;
use moco::device::Device;
use moco::eval::{self, Features, FrozenEncoder};
use moco::nn::Module;
use moco::plan::Plan;
use moco::pretrained::Imported;
use moco::run::TrainedEncoder;
use moco::train::{check_ranks_device, checksum};
use moco_data::Dataset;
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;

/// The published augmentation of the probe: what the evaluation view does, with its resizing
/// replaced by a random crop and a flip.
pub fn probe_view(encoder: &FrozenEncoder) -> anyhow::Result<moco_data::View> {
    let text = encoder.view.to_string();
    let center = text.split_once("center(").and_then(|(_, rest)| rest.split_once(')'));
    let (size, rest) = match center {
        Some((size, rest)) => (size.to_owned(), rest),
        None => {
            let [height, width] = encoder.view.size();
            let rest = text.find("normalize").map_or("", |start| &text[start..]);
            (format!("{height}x{width}"), rest)
        }
    };
    let range = encoder.view.range().map_or_else(String::new, |range| format!("{range} "));
    format!("{range}crop({size}, 0.08..1) flip {}", rest.trim())
        .parse()
        .context("cannot derive the probe's augmentation from data.eval_view")
}

/// An encoder and the labelled images it is measured on.
pub struct Bench {
    pub encoder: FrozenEncoder,
    pub config: Plan,
    /// Where imported weights are from.
    pub imported: Option<Imported>,
    pub machine: Machine,
    pub train_images: Arc<Dataset>,
    pub test_images: Dataset,
    /// The training set's number of each of the test set's classes.
    pub classes: Vec<u32>,
}

impl Bench {
    pub fn open(args: &LabelledArgs) -> anyhow::Result<Bench> {
        let machine = Machine::open(&args.machine)?;
        let TrainedEncoder { encoder, config, imported, .. } =
            open_encoder(&args.encoder, &machine.device)?;
        let train_images = Arc::new(labelled(&args.train)?.with_content_hashes());
        let test_images = labelled(&args.test)?.with_content_hashes();
        let classes = match_classes(&train_images, &test_images, &args.test)?;
        Ok(Bench { encoder, config, imported, machine, train_images, test_images, classes })
    }

    pub fn train(&mut self, feature: FeatureKind) -> anyhow::Result<Features> {
        let threads = self.machine.options.threads;
        encode(&mut self.encoder, &self.train_images, feature, threads, "training images")
    }

    /// Features of the test images, with the training set's class numbers.
    pub fn test(&mut self, feature: FeatureKind) -> anyhow::Result<Features> {
        let threads = self.machine.options.threads;
        let mut features =
            encode(&mut self.encoder, &self.test_images, feature, threads, "test images")?;
        for label in &mut features.labels {
            *label = self.classes[*label as usize];
        }
        Ok(features)
    }

    /// Says on stderr if test images are training images too. It is told by hashes of the bytes that
    /// were read for the evaluation, so it comes after it, and reads nothing again. A collective call.
    pub fn warn_of_shared_images(&self) {
        warn_of_shared_images(&self.test_images, &self.train_images);
    }
}

/// Says on stderr if images of `test` are among those of `train`, by the hashes of what was read. A
/// collective call.
pub fn warn_of_shared_images(test: &Dataset, train: &Dataset) {
    share_hashes(train);
    share_hashes(test);
    let shared = test.shared_with(train);
    let Some(&first) = shared.first() else { return };
    let (count, total) = (shared.len(), test.len());
    let are = if count == 1 { "is" } else { "are" };
    eprintln!(
        "warning: {count} of {total} test images {are} also in the training images (equal bytes), such \
         as `{}`: the accuracy is too high",
        test.name(first)
    );
}

/// Lets every rank know what the others have read.
fn share_hashes(images: &Dataset) {
    if peers().alone() {
        return;
    }
    let own = images.content_hashes().into_iter().flat_map(|(i, hash)| [i as u64, hash]);
    let all = peers().gather_each(&own.collect::<Vec<u64>>(), "hashes of images");
    let pairs = all.iter().flat_map(|hashes| hashes.as_chunks::<2>().0);
    images.note_content_hashes(pairs.map(|[i, hash]| (*i as usize, *hash)));
}

/// Finds that all ranks are about to train the same `networks` on the same images by the same protocol.
pub fn agree(
    images: &[(&str, &Dataset)],
    networks: &mut [&mut dyn Module],
    protocol: &Value,
    device: &Device,
) -> anyhow::Result<()> {
    if peers().alone() {
        return Ok(());
    }
    check_ranks_device(device, peers().size())?;
    let mut sum = crc32c::crc32c(protocol.to_string().as_bytes());
    for network in networks {
        sum = crc32c::crc32c_append(sum, &checksum(*network).to_le_bytes());
    }
    ranks::agree(images, ("protocol or network", format!("{sum:08x}")))
}

/// Refuses training batches that do not split into the BatchNorm groups of a network, or these over the
/// ranks.
pub fn check_groups(
    config: &Plan,
    imported: Option<&Imported>,
    batch: usize,
) -> anyhow::Result<()> {
    // Weights of others come with one group.
    let groups = imported.map_or(config.network().bn_groups(), |_| 1);
    let ranks = peers().size();
    ensure!(
        groups.is_multiple_of(ranks) || ranks.is_multiple_of(groups),
        "the network was trained with model.bn_groups = {groups}, and so many BatchNorm groups do not lie \
         evenly on {ranks} ranks: start a divisor or a multiple of {groups}"
    );
    ensure!(
        batch.is_multiple_of(groups),
        "--batch-size {batch} does not split into the {groups} BatchNorm groups (model.bn_groups) that the \
         network was trained with: set it to a multiple of {groups}, such as {}",
        batch.next_multiple_of(groups)
    );
    Ok(())
}

/// Opens images that have classes, without those that have none.
pub fn labelled(path: &Path) -> anyhow::Result<Dataset> {
    let dataset = data::open_together(path)?;
    if dataset.class_names().is_empty() {
        bail!("{} has no labels: put each class's images into a folder of its own", path.display());
    }
    let all = dataset.len();
    let labelled = dataset.only_labelled();
    if labelled.len() < all {
        let without = all - labelled.len();
        eprintln!(
            "note: left out {without} of the {all} images of {}, which have no label",
            path.display()
        );
    }
    Ok(labelled)
}

fn match_classes(train: &Dataset, test: &Dataset, test_path: &Path) -> anyhow::Result<Vec<u32>> {
    let number = |class: &String| {
        let found = train.class_names().iter().position(|known| known == class);
        found.map(|number| number as u32).with_context(|| {
            format!(
                "{} has the class `{class}`, which no training image has: the class folders of \
                 --train and --test must have the same names",
                test_path.display()
            )
        })
    };
    test.class_names().iter().map(number).collect()
}

/// Features of all readable images, with a word on stderr about the others.
pub fn encode(
    encoder: &mut FrozenEncoder,
    images: &Dataset,
    feature: FeatureKind,
    threads: usize,
    stage_name: &str,
) -> anyhow::Result<Features> {
    let mut stage = Stage::new(stage_name);
    let features = eval::features(encoder, images, feature, threads, &mut |done, total| {
        stage.advance(stage_name, done, total);
    })?;
    drop(stage);
    if let Some(first) = features.bad.first() {
        let (bad, total) = (features.bad.len(), images.len());
        let example = format!("for example {}: {}", first.name, first.reason);
        if features.is_empty() {
            bail!("none of the {total} {stage_name} can be read, {example}");
        }
        eprintln!("warning: left out {bad} of {total} {stage_name} that cannot be read, {example}");
    }
    Ok(features)
}
