//! How what was written is loaded, in lines to copy.

use super::target::Form;
use super::{FolderKind, Names, Part, Source};
use moco::config::{MlpKind, StemKind};
use moco::export::timm_mlp_ratio;
use moco::models::vit::{PatchStem, Pool};
use moco::models::{Architecture, ResNetShape, VitConfig};
use std::path::Path;

/// Says how to load what was written for other programs.
pub fn explain(out: &Path, form: Form, source: &Source<'_>) {
    let lines = match form {
        Form::Tensors(Names::Moco, _) => return,
        Form::Tensors(names, part) => tensors(out, names, part, source),
        Form::Graph(options) => graph(out, options.preprocess, source),
        Form::Folder(kind) => folder(out, kind, source),
    };
    println!("load it in Python:");
    for line in lines {
        println!("    {line}");
    }
}

/// A path as a Python string.
fn quoted(path: &Path) -> String {
    format!("{:?}", path.display().to_string())
}

fn tensors(out: &Path, names: Names, part: Part, source: &Source<'_>) -> Vec<String> {
    let state = format!("safetensors.torch.load_file({})", quoted(out));
    let mut lines = match (names, &source.architecture) {
        (Names::Torchvision, Architecture::ResNet(resnet)) => resnet_lines("torchvision", resnet),
        (Names::Timm, Architecture::ResNet(resnet)) => resnet_lines("timm", resnet),
        (Names::Torchvision, Architecture::Vit(vit)) => torchvision_vit(vit),
        (Names::Timm, Architecture::Vit(vit)) => timm_vit(vit),
        (Names::Detectron2, Architecture::ResNet(resnet)) => {
            return detectron2(out, resnet, source);
        }
        (Names::Dino, _) if part == Part::Encoder => {
            return vec![format!("torch.save({state}, \"dino.pth\")  # for --pretrained_weights")];
        }
        (Names::Dino, _) => {
            return vec![
                format!("state = {state}"),
                "# student.*, teacher.* and center with --part all, else backbone.* and head.*"
                    .to_owned(),
            ];
        }
        (Names::Mae, _) => {
            return vec![format!(
                "torch.save({{\"model\": {state}}}, \"mae.pth\")  # for --finetune"
            )];
        }
        _ => {
            return vec![
                format!("state = {state}  # for ResNetModel or ViTModel of transformers"),
                "# --format huggingface writes a folder that AutoModel.from_pretrained reads"
                    .to_owned(),
            ];
        }
    };
    lines.push(format!("net.load_state_dict({state}, strict=True)"));
    lines
}

/// The published network, then what differs from it, whose names are the same.
fn resnet_lines(library: &str, resnet: &ResNetShape) -> Vec<String> {
    let (module, layers, classes) = match library {
        "timm" => ("timm.models.resnet", "layers=", ", num_classes=0"),
        _ => ("torchvision.models.resnet", "", ""),
    };
    let block = if resnet.bottleneck { "Bottleneck" } else { "BasicBlock" };
    let mut blocks = resnet.blocks.clone();
    blocks.resize(4, 1);
    let stem = match resnet.stem {
        StemKind::Deep => format!(", stem_width={}, stem_type=\"deep\"", resnet.stem_width / 2),
        _ => String::new(),
    };
    let mut lines =
        vec![format!("net = {module}.ResNet({module}.{block}, {layers}{blocks:?}{classes}{stem})")];
    if library == "torchvision" {
        lines.push("net.fc = torch.nn.Identity()".to_owned());
    }
    lines.extend(changed_layers(resnet));
    lines
}

fn changed_layers(resnet: &ResNetShape) -> Vec<String> {
    let ResNetShape { width, stem_width: stem, stem_padding: border, .. } = *resnet;
    let mut lines = Vec::new();
    let settable = resnet.stem == StemKind::Deep;
    if width != 64 || (stem != 64 && !settable) {
        lines.push(format!(
            "# first give it {stem} channels in its first layer and {width} in its first stage \
             instead of 64: there is no switch for that"
        ));
    }
    let outputs = if resnet.bottleneck { 4 * width } else { width };
    if resnet.first_projection && stem == outputs {
        lines.push(format!(
            "net.layer1[0].downsample = torch.nn.Sequential(torch.nn.Conv2d({stem}, {outputs}, 1, \
             bias=False), torch.nn.BatchNorm2d({outputs}))"
        ));
    }
    if resnet.stem == StemKind::Cifar {
        let padding = 1 + border;
        lines.push(format!(
            "net.conv1 = torch.nn.Conv2d(3, {stem}, 3, padding={padding}, bias=False)"
        ));
        lines.push("net.maxpool = torch.nn.Identity()".to_owned());
    } else if border > 0 {
        lines.push(format!("net.conv1.padding = ({0}, {0})", 3 + border));
    }
    let missing = resnet.blocks.len() + 1..=4;
    lines.extend(missing.map(|stage| format!("net.layer{stage} = torch.nn.Identity()")));
    lines
}

fn torchvision_vit(vit: &VitConfig) -> Vec<String> {
    let mut lines = Vec::new();
    let stem = match vit.stem {
        PatchStem::Linear | PatchStem::FrozenLinear => String::new(),
        PatchStem::Conv => {
            lines.push(
                "from torchvision.models.vision_transformer import ConvStemConfig".to_owned(),
            );
            let halvings = vit.patch.ilog2();
            let widths = (0..halvings).map(|i| vit.width >> (halvings - 1 - i));
            let layers: Vec<String> =
                widths.map(|width| format!("ConvStemConfig({width}, 3, 2)")).collect();
            format!(", conv_stem_configs=[{}]", layers.join(", "))
        }
    };
    lines.push(format!(
        "net = torchvision.models.VisionTransformer({}, {}, {}, {}, {}, {}{stem}{})",
        vit.image[0],
        vit.patch,
        vit.depth,
        vit.heads,
        vit.width,
        vit.hidden,
        norm_layer(vit)
    ));
    lines.push("net.heads = torch.nn.Identity()".to_owned());
    lines
}

/// What is said of LayerNorms that do not add the usual 1e-6.
fn norm_layer(vit: &VitConfig) -> String {
    match vit.norm_epsilon {
        1e-6 => String::new(),
        epsilon => {
            format!(", norm_layer=functools.partial(torch.nn.LayerNorm, eps={epsilon:e})")
        }
    }
}

fn timm_vit(vit: &VitConfig) -> Vec<String> {
    let pool = match vit.pool {
        Pool::Class => "global_pool=\"token\"",
        Pool::Mean => "global_pool=\"avg\", fc_norm=False",
        Pool::MeanBeforeNorm => "global_pool=\"avg\"",
    };
    let mut more = String::new();
    if vit.registers > 0 || !vit.class_position {
        more += &format!(", reg_tokens={}, no_embed_class=True", vit.registers);
    }
    if let Some(start) = vit.layer_scale {
        more += &format!(", init_values={start:e}");
    }
    if !vit.qkv_bias {
        more += ", qkv_bias=False";
    }
    let ratio = timm_mlp_ratio(vit);
    if vit.mlp == MlpKind::Swiglu {
        more += ", mlp_layer=timm.layers.SwiGLUPacked, act_layer=torch.nn.SiLU";
    }
    vec![format!(
        "net = timm.models.VisionTransformer(img_size={:?}, patch_size={}, embed_dim={}, depth={}, \
         num_heads={}, mlp_ratio={ratio}, num_classes=0, {pool}{more}{})",
        vit.image,
        vit.patch,
        vit.width,
        vit.depth,
        vit.heads,
        norm_layer(vit)
    )]
}

/// detectron2 reads pickles, which this program neither reads nor writes.
fn detectron2(out: &Path, resnet: &ResNetShape, source: &Source<'_>) -> Vec<String> {
    let pickle = quoted(&out.with_extension("pkl"));
    let (mean, std) = source.view.normalize().statistics();
    let levels = |values: [f32; 3]| values.map(|value| (f64::from(value) * 255e3).round() / 1e3);
    let outputs = if resnet.bottleneck { 4 * resnet.width } else { resnet.width };
    let depth = match (&resnet.blocks[..], resnet.bottleneck) {
        ([2, 2, 2, 2], false) => "18",
        ([3, 4, 6, 3], false) => "34",
        ([3, 4, 6, 3], true) => "50",
        ([3, 4, 23, 3], true) => "101",
        ([3, 8, 36, 3], true) => "152",
        _ => "of no published network: build it from detectron2's blocks",
    };
    vec![
        "import pickle, safetensors.numpy".to_owned(),
        format!("state = safetensors.numpy.load_file({})", quoted(out)),
        "whole = {\"model\": state, \"__author__\": \"moco\", \"matching_heuristics\": True}"
            .to_owned(),
        format!("pickle.dump(whole, open({pickle}, \"wb\"))  # for MODEL.WEIGHTS"),
        format!("# MODEL.RESNETS.DEPTH {depth}"),
        format!(
            "# MODEL.RESNETS.STEM_OUT_CHANNELS {}, RES2_OUT_CHANNELS {outputs}",
            resnet.stem_width
        ),
        format!("# MODEL.RESNETS.WIDTH_PER_GROUP {}, STRIDE_IN_1X1 False", resnet.width),
        format!("# INPUT.FORMAT RGB, MODEL.PIXEL_MEAN {:?}", levels(mean)),
        format!("# MODEL.PIXEL_STD {:?}", levels(std)),
    ]
}

fn graph(out: &Path, preprocess: bool, source: &Source<'_>) -> Vec<String> {
    let kind = if preprocess { "uint8" } else { "float32, normalised" };
    let [height, width] = source.view.size();
    let patches = match source.view.grid() {
        Some(_) => format!("{}, ", source.view.count()),
        None => String::new(),
    };
    vec![
        format!("session = onnxruntime.InferenceSession({})", quoted(out)),
        format!("# images: {kind}, [N, {patches}3, {height}, {width}]"),
        "features, = session.run([\"features\"], {\"images\": images})".to_owned(),
    ]
}

fn folder(out: &Path, kind: FolderKind, source: &Source<'_>) -> Vec<String> {
    let path = out.display().to_string();
    let net = format!("net = transformers.AutoModel.from_pretrained({path:?}");
    match (kind, &source.architecture) {
        (FolderKind::Timm, _) => vec![format!(
            "net = timm.create_model({:?}, pretrained=True)",
            format!("local-dir:{path}")
        )],
        (FolderKind::HuggingFace, Architecture::ResNet(_)) => {
            vec![format!("{net})"), "features = net(images).pooler_output.flatten(1)".to_owned()]
        }
        (FolderKind::HuggingFace, Architecture::Vit(vit)) => {
            let tokens = match vit.pool {
                Pool::Class => "[:, 0]",
                _ => "[:, 1:].mean(1)",
            };
            vec![
                format!("{net}, add_pooling_layer=False)"),
                format!("features = net(images).last_hidden_state{tokens}"),
            ]
        }
    }
}
