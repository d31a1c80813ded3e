//! InfoNCE against torch and its closed forms.

use crate::device::device;
use crate::golden::{Golden, assert_close, tensor};
use burn::tensor::Tensor;
use moco::batch::to_host;
use moco::loss::{channel_std, info_nce, info_nce_chance, l2_normalize};
use moco::nn::init;
use moco::rng::{Purpose, stream};

/// A matrix product of unit vectors and a softmax in f32: torch's own f32 is within 1e-6.
const TOLERANCE: f64 = 5e-6;

#[test]
fn loss_gradient_and_accuracy_match_torch() {
    let golden = Golden::open("info_nce");
    for (name, temperature) in [("t007", 0.07), ("t020", 0.2)] {
        let q = golden.tensor::<2>("q").autodiff().require_grad();
        let k = l2_normalize(golden.tensor("k"));
        let queue = golden.tensor::<2>("queue").transpose();
        let contrast = info_nce(l2_normalize(q.clone()), k, queue, None, temperature);
        assert_close(contrast.loss.clone(), &golden, &format!("{name}.loss"), TOLERANCE);
        assert_close(contrast.accuracy, &golden, &format!("{name}.top1"), 1e-6);
        let gradients = contrast.loss.backward();
        let gradient = q.grad(&gradients).unwrap();
        assert_close(gradient, &golden, &format!("{name}.grad_q"), TOLERANCE);
    }
}

fn unit_rows(rows: usize, dim: usize, position: u64) -> Tensor<2> {
    let mut rng = stream(7, Purpose::Queue, position);
    l2_normalize(init::normal([rows, dim], 1.0, &mut rng, &device()))
}

/// Unrelated unit vectors. The mean over 256 queries of a loss whose positive term
/// has standard deviation 1/(T sqrt(D)) is within 4 of its standard errors.
#[test]
fn unrelated_vectors_give_the_chance_loss() {
    let (n, dim, queue, t) = (256, 128, 4096, 0.2);
    let contrast =
        info_nce(unit_rows(n, dim, 0), unit_rows(n, dim, 1), unit_rows(queue, dim, 2), None, t);
    let loss = f64::from(to_host(contrast.loss)[0]);
    let standard_error = 1.0 / (t * (dim as f64).sqrt() * (n as f64).sqrt());
    let chance = info_nce_chance(queue, dim, t);
    assert!((loss - chance).abs() < 4.0 * standard_error, "{loss} is not near {chance}");
    assert!((info_nce_chance(65536, 128, 0.07) - 11.89).abs() < 0.01);
    assert!((info_nce_chance(4096, 128, 0.1) - 8.71).abs() < 0.01);
}

/// Aligned positives and orthogonal negatives give `ln(1 + K exp(-1/T))`.
#[test]
fn perfect_keys_give_the_closed_form() {
    let q = tensor(vec![1.0, 0.0, 0.0, 0.0, 1.0, 0.0], [2, 3]);
    let queue = tensor([0.0, 0.0, 1.0].repeat(50), [50, 3]);
    for t in [0.07, 0.2, 1.0] {
        let contrast = info_nce(q.clone(), q.clone(), queue.clone(), None, t);
        let expected = (50.0 * (-1.0 / t).exp()).ln_1p();
        let loss = f64::from(to_host(contrast.loss)[0]);
        // log-softmax in f32 resolves a loss near 0 to one rounding of the largest logit, 1/T.
        assert!((loss - expected).abs() < 2e-7 / t + 1e-6 * expected, "{loss} is not {expected}");
        assert_eq!(to_host(contrast.accuracy), [1.0]);
    }
}

#[test]
fn channel_std_tells_spread_from_collapse() {
    let healthy = f64::from(to_host(channel_std(unit_rows(512, 64, 3)))[0]);
    assert!((healthy - 1.0 / 8.0).abs() < 0.01, "{healthy}");
    let collapsed = unit_rows(1, 64, 4).repeat_dim(0, 512);
    assert!(to_host(channel_std(collapsed))[0] < 1e-6);
}
