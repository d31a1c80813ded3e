//! Convolution, BatchNorm, residual addition and ReLU as one operation with one backward.

use super::sink::{Affine, Plain, Stats, Target};
use super::{ConvShape, Forward, conv_data_grad, conv_weight_grad};
use crate::Isa;
use crate::norm::{
    Coefficients, Gate, Gradient, Maps, Normalise, Sums, coefficients, fold_statistics,
};
use crate::threads::{Disjoint, Kept, filled};

/// What normalises the convolution's output.
#[derive(Clone, Copy, Debug)]
pub enum Norm<'a> {
    /// Batch statistics per split group: image `i` belongs to group `i % groups`. One group is ordinary training
    /// mode; more of them are the shards that separate devices would see.
    Batch {
        /// At least 1.
        groups: usize,
    },
    /// Running statistics, `[cout]` each: evaluation mode and frozen encoders. No gradient flows through them.
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
    /// The convolution's output before normalisation, `[n, out_h, out_w, cout]`; empty without BatchNorm.
    y: Vec<f32>,
    /// `[groups, cout]`
    mean: Vec<f32>,
    coefficients: Coefficients,
    kind: NormKind,
    relu: bool,
    has_skip: bool,
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
    /// Those of `gamma` and `beta`.
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
/// With `keep` the result carries what [`conv_bn_act_backward`] needs; without it nothing is kept and less memory is
/// touched (the key encoder, evaluation). The caller updates running statistics from the returned `mean` and `var`.
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
    weight: &[f32],
    bn: &BnParams,
    skip: Option<&[f32]>,
    relu: bool,
    keep: bool,
) -> BnActOutput {
    check_params(shape, bn, skip);
    let isa = isa.for_channels(shape.cout);
    match bn.norm {
        Norm::Batch { groups } => {
            batch_forward(isa, shape, x, weight, bn, groups, skip, relu, keep)
        }
        Norm::Running { mean, var } => {
            let coefficients = coefficients(bn.gamma, bn.beta, bn.eps, mean, var);
            let mean = mean.to_vec();
            let saved =
                BnActSaved::new(mean, coefficients, NormKind::Running, relu, skip.is_some());
            fixed_forward(isa, shape, x, weight, saved, skip, keep)
        }
        Norm::None => {
            let ones = vec![1.0; shape.cout];
            let coefficients =
                Coefficients { inv_std: ones.clone(), scale: ones, shift: bn.beta.to_vec() };
            let saved =
                BnActSaved::new(Vec::new(), coefficients, NormKind::None, relu, skip.is_some());
            fixed_forward(isa, shape, x, weight, saved, skip, keep)
        }
    }
}

/// The gradients of [`conv_bn_act_forward`] from that of its output.
///
/// `saved` is the forward's, `out` its output (read only where the ReLU's mask cannot be had from `saved`).
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

fn check_params(shape: &ConvShape, bn: &BnParams, skip: Option<&[f32]>) {
    let per_channel = |slice: &[f32], name: &str| {
        assert_eq!(slice.len(), shape.cout, "{name} has one value per output channel");
    };
    per_channel(bn.beta, "beta");
    match bn.norm {
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

fn batch_forward(
    isa: Isa,
    shape: &ConvShape,
    x: &[f32],
    weight: &[f32],
    bn: &BnParams,
    groups: usize,
    skip: Option<&[f32]>,
    relu: bool,
    keep: bool,
) -> BnActOutput {
    let forward = Forward::new(isa, shape, groups, x, weight);
    let spans = forward.spans();
    let mut partial = Kept::new(spans.len() * 3 * shape.cout);
    // SAFETY: a forward puts every pixel and channel of the output.
    let mut y = unsafe {
        filled(shape.out_len(), |y| {
            let target = Target::new(y, shape.cout);
            forward.run(isa, &spans, &Stats { target, partial: Disjoint::new(&mut partial) });
        })
    };
    let (mean, var) = fold_statistics(&spans, &partial, groups, shape.cout);
    let coefficients = coefficients(bn.gamma, bn.beta, bn.eps, &mean, &var);
    let kind = NormKind::Batch { groups };
    let mut saved = BnActSaved::new(mean.clone(), coefficients, kind, relu, skip.is_some());
    let maps = saved.maps(isa, shape);
    let Coefficients { scale, shift, .. } = &saved.coefficients;
    let pass = Normalise { scale, shift, skip, relu };
    if !keep {
        pass.run_in_place(isa, &maps, &mut y);
        return BnActOutput { out: y, saved: None, mean, var };
    }
    // SAFETY: the pass writes all of it.
    let out = unsafe { filled(y.len(), |out| pass.run(isa, &maps, &y, out)) };
    saved.y = y;
    BnActOutput { out, saved: Some(saved), mean, var }
}

/// With statistics known beforehand (or none), the affine map is applied as the sums leave the registers.
fn fixed_forward(
    isa: Isa,
    shape: &ConvShape,
    x: &[f32],
    weight: &[f32],
    mut saved: BnActSaved,
    skip: Option<&[f32]>,
    keep: bool,
) -> BnActOutput {
    let forward = Forward::new(isa, shape, 1, x, weight);
    let spans = forward.spans();
    let (mean, var) = (Vec::new(), Vec::new());
    let Coefficients { scale, shift, .. } = &saved.coefficients;
    let relu = saved.relu;
    if keep && saved.kind == NormKind::Running {
        // SAFETY: a forward puts every pixel and channel of the output; the pass writes all of it.
        let (y, out) = unsafe {
            let y = filled(shape.out_len(), |y| {
                forward.run(isa, &spans, &Plain(Target::new(y, shape.cout)));
            });
            let pass = Normalise { scale, shift, skip, relu };
            let out = filled(y.len(), |out| pass.run(isa, &saved.maps(isa, shape), &y, out));
            (y, out)
        };
        saved.y = y;
        return BnActOutput { out, saved: Some(saved), mean, var };
    }
    // SAFETY: a forward puts every pixel and channel of the output.
    let out = unsafe {
        filled(shape.out_len(), |out| {
            let target = Target::new(out, shape.cout);
            forward.run(isa, &spans, &Affine { target, scale, shift, skip, relu });
        })
    };
    BnActOutput { out, saved: keep.then_some(saved), mean, var }
}

impl BnActSaved {
    fn new(
        mean: Vec<f32>,
        coefficients: Coefficients,
        kind: NormKind,
        relu: bool,
        has_skip: bool,
    ) -> Self {
        BnActSaved { y: Vec::new(), mean, coefficients, kind, relu, has_skip }
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        let Coefficients { inv_std, scale, shift } = &self.coefficients;
        let vectors = [&self.y, &self.mean, inv_std, scale, shift];
        vectors.iter().map(|v| v.capacity() * size_of::<f32>()).sum()
    }

    fn groups(&self) -> usize {
        if let NormKind::Batch { groups } = self.kind { groups } else { 1 }
    }

    fn maps(&self, isa: Isa, shape: &ConvShape) -> Maps {
        Maps::new(isa, shape.n, shape.out_h() * shape.out_w(), shape.cout, self.groups())
    }

    fn gate<'a>(&'a self, out: &'a [f32]) -> Gate<'a> {
        match (self.relu, self.kind, self.has_skip) {
            (false, ..) => Gate::Open,
            (true, NormKind::None, _) | (true, _, true) => Gate::Output(out),
            (true, _, false) => Gate::Affine(&self.coefficients.scale, &self.coefficients.shift),
        }
    }

    fn centred(&self) -> Option<(&[f32], &[f32])> {
        (self.kind != NormKind::None).then_some((&self.y, &self.mean))
    }

    /// `dgamma` and `dbeta`: the groups' sums added up.
    fn affine_grads(&self, shape: &ConvShape, sums: &[Vec<f64>; 2]) -> (Vec<f32>, Vec<f32>) {
        let mut gamma = vec![0.0f64; shape.cout];
        let mut beta = vec![0.0f64; shape.cout];
        for (i, (sum, product)) in sums[0].iter().zip(&sums[1]).enumerate() {
            beta[i % shape.cout] += sum;
            gamma[i % shape.cout] += product * f64::from(self.coefficients.inv_std[i]);
        }
        let round = |v: Vec<f64>| v.into_iter().map(|x| x as f32).collect();
        (round(gamma), round(beta))
    }

    /// The gradient of the convolution's output, or `None` where it is `d` itself.
    fn output_grad(
        &self,
        isa: Isa,
        shape: &ConvShape,
        maps: &Maps,
        d: &[f32],
        gate: Gate,
        sums: Option<&[Vec<f64>; 2]>,
    ) -> Option<Kept> {
        if self.kind == NormKind::None && matches!(gate, Gate::Open) {
            return None;
        }
        let mut dy = Kept::new(d.len());
        let a = &self.coefficients.scale;
        let gradient = Gradient { d_out: d, gate, a, centred: None, y: &self.y };
        match (self.kind, sums) {
            (NormKind::Batch { .. }, Some(sums)) => {
                let [b, c] = self.centre_coefficients(shape, sums);
                let centred = Some((self.y.as_slice(), [self.mean.as_slice(), &b, &c]));
                Gradient { centred, ..gradient }.run(isa, maps, &mut dy);
            }
            _ => gradient.run(isa, maps, &mut dy),
        }
        Some(dy)
    }

    /// `b` and `c` of `dy = a dz + b (y - mean) + c`, `[groups, cout]` each.
    fn centre_coefficients(&self, shape: &ConvShape, sums: &[Vec<f64>; 2]) -> [Vec<f32>; 2] {
        let groups = self.groups();
        let pixels = shape.out_h() * shape.out_w();
        let mut out = [Vec::new(), Vec::new()];
        for (i, (sum, product)) in sums[0].iter().zip(&sums[1]).enumerate() {
            let images = (shape.n + groups - 1 - i / shape.cout) / groups;
            let count = (images * pixels).max(1) as f64;
            let scale = f64::from(self.coefficients.scale[i]);
            let inv_std = f64::from(self.coefficients.inv_std[i]);
            out[0].push((-scale * inv_std * inv_std * product / count) as f32);
            out[1].push((-scale * sum / count) as f32);
        }
        out
    }
}
