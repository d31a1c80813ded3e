//! The forward passes: with statistics that must be gathered first, and with fixed ones.

use super::{BnActOutput, BnActSaved, BnParams, NormKind, Over};
use crate::Isa;
use crate::conv::prepared::prepared;
use crate::conv::sink::{Affine, Stats};
use crate::conv::source::Input;
use crate::conv::{ConvShape, Forward, PreparedConv};
use crate::gemm::{Target, plain};
use crate::norm::{Coefficients, Normalise, Skip, coefficients, fold_statistics};
use crate::threads::{Disjoint, Kept, filled};
use crate::weights::Weights;
use std::sync::Arc;

pub(super) fn batch_forward(
    isa: Isa,
    shape: &ConvShape,
    x: &[f32],
    weight: Weights<PreparedConv>,
    bn: &BnParams,
    over: Over,
    skip: Option<&[f32]>,
    relu: bool,
    keep: bool,
) -> BnActOutput {
    let affine = [bn.gamma, bn.beta];
    let (mut saved, var) = convolve(isa, shape, over, x.into(), weight, affine, bn.eps);
    (saved.relu, saved.has_skip) = (relu, skip.is_some());
    let mean = saved.mean.clone();
    let out = saved.normalised(isa, shape, skip.map(Skip::Maps), keep);
    BnActOutput { out, saved: keep.then_some(saved), mean, var }
}

/// A convolution and its batch statistics, `mean` among what is saved, and the variance; nothing is
/// normalised yet.
pub(in crate::conv) fn convolve(
    isa: Isa,
    shape: &ConvShape,
    Over { groups, others }: Over,
    x: Input,
    weight: Weights<PreparedConv>,
    [gamma, beta]: [&[f32]; 2],
    eps: f32,
) -> (BnActSaved, Vec<f32>) {
    let isa = isa.for_channels(shape.cout);
    let prepared = prepared(isa, shape, weight);
    let forward = Forward::new(shape, groups, x, weight.values, &prepared);
    let spans = forward.spans();
    let mut partial = Kept::new(spans.len() * 3 * shape.cout);
    // SAFETY: a forward puts every pixel and channel of the output.
    let y = unsafe {
        filled(shape.out_len(), |y| {
            let target = Target::new(y, shape.cout);
            forward.run(isa, &spans, &Stats { target, partial: Disjoint::new(&mut partial) });
        })
    };
    let (mean, var) = {
        let others = others.map(Arc::as_ref);
        fold_statistics(&spans, &partial, groups, shape.cout, others)
    };
    let coefficients = coefficients(gamma, beta, eps, &mean, &var);
    let kind = NormKind::Batch { groups };
    let mut saved = BnActSaved::new(mean, coefficients, kind, true, false);
    (saved.y, saved.others) = (y, others.cloned());
    (saved, var)
}

impl BnActSaved {
    /// The output of the layer. Without `keep` it takes the place of the convolution's output,
    /// which is lost.
    pub(in crate::conv) fn normalised(
        &mut self,
        isa: Isa,
        shape: &ConvShape,
        skip: Option<Skip>,
        keep: bool,
    ) -> Vec<f32> {
        let isa = isa.for_channels(shape.cout);
        let mut y = std::mem::take(&mut self.y);
        let maps = self.maps(isa, shape);
        let Coefficients { scale, shift, .. } = &self.coefficients;
        let pass = Normalise { scale, shift, skip, relu: self.relu };
        if !keep {
            pass.run_in_place(isa, &maps, &mut y);
            return y;
        }
        // SAFETY: the pass writes all of it.
        let out = unsafe { filled(y.len(), |out| pass.run(isa, &maps, &y, out)) };
        self.y = y;
        out
    }
}

/// With statistics known beforehand (or none), the affine map is applied as the sums leave the
/// registers.
pub(super) fn fixed_forward(
    isa: Isa,
    shape: &ConvShape,
    x: &[f32],
    weight: Weights<PreparedConv>,
    mut saved: BnActSaved,
    skip: Option<&[f32]>,
    keep: bool,
) -> BnActOutput {
    let prepared = prepared(isa, shape, weight);
    let forward = Forward::new(shape, 1, x.into(), weight.values, &prepared);
    let spans = forward.spans();
    let (mean, var) = (Vec::new(), Vec::new());
    let Coefficients { scale, shift, .. } = &saved.coefficients;
    let relu = saved.relu;
    if keep && saved.kind == NormKind::Running {
        // SAFETY: a forward puts every pixel and channel of the output; the pass writes all of it.
        let (y, out) = unsafe {
            let y = filled(shape.out_len(), |y| {
                forward.run(isa, &spans, &plain(Target::new(y, shape.cout)));
            });
            let pass = Normalise { scale, shift, skip: skip.map(Skip::Maps), relu };
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
