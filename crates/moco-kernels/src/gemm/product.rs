//! `C = A B` for matrices of any size, on the crate's threads.
//!
//! `B` is packed once, in panels of one tile's width. A job takes a block of rows, packs it for
//! itself, and multiplies it with each panel; what leaves the registers goes through a small block
//! of `C` that stays in L1, where the caller's [`Epilogue`] takes it.

use std::ops::Range;

use super::pack::{Panels, pack_strip};
use super::{Dims, Panel, Strided, multiply};
use crate::Isa;
use crate::simd::{Kernel, Simd};
use crate::threads::{LINE, Scratch, cut, for_each};

/// Takes finished elements of `C`.
pub(crate) trait Epilogue: Sync {
    /// `sums` are the first `lanes` elements from `C[row][col]` on.
    ///
    /// # Safety
    /// They lie in `C`, and are handed over once.
    unsafe fn put<S: Simd>(&self, s: S, row: usize, col: usize, sums: S::V, lanes: usize);
}

/// Rows per job: a multiple of every tile's height.
const ROWS: usize = 96;
/// Depth between two visits to `C`: a panel of that depth fits L1.
const DEPTH: usize = 256;
/// Depth for which a job packs `A` at once: 576 KiB, which fits L2.
const PACKED_DEPTH: usize = 1536;
/// Jobs that a product is cut into where its rows alone give fewer.
const JOBS: usize = 16;
/// Panels per job, at least, when columns are cut: each job packs its rows again.
const LEAST_PANELS: usize = 4;
/// Panels per job, at most, where the sums of all of them must be kept.
const MOST_PANELS: usize = 16;

/// Hands every element of `C[row][col] = Σ_k a(row, k) b(col, k)` to `finish`.
///
/// # Panics
/// When an operand is shorter than the shapes say.
pub(crate) fn product(
    isa: Isa,
    [rows, depth, cols]: [usize; 3],
    a: Strided,
    b: Strided,
    finish: &impl Epilogue,
) {
    if rows == 0 || cols == 0 {
        return;
    }
    let isa = isa.for_channels(cols);
    let panels = &Panels::pack(isa, b, cols, depth);
    let groups = column_groups(rows, depth, panels.count());
    for_each(rows.div_ceil(ROWS) * groups, |job| {
        let (block, group) = (job / groups, job % groups);
        let rows = block * ROWS..rows.min((block + 1) * ROWS);
        let share = |i: usize| i * panels.count() / groups;
        let range = share(group)..share(group + 1);
        isa.run(Block { rows, range, depth, cols, a, panels, finish });
    });
}

fn column_groups(rows: usize, depth: usize, panels: usize) -> usize {
    let wanted = JOBS.div_ceil(rows.div_ceil(ROWS)).min(panels.div_ceil(LEAST_PANELS));
    let needed = if depth > PACKED_DEPTH { panels.div_ceil(MOST_PANELS) } else { 1 };
    wanted.max(needed)
}

struct Block<'a, F> {
    rows: Range<usize>,
    /// Panels.
    range: Range<usize>,
    depth: usize,
    cols: usize,
    a: Strided<'a>,
    panels: &'a Panels,
    finish: &'a F,
}

impl<F: Epilogue> Kernel for Block<'_, F> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Block { rows, range, depth, cols, a, panels, finish } = self;
        let width = S::LANES * S::TILE_VECTORS;
        let packed_rows = rows.len().next_multiple_of(S::TILE_ROWS);
        let packed_depth = depth.min(PACKED_DEPTH);
        // Depths that are not packed at once revisit all sums, others finish panel by panel.
        let kept = if depth > PACKED_DEPTH { range.len() } else { 1 };
        let sums_len = rows.len() * width;
        let mut scratch =
            Scratch::new((packed_rows * packed_depth).next_multiple_of(LINE) + kept * sums_len);
        let mut rest = &mut scratch[..];
        let packed = cut(&mut rest, packed_rows * packed_depth);
        let sums = rest;
        if depth == 0 {
            sums.fill(0.0);
        }
        for start in (0..depth.max(1)).step_by(PACKED_DEPTH) {
            let part = start..depth.min(start + PACKED_DEPTH);
            pack_rows(s, a, &rows, &part, packed);
            for (i, panel) in range.clone().enumerate() {
                let vectors = panels.vectors(panel);
                let stride = vectors * S::LANES;
                let sums = &mut sums[i % kept * sums_len..][..sums_len];
                let b = &panels.panel(panel)[part.start * stride..part.end * stride];
                multiply_panel(s, (rows.len(), vectors), packed, b, sums, start > 0);
                if part.end == depth {
                    // SAFETY: the block is this job's, inside `C`, and complete.
                    unsafe {
                        hand_over(s, finish, (rows.start, panel * width), sums, stride, cols);
                    }
                }
            }
        }
    }
}

/// `A`'s rows in strips of one tile's height, each `[depth, TILE_ROWS]`.
#[inline(always)]
fn pack_rows<S: Simd>(
    s: S,
    a: Strided,
    rows: &Range<usize>,
    part: &Range<usize>,
    packed: &mut [f32],
) {
    if part.is_empty() {
        return;
    }
    let shifted = Strided { data: &a.data[part.start * a.k_stride..], ..a };
    let strip = S::TILE_ROWS * part.len();
    for (i, out) in packed.chunks_mut(strip).take(rows.len().div_ceil(S::TILE_ROWS)).enumerate() {
        let first = rows.start + i * S::TILE_ROWS;
        let count = S::TILE_ROWS.min(rows.end - first);
        pack_strip(s, shifted, (first, count), part.len(), out, S::TILE_ROWS);
    }
}

/// `sums (+)= A B` for one panel `b`, all of `packed`'s depth.
#[inline(always)]
fn multiply_panel<S: Simd>(
    s: S,
    (rows, vectors): (usize, usize),
    packed: &[f32],
    b: &[f32],
    sums: &mut [f32],
    accumulate: bool,
) {
    let stride = vectors * S::LANES;
    let depth = b.len() / stride;
    for start in (0..depth).step_by(DEPTH) {
        let part = DEPTH.min(depth - start);
        let b = &b[start * stride..][..part * stride];
        for first in (0..rows).step_by(S::TILE_ROWS) {
            let data = &packed[first * depth + start * S::TILE_ROWS..][..part * S::TILE_ROWS];
            let a = Strided { data, row_stride: 1, k_stride: S::TILE_ROWS };
            let dims = Dims::new(S::TILE_ROWS.min(rows - first), part, vectors);
            let c = (&mut sums[first * stride..], stride);
            let b = Panel { data: b, stride };
            multiply(s, dims, a, b, c, accumulate || start > 0);
        }
    }
}

/// # Safety
/// The block of `C` at `(row, col)` is complete in `sums` and handed over once.
#[inline(always)]
unsafe fn hand_over<S: Simd>(
    s: S,
    finish: &impl Epilogue,
    (row, col): (usize, usize),
    sums: &[f32],
    stride: usize,
    cols: usize,
) {
    let used = sums.len() / (S::LANES * S::TILE_VECTORS) * stride;
    for (i, sums) in sums[..used].chunks_exact(stride).enumerate() {
        for at in (0..stride).step_by(S::LANES) {
            let lanes = S::LANES.min(cols - col - at);
            // SAFETY: `at + LANES <= stride`; the caller's promise for the rest.
            unsafe {
                finish.put(s, row + i, col + at, s.load(sums.as_ptr().add(at)), lanes);
            }
        }
    }
}
