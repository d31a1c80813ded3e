//! BatchNorm's gradients from the sums of the backward pass.

use super::{BnActSaved, NormKind};
use crate::Isa;
use crate::conv::ConvShape;
use crate::norm::{Gate, Gradient, Maps};
use crate::threads::filled;

impl BnActSaved {
    /// `dgamma` and `dbeta`: the groups' sums added up.
    pub(in crate::conv) fn affine_grads(
        &self,
        shape: &ConvShape,
        sums: &[Vec<f64>; 2],
    ) -> (Vec<f32>, Vec<f32>) {
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
    pub(in crate::conv) fn output_grad(
        &self,
        isa: Isa,
        shape: &ConvShape,
        maps: &Maps,
        d: &[f32],
        gate: Gate,
        sums: Option<&[Vec<f64>; 2]>,
    ) -> Option<Vec<f32>> {
        if self.kind == NormKind::None && matches!(gate, Gate::Open) {
            return None;
        }
        let a = &self.coefficients.scale;
        let mut gradient = Gradient { d_out: d, gate, a, centred: None, y: &self.y };
        let [b, c];
        if let (NormKind::Batch { .. }, Some(sums)) = (self.kind, sums) {
            [b, c] = self.centre_coefficients(shape, sums);
            gradient.centred = Some((&self.y, [&self.mean, &b, &c]));
        }
        // SAFETY: the pass writes all of it.
        Some(unsafe { filled(d.len(), |dy| gradient.run(isa, maps, dy)) })
    }

    /// `b` and `c` of `dy = a dz + b (y - mean) + c`, `[groups, cout]` each; with the sums of all
    /// processes where others have parts of the batch.
    fn centre_coefficients(&self, shape: &ConvShape, sums: &[Vec<f64>; 2]) -> [Vec<f32>; 2] {
        let groups = self.groups();
        let mut pixels = shape.out_h() * shape.out_w();
        let mut all = sums.concat();
        if let Some(processes) = &self.others {
            processes.sum(&mut all);
            pixels *= processes.count();
        }
        let (sums, products) = all.split_at(sums[0].len());
        let mut out = [Vec::new(), Vec::new()];
        for (i, (sum, product)) in sums.iter().zip(products).enumerate() {
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
