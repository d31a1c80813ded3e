//! Operands copied to the order in which the register tile reads them.

use super::Strided;
use crate::Isa;
use crate::simd::{Kernel, Simd, load_n, store_n};
use crate::threads::{Disjoint, Kept, for_each};

/// `B` in panels of `TILE_VECTORS` vectors (the last may have fewer), each `[depth, vectors *
/// LANES]`; columns beyond the matrix are zero.
pub(crate) struct Panels {
    data: Kept,
    depth: usize,
    cols: usize,
    width: usize,
    lanes: usize,
}

impl Panels {
    /// Packs `b`, whose rows are the columns of the product.
    pub(crate) fn pack(isa: Isa, b: Strided, cols: usize, depth: usize) -> Panels {
        let (width, lanes) = (isa.panel_width(), isa.lanes());
        let data = Kept::new(depth * cols.next_multiple_of(lanes));
        let mut panels = Panels { data, depth, cols, width, lanes };
        let parts: Vec<_> = (0..panels.count()).map(|i| panels.range(i)).collect();
        let shared = Disjoint::new(&mut panels.data);
        for_each(parts.len(), |i| {
            let (range, stride) = (parts[i].clone(), parts[i].len() / depth.max(1));
            // SAFETY: panels do not overlap, and each has one job.
            let out = unsafe { shared.slice(range) };
            let count = width.min(cols - i * width);
            isa.run(PackStrip { source: b, first: i * width, count, depth, out, stride });
        });
        panels
    }

    /// Panels in all.
    pub(crate) fn count(&self) -> usize {
        self.cols.div_ceil(self.width)
    }

    /// Vectors per row of panel `i`.
    pub(crate) fn vectors(&self, i: usize) -> usize {
        self.width.min(self.cols - i * self.width).div_ceil(self.lanes)
    }

    /// The floats of panel `i`.
    pub(crate) fn panel(&self, i: usize) -> &[f32] {
        &self.data[self.range(i)]
    }

    fn range(&self, i: usize) -> std::ops::Range<usize> {
        let start = i * self.width * self.depth;
        start..start + self.depth * self.vectors(i) * self.lanes
    }
}

struct PackStrip<'a> {
    source: Strided<'a>,
    first: usize,
    count: usize,
    depth: usize,
    out: &'a mut [f32],
    stride: usize,
}

impl Kernel for PackStrip<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        pack_strip(s, self.source, (self.first, self.count), self.depth, self.out, self.stride);
    }
}

/// Depth indices that are transposed together: their cache lines stay in L1.
const TOGETHER: usize = 16;

/// `out[k][i] = source(first + i, k)` for `i < count`, zero for the rest of each row of `stride`.
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
    let (from, to) = (data[first * row_stride..].as_ptr(), out.as_mut_ptr());
    for start in (0..depth).step_by(TOGETHER) {
        let end = depth.min(start + TOGETHER);
        // SAFETY: the assertions cover every index below; `from` is `source(first, 0)`.
        unsafe {
            if row_stride == 1 {
                for k in start..end {
                    copy(s, from.add(k * k_stride), to.add(k * stride), count);
                }
            } else {
                let [rows, depths] = squares::<S>(k_stride == 1, [count, end - start]);
                for i in (0..rows).step_by(S::LANES) {
                    for k in (start..start + depths).step_by(S::LANES) {
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
