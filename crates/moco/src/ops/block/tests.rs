//! A block as one operation against its layers.

use super::*;
use crate::batch::to_host;
use crate::nn::init;
use crate::ops::batch_norm::OfBatch;
use crate::rng::{Purpose, stream};
use burn::tensor::Device;
use moco_kernels::Isa;

/// Kernel, inputs, outputs and stride.
type Sizes = [usize; 4];

fn layer([kernel, inputs, outputs, stride]: Sizes, groups: usize, seed: u64) -> Layer {
    let device = Device::flex().autodiff();
    let rng = &mut stream(8, Purpose::Weights, seed);
    let shape = [outputs, inputs, kernel, kernel];
    let weight = init::kaiming_normal_fan_out(shape, rng, &device).require_grad();
    let scale = init::normal([outputs], 0.3, rng, &device).require_grad();
    let shift = init::normal([outputs], 0.3, rng, &device).require_grad();
    let norm = ByBatch { scale, shift, groups, shared: None, epsilon: 1e-5, running: None };
    Layer { filter: Filter { weight, stride, frozen: None }, norm }
}

/// Output, statistics, gradients of x and of all parameters.
fn run(x: &Tensor<4>, layers: Vec<Layer>, projection: Option<Layer>, fused: bool) -> Vec<Vec<f32>> {
    let x = x.clone().require_grad();
    let all: Vec<Layer> = layers.iter().chain(&projection).cloned().collect();
    let (out, statistics) = match fused {
        true => cpu::residual_block(x.clone(), layers, projection, Isa::best()),
        false => stock::residual_block(x.clone(), layers, projection),
    };
    let rng = &mut stream(9, Purpose::Weights, 0);
    let cotangent = init::normal(out.dims(), 1.0, rng, &out.device());
    let gradients = (out.clone() * cotangent).sum().backward();
    let mut values = vec![to_host(out), to_host(x.grad(&gradients).expect("a gradient of x"))];
    for OfBatch { mean, variance, count } in statistics.into_iter().map(Statistics::of_batch) {
        values.extend([to_host(mean), to_host(variance), vec![count as f32]]);
    }
    for Layer { filter, norm } in &all {
        values.push(to_host(filter.weight.grad(&gradients).expect("of the weight")));
        for vector in [&norm.scale, &norm.shift] {
            values.push(to_host(vector.grad(&gradients).expect("of scale and shift")));
        }
    }
    values
}

/// The kernels of the block are those of its layers, in the same order.
#[test]
fn a_block_is_its_layers_bit_for_bit() {
    let cases: [(&[Sizes], Option<Sizes>); 4] = [
        (&[[3, 8, 8, 1], [3, 8, 8, 1]], None),
        (&[[3, 8, 16, 2], [3, 16, 16, 1]], Some([1, 8, 16, 2])),
        (&[[1, 8, 5, 1], [3, 5, 5, 1], [1, 5, 8, 1]], None),
        (&[[1, 8, 5, 1], [3, 5, 5, 2], [1, 5, 20, 1]], Some([1, 8, 20, 2])),
    ];
    if Engine::of(&Device::flex()) == Engine::Stock {
        return; // the layers would not be the kernels'
    }
    let rng = &mut stream(10, Purpose::Weights, 0);
    for (sizes, projection) in cases {
        for groups in [1, 3] {
            let x = init::normal([6, 7, 7, 8], 1.0, rng, &Device::flex().autodiff());
            let run = |fused| {
                let of = |(i, &sizes): (usize, &Sizes)| layer(sizes, groups, i as u64);
                let layers = sizes.iter().enumerate().map(of).collect();
                run(&x, layers, projection.map(|sizes| layer(sizes, groups, 9)), fused)
            };
            for (i, (fused, expected)) in run(true).iter().zip(&run(false)).enumerate() {
                assert!(fused == expected, "value {i} of {sizes:?}, {groups} groups");
            }
        }
    }
}
