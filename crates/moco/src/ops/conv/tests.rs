//! Kernels against the composition, with all gradients.

use super::*;
use crate::batch::to_host;
use crate::nn::init;
use crate::rng::{Purpose, stream};
use burn::tensor::Device;
use moco_kernels::Isa;

/// A layer and its input, drawn from a seed; all are leaves.
struct Case {
    x: Tensor<4>,
    skip: Tensor<4>,
    cotangent: Tensor<4>,
    weight: Tensor<4>,
    norm: ByBatch,
    stride: usize,
}

/// Sizes of a case: batch, input side, channels in and out, kernel, stride, groups.
type Sizes = [usize; 7];

const SIZES: [Sizes; 7] = [
    [8, 12, 3, 5, 3, 1, 1],
    [8, 12, 16, 16, 3, 1, 4],
    [4, 9, 8, 24, 3, 2, 2],
    [4, 7, 24, 8, 1, 1, 1],
    [6, 7, 8, 16, 1, 2, 3],
    [2, 15, 3, 8, 7, 2, 1],
    [24, 1, 40, 33, 3, 1, 2],
];

fn case(seed: u64, [n, side, cin, cout, kernel, stride, groups]: Sizes) -> Case {
    let device = Device::flex().autodiff();
    let rng = &mut stream(seed, Purpose::Weights, 0);
    let out = side.div_ceil(stride);
    let x = init::normal([n, side, side, cin], 1.0, rng, &device).require_grad();
    let skip = init::normal([n, out, out, cout], 1.0, rng, &device).require_grad();
    let cotangent = init::normal([n, out, out, cout], 1.0, rng, &device);
    let shape = [cout, cin, kernel, kernel];
    let weight = init::kaiming_normal_fan_out(shape, rng, &device).require_grad();
    let scale = (init::normal([cout], 0.3, rng, &device) + 1.0).detach().require_grad();
    let shift = init::normal([cout], 0.3, rng, &device).require_grad();
    let norm = ByBatch { scale, shift, groups, shared: None, epsilon: 1e-5, running: None };
    Case { x, skip, cotangent, weight, norm, stride }
}

impl Case {
    fn filter(&self) -> Filter {
        Filter { weight: self.weight.clone(), stride: self.stride, frozen: None }
    }

    /// Gradients of x, skip, weight, scale and shift; nothing for what has none.
    fn gradients(&self, out: Tensor<4>) -> [Vec<f32>; 5] {
        let gradients = (out * self.cotangent.clone()).sum().backward();
        [
            self.x.grad(&gradients).map(to_host),
            self.skip.grad(&gradients).map(to_host),
            self.weight.grad(&gradients).map(to_host),
            self.norm.scale.grad(&gradients).map(to_host),
            self.norm.shift.grad(&gradients).map(to_host),
        ]
        .map(Option::unwrap_or_default)
    }
}

/// Output, statistics, and gradients of x, skip, weight, scale and shift.
fn run(case: &Case, then: impl Fn(Tensor<4>) -> Epilogue, isa: Option<Isa>) -> Vec<Vec<f32>> {
    let (x, filter, norm) = (case.x.clone(), case.filter(), case.norm.clone());
    let then = then(case.skip.clone());
    let (out, statistics) = match isa {
        Some(isa) => cpu::by_batch(x, filter, norm, then, isa),
        None => stock::by_batch(x, filter, norm, then),
    };
    let [n, h, w, _] = out.dims();
    let statistics = statistics.of_batch();
    assert_eq!(statistics.count, n / case.norm.groups * h * w);
    let mut all =
        vec![to_host(out.clone()), to_host(statistics.mean), to_host(statistics.variance)];
    all.extend(case.gradients(out));
    all
}

/// Two f32 computations of one layer, in different orders and one with Winograd, differ by a few
/// roundings of its largest value. A ReLU mask may flip where its input is within rounding of
/// zero; the seeds are ones where none does.
fn assert_equal(fused: &[Vec<f32>], composed: &[Vec<f32>], what: &str) {
    for (i, (a, b)) in fused.iter().zip(composed).enumerate() {
        assert_eq!(a.len(), b.len(), "{what}, output {i}");
        let scale = b.iter().fold(1e-6f32, |m, v| m.max(v.abs()));
        let off = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / scale;
        assert!(off < 2e-5, "{what}, output {i}: off by {off:.1e}");
    }
}

#[test]
fn kernels_equal_the_composition_with_all_gradients() {
    for sizes in SIZES {
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_supported()) {
            let both = |then: fn(Tensor<4>) -> Epilogue, what: &str| {
                let fused = run(&case(1, sizes), then, Some(isa));
                let composed = run(&case(1, sizes), then, None);
                assert_equal(&fused, &composed, &format!("{sizes:?}, {isa:?}, {what}"));
            };
            both(|_| Epilogue::Nothing, "nothing");
            both(|_| Epilogue::Relu, "relu");
            both(Epilogue::AddRelu, "add, relu");
        }
    }
}

/// A leaf of the same values that lies in memory in another order.
fn scattered<const D: usize>(x: &Tensor<D>) -> Tensor<D> {
    let stored = x.clone().swap_dims(0, 1).into_data();
    Tensor::from_data(stored, &x.device()).swap_dims(0, 1).require_grad()
}

/// What computes on CubeCL's GPUs, here on the CPU: outputs and gradients of input and weight.
#[test]
fn a_product_of_patches_is_the_convolution() {
    for sizes in SIZES {
        let case = case(5, sizes);
        let of = |out: Tensor<4>| {
            let [x, _, weight, ..] = case.gradients(out.clone());
            assert!(!x.is_empty() && !weight.is_empty());
            [to_host(out), x, weight]
        };
        let direct = stock::with_bias(case.x.clone(), case.filter(), None, Epilogue::Nothing);
        let product = patches::conv(case.x.clone(), case.filter());
        assert_eq!(product.dims(), direct.dims());
        assert_equal(&of(product), &of(direct), &format!("{sizes:?}"));
    }
}

#[test]
fn inputs_need_not_be_contiguous() {
    let isa = Some(Isa::best());
    for sizes in SIZES {
        let Case { x, skip, cotangent, weight, norm, stride } = case(1, sizes);
        let [x, skip, cotangent, weight] =
            [x, skip, cotangent, weight].map(|part| scattered(&part));
        let views = Case { x, skip, cotangent, weight, norm, stride };
        let found = run(&views, Epilogue::AddRelu, isa);
        assert!(found == run(&case(1, sizes), Epilogue::AddRelu, isa), "{sizes:?}");
    }
}

#[test]
fn evaluation_equals_the_composition() {
    for sizes in SIZES {
        let case = case(2, sizes);
        let [scale, shift] = [&case.norm.scale, &case.norm.shift].map(|v| v.clone().inner());
        // Any other statistics.
        let (mean, variance) = (scale.clone(), scale.clone().square());
        let norm = || ByRunning {
            scale: scale.clone(),
            shift: shift.clone(),
            mean: mean.clone(),
            variance: variance.clone(),
            epsilon: 1e-5,
        };
        let (x, skip) = (case.x.clone().inner(), case.skip.clone().inner());
        let filter = || Filter { weight: case.weight.clone().inner(), ..case.filter() };
        for then in [Epilogue::AddRelu(skip), Epilogue::ReluMaxPool] {
            let what = format!("{sizes:?}, {then:?}");
            let what = what.split('(').next().unwrap();
            let fused =
                cpu_eval::by_running(x.clone(), filter(), norm(), then.clone(), Isa::best());
            let composed = stock::by_running(x.clone(), filter(), norm(), then);
            assert_eq!(fused.dims(), composed.dims());
            assert_equal(&[to_host(fused)], &[to_host(composed)], what);
        }
    }
}

#[test]
fn layers_without_batch_norm_equal_their_composition() {
    for sizes in SIZES {
        let case = case(3, sizes);
        let bias = || Some(case.norm.shift.clone());
        let then = || Epilogue::AddRelu(case.skip.clone());
        let composed = stock::with_bias(case.x.clone(), case.filter(), bias(), then());
        let fused = cpu::with_bias(case.x.clone(), case.filter(), bias(), then(), Isa::best());
        let of = |out: Tensor<4>| {
            let [x, skip, weight, none, shift] = case.gradients(out.clone());
            assert!(none.is_empty() && !x.is_empty() && !shift.is_empty());
            [to_host(out), x, skip, weight, shift]
        };
        assert_equal(&of(fused), &of(composed), &format!("{sizes:?}"));
    }
}

/// A pool behind a layer in training is an operation of its own; its statistics are the layer's.
#[test]
fn a_pool_follows_the_layer() {
    let case = case(4, SIZES[1]);
    let run = |then| conv_bn_by_batch(case.x.clone(), case.filter(), case.norm.clone(), then);
    let (pooled, of_pooled) = run(Epilogue::ReluMaxPool);
    let (whole, statistics) = run(Epilogue::Relu);
    assert_eq!(to_host(pooled), to_host(max_pool(whole)));
    assert_eq!(of_pooled.of_batch().count, statistics.of_batch().count);
}

#[test]
fn no_gradient_is_computed_for_a_constant_input() {
    let case = case(3, SIZES[1]);
    let x = case.x.clone().without_autodiff();
    let then = Epilogue::AddRelu(case.skip.clone().without_autodiff());
    let (out, _) = cpu::by_batch(x.clone(), case.filter(), case.norm.clone(), then, Isa::best());
    let gradients = (out * case.cotangent).sum().backward();
    assert!(x.grad(&gradients).is_none());
    assert!(case.weight.grad(&gradients).is_some());
}
