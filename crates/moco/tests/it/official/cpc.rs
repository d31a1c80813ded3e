//! CPC's encoder, context network and heads against lightning-bolts, at the first step.
//!
//! The encoder of the file has a widening of its own in each stage, which no network here has, so it is
//! put together of our layers.

use super::Official;
use crate::device::device;
use crate::golden::{assert_close, set_params};
use burn::tensor::Tensor;
use moco::batch::to_host;
use moco::methods::cpc_loss;
use moco::models::{Context, ContextPadding};
use moco::nn::{Conv, ConvNorm, Linear, MapNorm, Mode, Param, conv_norm_act, residual};
use moco::ops::Epilogue;
use moco::ops::pool::global_average_pool;
use moco::rng::{Purpose, stream};

/// `[N, C, rows, columns]` as `[N, rows, columns, C]`.
fn map(official: &Official, name: &str) -> Tensor<4> {
    official.tensors.tensor::<4>(name).permute([0, 2, 3, 1])
}

fn conv(official: &Official, name: &str, stride: usize) -> Conv {
    Conv::of_weight(official.tensors.tensor(&format!("initial.encoder.{name}.weight")), stride)
}

/// A LayerNorm over whole maps.
fn norm(official: &Official, name: &str) -> ConvNorm {
    let values = |what| official.tensors.tensor::<3>(&format!("initial.encoder.{name}.{what}"));
    ConvNorm::Map(MapNorm {
        weight: Param::new(values("weight")),
        bias: Param::new(values("bias")),
    })
}

/// A residual block; the first of a stage has a projection.
fn block(official: &Official, x: Tensor<4>, name: &str, stride: usize) -> Tensor<4> {
    let part = |i: usize| (format!("{name}.conv{i}"), format!("{name}.ln{i}"));
    let mut layers = [1, 2, 3].map(|i| {
        let (at_conv, at_norm) = part(i);
        (conv(official, &at_conv, if i == 2 { stride } else { 1 }), norm(official, &at_norm))
    });
    let mut projection = name.ends_with(".0").then(|| {
        let at = |i| format!("{name}.downsample.{i}");
        (conv(official, &at(0), stride), norm(official, &at(1)))
    });
    let layers = layers.iter_mut().map(|(conv, norm)| (&*conv, norm)).collect();
    let projection = projection.as_mut().map(|(conv, norm)| (&*conv, norm));
    residual(x, layers, projection, Mode::Train)
}

/// Patches to features, through seven LayerNorms over whole maps and more of single values.
#[test]
fn the_encoder_is_the_published_one() {
    let official = Official::open("cpc_bolts");
    let patches = official.tensors.f32("first.patches");
    let patches: Tensor<4> = crate::golden::tensor(patches, [3 * 16, 3, 8, 8]);
    let (stem, mut first) = (conv(&official, "conv1", 2), norm(&official, "ln1"));
    let x = patches.permute([0, 2, 3, 1]);
    let x = conv_norm_act(x, &stem, &mut first, Epilogue::ReluMaxPool, Mode::Train);
    let blocks =
        [("layer1.0", 1), ("layer2.0", 2), ("layer3.0", 2), ("layer3.1", 1), ("layer4.0", 2)];
    let x = blocks.into_iter().fold(x, |x, (name, stride)| block(&official, x, name, stride));
    let z = global_average_pool(x); // [48, 16], patch after patch
    let z = z.reshape([3, 4, 4, 16]).permute([0, 3, 1, 2]);
    assert_close(z, &official.tensors, "first.z", 5e-6);
}

/// A 1x1 convolution of the published heads as a linear layer.
fn head(official: &Official, name: &str) -> Linear {
    let values =
        |what: &str| official.tensors.f32(&format!("initial.contrastive_task.{name}.{what}"));
    let mut layer = Linear::new(16, 12, &mut stream(0, Purpose::Weights, 0), &device());
    set_params(&mut layer, values);
    layer
}

/// Targets and predictions are two heads behind the full-width features; predictions are scaled by
/// 0.1, and the row after the next is the first that is predicted. Its last row has no places left,
/// which gives no number there.
#[test]
fn context_and_losses_are_the_published_ones() {
    let official = Official::open("cpc_bolts");
    let rng = &mut stream(0, Purpose::Weights, 0);
    let mut context = Context::new(16, 8, 2, ContextPadding::Bolts, rng, &device());
    set_params(&mut context, |name| {
        // `blocks.1.conv3.weight` is `blocks.1.4.weight`: the ReLUs and the padding count.
        let name = (1..=4).fold(name.to_owned(), |name, i| {
            name.replace(&format!(".conv{i}."), &format!(".{}.", 2 * (i - 1)))
        });
        official.tensors.f32(&format!("initial.contrastive_task.context_cnn.{name}"))
    });
    let z = map(&official, "first.z");
    let c = context.forward(z.clone());
    let nchw = c.clone().permute([0, 3, 1, 2]);
    assert_close(nchw, &official.tensors, "first.context", 3e-6);

    let targets = head(&official, "target_cnn").forward(z);
    let predicted = head(&official, "pred_cnn").forward(c) * 0.1;
    let expected = official.tensors.values("first.loss_by_i");
    let counted = official.tensors.values("first.times_counted");
    let mut whole = 0.0;
    for (i, (expected, times)) in expected.iter().zip(counted).enumerate().take(2) {
        let loss = f64::from(to_host(cpc_loss(predicted.clone(), &targets, i + 2))[0]);
        assert!((loss - expected).abs() < 3e-6 * expected, "row {i}: {loss} is not {expected}");
        whole += times * loss;
    }
    let published = official.tensors.values("loss")[0];
    assert!((whole - published).abs() < 3e-6 * published, "{whole} is not {published}");
}
