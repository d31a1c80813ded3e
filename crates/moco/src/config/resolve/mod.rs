//! From what was asked for, and what the data is like, to a complete configuration.
//!
//! Whatever a recipe, the flags and `--set` leave open gets a value here. Values that follow from
//! the data come with a note that says why, so that a person can disagree.

mod method;
mod optim;
mod views;

use super::parse::{insert, run_from_tree};
use super::{ConfigError, DataFacts, RunConfig, keys, validate};
use method::Sizes;
use moco_data::View;
use toml::{Table, Value};

/// A complete configuration, and what there is to say about it.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The configuration.
    pub config: RunConfig,
    /// One sentence for each value taken from the data, and for each that fits the data badly.
    pub notes: Vec<String>,
}

/// Image sizes that are trained on, in pixels.
const SIZES: [usize; 5] = [32, 64, 96, 128, 224];
/// Up to here an image is small: CIFAR stem, no blur, a narrow network.
const SMALL: usize = 64;
/// Images that a run with derived length sees: about an hour for small images on two CPU cores.
const IMAGES_SEEN: usize = 2_000_000;
/// Steps from which the momentum of the published ImageNet runs has time to pay off.
const LONG_RUN: usize = 100_000;

/// Completes `given`, which holds a recipe, flags and overrides laid over one another.
///
/// With neither recipe nor method this is MoCo v2. Settings in `given` always stand.
///
/// # Errors
/// Anything wrong in `given` by itself or together with what was derived, and a data set of fewer
/// images than one batch.
pub fn resolve(given: &Table, facts: &DataFacts) -> Result<Resolved, ConfigError> {
    keys::check(given)?;
    if facts.images < 2 {
        return Err(ConfigError::Invalid(format!(
            "the data set has {} image: contrast needs at least 2, so point --data at more",
            facts.images
        )));
    }
    let mut draft = Draft { tree: given.clone(), notes: Vec::new() };
    let method = draft.fill_text("method.name", "moco-v2");
    let size = draft.data(facts, &method)?;
    let batch = draft.train(facts);
    draft.model(&method, size, batch);
    draft.method(facts, &method, &Sizes { pixels: size, batch });
    draft.optim(facts, &method, size);
    draft.monitor(facts, &method, size);

    let config = run_from_tree(draft.tree)?;
    check_images(&config, facts)?;
    check_cuts(&config, facts)?;
    Ok(Resolved { config, notes: draft.notes })
}

fn check_images(config: &RunConfig, facts: &DataFacts) -> Result<(), ConfigError> {
    let (images, batch) = (facts.images, config.train.batch_size);
    if images < batch {
        return Err(ConfigError::Invalid(format!(
            "the data set has {images} images, fewer than one batch of train.batch_size = \
             {batch}: pass --batch-size {images} or less, or add images"
        )));
    }
    Ok(())
}

/// No view cuts more out of a typical image than there is.
fn check_cuts(config: &RunConfig, facts: &DataFacts) -> Result<(), ConfigError> {
    let (views, eval) = (config.data.parse_views()?, config.data.parse_eval_view()?);
    for view in views.iter().chain([&eval]) {
        if let Some([[height, width], [h, w]]) = view.cut_beyond([facts.height, facts.width]) {
            return Err(ConfigError::Invalid(format!(
                "`{view}` cuts {width}x{height} pixels out of {w}x{h}, the typical size of an image \
                 there, so make the cut smaller or put resize({}) before it",
                width.max(height)
            )));
        }
    }
    Ok(())
}

/// A tree on its way to completeness.
struct Draft {
    tree: Table,
    notes: Vec<String>,
}

/// Methods whose published code starts every residual branch at zero.
const ZERO_INIT: [&str; 4] = ["moco-v3", "simsiam", "simclr", "simclr-v2"];

impl Draft {
    /// Views, and with them the size of the images that the network sees.
    fn data(&mut self, facts: &DataFacts, method: &str) -> Result<usize, ConfigError> {
        let first = self.first_view()?;
        let size = match &first {
            Some(first) => first.size().into_iter().min().unwrap_or(SIZES[0]),
            None => self.size_of(facts),
        };
        self.fill("data.views", views::views(method, size), None);
        let range = first.and_then(|view| view.range());
        let start = range.map_or_else(String::new, |range| format!("{range} "));
        self.fill("data.eval_view", start + &views::eval_view(method, size), None);
        self.fill("data.max_bad_share", 0.01, None);
        Ok(size)
    }

    fn first_view(&self) -> Result<Option<View>, ConfigError> {
        let views = keys::get(&self.tree, "data.views").and_then(Value::as_array);
        let Some(text) = views.and_then(|views| views.first()).and_then(Value::as_str) else {
            return Ok(None);
        };
        Ok(validate::views_at("data.views[0]", text)?.into_iter().next())
    }

    /// The largest size that does not blow the images up.
    fn size_of(&mut self, facts: &DataFacts) -> usize {
        let short = facts.width.min(facts.height);
        let size = SIZES.into_iter().rfind(|size| *size <= short).unwrap_or(SIZES[0]);
        self.notes.push(format!(
            "image size {size}: the images are typically {}x{} pixels",
            facts.width, facts.height
        ));
        size
    }

    /// Length of the run; returns the batch size.
    fn train(&mut self, facts: &DataFacts) -> usize {
        let fitting = power_of_two_up_to(facts.images / 4).clamp(2, 256);
        let why = (fitting < 256)
            .then(|| format!("a quarter of the {} images at most; 256 is usual", facts.images));
        self.fill("train.batch_size", fitting as i64, why);
        let epochs = round_epochs(IMAGES_SEEN / facts.images);
        let why = format!(
            "about {} images in all; published runs take 200 or more",
            rounded(epochs * facts.images)
        );
        self.fill("train.epochs", epochs as i64, Some(why));
        self.fill("train.seed", 0, None);
        self.fill("train.checkpoint_steps", 1000, None);
        self.fill("train.keep_checkpoints", 2, None);
        self.fill("train.log_steps", 10, None);
        self.count("train.batch_size")
    }

    /// Completes `[model]`.
    fn model(&mut self, method: &str, size: usize, batch: usize) {
        let small = size <= SMALL;
        let transformer = ["dino", "mae"].contains(&method);
        let backbone = match (transformer, small) {
            (false, _) => "resnet18",
            (true, true) => "vit-micro",
            (true, false) => "vit-tiny",
        };
        let why = format!("{method} is made for vision transformers");
        self.fill("model.backbone", backbone, transformer.then_some(why));
        if self.backbone().starts_with("vit") {
            self.vit(method, small);
        } else {
            self.resnet(method, size, batch);
        }
    }

    fn resnet(&mut self, method: &str, size: usize, batch: usize) {
        let small = size <= SMALL;
        let why = format!("the stem for images of {size} pixels");
        self.fill("model.stem", if small { "cifar" } else { "imagenet" }, Some(why));
        // CMC's two encoders are of half the width each, as published.
        let whole = if method == "cmc" { 32 } else { 64 };
        let why = format!(
            "half the published network, which a CPU trains in reasonable time; \
             --set model.width={whole} is the whole"
        );
        self.fill("model.width", if small { whole / 2 } else { whole }, small.then_some(why));
        // The published stem has 64 channels whatever the width of CMC's stages.
        if method == "cmc" && !small && self.count("model.width") != 64 {
            self.fill("model.stem_width", 64, None);
        }
        // CPC sees patches, which are too small for a fourth stage (v1, Sec. 3.2).
        self.fill("model.stages", if method == "cpc" { 3 } else { 4 }, None);
        self.fill("model.norm", if method == "cpc" { "layer" } else { "batch" }, None);
        let torch = small && ["instdisc", "invaspread"].contains(&method);
        self.fill("model.init", if torch { "torch" } else { "fan-out" }, None);
        self.fill("model.zero_init_residual", ZERO_INIT.contains(&method), None);
        // 32 images per group and at most 8 groups: the 8 GPUs of the published runs of MoCo.
        // The other methods were published with one statistic over all GPUs, or on one.
        let split = method.starts_with("moco") && method != "moco-v3";
        let most = if split { (batch / 32).clamp(1, 8) } else { 1 };
        let groups = (1..=most).rfind(|groups| batch.is_multiple_of(*groups)).unwrap_or(1);
        let why = format!("BatchNorm over {} images each, as on several GPUs", batch / groups);
        self.fill("model.bn_groups", groups as i64, (groups > 1).then_some(why));
    }

    fn vit(&mut self, method: &str, small: bool) {
        self.fill("model.patch", if small { 4 } else { 16 }, None);
        let positions = if method == "dino" { "learned" } else { "sincos" };
        self.fill("model.positions", positions, None);
        self.fill("model.pool", "class", None);
        let linear = self.fill_text("model.patch_stem", "linear") == "linear";
        self.fill("model.drop_path", if method == "dino" { 0.1 } else { 0.0 }, None);
        self.fill("model.freeze_patch", method == "moco-v3" && linear, None);
    }

    /// The backbone's name, once it is given or filled in.
    fn backbone(&self) -> String {
        let name = keys::get(&self.tree, "model.backbone").and_then(Value::as_str);
        name.unwrap_or_default().to_owned()
    }

    fn monitor(&mut self, facts: &DataFacts, method: &str, size: usize) {
        self.fill("monitor.knn_epochs", 1, None);
        if !facts.labelled && self.count("monitor.knn_epochs") > 0 {
            insert(&mut self.tree, "monitor.knn_epochs", Value::Integer(0));
            self.notes.push(
                "monitor.knn_epochs = 0: the images are not in class folders, so there is no \
                 accuracy to watch"
                    .to_owned(),
            );
        }
        self.fill("monitor.knn_k", (facts.images / 10).clamp(1, 200) as i64, None);
        // InstDisc's own for CIFAR-10 and for ImageNet.
        self.fill("monitor.knn_temperature", if size <= SMALL { 0.1 } else { 0.07 }, None);
        self.fill("monitor.knn_feature", "backbone", None);
        self.fill("monitor.probe", self.count("monitor.knn_epochs") > 0, None);
        self.fill("monitor.quality_epochs", 1, None);
        // A few percent of an epoch, as two views of an image cost a tenth of training on it.
        let quality_images = (facts.images / 4).clamp(500, 2000).min(facts.images);
        self.fill("monitor.quality_images", quality_images as i64, None);
        if ["instdisc", "cmc"].contains(&method) {
            self.fill("monitor.knn_bank", false, None);
        }
    }

    /// Gives a setting its value unless it has one, and notes why if there is a reason to.
    fn fill(&mut self, key: &str, value: impl Into<Value>, why: Option<String>) {
        if keys::get(&self.tree, key).is_some() {
            return;
        }
        let value = value.into();
        if let Some(why) = why {
            self.notes.push(format!("{key} = {value}: {why}"));
        }
        insert(&mut self.tree, key, value);
    }

    fn fill_text(&mut self, key: &str, value: &str) -> String {
        self.fill(key, value, None);
        keys::get(&self.tree, key).and_then(Value::as_str).unwrap_or(value).to_owned()
    }

    fn fill_flag(&mut self, key: &str, value: bool) -> bool {
        self.fill(key, value, None);
        keys::get(&self.tree, key).and_then(Value::as_bool).unwrap_or(value)
    }

    /// A whole number that was given or filled in before; both were checked not to be negative.
    fn count(&self, key: &str) -> usize {
        let value = keys::get(&self.tree, key).and_then(Value::as_integer);
        value.and_then(|value| usize::try_from(value).ok()).unwrap_or(0)
    }
}

fn power_of_two_up_to(n: usize) -> usize {
    n.checked_ilog2().map_or(1, |bits| 1 << bits)
}

/// The nearest shorter of a few customary lengths.
fn round_epochs(epochs: usize) -> usize {
    const CUSTOMARY: [usize; 5] = [10, 20, 50, 100, 200];
    CUSTOMARY.into_iter().rfind(|customary| *customary <= epochs).unwrap_or(CUSTOMARY[0])
}

/// Two leading digits, e.g. 1234567 to 1200000.
fn rounded(n: usize) -> usize {
    let unit = 10_usize.pow(n.checked_ilog10().unwrap_or(0).saturating_sub(1));
    n / unit * unit
}
