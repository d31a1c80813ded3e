//! How a code names the tensors of a backbone, and which of them is which of ours.

use super::keys::Keys;

/// A way to name the tensors of one backbone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Naming {
    /// torchvision's ResNet: ours.
    Torchvision,
    /// torchvision's ResNet with `shortcut` for `downsample`.
    Shortcut,
    /// A `Sequential` of a ResNet's children: `0` the convolution, `1` its norm, `4` to `7` or `2` to
    /// `5` the stages.
    Numbered,
    /// SimCLR's networks as converted: `net.0` the stem, `net.1` to `net.4` the stages, each block
    /// again a `Sequential`.
    SimClr,
    /// SimCLR v2's networks as converted, with selective kernels and ResNet-D's stem and skip connections.
    SimClrSelective,
    /// timm's VisionTransformer: ours. DINOv2's own names are nearly the same.
    Timm,
    /// torchvision's VisionTransformer.
    TorchvisionVit,
    /// transformers' ViT and DINOv2.
    HuggingFace,
    /// transformers' ResNets.
    HuggingFaceResNet,
    /// detectron2's ResNets.
    Detectron2,
}

/// One of our names, and which third of it the tensor is if it is one.
pub(crate) type Ours = (String, Option<usize>);

impl Naming {
    /// Tensors without which there is no backbone at all.
    pub fn stems(self) -> &'static [&'static str] {
        match self {
            Naming::Torchvision => &["conv1.weight", "layer1.0.conv1.weight"],
            Naming::Shortcut => &["conv1.weight", "layer2.0.shortcut.0.weight"],
            Naming::Numbered => &["0.weight", "1.running_mean"],
            Naming::SimClr => &["net.0.0.weight", "net.1.blocks.0.net.0.weight"],
            Naming::SimClrSelective => {
                &["net.0.4.weight", "net.1.blocks.0.net.2.main_conv.0.weight"]
            }
            Naming::Timm => &["patch_embed.proj.weight"],
            Naming::TorchvisionVit => &["class_token", "encoder.pos_embedding"],
            Naming::HuggingFace => &["embeddings.patch_embeddings.projection.weight"],
            Naming::HuggingFaceResNet => &[
                "embedder.embedder.convolution.weight",
                "encoder.stages.0.layers.0.layer.0.convolution.weight",
            ],
            Naming::Detectron2 => &["stem.conv1.weight", "res2.0.conv1.weight"],
        }
    }

    /// Whether a backbone with these names begins at `prefix`.
    pub fn is_at(self, keys: &Keys<'_>, prefix: &str) -> bool {
        let has = |name: &str| keys.has(&format!("{prefix}{name}"));
        let axes = |name: &str| keys.axes(&format!("{prefix}{name}"));
        match self {
            Naming::Timm => {
                has("blocks.0.norm1.weight")
                    && (has("patch_embed.proj.weight") || has("patch_embed.proj.0.weight"))
                    || has("blocks.0.0.norm1.weight")
            }
            Naming::Numbered => {
                axes("0.weight") == 4
                    && has("1.running_mean")
                    && (axes("4.0.conv1.weight") == 4 || axes("2.0.conv1.weight") == 4)
            }
            _ => self.stems().iter().all(|name| has(name)),
        }
    }

    /// What the names alone do not say: the number of the first stage among a ResNet's children, 4
    /// behind ReLU and pool and 2 without; of the last convolution in a transformer's stem.
    pub fn offset(self, keys: &Keys<'_>, prefix: &str) -> usize {
        match self {
            Naming::TorchvisionVit => {
                let has = |layer: &usize| keys.any(&format!("{prefix}{TORCHVISION_STEM}{layer}."));
                3 * (0..64).take_while(has).count()
            }
            _ if keys.axes(&format!("{prefix}2.0.conv1.weight")) == 4 => 2,
            _ => 4,
        }
    }

    /// Our name of a tensor of the backbone; `None` of one that belongs to no backbone.
    ///
    /// `offset` is [`Naming::offset`] of its place.
    pub fn ours(self, name: &str, offset: usize) -> Option<Ours> {
        if name.ends_with("num_batches_tracked") {
            return None;
        }
        let whole = |name: String| Some((name, None));
        match self {
            Naming::Torchvision => is_resnet(name).then(|| (name.to_owned(), None)),
            Naming::Shortcut => {
                is_resnet(name).then(|| (name.replace(".shortcut.", ".downsample."), None))
            }
            Naming::Numbered => {
                let (number, rest) = name.split_once('.')?;
                match number.parse::<usize>().ok()? {
                    0 => whole(format!("conv1.{rest}")),
                    1 => whole(format!("bn1.{rest}")),
                    n if n >= offset && n < offset + 4 => {
                        let rest = rest.replace(".shortcut.", ".downsample.");
                        whole(format!("layer{}.{rest}", n + 1 - offset))
                    }
                    _ => None,
                }
            }
            Naming::SimClr => whole(simclr(name)?),
            Naming::SimClrSelective => whole(simclr_selective(name)?),
            Naming::Timm => whole(timm(name)?),
            Naming::TorchvisionVit => whole(torchvision_vit(name, offset)?),
            Naming::HuggingFace => hugging_face(name),
            Naming::HuggingFaceResNet => whole(hugging_face_resnet(name)?),
            Naming::Detectron2 => whole(detectron2(name)?),
        }
    }
}

fn is_resnet(name: &str) -> bool {
    ["conv1.", "bn1.", "layer"].iter().any(|start| name.starts_with(start))
}

/// `net.0.0.weight` as `conv1.weight`, `net.2.blocks.1.net.3.0.bias` as `layer2.1.bn2.bias`.
fn simclr(name: &str) -> Option<String> {
    let rest = name.strip_prefix("net.")?;
    let (stage, rest) = rest.split_once('.')?;
    if stage == "0" {
        return match rest.split_once('.')? {
            ("0", tensor) => Some(format!("conv1.{tensor}")),
            ("1", tensor) => Some(format!("bn1.{}", tensor.strip_prefix("0.")?)),
            (other, tensor) => Some(format!("conv1.{other}.{tensor}")),
        };
    }
    let (block, rest) = rest.strip_prefix("blocks.")?.split_once('.')?;
    let layer = if let Some(tensor) = rest.strip_prefix("projection.shortcut.") {
        format!("downsample.0.{tensor}")
    } else if let Some(tensor) = rest.strip_prefix("projection.bn.0.") {
        format!("downsample.1.{tensor}")
    } else {
        let (number, tensor) = rest.strip_prefix("net.")?.split_once('.')?;
        match number.parse::<usize>().ok()? {
            n if n % 2 == 0 => format!("conv{}.{tensor}", n / 2 + 1),
            n => format!("bn{}.{}", n / 2 + 1, tensor.strip_prefix("0.")?),
        }
    };
    Some(format!("layer{stage}.{block}.{layer}"))
}

/// `net.0.4.weight` as `conv1.6.weight`, `net.2.blocks.1.net.2.mixing_conv.0.weight` as
/// `layer2.1.select.fc1.weight`.
fn simclr_selective(name: &str) -> Option<String> {
    let (stage, rest) = name.strip_prefix("net.")?.split_once('.')?;
    let renamed = |rest: &str, layers: &[(&str, &str)]| {
        let found = layers.iter().find_map(|(from, to)| Some((to, rest.strip_prefix(from)?)));
        found.map(|(to, tensor)| format!("{to}{tensor}"))
    };
    if stage == "0" {
        let stem = [
            ("0.", "conv1.0."),
            ("1.0.", "conv1.1."),
            ("2.", "conv1.3."),
            ("3.0.", "conv1.4."),
            ("4.", "conv1.6."),
            ("5.0.", "bn1."),
        ];
        return renamed(rest, &stem);
    }
    let (block, rest) = rest.strip_prefix("blocks.")?.split_once('.')?;
    let layers = [
        ("projection.shortcut.2.", "downsample.1."),
        ("projection.bn.0.", "downsample.2."),
        ("net.0.", "conv1."),
        ("net.1.0.", "bn1."),
        ("net.2.main_conv.0.", "conv2."),
        ("net.2.main_conv.1.0.", "bn2."),
        ("net.2.mixing_conv.0.", "select.fc1."),
        ("net.2.mixing_conv.1.0.", "select.bn."),
        ("net.2.mixing_conv.2.", "select.fc2."),
        ("net.3.", "conv3."),
        ("net.4.0.", "bn3."),
    ];
    Some(format!("layer{stage}.{block}.{}", renamed(rest, &layers)?))
}

/// timm's names, and DINOv2's where they differ: `register_tokens`, `w12`, `w3`, blocks in chunks.
fn timm(name: &str) -> Option<String> {
    if name == "register_tokens" {
        return Some("reg_token".to_owned());
    }
    if matches!(name, "cls_token" | "pos_embed" | "reg_token") {
        return Some(name.to_owned());
    }
    let Some(rest) = name.strip_prefix("blocks.") else {
        let starts = ["patch_embed.", "norm.", "fc_norm.", "norm_pre."];
        return starts.iter().any(|start| name.starts_with(start)).then(|| name.to_owned());
    };
    let (block, rest) = rest.split_once('.')?;
    // In chunks the second number counts through all of them.
    let (block, rest) = match rest.split_once('.') {
        Some((second, inner)) if second.bytes().all(|b| b.is_ascii_digit()) => (second, inner),
        _ => (block, rest),
    };
    let rest = rest.replace("mlp.w12.", "mlp.fc1.").replace("mlp.w3.", "mlp.fc2.");
    Some(format!("blocks.{block}.{rest}"))
}

/// A convolution, norm and ReLU of the convolutional stem of torchvision's transformer.
const TORCHVISION_STEM: &str = "conv_proj.conv_bn_relu_";

/// torchvision's transformer, whose stem ends in the convolution `last`.
fn torchvision_vit(name: &str, last: usize) -> Option<String> {
    match name {
        "class_token" => return Some("cls_token".to_owned()),
        "encoder.pos_embedding" => return Some("pos_embed".to_owned()),
        _ => {}
    }
    if let Some((layer, rest)) = name.strip_prefix(TORCHVISION_STEM).and_then(numbered) {
        let (kind, tensor) = numbered(rest)?;
        return Some(format!("patch_embed.proj.{}.{tensor}", 3 * layer + kind));
    }
    if let Some(tensor) = name.strip_prefix("conv_proj.conv_last.") {
        return Some(format!("patch_embed.proj.{last}.{tensor}"));
    }
    for (theirs, ours) in [("conv_proj.", "patch_embed.proj."), ("encoder.ln.", "norm.")] {
        if let Some(tensor) = name.strip_prefix(theirs) {
            return Some(format!("{ours}{tensor}"));
        }
    }
    let (block, rest) = name.strip_prefix("encoder.layers.encoder_layer_")?.split_once('.')?;
    let layers = [
        ("ln_1.", "norm1."),
        ("ln_2.", "norm2."),
        ("self_attention.in_proj_", "attn.qkv."),
        ("self_attention.out_proj.", "attn.proj."),
        ("mlp.0.", "mlp.fc1."),
        ("mlp.3.", "mlp.fc2."),
        ("mlp.linear_1.", "mlp.fc1."),
        ("mlp.linear_2.", "mlp.fc2."),
    ];
    let found = layers.iter().find_map(|(theirs, ours)| Some((ours, rest.strip_prefix(theirs)?)));
    Some(match found {
        Some((ours, tensor)) => format!("blocks.{block}.{ours}{tensor}"),
        None => format!("blocks.{block}.{rest}"),
    })
}

/// transformers' ViT and DINOv2; query, key and value are thirds of one tensor.
fn hugging_face(name: &str) -> Option<Ours> {
    let whole = |name: String| Some((name, None));
    match name {
        "embeddings.cls_token" => return whole("cls_token".into()),
        "embeddings.position_embeddings" => return whole("pos_embed".into()),
        "embeddings.register_tokens" => return whole("reg_token".into()),
        _ => {}
    }
    let starts =
        [("embeddings.patch_embeddings.projection.", "patch_embed.proj."), ("layernorm.", "norm.")];
    for (theirs, ours) in starts {
        if let Some(tensor) = name.strip_prefix(theirs) {
            return whole(format!("{ours}{tensor}"));
        }
    }
    let (block, rest) = name.strip_prefix("encoder.layer.")?.split_once('.')?;
    for (third, start) in ["query.", "key.", "value."].iter().enumerate() {
        let start = format!("attention.attention.{start}");
        if let Some(tensor) = rest.strip_prefix(&start) {
            return Some((format!("blocks.{block}.attn.qkv.{tensor}"), Some(third)));
        }
    }
    let layers = [
        ("layernorm_before.", "norm1."),
        ("layernorm_after.", "norm2."),
        ("attention.output.dense.", "attn.proj."),
        ("intermediate.dense.", "mlp.fc1."),
        ("output.dense.", "mlp.fc2."),
        ("mlp.weights_in.", "mlp.fc1."),
        ("mlp.weights_out.", "mlp.fc2."),
        ("layer_scale1.lambda1", "ls1.gamma"),
        ("layer_scale2.lambda1", "ls2.gamma"),
    ];
    let found = layers.iter().find_map(|(theirs, ours)| Some((ours, rest.strip_prefix(theirs)?)));
    whole(match found {
        Some((ours, tensor)) => format!("blocks.{block}.{ours}{tensor}"),
        None => format!("blocks.{block}.{rest}"),
    })
}

/// transformers' ResNets: `encoder.stages.0.layers.1.layer.2.normalization.bias` is
/// `layer1.1.bn3.bias`.
fn hugging_face_resnet(name: &str) -> Option<String> {
    if let Some(rest) = name.strip_prefix("embedder.embedder.") {
        let (layer, tensor) = rest.split_once('.')?;
        return match layer {
            "convolution" => Some(format!("conv1.{tensor}")),
            "normalization" => Some(format!("bn1.{tensor}")),
            _ => None,
        };
    }
    let (stage, rest) = name.strip_prefix("encoder.stages.").and_then(numbered)?;
    let (block, rest) = rest.strip_prefix("layers.").and_then(numbered)?;
    let at = format!("layer{}.{block}", stage + 1);
    let (start, number, rest) = match rest.strip_prefix("shortcut.") {
        Some(rest) => (["downsample.", "downsample."], [0, 1], rest),
        None => {
            let (number, rest) = rest.strip_prefix("layer.").and_then(numbered)?;
            (["conv", "bn"], [number + 1; 2], rest)
        }
    };
    let kinds = ["convolution.", "normalization."].into_iter().enumerate();
    let mut found = kinds.filter_map(|(kind, name)| Some((kind, rest.strip_prefix(name)?)));
    let (kind, tensor) = found.next()?;
    Some(format!("{at}.{}{}.{tensor}", start[kind], number[kind]))
}

/// detectron2's ResNets: `res2.1.conv3.norm.bias` is `layer1.1.bn3.bias`.
fn detectron2(name: &str) -> Option<String> {
    let (at, rest) = match name.strip_prefix("res").and_then(numbered) {
        Some((stage, rest)) => {
            let (block, rest) = numbered(rest)?;
            (format!("layer{}.{block}.", stage.checked_sub(1)?), rest)
        }
        None => (String::new(), name.strip_prefix("stem.")?),
    };
    let (layer, tensor) = rest.split_once('.')?;
    let norm = tensor.strip_prefix("norm.");
    let layer = match (layer.strip_prefix("conv"), norm) {
        (Some(number), Some(_)) => format!("bn{number}"),
        (Some(number), None) => format!("conv{number}"),
        (None, Some(_)) if layer == "shortcut" => "downsample.1".to_owned(),
        (None, None) if layer == "shortcut" => "downsample.0".to_owned(),
        (None, _) => return None,
    };
    Some(format!("{at}{layer}.{}", norm.unwrap_or(tensor)))
}

/// The number that a name begins with, and what follows its dot.
fn numbered(name: &str) -> Option<(usize, &str)> {
    let (number, rest) = name.split_once('.')?;
    Some((number.parse().ok()?, rest))
}
