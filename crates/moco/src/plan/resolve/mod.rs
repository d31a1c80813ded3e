//! From what was asked for, and what the data is like, to a complete configuration.
//!
//! Whatever a recipe, the flags and `--set` leave open gets a value here: sizes and lengths from the
//! data, the rest from what the method says of itself. Values that follow from the data come with a note
//! that says why, so that a person can disagree.

mod model;
mod optim;

use super::Plan;
use super::check::views_at;
use super::keys::{Keys, METHOD};
use crate::config::{ConfigError, DataFacts, Draft, SMALL, Scale, power_of_two_up_to};
use crate::methods::{self, Spec};
use moco_data::View;
use toml::{Table, Value};

/// A complete configuration, and what there is to say about it.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The configuration.
    pub config: Plan,
    /// One sentence for each value taken from the data, and for each that fits the data badly.
    pub notes: Vec<String>,
}

/// Image sizes that are trained on, in pixels.
const SIZES: [usize; 5] = [32, 64, 96, 128, 224];
/// Images that a run with derived length sees: about an hour for small images on two CPU cores.
const IMAGES_SEEN: usize = 2_000_000;
/// The method of a run that names none.
const USUAL_METHOD: &str = "moco-v2";

/// Completes `given`, which holds a recipe, flags and overrides laid over one another.
///
/// With neither recipe nor method this is MoCo v2. Settings in `given` always stand.
///
/// # Errors
/// Anything wrong in `given` by itself or together with what was derived, and a data set of fewer
/// images than one batch.
pub fn resolve(given: &Table, facts: &DataFacts) -> Result<Resolved, ConfigError> {
    Keys::of(given).check()?;
    if facts.images < 2 {
        return Err(ConfigError::Invalid(format!(
            "the data set has {} image: contrast needs at least 2, so point --data at more",
            facts.images
        )));
    }
    let mut draft = Draft::new(given.clone());
    let name = draft.fill_text(METHOD, USUAL_METHOD);
    let spec = methods::find(&name)
        .ok_or_else(|| ConfigError::unknown_name(METHOD, &name, &methods::names()))?;
    let pixels = data(&mut draft, facts, spec)?;
    let batch = train(&mut draft, facts);
    let epochs = draft.count("train.epochs");
    let mut scale = Scale { facts, pixels, batch, epochs, vit: false };
    scale.vit = model::fill(&mut draft, spec, &scale);
    spec.fill(&mut draft, &scale);
    optim::fill(&mut draft, spec, &scale);
    monitor(&mut draft, spec, &scale);

    let (tree, notes) = draft.into_parts();
    let plan = Plan::from_tree(tree)?;
    check_images(&plan, facts)?;
    check_cuts(&plan, facts)?;
    Ok(Resolved { config: plan, notes })
}

fn check_images(plan: &Plan, facts: &DataFacts) -> Result<(), ConfigError> {
    let (images, batch) = (facts.images, plan.train.batch_size);
    if images < batch {
        return Err(ConfigError::Invalid(format!(
            "the data set has {images} images, fewer than one batch of train.batch_size = \
             {batch}: pass --batch-size {images} or less, or add images"
        )));
    }
    Ok(())
}

/// No view cuts more out of a typical image than there is.
fn check_cuts(plan: &Plan, facts: &DataFacts) -> Result<(), ConfigError> {
    for view in plan.views().iter().chain([plan.eval_view()]) {
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

/// Views, and with them the size of the images that the network sees.
fn data(draft: &mut Draft, facts: &DataFacts, spec: &dyn Spec) -> Result<usize, ConfigError> {
    let first = first_view(draft)?;
    let size = match &first {
        Some(first) => first.size().into_iter().min().unwrap_or(SIZES[0]),
        None => size_of(draft, facts),
    };
    draft.fill("data.views", spec.views(size), None);
    let range = first.and_then(|view| view.range());
    let start = range.map_or_else(String::new, |range| format!("{range} "));
    draft.fill("data.eval_view", start + &spec.eval_view(size), None);
    draft.fill("data.max_bad_share", 0.01, None);
    Ok(size)
}

fn first_view(draft: &Draft) -> Result<Option<View>, ConfigError> {
    let views = draft.value("data.views").and_then(Value::as_array);
    let Some(text) = views.and_then(|views| views.first()).and_then(Value::as_str) else {
        return Ok(None);
    };
    Ok(views_at("data.views[0]", text)?.into_iter().next())
}

/// The largest size that does not blow the images up.
fn size_of(draft: &mut Draft, facts: &DataFacts) -> usize {
    let short = facts.width.min(facts.height);
    let size = SIZES.into_iter().rfind(|size| *size <= short).unwrap_or(SIZES[0]);
    draft.note(format!(
        "image size {size}: the images are typically {}x{} pixels",
        facts.width, facts.height
    ));
    size
}

/// Length of the run; returns the batch size.
fn train(draft: &mut Draft, facts: &DataFacts) -> usize {
    let fitting = power_of_two_up_to(facts.images / 4).clamp(2, 256);
    let why = (fitting < 256)
        .then(|| format!("a quarter of the {} images at most; 256 is usual", facts.images));
    draft.fill("train.batch_size", fitting as i64, why);
    let epochs = round_epochs(IMAGES_SEEN / facts.images);
    let why = format!(
        "about {} images in all; published runs take 200 or more",
        rounded(epochs * facts.images)
    );
    draft.fill("train.epochs", epochs as i64, Some(why));
    draft.fill("train.seed", 0, None);
    draft.fill("train.checkpoint_steps", 1000, None);
    draft.fill("train.keep_checkpoints", 2, None);
    draft.fill("train.log_steps", 10, None);
    draft.count("train.batch_size")
}

fn monitor(draft: &mut Draft, spec: &dyn Spec, scale: &Scale<'_>) {
    let facts = scale.facts;
    draft.fill("monitor.knn_epochs", 1, None);
    if !facts.labelled && draft.count("monitor.knn_epochs") > 0 {
        let why = "the images are not in class folders, so there is no accuracy to watch";
        draft.overrule("monitor.knn_epochs", Value::Integer(0), why);
    }
    draft.fill("monitor.knn_k", (facts.images / 10).clamp(1, 200) as i64, None);
    // InstDisc's own for CIFAR-10 and for ImageNet.
    let temperature = if scale.pixels <= SMALL { 0.1 } else { 0.07 };
    draft.fill("monitor.knn_temperature", temperature, None);
    draft.fill("monitor.knn_feature", "backbone", None);
    draft.fill("monitor.probe", draft.count("monitor.knn_epochs") > 0, None);
    draft.fill("monitor.quality_epochs", 1, None);
    // A few percent of an epoch, as two views of an image cost a tenth of training on it.
    let quality_images = (facts.images / 4).clamp(500, 2000).min(facts.images);
    draft.fill("monitor.quality_images", quality_images as i64, None);
    if spec.profile().remembers {
        draft.fill("monitor.knn_bank", false, None);
    }
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
