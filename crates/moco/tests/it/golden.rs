//! Reading the golden files, and comparing with them.
//!
//! How the numbers were made, and why the tolerances are what they are, is in `golden/README.md`.

use burn::tensor::{Tensor, TensorData};
use moco::batch::to_host;
use moco::config::{FamilyConfig, ModelConfig, NormKind, ResNetConfig, StemKind};
use moco::device::Device;
use moco::models::NetworkSpec;
use moco::nn::{Leaf, Module, for_each_leaf};
use safetensors::{Dtype, SafeTensors};
use std::path::Path;

/// One file of golden tensors.
pub struct Golden {
    bytes: Vec<u8>,
}

impl Golden {
    pub fn open(name: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/vectors");
        let path = root.join(format!("{name}.safetensors"));
        let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        Self { bytes }
    }

    fn parsed(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.bytes).expect("a golden file is valid safetensors")
    }

    pub fn names(&self) -> Vec<String> {
        self.parsed().names().into_iter().map(String::from).collect()
    }

    pub fn shape(&self, name: &str) -> Vec<usize> {
        self.parsed().tensor(name).unwrap_or_else(|_| panic!("no tensor {name}")).shape().to_vec()
    }

    /// The values, whatever type they are stored in.
    pub fn values(&self, name: &str) -> Vec<f64> {
        let file = self.parsed();
        let view = file.tensor(name).unwrap_or_else(|_| panic!("no tensor {name}"));
        let data = view.data();
        match view.dtype() {
            Dtype::F32 => {
                data.as_chunks().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect()
            }
            Dtype::F64 => data.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
            Dtype::I64 => {
                data.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b) as f64).collect()
            }
            Dtype::U8 => data.iter().map(|b| f64::from(*b)).collect(),
            other => panic!("{name} has type {other:?}"),
        }
    }

    pub fn scalar(&self, name: &str) -> f64 {
        self.values(name)[0]
    }

    pub fn f32(&self, name: &str) -> Vec<f32> {
        self.values(name).into_iter().map(|v| v as f32).collect()
    }

    pub fn indices(&self, name: &str) -> Vec<usize> {
        self.values(name).into_iter().map(|v| v as usize).collect()
    }

    pub fn tensor<const D: usize>(&self, name: &str) -> Tensor<D> {
        tensor(self.f32(name), self.shape(name).try_into().expect("the rank asked for"))
    }
}

pub fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

/// Largest difference, relative to the largest expected magnitude.
pub fn difference(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len(), "as many values as expected");
    let scale = expected.iter().fold(1e-30f64, |m, v| m.max(v.abs()));
    let worst = found.iter().zip(expected).map(|(f, e)| (f64::from(*f) - e).abs());
    worst.fold(0.0, f64::max) / scale
}

/// Fails unless `found` is within `tolerance` of the golden tensor `name`.
pub fn assert_close<const D: usize>(found: Tensor<D>, golden: &Golden, name: &str, tolerance: f64) {
    let off = difference(&to_host(found), &golden.values(name));
    assert!(off <= tolerance, "{name}: relative difference {off:.2e} exceeds {tolerance:.0e}");
}

/// The golden (torchvision) name of a tensor of ours.
pub fn torch_name(name: &str, mlp: bool) -> String {
    match name.strip_prefix("backbone.") {
        Some(name) => name.to_string(),
        None if mlp => name.replace("head.1", "fc.2").replace("head.0", "fc.0"),
        None => name.replace("head.0", "fc"),
    }
}

/// An ordinary residual network.
pub fn resnet(backbone: &str, width: usize, stem: StemKind) -> NetworkSpec {
    let resnet = ResNetConfig {
        width,
        stem,
        norm: NormKind::Batch,
        zero_init_residual: false,
        bn_groups: 1,
    };
    let model = ModelConfig { backbone: backbone.into(), family: FamilyConfig::ResNet(resnet) };
    NetworkSpec { model, size: [12, 12], seed: 0 }
}

/// What the trajectories train: a ResNet-18 of width 4 with the CIFAR stem.
pub fn resnet18_w4(bn_groups: usize) -> NetworkSpec {
    let mut network = resnet("resnet18", 4, StemKind::Cifar);
    if let FamilyConfig::ResNet(resnet) = &mut network.model.family {
        resnet.bn_groups = bn_groups;
    }
    network
}

/// Sets every tensor of `module` that `value` knows, by name.
pub fn set_tensors(module: &mut dyn Module, value: impl Fn(&str) -> Option<Vec<f32>>) {
    for_each_leaf(module, |name, leaf| {
        if let Leaf::Param(tensor) | Leaf::Buffer(tensor) = leaf
            && let Some(values) = value(name)
        {
            let n = values.len();
            tensor.set_flat(self::tensor(values, [n]));
        }
    });
}
