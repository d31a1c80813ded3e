//! Operands copied to the order in which the register tile reads them.

use std::ops::Range;

use super::Strided;
use crate::Isa;
use crate::simd::{Kernel, Simd, load_n, store_n};
use crate::threads::{Disjoint, Kept, LINE, for_each, odd_lines};

/// `B` in panels of `TILE_VECTORS` vectors (the last may have fewer), each `[depth, vectors *
/// LANES]`; columns beyond the matrix are zero.
#[derive(Debug)]
pub(crate) struct Panels {
    data: Kept,
    layout: Layout,
    isa: Isa,
}

impl Panels {
    /// Packs `b`, whose rows are the columns of the product.
    pub(crate) fn pack(isa: Isa, b: Strided, cols: usize, depth: usize) -> Panels {
        let isa = isa.for_channels(cols);
        let layout = Layout { depth, cols, width: isa.panel_width(), lanes: isa.lanes() };
        let mut data = Kept::new(depth * cols.next_multiple_of(layout.lanes));
        let out = &Disjoint::new(&mut data);
        // The source is read along its lines: for columns of a matrix, that is all panels at once.
        let by_depth = b.row_stride == 1;
        let jobs = if by_depth { depth.div_ceil(TOGETHER) } else { layout.count() };
        for_each(jobs, |job| {
            let (panels, ks) = if by_depth {
                (0..layout.count(), job * TOGETHER..depth.min((job + 1) * TOGETHER))
            } else {
                (job..job + 1, 0..depth)
            };
            isa.run(PackPanels { source: b, layout, panels, ks, out });
        });
        Panels { data, layout, isa }
    }

    /// These panels in memory of their own, which outlives the call.
    pub(crate) fn apart(self) -> Panels {
        Panels { data: self.data.apart(), ..self }
    }

    /// The instruction set that they are packed for.
    pub(crate) fn isa(&self) -> Isa {
        self.isa
    }

    /// Depth of the product.
    pub(crate) fn depth(&self) -> usize {
        self.layout.depth
    }

    /// Columns of the product.
    pub(crate) fn cols(&self) -> usize {
        self.layout.cols
    }

    /// Panels in all.
    pub(crate) fn count(&self) -> usize {
        self.layout.count()
    }

    /// Vectors per row of panel `i`.
    pub(crate) fn vectors(&self, i: usize) -> usize {
        self.layout.vectors(i)
    }

    /// The floats of panel `i`.
    pub(crate) fn panel(&self, i: usize) -> &[f32] {
        &self.data[self.layout.rows(i, &(0..self.layout.depth))]
    }
}

#[derive(Clone, Copy, Debug)]
struct Layout {
    depth: usize,
    cols: usize,
    width: usize,
    lanes: usize,
}

impl Layout {
    fn count(&self) -> usize {
        self.cols.div_ceil(self.width)
    }

    fn vectors(&self, i: usize) -> usize {
        self.width.min(self.cols - i * self.width).div_ceil(self.lanes)
    }

    /// Where the rows `ks` of panel `i` lie.
    fn rows(&self, i: usize, ks: &Range<usize>) -> Range<usize> {
        let (start, stride) = (i * self.width * self.depth, self.vectors(i) * self.lanes);
        start + ks.start * stride..start + ks.end * stride
    }
}

/// Packs some rows of some panels.
struct PackPanels<'a> {
    source: Strided<'a>,
    layout: Layout,
    panels: Range<usize>,
    ks: Range<usize>,
    out: &'a Disjoint<'a, f32>,
}

impl Kernel for PackPanels<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let PackPanels { source, layout, panels, ks, out } = self;
        if ks.is_empty() {
            return;
        }
        let source = Strided { data: &source.data[ks.start * source.k_stride..], ..source };
        for i in panels {
            // SAFETY: no two jobs share a row of a panel.
            let out = unsafe { out.slice(layout.rows(i, &ks)) };
            let (first, stride) = (i * layout.width, layout.vectors(i) * layout.lanes);
            let count = layout.width.min(layout.cols - first);
            pack_strip(s, source, (first, count), ks.len(), out, stride);
        }
    }
}

/// A block of `A`'s rows in strips of one tile's height, each `[depth, TILE_ROWS]`.
pub(crate) struct Strips<'a> {
    data: &'a [f32],
    rows: usize,
    pub depth: usize,
}

impl<'a> Strips<'a> {
    /// Floats that the strips take.
    pub(crate) fn len<S: Simd>(rows: usize, depth: usize) -> usize {
        rows.div_ceil(S::TILE_ROWS) * Self::strip::<S>(depth)
    }

    /// From one strip to the next, with a vector to spare.
    fn strip<S: Simd>(depth: usize) -> usize {
        odd_lines(depth * S::TILE_ROWS + S::LANES)
    }

    /// Packs `rows` of `a` at the depths `ks` to `out`.
    #[inline(always)]
    pub(crate) fn pack<S: Simd>(
        s: S,
        a: Strided,
        rows: &Range<usize>,
        ks: &Range<usize>,
        out: &'a mut [f32],
    ) -> Strips<'a> {
        let (depth, strip) = (ks.len(), Self::strip::<S>(ks.len()));
        // As for panels: along the source's lines.
        let together = if a.row_stride == 1 { TOGETHER } else { depth.max(1) };
        for k in ks.clone().step_by(together) {
            let source = Strided { data: &a.data[k * a.k_stride..], ..a };
            let part = together.min(ks.end - k);
            if a.row_stride == 1 {
                // The depths after these: too few lines of each for the hardware to foresee.
                for next in k + part..k + 2 * part {
                    let row = a.data.as_ptr().wrapping_add(next * a.k_stride);
                    for at in rows.clone().step_by(LINE) {
                        s.prefetch(row.wrapping_add(at));
                    }
                }
            }
            for (i, out) in out.chunks_exact_mut(strip).enumerate() {
                let first = rows.start + i * S::TILE_ROWS;
                if first >= rows.end {
                    break;
                }
                let out = &mut out[(k - ks.start) * S::TILE_ROWS..];
                let count = S::TILE_ROWS.min(rows.end - first);
                pack_strip(s, source, (first, count), part, out, S::TILE_ROWS);
            }
        }
        Strips { data: out, rows: rows.len(), depth }
    }

    /// Each strip's first row, the number of its rows, and its floats.
    #[inline(always)]
    pub(crate) fn each<S: Simd>(&self) -> impl Iterator<Item = (usize, usize, &'a [f32])> {
        let (rows, len) = (self.rows, self.depth * S::TILE_ROWS);
        let strips = self.data.chunks_exact(Self::strip::<S>(self.depth));
        let firsts = (0..rows).step_by(S::TILE_ROWS);
        firsts.zip(strips).map(move |(i, strip)| (i, S::TILE_ROWS.min(rows - i), &strip[..len]))
    }
}

/// Depth indices that are transposed together: their cache lines stay in L1.
const TOGETHER: usize = 16;

/// `out[k][i] = source(first + i, k)` for `i < count`, zero for the rest of each row of `stride`.
///
/// Where `out` has room for a vector behind the last row, that is overwritten: rows can then be
/// written by whole vectors, each over the surplus of the one before.
///
/// # Panics
/// When `source` or `out` is shorter than that.
#[inline(always)]
pub(crate) fn pack_strip<S: Simd>(
    s: S,
    source: Strided,
    (first, count): (usize, usize),
    depth: usize,
    out: &mut [f32],
    stride: usize,
) {
    if depth == 0 || count == 0 {
        return out.fill(0.0);
    }
    let Strided { data, row_stride, k_stride } = source;
    assert!(count <= stride && depth * stride <= out.len());
    assert!((first + count - 1) * row_stride + (depth - 1) * k_stride < data.len());
    let whole = count.next_multiple_of(S::LANES);
    let last = (first + whole - 1) * row_stride + (depth - 1) * k_stride;
    let spare = last < data.len() && depth * stride + S::LANES <= out.len();
    let wide = if spare || whole == count { whole } else { count };
    let (from, to) = (data[first * row_stride..].as_ptr(), out.as_mut_ptr());
    for start in (0..depth).step_by(TOGETHER) {
        let end = depth.min(start + TOGETHER);
        // SAFETY: the assertions cover every index below, with what is spare for the surplus.
        unsafe {
            if row_stride == 1 {
                for k in start..end {
                    copy(s, from.add(k * k_stride), to.add(k * stride), wide);
                }
            } else {
                let [rows, depths] = squares::<S>(k_stride == 1, [wide, end - start]);
                for k in (start..start + depths).step_by(S::LANES) {
                    for i in (0..rows).step_by(S::LANES) {
                        let square = from.add(i * row_stride + k);
                        s.transpose(square, row_stride, to.add(k * stride + i), stride);
                    }
                }
                for i in 0..count {
                    let left = if i < rows { start + depths } else { start };
                    for k in left..end {
                        *to.add(k * stride + i) = *from.add(i * row_stride + k * k_stride);
                    }
                }
            }
            for k in start..end {
                for i in count..stride {
                    *to.add(k * stride + i) = 0.0;
                }
            }
        }
    }
}

/// Rows and depth that whole squares of vectors cover, where rows are `contiguous`.
#[inline(always)]
fn squares<S: Simd>(contiguous: bool, sides: [usize; 2]) -> [usize; 2] {
    let whole = |side: usize| if contiguous { side / S::LANES * S::LANES } else { 0 };
    [whole(sides[0]), whole(sides[1])]
}

/// # Safety
/// `count` floats are readable at `from` and writable at `to`.
#[inline(always)]
unsafe fn copy<S: Simd>(s: S, from: *const f32, to: *mut f32, count: usize) {
    for at in (0..count).step_by(S::LANES) {
        let lanes = S::LANES.min(count - at);
        // SAFETY: `at + lanes <= count`.
        unsafe { store_n(s, to.add(at), load_n(s, from.add(at), lanes), lanes) };
    }
}
