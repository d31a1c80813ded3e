//! The way from the register tile into a convolution's sink.

use std::ops::Range;

use super::sink::{Channels, Sink, put_tile};
use crate::gemm::{Finish, add_begun};
use crate::simd::Simd;

/// Sums on their way into a sink, after those of the columns before are added.
pub(super) struct IntoSink<'a, S: Simd, K: Sink> {
    sink: &'a K,
    pixels: &'a [usize],
    at: [Channels; 2],
    /// Sums of the columns before, and from one row of them to the next.
    pub begun: Option<(&'a [f32], usize)>,
    states: Option<[K::State<S>; 2]>,
}

impl<S: Simd, K: Sink> Finish<S> for IntoSink<'_, S, K> {
    #[inline(always)]
    fn expect<const R: usize, const N: usize>(&self, s: S, row: usize) {
        for &pixel in &self.pixels[row..row + R] {
            for at in &self.at[..N] {
                self.sink.expect(s, pixel, *at);
            }
        }
    }

    #[inline(always)]
    unsafe fn tile<const R: usize, const N: usize>(
        &mut self,
        s: S,
        row: usize,
        sums: &[[S::V; N]; R],
    ) {
        let mut sums = *sums;
        if let Some((begun, pitch)) = self.begun {
            add_begun(s, &mut sums, &begun[row * pitch..], pitch);
        }
        let mut states = match self.states {
            Some(states) => states,
            None => [0, N - 1].map(|j| self.sink.begin(s, self.at[j], sums[0][j])),
        };
        let pixels = &self.pixels[row..row + R];
        // SAFETY: the block has these rows; the pixels are this job's own.
        unsafe { put_tile(s, self.sink, &mut states, pixels, &self.at, &sums) };
        self.states = Some(states);
    }
}

impl<'a, S: Simd, K: Sink> IntoSink<'a, S, K> {
    /// For all columns, and the first vectors of `outputs`. Row `i` of the product is `pixels[i]`.
    #[inline(always)]
    pub(super) fn new(sink: &'a K, pixels: &'a [usize], outputs: Range<usize>) -> Self {
        let mut at = [Channels { first: outputs.start, lanes: 0 }; 2];
        for j in 0..at.len() {
            at[j].first += j * S::LANES;
            at[j].lanes = S::LANES.min(outputs.end.saturating_sub(at[j].first));
        }
        IntoSink { sink, pixels, at, begun: None, states: None }
    }

    #[inline(always)]
    pub(super) fn end(&self, s: S, job: usize, vectors: usize) {
        let Some(states) = self.states else { return };
        for j in 0..vectors {
            // SAFETY: these channels of this job are handled here alone.
            unsafe { self.sink.end(s, states[j], job, self.at[j]) };
        }
    }
}
