//! InvaSpread against PyTorch, and its collapse and chance.

use crate::device::device;
use crate::golden::{Golden, assert_close, resnet18_w4, tensor};
use crate::sgd_trajectory::{at, check_final, check_losses, encoder_name, set_initial, view};
use burn::tensor::Tensor;
use moco::batch::{Batch, to_host};
use moco::loss::{invaspread, invaspread_collapse, l2_normalize};
use moco::methods::{InvaSpread, Method};
use moco::methods::{InvaSpreadConfig, InvaSpreadGradient};
use moco::nn::init;
use moco::rng::{Purpose, stream};

/// Softmax and `ln(1 - P)` in f32: torch's own f32 is within 5e-7.
const TOLERANCE: f64 = 5e-6;
const BATCH: usize = 6;

#[test]
fn losses_and_gradients_match_torch() {
    let golden = Golden::open("invaspread_loss");
    for (name, row, weight) in
        [("paper", false, 1.0), ("code", true, 1.0), ("code_neg2", true, 2.0)]
    {
        let raw = golden.tensor::<2>("z").autodiff().require_grad();
        let loss = invaspread(l2_normalize(raw.clone()), 0.1, row, weight).loss;
        assert_close(loss.clone(), &golden, &format!("{name}.loss"), TOLERANCE);
        let gradient = raw.grad(&loss.backward()).unwrap();
        assert_close(gradient, &golden, &format!("{name}.grad_z"), TOLERANCE);
    }
}

/// One image has no negatives and a certain positive. The reference gives no number.
#[test]
fn one_image_has_no_loss_and_no_gradient() {
    for row in [false, true] {
        let raw = tensor(vec![0.3, 0.8, -0.5, 0.1, 0.9, 0.4], [2, 3]).autodiff().require_grad();
        let loss = invaspread(l2_normalize(raw.clone()), 0.1, row, 1.0).loss;
        assert_eq!(to_host(loss.clone()), [0.0]);
        assert_eq!(to_host(raw.grad(&loss.backward()).unwrap()), [0.0; 6]);
    }
    assert_eq!(invaspread_collapse(1, 1.0), 0.0);
}

/// Views that coincide with those of another image, and are far from their own partner: `1 - P`
/// is 0 in f32, and neither loss nor gradient may be infinite.
#[test]
fn coinciding_views_of_different_images_stay_finite() {
    let rows = vec![1.0, 0.0, 1.0, 0.0, -1.0, 0.0, -1.0, 0.0];
    let raw = tensor(rows, [4, 2]).autodiff().require_grad();
    let loss = invaspread(raw.clone(), 0.01, false, 1.0).loss;
    let gradient = to_host(raw.grad(&loss.backward()).unwrap());
    let loss = to_host(loss)[0];
    assert!(loss.is_finite() && loss > 100.0, "{loss}");
    assert!(gradient.iter().all(|g| g.is_finite()), "{gradient:?}");
}

#[test]
fn identical_views_give_the_collapse_loss() {
    for weight in [1.0, 2.5] {
        let z = tensor([0.6, 0.8].repeat(16), [16, 2]);
        let loss = f64::from(to_host(invaspread(z, 0.1, true, weight).loss)[0]);
        let expected = invaspread_collapse(8, weight);
        assert!((loss - expected).abs() < 1e-5, "{loss} is not {expected}");
    }
}

/// The mean over 512 rows of a loss whose positive has standard deviation 1/(T sqrt(D)) is within
/// 4 of its standard errors of the chance loss.
#[test]
fn unrelated_vectors_give_the_chance_loss() {
    let (batch, dim) = (256, 128);
    let mut rng = stream(2, Purpose::Queue, 0);
    let z = l2_normalize(init::normal([2 * batch, dim], 1.0, &mut rng, &device()));
    let loss = f64::from(to_host(invaspread(z, 0.1, true, 1.0).loss)[0]);
    let config = InvaSpreadConfig { dim, ..config(InvaSpreadGradient::Row) };
    let method = InvaSpread::new(&config, &resnet18_w4(1), batch, &device());
    let chance = method.expectation().chance;
    let standard_error = 1.0 / (0.1 * (dim as f64).sqrt() * (2.0 * batch as f64).sqrt());
    assert!((loss - chance).abs() < 4.0 * standard_error, "{loss} is not near {chance}");
}

fn config(gradient: InvaSpreadGradient) -> InvaSpreadConfig {
    InvaSpreadConfig { dim: 16, temperature: 0.1, gradient, negative_weight: 1.0 }
}

fn golden_method(golden: &Golden, gradient: InvaSpreadGradient) -> InvaSpread {
    let mut method = InvaSpread::new(&config(gradient), &resnet18_w4(1), BATCH, &device());
    set_initial(method.student(), golden, encoder_name);
    method
}

fn batch(golden: &Golden, step: usize) -> Batch {
    let views: Vec<Tensor<4>> = ["view1", "view2"].map(|name| view(golden, name, step)).into();
    Batch { indices: (0..BATCH).collect(), views }
}

#[test]
fn trajectories_match_torch() {
    let golden = Golden::open("invaspread_trajectory");
    for (kind, gradient) in [("paper", InvaSpreadGradient::Both), ("code", InvaSpreadGradient::Row)]
    {
        let mut method = golden_method(&golden, gradient);
        check_losses(&mut method, &golden, kind, 5e-4, |method, step| {
            method.loss(&batch(&golden, step), &at(step))
        });
        check_final(method.student(), &golden, kind, encoder_name);
    }
}
