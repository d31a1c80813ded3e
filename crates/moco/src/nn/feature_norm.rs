//! Batch normalisation of feature vectors, for projection heads.

use super::module::{Module, Visitor};
use super::norm::{BatchNorm, Mode};
use burn::tensor::{Device, Tensor};

/// What a normalisation learns besides its statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Affine {
    /// Scale and shift.
    Both,
    /// Scale only: SimCLR's last layer.
    Scale,
    /// Nothing: the last layer of SimSiam and MoCo v3.
    Neither,
}

/// Batch normalisation over the columns of `[N, C]`.
#[derive(Debug)]
pub struct FeatureNorm {
    norm: BatchNorm,
    affine: Affine,
}

impl FeatureNorm {
    /// Scale 1, shift 0. For `groups` see [`BatchNorm::new`].
    pub fn new(channels: usize, groups: usize, affine: Affine, device: &Device) -> Self {
        let mut norm = BatchNorm::new(channels, groups, device);
        // What is not learnt is a constant on the plain device, where it costs no gradient.
        let constant = BatchNorm::new(channels, groups, &device.clone().inner());
        if affine != Affine::Both {
            norm.bias = constant.bias;
        }
        if affine == Affine::Neither {
            norm.weight = constant.weight;
        }
        Self { norm, affine }
    }

    /// This normalisation with `epsilon` added to variances; torch's default is 1e-5.
    #[must_use]
    pub fn with_epsilon(mut self, epsilon: f64) -> Self {
        self.norm.epsilon = epsilon;
        self
    }

    /// # Shapes
    /// `[N, C]` to the same.
    ///
    /// # Panics
    /// In training mode, if N is not a multiple of the number of groups.
    pub fn forward(&mut self, x: Tensor<2>, mode: Mode) -> Tensor<2> {
        let [n, c] = x.dims();
        self.norm.forward_nchw(x.reshape([n, c, 1, 1]), mode).reshape([n, c])
    }
}

impl Module for FeatureNorm {
    fn visit(&mut self, visitor: &mut Visitor<'_>) {
        if self.affine != Affine::Neither {
            visitor.child("weight", &mut self.norm.weight);
        }
        if self.affine == Affine::Both {
            visitor.child("bias", &mut self.norm.bias);
        }
        visitor.child("running_mean", &mut self.norm.running_mean);
        visitor.child("running_var", &mut self.norm.running_var);
        self.norm.visit_peers(visitor);
    }
}
