//! The forward passes: with statistics that must be gathered first, and with fixed ones.

use super::{BnActOutput, BnActSaved, BnParams, NormKind};
use crate::Isa;
use crate::conv::sink::{Affine, Plain, Stats, Target};
use crate::conv::{ConvShape, Forward};
use crate::norm::{Coefficients, Normalise, coefficients, fold_statistics};
use crate::threads::{Disjoint, Kept, filled};

pub(super) fn batch_forward(
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

/// With statistics known beforehand (or none), the affine map is applied as the sums leave the
/// registers.
pub(super) fn fixed_forward(
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
