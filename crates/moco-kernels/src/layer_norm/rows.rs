//! The kernels: some rows each.

use std::mem::MaybeUninit;

use crate::simd::{Kernel, Simd, load_n, store_n, sum_lanes};

pub(super) struct ForwardRows<'a> {
    pub x: &'a [f32],
    pub gamma: &'a [f32],
    pub beta: &'a [f32],
    pub eps: f32,
    pub out: &'a mut [MaybeUninit<f32>],
    pub mean: &'a mut [f32],
    pub rstd: &'a mut [f32],
}

impl Kernel for ForwardRows<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let ForwardRows { x, gamma, beta, eps, out, mean, rstd } = self;
        let channels = gamma.len();
        assert!(beta.len() == channels && out.len() == x.len());
        for (row, x) in x.chunks_exact(channels).enumerate() {
            let [m, variance] = statistics(s, x);
            let r = 1.0 / (variance + eps).sqrt();
            (mean[row], rstd[row]) = (m, r);
            let (m, r) = (s.splat(m), s.splat(r));
            for at in (0..channels).step_by(S::LANES) {
                let lanes = S::LANES.min(channels - at);
                // SAFETY: `at + lanes <= channels`, the length of a row and of both parameters.
                unsafe {
                    let centred = s.sub(load_n(s, x.as_ptr().add(at), lanes), m);
                    let scale = s.mul(r, load_n(s, gamma.as_ptr().add(at), lanes));
                    let y = s.fma(centred, scale, load_n(s, beta.as_ptr().add(at), lanes));
                    let to = out.as_mut_ptr().cast::<f32>().add(row * channels + at);
                    store_n(s, to, y, lanes);
                }
            }
        }
    }
}

/// Sums that run side by side: one alone would wait for each addition.
const CHAINS: usize = 4;

/// Mean and biased variance of a row.
#[inline(always)]
fn statistics<S: Simd>(s: S, x: &[f32]) -> [f32; 2] {
    let count = x.len() as f32;
    let mean = sum::<S, false>(s, x, s.splat(0.0)) / count;
    [mean, sum::<S, true>(s, x, s.splat(mean)) / count]
}

/// `Σ (x_i - mean)`, or with `SQUARE` of the squares.
#[inline(always)]
fn sum<S: Simd, const SQUARE: bool>(s: S, x: &[f32], mean: S::V) -> f32 {
    let mut sums = [s.splat(0.0); CHAINS];
    let whole = x.len() / S::LANES;
    for i in 0..whole {
        // SAFETY: vector `i` of `whole` lies in the row.
        let centred = s.sub(unsafe { s.load(x.as_ptr().add(i * S::LANES)) }, mean);
        let sum = &mut sums[i % CHAINS];
        *sum = if SQUARE { s.fma(centred, centred, *sum) } else { s.add(*sum, centred) };
    }
    let vector = s.add(s.add(sums[0], sums[1]), s.add(sums[2], sums[3]));
    let mut tail = 0.0;
    let mean = first_lane(s, mean);
    for &x in &x[whole * S::LANES..] {
        let centred = x - mean;
        tail += if SQUARE { centred * centred } else { centred };
    }
    sum_lanes(s, vector) + tail
}

#[inline(always)]
fn first_lane<S: Simd>(s: S, v: S::V) -> f32 {
    let mut lane = 0.0;
    // SAFETY: one lane is stored.
    unsafe { s.store_first(&mut lane, v, 1) };
    lane
}

pub(super) struct BackwardRows<'a> {
    pub x: &'a [f32],
    pub d_out: &'a [f32],
    pub gamma: &'a [f32],
    pub mean: &'a [f32],
    pub rstd: &'a [f32],
    /// As many floats as `x`.
    pub dx: Option<*mut f32>,
    /// Zeros, `[2, C]`: `dgamma` and `dbeta` are added.
    pub sums: &'a mut [f32],
}

impl Kernel for BackwardRows<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let BackwardRows { x, d_out, gamma, mean, rstd, dx, sums } = self;
        let channels = gamma.len();
        assert!(d_out.len() == x.len() && sums.len() == 2 * channels);
        for row in 0..x.len() / channels {
            let at = row * channels;
            let row = Row {
                x: &x[at..at + channels],
                d_out: &d_out[at..at + channels],
                gamma,
                mean: s.splat(mean[row]),
                rstd: s.splat(rstd[row]),
            };
            let means = row.gather(s, sums);
            if let Some(dx) = dx {
                // SAFETY: `dx` is as long as `x`.
                unsafe { row.gradient(s, means, dx.add(at)) };
            }
        }
    }
}

struct Row<'a, V> {
    x: &'a [f32],
    d_out: &'a [f32],
    gamma: &'a [f32],
    mean: V,
    rstd: V,
}

impl<V: Copy> Row<'_, V> {
    /// `dy`, `x̂` and `g = gamma dy` at some channels.
    ///
    /// # Safety
    /// `at + lanes` is within the row.
    #[inline(always)]
    unsafe fn at<S: Simd<V = V>>(&self, s: S, at: usize, lanes: usize) -> [V; 3] {
        // SAFETY: the caller says that `at + lanes` is within the row, of which the three slices have the length.
        unsafe {
            let d = load_n(s, self.d_out.as_ptr().add(at), lanes);
            let x = load_n(s, self.x.as_ptr().add(at), lanes);
            let gamma = load_n(s, self.gamma.as_ptr().add(at), lanes);
            [d, s.mul(s.sub(x, self.mean), self.rstd), s.mul(d, gamma)]
        }
    }

    /// Adds the row to the sums, and returns the means of `g` and `g x̂`.
    #[inline(always)]
    fn gather<S: Simd<V = V>>(&self, s: S, sums: &mut [f32]) -> [f32; 2] {
        let channels = self.gamma.len();
        let mut totals = [s.splat(0.0); 2];
        for at in (0..channels).step_by(S::LANES) {
            let lanes = S::LANES.min(channels - at);
            // SAFETY: `at + lanes <= channels`; `sums` holds twice as many. Lanes beyond are zero
            // in `d_out`, hence in both products.
            unsafe {
                let [d, x_hat, g] = self.at(s, at, lanes);
                totals = [s.add(totals[0], g), s.fma(g, x_hat, totals[1])];
                let (gamma, beta) =
                    (sums.as_mut_ptr().add(at), sums.as_mut_ptr().add(channels + at));
                store_n(s, gamma, s.fma(d, x_hat, load_n(s, gamma, lanes)), lanes);
                store_n(s, beta, s.add(load_n(s, beta, lanes), d), lanes);
            }
        }
        [sum_lanes(s, totals[0]) / channels as f32, sum_lanes(s, totals[1]) / channels as f32]
    }

    /// # Safety
    /// A row is writable at `dx`.
    #[inline(always)]
    unsafe fn gradient<S: Simd<V = V>>(&self, s: S, means: [f32; 2], dx: *mut f32) {
        let channels = self.gamma.len();
        let means = [s.splat(means[0]), s.splat(means[1])];
        for at in (0..channels).step_by(S::LANES) {
            let lanes = S::LANES.min(channels - at);
            // SAFETY: `at + lanes <= channels`.
            unsafe {
                let [_, x_hat, g] = self.at(s, at, lanes);
                let d = s.fnma(x_hat, means[1], s.sub(g, means[0]));
                store_n(s, dx.add(at), s.mul(self.rstd, d), lanes);
            }
        }
    }
}
