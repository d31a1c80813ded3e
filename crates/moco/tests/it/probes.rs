//! kNN against loops, the logistic probe against scikit-learn, the papers' probes against torch.

use crate::device::device;
use crate::golden::{Golden, assert_close, difference, set_tensors, tensor};
use moco::batch::to_host;
use moco::config::{DataFacts, FeatureKind};
use moco::eval::{Features, Logistic, ProbeLayer, Protocol, knn, logistic, quality};
use moco::models::{Encode, Vit, VitConfig};
use moco::nn::{Mode, tensors};
use moco::plan::{self, Plan, load_recipe, resolve, set_value};
use moco::rng::{Purpose, stream};

fn features(golden: &Golden, part: &str) -> Features {
    let shape = golden.shape(part);
    Features {
        values: golden.f32(part),
        dim: shape[1],
        indices: (0..shape[0]).collect(),
        labels: golden.indices(&format!("{part}_labels")).iter().map(|&l| l as u32).collect(),
        bad: Vec::new(),
    }
}

/// The same images, labelled with what the reference predicted: all must agree. The closest
/// decision of the reference is far wider than f32 rounding (golden/MANIFEST.json).
fn relabelled(test: &Features, golden: &Golden, name: &str) -> Features {
    let labels = golden.indices(name).iter().map(|&l| l as u32).collect();
    Features { labels, ..test.clone() }
}

/// Inputs are exact in f32 and both sides compute in f64: what is left is the square root of a Gram
/// matrix's rounding for singular values (1e-8 of the largest), and for LiDAR the condition of the
/// scatter within images, below 100 here.
#[test]
fn quality_without_labels_is_what_numpy_gives_by_the_definitions() {
    let golden = Golden::open("quality");
    let near = |name: &str, found: f64| {
        let expected = golden.scalar(name);
        assert!((found / expected - 1.0).abs() < 1e-7, "{name}: {found} is not {expected}");
    };
    let (shape, values) = (golden.shape("views"), golden.f32("views"));
    let (dim, size) = (shape[2], shape[1] * shape[2]);
    let views: Vec<&[f32]> = values.chunks_exact(size).collect();
    let expected = golden.values("singular_values");
    for (found, expected) in quality::singular_values(views[0], dim).iter().zip(&expected) {
        assert!((found - expected).abs() < 1e-7 * golden.values("singular_values")[0]);
    }
    near("rank_me", quality::rank_me(views[0], dim));
    near("lidar", quality::lidar(&views, dim));
    near("lidar_two", quality::lidar(&views[..2], dim));
    near("alignment", quality::alignment(views[0], views[1], dim));
    near("uniformity", quality::uniformity(views[0], dim));

    // Fewer images than dimensions.
    let dim = golden.shape("wide")[1];
    near("rank_me_wide", quality::rank_me(&golden.f32("wide"), dim));
    let wide = golden.f32("wide_views");
    let views: Vec<&[f32]> = wide.chunks_exact(wide.len() / 2).collect();
    near("lidar_wide", quality::lidar(&views, dim));
}

#[test]
fn quality_of_collapsed_features_says_so() {
    let alike: Vec<f32> = [1.0, 2.0, -1.0, 0.5].repeat(30);
    assert!((quality::rank_me(&alike, 4) - 1.0).abs() < 1e-4);
    assert_eq!(quality::alignment(&alike, &alike, 4), 0.0);
    assert!(quality::uniformity(&alike, 4).abs() < 1e-12);
    let lidar = quality::lidar(&[&alike, &alike], 4);
    assert!(lidar < 1.01, "nothing but rounding tells images apart: {lidar}");
    let zeros = [0.0; 12];
    assert_eq!(quality::rank_me(&zeros, 4), 0.0);
    assert_eq!(quality::uniformity(&[], 4), 0.0);
}

#[test]
fn knn_predicts_what_the_loops_predict() {
    let golden = Golden::open("knn");
    let (train, test) = (features(&golden, "train"), features(&golden, "test"));
    for (k, temperature) in [(20, 0.1), (200, 0.07)] {
        let reference = relabelled(&test, &golden, &format!("k{k}.predictions"));
        assert_eq!(knn(&train, &reference, k, temperature).top1, 1.0, "k = {k}");
        let accuracy = knn(&train, &test, k, temperature);
        assert!(accuracy.top1 > 0.3 && accuracy.top1 < 1.0, "a test that both can fail");
        assert!(accuracy.top5 >= accuracy.top1);
    }
}

#[test]
fn more_neighbours_than_images_means_all_images() {
    let golden = Golden::open("knn");
    let (train, test) = (features(&golden, "train"), features(&golden, "test"));
    assert_eq!(knn(&train, &test, 200, 0.07), knn(&train, &test, 5000, 0.07));
}

#[test]
fn logistic_probe_predicts_what_scikit_learn_predicts() {
    let golden = Golden::open("logistic");
    let (train, test) = (features(&golden, "train"), features(&golden, "test"));
    let l2 = 1.0 / (0.5 * train.len() as f64); // C = 0.5
    let config = Logistic { l2, iterations: 1000 };
    let reference = relabelled(&test, &golden, "predictions");
    assert_eq!(logistic(&train, &reference, config).top1, 1.0);
    let accuracy = logistic(&train, &test, config).top1;
    assert!(accuracy > 0.3 && accuracy < 1.0, "{accuracy}");
}

/// A recipe as it would be for ImageNet.
fn run(recipe: &str, sets: &[&str]) -> Plan {
    let mut tree = load_recipe(recipe).expect("an embedded recipe");
    plan::set(&mut tree, "data.path", "images".into()).unwrap();
    for assignment in sets {
        set_value(&mut tree, assignment).unwrap();
    }
    let facts = DataFacts { images: 1_281_167, width: 500, height: 375, labelled: true };
    resolve(&tree, &facts).unwrap_or_else(|e| panic!("{recipe}: {e}")).config
}

fn protocol(recipe: &str) -> Protocol {
    run(recipe, &[]).probe()
}

/// torch's own f32 is within 8e-7 of its f64 (golden/MANIFEST.json): ten steps of a small product,
/// a softmax, and for MAE a BatchNorm. Ours sums in another order.
const TRAINED: f64 = 5e-6;

/// The published protocols over five epochs of two steps, at rates that move a small layer.
#[test]
fn the_papers_probes_train_as_in_torch() {
    let golden = Golden::open("probe_training");
    let short = |recipe: &str, lr| Protocol { lr, lr_batch: None, ..protocol(recipe).over(5) };
    for (case, protocol) in [
        ("moco", short("moco-v1-imagenet", 2.0)),
        ("byol", short("byol-imagenet", 0.8)),
        ("swav", Protocol { weight_decay: 0.01, ..short("swav-imagenet", 0.8) }),
        ("simsiam", short("simsiam-imagenet", 60.0)),
        ("mae", Protocol { warmup_epochs: 1.0, ..short("mae-imagenet", 6.4) }),
    ] {
        check_training(&golden, case, &protocol);
    }
}

fn check_training(golden: &Golden, case: &str, protocol: &Protocol) {
    let [steps, batch, width] = golden.shape("features").try_into().unwrap();
    let [classes] = golden.shape("bias.initial").try_into().unwrap();
    let mut layer = ProbeLayer::new(protocol, [width, classes], 0, &device());
    set_tensors(&mut layer, |name| {
        let name = name.strip_prefix("linear.")?;
        Some(golden.f32(&format!("{name}.initial")))
    });

    let (features, labels) = (golden.f32("features"), golden.indices("labels"));
    let (rates, expected) = (protocol.schedule(batch), golden.values(&format!("{case}.lr")));
    for step in 0..steps {
        let lr = rates.at(step, 2);
        assert!((lr - expected[step]).abs() < 1e-12, "{case}, step {step}: {lr}");
        let x = features[step * batch * width..][..batch * width].to_vec();
        let labels = labels[step * batch..][..batch].iter().map(|&label| label as u32);
        layer.step(tensor(x, [batch, width]), &labels.collect::<Vec<_>>(), lr);
        for name in ["weight", "bias"] {
            let found = to_host(tensors(&mut layer)[&format!("linear.{name}")].clone());
            let all = golden.values(&format!("{case}.{name}"));
            let off = difference(&found, &all[step * found.len()..][..found.len()]);
            assert!(off < TRAINED, "{case}, step {step}, {name}: off by {off:.1e}");
        }
    }

    let logits = layer.logits(golden.tensor("test"), Mode::Eval);
    assert_close(logits, golden, &format!("{case}.logits"), TRAINED);
    let state = tensors(&mut layer);
    for (name, value) in state.iter().filter(|(name, _)| name.starts_with("norm.")) {
        let name = name.replace("norm", case);
        assert_close(value.clone(), golden, &name, TRAINED);
    }
    assert_eq!(state.len(), if case == "mae" { 4 } else { 2 }, "{case}");
}

/// Highest rate, epochs and batch; what the layer sees, and whether it is normalised.
#[test]
fn probes_are_the_published_ones() {
    use FeatureKind::{Backbone, ClassAndPatches, LastBlocks};
    for (recipe, sets, peak, [epochs, batch], feature, normalize) in [
        ("instdisc-imagenet", &[][..], 30.0, [100, 256], Backbone, false),
        ("invaspread-imagenet", &[], 30.0, [100, 256], Backbone, false),
        ("cpc-imagenet", &[], 0.1, [136, 2048], Backbone, false),
        ("cmc-imagenet", &[], 30.0, [60, 256], Backbone, false),
        ("cmc-imagenet", &["model.width=128"], 50.0, [60, 256], Backbone, false),
        ("moco-v2-imagenet", &[], 30.0, [100, 256], Backbone, false),
        ("moco-v3-imagenet", &[], 0.4, [90, 1024], Backbone, false),
        ("moco-v3-vit-imagenet", &[], 12.0, [90, 1024], Backbone, false),
        ("simclr-imagenet", &[], 0.2, [100, 512], Backbone, false),
        ("simclr-v2-imagenet", &[], 0.2, [100, 512], Backbone, false),
        ("byol-imagenet", &[], 0.8, [80, 1024], Backbone, false),
        ("simsiam-imagenet", &[], 1.6, [90, 4096], Backbone, false),
        ("swav-imagenet", &[], 0.3, [100, 256], Backbone, false),
        ("dino-imagenet", &[], 0.001, [100, 256], LastBlocks, false),
        ("dino-imagenet", &["model.backbone=vit-base"], 0.001, [100, 256], ClassAndPatches, false),
        ("mae-imagenet", &[], 6.4, [90, 16_384], Backbone, true),
    ] {
        let config = run(recipe, sets);
        let found = config.probe();
        let rate = found.peak(batch);
        assert!((rate / peak - 1.0).abs() < 1e-12, "{recipe}: {rate} is not {peak}");
        assert_eq!((found.epochs, found.batch_size), (epochs, batch), "{recipe}");
        assert_eq!((found.feature, found.normalize), (feature, normalize), "{recipe}");
        config.check_feature("--feature", feature).unwrap();
    }
}

/// A 64th of the images, at the rate of the published batch; no batch of fewer than 32 where there
/// are so many, and none that is larger than published.
#[test]
fn batches_of_the_probes_fit_the_images() {
    let mae = protocol("mae-imagenet");
    for (images, batch) in [(10, 10), (100, 32), (3_000, 46), (50_000, 781), (4_000_000, 16_384)] {
        let fitted = mae.clone().fitted(images);
        assert_eq!(fitted.batch_size, batch);
        assert!((fitted.peak(batch) - 6.4).abs() < 1e-12);
    }
    for (images, batch) in [(100, 100), (3_000, 256)] {
        let fitted = protocol("moco-v2-imagenet").fitted(images);
        assert_eq!((fitted.batch_size, fitted.peak(batch)), (batch, 30.0));
    }
}

/// MAE's over ImageNet, 78 steps an epoch: the line, the peak, the middle of the cosine, its end.
/// MoCo's at the epochs of its two drops.
#[test]
fn rates_of_the_probes_in_closed_form() {
    let close = |found: f64, expected: f64| (found - expected).abs() < 1e-12;
    let mae = protocol("mae-imagenet").schedule(16_384);
    for (epoch, expected) in [(0, 0.0), (5, 3.2), (10, 6.4), (50, 3.2), (90, 0.0)] {
        assert!(close(mae.at(78 * epoch, 78), expected), "epoch {epoch}");
    }
    let moco = protocol("moco-v1-imagenet").schedule(256);
    for (step, expected) in [(0, 30.0), (299, 30.0), (300, 3.0), (399, 3.0), (400, 0.3)] {
        assert!(close(moco.at(step, 5), expected), "step {step}");
    }
}

/// A mean of 16 tokens of timm's; the tokens are as near as in the network's own test.
#[test]
fn dinos_feature_of_large_transformers_is_timms_class_token_and_mean() {
    let (state, golden) = (Golden::open("vit_tiny_state"), Golden::open("vit_tiny_expected"));
    let config = VitConfig::of_size([24, 2, 3], 4, [16, 16]);
    let mut net = Vit::new(&config, &mut stream(0, Purpose::Weights, 0), &device());
    set_tensors(&mut net, |name| Some(state.f32(name)));
    let kind = FeatureKind::ClassAndPatches;
    let found = to_host(net.embed(golden.tensor("x"), kind, Mode::Eval));
    assert_eq!(net.width(kind), 48);
    let tokens = golden.values("tokens");
    let expected: Vec<f64> = tokens
        .chunks_exact(17 * 24)
        .flat_map(|image| {
            let (class, patches) = image.split_at(24);
            let mean = |c: usize| patches.iter().skip(c).step_by(24).sum::<f64>() / 16.0;
            class.iter().copied().chain((0..24).map(mean)).collect::<Vec<_>>()
        })
        .collect();
    let off = difference(&found, &expected);
    assert!(off < 5e-6, "off by {off:.1e}");
}
