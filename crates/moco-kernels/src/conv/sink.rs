//! What a convolution adds to [`Sink`]s: BatchNorm's statistics, and its affine with a skip and a ReLU. The
//! rows of its output are pixels.

use crate::gemm::{Channels, Sink, Target};
use crate::simd::{Simd, load_n, store_n};
use crate::threads::Disjoint;

/// Stores the sums and gathers each channel's statistics: per job a shift `x_0` (the first pixel),
/// `Σ (x - x_0)` and `Σ (x - x_0)^2`, from which the mean and the variance follow without
/// cancellation even where the mean is far from zero.
pub(crate) struct Stats<'a> {
    pub target: Target<'a>,
    /// `[jobs, 3, channels]`
    pub partial: Disjoint<'a, f32>,
}

impl Sink for Stats<'_> {
    type State<S: Simd> = [S::V; 3];

    #[inline(always)]
    fn begin<S: Simd>(&self, s: S, _: Channels, first: S::V) -> [S::V; 3] {
        [first, s.splat(0.0), s.splat(0.0)]
    }

    #[inline(always)]
    fn expect<S: Simd>(&self, s: S, pixel: usize, at: Channels) {
        self.target.expect(s, pixel, at);
    }

    #[inline(always)]
    unsafe fn put<S: Simd>(
        &self,
        s: S,
        state: &mut [S::V; 3],
        pixel: usize,
        at: Channels,
        value: S::V,
    ) {
        // SAFETY: the caller says that the pixel is its own and that the channels exist, as the target asks.
        unsafe { self.target.put(s, pixel, at, value) };
        let shifted = s.sub(value, state[0]);
        state[1] = s.add(state[1], shifted);
        state[2] = s.fma(shifted, shifted, state[2]);
    }

    #[inline(always)]
    unsafe fn end<S: Simd>(&self, s: S, state: [S::V; 3], job: usize, at: Channels) {
        let channels = self.target.channels;
        for (row, value) in state.into_iter().enumerate() {
            let start = (job * 3 + row) * channels + at.first;
            // SAFETY: this job's rows and these channels are nobody else's, by the caller's
            // promise.
            unsafe {
                let slot = self.partial.slice(start..start + at.lanes);
                store_n(s, slot.as_mut_ptr(), value, at.lanes);
            }
        }
    }
}

/// Stores `relu?(x * scale + shift + skip?)`: BatchNorm with known statistics, or a bias.
pub(crate) struct Affine<'a> {
    pub target: Target<'a>,
    /// `[channels]`
    pub scale: &'a [f32],
    /// `[channels]`
    pub shift: &'a [f32],
    /// Of the output's shape.
    pub skip: Option<&'a [f32]>,
    pub relu: bool,
}

impl Sink for Affine<'_> {
    type State<S: Simd> = [S::V; 2];

    #[inline(always)]
    fn begin<S: Simd>(&self, s: S, at: Channels, _: S::V) -> [S::V; 2] {
        let (scale, shift) =
            (&self.scale[at.first..][..at.lanes], &self.shift[at.first..][..at.lanes]);
        // SAFETY: both slices hold `lanes` floats.
        unsafe { [load_n(s, scale.as_ptr(), at.lanes), load_n(s, shift.as_ptr(), at.lanes)] }
    }

    #[inline(always)]
    fn expect<S: Simd>(&self, s: S, pixel: usize, at: Channels) {
        self.target.expect(s, pixel, at);
        if let Some(skip) = self.skip {
            s.prefetch(skip.as_ptr().wrapping_add(pixel * self.target.channels + at.first));
        }
    }

    #[inline(always)]
    unsafe fn put<S: Simd>(
        &self,
        s: S,
        state: &mut [S::V; 2],
        pixel: usize,
        at: Channels,
        value: S::V,
    ) {
        // SAFETY: the caller says of this pixel and these channels what `put_rows` asks of each.
        unsafe { self.put_rows(s, &mut [*state; 2], &[pixel], &[at; 2], &[[value]]) }
    }

    /// What is the same for all rows is asked once, not for each vector.
    #[inline(always)]
    unsafe fn put_rows<S: Simd, const R: usize, const N: usize>(
        &self,
        s: S,
        states: &mut [[S::V; 2]; 2],
        pixels: &[usize; R],
        at: &[Channels; 2],
        sums: &[[S::V; N]; R],
    ) {
        let Affine { target, skip, relu, .. } = self;
        let floor = s.splat(if *relu { 0.0 } else { f32::NEG_INFINITY });
        // SAFETY: the caller says that the pixels are its own and that the channels exist in the output, of
        // which `skip` has the shape.
        unsafe {
            if let Some(skip) = skip {
                for (r, &pixel) in pixels.iter().enumerate() {
                    for j in 0..N {
                        let from = skip.as_ptr().add(pixel * target.channels + at[j].first);
                        let z = s.fma(sums[r][j], states[j][0], states[j][1]);
                        let z = s.add(z, load_n(s, from, at[j].lanes));
                        target.put(s, pixel, at[j], s.max(floor, z));
                    }
                }
            } else {
                for (r, &pixel) in pixels.iter().enumerate() {
                    for j in 0..N {
                        let z = s.fma(sums[r][j], states[j][0], states[j][1]);
                        target.put(s, pixel, at[j], s.max(floor, z));
                    }
                }
            }
        }
    }
}
