//! Stochastic depth against timm, with the draws of a golden file; the rest of the network is
//! compared in the integration tests.

use super::*;
use crate::batch::to_host;
use crate::nn::{Leaf, for_each_leaf, for_each_param};
use crate::ops::linear::linear;
use crate::rng::{Purpose, stream};
use burn::tensor::TensorData;
use safetensors::SafeTensors;

/// torch's own f32 is up to 3e-7 (output) and 7e-7 (gradients) away from its f64
/// (golden/MANIFEST.json); ours sums in another order.
const TOLERANCE: f32 = 5e-6;

const DEPTH: usize = 3;

struct Golden(Vec<u8>);

impl Golden {
    fn open() -> Self {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../golden/vectors");
        Self(std::fs::read(format!("{root}/vit_drop_path.safetensors")).unwrap())
    }

    fn bytes(&self, name: &str) -> Vec<[u8; 4]> {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        file.tensor(name).unwrap().data().as_chunks().0.to_vec()
    }

    fn values(&self, name: &str) -> Vec<f32> {
        self.bytes(name).into_iter().map(f32::from_le_bytes).collect()
    }

    fn tensor<const D: usize>(&self, name: &str, shape: [usize; D]) -> Tensor<D> {
        Tensor::from_data(TensorData::new(self.values(name), shape), &Device::flex())
    }

    /// What each branch of each sample is multiplied by, `[block][branch][sample]`.
    fn scales(&self) -> Vec<f32> {
        let low_words = self.bytes("keep").into_iter().step_by(2).map(u32::from_le_bytes);
        let rate = |i: usize| block_rate(0.3, i / 10, DEPTH);
        low_words.enumerate().map(|(i, keep)| (f64::from(keep) / (1.0 - rate(i))) as f32).collect()
    }
}

fn assert_close(found: Vec<f32>, expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(1e-30f32, |m, v| m.max(v.abs()));
    let off = found.iter().zip(expected).map(|(f, e)| (f - e).abs()).fold(0.0, f32::max) / scale;
    assert!(off < TOLERANCE, "{what}: off by {off:.1e}");
}

#[test]
fn dropped_branches_give_timms_output_and_gradients() {
    let golden = Golden::open();
    let config = VitConfig::of_size([16, DEPTH, 2], 4, [8, 8]);
    let device = Device::flex().autodiff();
    let mut net = Vit::new(&config, &mut stream(0, Purpose::Weights, 0), &device);
    for_each_leaf(&mut net, |name, leaf| {
        if let Leaf::Param(param) = leaf {
            let values = golden.values(&format!("state.{name}"));
            param.set_flat(Tensor::from_data(values.as_slice(), &device.clone().inner()));
        }
    });

    let scales = golden.scales();
    let mut branches = scales.chunks(5);
    let patches = net.embed(golden.tensor("x", [5, 8, 8, 3]), Mode::Train);
    let scaled = |_, branch: Tensor<3>| {
        let scale = TensorData::new(branches.next().unwrap().to_vec(), [5, 1, 1]);
        branch * Tensor::<3>::from_data(scale, &Device::flex())
    };
    let tokens = net.norm.forward(net.run_blocks(patches, Read::ClassToken, scaled, |_, _| ()));
    let weight = golden.tensor("state.head.weight", [8, 16]);
    let out = linear(class_token(tokens), weight, Some(golden.tensor("state.head.bias", [8])));
    let gradients = (out.clone() * golden.tensor("cotangent", [5, 8])).sum().backward();

    assert_close(to_host(out), &golden.values("out"), "out");
    for_each_param(&mut net, |name, param| {
        let gradient = param.gradient(&gradients).expect("a gradient for every parameter");
        assert_close(to_host(gradient), &golden.values(&format!("grad.{name}")), name);
    });
}

#[test]
fn training_drops_and_evaluation_does_not() {
    let config = VitConfig { drop_path: 0.5, ..VitConfig::of_size([16, DEPTH, 2], 4, [8, 8]) };
    let device = Device::flex();
    let rng = &mut stream(1, Purpose::Weights, 0);
    let mut net = Vit::new(&config, rng, &device);
    let x = crate::nn::init::normal([8, 8, 8, 3], 1.0, rng, &device);
    let mut run = |mode| to_host(net.forward(x.clone(), mode));
    let still = run(Mode::Eval);
    assert_eq!(run(Mode::Eval), still);
    let dropped = run(Mode::Train);
    assert_ne!(dropped, still);
    assert_ne!(run(Mode::Train), dropped, "the next pass draws anew");
}

#[test]
fn the_class_token_alone_is_the_one_among_all_tokens() {
    let config = VitConfig::of_size([16, DEPTH, 2], 4, [8, 8]);
    let rng = &mut stream(2, Purpose::Weights, 0);
    let mut net = Vit::new(&config, rng, &Device::flex());
    let x = crate::nn::init::normal([3, 8, 8, 3], 1.0, rng, &Device::flex());
    let all = to_host(class_token(net.forward_tokens(x.clone(), Mode::Eval)));
    assert_close(to_host(net.forward(x, Mode::Eval)), &all, "class token");
}
