//! `C = A B` for matrices of any size, on the crate's threads.
//!
//! `B` is packed once, in panels of one tile's width. A job takes a block of rows and some panels.
//! Where the depth is small, sums go from the registers to the caller's [`Sink`], and contiguous
//! rows are read where they lie; else it takes the depth in parts, packs its rows of each, and keeps its
//! block of `C` between them.

use std::ops::Range;

use super::pack::{Panels, Strips};
use super::{
    Columns, Dims, IntoSink, Panel, PanelInto, Rows, Sink, Strided, multiply_apart, multiply_into,
    multiply_panels_into,
};
use crate::Isa;
use crate::simd::{Kernel, Simd};
use crate::threads::{LINE, Scratch, for_each};

/// Rows per job: a multiple of every tile's height.
const ROWS: usize = 48;
/// Depth that is taken at once: a job's rows of that depth are 96 KiB.
const DEPTH: usize = 512;
/// Jobs that a product is cut into where its rows alone give fewer.
const JOBS: usize = 16;
/// Panels per job, at least, when columns are cut: each job packs its rows again.
const LEAST_PANELS: usize = 4;
/// Panels that a tile of contiguous rows passes before the next one does.
const TOGETHER: usize = 32;
/// Panels per job, at most, where its block of `C` is kept: 96 KiB with 16 columns each.
const MOST_PANELS: usize = 32;

/// Hands every element of `C[row][col] = Σ_k a(row, k) b(col, k)` to `sink`, which is told no end of rows.
///
/// # Panics
/// When an operand is shorter than the shapes say.
pub(crate) fn product(
    isa: Isa,
    [rows, depth, cols]: [usize; 3],
    a: Strided,
    b: Strided,
    sink: &impl Sink,
) {
    if rows > 0 {
        product_of_panels(rows, a, &Panels::pack(isa, b, cols, depth), sink);
    }
}

/// The product of `a` with panels that are packed already.
pub(crate) fn product_of_panels(rows: usize, a: Strided, panels: &Panels, sink: &impl Sink) {
    let (isa, depth) = (panels.isa(), panels.depth());
    if rows == 0 || panels.count() == 0 {
        return;
    }
    let groups = column_groups(rows, depth, panels.count());
    for_each(rows.div_ceil(ROWS) * groups, |job| {
        let (block, group) = (job / groups, job % groups);
        let rows = block * ROWS..rows.min((block + 1) * ROWS);
        let share = |i: usize| i * panels.count() / groups;
        let range = share(group)..share(group + 1);
        isa.run(Block { rows, range, depth, a, panels, sink });
    });
}

fn column_groups(rows: usize, depth: usize, panels: usize) -> usize {
    let wanted = JOBS.div_ceil(rows.div_ceil(ROWS)).min(panels.div_ceil(LEAST_PANELS));
    let needed = if depth > DEPTH { panels.div_ceil(MOST_PANELS) } else { 1 };
    wanted.max(needed)
}

/// The columns of `C` that a panel of `width` columns holds.
fn channels_of(panels: &Panels, panel: usize, width: usize) -> Range<usize> {
    panel * width..panels.cols().min((panel + 1) * width)
}

struct Block<'a, K> {
    rows: Range<usize>,
    /// Panels.
    range: Range<usize>,
    depth: usize,
    a: Strided<'a>,
    panels: &'a Panels,
    sink: &'a K,
}

impl<K: Sink> Kernel for Block<'_, K> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        if self.a.k_stride == 1 && (1..=DEPTH).contains(&self.depth) {
            return self.rows_in_place(s);
        }
        let Block { rows, range, depth, a, panels, sink } = self;
        let width = S::LANES * S::TILE_VECTORS;
        let parts = depth.div_ceil(DEPTH).max(1);
        let part = depth.div_ceil(parts);
        let sums_len = if parts > 1 { rows.len() * width } else { 0 };
        let mut scratch = Scratch::new(Strips::len::<S>(rows.len(), part) + range.len() * sums_len);
        let (strips, sums) = scratch.split_at_mut(Strips::len::<S>(rows.len(), part));
        for i in 0..parts {
            let ks = i * part..depth.min((i + 1) * part);
            let strips = Strips::pack(s, a, &rows, &ks, strips);
            for (j, panel) in range.clone().enumerate() {
                let stride = panels.vectors(panel) * S::LANES;
                let data = &panels.panel(panel)[ks.start * stride..ks.end * stride];
                // What is needed next, on its way to L2 meanwhile.
                let behind = data.as_ptr().wrapping_add(depth * stride);
                let tiles = rows.len().div_ceil(S::TILE_ROWS);
                let next = if j == 0 && a.row_stride == 1 {
                    let mut next = Columns::new();
                    next.add(behind, stride, stride.div_ceil(LINE));
                    let start = a.data.as_ptr().wrapping_add(ks.end * a.k_stride + rows.start);
                    next.add(start, a.k_stride, rows.len().div_ceil(LINE) + 1);
                    next
                } else {
                    Columns::panel(behind, [ks.len(), stride], tiles)
                };
                let visit = Visit {
                    begun: i > 0,
                    last: i + 1 == parts,
                    sums: &mut sums[j * sums_len..][..sums_len],
                    sink,
                    row: rows.start,
                    channels: channels_of(panels, panel, width),
                };
                multiply_strips(s, &strips, Panel { data, stride }, &next, visit);
            }
        }
    }
}

impl<K: Sink> Block<'_, K> {
    /// Contiguous rows of small depth are read where they lie, a tile of them with several panels.
    #[inline(always)]
    fn rows_in_place<S: Simd>(self, s: S) {
        let Block { rows, range, depth, a, panels, sink } = self;
        let a = Strided { data: &a.data[rows.start * a.row_stride..], ..a };
        for first in range.clone().step_by(TOGETHER) {
            let mut group: [_; TOGETHER] = std::array::from_fn(|i| {
                let panel = (first + i).min(range.end - 1);
                let vectors = panels.vectors(panel);
                let b = Panel { data: panels.panel(panel), stride: vectors * S::LANES };
                let channels = channels_of(panels, panel, S::LANES * S::TILE_VECTORS);
                PanelInto {
                    b,
                    vectors,
                    into: IntoSink::new(sink, Rows::From(rows.start), channels),
                }
            });
            let group = &mut group[..TOGETHER.min(range.end - first)];
            // To the next group they are near.
            let far = first == range.start;
            multiply_panels_into(s, [rows.len(), depth], (a, far), group);
        }
    }
}

/// A visit to a job's rows of one panel's columns of `C`.
struct Visit<'a, K> {
    /// Whether sums go on from `sums`; else they begin here.
    begun: bool,
    /// Whether they are complete afterwards, and go to `sink`; else they are left in `sums`.
    last: bool,
    /// One row after the other, as wide as the panel.
    sums: &'a mut [f32],
    sink: &'a K,
    /// The first row in `C`.
    row: usize,
    /// The panel's columns of `C`.
    channels: Range<usize>,
}

/// All strips times one panel of the same depth.
#[inline(always)]
fn multiply_strips<S: Simd>(
    s: S,
    strips: &Strips,
    b: Panel,
    next: &Columns,
    visit: Visit<impl Sink>,
) {
    let Visit { begun, last, sums, sink, row, channels } = visit;
    for (i, (first, rows, data)) in strips.each::<S>().enumerate() {
        let a = Strided { data, row_stride: 1, k_stride: S::TILE_ROWS };
        let vectors = b.stride / S::LANES;
        let dims = Dims { fetch: next.one(i), ..Dims::new(rows, strips.depth, vectors) };
        if last {
            let mut complete = IntoSink::new(sink, Rows::From(row + first), channels.clone());
            complete.begun = begun.then(|| (&sums[first * b.stride..], b.stride));
            multiply_into(s, dims, a, b, &mut complete);
        } else {
            multiply_apart(s, dims, a, b, (&mut sums[first * b.stride..], b.stride), begun);
        }
    }
}
