//! Every recipe: its network has the published size, and it trains, at a size that a test can afford.

use crate::device::device;
use burn::tensor::Tensor;
use moco::batch::{Batch, to_host};
use moco::config::DataFacts;
use moco::methods::{Sees, Step};
use moco::models::{Architecture, Backbone, NetworkSpec, ResNet, ResNetShape};
use moco::nn::{count_params, for_each_param, init};
use moco::optim::Optimizer;
use moco::plan::{self, Plan, recipes, resolve, set_value};
use moco::rng::{Purpose, stream};
use moco::train::{Parts, Rates, learn};
use toml::Table;

/// Trained parameters by recipe, exactly: `golden/parameters.py` counts them with torchvision 0.29.2 and
/// timm 1.0.31. Transformers of sines and cosines have no trained positions; MoCo v3's patch projection,
/// of 3 p² D + D numbers, is frozen. CMC's two networks have three input channels together. The CIFAR
/// stem has 27 weights a channel for 147; SimCLR's ResNet-18 has one projection more. A stem of convolutions: 48, 96, 192 and 384 channels of
/// 3x3 without bias, four BatchNorms, a 1x1 convolution with bias, and 11 blocks of 12 D² + 13 D.
const EXACT: [(&str, usize); 54] = [
    ("instdisc-imagenet", 23_508_032),
    ("instdisc-softmax-imagenet", 23_508_032),
    ("instdisc-cifar10", 11_168_832),
    ("invaspread-imagenet", 23_508_032),
    ("invaspread-cifar10", 11_168_832),
    ("cmc-imagenet", 2 * 23_508_032 - 9_408),
    ("cmc-nce-imagenet", 2 * 23_508_032 - 9_408),
    ("moco-v1-imagenet", 23_508_032),
    ("moco-v1-cifar10", 11_168_832),
    ("moco-v2-imagenet", 23_508_032),
    ("moco-v2-cifar10", 11_168_832),
    ("simclr-imagenet", 23_508_032),
    ("simclr-100-imagenet", 23_508_032),
    ("simclr-cifar10", 11_168_832 + 64 * 64 + 128),
    ("simclr-v2-imagenet", 23_508_032),
    ("simclr-v2-101-imagenet", 42_500_160),
    ("simclr-v2-152-imagenet", 58_143_808),
    ("simclr-v2-sk-imagenet", 35_215_584),
    ("simclr-v2-2x-sk-imagenet", 140_306_048),
    ("simclr-v2-101-sk-imagenet", 64_662_304),
    ("simclr-v2-101-2x-sk-imagenet", 257_132_224),
    ("simclr-v2-152-sk-imagenet", 88_940_896),
    ("simclr-v2-152-2x-sk-imagenet", 353_398_528),
    ("simclr-v2-152-3x-sk-imagenet", 794_704_160),
    ("simclr-v2-cifar10", 11_168_832 + 64 * 64 + 128),
    ("byol-imagenet", 23_508_032),
    ("byol-100-imagenet", 23_508_032),
    ("byol-300-imagenet", 23_508_032),
    ("byol-cifar10", 11_168_832),
    ("simsiam-imagenet", 23_508_032),
    ("simsiam-cifar10", 11_168_832),
    ("swav-imagenet", 23_508_032),
    ("swav-cifar10", 11_168_832),
    ("swav-100-imagenet", 23_508_032),
    ("swav-200-imagenet", 23_508_032),
    ("swav-400-imagenet", 23_508_032),
    ("swav-800-imagenet", 23_508_032),
    ("swav-2x224-imagenet", 23_508_032),
    ("moco-v3-imagenet", 23_508_032),
    ("moco-v3-cifar10", 11_168_832),
    ("moco-v3-300-imagenet", 23_508_032),
    ("moco-v3-1000-imagenet", 23_508_032),
    ("moco-v3-vit-imagenet", 21_590_016 - 768 * 384 - 384),
    ("moco-v3-vit-base-imagenet", 85_647_360 - 768 * 768 - 768),
    ("moco-v3-vit-conv-imagenet", 872_208 + 1_440 + 147_840 + 11 * 1_774_464 + 768 + 384),
    ("dino-imagenet", 21_665_664),
    ("dino-s8-imagenet", 21_670_272),
    ("dino-b16-imagenet", 85_798_656),
    ("dino-b8-imagenet", 85_807_872),
    ("dino-resnet50-imagenet", 23_508_032),
    ("dino-boost-imagenet", 21_665_664),
    ("mae-imagenet", 85_647_360),
    ("mae-large-imagenet", 303_099_904),
    ("mae-huge-imagenet", 630_435_840),
];

/// In millions, as the READMEs of SwAV (twice and four times the width) and SimCLR round them, and the
/// pair of CMC's code of half the width behind a stem of 64 channels.
const MILLIONS: [(&str, f64); 14] = [
    ("simclr-2x-imagenet", 94.0),
    ("simclr-4x-imagenet", 375.0),
    ("simclr-v2-2x-imagenet", 94.0),
    ("simclr-v2-101-imagenet", 43.0),
    ("simclr-v2-101-2x-imagenet", 170.0),
    ("simclr-v2-152-2x-imagenet", 233.0),
    ("simclr-v2-sk-imagenet", 35.0),
    ("simclr-v2-2x-sk-imagenet", 140.0),
    ("simclr-v2-101-sk-imagenet", 65.0),
    ("simclr-v2-101-2x-sk-imagenet", 257.0),
    ("simclr-v2-152-sk-imagenet", 89.0),
    ("simclr-v2-152-2x-sk-imagenet", 354.0),
    ("simclr-v2-152-3x-sk-imagenet", 795.0),
    ("cmc-half-imagenet", 12.0),
];

const FACTS: DataFacts = DataFacts { images: 50_000, width: 500, height: 375, labelled: true };

fn resolved(name: &str, change: impl FnOnce(&mut Table)) -> Plan {
    let mut tree = plan::load_recipe(name).expect("an embedded recipe");
    plan::set(&mut tree, "data.path", "images".into()).unwrap();
    change(&mut tree);
    resolve(&tree, &FACTS).unwrap_or_else(|error| panic!("{name}: {error}")).config
}

/// Parameters of the backbones of a method, from small networks of the same kind, so that nothing large
/// is allocated: of a ResNet they are a square function of the width, of a transformer a straight one of
/// the depth.
fn parameters(config: &Plan) -> usize {
    let spec = config.network();
    let channels: &[usize] =
        if config.spec().profile().sees == Sees::Split { &[1, 2] } else { &[3] };
    channels.iter().map(|&channels| backbone_parameters(spec, channels)).sum()
}

fn backbone_parameters(spec: &NetworkSpec, channels: usize) -> usize {
    let rng = || stream(0, Purpose::Weights, 0);
    match &spec.architecture {
        Architecture::ResNet(shape) => {
            let at = |width: usize| {
                let stem_width = shape.stem_width * width / shape.width;
                let shape = ResNetShape { width, stem_width, ..shape.clone() };
                count_params(&mut ResNet::new(&shape, channels, &mut rng(), &device())) as i64
            };
            // Newton's form through three widths.
            let [a, b, c] = [2, 4, 6].map(at);
            let steps = (shape.width as i64 - 2) / 2;
            let count = a + steps * (b - a) + steps * (steps - 1) / 2 * (c - 2 * b + a);
            usize::try_from(count).expect("a count") + wider_selections(shape)
        }
        Architecture::Vit(vit) => {
            let at = |depth| {
                let vit = moco::models::VitConfig { depth, ..vit.clone() };
                let spec = NetworkSpec { architecture: Architecture::Vit(vit), seed: 0 };
                count_params(&mut Backbone::new(&spec, channels, &mut rng(), &device()))
            };
            let (one, two) = (at(1), at(2));
            one + (vit.depth - 1) * (two - one)
        }
    }
}

/// What selections of more than the least number of hidden channels, 32, add: a row of each of two layers,
/// to one and to two values a channel, and two values of a BatchNorm for each.
fn wider_selections(shape: &ResNetShape) -> usize {
    let Some(ratio) = shape.sk_ratio else { return 0 };
    let stages = shape.blocks.iter().enumerate().map(|(stage, blocks)| {
        let width = shape.width << stage;
        let hidden = (width as f64 * ratio) as usize;
        blocks * hidden.saturating_sub(32) * (3 * width + 2)
    });
    stages.sum()
}

#[test]
fn networks_of_the_recipes_have_the_published_sizes() {
    for (recipe, expected) in EXACT {
        assert_eq!(parameters(&resolved(recipe, |_| ())), expected, "{recipe}");
    }
    for (recipe, expected) in MILLIONS {
        let found = parameters(&resolved(recipe, |_| ())) as f64 / 1e6;
        assert!((found - expected).abs() <= 0.8, "{recipe}: {found} M, not {expected} M");
    }
}

/// A new recipe gets its count here, unless it is of a network that no paper has.
#[test]
fn every_published_recipe_has_its_size_in_a_table() {
    let known = |name: &str| {
        EXACT.iter().any(|(recipe, _)| *recipe == name)
            || MILLIONS.iter().any(|(recipe, _)| *recipe == name)
    };
    // CPC's networks have LayerNorm and another number of stages; these three are of our own sizes.
    let without = ["cpc-", "cmc-cifar10", "dino-cifar10", "mae-cifar10"];
    for recipe in recipes().iter().map(|recipe| recipe.name) {
        let published = recipe.ends_with("-imagenet") || recipe.ends_with("-cifar10");
        let excused = without.iter().any(|start| recipe.starts_with(start));
        assert!(!published || excused || known(recipe), "{recipe}");
    }
}

/// The recipe with a narrow network, small crops and few of everything.
fn reduced(name: &str) -> Plan {
    resolved(name, |tree| {
        let patch = tree["model"].get("patch").and_then(toml::Value::as_integer).unwrap_or(16);
        let (large, little) = (2 * patch, patch);
        let small = |text: &str| {
            text.replace("crop(224,", &format!("crop({large},"))
                .replace("crop(96,", &format!("crop({little},"))
                .replace("resize(256", &format!("resize({large}"))
                .replace("center(224)", &format!("center({large})"))
        };
        if tree["method"]["name"].as_str() != Some("cpc") {
            let data = tree["data"].as_table_mut().unwrap();
            let views = data["views"].as_array_mut().unwrap();
            for view in views {
                *view = small(view.as_str().unwrap()).into();
            }
            data["eval_view"] = small(data["eval_view"].as_str().unwrap()).into();
        }
        let changes = [
            ("method.queue", "8"),
            ("method.negatives", "8"),
            ("method.prototypes", "8"),
            ("method.outputs", "32"),
            ("method.hidden", "16"),
            ("method.projector_hidden", "16"),
            ("method.decoder_width", "64"),
            ("model.width", "8"),
            ("model.bn_groups", "1"),
        ];
        for (key, value) in changes {
            let (section, setting) = key.split_once('.').unwrap();
            if tree[section].get(setting).is_some_and(|value| value.as_integer() != Some(0)) {
                set_value(tree, &format!("{key}={value}")).unwrap();
            }
        }
        if tree["model"]["backbone"].as_str().unwrap().starts_with("vit") {
            set_value(tree, "model.backbone=vit-micro").unwrap();
        }
        set_value(tree, "train.batch_size=4").unwrap();
    })
}

/// Two steps at the recipe's own rates, in the middle of the run, on random images.
#[test]
fn every_recipe_trains_two_steps() {
    const IMAGES: usize = 40;
    for recipe in recipes().iter().map(|recipe| recipe.name) {
        let config = reduced(recipe);
        let mut method = config.method(IMAGES, &device());
        let mut optimizer = Optimizer::new(&config.optim, method.student());
        let mut before = Vec::new();
        for_each_param(method.student(), |_, param| before.push(to_host(param.flat())));
        let rng = &mut stream(1, Purpose::Queue, 0);
        for index in 0..2 {
            let views = config.views();
            let views = views.iter().map(|view| -> Tensor<4> {
                let ([height, width], count) = (view.size(), view.count());
                init::normal([4 * count, height, width, 3], 1.0, rng, &device())
            });
            let batch = Batch { indices: (0..4).collect(), views: views.collect() };
            let at =
                Step { index: 10_000 + index, total: 30_000, per_epoch: 100, seed: 0, part: 0 };
            let lr = config.rate().peak;
            let rates = Rates { lr, fixed_lr: lr, weight_decay: config.optim.weight_decay };
            let parts = Parts::of(&config.optim);
            let learnt = learn(method.as_mut(), &mut optimizer, batch, at, &rates, parts);
            assert!(learnt.is_ok_and(|learnt| learnt.loss.is_finite()), "{recipe}, step {index}");
        }
        let (mut i, mut moved) = (0, 0);
        for_each_param(method.student(), |_, param| {
            moved += usize::from(to_host(param.flat()) != before[i]);
            i += 1;
        });
        assert!(2 * moved > i, "{recipe}: {moved} of {i} parameters moved");
    }
}
