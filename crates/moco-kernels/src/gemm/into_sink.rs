//! The way from the register tile into a sink.

use std::ops::Range;

use super::add_begun;
use super::sink::{Channels, Sink, put_tile};
use crate::simd::Simd;

/// Which rows of the output a block's rows are.
#[derive(Clone, Copy)]
pub(crate) enum Rows<'a> {
    /// This one and those behind it.
    From(usize),
    /// Row `i` of the block is `rows[i]`.
    Listed(&'a [usize]),
}

impl Rows<'_> {
    /// Those of rows `row..row + R` of the block.
    #[inline(always)]
    fn of<const R: usize>(&self, row: usize) -> [usize; R] {
        match self {
            Rows::From(first) => std::array::from_fn(|r| first + row + r),
            Rows::Listed(rows) => {
                let rows = &rows[row..row + R];
                std::array::from_fn(|r| rows[r])
            }
        }
    }
}

/// Takes a tile's sums when they are complete, while they are still in registers, adds those of the
/// columns before, and puts them into a sink.
pub(crate) struct IntoSink<'a, S: Simd, K: Sink> {
    sink: &'a K,
    rows: Rows<'a>,
    at: [Channels; 2],
    /// Sums of the columns before, and from one row of them to the next.
    pub begun: Option<(&'a [f32], usize)>,
    states: Option<[K::State<S>; 2]>,
}

impl<'a, S: Simd, K: Sink> IntoSink<'a, S, K> {
    /// For all columns, and the first vectors of `outputs`.
    #[inline(always)]
    pub(crate) fn new(sink: &'a K, rows: Rows<'a>, outputs: Range<usize>) -> Self {
        let mut at = [Channels { first: outputs.start, lanes: 0 }; 2];
        for j in 0..at.len() {
            at[j].first += j * S::LANES;
            at[j].lanes = S::LANES.min(outputs.end.saturating_sub(at[j].first));
        }
        IntoSink { sink, rows, at, begun: None, states: None }
    }

    /// Told before the sums of rows `row..row + R` are computed: the time to fetch what they will
    /// be written to.
    #[inline(always)]
    pub(super) fn expect<const R: usize, const N: usize>(&self, s: S, row: usize) {
        for row in self.rows.of::<R>(row) {
            for at in &self.at[..N] {
                self.sink.expect(s, row, *at);
            }
        }
    }

    /// Takes the sums of rows `row..row + R` of the block. Rows come in order.
    ///
    /// # Safety
    /// The block has these rows, and `N` is its width in vectors. They and the channels lie in the
    /// sink's output, and no other thread puts them.
    #[inline(always)]
    pub(super) unsafe fn tile<const R: usize, const N: usize>(
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
        let rows = self.rows.of::<R>(row);
        // SAFETY: the caller says so of these rows and channels.
        unsafe { put_tile(s, self.sink, &mut states, &rows, &self.at, &sums) };
        self.states = Some(states);
    }

    /// Called after all rows of the block.
    #[inline(always)]
    pub(crate) fn end(&self, s: S, job: usize, vectors: usize) {
        let Some(states) = self.states else { return };
        for j in 0..vectors {
            // SAFETY: these channels of this job are handled here alone.
            unsafe { self.sink.end(s, states[j], job, self.at[j]) };
        }
    }
}
