//! Layout, architecture, heads and what is left of every checkpoint.

use crate::common::{Case, cases, folder, vit};
use moco_weights::{
    Architecture, FinalNorm, Input, Interpolation, LayoutName, Mlp, Options, Pool, Positions,
    ResNet, ResNetStem, ResidualBlock, Section, WeightsError, open,
};

#[test]
fn layouts_are_told_from_the_files() {
    for case in cases() {
        assert_eq!(case.weights().layout.name(), case.layout, "{}", case.name);
    }
}

#[test]
fn architectures_are_what_the_files_were_made_with() {
    for case in cases() {
        match &case.weights().architecture {
            Architecture::ResNet(net) => check_resnet(&case, net),
            Architecture::Pair { luma, chroma } => {
                check_resnet(&case, luma);
                check_resnet(&case, chroma);
                assert_eq!([luma.in_channels, chroma.in_channels], [1, 2], "{}", case.name);
            }
            Architecture::Vit(_) => check_vit(&case),
        }
    }
}

fn check_resnet(case: &Case, net: &ResNet) {
    let name = &case.name;
    let (block, blocks) = match case.about["architecture"].as_str() {
        Some("resnet18") => (ResidualBlock::Basic, vec![2, 2, 2, 2]),
        Some("resnet50") => (ResidualBlock::Bottleneck, vec![3, 4, 6, 3]),
        other => panic!("{name}: {other:?}"),
    };
    let width = case.number(&["width"]).expect("a width");
    assert_eq!((net.block, &net.blocks), (block, &blocks), "{name}");
    assert_eq!(net.width, width, "{name}");
    let stem_width = if name == "cmc" { 2 * width } else { width };
    assert_eq!(net.stem_width, stem_width, "{name}");
    let stem = match case.about["stem"].as_str() {
        Some("imagenet") => ResNetStem::Imagenet,
        _ => ResNetStem::Cifar { padding: if case.layout == "solo" { 2 } else { 1 } },
    };
    assert_eq!(net.stem, stem, "{name}");
    let pooled = case.about["features"]["pooled"][1].as_u64().expect("a width") as usize;
    let networks = if case.layout == "cmc" { 2 } else { 1 };
    assert_eq!(networks * net.features(), pooled, "{name}");
}

fn check_vit(case: &Case) {
    let (weights, name) = (case.weights(), &case.name);
    let net = vit(&weights.architecture);
    let patch = case.number(&["patch", "patch_size"]).expect("a patch");
    let image = case.number(&["image_size", "img_size"]).expect("a size");
    assert_eq!(Some(net.width), case.number(&["dim", "embed_dim"]), "{name}");
    assert_eq!(Some(net.depth), case.number(&["depth"]), "{name}");
    assert_eq!(Some(net.heads), case.number(&["heads", "num_heads"]), "{name}");
    assert_eq!((net.patch, net.image()), ([patch; 2], [image; 2]), "{name}");
    assert_eq!(Some(net.norm_eps), case.about["layer_norm_eps"].as_f64(), "{name}");
    assert_eq!(net.mlp == Mlp::SwiGlu, name.contains("swiglu"), "{name}");
    let arguments = &case.about["arguments"];
    let registers = case.number(&["num_register_tokens"]).map(|n| n as u64);
    let registers = registers.or(arguments["reg_tokens"].as_u64()).unwrap_or(0);
    assert_eq!(net.registers as u64, registers, "{name}");
    let scaled = name.contains("dinov2");
    assert_eq!(net.layer_scale, scaled, "{name}");
    assert_eq!(net.class_position, arguments["no_embed_class"].as_bool() != Some(true), "{name}");
    let average = name == "timm_vit_avg_pool";
    assert_eq!(net.pool, if average { Pool::Mean } else { Pool::Class }, "{name}");
    assert_eq!(net.final_norm == FinalNorm::AfterPool, average, "{name}");
    let positions = match case.layout.as_str() {
        "mae" => Positions::SincosColumnFirst,
        "moco-v3" => Positions::SincosRowFirst,
        _ => Positions::Learned,
    };
    assert_eq!(net.positions, positions, "{name}");
}

fn golden(name: &str, part: Option<&str>) -> moco_weights::Weights {
    let part = part.map(str::to_owned);
    let options = Options { heads: Some(3), part, ..Options::default() };
    open(&folder().join(name), &options).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn names(weights: &moco_weights::Weights, section: Section) -> Vec<&str> {
    weights.heads.get(&section).map_or(Vec::new(), |head| head.keys().map(String::as_str).collect())
}

#[test]
fn heads_have_our_names() {
    let moco = golden("moco_v2_cifar.pth.tar", None);
    assert_eq!(names(&moco, Section::Head), ["0.bias", "0.weight", "1.bias", "1.weight"]);
    let cmc = golden("cmc.pth", None);
    assert_eq!(names(&cmc, Section::SecondHead), ["0.bias", "0.weight"]);
    assert!(cmc.backbone.contains_key("luma.conv1.weight"));
    assert!(cmc.backbone.contains_key("chroma.layer4.1.bn2.running_var"));
    let swav = golden("swav.pth.tar", None);
    assert_eq!(names(&swav, Section::Prototypes), ["weight"]);
    assert!(names(&swav, Section::Head).contains(&"0.norm.running_mean"));
    let simsiam = golden("simsiam.pth.tar", None);
    assert!(names(&simsiam, Section::Head).contains(&"2.norm.running_mean"));
    assert!(names(&simsiam, Section::Predictor).contains(&"1.bias"));
    let dino = golden("dino_full.pth", None);
    let head = names(&dino, Section::Head);
    assert!(head.contains(&"layers.2.weight") && head.contains(&"last_layer.weight_v"), "{head:?}");
    let mae = golden("mae_pretrain.pth", None);
    let decoder = names(&mae, Section::Decoder);
    for name in ["embed.weight", "mask_token", "blocks.0.attn.qkv.weight", "pred.bias"] {
        assert!(decoder.contains(&name), "{decoder:?}");
    }
    // A classifier is no head of ours.
    assert!(golden("timm_vit_avg_pool.safetensors", None).heads.is_empty());
}

#[test]
fn a_part_is_chosen_by_name() {
    let teacher = golden("dino_full.pth", None);
    let student = golden("dino_full.pth", Some("student"));
    assert_eq!((teacher.part.as_str(), student.part.as_str()), ("teacher", "student"));
    assert_ne!(teacher.backbone, student.backbone);
    let options = Options { part: Some("online".into()), ..Options::default() };
    let error = open(&folder().join("moco_v2_cifar.pth.tar"), &options).expect_err("no such part");
    assert!(error.to_string().contains("encoder_q, encoder_k"), "{error}");
}

#[test]
fn what_is_left_is_said_in_groups() {
    let report = golden("moco_v2_cifar.pth.tar", None).report;
    let text = report.to_string();
    assert!(text.lines().count() < 12, "{text}");
    for part in ["encoder_k", "counters of batches", "queue", "100 tensors of the backbone"] {
        assert!(text.contains(part), "no {part} in\n{text}");
    }
    let report = golden("instdisc.pth.tar", None).report.to_string();
    assert!(report.contains("memory bank"), "{report}");
}

#[test]
fn the_image_is_normalised_as_the_layout_has_it() {
    assert!(matches!(golden("cmc.pth", None).input, Input::Lab { .. }));
    assert_eq!(golden("dino_full.pth", None).input, moco_weights::IMAGENET);
    let Input::Rgb { std, .. } = golden("solo_encoder.ckpt", None).input else { panic!("RGB") };
    assert_eq!(std, [0.2470, 0.2435, 0.2616]);
}

#[test]
fn positions_are_interpolated_as_the_source_does() {
    let rule = |file: &str| vit(&golden(file, None).architecture).interpolation;
    assert_eq!(rule("dino_backbone.pth"), Interpolation::BicubicNudged { nudge: 0.1 });
    assert_eq!(rule("dinov2_official.pth"), Interpolation::BicubicAntialias);
    assert_eq!(rule("timm_vit_avg_pool.safetensors"), Interpolation::BicubicAntialias);
    assert_eq!(rule("hf_vit_model.safetensors"), Interpolation::Bicubic);
}

#[test]
fn heads_that_no_table_has_are_asked_for() {
    let file = folder().join("timm_vit_avg_pool.safetensors");
    let error = open(&file, &Options::default()).expect_err("24 channels");
    let WeightsError::Heads { width: 24, candidates, .. } = &error else { panic!("{error}") };
    assert_eq!(candidates, &[1, 2, 3, 4, 6, 8, 12, 24]);
    let five = Options { heads: Some(5), ..Options::default() };
    let error = open(&file, &five).expect_err("5 do not divide 24");
    assert!(matches!(error, WeightsError::HeadsDoNotDivide { .. }), "{error}");
}

#[test]
fn a_layout_that_does_not_fit_names_the_nearest() {
    let options = Options { layout: Some(LayoutName::Moco), ..Options::default() };
    let error = open(&folder().join("simsiam.pth.tar"), &options).expect_err("another layout");
    let text = error.to_string();
    assert!(text.contains("`encoder_q.conv1.weight`") && text.contains("simsiam"), "{text}");
}

#[test]
fn every_layout_has_a_name_that_is_read_back() {
    for layout in LayoutName::all() {
        assert_eq!(layout.name().parse::<LayoutName>().ok(), Some(layout));
    }
    let error = "mocov2".parse::<LayoutName>().expect_err("no layout");
    assert!(error.to_string().contains("moco-v3"), "{error}");
}
