//! The register tile and the loop over a block's rows.

use super::fetch::Column;
use super::{Dims, Panel, Runs, Strided};
use crate::simd::Simd;

/// What happens to a tile's sums when they are complete, while they are still in registers.
pub(crate) trait Finish<S: Simd> {
    /// Told before the sums of rows `row..row + R` are computed: the time to fetch what they will
    /// be written to.
    #[inline(always)]
    fn expect<const R: usize, const N: usize>(&self, _: S, _row: usize) {}

    /// Takes the sums of rows `row..row + R` of the block. Rows come in order.
    ///
    /// # Safety
    /// The block has these rows, and `N` is its width in vectors.
    unsafe fn tile<const R: usize, const N: usize>(
        &mut self,
        s: S,
        row: usize,
        sums: &[[S::V; N]; R],
    );
}

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
    let mut store = Store { c: c.as_mut_ptr(), c_stride, accumulate };
    multiply_into(s, dims, a, b, &mut store);
}

/// `A B` for one panel of `B`, tile by tile into `finish`; zeros where there is no depth.
///
/// # Panics
/// When an operand is shorter than the shapes say.
#[inline(always)]
pub(crate) fn multiply_into<S: Simd, F: Finish<S>>(
    s: S,
    dims: Dims,
    a: Strided,
    b: Panel,
    finish: &mut F,
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
            row,
            finish: &mut *finish,
        };
        // SAFETY: the assertions cover every row and depth that the tile reads.
        unsafe { run_tile(s, count, vectors, args) };
        row += count;
    }
}

/// The tallest tile for `left` rows; only these heights are compiled.
#[inline(always)]
fn tile_rows<S: Simd>(left: usize) -> usize {
    let heights = [12, 8, 6, 4, 3, 2, 1];
    let mut best = 1;
    for height in heights {
        if height <= left.min(S::TILE_ROWS) {
            best = best.max(height);
        }
    }
    best
}

struct TileArgs<'a, F> {
    depth: usize,
    a: *const f32,
    a_row: usize,
    a_k: usize,
    runs: Runs,
    b: *const f32,
    b_k: usize,
    /// What is fetched meanwhile, line by line.
    column: Option<Column>,
    /// From `a` to rows that are fetched meanwhile.
    next_rows: Option<usize>,
    /// Of the tile's first row in the block.
    row: usize,
    finish: &'a mut F,
}

/// # Safety
/// For all `r < rows` and `k < depth`: `a[r * a_row + k * a_k]`, behind the gaps of the runs before,
/// and `vectors` vectors at `b[k * b_k]` are readable, and `finish` takes these rows.
#[inline(always)]
unsafe fn run_tile<S: Simd, F: Finish<S>>(s: S, rows: usize, vectors: usize, args: TileArgs<F>) {
    // SAFETY: the caller's promise, for as many rows and vectors as it says.
    unsafe {
        match (rows, vectors) {
            (12, 2) => tile::<S, F, 12, 2>(s, args),
            (8, 2) => tile::<S, F, 8, 2>(s, args),
            (6, 2) => tile::<S, F, 6, 2>(s, args),
            (4, 2) => tile::<S, F, 4, 2>(s, args),
            (3, 2) => tile::<S, F, 3, 2>(s, args),
            (2, 2) => tile::<S, F, 2, 2>(s, args),
            (1, 2) => tile::<S, F, 1, 2>(s, args),
            (12, 1) => tile::<S, F, 12, 1>(s, args),
            (8, 1) => tile::<S, F, 8, 1>(s, args),
            (6, 1) => tile::<S, F, 6, 1>(s, args),
            (4, 1) => tile::<S, F, 4, 1>(s, args),
            (3, 1) => tile::<S, F, 3, 1>(s, args),
            (2, 1) => tile::<S, F, 2, 1>(s, args),
            (1, 1) => tile::<S, F, 1, 1>(s, args),
            _ => unreachable!("tile_rows and the panel width allow no other tile"),
        }
    }
}

/// `R` rows by `N` vectors.
///
/// # Safety
/// As for [`run_tile`].
#[inline(always)]
unsafe fn tile<S: Simd, F: Finish<S>, const R: usize, const N: usize>(s: S, args: TileArgs<F>) {
    let TileArgs { depth, a, a_row, a_k, runs, b, b_k, column, next_rows, row, finish } = args;
    finish.expect::<R, N>(s, row);
    let mut sums = [[s.splat(0.0); N]; R];
    // Where nothing is to be fetched, what is just read: a branch here would cost more.
    let Column { start: line, stride } = column.unwrap_or(Column { start: b, stride: b_k });
    let mut at = Cursor { a, b, line };
    let one_run = next_rows.is_none() && runs.gap == 0;
    let len = if one_run { depth.max(1) } else { runs.len };
    for start in (0..depth).step_by(len) {
        if let Some(ahead) = next_rows {
            for r in 0..R {
                s.prefetch(at.a.wrapping_add(ahead).wrapping_add(r * a_row));
            }
        }
        let count = len.min(depth - start);
        // Otherwise there are too few registers for the addresses of four.
        let near = b_k == N * S::LANES && (R <= 8 || a_row == 1);
        let fours = if near { count / 4 } else { 0 };
        // SAFETY: as many steps as there are `k` in the run, the caller's promise.
        unsafe {
            for _ in 0..fours {
                at.steps::<S, R, N, 4>(s, &mut sums, a_row, [a_k, N * S::LANES, stride]);
            }
            for _ in 4 * fours..count {
                at.steps::<S, R, N, 1>(s, &mut sums, a_row, [a_k, b_k, stride]);
            }
        }
        at.a = at.a.wrapping_add(runs.gap);
    }
    // SAFETY: the caller's promise.
    unsafe { finish.tile(s, row, &sums) };
}

/// What a tile reads next: of `A`, of `B`, and of what it fetches.
struct Cursor {
    a: *const f32,
    b: *const f32,
    line: *const f32,
}

impl Cursor {
    /// `K` rank-1 updates, whose `k` are as many floats apart as `strides` says, in the cursor's order.
    ///
    /// Four at once: with a count and three additions for each, a linear layer took 3 to 10 % longer
    /// (measured on Zen 3, in company).
    ///
    /// # Safety
    /// For each of them, `R` floats of `A`, `a_row` apart, and `N` vectors of `B` are readable.
    #[inline(always)]
    unsafe fn steps<S: Simd, const R: usize, const N: usize, const K: usize>(
        &mut self,
        s: S,
        sums: &mut [[S::V; N]; R],
        a_row: usize,
        strides: [usize; 3],
    ) {
        let [a_k, b_k, line_k] = strides;
        for k in 0..K {
            s.prefetch_far(self.line.wrapping_add(k * line_k));
            let (a, b) = (self.a.wrapping_add(k * a_k), self.b.wrapping_add(k * b_k));
            // SAFETY: the caller's promise.
            unsafe { step(s, sums, a, a_row, b) };
        }
        self.a = self.a.wrapping_add(K * a_k);
        self.b = self.b.wrapping_add(K * b_k);
        self.line = self.line.wrapping_add(K * line_k);
    }
}

/// One rank-1 update: `sums[r] += a[r * a_row] * b[..]`.
///
/// # Safety
/// `R` strided floats at `a` and `N` vectors at `b` are readable.
#[inline(always)]
unsafe fn step<S: Simd, const R: usize, const N: usize>(
    s: S,
    sums: &mut [[S::V; N]; R],
    a: *const f32,
    a_row: usize,
    b: *const f32,
) {
    let mut columns = [s.splat(0.0); N];
    for j in 0..N {
        // SAFETY: the caller's promise.
        columns[j] = unsafe { s.load(b.add(j * S::LANES)) };
    }
    for r in 0..R {
        // SAFETY: the caller's promise.
        let x = s.splat(unsafe { *a.add(r * a_row) });
        for j in 0..N {
            sums[r][j] = s.fma(x, columns[j], sums[r][j]);
        }
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

/// Writes the sums to memory.
struct Store {
    c: *mut f32,
    c_stride: usize,
    accumulate: bool,
}

impl<S: Simd> Finish<S> for Store {
    #[inline(always)]
    unsafe fn tile<const R: usize, const N: usize>(
        &mut self,
        s: S,
        row: usize,
        sums: &[[S::V; N]; R],
    ) {
        for r in 0..R {
            for j in 0..N {
                // SAFETY: `multiply` asserted that `c` holds all rows of the block.
                unsafe {
                    let p = self.c.add((row + r) * self.c_stride + j * S::LANES);
                    let sum = sums[r][j];
                    s.store(p, if self.accumulate { s.add(s.load(p), sum) } else { sum });
                }
            }
        }
    }
}
