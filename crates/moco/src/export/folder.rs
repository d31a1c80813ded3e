//! Folders that other programs load by their path: the weights, and files that say what they are of.

use super::names::other_than_usual;
use super::onnx::{resized_positions, split_positions};
use super::{ExportError, Names, Part, Source, card, part, rename};
use crate::checkpoint::{
    CheckpointError, NamedTensor, check_finite, write_atomically, write_tensors,
};
use crate::config::{FeatureKind, MlpKind};
use crate::models::vit::Pool;
use crate::models::{Architecture, ResNetShape, VitConfig};
use burn::tensor::TensorData;
use moco_data::ColorSpace;
use moco_data::augment::{Filter, Resize, ResizedCenter};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// What a folder is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FolderKind {
    /// `timm.create_model("local-dir:DIR", pretrained=True)`.
    Timm,
    /// `AutoModel.from_pretrained("DIR")` of Hugging Face's transformers.
    HuggingFace,
}

/// What timm's transformers add to variances.
const EPSILON: f64 = 1e-6;

impl FolderKind {
    /// Whose names the weights have.
    pub fn names(self) -> Names {
        match self {
            FolderKind::Timm => Names::Timm,
            FolderKind::HuggingFace => Names::HuggingFace,
        }
    }

    /// Whether the program can build the network that was trained.
    ///
    /// # Errors
    /// [`ExportError::Unsupported`], with what to use instead.
    pub fn check(self, source: &Source<'_>) -> Result<(), ExportError> {
        self.names().check(Part::Encoder, source.run, &source.architecture)?;
        if source.view.space() != ColorSpace::Rgb {
            let reason = "the evaluation view ends in another colour space than RGB, which neither \
                          program's preprocessing makes";
            return Err(ExportError::unsupported(reason, "pass --names to write a .safetensors"));
        }
        match &source.architecture {
            _ if self == FolderKind::HuggingFace => Ok(()),
            Architecture::ResNet(resnet) => check_timm_resnet(resnet),
            Architecture::Vit(vit) if vit.norm_epsilon != EPSILON => Err(ExportError::unsupported(
                format!(
                    "timm's transformers add {EPSILON:e} to the variance in a LayerNorm, this one {:e}",
                    vit.norm_epsilon
                ),
                "write a .safetensors with --names timm, which says how to build the network, or an \
                 .onnx",
            )),
            Architecture::Vit(_) => Ok(()),
        }
    }
}

/// timm's ResNets have a first layer of 64 channels and four stages.
fn check_timm_resnet(resnet: &ResNetShape) -> Result<(), ExportError> {
    let other = match resnet {
        _ if other_than_usual(resnet).is_some() => {
            other_than_usual(resnet).unwrap_or_default().to_owned()
        }
        ResNetShape { stem_width, .. } if *stem_width != 64 => {
            format!("have 64 channels in their first layer, this one {stem_width}")
        }
        ResNetShape { blocks, .. } if blocks.len() != 4 => {
            format!("have 4 stages, this one {}", blocks.len())
        }
        _ => return Ok(()),
    };
    Err(ExportError::unsupported(
        format!("timm's residual networks {other}"),
        "write a .safetensors with --names torchvision, which says how to build the network, or an \
         .onnx",
    ))
}

/// Writes a folder with the backbone's weights and what the program needs to build the network.
/// Positions of a transformer are those for the size of the evaluation view. `config.json` comes last:
/// where it is, the rest is whole.
///
/// # Errors
/// [`ExportError`]: those of [`FolderKind::check`], and a folder that cannot be written.
pub fn save_folder(
    source: &mut Source<'_>,
    folder: &Path,
    kind: FolderKind,
) -> Result<(), ExportError> {
    kind.check(source)?;
    let (names, size) = (kind.names(), source.view.size());
    let mut tensors = part::of_encoder(source.encoder, names, Part::Encoder)?;
    if let Architecture::Vit(vit) = &mut source.architecture {
        tensors.iter_mut().for_each(|tensor| for_images(tensor, vit, size));
        vit.image = size;
    }
    let config = match kind {
        FolderKind::Timm => timm_config(source),
        FolderKind::HuggingFace => hugging_face_config(&source.architecture),
    };
    let tensors = rename::tensors(tensors, names, Part::Encoder, source.run, &source.architecture);
    let weights = folder.join("model.safetensors");
    check_finite(&weights, &tensors)?;
    fs::create_dir_all(folder).map_err(|error| CheckpointError::Io {
        action: "create",
        path: folder.into(),
        source: error,
    })?;
    let mut texts = source.texts();
    card::add_format(&mut texts, names, Part::Encoder);
    write_tensors(&weights, &tensors, texts)?;
    if kind == FolderKind::HuggingFace {
        write_json(&folder.join("preprocessor_config.json"), &hugging_face_preprocessing(source))?;
    }
    write_json(&folder.join("config.json"), &config)
}

fn write_json(path: &Path, value: &Value) -> Result<(), ExportError> {
    Ok(write_atomically(path, format!("{value:#}\n").as_bytes())?)
}

/// A transformer's positions for images of another size than it was trained on.
fn for_images((name, shape, data): &mut NamedTensor, vit: &VitConfig, image: [usize; 2]) {
    if name != "pos_embed" {
        return;
    }
    let values = data.as_slice::<f32>().expect("weights are f32");
    let [class, patches] = split_positions(vit, values);
    let all = [class, &resized_positions(vit, patches, image)].concat();
    let count = all.len();
    (*shape, *data) = (vec![1, count / vit.width, vit.width], TensorData::new(all, [count]));
}

/// timm's `config.json`: an architecture, what its builder is told, and the preprocessing.
fn timm_config(source: &Source<'_>) -> Value {
    let (architecture, pool, args) = match &source.architecture {
        Architecture::ResNet(resnet) => {
            let name = if resnet.bottleneck { "resnet50" } else { "resnet18" };
            let channels: Vec<usize> = (0..4).map(|stage| resnet.width << stage).collect();
            (name, "avg", json!({"layers": resnet.blocks, "channels": channels}))
        }
        Architecture::Vit(vit) => {
            let pool = if vit.pool == Pool::Class { "token" } else { "avg" };
            (timm_vit(vit), pool, timm_vit_args(vit, pool))
        }
    };
    json!({
        "architecture": architecture,
        "num_classes": 0,
        "num_features": source.encoder.width(FeatureKind::Backbone),
        "global_pool": pool,
        "model_args": args,
        "pretrained_cfg": timm_preprocessing(source),
    })
}

/// The builder whose remaining arguments are all that [`timm_vit_args`] does not give.
fn timm_vit(vit: &VitConfig) -> &'static str {
    match (vit.mlp, vit.width) {
        (MlpKind::Swiglu, _) => "vit_giant_patch14_dinov2",
        (MlpKind::Gelu, 384) => "vit_small_patch16_224",
        (MlpKind::Gelu, 768) => "vit_base_patch16_224",
        (MlpKind::Gelu, 1024) => "vit_large_patch16_224",
        (MlpKind::Gelu, _) => "vit_tiny_patch16_224",
    }
}

/// The number that timm multiplies the width by, and rounds down, for the outputs of an MLP's first
/// layer: of a gated one, both halves.
pub fn timm_mlp_ratio(vit: &VitConfig) -> f64 {
    let outputs = if vit.mlp == MlpKind::Swiglu { 2 * vit.hidden } else { vit.hidden } as f64;
    let ratio = outputs / vit.width as f64;
    if (ratio * vit.width as f64) < outputs { ratio.next_up() } else { ratio }
}

fn timm_vit_args(vit: &VitConfig, pool: &str) -> Value {
    json!({
        "img_size": vit.image,
        "patch_size": vit.patch,
        "embed_dim": vit.width,
        "depth": vit.depth,
        "num_heads": vit.heads,
        "mlp_ratio": timm_mlp_ratio(vit),
        "qkv_bias": vit.qkv_bias,
        "class_token": vit.class_token,
        "reg_tokens": vit.registers,
        // With registers, the class token's position is a part of the token.
        "no_embed_class": vit.registers > 0 || !vit.class_position,
        "init_values": vit.layer_scale,
        "global_pool": pool,
        // The norm before the mean, as here, and not behind it.
        "fc_norm": vit.pool == Pool::MeanBeforeNorm,
    })
}

fn timm_preprocessing(source: &Source<'_>) -> Value {
    let is_vit = matches!(source.architecture, Architecture::Vit(_));
    let (mean, std) = source.view.normalize().statistics();
    let [height, width] = source.view.size();
    let mut config = json!({
        "custom_load": false,
        "input_size": [3, height, width],
        "fixed_input_size": is_vit,
        "mean": mean.map(decimal),
        "std": std.map(decimal),
        "num_classes": 0,
        "pool_size": null,
        "first_conv": if is_vit { "patch_embed.proj" } else { "conv1" },
        "classifier": if is_vit { "head" } else { "fc" },
    });
    if let Some(ResizedCenter { resize, filter, size }) = source.view.resized_center() {
        let (share, mode) = match resize {
            Resize::ShortSide(side) => (size[0].min(size[1]) as f64 / side as f64, "center"),
            Resize::Exact(_) => (1.0, "squash"),
        };
        config["interpolation"] = json!(filter_name(filter));
        config["crop_pct"] = json!(share);
        config["crop_mode"] = json!(mode);
    }
    config
}

fn filter_name(filter: Filter) -> &'static str {
    match filter {
        Filter::Bilinear => "bilinear",
        Filter::Bicubic => "bicubic",
    }
}

/// A single as the shortest decimal that reads as it, not as the double that it is: 0.485.
fn decimal(value: f32) -> Value {
    value.to_string().parse::<f64>().map_or_else(|_| json!(value), |value| json!(value))
}

/// `config.json` of Hugging Face's `ViTModel` or `ResNetModel`.
fn hugging_face_config(architecture: &Architecture) -> Value {
    match architecture {
        Architecture::ResNet(resnet) => {
            let widening = if resnet.bottleneck { 4 } else { 1 };
            let outputs = (0..resnet.blocks.len()).map(|stage| (widening * resnet.width) << stage);
            json!({
                "architectures": ["ResNetModel"],
                "model_type": "resnet",
                "num_channels": 3,
                "embedding_size": resnet.stem_width,
                "hidden_sizes": outputs.collect::<Vec<_>>(),
                "depths": resnet.blocks,
                "layer_type": if resnet.bottleneck { "bottleneck" } else { "basic" },
                "hidden_act": "relu",
                "downsample_in_first_stage": false,
                "downsample_in_bottleneck": false,
                "torch_dtype": "float32",
            })
        }
        Architecture::Vit(vit) => {
            let [height, width] = vit.image;
            json!({
                "architectures": ["ViTModel"],
                "model_type": "vit",
                "hidden_size": vit.width,
                "num_hidden_layers": vit.depth,
                "num_attention_heads": vit.heads,
                "intermediate_size": vit.hidden,
                "hidden_act": "gelu",
                "hidden_dropout_prob": 0.0,
                "attention_probs_dropout_prob": 0.0,
                "layer_norm_eps": vit.norm_epsilon,
                "image_size": if height == width { json!(height) } else { json!([height, width]) },
                "patch_size": vit.patch,
                "num_channels": 3,
                "qkv_bias": vit.qkv_bias,
                "torch_dtype": "float32",
            })
        }
    }
}

/// `preprocessor_config.json`.
fn hugging_face_preprocessing(source: &Source<'_>) -> Value {
    let (mean, std) = source.view.normalize().statistics();
    let mut config = json!({
        "do_convert_rgb": true,
        "do_rescale": true,
        "rescale_factor": 1.0 / 255.0,
        "do_normalize": true,
        "image_mean": mean.map(decimal),
        "image_std": std.map(decimal),
        "do_resize": false,
    });
    let sides = |[height, width]: [usize; 2]| json!({"height": height, "width": width});
    let Some(ResizedCenter { resize, filter, size }) = source.view.resized_center() else {
        config["image_processor_type"] = json!("BitImageProcessor");
        config["do_center_crop"] = json!(false);
        return config;
    };
    // Pillow's numbers.
    config["resample"] = json!(if filter == Filter::Bicubic { 3 } else { 2 });
    config["do_resize"] = json!(true);
    match resize {
        Resize::Exact(size) => {
            config["image_processor_type"] = json!("ViTImageProcessor");
            config["size"] = sides(size);
        }
        Resize::ShortSide(side) => {
            config["image_processor_type"] = json!("BitImageProcessor");
            config["size"] = json!({"shortest_edge": side});
            config["do_center_crop"] = json!(true);
            config["crop_size"] = sides(size);
        }
    }
    config
}
