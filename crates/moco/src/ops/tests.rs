//! Layers of Vision Transformers by our kernels against their composition of stock operations.

use super::attention;
use super::gelu::{self, Gelu};
use super::{layer_norm, linear};
use crate::batch::to_host;
use crate::device::Device;
use crate::nn::init;
use crate::rng::{Purpose, stream};
use burn::tensor::{Tensor, module};
use moco_kernels::Isa;

/// A layer of flat inputs.
type Function<'a> = &'a dyn Fn(&[Tensor<1>]) -> Tensor<1>;

/// Normal values of the given lengths, each with another seed.
fn draw(lens: &[usize]) -> Vec<Tensor<1>> {
    let draw = |(i, len): (usize, &usize)| {
        init::normal([*len], 1.0, &mut stream(6, Purpose::Weights, i as u64), &Device::flex())
    };
    lens.iter().enumerate().map(draw).collect()
}

/// Output of `layer` and the gradients of all its inputs, for a random cotangent.
fn run(layer: Function<'_>, inputs: &[Tensor<1>]) -> Vec<Vec<f32>> {
    let leaves: Vec<_> = inputs.iter().map(|v| v.clone().autodiff().require_grad()).collect();
    let out = layer(&leaves);
    let mut rng = stream(7, Purpose::Weights, 0);
    let cotangent = init::normal(out.dims(), 1.0, &mut rng, &out.device());
    let gradients = (out.clone() * cotangent).sum().backward();
    let of = |leaf: &Tensor<1>| to_host(leaf.grad(&gradients).expect("a gradient"));
    std::iter::once(to_host(out)).chain(leaves.iter().map(of)).collect()
}

/// Both sum in f32 in their own order: a few roundings of the largest value. The output without
/// autodiff is that with it, bit for bit.
fn check(
    what: &str,
    lens: &[usize],
    fused: &dyn Fn(&[Tensor<1>], Isa) -> Tensor<1>,
    composed: Function<'_>,
) {
    let inputs = draw(lens);
    let expected = run(composed, &inputs);
    for isa in Isa::ALL.into_iter().filter(|isa| isa.is_supported()) {
        let found = run(&|inputs| fused(inputs, isa), &inputs);
        assert_eq!(to_host(fused(&inputs, isa)), found[0], "{what}, {isa:?}: without autodiff");
        for (i, (a, b)) in found.iter().zip(&expected).enumerate() {
            assert_eq!(a.len(), b.len(), "{what}, {isa:?}, value {i}");
            let scale = b.iter().fold(1e-6f32, |m, v| m.max(v.abs()));
            let off = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / scale;
            assert!(off < 5e-6, "{what}, {isa:?}, value {i}: off by {off:.1e}");
        }
    }
}

const BOTH: [Gelu; 2] = [Gelu::Erf, Gelu::Tanh];

#[test]
fn linear_layers_equal_their_composition() {
    for [n, t, inputs, outputs] in [[1, 1, 1, 1], [3, 5, 7, 33], [2, 17, 48, 96], [1, 70, 65, 3]] {
        for biased in [true, false] {
            for kind in [None, Some(Gelu::Erf), Some(Gelu::Tanh)] {
                let parts = |v: &[Tensor<1>]| {
                    let x = v[0].clone().reshape([n, t, inputs]);
                    (x, v[1].clone().reshape([outputs, inputs]), v.get(2).cloned())
                };
                let lens = [n * t * inputs, outputs * inputs, outputs];
                check(
                    &format!("linear {:?}, bias {biased}, {kind:?}", [n, t, inputs, outputs]),
                    &lens[..if biased { 3 } else { 2 }],
                    &|v, isa| {
                        let (x, weight, bias) = parts(v);
                        linear::cpu::linear(x, weight, bias, kind, None, isa).flatten(0, 2)
                    },
                    &|v| {
                        let (x, weight, bias) = parts(v);
                        let y = module::linear(x, weight.transpose(), bias).flatten(0, 2);
                        kind.map_or(y.clone(), |kind| gelu::stock::gelu(y, kind))
                    },
                );
            }
        }
    }
}

#[test]
fn gelu_equals_its_composition() {
    for kind in BOTH {
        for len in [1, 5, 1003] {
            check(
                &format!("{kind:?} of {len}"),
                &[len],
                &|v, isa| gelu::cpu::gelu(v[0].clone(), kind, isa),
                &|v| gelu::stock::gelu(v[0].clone(), kind),
            );
        }
    }
}

#[test]
fn layer_norm_equals_its_composition() {
    for [n, t, c] in [[1, 1, 5], [2, 3, 7], [3, 17, 96], [1, 5, 385]] {
        let x = |v: &[Tensor<1>]| v[0].clone().reshape([n, t, c]);
        check(
            &format!("LayerNorm {:?}", [n, t, c]),
            &[n * t * c, c, c],
            &|v, isa| {
                layer_norm::cpu::layer_norm(x(v), v[1].clone(), v[2].clone(), 1e-6, isa)
                    .flatten(0, 2)
            },
            &|v| module::layer_norm(x(v), v[1].clone(), Some(v[2].clone()), 1e-6).flatten(0, 2),
        );
    }
}

#[test]
fn attention_equals_its_composition() {
    let shapes =
        [[1, 1, 1, 1, 1], [2, 5, 5, 3, 4], [1, 65, 65, 2, 32], [1, 65, 1, 2, 32], [3, 17, 6, 2, 9]];
    for [n, t, queries, heads, d] in shapes {
        let qkv = |v: &[Tensor<1>]| v[0].clone().reshape([n, t, 3 * heads * d]);
        check(
            &format!("attention {:?}", [n, t, queries, heads, d]),
            &[n * t * 3 * heads * d],
            &|v, isa| attention::cpu::attention(qkv(v), heads, queries, isa).flatten(0, 2),
            &|v| attention::stock::attention(qkv(v), heads, queries).flatten(0, 2),
        );
    }
}

/// Views of other tensors: the transpose of what lies in memory, and a part of a row. Outputs are
/// transposed too, so that gradients arrive as views.
#[test]
fn inputs_need_not_be_contiguous() {
    let part = |v: &Tensor<1>| v.clone().reshape([10, 6]).transpose().narrow(1, 2, 5); // [6, 5]
    let flat = |y: Tensor<2>| y.transpose().flatten(0, 1);
    let erf = Gelu::Erf;
    check(
        "linear of views",
        &[6 * 10, 4 * 5],
        &|v, isa| {
            let weight = v[1].clone().reshape([5, 4]).transpose();
            flat(linear::cpu::linear(part(&v[0]), weight, None, None, None, isa))
        },
        &|v| flat(part(&v[0]).matmul(v[1].clone().reshape([5, 4]))),
    );
    check(
        "GELU of a view",
        &[6 * 10],
        &|v, isa| flat(gelu::cpu::gelu(part(&v[0]), erf, isa)),
        &|v| flat(gelu::stock::gelu(part(&v[0]), erf)),
    );
    check(
        "LayerNorm of views",
        &[6 * 10, 5, 5],
        &|v, isa| {
            flat(layer_norm::cpu::layer_norm(part(&v[0]), v[1].clone(), v[2].clone(), 1e-6, isa))
        },
        &|v| flat(module::layer_norm(part(&v[0]), v[1].clone(), Some(v[2].clone()), 1e-6)),
    );
    // Two images of three tokens, two heads of width 2, stored token by token.
    let qkv = |v: &Tensor<1>| v.clone().reshape([12, 3, 2]).swap_dims(0, 2);
    let out = |y: Tensor<3>| y.swap_dims(0, 2).flatten(0, 2);
    check(
        "attention of a view",
        &[2 * 3 * 12],
        &|v, isa| out(attention::cpu::attention(qkv(&v[0]), 2, 3, isa)),
        &|v| out(attention::stock::attention(qkv(&v[0]), 2, 3)),
    );
}

#[test]
fn no_gradient_is_computed_for_constants() {
    let isa = Isa::best();
    let [x, weight, scale, shift]: [Tensor<1>; 4] =
        draw(&[12, 12, 4, 4]).try_into().expect("four tensors");
    let (x, weight) = (x.reshape([3, 4]), weight.reshape([3, 4]).autodiff().require_grad());
    let scale = scale.autodiff().require_grad();
    let y = layer_norm::cpu::layer_norm(x.clone(), scale.clone(), shift.clone(), 1e-6, isa);
    let y = linear::cpu::linear(y, weight.clone(), None, None, None, isa);
    let gradients = y.sum().backward();
    assert!(x.grad(&gradients).is_none() && shift.grad(&gradients).is_none());
    assert!(weight.grad(&gradients).is_some() && scale.grad(&gradients).is_some());
}
