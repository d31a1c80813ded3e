//! The backbone: what suits the method, at a size that the data allows.

use crate::config::{BackboneDefaults, Draft, Scale};
use crate::methods::Spec;
use toml::Value;

/// Completes `[model]`; returns whether the backbone is a transformer.
pub fn fill(draft: &mut Draft, spec: &dyn Spec, scale: &Scale<'_>) -> bool {
    let suited = spec.backbone(scale);
    let backbone = match (suited.transformer, scale.small()) {
        (false, _) => "resnet18",
        (true, true) => "vit-micro",
        (true, false) => "vit-tiny",
    };
    let why = format!("{} is made for vision transformers", spec.card().name);
    draft.fill("model.backbone", backbone, suited.transformer.then_some(why));
    let name = draft.value("model.backbone").and_then(Value::as_str).unwrap_or(backbone);
    let vit = name.starts_with("vit");
    if vit {
        transformer(draft, &suited, scale);
    } else {
        resnet(draft, &suited, scale);
    }
    vit
}

fn resnet(draft: &mut Draft, suited: &BackboneDefaults, scale: &Scale<'_>) {
    let small = scale.small();
    let why = format!("the stem for images of {} pixels", scale.pixels);
    draft.fill("model.stem", if small { "cifar" } else { "imagenet" }, Some(why));
    let whole = suited.width;
    let why = format!(
        "half the published network, which a CPU trains in reasonable time; \
         --set model.width={whole} is the whole"
    );
    let width = if small { whole / 2 } else { whole };
    draft.fill("model.width", width as i64, small.then_some(why));
    // The published stem is that wide whatever the width of the stages.
    if let Some(stem) = suited.stem_width.filter(|stem| *stem != draft.count("model.width"))
        && !small
    {
        draft.fill("model.stem_width", stem as i64, None);
    }
    draft.fill("model.stages", suited.stages as i64, None);
    draft.fill("model.norm", suited.norm, None);
    draft.fill("model.init", suited.init, None);
    draft.fill("model.zero_init_residual", suited.zero_init_residual, None);
    // 32 images per group and at most 8 groups: the 8 GPUs of the published runs of MoCo.
    // The other methods were published with one statistic over all GPUs, or on one.
    let batch = scale.batch;
    let most = if suited.split_norm { (batch / 32).clamp(1, 8) } else { 1 };
    let groups = (1..=most).rfind(|groups| batch.is_multiple_of(*groups)).unwrap_or(1);
    let why = format!("BatchNorm over {} images each, as on several GPUs", batch / groups);
    draft.fill("model.bn_groups", groups as i64, (groups > 1).then_some(why));
}

fn transformer(draft: &mut Draft, suited: &BackboneDefaults, scale: &Scale<'_>) {
    draft.fill("model.patch", if scale.small() { 4 } else { 16 }, None);
    draft.fill("model.positions", suited.positions, None);
    draft.fill("model.pool", "class", None);
    let linear = draft.fill_text("model.patch_stem", "linear") == "linear";
    draft.fill("model.drop_path", suited.drop_path, None);
    draft.fill("model.freeze_patch", suited.freeze_patch && linear, None);
}
