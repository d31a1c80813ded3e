//! Blocks of rows, tile by tile, times one panel of `B` or several.

use super::into_sink::{IntoSink, Rows};
use super::tile::{TileArgs, run_tile, tile_rows};
use super::{Channels, Dims, Panel, Runs, Sink, Strided};
use crate::simd::{Kernel, Simd};
use crate::threads::LINE;

/// `C (+)= A B` for one panel of `B`.
///
/// `b` holds `depth` rows, `c` rows of `c_stride` floats; `dims.vectors * LANES` floats of each row
/// are used. With `accumulate` the product is added to `c`, otherwise it
/// replaces it.
///
/// # Panics
/// When an operand is shorter than the shapes say.
#[inline(always)]
pub(crate) fn multiply<S: Simd>(
    s: S,
    dims: Dims,
    a: Strided,
    b: Panel,
    (c, c_stride): (&mut [f32], usize),
    accumulate: bool,
) {
    if dims.rows == 0 || dims.depth == 0 {
        return;
    }
    assert!((dims.rows - 1) * c_stride + dims.vectors * S::LANES <= c.len());
    let store = Store { c: c.as_mut_ptr(), c_stride, accumulate };
    let channels = 0..dims.vectors * S::LANES;
    multiply_into(s, dims, a, b, &mut IntoSink::new(&store, Rows::From(0), channels));
}

/// `A B` for one panel of `B`, tile by tile into `into`; zeros where there is no depth.
///
/// # Panics
/// When an operand is shorter than the shapes say.
#[inline(always)]
pub(crate) fn multiply_into<S: Simd, K: Sink>(
    s: S,
    dims: Dims,
    a: Strided,
    b: Panel,
    into: &mut IntoSink<S, K>,
) {
    let Dims { rows, depth, vectors, runs, fetch } = dims;
    if rows == 0 {
        return;
    }
    if depth > 0 {
        let gaps = (depth - 1) / runs.len * runs.gap;
        assert!((rows - 1) * a.row_stride + (depth - 1) * a.k_stride + gaps < a.data.len());
        assert!((depth - 1) * b.stride + vectors * S::LANES <= b.data.len());
    }
    let mut row = 0;
    while row < rows {
        let count = tile_rows::<S>(rows - row);
        let args = TileArgs {
            depth,
            a: a.data.as_ptr().wrapping_add(row * a.row_stride),
            a_row: a.row_stride,
            a_k: a.k_stride,
            runs,
            b: b.data.as_ptr(),
            b_k: b.stride,
            column: fetch.columns.get(row / S::TILE_ROWS).copied(),
            next_rows: fetch.rows.map(|after_last| match row + count < rows {
                true => count * a.row_stride,
                false => after_last.wrapping_sub(row * a.row_stride),
            }),
        };
        // SAFETY: the assertions cover every row and depth that the tile reads.
        unsafe { run_tile(s, (row, count), vectors, args, &mut *into) };
        row += count;
    }
}

/// [`multiply`], compiled once for all its callers: for blocks of several tiles.
///
/// # Panics
/// When an operand is shorter than the shapes say.
#[inline(always)]
pub(crate) fn multiply_apart<S: Simd>(
    s: S,
    dims: Dims,
    a: Strided,
    b: Panel,
    (c, c_stride): (&mut [f32], usize),
    accumulate: bool,
) {
    s.enter(Multiply { dims, a, b, c, c_stride, accumulate });
}

struct Multiply<'a> {
    dims: Dims<'a>,
    a: Strided<'a>,
    b: Panel<'a>,
    c: &'a mut [f32],
    c_stride: usize,
    accumulate: bool,
}

impl Kernel for Multiply<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Multiply { dims, a, b, c, c_stride, accumulate } = self;
        multiply(s, dims, a, b, (c, c_stride), accumulate);
    }
}

/// A panel of `B`, and what takes its sums.
pub(crate) struct PanelInto<'a, S: Simd, K: Sink> {
    pub b: Panel<'a>,
    /// At most `TILE_VECTORS`.
    pub vectors: usize,
    pub into: IntoSink<'a, S, K>,
}

/// `A B` for several panels of `B`: each tile of rows passes all of them before the next one does.
///
/// So the sums of a row go to lines that lie side by side, and a tile's rows are read once from where
/// they lie, with `far` fetched meanwhile. One panel after the other, each with all rows, took up to a
/// third longer on Zen 3.
///
/// # Panics
/// When an operand is shorter than `rows` and `depth`, at least 1, say.
#[inline(always)]
pub(crate) fn multiply_panels_into<S: Simd, K: Sink>(
    s: S,
    [rows, depth]: [usize; 2],
    (a, far): (Strided, bool),
    panels: &mut [PanelInto<S, K>],
) {
    if rows == 0 {
        return;
    }
    assert!((rows - 1) * a.row_stride + (depth - 1) * a.k_stride < a.data.len());
    for PanelInto { b, vectors, .. } in &*panels {
        assert!((depth - 1) * b.stride + vectors * S::LANES <= b.data.len());
    }
    let last = panels.len().saturating_sub(1);
    let mut row = 0;
    while row < rows {
        let count = tile_rows::<S>(rows - row);
        for (i, PanelInto { b, vectors, into }) in panels.iter_mut().enumerate() {
            let args = TileArgs {
                depth,
                a: a.data.as_ptr().wrapping_add(row * a.row_stride),
                a_row: a.row_stride,
                a_k: a.k_stride,
                runs: Runs { len: LINE, gap: 0 },
                b: b.data.as_ptr(),
                b_k: b.stride,
                column: None,
                next_rows: (far && i == last).then_some(count * a.row_stride),
            };
            // SAFETY: the assertions cover every row and depth that the tile reads.
            unsafe { run_tile(s, (row, count), *vectors, args, into) };
        }
        row += count;
    }
}

/// Adds to a tile's sums what was summed before, in rows of `pitch` floats.
///
/// # Panics
/// When `begun` is shorter than that.
#[inline(always)]
pub(crate) fn add_begun<S: Simd, const R: usize, const N: usize>(
    s: S,
    sums: &mut [[S::V; N]; R],
    begun: &[f32],
    pitch: usize,
) {
    assert!((R - 1) * pitch + N * S::LANES <= begun.len());
    for r in 0..R {
        for j in 0..N {
            // SAFETY: asserted above.
            let before = unsafe { s.load(begun.as_ptr().add(r * pitch + j * S::LANES)) };
            sums[r][j] = s.add(before, sums[r][j]);
        }
    }
}

/// Writes whole vectors of sums to memory, or adds them to what is there.
struct Store {
    c: *mut f32,
    c_stride: usize,
    accumulate: bool,
}

// SAFETY: the pointer is used in `put` alone, whose callers put each element once.
unsafe impl Sync for Store {}

impl Sink for Store {
    type State<S: Simd> = ();

    #[inline(always)]
    fn begin<S: Simd>(&self, _: S, _: Channels, _: S::V) {}

    #[inline(always)]
    unsafe fn put<S: Simd>(&self, s: S, _: &mut (), row: usize, at: Channels, sum: S::V) {
        // SAFETY: `multiply` asserted that `c` holds all rows of the block, in whole vectors.
        unsafe {
            let p = self.c.add(row * self.c_stride + at.first);
            s.store(p, if self.accumulate { s.add(s.load(p), sum) } else { sum });
        }
    }
}
