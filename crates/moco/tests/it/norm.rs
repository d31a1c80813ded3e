//! BatchNorm against torch: whole batches and interleaved groups.
//!
//! One layer of f32 arithmetic; torch's own f32 is within 1e-6 of its f64: tolerance 5e-6.

use crate::device::device;
use crate::golden::{Golden, assert_close};
use burn::tensor::Tensor;
use moco::batch::to_host;
use moco::nn::{BatchNorm, Buffer, Mode, Param};

const TOLERANCE: f64 = 5e-6;

fn layer(golden: &Golden, groups: usize) -> BatchNorm {
    let device = device().autodiff();
    let mut norm = BatchNorm::new(5, groups, &device);
    norm.weight = Param::new(golden.tensor::<1>("gamma").autodiff());
    norm.bias = Param::new(golden.tensor::<1>("beta").autodiff());
    norm.running_mean = Buffer::new(golden.tensor("running_mean"));
    norm.running_var = Buffer::new(golden.tensor("running_var"));
    norm
}

fn nchw(x: Tensor<4>) -> Tensor<4> {
    x.permute([0, 3, 1, 2])
}

fn nhwc(x: Tensor<4>) -> Tensor<4> {
    x.permute([0, 2, 3, 1])
}

fn check(groups: usize) {
    use moco::nn::TensorLeaf;
    let golden = Golden::open("split_bn");
    let name = |what: &str| format!("groups{groups}.{what}");
    let mut norm = layer(&golden, groups);
    let x = golden.tensor::<4>("x").autodiff().require_grad();

    let out = norm.forward_nchw(nchw(x.clone()), Mode::Train);
    assert_close(nhwc(out.clone()), &golden, &name("out"), TOLERANCE);
    let gradients = (out * nchw(golden.tensor("cotangent"))).sum().backward();
    assert_close(x.grad(&gradients).unwrap(), &golden, &name("grad_x"), TOLERANCE);
    let grad = |param: &Param<1>| param.gradient(&gradients).unwrap();
    assert_close(grad(&norm.weight), &golden, &name("grad_gamma"), TOLERANCE);
    assert_close(grad(&norm.bias), &golden, &name("grad_beta"), TOLERANCE);
    assert_close(norm.running_mean.val(), &golden, &name("running_mean"), TOLERANCE);
    assert_close(norm.running_var.val(), &golden, &name("running_var"), TOLERANCE);

    let eval = norm.forward_nchw(nchw(golden.tensor("x")), Mode::Eval);
    assert_close(nhwc(eval), &golden, &name("eval_out"), TOLERANCE);
}

#[test]
fn whole_batch_matches_torch() {
    check(1);
}

#[test]
fn split_groups_match_torch() {
    check(4);
}

/// METHODS test (f): split BatchNorm in g groups equals g BatchNorms over `x[i::g]`.
#[test]
fn groups_equal_separate_batch_norms() {
    let golden = Golden::open("split_bn");
    let x: Tensor<4> = nchw(golden.tensor("x"));
    let together = to_host(layer(&golden, 4).forward_nchw(x.clone(), Mode::Train));
    let per_sample = together.len() / 16;
    for group in 0..4i32 {
        let rows: Vec<i32> = (0..4).map(|i| 4 * i + group).collect();
        let index = Tensor::from_data(rows.as_slice(), &device());
        let alone =
            to_host(layer(&golden, 1).forward_nchw(x.clone().select(0, index), Mode::Train));
        for (i, row) in rows.iter().enumerate() {
            let own = &together[*row as usize * per_sample..][..per_sample];
            let off = own.iter().zip(&alone[i * per_sample..]).map(|(a, b)| (a - b).abs());
            assert!(off.fold(0.0, f32::max) < 1e-5, "group {group}, sample {row}");
        }
    }
}

#[test]
fn evaluation_changes_nothing() {
    let golden = Golden::open("split_bn");
    let mut norm = layer(&golden, 4);
    norm.forward_nchw(nchw(golden.tensor("x")), Mode::Eval);
    assert_close(norm.running_mean.val(), &golden, "running_mean", 0.0);
    assert_close(norm.running_var.val(), &golden, "running_var", 0.0);
}
