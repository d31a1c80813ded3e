//! Convolution, BatchNorm, residual addition and ReLU as one operation with one backward.

mod backward;
mod forward;

use super::source::{Activation, Input};
use super::{ConvShape, PreparedConv, conv_data_grad, conv_weight_grad};
use crate::Isa;
use crate::norm::{Coefficients, Gate, Maps, Processes, Skip, Sums, coefficients};
use crate::threads::filled;
use crate::weights::Weights;
pub(super) use forward::convolve;
use forward::{batch_forward, fixed_forward};
use std::sync::Arc;

/// The normalisation of the convolution's output.
#[derive(Clone, Copy, Debug)]
pub enum Norm<'a> {
    /// Batch statistics per split group: image `i` belongs to group `i % groups`. One group is
    /// ordinary training mode; more of them are the shards that separate devices would see.
    Batch {
        /// At least 1.
        groups: usize,
    },
    /// Batch statistics of one group, of which other processes hold the other parts.
    Shared(&'a Arc<dyn Processes>),
    /// Running statistics, `[cout]` each: evaluation mode and frozen encoders. No gradient flows
    /// through them.
    Running {
        /// The running mean.
        mean: &'a [f32],
        /// The running variance.
        var: &'a [f32],
    },
    /// No normalisation: `beta` is a plain bias and `gamma` is not used (give an empty slice).
    None,
}

/// BatchNorm's parameters.
#[derive(Clone, Copy, Debug)]
pub struct BnParams<'a> {
    /// Scale, `[cout]`.
    pub gamma: &'a [f32],
    /// Shift, `[cout]`.
    pub beta: &'a [f32],
    /// Added to the variance.
    pub eps: f32,
    /// Which statistics.
    pub norm: Norm<'a>,
}

/// What [`conv_bn_act_forward`] returns.
#[derive(Debug)]
pub struct BnActOutput {
    /// `[n, out_h, out_w, cout]`
    pub out: Vec<f32>,
    /// What backward needs, when asked to keep it.
    pub saved: Option<BnActSaved>,
    /// Batch means, `[groups, cout]`; empty without batch statistics.
    pub mean: Vec<f32>,
    /// Biased batch variances, `[groups, cout]`; empty without batch statistics.
    pub var: Vec<f32>,
}

/// What backward needs of a forward, besides `x`, the weights and the output.
#[derive(Clone, Debug)]
pub struct BnActSaved {
    /// The convolution's output before normalisation, `[n, out_h, out_w, cout]`; empty without
    /// BatchNorm.
    y: Vec<f32>,
    /// `[groups, cout]`
    mean: Vec<f32>,
    coefficients: Coefficients,
    kind: NormKind,
    /// Who has the other parts of the batch.
    others: Option<Arc<dyn Processes>>,
    pub(super) relu: bool,
    pub(super) has_skip: bool,
}

/// What batch statistics are taken over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Over<'a> {
    /// 1 where other processes have parts.
    pub groups: usize,
    pub others: Option<&'a Arc<dyn Processes>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NormKind {
    Batch { groups: usize },
    Running,
    None,
}

/// Which gradients [`conv_bn_act_backward`] computes. Nothing is spent on the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BnActNeeds {
    /// The input's.
    pub x: bool,
    /// The weights'.
    pub weight: bool,
    /// The gradients of `gamma` and `beta`.
    pub affine: bool,
    /// The residual input's.
    pub skip: bool,
}

/// The gradients that were asked for.
#[derive(Debug, Default)]
pub struct BnActGrads {
    /// `[n, h, w, cin]`
    pub x: Option<Vec<f32>>,
    /// `[cout, cin, k, k]`
    pub weight: Option<Vec<f32>>,
    /// `[cout]`; all zeros without BatchNorm.
    pub gamma: Option<Vec<f32>>,
    /// `[cout]`
    pub beta: Option<Vec<f32>>,
    /// `[n, out_h, out_w, cout]`
    pub skip: Option<Vec<f32>>,
}

/// `out = relu?(bn(conv(x)) + skip?)`.
///
/// With `keep` the result carries what [`conv_bn_act_backward`] needs; without it nothing is kept
/// and less memory is touched (the key encoder, evaluation). The caller updates running statistics
/// from the returned `mean` and `var`.
///
/// # Shapes
/// `x` `[n, h, w, cin]`, `weight` `[cout, cin, k, k]`, `skip` `[n, out_h, out_w, cout]`.
///
/// # Panics
/// When a slice does not have its shape's length, or `groups` is zero.
pub fn conv_bn_act_forward(
    isa: Isa,
    shape: &ConvShape,
    x: &[f32],
    weight: Weights<PreparedConv>,
    bn: &BnParams,
    skip: Option<&[f32]>,
    relu: bool,
    keep: bool,
) -> BnActOutput {
    check_params(shape, bn, skip);
    let isa = isa.for_channels(shape.cout);
    let by_batch = |over| batch_forward(isa, shape, x, weight, bn, over, skip, relu, keep);
    let (mean, kind) = match bn.norm {
        Norm::Batch { groups } => return by_batch(Over { groups, others: None }),
        Norm::Shared(others) => return by_batch(Over { groups: 1, others: Some(others) }),
        Norm::Running { mean, .. } => (mean.to_vec(), NormKind::Running),
        Norm::None => (Vec::new(), NormKind::None),
    };
    let saved = BnActSaved::new(mean, bn.fixed(), kind, relu, skip.is_some());
    fixed_forward(isa, shape, x, weight, saved, skip, keep)
}

/// The gradients of [`conv_bn_act_forward`] from that of its output.
///
/// `saved` is the forward's, `out` its output (read only where the ReLU's mask cannot be had from
/// `saved`).
///
/// # Shapes
/// `x` `[n, h, w, cin]`, `weight` `[cout, cin, k, k]`, `out` and `d_out` `[n, out_h, out_w, cout]`.
///
/// # Panics
/// When a slice does not have its shape's length.
pub fn conv_bn_act_backward(
    isa: Isa,
    shape: &ConvShape,
    x: &[f32],
    weight: &[f32],
    saved: &BnActSaved,
    out: &[f32],
    d_out: &[f32],
    needs: BnActNeeds,
) -> BnActGrads {
    assert_eq!(d_out.len(), shape.out_len(), "d_out is [n, out_h, out_w, cout] of {shape:?}");
    let mut grads = BnActGrads::default();
    let maps = saved.maps(isa, shape);
    let convolution = needs.x || needs.weight;
    let batch = matches!(saved.kind, NormKind::Batch { .. });
    let mut sums = None;
    if needs.skip || needs.affine || (convolution && batch) {
        let pass = Sums { d_out, gate: saved.gate(out), centred: saved.centred() };
        if needs.skip {
            // SAFETY: the pass writes all of `dz`.
            grads.skip = Some(unsafe {
                filled(d_out.len(), |dz| sums = Some(pass.run(isa, &maps, Some(dz))))
            });
        } else {
            sums = Some(pass.run(isa, &maps, None));
        }
    }
    if let (true, Some(sums)) = (needs.affine, &sums) {
        let (gamma, beta) = saved.affine_grads(shape, sums);
        (grads.gamma, grads.beta) = (Some(gamma), Some(beta));
    }
    if convolution {
        // `dz` where it was written: then the gate need not be read again.
        let (d, gate) = match &grads.skip {
            Some(dz) => (dz.as_slice(), Gate::Open),
            None => (d_out, saved.gate(out)),
        };
        let dy = saved.output_grad(isa, shape, &maps, d, gate, sums.as_ref());
        let dy = dy.as_deref().unwrap_or(d);
        grads.x = needs.x.then(|| conv_data_grad(isa, shape, dy, weight));
        grads.weight = needs.weight.then(|| conv_weight_grad(isa, shape, x, dy));
    }
    grads
}

impl BnParams<'_> {
    /// The affine map that it is with statistics known beforehand, or none.
    pub(super) fn fixed(&self) -> Coefficients {
        let BnParams { gamma, beta, eps, norm } = *self;
        match norm {
            Norm::Running { mean, var } => coefficients(gamma, beta, eps, mean, var),
            _ => {
                let ones = vec![1.0; beta.len()];
                Coefficients { inv_std: ones.clone(), scale: ones, shift: beta.to_vec() }
            }
        }
    }
}

pub(super) fn check_params(shape: &ConvShape, bn: &BnParams, skip: Option<&[f32]>) {
    let per_channel = |slice: &[f32], name: &str| {
        assert_eq!(slice.len(), shape.cout, "{name} has one value per output channel");
    };
    per_channel(bn.beta, "beta");
    match bn.norm {
        Norm::Shared(_) => per_channel(bn.gamma, "gamma"),
        Norm::Batch { groups } => {
            per_channel(bn.gamma, "gamma");
            assert!(groups > 0, "split BatchNorm needs at least one group");
        }
        Norm::Running { mean, var } => {
            per_channel(bn.gamma, "gamma");
            per_channel(mean, "the running mean");
            per_channel(var, "the running variance");
        }
        Norm::None => {}
    }
    if let Some(skip) = skip {
        assert_eq!(skip.len(), shape.out_len(), "skip is [n, out_h, out_w, cout] of {shape:?}");
    }
}

impl BnActSaved {
    fn new(
        mean: Vec<f32>,
        coefficients: Coefficients,
        kind: NormKind,
        relu: bool,
        has_skip: bool,
    ) -> Self {
        BnActSaved { y: Vec::new(), mean, coefficients, kind, others: None, relu, has_skip }
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        let Coefficients { inv_std, scale, shift } = &self.coefficients;
        let vectors = [&self.y, &self.mean, inv_std, scale, shift];
        vectors.iter().map(|v| v.capacity() * size_of::<f32>()).sum()
    }

    /// Batch means, `[groups, cout]`.
    pub(super) fn mean(&self) -> &[f32] {
        &self.mean
    }

    /// The layer's output, behind BatchNorm and ReLU, as an input that is made while it is read.
    pub(super) fn as_input(&self) -> Input<'_> {
        let Coefficients { scale, shift, .. } = &self.coefficients;
        let groups = self.groups();
        Input { data: &self.y, activation: Some(Activation { scale, shift, groups }) }
    }

    /// The layer's output, behind BatchNorm alone, as a skip connection.
    pub(super) fn as_skip(&self) -> Skip<'_> {
        let Coefficients { scale, shift, .. } = &self.coefficients;
        Skip::Normalised { y: &self.y, scale, shift }
    }

    /// Frees the maps, when no backward pass is to come.
    pub(super) fn discard_maps(&mut self) {
        self.y = Vec::new();
    }

    fn groups(&self) -> usize {
        if let NormKind::Batch { groups } = self.kind { groups } else { 1 }
    }

    pub(super) fn maps(&self, isa: Isa, shape: &ConvShape) -> Maps {
        Maps::new(isa, shape.n, shape.out_h() * shape.out_w(), shape.cout, self.groups())
    }

    pub(super) fn gate<'a>(&'a self, out: &'a [f32]) -> Gate<'a> {
        match (self.relu, self.kind, self.has_skip) {
            (false, ..) => Gate::Open,
            (true, NormKind::None, _) | (true, _, true) => Gate::Output(out),
            (true, _, false) => Gate::Affine(&self.coefficients.scale, &self.coefficients.shift),
        }
    }

    pub(super) fn centred(&self) -> Option<(&[f32], &[f32])> {
        (self.kind != NormKind::None).then_some((&self.y, &self.mean))
    }
}
