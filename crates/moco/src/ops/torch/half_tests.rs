//! LibTorch's nodes in 16 bits against PyTorch's own autocast (`golden/half.py`).

use crate::batch::to_host;
use crate::device::{Arithmetic, Device, parse};
use crate::nn::{BatchNorm, Conv, ConvNorm, Mode, Param, TensorLeaf, conv_norm_act};
use crate::ops::Epilogue;
use crate::ops::attention::attention;
use crate::ops::gelu::Gelu;
use crate::ops::layer_norm::layer_norm;
use crate::ops::linear::{linear, linear_gelu};
use crate::ops::pool::global_average_pool;
use crate::rng::{Purpose, stream};
use burn::tensor::{DType, Tensor, TensorData};
use safetensors::SafeTensors;
use std::collections::BTreeMap;

/// The tensors of one network of the golden file, by name.
struct Golden {
    network: &'static str,
    tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    device: Device,
}

impl Golden {
    fn open(network: &'static str) -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../golden/half.safetensors");
        let bytes = std::fs::read(path).expect("the golden file");
        let file = SafeTensors::deserialize(&bytes).expect("a golden file is valid safetensors");
        let floats =
            file.tensors().into_iter().filter(|(_, t)| t.dtype() == safetensors::Dtype::F32);
        let read = |(name, t): (String, safetensors::tensor::TensorView<'_>)| {
            let values = t.data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
            (name, (t.shape().to_vec(), values))
        };
        let device = parse("libtorch-cpu").expect("this build has it").autodiff();
        Self { network, tensors: floats.map(read).collect(), device }
    }

    fn of(&self, kind: &str, name: &str) -> &(Vec<usize>, Vec<f32>) {
        &self.tensors[&format!("{}.{kind}.{name}", self.network)]
    }

    fn input<const D: usize>(&self, name: &str) -> Tensor<D> {
        let (shape, values) = self.of("in", name).clone();
        Tensor::from_data(TensorData::new(values, shape), &self.device)
    }

    fn leaf<const D: usize>(&self, name: &str) -> Param<D> {
        Param::new(self.input::<D>(name).require_grad())
    }

    /// The largest difference from torch's f32 over the largest value.
    fn off(&self, name: &str, found: &[f32]) -> f32 {
        let expected = &self.of("f32", name).1;
        assert_eq!(found.len(), expected.len(), "{name}");
        let largest = expected.iter().fold(0f32, |m, v| m.max(v.abs()));
        let off = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        off / largest
    }

    /// The output and every gradient are as near torch's f32 as torch's own autocast is; twice as far at
    /// most, since another processor sums in another order. In f32 they are some roundings away.
    fn holds(&self, arithmetic: Arithmetic, out: Tensor<2>, leaves: &[(&str, &dyn TensorLeaf)]) {
        let kind = arithmetic.name();
        assert_eq!(out.dtype(), if self.network == "maps" { DType::F32 } else { half(arithmetic) });
        let out = out.cast(DType::F32);
        let [rows, columns] = out.dims();
        let cotangent = self.flat("cotangent").reshape([rows, columns]);
        let gradients = (out.clone() * cotangent).sum().backward();
        let mut found = vec![("out", to_host(out))];
        for (name, leaf) in leaves {
            let gradient = leaf.gradient(&gradients).expect("a gradient of every leaf");
            assert_eq!(gradient.dtype(), DType::F32, "gradients of weights are f32");
            found.push((name, to_host(gradient)));
        }
        for (name, found) in found {
            let off = self.off(name, &found);
            let of_torch = self.off(name, &self.of(kind, name).1);
            let bound = if arithmetic == Arithmetic::F32 { 3e-6 } else { 2.0 * of_torch };
            assert!(off <= bound, "{kind}, {name}: off by {off:.1e}, torch by {of_torch:.1e}");
            assert_eq!(off > 1e-5, arithmetic != Arithmetic::F32, "{kind} was used for {name}");
        }
    }

    fn flat(&self, name: &str) -> Tensor<1> {
        let values = self.of("in", name).1.as_slice();
        Tensor::from_data(values, &self.device)
    }
}

const ALL: [Arithmetic; 3] = [Arithmetic::F32, Arithmetic::Bf16, Arithmetic::F16];

fn half(arithmetic: Arithmetic) -> DType {
    match arithmetic {
        Arithmetic::Bf16 => DType::BF16,
        Arithmetic::F16 => DType::F16,
        Arithmetic::F32 | Arithmetic::Tf32 => DType::F32,
    }
}

/// The gradient of a convolution before a BatchNorm is a difference of nearly equal sums, and a ReLU that
/// flips near 0 shows in it: torch's own bf16 is 0.1 off there, and 0.01 elsewhere.
#[test]
fn maps_are_as_near_f32_as_those_of_torch() {
    let golden = Golden::open("maps");
    for arithmetic in ALL {
        let rng = &mut stream(0, Purpose::Weights, 0);
        let mut conv = Conv::new(8, 16, 3, 1, rng, &golden.device);
        conv.weight = golden.leaf("conv");
        let mut norm = BatchNorm::new(16, 1, &golden.device);
        (norm.weight, norm.bias) = (golden.leaf("scale"), golden.leaf("shift"));
        let mut norm = ConvNorm::Batch(norm);
        let (x, weight) = (golden.leaf::<4>("x"), golden.leaf::<2>("linear"));
        let out = arithmetic.during(|| {
            let y = conv_norm_act(x.val(), &conv, &mut norm, Epilogue::Relu, Mode::Train);
            linear(global_average_pool(y), weight.val(), None)
        });
        let ConvNorm::Batch(norm) = &norm else { unreachable!() };
        assert_eq!(norm.running_mean.val().dtype(), DType::F32);
        let leaves: [(&str, &dyn TensorLeaf); 5] = [
            ("x", &x),
            ("conv", &conv.weight),
            ("scale", &norm.weight),
            ("shift", &norm.bias),
            ("linear", &weight),
        ];
        golden.holds(arithmetic, out, &leaves);
    }
}

#[test]
fn tokens_are_as_near_f32_as_those_of_torch() {
    let golden = Golden::open("tokens");
    for arithmetic in ALL {
        let x = golden.leaf::<3>("x");
        let [one, two] = ["one", "two"]
            .map(|name| ["scale", "shift"].map(|part| golden.leaf::<1>(&format!("{name}.{part}"))));
        let [qkv, proj, mlp] = ["qkv", "proj", "mlp"].map(|name| {
            let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
            (golden.leaf::<2>(&weight), golden.leaf::<1>(&bias))
        });
        let out = arithmetic.during(|| {
            let normed = |x, [scale, shift]: &[Param<1>; 2]| {
                layer_norm::<3>(x, scale.val(), shift.val(), 1e-6)
            };
            let y = linear(normed(x.val(), &one), qkv.0.val(), Some(qkv.1.val()));
            let y = linear(attention(y, 2, 17), proj.0.val(), Some(proj.1.val()));
            let y = normed(x.val() + y, &two);
            linear_gelu(y, mlp.0.val(), Some(mlp.1.val()), Some(Gelu::Erf), None)
        });
        let [n, tokens, width] = out.dims();
        let leaves: [(&str, &dyn TensorLeaf); 11] = [
            ("x", &x),
            ("one.scale", &one[0]),
            ("one.shift", &one[1]),
            ("two.scale", &two[0]),
            ("two.shift", &two[1]),
            ("qkv.weight", &qkv.0),
            ("qkv.bias", &qkv.1),
            ("proj.weight", &proj.0),
            ("proj.bias", &proj.1),
            ("mlp.weight", &mlp.0),
            ("mlp.bias", &mlp.1),
        ];
        golden.holds(arithmetic, out.reshape([n * tokens, width]), &leaves);
    }
}
