//! Exports: graphs computed by loops, names of the published codes, files that explain themselves.

mod back;
mod machine;
mod proto;

use crate::golden::Golden;
use crate::runs::{Recorder, dataset, options};
use burn::tensor::{Tensor, TensorData};
use machine::run;
use moco::batch::to_host;
use moco::checkpoint::Checkpoint;
use moco::config::{DataFacts, FeatureKind};
use moco::device::Device;
use moco::eval::FrozenEncoder;
use moco::export::{
    ExportError, FolderKind, Names, OnnxOptions, Origin, Part, Source, describe, open_encoder,
    save_folder, save_named, save_onnx, save_state,
};
use moco::nn::{Mode, for_each_leaf, tensors};
use moco::plan::{self, Plan, load_recipe, resolve, set_value};
use moco::run::RunDir;
use moco::train::Trainer;
use moco_data::{Image, ViewKey};
use proto::{Array, Model};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Graphs are computed in double precision, encoders in single: the roundings of some 20 layers.
const TOLERANCE: f64 = 2e-5;

fn settings(recipe: &str, overrides: &[&str]) -> Plan {
    let mut tree = match recipe {
        "" => toml::Table::new(),
        recipe => load_recipe(recipe).expect("an embedded recipe"),
    };
    plan::set(&mut tree, "data.path", "in-memory".into()).unwrap();
    for assignment in ["train.batch_size=16"].iter().chain(overrides) {
        set_value(&mut tree, assignment).unwrap();
    }
    let facts = DataFacts::of(&dataset(64)).unwrap();
    resolve(&tree, &facts).expect("a valid configuration").config
}

const SMALL_VIEWS: [&str; 2] = [
    r#"data.views=["crop(16, 0.2..1) flip normalize(cifar10)", "crop(16) normalize(cifar10)"]"#,
    r#"data.eval_view="resize(16) center(16) normalize(cifar10)""#,
];
const NARROW: [&str; 2] = ["model.width=4", "model.bn_groups=1"];

/// An encoder whose state, running statistics too, is a function of the names alone.
fn encoder(config: &Plan) -> FrozenEncoder {
    let device = Device::flex();
    let mut frozen =
        FrozenEncoder::new(config.encoder(&device), config.eval_view().clone(), &device);
    for_each_leaf(frozen.encoder.as_mut(), |name, leaf| {
        let (moco::nn::Leaf::Param(tensor) | moco::nn::Leaf::Buffer(tensor)) = leaf else { return };
        let one_dimensional = tensor.shape().len() == 1;
        if !one_dimensional {
            return;
        }
        let count = tensor.shape()[0];
        let centre = if name.ends_with("bias") || name.ends_with("mean") { 0.0 } else { 1.0 };
        let values: Vec<f32> =
            (0..count).map(|i| centre + 0.3 * ((i * 7 + name.len()) as f32).sin()).collect();
        tensor.set_flat(Tensor::from_data(TensorData::new(values, [count]), &device));
    });
    frozen
}

/// The shapes of a backbone's tensors.
fn shapes(frozen: &mut FrozenEncoder) -> BTreeMap<String, Vec<usize>> {
    let mut shapes = BTreeMap::new();
    for_each_leaf(frozen.encoder.backbone(), |name, leaf| {
        if let moco::nn::Leaf::Param(tensor) | moco::nn::Leaf::Buffer(tensor) = leaf {
            shapes.insert(name.to_owned(), tensor.shape());
        }
    });
    shapes
}

fn images(frozen: &FrozenEncoder, count: usize) -> (Tensor<4>, Array) {
    let ([h, w], patches) = (frozen.view.size(), frozen.view.count());
    let n = count * patches;
    let value = |i: usize| ((i as f32 * 0.37).sin() + (i as f32 * 0.0713).cos()) * 0.8;
    let nhwc: Vec<f32> = (0..n * h * w * 3).map(value).collect();
    let nchw = (0..n * 3 * h * w).map(|i| {
        let (image, c, pixel) = (i / (3 * h * w), i / (h * w) % 3, i % (h * w));
        f64::from(nhwc[(image * h * w + pixel) * 3 + c])
    });
    let shape = match frozen.view.grid() {
        Some(_) => vec![count, patches, 3, h, w],
        None => vec![count, 3, h, w],
    };
    let array = Array::new(&shape, nchw.collect());
    (Tensor::from_data(TensorData::new(nhwc, [n, h, w, 3]), &Device::flex()), array)
}

fn with_source<R>(
    frozen: &mut FrozenEncoder,
    config: &Plan,
    f: impl FnOnce(&mut Source<'_>) -> R,
) -> R {
    f(&mut Source::of_run(frozen, config, Origin::new(config, 7).unwrap()))
}

fn graph(frozen: &mut FrozenEncoder, config: &Plan, options: OnnxOptions) -> Model {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("e.onnx");
    with_source(frozen, config, |source| save_onnx(source, &path, options)).unwrap();
    Model::parse(&fs::read(path).unwrap())
}

const PLAIN: OnnxOptions =
    OnnxOptions { part: Part::Encoder, preprocess: false, unit_length: false };

/// The graph's features, and those of the encoder, of two images.
#[track_caller]
fn assert_computes_the_same(config: &Plan, options: OnnxOptions) {
    let mut frozen = encoder(config);
    let model = graph(&mut frozen, config, options);
    let (tensor, array) = images(&frozen, 2);
    let kind = match options.part {
        Part::Encoder => FeatureKind::Backbone,
        _ => FeatureKind::Head,
    };
    let expected = to_host(frozen.encoder.embed(tensor, kind, Mode::Eval));
    let found = run(&model, array);
    assert_eq!(found.shape, [2, expected.len() / 2]);
    assert_eq!(model.output.2, ["batch".to_owned(), found.shape[1].to_string()]);
    let scale = expected.iter().fold(0.0f32, |top, value| top.max(value.abs()));
    assert!(scale > 1e-3, "features that could be told from nothing: {scale}");
    for (found, expected) in found.values.iter().zip(&expected) {
        let off = (found - f64::from(*expected)).abs() / f64::from(scale);
        assert!(off < TOLERANCE, "{found} for {expected}: {off:.1e} of {scale}");
    }
}

#[test]
fn graphs_of_residual_networks() {
    let with = |more: &[&str]| settings("moco-v2-small", &[&NARROW[..], more].concat());
    let both = OnnxOptions { part: Part::EncoderAndHead, ..PLAIN };
    assert_computes_the_same(&with(&["model.stem=cifar"]), both);
    assert_computes_the_same(&with(&["model.stem=imagenet"]), PLAIN);
    assert_computes_the_same(&with(&["model.stem=imagenet", "model.backbone=resnet50"]), PLAIN);
    let more = ["model.stem_width=12", "model.blocks=[1,2,1,1]", "model.first_projection=true"];
    assert_computes_the_same(&with(&more), PLAIN);
    // 44 pixels: maps of 11 and 6, so that an average has a border once and none at another time.
    let more = ["model.stem=deep", "model.backbone=resnet50", "model.average_skips=true"];
    let size = ["data.eval_view=\"resize(44) center(44)\""];
    assert_computes_the_same(&with(&[&more[..], &size].concat()), PLAIN);
    assert_computes_the_same(&with(&[&more[..], &size, &["model.sk_ratio=0.5"]].concat()), PLAIN);
    let simsiam = settings("simsiam-small", &["model.width=4"]);
    assert_computes_the_same(&simsiam, both);
}

#[test]
fn graphs_of_two_encoders_and_of_patches() {
    let cmc = settings("cmc-small", &["model.width=4"]);
    assert_computes_the_same(&cmc, PLAIN);
    assert_computes_the_same(&cmc, OnnxOptions { part: Part::EncoderAndHead, ..PLAIN });
    assert_computes_the_same(&settings("cpc-small", &["model.width=4"]), PLAIN);
    let bare = settings("cpc-small", &["model.width=4", "model.norm=nothing"]);
    assert_computes_the_same(&bare, PLAIN);
}

#[test]
fn graphs_of_transformers() {
    let both = OnnxOptions { part: Part::EncoderAndHead, ..PLAIN };
    assert_computes_the_same(&settings("moco-v3-vit-small", &SMALL_VIEWS), both);
    let learned = settings("", &["method.name=dino", "data.eval_view=\"resize(16) center(16)\""]);
    assert_computes_the_same(&learned, both);
    let stem = [
        "model.backbone=vit-tiny",
        "model.patch=16",
        "model.patch_stem=convolutions",
        "model.freeze_patch=false",
    ];
    assert_computes_the_same(&settings("moco-v3-vit-small", &stem), PLAIN);
}

/// All that DINOv2's transformers have.
#[test]
fn graphs_of_later_transformers() {
    let more = [
        "method.name=dino",
        "model.embed_dim=48",
        "model.depth=2",
        "model.heads=3",
        "model.mlp_hidden=40",
        "model.mlp=swiglu",
        "model.registers=2",
        "model.layer_scale=0.3",
        "model.norm_epsilon=1e-3",
        "model.qkv_bias=false",
    ];
    let with = |more: &[&str]| settings("", more);
    assert_computes_the_same(&with(&more), PLAIN);
    assert_computes_the_same(&with(&[&more[..], &["model.class_position=false"]].concat()), PLAIN);
}

/// The mean over the patches, with positions for images of another size than in training.
#[test]
fn graphs_of_other_sizes() {
    let mean = ["model.pool=mean", "data.eval_view=\"resize(20) center(20)\""];
    assert_computes_the_same(&settings("mae-small", &mean), PLAIN);
}

#[test]
fn a_graph_normalises_bytes_and_gives_rows_of_unit_length() {
    let config = settings("moco-v2-small", &NARROW);
    let mut frozen = encoder(&config);
    let options = OnnxOptions { preprocess: true, unit_length: true, ..PLAIN };
    let model = graph(&mut frozen, &config, options);
    assert_eq!(
        model.input,
        ("images".into(), 2, ["batch", "3", "32", "32"].map(String::from).into())
    );
    let levels: Vec<u8> = (0..3 * 32 * 32).map(|i| (i * 31 % 256) as u8).collect();
    let image = Image::new(32, 32, levels.clone());
    let mut pixels = vec![0.0; levels.len()];
    let key = ViewKey { seed: 0, epoch: 0, image: 0, view: 0 };
    frozen.view.apply(&image, key, &mut pixels);
    let x = Tensor::from_data(TensorData::new(pixels, [1, 32, 32, 3]), &Device::flex());
    let expected = to_host(frozen.encoder.embed(x, FeatureKind::Backbone, Mode::Eval));
    let length = expected.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
    let planes = (0..3).flat_map(|c| levels[c..].iter().step_by(3));
    let array = Array::new(&[1, 3, 32, 32], planes.map(|level| f64::from(*level)).collect());
    for (found, expected) in run(&model, array).values.iter().zip(&expected) {
        assert!((found - f64::from(*expected) / length).abs() < TOLERANCE, "{found} {expected}");
    }
}

/// The operations of a residual network, in order, and where its weights stand.
#[test]
fn a_graph_is_the_network_as_it_is_drawn() {
    let config = settings("moco-v2-small", &["model.width=4", "model.stem=imagenet"]);
    let mut frozen = encoder(&config);
    let model = graph(&mut frozen, &config, PLAIN);
    assert_eq!((model.ir_version, model.opset), (8, 17));
    let norm = "Conv BatchNormalization";
    let block = format!("{norm} Relu {norm} Add Relu");
    let wider = format!("{norm} Relu {norm} {norm} Add Relu");
    let mut expected = format!("{norm} Relu MaxPool {block} {block}");
    for _ in 0..3 {
        expected += &format!(" {wider} {block}");
    }
    expected += " GlobalAveragePool Flatten Identity";
    let operations: Vec<&str> = model.nodes.iter().map(|node| node.operation.as_str()).collect();
    assert_eq!(operations.join(" "), expected);
    let strides = model.nodes.iter().filter(|node| node.ints.contains_key("strides"));
    let strided = strides.filter(|node| node.ints["strides"] == [2, 2]).map(|node| &node.name);
    let strided: Vec<&str> = strided.map(String::as_str).collect();
    let stages = [2, 3, 4]
        .map(|stage| [format!("layer{stage}.0.conv1"), format!("layer{stage}.0.downsample.0")]);
    let names = ["conv1", "maxpool"].into_iter().chain(stages.iter().flatten().map(String::as_str));
    assert_eq!(strided, names.collect::<Vec<_>>());

    // Every tensor of the backbone, as it is, and nothing else.
    let state = tensors(frozen.encoder.backbone());
    assert_eq!(model.weights.keys().collect::<Vec<_>>(), state.keys().collect::<Vec<_>>());
    for (name, values) in state {
        let values: Vec<f64> = to_host(values).into_iter().map(f64::from).collect();
        assert_eq!(model.weights[&name].values, values, "{name}");
    }
    assert_eq!(model.weights["layer2.0.conv1.weight"].shape, [8, 4, 3, 3]);
    assert_eq!(model.texts["moco.method"], "moco-v2");
    assert_eq!(model.texts["moco.mean"], "0.4914, 0.4822, 0.4465");
}

/// The operations of a transformer, in order, and where its weights stand.
#[test]
fn a_graph_is_the_transformer_as_it_is_drawn() {
    let sizes = ["model.embed_dim=24", "model.depth=2", "model.heads=3", "model.mlp_hidden=40"];
    let config = settings("", &[&["method.name=dino"], &sizes[..]].concat());
    let mut frozen = encoder(&config);
    let model = graph(&mut frozen, &config, PLAIN);
    let linear = "MatMul Add";
    let head = "Slice Reshape Transpose";
    let heads = format!("{head} {head} {head}"); // queries, keys, values
    let attention =
        format!("{linear} {heads} Mul MatMul Softmax MatMul Transpose Reshape {linear}");
    let mlp = format!("{linear} Div Erf Add Mul Mul {linear}"); // GELU by the error function
    let block = format!("LayerNormalization {attention} Add LayerNormalization {mlp} Add");
    let expected = format!(
        "Conv Reshape Transpose Add Shape Concat Expand Concat {block} {block} Gather \
         LayerNormalization Identity"
    );
    let operations: Vec<&str> = model.nodes.iter().map(|node| node.operation.as_str()).collect();
    assert_eq!(operations.join(" "), expected);
    let epsilons = model.nodes.iter().filter_map(|node| node.floats.get("epsilon"));
    assert_eq!(epsilons.copied().collect::<Vec<_>>(), [1e-6; 5]);

    // Every tensor of the backbone: as it is, turned for `MatMul`, or as part of the tokens in front.
    for (name, values) in tensors(frozen.encoder.backbone()) {
        let own: Vec<f64> = to_host(values).into_iter().map(f64::from).collect();
        let found = |name: &str| &model.weights[name];
        match name.as_str() {
            "pos_embed" => assert_eq!(found("pos_embed.patches").values, own[24..]),
            "cls_token" => {
                assert_eq!(found("prefix.tokens").shape, [1, 1, 24], "with its position");
            }
            turned if model.weights.contains_key(&format!("{turned}_transposed")) => {
                let turned = found(&format!("{turned}_transposed"));
                let [inputs, outputs] = turned.shape[..] else { panic!("{name}: a matrix") };
                let back =
                    (0..own.len()).map(|at| turned.values[at % inputs * outputs + at / inputs]);
                assert_eq!(back.collect::<Vec<_>>(), own, "{name}");
            }
            _ => assert_eq!(found(&name).values, own, "{name}"),
        }
    }
    assert_eq!(model.weights["blocks.1.attn.qkv.weight_transposed"].shape, [24, 72]);
}

#[test]
fn what_has_no_graph_or_no_names_is_refused() {
    let cmc = settings("cmc-small", &[]);
    let mae = settings("mae-small", &[]);
    let narrow = settings("moco-v2-small", &["model.width=16"]);
    let cpc = settings("cpc-small", &[]);
    let told = |result: Result<(), ExportError>, words: &[&str]| {
        let told = result.unwrap_err().to_string();
        words.iter().for_each(|word| assert!(told.contains(word), "{word}: {told}"));
        assert!(!told.contains('\n'), "{told}");
    };
    let graph =
        |config: &Plan, options: OnnxOptions| options.check(Some(config), config.eval_view());
    let names = |names: Names, part, config: &Plan| {
        names.check(part, Some(config), &config.network().architecture)
    };
    let with = |part, preprocess| OnnxOptions { part, preprocess, unit_length: false };
    told(
        graph(&cmc, with(Part::Encoder, true)),
        &["another colour space", "leave --preprocess out"],
    );
    told(graph(&mae, with(Part::EncoderAndHead, false)), &["no head", "--part encoder"]);
    told(graph(&mae, with(Part::All, false)), &["one graph", ".safetensors"]);
    told(
        names(Names::Timm, Part::Encoder, &cmc),
        &["CMC has two encoders", "timm", "--names moco"],
    );
    told(names(Names::Torchvision, Part::Encoder, &cpc), &["without BatchNorm", "--names moco"]);
    told(names(Names::Detectron2, Part::Encoder, &mae), &["not of a transformer", "--names timm"]);
    told(names(Names::Detectron2, Part::Encoder, &narrow), &["3x3 convolution", "torchvision"]);
    told(names(Names::HuggingFace, Part::Encoder, &narrow), &["3x3 convolution", "torchvision"]);
    let kernels = ["model.backbone=resnet50", "model.sk_ratio=0.5"];
    for (settings_, words) in [
        (&kernels[..], "selective kernels (model.sk_ratio)"),
        (&["model.average_skips=true"], "an average in skip connections (model.average_skips)"),
    ] {
        let network = settings("moco-v2-small", settings_);
        for of in [Names::Torchvision, Names::Timm, Names::HuggingFace, Names::Detectron2] {
            told(names(of, Part::Encoder, &network), &[words, "--names moco or write an .onnx"]);
        }
    }
    let deep = settings("moco-v2-small", &["model.stem=deep"]);
    told(names(Names::Torchvision, Part::Encoder, &deep), &["three convolutions", "--names timm"]);
    assert!(names(Names::Timm, Part::Encoder, &deep).is_ok());
    told(names(Names::Mae, Part::Encoder, &narrow), &["no residual networks"]);
    told(names(Names::Mae, Part::EncoderAndHead, &mae), &["no name for a head", "--part all"]);
    told(names(Names::Dino, Part::All, &mae), &["no names for more", "--part encoder"]);
    let mean = settings("mae-small", &["model.pool=mean"]);
    told(names(Names::Torchvision, Part::Encoder, &mean), &["class token", "--names timm"]);
    let place = tempfile::tempdir().unwrap();
    let folder = |config: &Plan| {
        let write = |source: &mut Source<'_>| save_folder(source, place.path(), FolderKind::Timm);
        with_source(&mut encoder(config), config, write)
    };
    told(folder(&narrow), &["timm's residual networks begin with a 7x7", "--names torchvision"]);
    let wide = settings("moco-v2-small", &["model.width=16", "model.stem=imagenet"]);
    told(folder(&wide), &["64 channels in their first layer, this one 16"]);
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0, "nothing was written");
}

/// Block numbers left out: the published runs have other depths.
fn kinds(names: impl IntoIterator<Item = String>) -> BTreeSet<String> {
    let kind = |name: String| {
        let parts = name.split('.').map(String::from);
        let mut after_blocks = false;
        let parts = parts.map(|part| {
            match std::mem::replace(&mut after_blocks, part.ends_with("blocks")) {
                true => "*".to_owned(),
                false => part,
            }
        });
        parts.collect::<Vec<_>>().join(".")
    };
    names.into_iter().map(kind).collect()
}

fn file_names(path: &Path) -> Vec<String> {
    let bytes = fs::read(path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    file.names().into_iter().map(String::from).collect()
}

/// Trains for a step and writes the newest checkpoint under other names.
fn whole(config: &Plan, names: Names, path: &Path) {
    let place = tempfile::tempdir().unwrap();
    let mut trainer = Trainer::new(config, dataset(64), &Device::flex(), options(1)).unwrap();
    Recorder::default().train(&mut trainer, place.path()).unwrap();
    let newest = RunDir::at(place.path()).list_checkpoints().unwrap().pop().unwrap();
    let checkpoint = Checkpoint::open(&newest).unwrap();
    let origin = Origin::new(config, checkpoint.meta().step).unwrap();
    save_state(&checkpoint, config, &origin, path, names).unwrap();
}

#[test]
fn whole_methods_have_the_names_of_their_published_codes() {
    let short = ["train.max_steps=1", "train.batch_size=16", "monitor.knn_epochs=0"];
    let dino = [&short[..], &["method.name=dino"]].concat();
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("all.safetensors");
    for (config, official, names) in [
        (settings("mae-small", &short), "mae", Names::Mae),
        (settings("", &dino), "dino_adamw", Names::Dino),
    ] {
        whole(&config, names, &path);
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/official");
        let published = Golden::at(&root.join(format!("{official}.safetensors")));
        let end = published.names().into_iter();
        let end = end.filter_map(|name| name.strip_prefix("final.").map(String::from));
        assert_eq!(kinds(file_names(&path)), kinds(end), "{official}");
        let card = describe(&path).unwrap().unwrap();
        assert_eq!((card.names, card.part, card.step), (names, Part::All, 1));
        let refused = open_encoder(&path, &Device::flex()).err().unwrap().to_string();
        assert!(refused.contains("--part all") && refused.contains("--names moco"), "{refused}");
    }
}

/// Built again from the file alone, with the features of the encoder that was written.
#[test]
fn a_file_explains_itself() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("e.safetensors");
    let features = |frozen: &mut FrozenEncoder, kind| {
        let (x, _) = images(frozen, 2);
        to_host(frozen.encoder.embed(x, kind, Mode::Eval))
    };
    let resnet = settings("moco-v2-small", &NARROW);
    let mae = settings("mae-small", &[]);
    for (config, names, part) in [
        (&resnet, Names::Moco, Part::EncoderAndHead),
        (&resnet, Names::Moco, Part::Encoder),
        (&resnet, Names::Torchvision, Part::Encoder),
        (&mae, Names::Moco, Part::Encoder),
        (&mae, Names::Timm, Part::Encoder),
        (&mae, Names::Mae, Part::Encoder),
    ] {
        let mut frozen = encoder(config);
        let origin = Origin::new(config, 7).unwrap();
        let origin = Origin { start_licence: Some("CC BY-NC 4.0".into()), ..origin };
        let source = &mut Source::of_run(&mut frozen, config, origin);
        save_named(source, &path, names, part).unwrap();
        let (mut opened, card) = open_encoder(&path, &Device::flex()).unwrap();
        assert_eq!((card.names, card.part, card.step), (names, part, 7));
        assert_eq!(card.config.as_ref(), Some(config));
        assert_eq!(
            (&card.architecture, &card.view),
            (&config.network().architecture, &frozen.view)
        );
        assert_eq!(card.start_licence.as_deref(), Some("CC BY-NC 4.0"));
        assert_eq!(opened.view, frozen.view);
        let kind = FeatureKind::Backbone;
        assert_eq!(features(&mut opened, kind), features(&mut frozen, kind), "{names:?} {part:?}");
        if card.has_head() {
            let kind = FeatureKind::Head;
            assert_eq!(features(&mut opened, kind), features(&mut frozen, kind));
        }
    }
    with_source(&mut encoder(&mae), &mae, |source| {
        save_named(source, &path, Names::HuggingFace, Part::Encoder).unwrap();
    });
    let refused = open_encoder(&path, &Device::flex()).err().unwrap().to_string();
    assert!(refused.contains("under the names of huggingface"), "{refused}");
}

/// Files of the version before say less; those of other programs nothing.
#[test]
fn files_that_do_not_explain_themselves() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("e.safetensors");
    let config = settings("moco-v2-small", &["model.width=4"]);
    moco::export::save_encoder(encoder(&config).encoder.as_mut(), &path).unwrap();
    assert_eq!(describe(&path).unwrap(), None);
    let told = open_encoder(&path, &Device::flex()).err().unwrap().to_string();
    assert!(told.contains("does not say which network") && told.contains("run's folder"), "{told}");
}

/// The names of `--names torchvision` are those of torchvision's own network, but for `fc`.
#[test]
fn torchvision_names_are_complete() {
    let reference = Golden::open("resnet18_w4_state");
    let mut expected: Vec<String> =
        reference.names().into_iter().filter(|name| !name.starts_with("fc.")).collect();
    let config = settings("moco-v2-small", &["model.width=4", "model.stem=cifar"]);
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("encoder.safetensors");
    with_source(&mut encoder(&config), &config, |source| {
        save_named(source, &path, Names::Torchvision, Part::Encoder).unwrap();
    });
    let mut found = file_names(&path);
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    let written = Golden::at(&path);
    for name in &found {
        assert_eq!(written.shape(name), reference.shape(name), "{name}");
    }
}
