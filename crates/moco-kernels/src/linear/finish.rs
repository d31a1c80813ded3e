//! What is done around the matrix products: bias and GELU on the way out, their gradients on the
//! way back.

use super::LinearShape;
use crate::Isa;
use crate::gelu::{Gelu, derivative, value};
use crate::gemm::{Channels, Sink};
use crate::simd::{Kernel, Simd, load_n, store_n};
use crate::threads::{Disjoint, for_each_chunk};

/// Writes `sums + bias`, or GELU of it.
pub(super) struct Layer<'a> {
    out: *mut f32,
    cols: usize,
    bias: Option<&'a [f32]>,
    gelu: Option<Gelu>,
    /// Where GELU's input goes.
    pre: Option<*mut f32>,
}

// SAFETY: the pointers are used in `put` alone, whose callers hand over each element once.
unsafe impl Sync for Layer<'_> {}

impl<'a> Layer<'a> {
    /// `out` is a matrix of `cols` columns and as many rows as the product has.
    pub(super) fn new(out: *mut f32, cols: usize, bias: Option<&'a [f32]>) -> Layer<'a> {
        let fits = bias.is_none_or(|bias| bias.len() == cols);
        assert!(fits, "a bias has one value per output");
        Layer { out, cols, bias, gelu: None, pre: None }
    }

    /// `pre` is a matrix like `out`.
    pub(super) fn with_gelu(self, gelu: Gelu, pre: Option<*mut f32>) -> Layer<'a> {
        Layer { gelu: Some(gelu), pre, ..self }
    }
}

impl Sink for Layer<'_> {
    /// Nothing: with the bias kept here, in memory from one tile to the next, layers of 384 inputs took a
    /// twentieth longer than with the bias read for each tile.
    type State<S: Simd> = ();

    #[inline(always)]
    fn begin<S: Simd>(&self, _: S, _: Channels, _: S::V) {}

    #[inline(always)]
    unsafe fn put<S: Simd>(&self, s: S, _: &mut (), row: usize, at: Channels, sum: S::V) {
        // SAFETY: the caller says of this row and these channels what `put_rows` asks of each.
        unsafe { self.put_rows(s, &mut [(); 2], &[row], &[at; 2], &[[sum]]) }
    }

    /// Whether there is a GELU is asked once, not for each vector.
    #[inline(always)]
    unsafe fn put_rows<S: Simd, const R: usize, const N: usize>(
        &self,
        s: S,
        _: &mut [(); 2],
        rows: &[usize; R],
        at: &[Channels; 2],
        sums: &[[S::V; N]; R],
    ) {
        let mut bias = [s.splat(0.0); N];
        if let Some(values) = self.bias {
            for j in 0..N {
                let p = values[at[j].first..][..at[j].lanes].as_ptr();
                // SAFETY: the slice holds `lanes` floats.
                bias[j] = unsafe { load_n(s, p, at[j].lanes) };
            }
        }
        for r in 0..R {
            for j in 0..N {
                let (to, lanes) = (rows[r] * self.cols + at[j].first, at[j].lanes);
                let y = s.add(sums[r][j], bias[j]);
                // SAFETY: the caller says that the rows and channels lie in the product, and so in `out` and `pre`.
                unsafe {
                    match self.gelu {
                        None => store_n(s, self.out.add(to), y, lanes),
                        Some(gelu) => {
                            if let Some(pre) = self.pre {
                                store_n(s, pre.add(to), y, lanes);
                            }
                            store_n(s, self.out.add(to), value(s, gelu, y), lanes);
                        }
                    }
                }
            }
        }
    }
}

/// Rows per job: long enough that a job's sums are a small part of what it reads.
const ROWS: usize = 32;

/// The gradient at the output of the matrix product, and its sum over rows.
pub(super) struct OutputGrad<'a> {
    pub d_out: &'a [f32],
    /// GELU and its input.
    pub gelu: Option<(Gelu, &'a [f32])>,
}

impl OutputGrad<'_> {
    /// Returns the sums `[outputs]`; writes all of `d_pre`, if given.
    pub(super) fn run(&self, isa: Isa, shape: &LinearShape, d_pre: Option<&mut [f32]>) -> Vec<f32> {
        let LinearShape { rows, outputs, .. } = *shape;
        let len = shape.out_len();
        assert!(self.d_out.len() == len && d_pre.as_ref().is_none_or(|d| d.len() == len));
        assert!(self.gelu.is_none_or(|(_, pre)| pre.len() == len));
        let d_pre = d_pre.map(Disjoint::new);
        let mut partial = vec![0.0; rows.div_ceil(ROWS) * outputs];
        for_each_chunk(&mut partial, outputs, |job, sums| {
            let range = job * ROWS * outputs..rows.min((job + 1) * ROWS) * outputs;
            let d_out = &self.d_out[range.clone()];
            let gelu = self.gelu.map(|(gelu, pre)| (gelu, &pre[range.clone()]));
            // SAFETY: these rows are this job's.
            let d_pre = d_pre.as_ref().map(|d| unsafe { d.slice(range) });
            isa.run(GradRows { grad: OutputGrad { d_out, gelu }, d_pre, sums });
        });
        fold(&partial, outputs)
    }
}

/// `[jobs, outputs]` to `[outputs]`, in f64.
fn fold(partial: &[f32], outputs: usize) -> Vec<f32> {
    let mut sums = vec![0.0f64; outputs];
    for job in partial.chunks(outputs.max(1)) {
        for (sum, &value) in sums.iter_mut().zip(job) {
            *sum += f64::from(value);
        }
    }
    sums.into_iter().map(|sum| sum as f32).collect()
}

struct GradRows<'a> {
    /// Of this job's rows.
    grad: OutputGrad<'a>,
    d_pre: Option<&'a mut [f32]>,
    /// Zeros.
    sums: &'a mut [f32],
}

impl Kernel for GradRows<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let GradRows { grad: OutputGrad { d_out, gelu }, mut d_pre, sums } = self;
        let outputs = sums.len();
        for start in (0..d_out.len()).step_by(outputs) {
            for at in (0..outputs).step_by(S::LANES) {
                let (lanes, i) = (S::LANES.min(outputs - at), start + at);
                // SAFETY: the slices hold whole rows and have one length; `at + lanes <= outputs`.
                unsafe {
                    let mut d = load_n(s, d_out.as_ptr().add(i), lanes);
                    if let Some((gelu, pre)) = gelu {
                        d = s.mul(d, derivative(s, gelu, load_n(s, pre.as_ptr().add(i), lanes)));
                    }
                    if let Some(d_pre) = &mut d_pre {
                        store_n(s, d_pre.as_mut_ptr().add(i), d, lanes);
                    }
                    let sum = sums.as_mut_ptr().add(at);
                    store_n(s, sum, s.add(load_n(s, sum, lanes), d), lanes);
                }
            }
        }
    }
}
