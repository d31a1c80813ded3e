//! Reading the golden files, and comparing with them.
//!
//! How the numbers were made, and why the tolerances are what they are, is in `golden/README.md`.

use crate::device::device;
use burn::tensor::{Tensor, TensorData};
use moco::batch::{Batch, to_host};
use moco::config::{ConvInit, NormKind, ResNetConfig, StemKind};
use moco::models::{Architecture, NetworkSpec, ResNetShape};
use moco::nn::{Leaf, Module, for_each_leaf, for_each_param};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::path::Path;

/// One file of golden tensors.
pub struct Golden {
    bytes: Vec<u8>,
}

impl Golden {
    pub fn open(name: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/vectors");
        Self::at(&root.join(format!("{name}.safetensors")))
    }

    /// The file at a path.
    pub fn at(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
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
    Tensor::from_data(TensorData::new(values, shape), &device())
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
        stages: 4,
        norm: NormKind::Batch,
        init: ConvInit::FanOut,
        zero_init_residual: false,
        bn_groups: 1,
        stem_width: None,
        blocks: None,
        first_projection: None,
        average_skips: None,
        sk_ratio: None,
    };
    let shape = ResNetShape::named(backbone, &resnet).expect("a known name");
    NetworkSpec { architecture: Architecture::ResNet(shape), seed: 0 }
}

/// What the trajectories train: a ResNet-18 of width 4 with the CIFAR stem.
pub fn resnet18_w4(bn_groups: usize) -> NetworkSpec {
    let mut network = resnet("resnet18", 4, StemKind::Cifar);
    if let Architecture::ResNet(resnet) = &mut network.architecture {
        resnet.bn_groups = bn_groups;
    }
    network
}

/// Sets every parameter of `module` to the values of its name.
pub fn set_params(module: &mut dyn Module, value: impl Fn(&str) -> Vec<f32>) {
    for_each_param(module, |name, param| {
        let values = value(name);
        let n = values.len();
        param.set_flat(self::tensor(values, [n]));
    });
}

/// Step `step` of the stored bytes `[steps, N, H, W, 3]`: (byte - 128) / 64, exact in f32.
pub fn stored_view(golden: &Golden, name: &str, step: usize) -> Tensor<4> {
    let shape = golden.shape(name);
    let count: usize = shape[1..].iter().product();
    let bytes = golden.values(name);
    let pixels = bytes[step * count..][..count].iter().map(|b| ((b - 128.0) / 64.0) as f32);
    tensor(pixels.collect(), shape[1..].try_into().expect("images"))
}

/// The images of step `step`, in the views of the given names.
pub fn stored_batch(golden: &Golden, step: usize, views: &[&str]) -> Batch {
    let views: Vec<_> = views.iter().map(|view| stored_view(golden, view, step)).collect();
    Batch { indices: (0..views[0].dims()[0]).collect(), views }
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

/// Element `j` of the hash that both sides compute weights from (golden/resnet.py, `formula`).
pub fn formula(stream: u64, count: usize, scale: f64, shift: f64) -> Vec<f32> {
    let u = |j: u64| {
        let mut z = ((stream << 32) + j).wrapping_add(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        2.0 * ((z ^ (z >> 31)) >> 40) as f64 / f64::from(1 << 24) - 1.0
    };
    (0..count as u64).map(|j| (shift + scale * u(j)) as f32).collect()
}

/// `expected` is [L2 norm, sum, 16 samples]; errors are measured against the norm, and the sum's
/// against the norm times sqrt(n), the size of a sum of n errors that all point one way.
pub fn check_digest(values: &[f32], expected: &[f64], tolerance: f64, name: &str) {
    let n = values.len();
    let norm = values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
    let sum: f64 = values.iter().map(|v| f64::from(*v)).sum();
    let off_norm = (norm - expected[0]).abs() / expected[0];
    let off_sum = (sum - expected[1]).abs() / (expected[0] * (n as f64).sqrt());
    assert!(off_norm <= tolerance, "{name}: norm off by {off_norm:.1e}");
    assert!(off_sum <= tolerance, "{name}: sum off by {off_sum:.1e}");
    let samples: Vec<f32> = (0..16).map(|k| values[k * 7919 % n]).collect();
    let scale = expected[2..].iter().fold(0f64, |m, v| m.max(v.abs()));
    let off = difference(&samples, &expected[2..]) * scale / expected[0];
    assert!(off <= tolerance, "{name}: a sample is off by {off:.1e} of the norm");
}

/// A file that was written anew without its manifest, or the other way round, is told.
#[test]
fn golden_files_have_the_checksums_of_the_manifest() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden");
    let read =
        |path: &Path| std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let manifest: Value = serde_json::from_slice(&read(&root.join("MANIFEST.json"))).unwrap();
    let listed = manifest["files"].as_object().unwrap();
    for (name, entry) in listed {
        let sum = Sha256::digest(read(&root.join("vectors").join(name)));
        let sum: String = sum.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(Some(sum.as_str()), entry["sha256"].as_str(), "{name}");
    }
    let present = std::fs::read_dir(root.join("vectors")).unwrap();
    let present = present.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let unlisted: Vec<String> = present.filter(|name| !listed.contains_key(name)).collect();
    assert!(unlisted.is_empty(), "not in the manifest: {unlisted:?}");
}
