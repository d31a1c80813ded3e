//! Vision Transformers against timm: tokens, outputs, every gradient, positions, the stem.
//!
//! torch's own f32 is up to 9e-7 (outputs) and 2e-6 (gradients) away from its f64, and 6e-6 for the
//! gradients of the convolutional stem (golden/MANIFEST.json). Ours, which sums in another order, is
//! as near, but for the stem's BatchNorm statistics and gradients (2e-6 and 9e-6 measured). The
//! tolerances leave room for the rounding of other instruction sets.

use crate::device::device;
use crate::golden::{Golden, assert_close, check_digest, formula, set_tensors, tensor};
use burn::tensor::{Gradients, Tensor};
use moco::batch::to_host;
use moco::checkpoint::{self, Meta};
use moco::config::FeatureKind;
use moco::device::Device;
use moco::models::vit::{
    Interpolation, PatchStem, Pool, Positions, VitError, VitInit, patchify, resize_positions,
    unpatchify,
};
use moco::models::{Architecture, Encode, Encoder, MlpSpec, NetworkSpec, Vit, VitConfig};
use moco::nn::{
    Leaf, Linear, Mode, Module, Param, TensorLeaf, count_params, for_each_leaf, for_each_param,
};
use moco::rng::{Purpose, stream};

const TOLERANCE: f64 = 5e-6;
const GRADIENT_TOLERANCE: f64 = 1e-5;
const STEM_GRADIENT_TOLERANCE: f64 = 2e-5;

fn network(config: &VitConfig, device: &Device) -> Vit {
    Vit::new(config, &mut stream(0, Purpose::Weights, 0), device)
}

fn tiny() -> VitConfig {
    VitConfig::of_size([24, 2, 3], 4, [16, 16])
}

/// A network with the weights of a golden file, and the classifier that the file has after it.
fn golden_network(config: &VitConfig, state: &Golden, prefix: &str) -> (Vit, Linear) {
    let mut net = network(config, &device().autodiff());
    set_tensors(&mut net, |name| {
        let name = format!("{prefix}{}", name.replace("fc_norm", "norm"));
        state.names().contains(&name).then(|| state.f32(&name))
    });
    let head = Linear {
        weight: Param::new(state.tensor::<2>(&format!("{prefix}head.weight")).autodiff()),
        bias: Some(Param::new(state.tensor::<1>(&format!("{prefix}head.bias")).autodiff())),
    };
    (net, head)
}

/// Compares the gradient of every parameter.
fn check_gradients(
    (net, head): (&mut Vit, &mut Linear),
    gradients: &Gradients,
    golden: &Golden,
    prefix: &str,
    tolerance: f64,
) {
    let check = |name: String, param: &mut dyn TensorLeaf| {
        let gradient = param.gradient(gradients).unwrap_or_else(|| panic!("no gradient of {name}"));
        assert_close(gradient, golden, &format!("{prefix}{name}"), tolerance);
    };
    for_each_param(net, |name, param| check(name.to_string(), param));
    for_each_param(head, |name, param| check(format!("head.{name}"), param));
}

#[test]
fn names_and_shapes_are_timms() {
    let state = Golden::open("vit_tiny_state");
    let mut names: Vec<String> = vec!["head.weight".into(), "head.bias".into()];
    for_each_param(&mut network(&tiny(), &device()), |name, param| {
        assert_eq!(param.shape(), state.shape(name), "{name}");
        names.push(name.to_string());
    });
    names.sort_unstable();
    let mut expected = state.names();
    expected.sort_unstable();
    assert_eq!(names, expected);
}

#[test]
fn tiny_network_matches_timm() {
    let (state, golden) = (Golden::open("vit_tiny_state"), Golden::open("vit_tiny_expected"));
    let (mut net, mut head) = golden_network(&tiny(), &state, "");
    let x = golden.tensor::<4>("x").autodiff().require_grad();

    let out = head.forward(net.forward(x.clone(), Mode::Train));
    assert_close(out.clone(), &golden, "out", TOLERANCE);
    let gradients = (out * golden.tensor::<2>("cotangent")).sum().backward();
    assert_close(x.grad(&gradients).unwrap(), &golden, "grad_x", GRADIENT_TOLERANCE);
    check_gradients((&mut net, &mut head), &gradients, &golden, "grad.", GRADIENT_TOLERANCE);

    let x = golden.tensor::<4>("x");
    assert_close(net.forward_tokens(x.clone(), Mode::Eval), &golden, "tokens", TOLERANCE);
    let blocks = net.last_blocks(x.clone(), 2, Mode::Eval);
    assert_close(blocks[0].clone(), &golden, "intermediate.0", TOLERANCE);
    assert_close(blocks[1].clone(), &golden, "intermediate.1", TOLERANCE);
    assert_eq!(to_host(net.last_blocks(x, 1, Mode::Eval).remove(0)), to_host(blocks[1].clone()));
}

#[test]
fn last_class_tokens_lie_side_by_side() {
    let golden = Golden::open("vit_tiny_expected");
    let (mut net, _) = golden_network(&tiny(), &Golden::open("vit_tiny_state"), "");
    let features = to_host(net.last_class_tokens(golden.tensor("x"), 2));
    for (image, feature) in features.chunks_exact(48).enumerate() {
        for (block, found) in feature.chunks_exact(24).enumerate() {
            let all = golden.values(&format!("intermediate.{block}"));
            let expected = &all[image * 17 * 24..][..24];
            assert!(crate::golden::difference(found, expected) < TOLERANCE);
        }
    }
}

#[test]
fn pooling_means_match_timm() {
    let (state, golden) = (Golden::open("vit_tiny_state"), Golden::open("vit_tiny_expected"));
    let config = VitConfig { pool: Pool::MeanBeforeNorm, ..tiny() };
    let (mut net, mut head) = golden_network(&config, &state, "");
    let out = head.forward(net.forward(golden.tensor("x"), Mode::Train));
    assert_close(out.clone(), &golden, "avg.out", TOLERANCE);
    let gradients = (out * golden.tensor::<2>("cotangent")).sum().backward();
    check_gradients((&mut net, &mut head), &gradients, &golden, "avg.grad.", GRADIENT_TOLERANCE);

    let (mut net, _) = golden_network(&VitConfig { pool: Pool::Mean, ..tiny() }, &state, "");
    let tokens = golden.tensor::<3>("tokens").narrow(1, 1, 16).mean_dim(1);
    let expected: Vec<f64> = to_host(tokens).into_iter().map(f64::from).collect();
    let found = to_host(net.forward(golden.tensor("x"), Mode::Eval));
    assert!(crate::golden::difference(&found, &expected) < TOLERANCE);
}

#[test]
fn wide_images_match_dino() {
    let (state, golden) = (Golden::open("vit_tiny_state"), Golden::open("vit_tiny_expected"));
    let config = VitConfig { position_nudge: 0.1, ..tiny() };
    let (mut net, mut head) = golden_network(&config, &state, "");
    let out = head.forward(net.forward(golden.tensor("x_wide"), Mode::Train));
    assert_close(out.clone(), &golden, "wide.out", TOLERANCE);
    let gradients = (out * golden.tensor::<2>("cotangent_wide")).sum().backward();
    check_gradients((&mut net, &mut head), &gradients, &golden, "wide.grad.", GRADIENT_TOLERANCE);
}

#[test]
fn interpolated_positions_match_torch() {
    let golden = Golden::open("vit_interpolation");
    for (way, nudge, antialias) in
        [("dino", 0.1, false), ("plain", 0.0, false), ("timm", 0.0, true)]
    {
        let rule = Interpolation { nudge, antialias };
        for to in [[3, 3], [6, 5], [2, 8], [7, 7]] {
            let size = format!("{}x{}", to[0], to[1]);
            let table = golden.tensor::<3>("pos_embed").autodiff().require_grad();
            let patches = resize_positions(table.clone().narrow(1, 1, 16), [4, 4], to, rule);
            let all = Tensor::cat(vec![table.clone().narrow(1, 0, 1), patches], 1);
            assert_close(all.clone(), &golden, &format!("{way}.{size}"), TOLERANCE);
            let cotangent = golden.tensor::<3>(&format!("cotangent.{size}"));
            let gradients = (all * cotangent).sum().backward();
            let name = format!("{way}.grad.{size}");
            assert_close(table.grad(&gradients).unwrap(), &golden, &name, GRADIENT_TOLERANCE);
        }
    }
}

#[test]
fn fixed_positions_match_both_published_orders() {
    let golden = Golden::open("vit_positions");
    let orders = [("moco_v3", Positions::SincosRowFirst), ("mae", Positions::SincosColumnFirst)];
    for (order, positions) in orders {
        for (rows, columns, width) in [(4, 4, 24), (3, 5, 24), (14, 14, 16)] {
            let image = [2 * rows, 2 * columns];
            let config = VitConfig { positions, ..VitConfig::of_size([width, 1, 1], 2, image) };
            let mut seen = false;
            for_each_leaf(&mut network(&config, &device().autodiff()), |name, leaf| {
                if name == "pos_embed" {
                    let Leaf::Buffer(table) = leaf else { panic!("fixed positions are a buffer") };
                    // Computed in f64: nothing but the rounding to f32.
                    assert_close(table.flat(), &golden, &format!("{order}.{rows}x{columns}"), 1e-7);
                    seen = true;
                }
            });
            assert!(seen);
        }
    }
}

#[test]
fn convolutional_stem_matches_torch() {
    let golden = Golden::open("vit_conv_stem");
    let config =
        VitConfig { stem: PatchStem::Conv, ..VitConfig::of_size([32, 1, 4], 16, [48, 48]) };
    let (mut net, mut head) = golden_network(&config, &golden, "state.");
    let x = golden.tensor::<4>("x").autodiff().require_grad();
    let out = head.forward(net.forward(x.clone(), Mode::Train));
    assert_close(out.clone(), &golden, "out", TOLERANCE);
    let gradients = (out * golden.tensor::<2>("cotangent")).sum().backward();
    assert_close(x.grad(&gradients).unwrap(), &golden, "grad_x", STEM_GRADIENT_TOLERANCE);
    let both = (&mut net, &mut head);
    check_gradients(both, &gradients, &golden, "grad.", STEM_GRADIENT_TOLERANCE);
    for_each_leaf(&mut net, |name, leaf| {
        if let Leaf::Buffer(statistic) = leaf {
            assert_close(statistic.flat(), &golden, &format!("after.{name}"), TOLERANCE);
        }
    });
}

/// Parameter number `i` in timm's order (golden/vit.py, `formula_parameter`).
fn formula_parameter(i: u64, name: &str, shape: &[usize]) -> Vec<f32> {
    let count = shape.iter().product();
    if name.ends_with("token") || name.ends_with("pos_embed") {
        return formula(i, count, 0.5, 0.0);
    }
    if shape.len() > 1 {
        let fan_in: usize = shape[1..].iter().product();
        return formula(i, count, (3.0 / fan_in as f64).sqrt(), 0.0);
    }
    formula(i, count, 0.1, if name.ends_with("weight") { 1.0 } else { 0.0 })
}

fn fill(module: &mut dyn Module, prefix: &str, first: u64) -> u64 {
    let mut i = first;
    for_each_param(module, |name, param| {
        let values = formula_parameter(i, &format!("{prefix}{name}"), &param.shape());
        let n = values.len();
        param.set_flat(tensor(values, [n]));
        i += 1;
    });
    i
}

fn check_full_size(golden: &str, name: &str) {
    let golden = Golden::open(golden);
    let config = VitConfig { image: [64, 64], ..VitConfig::named(name).unwrap() };
    let device = device().autodiff();
    let mut net = network(&config, &device);
    let rng = &mut stream(0, Purpose::Weights, 1);
    let mut head = Linear::new(net.features(), 8, rng, &device);
    let count = fill(&mut net, "", 0);
    fill(&mut head, "head.", count);

    let x: Tensor<4> = tensor(formula(20_045, 2 * 64 * 64 * 3, 1.0, 0.0), [2, 64, 64, 3]);
    let tokens = net.forward_tokens(x, Mode::Train);
    check_digest(&to_host(tokens.clone()), &golden.values("tokens"), TOLERANCE, "tokens");
    let width = net.features();
    let out = head.forward(tokens.narrow(1, 0, 1).reshape([2, width]));
    assert_close(out.clone(), &golden, "out", TOLERANCE);

    let gradients = (out * tensor(formula(10_001, 2 * 8, 1.0, 0.0), [2, 8])).sum().backward();
    let check = |name: &str, param: &mut dyn TensorLeaf| {
        let gradient = to_host(param.gradient(&gradients).expect("a gradient"));
        let name = format!("grad.{name}");
        check_digest(&gradient, &golden.values(&name), GRADIENT_TOLERANCE, &name);
    };
    for_each_param(&mut net, check);
    for_each_param(&mut head, |name, param| check(&format!("head.{name}"), param));
}

#[test]
fn full_vit_tiny_matches_timm() {
    check_full_size("vit_ti_digest", "vit-tiny");
}

#[test]
fn full_vit_small_matches_timm_with_6_heads_and_with_12() {
    check_full_size("vit_s_digest", "vit-small");
    check_full_size("vit_s12_digest", "vit-small-moco");
}

#[test]
fn full_vit_base_and_large_match_timm() {
    check_full_size("vit_b_digest", "vit-base");
    check_full_size("vit_l_digest", "vit-large");
}

/// timm's counts with `num_classes=0`. The depth is extrapolated: all blocks are alike.
#[test]
fn parameter_counts_are_the_published_ones() {
    for (name, expected) in [
        ("vit-tiny", 5_524_416),
        ("vit-small", 21_665_664),
        ("vit-small-moco", 21_665_664),
        ("vit-base", 85_798_656),
        ("vit-large", 303_301_632),
        ("vit-huge", 630_764_800),
    ] {
        let config = VitConfig::named(name).unwrap();
        let count = |depth| {
            let config = VitConfig { depth, ..config.clone() };
            count_params(&mut network(&config, &device()))
        };
        let (one, two) = (count(1), count(2));
        assert_eq!(one + (config.depth - 1) * (two - one), expected, "{name}");
    }
    for name in VitConfig::names() {
        VitConfig::named(name).unwrap().check().unwrap();
        let stem = VitConfig::named(name).unwrap().with_conv_stem();
        // A stem of convolutions halves its way to the patch, which 14 pixels are not made for.
        assert_eq!(stem.check().is_ok(), stem.patch.is_power_of_two(), "{name}");
    }
    assert_eq!(VitConfig::named("vit-small").unwrap().with_conv_stem().depth, 11);
}

/// Largest magnitude and standard deviation of every tensor whose name ends with `name`.
fn spread(config: &VitConfig, name: &str) -> (f64, f64) {
    let mut values = Vec::new();
    for_each_leaf(&mut network(config, &device()), |found, leaf| {
        if let (Leaf::Param(tensor) | Leaf::Buffer(tensor), true) = (leaf, found.ends_with(name)) {
            values.extend(to_host(tensor.flat()).into_iter().map(f64::from));
        }
    });
    let largest = values.iter().fold(0f64, |m, v| m.max(v.abs()));
    (largest, (values.iter().map(|v| v * v).sum::<f64>() / values.len() as f64).sqrt())
}

/// Bounds of the uniform draws, deviations of the normal ones.
#[test]
fn weights_start_as_each_method_says() {
    let of = |init| VitConfig { init, ..VitConfig::of_size([64, 2, 4], 4, [32, 32]) };
    let (d, pixels) = (64.0f64, 48.0f64);
    let xavier = |fan_in: f64, fan_out: f64| (6.0 / (fan_in + fan_out)).sqrt();
    let uniform = |init, name: &str, bound: f64| {
        let (largest, _) = spread(&of(init), name);
        // The largest of 3000 and more uniform draws is within 1 % of the bound, with this seed too.
        assert!(largest <= bound && largest > 0.99 * bound, "{init:?} {name}: {largest} {bound}");
    };
    let normal = |init, name: &str, expected: f64, slack: f64| {
        let (_, std) = spread(&of(init), name);
        assert!((std / expected - 1.0).abs() < slack, "{init:?} {name}: {std}");
    };
    for init in [VitInit::MocoV3, VitInit::Mae] {
        uniform(init, "attn.proj.weight", xavier(d, d));
        uniform(init, "mlp.fc1.weight", xavier(d, 4.0 * d));
        uniform(init, "patch_embed.proj.weight", xavier(pixels, d));
    }
    uniform(VitInit::MocoV3, "qkv.weight", xavier(d, d));
    uniform(VitInit::Mae, "qkv.weight", xavier(d, 3.0 * d));
    uniform(VitInit::Normal, "patch_embed.proj.weight", pixels.powf(-0.5));
    // 64 draws for a class token: a deviation of their deviation is 1 / sqrt(128) = 9 %.
    normal(VitInit::MocoV3, "cls_token", 1e-6, 0.3);
    normal(VitInit::Mae, "cls_token", 0.02, 0.3);
    normal(VitInit::Normal, "cls_token", 0.02, 0.3);
    normal(VitInit::Normal, "qkv.weight", 0.02, 0.03);
    normal(VitInit::Normal, "pos_embed", 0.02, 0.05);
    for init in [VitInit::MocoV3, VitInit::Normal, VitInit::Mae] {
        for zero in ["qkv.bias", "attn.proj.bias", "fc1.bias", "fc2.bias", "norm1.bias"] {
            assert_eq!(spread(&of(init), zero).0, 0.0, "{init:?} {zero}");
        }
        assert_eq!(spread(&of(init), "norm2.weight"), (1.0, 1.0));
        let patch_bias = spread(&of(init), "patch_embed.proj.bias").0;
        assert_eq!(patch_bias == 0.0, init == VitInit::MocoV3);
    }
}

#[test]
fn a_frozen_projection_is_a_buffer_and_everything_else_is_trained() {
    let config = VitConfig {
        stem: PatchStem::FrozenLinear,
        positions: Positions::SincosRowFirst,
        init: VitInit::MocoV3,
        ..tiny()
    };
    let mut net = network(&config, &device().autodiff());
    let x = Golden::open("vit_tiny_expected").tensor("x");
    // LayerNorm's outputs sum to the same whatever they are of; their cubes do not.
    let gradients = net.forward(x, Mode::Train).powi_scalar(3).sum().backward();
    let mut buffers = Vec::new();
    for_each_leaf(&mut net, |name, leaf| match leaf {
        Leaf::Param(param) => assert!(param.gradient(&gradients).is_some(), "{name}"),
        Leaf::Buffer(buffer) => {
            assert!(buffer.gradient(&gradients).is_none(), "{name}");
            buffers.push(name.to_string());
        }
        Leaf::Counter(_) => {}
    });
    assert_eq!(buffers, ["pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias"]);
}

#[test]
fn patches_are_cut_row_by_row_with_channels_innermost_and_put_together_again() {
    let x = tensor((0..2 * 4 * 6 * 3).map(|v| v as f32).collect(), [2, 4, 6, 3]);
    let patches = patchify(x.clone(), 2);
    assert_eq!(patches.dims(), [2, 6, 12]);
    // Patch 4 is in row 1, column 1 of the 2x3 grid: pixels (2, 2), (2, 3), (3, 2), (3, 3).
    let fifth = to_host(patches.clone().narrow(0, 0, 1).narrow(1, 4, 1));
    let pixel = |row: usize, column: usize| ((row * 6 + column) * 3) as f32;
    let expected = [pixel(2, 2), pixel(2, 3), pixel(3, 2), pixel(3, 3)];
    let expected: Vec<f32> = expected.iter().flat_map(|p| [*p, p + 1.0, p + 2.0]).collect();
    assert_eq!(fifth, expected);
    assert_eq!(to_host(unpatchify(patches, [2, 3], 2)), to_host(x));
}

#[test]
fn what_cannot_be_built_is_named() {
    let error = |config: VitConfig| config.check().unwrap_err();
    assert_eq!(error(VitConfig { depth: 0, ..tiny() }), VitError::Zero { what: "depth" });
    assert_eq!(error(VitConfig { heads: 5, ..tiny() }), VitError::Heads { heads: 5, width: 24 });
    let positions = Positions::SincosRowFirst;
    let narrow = VitConfig { width: 6, heads: 1, positions, ..tiny() };
    assert_eq!(error(narrow), VitError::SincosWidth { width: 6 });
    let stem = VitConfig { patch: 3, image: [6, 6], stem: PatchStem::Conv, ..tiny() };
    assert_eq!(error(stem), VitError::ConvStem { patch: 3, width: 24 });
    let who = "pool = \"class\"";
    assert_eq!(error(VitConfig { class_token: false, ..tiny() }), VitError::NoClassToken { who });
    assert_eq!(error(VitConfig { drop_path: 1.0, ..tiny() }), VitError::DropPath(1.0));
    let small = VitError::Image { height: 2, width: 16, patch: 4 };
    assert_eq!(tiny().check_image([2, 16]), Err(small.clone()));
    assert_eq!(
        small.to_string(),
        "an image of 2x16 pixels does not split into patches of 4x4; use sides that are multiples \
         of 4, or another patch size"
    );
}

#[test]
fn an_encoder_takes_a_transformer() {
    let vit = VitConfig { class_token: false, pool: Pool::Mean, ..tiny() };
    let network = NetworkSpec { architecture: Architecture::Vit(vit), seed: 3 };
    let head = |features| MlpSpec::plain(vec![features], 8);
    let mut encoder = Encoder::new(&network, head, &device());
    assert_eq!(encoder.width(FeatureKind::Backbone), 24);
    let x: Tensor<4> = Golden::open("vit_tiny_expected").tensor("x");
    let features = encoder.embed(x.clone(), FeatureKind::Backbone, Mode::Eval);
    assert_eq!(features.dims(), [3, 24]);
    assert_eq!(encoder.forward(x, Mode::Train).dims(), [3, 8]);
    let mut names = Vec::new();
    for_each_param(&mut encoder, |name, _| names.push(name.to_string()));
    assert_eq!(names[0], "backbone.pos_embed");
    assert_eq!(names.last().unwrap(), "head.1.bias");
}

#[test]
fn drop_path_goes_on_where_a_checkpoint_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.safetensors");
    let config = VitConfig { drop_path: 0.5, ..tiny() };
    let x: Tensor<4> = Golden::open("vit_tiny_expected").tensor("x");
    let mut net = network(&config, &device());
    net.forward(x.clone(), Mode::Train);
    let meta = Meta { step: 1, epoch_loss: 0.0, config: String::new(), data_fingerprint: 0 };
    checkpoint::save(&path, &mut [("net", &mut net)], &meta).unwrap();
    let expected = to_host(net.forward(x.clone(), Mode::Train));

    let mut resumed = network(&config, &device());
    checkpoint::load(&path, &mut [("net", &mut resumed)], &device()).unwrap();
    assert_eq!(to_host(resumed.forward(x, Mode::Train)), expected);
}

/// What the class token takes of the patches, of itself and of nothing else, is 1.
#[test]
fn the_class_token_looks_at_patches_head_by_head() {
    let x: Tensor<4> = Golden::open("vit_tiny_expected").tensor("x");
    let [n, height, width, _] = x.dims();
    let mut net = network(&tiny(), &device());
    let maps = net.class_attention(x.clone()).expect("a class token");
    let VitConfig { heads, patch, .. } = tiny();
    assert_eq!(maps.dims(), [n, heads, height / patch, width / patch]);
    let maps = to_host(maps);
    assert!(maps.iter().all(|share| *share > 0.0));
    let cells = height / patch * (width / patch);
    for map in maps.chunks(cells) {
        let sum: f32 = map.iter().sum();
        assert!(sum < 1.0, "{sum}");
    }
    // Other patches, other shares; the same ones, the same.
    assert_eq!(maps, to_host(net.class_attention(x.clone()).unwrap()));
    assert_ne!(maps, to_host(net.class_attention(x.neg()).unwrap()));
    let mut without =
        network(&VitConfig { class_token: false, pool: Pool::Mean, ..tiny() }, &device());
    assert!(without.class_attention(Tensor::zeros([1, height, width, 3], &device())).is_none());
}
