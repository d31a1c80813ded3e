//! CPC's context network and heads against lightning-bolts.
//!
//! Its encoder, whose LayerNorm takes the mean over whole maps, is not built here, so the comparison
//! begins behind it: with the features of the first step.

use super::Official;
use crate::device::device;
use crate::golden::{assert_close, set_params};
use burn::tensor::Tensor;
use moco::batch::to_host;
use moco::config::ContextPadding;
use moco::methods::cpc_loss;
use moco::models::Context;
use moco::nn::Linear;
use moco::rng::{Purpose, stream};

/// `[N, C, rows, columns]` as `[N, rows, columns, C]`.
fn map(official: &Official, name: &str) -> Tensor<4> {
    official.tensors.tensor::<4>(name).permute([0, 2, 3, 1])
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
