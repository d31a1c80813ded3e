//! The definition: plain loops, generic over the precision.
//!
//! In `f32` it is what the kernels are compared with for error, in `f64` it is the exact value.
#![cfg(test)]

use super::ConvShape;
use crate::testing::Real;

/// Every (output index, input index, weight index) that the convolution joins.
fn for_each_product(shape: &ConvShape, mut join: impl FnMut(usize, usize, usize)) {
    let (out_h, out_w) = (shape.out_h(), shape.out_w());
    let &ConvShape { n, h, w, cin, cout, k, stride, pad } = shape;
    for (image, y, x) in indices(n, out_h, out_w) {
        for (ky, kx) in indices(1, k, k).map(|(_, ky, kx)| (ky, kx)) {
            let in_y = (y * stride + ky).wrapping_sub(pad);
            let in_x = (x * stride + kx).wrapping_sub(pad);
            if in_y >= h || in_x >= w {
                continue;
            }
            for (_, co, ci) in indices(1, cout, cin) {
                let out = ((image * out_h + y) * out_w + x) * cout + co;
                let input = ((image * h + in_y) * w + in_x) * cin + ci;
                join(out, input, ((co * cin + ci) * k + ky) * k + kx);
            }
        }
    }
}

fn indices(a: usize, b: usize, c: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..a * b * c).map(move |i| (i / (b * c), i / c % b, i % c))
}

pub(crate) fn forward<T: Real>(shape: &ConvShape, x: &[T], weight: &[T]) -> Vec<T> {
    let mut y = vec![T::of(0.0); shape.out_len()];
    for_each_product(shape, |out, input, w| y[out] += x[input] * weight[w]);
    y
}

pub(crate) fn data_grad<T: Real>(shape: &ConvShape, dy: &[T], weight: &[T]) -> Vec<T> {
    let mut dx = vec![T::of(0.0); shape.x_len()];
    for_each_product(shape, |out, input, w| dx[input] += dy[out] * weight[w]);
    dx
}

pub(crate) fn weight_grad<T: Real>(shape: &ConvShape, x: &[T], dy: &[T]) -> Vec<T> {
    let mut dw = vec![T::of(0.0); shape.weight_len()];
    for_each_product(shape, |out, input, w| dw[w] += x[input] * dy[out]);
    dw
}

/// Inputs of the fused operation.
#[derive(Clone)]
pub(crate) struct BnAct<T> {
    pub shape: ConvShape,
    pub x: Vec<T>,
    pub weight: Vec<T>,
    pub gamma: Vec<T>,
    pub beta: Vec<T>,
    pub skip: Option<Vec<T>>,
    pub eps: T,
    pub relu: bool,
    pub statistics: Statistics<T>,
}

#[derive(Clone)]
pub(crate) enum Statistics<T> {
    Batch { groups: usize },
    Running { mean: Vec<T>, var: Vec<T> },
}

/// Its output and statistics, `[groups, cout]`.
pub(crate) struct BnActResult<T> {
    pub y: Vec<T>,
    pub mean: Vec<T>,
    pub var: Vec<T>,
    pub out: Vec<T>,
}

/// Gradients in the order x, weight, gamma, beta, skip.
pub(crate) type BnActGradients<T> = [Vec<T>; 5];

impl<T: Real> BnAct<T> {
    fn groups(&self) -> usize {
        if let Statistics::Batch { groups } = self.statistics { groups } else { 1 }
    }

    /// Index into `[groups, cout]` of element `i` of the output.
    fn slot(&self, i: usize) -> usize {
        let shape = &self.shape;
        let image = i / (shape.out_h() * shape.out_w() * shape.cout);
        image % self.groups() * shape.cout + i % shape.cout
    }

    /// The mean over a group's pixels of what `value` says of element `i`, `[groups, cout]`.
    fn average(&self, value: impl Fn(usize) -> T) -> Vec<T> {
        let slots = self.groups() * self.shape.cout;
        let (mut sum, mut count) = (vec![T::of(0.0); slots], vec![T::of(0.0); slots]);
        for i in 0..self.shape.out_len() {
            sum[self.slot(i)] += value(i);
            count[self.slot(i)] += T::of(1.0);
        }
        sum.iter().zip(&count).map(|(&s, &c)| if c > T::of(0.0) { s / c } else { s }).collect()
    }

    pub(crate) fn forward(&self) -> BnActResult<T> {
        let y = forward(&self.shape, &self.x, &self.weight);
        let (mean, var) = match &self.statistics {
            Statistics::Running { mean, var } => (mean.clone(), var.clone()),
            Statistics::Batch { .. } => {
                let mean = self.average(|i| y[i]);
                let var = self.average(|i| {
                    let d = y[i] - mean[self.slot(i)];
                    d * d
                });
                (mean, var)
            }
        };
        let mut out = Vec::new();
        for (i, &y) in y.iter().enumerate() {
            let (slot, c) = (self.slot(i), i % self.shape.cout);
            let normal = (y - mean[slot]) / (var[slot] + self.eps).sqrt();
            let mut z = normal * self.gamma[c] + self.beta[c];
            if let Some(skip) = &self.skip {
                z += skip[i];
            }
            out.push(if self.relu && z < T::of(0.0) { T::of(0.0) } else { z });
        }
        BnActResult { y, mean, var, out }
    }

    pub(crate) fn backward(&self, result: &BnActResult<T>, d_out: &[T]) -> BnActGradients<T> {
        let BnActResult { y, mean, var, out } = result;
        let zero = T::of(0.0);
        let open = |i: usize| !self.relu || out[i] > zero;
        let dz: Vec<T> =
            d_out.iter().enumerate().map(|(i, &d)| if open(i) { d } else { zero }).collect();
        let normal = |i: usize| {
            let slot = self.slot(i);
            (y[i] - mean[slot]) / (var[slot] + self.eps).sqrt()
        };
        let (mut d_gamma, mut d_beta) = (vec![zero; self.gamma.len()], vec![zero; self.beta.len()]);
        for i in 0..dz.len() {
            let c = i % self.shape.cout;
            d_gamma[c] += dz[i] * normal(i);
            d_beta[c] += dz[i];
        }
        let flows = matches!(self.statistics, Statistics::Batch { .. });
        let (mean_dz, mean_product) =
            (self.average(|i| dz[i]), self.average(|i| dz[i] * normal(i)));
        let dy = (0..dz.len()).map(|i| {
            let (slot, c) = (self.slot(i), i % self.shape.cout);
            let through = if flows { mean_dz[slot] + normal(i) * mean_product[slot] } else { zero };
            (dz[i] - through) * self.gamma[c] / (var[slot] + self.eps).sqrt()
        });
        let dy: Vec<T> = dy.collect();
        let dx = data_grad(&self.shape, &dy, &self.weight);
        let dw = weight_grad(&self.shape, &self.x, &dy);
        [dx, dw, d_gamma, d_beta, dz]
    }
}
