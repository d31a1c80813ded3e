//! Walking NHWC maps a few rows at a time, a few vectors of channels after another.
//!
//! These passes do next to no arithmetic: what counts is that memory is read in long runs, and asked
//! for in time. A few vectors of each row are no stream that the hardware foresees: backwards over
//! maps of 51 MB, one Zen 5 core read 14 GB/s with four vectors at a time. Asking for the rows of
//! the next block takes a third off the two backward passes.

use std::ops::Range;

use crate::Isa;
use crate::simd::{Kernel, Simd};
use crate::threads::for_each;

/// A batch of maps as rows of channels, in BatchNorm groups.
///
/// Narrow maps are seen with several pixels per row, so that vectors are full: `[pixels, 8]`
/// becomes `[pixels / 2, 16]`, with the per-channel values repeated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Maps {
    images: usize,
    rows: usize,
    width: usize,
    pub groups: usize,
    channels: usize,
}

/// Floats per job: large against the cost of handing out a job, small against a batch.
const JOB: usize = 32 << 10;
/// Rows that share one load of the per-channel values.
const BLOCK: usize = 16;
/// Vectors of a row handled together.
const VECTORS: usize = 4;

impl Maps {
    /// Maps of `pixels` pixels per image.
    pub(crate) fn new(
        isa: Isa,
        images: usize,
        pixels: usize,
        channels: usize,
        groups: usize,
    ) -> Maps {
        // With one group the boundaries between images do not matter.
        let (images, pixels) = if groups == 1 { (1, images * pixels) } else { (images, pixels) };
        let fills = |&fold: &usize| {
            pixels.is_multiple_of(fold) && (fold * channels).is_multiple_of(isa.lanes())
        };
        let fold = [1, 2, 4, 8, 16].into_iter().find(fills).unwrap_or(1);
        Maps { images, rows: pixels / fold, width: fold * channels, groups, channels }
    }

    pub(crate) fn channels(&self) -> usize {
        self.channels
    }

    /// Floats per row.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Floats of the whole batch.
    pub(crate) fn len(&self) -> usize {
        self.images * self.rows * self.width
    }

    /// Per-channel values `[groups, channels]` repeated to `[groups, width]`.
    pub(crate) fn widen(&self, values: &[f32]) -> Vec<f32> {
        let repeat = self.width / self.channels.max(1);
        values.chunks(self.channels.max(1)).flat_map(|group| group.repeat(repeat)).collect()
    }

    /// The number of jobs that [`Maps::run`] makes.
    pub(crate) fn jobs(&self) -> usize {
        (self.images * self.rows).div_ceil(self.rows_per_job())
    }

    /// Runs `op` over all rows.
    pub(crate) fn run<O: RowOp>(&self, isa: Isa, op: &O) {
        let rows = self.rows_per_job();
        for_each(self.jobs(), |job| {
            let range = job * rows..(self.images * self.rows).min((job + 1) * rows);
            isa.run(Job { maps: self, op, job, range });
        });
    }

    fn rows_per_job(&self) -> usize {
        (JOB / self.width.max(1)).max(1)
    }
}

/// Something done to every element, with values per group and channel kept in registers.
pub(crate) trait RowOp: Sync {
    type State<S: Simd>: Copy;

    /// Loads the values of `lanes` channels at `at`, an index into `[groups, width]`.
    ///
    /// # Safety
    /// `at..at + lanes` lies within one group's row.
    unsafe fn begin<S: Simd>(&self, s: S, job: usize, at: usize, lanes: usize) -> Self::State<S>;

    /// Asks for the elements at offset `at`, which need not lie in the maps.
    fn prefetch<S: Simd>(&self, s: S, at: usize);

    /// Handles `lanes` elements at offset `at` of the maps.
    ///
    /// # Safety
    /// The elements lie in the maps, and no other thread handles them.
    unsafe fn step<S: Simd>(&self, s: S, state: &mut Self::State<S>, at: usize, lanes: usize);

    /// Stores what `step` gathered for `job`.
    ///
    /// # Safety
    /// As for `begin`; no other thread ends this job.
    unsafe fn end<S: Simd>(&self, s: S, state: Self::State<S>, job: usize, at: usize, lanes: usize);
}

struct Job<'a, O> {
    maps: &'a Maps,
    op: &'a O,
    job: usize,
    range: Range<usize>,
}

impl<O: RowOp> Kernel for Job<'_, O> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Job { maps, op, job, range } = self;
        let width = maps.width;
        let mut row = range.start;
        while row < range.end {
            let image = row / maps.rows;
            let rows = BLOCK.min(range.end - row).min((image + 1) * maps.rows - row);
            let group = image % maps.groups;
            let at = Position { job, group, width, rows: row..row + rows };
            let mut first = 0;
            while first < width {
                // SAFETY: the channels are in the group's row, the rows are in the maps and this
                // job's own.
                unsafe {
                    if first + VECTORS * S::LANES <= width {
                        walk::<S, O, VECTORS>(s, op, &at, first, S::LANES);
                        first += VECTORS * S::LANES;
                    } else {
                        walk::<S, O, 1>(s, op, &at, first, S::LANES.min(width - first));
                        first += S::LANES;
                    }
                }
            }
            row += rows;
        }
    }
}

struct Position {
    job: usize,
    group: usize,
    width: usize,
    rows: Range<usize>,
}

/// `N` neighbouring vectors (of `lanes` lanes where `N` is 1, else whole) down some rows.
///
/// # Safety
/// The channels lie in a row, the rows in the maps, and no other thread handles them.
#[inline(always)]
unsafe fn walk<S: Simd, O: RowOp, const N: usize>(
    s: S,
    op: &O,
    at: &Position,
    first: usize,
    lanes: usize,
) {
    let channel = at.group * at.width + first;
    // SAFETY: the caller says that these channels lie in a row and the rows in the maps, and that no other
    // thread handles them: what `begin`, `step` and `end` ask.
    unsafe {
        let mut states = [op.begin(s, at.job, channel, lanes); N];
        for i in 1..N {
            states[i] = op.begin(s, at.job, channel + i * S::LANES, lanes);
        }
        for row in at.rows.clone() {
            for i in 0..N {
                op.prefetch(s, (row + BLOCK) * at.width + first + i * S::LANES);
                op.step(s, &mut states[i], row * at.width + first + i * S::LANES, lanes);
            }
        }
        for i in 0..N {
            op.end(s, states[i], at.job, channel + i * S::LANES, lanes);
        }
    }
}
