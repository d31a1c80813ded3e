//! Settings that follow from imported weights.

use super::{ImportError, Imported, Network};
use crate::config::{DataFacts, MlpKind, StemKind};
use crate::methods;
use crate::models::vit::{PatchStem, Pool, Positions};
use crate::models::{Architecture, ResNetShape, VitConfig};
use crate::plan::{self, Plan, resolve};
use moco_data::View;
use moco_data::augment::Normalize;
use moco_weights::{self as weights, Input, LayoutName, Weights};
use toml::{Table, Value};

/// Images larger than this are evaluated at 224 pixels, as those are that DINOv2 is published for.
const LARGEST_SIDE: usize = 384;
/// The usual side of a large and of a small image.
const USUAL: usize = 224;
const SMALL: usize = 32;
/// Sides up to here are seen whole.
const SEEN_WHOLE: usize = 64;
/// The data set that a stand-in's defaults are for; its size matters to kNN's neighbours alone.
const IMAGES: usize = 50_000;

/// The view for evaluation that is usual for weights of this layout.
pub(super) fn usual_view(file: &Weights) -> String {
    let (side, bicubic) = match &file.architecture {
        weights::Architecture::Vit(net) => (transformer_side(net), true),
        weights::Architecture::ResNet(net) | weights::Architecture::Pair { luma: net, .. } => {
            let small = matches!(net.stem, weights::ResNetStem::Cifar { .. });
            let bicubic = matches!(file.layout, LayoutName::SimClr | LayoutName::Byol);
            ([if small { SMALL } else { USUAL }; 2], bicubic)
        }
    };
    let [height, width] = side;
    let filter = if bicubic { ", bicubic" } else { "" };
    let short = height.min(width);
    let resized = if short <= SEEN_WHOLE { short } else { short * 8 / 7 };
    let size = if height == width { height.to_string() } else { format!("{height}x{width}") };
    let (space, mean, std) = match file.input {
        Input::Rgb { mean, std } => ("", mean, std),
        Input::Lab { mean, std } => ("lab ", mean, std),
    };
    format!("resize({resized}{filter}) center({size}) {space}{}", normalization(mean, std))
}

fn transformer_side(net: &weights::Vit) -> [usize; 2] {
    let side = net.image();
    let fits = net.patch.iter().all(|patch| USUAL.is_multiple_of(*patch));
    if side[0].min(side[1]) > LARGEST_SIDE && fits { [USUAL; 2] } else { side }
}

/// The statistics under their name if they have one.
fn normalization(mean: [f32; 3], std: [f32; 3]) -> Normalize {
    let named = [
        Normalize::None,
        Normalize::ImageNet,
        Normalize::Cifar10,
        Normalize::Cifar10Pixels,
        Normalize::Cifar100,
        Normalize::Half,
        Normalize::Lab,
    ];
    let same = |known: &Normalize| known.statistics() == (mean, std);
    named.into_iter().find(same).unwrap_or(Normalize::Custom { mean, std })
}

/// Refuses a view that makes images which a transformer cannot cut into patches.
pub(super) fn check_view(imported: &Imported) -> Result<(), ImportError> {
    let fault = |reason: String| ImportError::View { view: imported.view.clone(), reason };
    let view: View = imported.view.parse().map_err(|error| fault(format!("{error}")))?;
    if view.count() > 1 {
        return Err(fault("it makes several images of one; leave that out".to_owned()));
    }
    match &imported.network {
        Network::Single(Architecture::Vit(vit)) => {
            vit.check_image(view.size()).map_err(|error| fault(error.to_string()))
        }
        _ => Ok(()),
    }
}

/// The method whose papers say how weights of a layout are measured.
fn method(imported: &Imported) -> &'static str {
    let vit = matches!(&imported.network, Network::Single(Architecture::Vit(_)));
    match imported.layout.parse::<LayoutName>() {
        Ok(LayoutName::MocoV3) => "moco-v3",
        Ok(LayoutName::SimSiam) => "simsiam",
        Ok(LayoutName::SwAv) => "swav",
        Ok(LayoutName::Dino) => "dino",
        Ok(LayoutName::Mae) => "mae",
        Ok(LayoutName::Cmc) => "cmc",
        Ok(LayoutName::InstDisc) => "instdisc",
        Ok(LayoutName::InvaSpread) => "invaspread",
        Ok(LayoutName::SimClr) => "simclr",
        Ok(LayoutName::Byol) => "byol",
        _ if vit => "dino",
        _ => "moco-v2",
    }
}

/// The settings of a run that would have left such a backbone.
pub(super) fn stand_in(imported: &Imported) -> Result<Plan, ImportError> {
    let method = method(imported);
    let view: View = imported.view.parse().map_err(|error| ImportError::View {
        view: imported.view.clone(),
        reason: format!("{error}"),
    })?;
    let mut tree = Table::new();
    let mut set = |key: &str, value: Value| plan::set(&mut tree, key, value);
    set("method.name", method.into())?;
    let architecture = match &imported.network {
        Network::Single(architecture) | Network::Split { luma: architecture, .. } => architecture,
    };
    for (key, value) in model_settings(architecture) {
        set(&key, value)?;
    }
    let one = Value::from(training_view(&view));
    let count = methods::find(method).map_or(2, |spec| spec.profile().views[0]);
    set("data.path", "none".into())?;
    set("data.views", Value::Array(vec![one; count]))?;
    set("data.eval_view", imported.view.as_str().into())?;
    let [height, width] = view.size();
    let larger = |side: usize| side.max(SMALL) * 2;
    let (height, width) = (larger(height), larger(width));
    let facts = DataFacts { images: IMAGES, width, height, labelled: true };
    Ok(resolve(&tree, &facts)?.config)
}

/// A view for training of the size of one for evaluation.
fn training_view(view: &View) -> String {
    let [height, width] = view.size();
    let text = view.to_string();
    let end = ["lab ", "ycbcr ", "normalize"].iter().filter_map(|word| text.find(word)).min();
    format!("crop({height}x{width}, 0.2..1) flip {}", end.map_or("", |start| &text[start..]))
}

/// The settings `model.*` of a run whose backbone has this architecture.
pub fn model_settings(architecture: &Architecture) -> Vec<(String, Value)> {
    let settings = match architecture {
        Architecture::ResNet(shape) => resnet(shape),
        Architecture::Vit(vit) => transformer(vit),
    };
    settings.into_iter().map(|(key, value)| (format!("model.{key}"), value)).collect()
}

fn number(value: usize) -> Value {
    Value::Integer(i64::try_from(value).unwrap_or(i64::MAX))
}

fn resnet(shape: &ResNetShape) -> Vec<(&'static str, Value)> {
    let name = match (shape.bottleneck, shape.blocks.as_slice()) {
        (false, [3, 4, 6, ..]) => "resnet34",
        (false, _) => "resnet18",
        (true, [3, 4, 23, ..]) => "resnet101",
        (true, [3, 8, ..]) => "resnet152",
        (true, [3, 24, ..]) => "resnet200",
        (true, _) => "resnet50",
    };
    let stem = match shape.stem {
        StemKind::Imagenet => "imagenet",
        StemKind::Cifar => "cifar",
        StemKind::Deep => "deep",
    };
    let mut settings = vec![
        ("backbone", name.into()),
        ("width", number(shape.width)),
        ("stem", stem.into()),
        ("stages", number(shape.blocks.len())),
        ("norm", "batch".into()),
    ];
    if shape.stem_width != shape.width {
        settings.push(("stem_width", number(shape.stem_width)));
    }
    let named = ResNetShape::blocks_of(name).is_some_and(|all| all.starts_with(&shape.blocks));
    if !named {
        let blocks = shape.blocks.iter().copied().map(number).collect();
        settings.push(("blocks", Value::Array(blocks)));
    }
    let needed = shape.bottleneck || shape.stem_width != shape.width;
    if shape.first_projection && !needed {
        settings.push(("first_projection", true.into()));
    }
    if shape.average_skips {
        settings.push(("average_skips", true.into()));
    }
    if let Some(ratio) = shape.sk_ratio {
        settings.push(("sk_ratio", ratio.into()));
    }
    settings
}

fn transformer(vit: &VitConfig) -> Vec<(&'static str, Value)> {
    let stem_blocks = usize::from(vit.stem == PatchStem::Conv);
    let depth = vit.depth + stem_blocks;
    let sizes = |named: &VitConfig| (named.width, named.depth, named.heads);
    let same = VitConfig::names().find(|name| {
        VitConfig::named(name).is_some_and(|named| sizes(&named) == (vit.width, depth, vit.heads))
    });
    let mut settings = vec![
        ("backbone", same.unwrap_or("vit-tiny").into()),
        ("patch", number(vit.patch)),
        (
            "positions",
            if vit.positions == Positions::Learned { "learned" } else { "sincos" }.into(),
        ),
        ("pool", if vit.pool == Pool::Class { "class" } else { "mean" }.into()),
        ("patch_stem", if stem_blocks == 1 { "convolutions" } else { "linear" }.into()),
    ];
    if same.is_none() {
        settings.extend([
            ("embed_dim", number(vit.width)),
            ("depth", number(depth)),
            ("heads", number(vit.heads)),
        ]);
    }
    let usual = VitConfig::of_size([vit.width, vit.depth, vit.heads], vit.patch, vit.image);
    let others = [
        (vit.hidden != usual.hidden, "mlp_hidden", number(vit.hidden)),
        (vit.mlp == MlpKind::Swiglu, "mlp", "swiglu".into()),
        (vit.registers > 0, "registers", number(vit.registers)),
        (vit.layer_scale.is_some(), "layer_scale", vit.layer_scale.unwrap_or(1.0).into()),
        (vit.norm_epsilon != usual.norm_epsilon, "norm_epsilon", vit.norm_epsilon.into()),
        (!vit.qkv_bias, "qkv_bias", false.into()),
        (!vit.class_token, "class_token", false.into()),
        (vit.class_token && !vit.class_position, "class_position", false.into()),
    ];
    settings.extend(others.into_iter().filter(|(differs, ..)| *differs).map(|(_, k, v)| (k, v)));
    settings
}
