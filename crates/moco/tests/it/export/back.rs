//! Exports read back as weights of the programs whose names they have.

use super::{NARROW, SMALL_VIEWS, encoder, images, settings, with_source};
use moco::batch::to_host;
use moco::config::FeatureKind;
use moco::device::Device;
use moco::eval::FrozenEncoder;
use moco::export::{FolderKind, Names, Part, save_folder, save_named};
use moco::nn::{Mode, tensors};
use moco::plan::Plan;
use moco::pretrained::{Pretrained, read_imported, save_imported};
use moco::run::open_encoder;
use moco_weights::{LayoutName, Named, Options, Values};
use std::fs;
use std::path::Path;

/// The backbone's tensors as an import has them.
fn backbone(frozen: &mut FrozenEncoder) -> Named {
    let all = tensors(frozen.encoder.backbone()).into_iter();
    let whole = super::shapes(frozen);
    all.map(|(name, values)| {
        (name.clone(), Values { shape: whole[&name].clone(), data: to_host(values) })
    })
    .collect()
}

fn features(frozen: &mut FrozenEncoder) -> Vec<f32> {
    let (x, _) = images(frozen, 2);
    to_host(frozen.encoder.embed(x, FeatureKind::Backbone, Mode::Eval))
}

/// The file's tensors alone, as another program would have written them.
fn without_texts(path: &Path) {
    let bytes = fs::read(path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    fs::write(path, safetensors::serialize(file.tensors(), None).unwrap()).unwrap();
}

/// Under each of the names: the same network with the same values, to the bit, seen through the same
/// view; and the same tensors where nothing but their names tells whose they are.
fn assert_comes_back(config: &Plan, cases: &[(Names, LayoutName)]) {
    let device = Device::flex();
    let mut frozen = encoder(config);
    let (expected, own) = (features(&mut frozen), backbone(&mut frozen));
    let place = tempfile::tempdir().unwrap();
    for &(names, layout) in cases {
        let path = place.path().join("e.safetensors");
        with_source(&mut frozen, config, |source| {
            save_named(source, &path, names, Part::Encoder).unwrap();
        });
        let weights = moco_weights::open(&path, &Options::default()).unwrap();
        assert_eq!(weights.layout, layout, "{names:?}");
        assert!(weights.report.left.is_empty(), "{names:?}: {:?}", weights.report.left);
        assert_eq!(weights.backbone, own, "{names:?}");
        let mut back = Pretrained::new(&weights, "", None, &device).unwrap();
        assert_eq!(back.frozen.view, frozen.view, "{names:?}");
        assert_eq!(features(&mut back.frozen), expected, "{names:?}");

        // Written as an import, it is the same once more, whichever way it is opened.
        let imported = place.path().join("imported.safetensors");
        save_imported(&mut back, &imported).unwrap();
        let again = moco_weights::open(&imported, &Options::default()).unwrap();
        assert_eq!((again.layout, &again.backbone), (LayoutName::Ours, &own), "{names:?}");
        assert_eq!(again.architecture, weights.architecture, "{names:?}");
        let mut read = read_imported(&imported, &device).unwrap().unwrap();
        assert_eq!(features(&mut read.frozen), expected, "{names:?}");
        for path in [&path, &imported] {
            let mut opened = open_encoder(path, &Options::default(), None, &device).unwrap();
            assert_eq!(features(&mut opened.encoder), expected, "{names:?} {}", path.display());
            assert_eq!(opened.encoder.view, frozen.view, "{names:?}");
        }

        without_texts(&path);
        let heads = Some(2);
        let told = moco_weights::open(&path, &Options { heads, ..Options::default() }).unwrap();
        assert_eq!(told.backbone, own, "{names:?} without texts");
    }
}

#[test]
fn residual_networks_come_back() {
    let names = [
        (Names::Moco, LayoutName::Ours),
        (Names::Torchvision, LayoutName::TorchvisionResNet),
        (Names::Timm, LayoutName::TimmResNet),
        (Names::HuggingFace, LayoutName::HfResNet),
        (Names::Detectron2, LayoutName::Detectron2),
        (Names::Dino, LayoutName::Dino),
    ];
    for backbone in ["model.backbone=resnet18", "model.backbone=resnet50"] {
        let narrow = [&NARROW[..], &["model.stem=imagenet", backbone]].concat();
        assert_comes_back(&settings("moco-v2-small", &narrow), &names);
    }
    assert_comes_back(&settings("moco-v2-small", &NARROW), &names[..3]);
}

#[test]
fn transformers_come_back() {
    let names = [
        (Names::Moco, LayoutName::Ours),
        (Names::Timm, LayoutName::TimmVit),
        (Names::HuggingFace, LayoutName::HfVit),
        (Names::Dino, LayoutName::Dino),
        (Names::Mae, LayoutName::Mae),
        (Names::Torchvision, LayoutName::TorchvisionVit),
    ];
    let small = "data.eval_view=\"resize(16) center(16)\"";
    assert_comes_back(&settings("", &["method.name=dino", small]), &names);
    assert_comes_back(&settings("moco-v3-vit-small", &SMALL_VIEWS), &names);
    // The mean over the patches, and positions for images of another size than in training.
    let mean = ["model.pool=mean", "data.eval_view=\"resize(20) center(20)\""];
    assert_comes_back(&settings("mae-small", &mean), &names[..5]);
    let stem = [
        "model.backbone=vit-tiny",
        "model.patch=16",
        "model.patch_stem=convolutions",
        "model.freeze_patch=false",
    ];
    let stem = settings("moco-v3-vit-small", &stem);
    assert_comes_back(&stem, &[names[0], names[5]]);
}

/// Folders say in their configuration what their tensors do not, without our texts too.
#[test]
fn folders_come_back() {
    let vit = settings("mae-small", &["model.pool=mean"]);
    let usual = ["model.stem=imagenet", "model.width=64", "model.bn_groups=1"];
    let resnet = settings("moco-v2-small", &usual);
    let device = Device::flex();
    for config in [&vit, &resnet] {
        let mut frozen = encoder(config);
        let (expected, own) = (features(&mut frozen), backbone(&mut frozen));
        for kind in [FolderKind::Timm, FolderKind::HuggingFace] {
            let place = tempfile::tempdir().unwrap();
            with_source(&mut frozen, config, |source| save_folder(source, place.path(), kind))
                .unwrap();
            let mut opened =
                open_encoder(place.path(), &Options::default(), None, &device).unwrap();
            assert_eq!(features(&mut opened.encoder), expected, "{kind:?}");
            assert_eq!(opened.encoder.view, frozen.view, "{kind:?}");
            without_texts(&place.path().join("model.safetensors"));
            let told = moco_weights::open(place.path(), &Options::default()).unwrap();
            assert_eq!(told.backbone, own, "{kind:?}");
        }
    }
}

/// Whole methods: the network that an encoder's file has comes first, others by name.
#[test]
fn whole_methods_come_back() {
    let short = ["train.max_steps=1", "train.batch_size=16", "monitor.knn_epochs=0"];
    let dino = [&short[..], &["method.name=dino"]].concat();
    let moco = [&short[..], &NARROW].concat();
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("all.safetensors");
    for (config, names, parts) in [
        (settings("moco-v2-small", &moco), Names::Moco, &["query", "key"][..]),
        (settings("mae-small", &short), Names::Moco, &["network"]),
        (settings("mae-small", &short), Names::Mae, &[]),
        (settings("", &dino), Names::Moco, &["teacher", "student"]),
        (settings("", &dino), Names::Dino, &["teacher", "student"]),
    ] {
        super::whole(&config, names, &path);
        let first = moco_weights::open(&path, &Options::default()).unwrap();
        assert_eq!(first.part, *parts.first().unwrap_or(&""), "{names:?}");
        for part in parts {
            let options = Options { part: Some((*part).into()), ..Options::default() };
            let weights = moco_weights::open(&path, &options).unwrap();
            assert_eq!(weights.backbone.len(), first.backbone.len(), "{names:?} {part}");
            assert!(Pretrained::new(&weights, "", None, &Device::flex()).is_ok());
        }
    }
}
