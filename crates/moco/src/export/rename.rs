//! From our names to those of other programs. [`Names::check`] has found that there are names.

use super::{Names, Part};
use crate::checkpoint::NamedTensor;
use crate::layout::Layout;
use crate::models::{Architecture, VitConfig};
use crate::plan::Plan;
use burn::tensor::TensorData;

/// The tensors of `part` under `names`; what these have no name for is left out, such as MoCo's list
/// of which image each key of the queue is of.
pub(super) fn tensors(
    tensors: Vec<NamedTensor>,
    names: Names,
    part: Part,
    config: Option<&Plan>,
    architecture: &Architecture,
) -> Vec<NamedTensor> {
    let vit = match architecture {
        Architecture::Vit(vit) => Some(vit),
        Architecture::ResNet(_) => None,
    };
    let rename = |tensors: Vec<NamedTensor>, new: &dyn Fn(&str) -> Option<String>| {
        let renamed =
            tensors.into_iter().filter_map(|(name, shape, data)| Some((new(&name)?, shape, data)));
        renamed.collect::<Vec<_>>()
    };
    match (names, part, vit) {
        (Names::Dino, Part::Encoder, _) | (Names::Mae, Part::Encoder, _) => tensors,
        (Names::Dino, ..) => dino(tensors, part, config),
        (Names::Mae, ..) => rename(tensors, &|name| Layout::Mae.official_name(name)),
        (Names::Timm, _, Some(vit)) => timm_vit(tensors, vit),
        (Names::Moco | Names::Timm, ..) | (Names::Torchvision, _, None) => tensors,
        (Names::Torchvision, _, Some(vit)) => {
            rename(tensors, &|name| Some(torchvision_vit(name, vit)))
        }
        (Names::Detectron2, ..) => rename(tensors, &|name| Some(detectron2(name))),
        (Names::HuggingFace, _, None) => rename(tensors, &|name| Some(hugging_face_resnet(name))),
        (Names::HuggingFace, _, Some(_)) => {
            let split = tensors.into_iter().flat_map(split_qkv).collect();
            rename(split, &|name| Some(hugging_face_vit(name)))
        }
    }
}

/// DINO's tensors as the published code names them. There the last layer of the head always has lengths, 1 where they
/// are not trained.
fn dino(tensors: Vec<NamedTensor>, part: Part, config: Option<&Plan>) -> Vec<NamedTensor> {
    let layout = config.and_then(|config| config.settings().layout());
    let layout = layout.unwrap_or(Layout::Dino { head_norm: false });
    // The table has names of the whole method's; an encoder's are those of the teacher.
    let official = |name: &str| match part {
        Part::All => layout.official_name(name),
        _ => {
            let whole = layout.official_name(&format!("teacher.{name}"))?;
            whole.strip_prefix("teacher.").map(str::to_owned)
        }
    };
    let mut named: Vec<NamedTensor> = tensors
        .into_iter()
        .filter_map(|(name, shape, data)| Some((official(&name)?, shape, data)))
        .collect();
    let lengths: Vec<NamedTensor> = named
        .iter()
        .filter_map(|(name, shape, _)| {
            let lengths = format!("{}weight_g", name.strip_suffix("weight_v")?);
            let data = TensorData::new(vec![1.0f32; shape[0]], [shape[0]]);
            Some((lengths, vec![shape[0], 1], data))
        })
        .filter(|(lengths, ..)| named.iter().all(|(name, ..)| name != lengths))
        .collect();
    named.extend(lengths);
    named
}

/// timm's `VisionTransformer`, which gives registers positions where it gives the class token one:
/// the class token takes its own along.
fn timm_vit(mut tensors: Vec<NamedTensor>, vit: &VitConfig) -> Vec<NamedTensor> {
    if !folds_class_position(vit) {
        return tensors;
    }
    let mut own = Vec::new();
    for (name, shape, data) in &mut tensors {
        if name == "pos_embed" {
            let values = data.as_slice::<f32>().expect("weights are f32");
            let (class, patches) = values.split_at(vit.width);
            own = class.to_vec();
            shape[1] -= 1;
            *data = TensorData::new(patches.to_vec(), [patches.len()]);
        }
    }
    for (name, _, data) in &mut tensors {
        if name == "cls_token" {
            let token = data.as_slice::<f32>().expect("weights are f32");
            let placed: Vec<f32> = token.iter().zip(&own).map(|(a, b)| a + b).collect();
            *data = TensorData::new(placed, [vit.width]);
        }
    }
    tensors
}

/// Whether timm's names put the class token's position into the token.
pub(super) fn folds_class_position(vit: &VitConfig) -> bool {
    vit.registers > 0 && vit.class_token && vit.class_position
}

/// torchvision's `VisionTransformer`, whose convolutional stem is a part of `conv_proj`.
fn torchvision_vit(name: &str, vit: &VitConfig) -> String {
    if let Some(rest) = name.strip_prefix("patch_embed.proj.") {
        let halvings = vit.patch.ilog2() as usize;
        return match numbered(rest) {
            Some((layer, rest)) if layer < 3 * halvings => {
                format!("conv_proj.conv_bn_relu_{}.{}.{rest}", layer / 3, layer % 3)
            }
            Some((_, rest)) => format!("conv_proj.conv_last.{rest}"),
            None => format!("conv_proj.{rest}"),
        };
    }
    if let Some((block, rest)) = name.strip_prefix("blocks.").and_then(numbered) {
        let rest = replaced(
            rest,
            &[
                ("norm1.", "ln_1."),
                ("norm2.", "ln_2."),
                ("attn.qkv.", "self_attention.in_proj_"),
                ("attn.proj.", "self_attention.out_proj."),
                ("mlp.fc1.", "mlp.0."),
                ("mlp.fc2.", "mlp.3."),
            ],
        );
        return format!("encoder.layers.encoder_layer_{block}.{rest}");
    }
    replaced(
        name,
        &[
            ("cls_token", "class_token"),
            ("pos_embed", "encoder.pos_embedding"),
            ("norm.", "encoder.ln."),
        ],
    )
}

/// detectron2's `ResNet`, as facebookresearch/moco's `convert-pretrain-to-detectron2.py` names it.
fn detectron2(name: &str) -> String {
    let (place, layer) = match name.strip_prefix("layer").and_then(numbered) {
        Some((stage, rest)) => {
            let (block, layer) = rest.split_once('.').unwrap_or((rest, ""));
            (format!("res{}.{block}", stage + 1), layer)
        }
        None => ("stem".to_owned(), name),
    };
    let layer = match layer.strip_prefix("bn").and_then(numbered) {
        Some((number, rest)) => format!("conv{number}.norm.{rest}"),
        None => {
            replaced(layer, &[("downsample.0.", "shortcut."), ("downsample.1.", "shortcut.norm.")])
        }
    };
    format!("{place}.{layer}")
}

/// `ResNetModel` of Hugging Face's transformers.
fn hugging_face_resnet(name: &str) -> String {
    const CONV: [(&str, &str); 2] =
        [("downsample.0.", "shortcut.convolution."), ("downsample.1.", "shortcut.normalization.")];
    let Some((stage, rest)) = name.strip_prefix("layer").and_then(numbered) else {
        let layer = replaced(name, &[("conv1.", "convolution."), ("bn1.", "normalization.")]);
        return format!("embedder.embedder.{layer}");
    };
    let (block, layer) = rest.split_once('.').unwrap_or((rest, ""));
    let of = |start, kind| {
        let (number, rest) = layer.strip_prefix(start).and_then(numbered)?;
        Some(format!("layer.{}.{kind}.{rest}", number - 1))
    };
    let layer = of("conv", "convolution")
        .or_else(|| of("bn", "normalization"))
        .unwrap_or_else(|| replaced(layer, &CONV));
    format!("encoder.stages.{}.layers.{block}.{layer}", stage - 1)
}

/// `ViTModel` of Hugging Face's transformers.
fn hugging_face_vit(name: &str) -> String {
    if let Some((block, rest)) = name.strip_prefix("blocks.").and_then(numbered) {
        let rest = replaced(
            rest,
            &[
                ("norm1.", "layernorm_before."),
                ("norm2.", "layernorm_after."),
                ("attn.query.", "attention.attention.query."),
                ("attn.key.", "attention.attention.key."),
                ("attn.value.", "attention.attention.value."),
                ("attn.proj.", "attention.output.dense."),
                ("mlp.fc1.", "intermediate.dense."),
                ("mlp.fc2.", "output.dense."),
            ],
        );
        return format!("encoder.layer.{block}.{rest}");
    }
    replaced(
        name,
        &[
            ("cls_token", "embeddings.cls_token"),
            ("pos_embed", "embeddings.position_embeddings"),
            ("patch_embed.proj.", "embeddings.patch_embeddings.projection."),
            ("norm.", "layernorm."),
        ],
    )
}

/// `attn.qkv` as `attn.query`, `attn.key` and `attn.value`, a third of its rows each.
fn split_qkv((name, shape, data): NamedTensor) -> Vec<NamedTensor> {
    let Some((start, kind)) = name.split_once("attn.qkv.") else {
        return vec![(name, shape, data)];
    };
    let values = data.as_slice::<f32>().expect("weights are f32");
    let mut third = shape.clone();
    third[0] /= 3;
    let parts = values.chunks(values.len() / 3).zip(["query", "key", "value"]);
    let named = parts.map(|(values, part)| {
        let data = TensorData::new(values.to_vec(), [values.len()]);
        (format!("{start}attn.{part}.{kind}"), third.clone(), data)
    });
    named.collect()
}

/// The number that a name begins with, and what follows its dot.
fn numbered(name: &str) -> Option<(usize, &str)> {
    let (number, rest) = name.split_once('.')?;
    Some((number.parse().ok()?, rest))
}

/// The name with the first beginning that it has exchanged.
fn replaced(name: &str, table: &[(&str, &str)]) -> String {
    let found = table.iter().find_map(|(ours, theirs)| Some((name.strip_prefix(ours)?, theirs)));
    found.map_or_else(|| name.to_owned(), |(rest, theirs)| format!("{theirs}{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_residual_networks() {
        let cases = [
            ("conv1.weight", "stem.conv1.weight", "embedder.embedder.convolution.weight"),
            (
                "bn1.running_var",
                "stem.conv1.norm.running_var",
                "embedder.embedder.normalization.running_var",
            ),
            (
                "layer1.0.conv3.weight",
                "res2.0.conv3.weight",
                "encoder.stages.0.layers.0.layer.2.convolution.weight",
            ),
            (
                "layer4.2.bn2.bias",
                "res5.2.conv2.norm.bias",
                "encoder.stages.3.layers.2.layer.1.normalization.bias",
            ),
            (
                "layer2.0.downsample.0.weight",
                "res3.0.shortcut.weight",
                "encoder.stages.1.layers.0.shortcut.convolution.weight",
            ),
            (
                "layer2.0.downsample.1.running_mean",
                "res3.0.shortcut.norm.running_mean",
                "encoder.stages.1.layers.0.shortcut.normalization.running_mean",
            ),
        ];
        for (ours, of_detectron2, of_hugging_face) in cases {
            assert_eq!(detectron2(ours), of_detectron2);
            assert_eq!(hugging_face_resnet(ours), of_hugging_face);
        }
    }

    #[test]
    fn a_third_of_the_rows_each() {
        let values: Vec<f32> = (0..12).map(|value| value as f32).collect();
        let data = TensorData::new(values, [12]);
        let parts = split_qkv(("blocks.7.attn.qkv.weight".to_owned(), vec![6, 2], data));
        let (name, shape, data) = &parts[1];
        assert_eq!((name.as_str(), &shape[..]), ("blocks.7.attn.key.weight", &[2, 2][..]));
        assert_eq!(data.as_slice::<f32>().unwrap(), [4.0, 5.0, 6.0, 7.0]);
        assert_eq!(hugging_face_vit(name), "encoder.layer.7.attention.attention.key.weight");
    }
}
