//! What the specs of several methods share: views, and defaults in proportion.

use crate::config::{
    BackboneDefaults, ConfigError, Draft, OptimDefaults, RunConfig, SMALL, Scale,
    power_of_two_up_to,
};

/// Whether images of this side are small, as CIFAR-10's.
pub fn is_small(size: usize) -> bool {
    size <= SMALL
}

/// The end of a view: the statistics of CIFAR-10 or ImageNet.
pub fn normalize(size: usize) -> &'static str {
    if is_small(size) { "normalize(cifar10)" } else { "normalize(imagenet)" }
}

/// A blur with probability `p`; small images go without, as in the papers' settings for CIFAR-10.
pub fn blur(size: usize, p: &str) -> String {
    if is_small(size) { String::new() } else { format!("blur(0.1..2; p={p}) ") }
}

/// Two views of a kind, for methods that compare two drawn alike.
pub fn both(view: String) -> Vec<String> {
    vec![view.clone(), view]
}

/// MoCo v1's view for large images, which InstDisc began with (arXiv 1911.05722, Sec. 3.3).
pub fn weak_view(size: usize) -> String {
    let end = normalize(size);
    format!("crop({size}, 0.2..1) gray(p=0.2) jitter(0.4,0.4,0.4,0.4) flip {end}")
}

/// MoCo v2's and SimSiam's view; SimCLR's of CIFAR-10 for small images.
pub fn strong_view(size: usize) -> String {
    let end = normalize(size);
    match is_small(size) {
        true => {
            format!("crop({size}, 0.08..1) flip jitter(0.4,0.4,0.4,0.1; p=0.8) gray(p=0.2) {end}")
        }
        false => format!(
            "crop({size}, 0.2..1) jitter(0.4,0.4,0.4,0.1; p=0.8) gray(p=0.2) {}flip {end}",
            blur(size, "0.5")
        ),
    }
}

/// Two large crops and `count` small ones.
pub fn multi_crop(large: [String; 2], small: String, count: usize) -> Vec<String> {
    large.into_iter().chain([format!("{count}x {small}")]).collect()
}

/// Side of small crops: 96 for 224, half the side of small images.
pub fn local(size: usize) -> usize {
    if is_small(size) { size / 2 } else { size * 3 / 7 }
}

/// The view of evaluation: resized to 8/7 of the size with the middle cut out, as 256 and 224; small
/// images whole. `filter` is empty or ", bicubic", `end` what follows.
pub fn centred(size: usize, filter: &str, end: &str) -> String {
    let resized = if is_small(size) { size } else { size * 8 / 7 };
    format!("resize({resized}{filter}) center({size}) {end}")
}

/// As [`centred`] with bilinear resizing and the usual statistics.
pub fn eval_view(size: usize) -> String {
    centred(size, "", normalize(size))
}

/// As [`eval_view`], of methods that train on bicubic crops.
pub fn bicubic_eval_view(size: usize) -> String {
    centred(size, ", bicubic", normalize(size))
}

/// Fills `method.hidden`: as published for ImageNet, a quarter of it for small images.
pub fn fill_hidden(draft: &mut Draft, published: usize, scale: &Scale<'_>) {
    let small = scale.small();
    let fitting = if small { published / 4 } else { published };
    let why = format!("{published} as published for 224 pixels, a quarter for small images");
    draft.fill("method.hidden", fitting as i64, small.then_some(why));
}

/// Fills `method.negatives`, rows drawn from a bank: as published, but a quarter of the images at most.
pub fn fill_negatives(draft: &mut Draft, published: usize, scale: &Scale<'_>) {
    let images = scale.facts.images;
    let fitting = power_of_two_up_to(images / 4).min(published);
    let why = (fitting < published)
        .then(|| format!("a quarter of the {images} images at most; {published} as published"));
    draft.fill("method.negatives", fitting as i64, why);
}

/// The backbone of InstDisc's code, on which InvaSpread's is based: for small images with torch's first weights.
pub fn instdisc_backbone(scale: &Scale<'_>) -> BackboneDefaults {
    let init = if scale.small() { "torch" } else { "fan-out" };
    BackboneDefaults { init, ..BackboneDefaults::PLAIN }
}

/// The optimiser of InstDisc's code, on which InvaSpread's is based: a rate that drops, for batches of 128 where
/// images are small.
pub fn instdisc_optim(scale: &Scale<'_>) -> OptimDefaults {
    OptimDefaults {
        schedule: "step",
        lr_batch: if scale.small() { 128 } else { 256 },
        weight_decay: weight_decay(scale),
        granularity: "epoch",
        ..OptimDefaults::SGD
    }
}

/// Weight decay of InstDisc's, MoCo's and SimSiam's papers: 1e-4 for ImageNet, 5e-4 for CIFAR-10.
pub fn weight_decay(scale: &Scale<'_>) -> f64 {
    if scale.many_images() { 1e-4 } else { 5e-4 }
}

/// Refuses a batch whose parts are single images, of methods that compare each with others.
///
/// # Errors
/// [`ConfigError::Invalid`].
pub fn check_others(run: &RunConfig) -> Result<(), ConfigError> {
    match run.compared_images() {
        2.. => Ok(()),
        _ => Err(run.single_images(&format!("{} compares each with others", run.method.name()))),
    }
}
