//! The register tile.

use super::Runs;
use super::fetch::Column;
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

/// The tallest tile for `left` rows; only these heights are compiled.
#[inline(always)]
pub(super) fn tile_rows<S: Simd>(left: usize) -> usize {
    let heights = [12, 8, 6, 4, 3, 2, 1];
    let mut best = 1;
    for height in heights {
        if height <= left.min(S::TILE_ROWS) {
            best = best.max(height);
        }
    }
    best
}

/// What a tile computes, and what it fetches meanwhile.
pub(super) struct TileArgs<'a, F> {
    pub depth: usize,
    pub a: *const f32,
    pub a_row: usize,
    pub a_k: usize,
    pub runs: Runs,
    pub b: *const f32,
    pub b_k: usize,
    /// What is fetched meanwhile, line by line.
    pub column: Option<Column>,
    /// From `a` to rows that are fetched meanwhile.
    pub next_rows: Option<usize>,
    /// Of the tile's first row in the block.
    pub row: usize,
    pub finish: &'a mut F,
}

/// # Safety
/// For all `r < rows` and `k < depth`: `a[r * a_row + k * a_k]`, behind the gaps of the runs before,
/// and `vectors` vectors at `b[k * b_k]` are readable, and `finish` takes these rows.
#[inline(always)]
pub(super) unsafe fn run_tile<S: Simd, F: Finish<S>>(
    s: S,
    rows: usize,
    vectors: usize,
    args: TileArgs<F>,
) {
    // SAFETY: the caller's promise, for as many rows and vectors as it says.
    unsafe {
        match (rows, vectors) {
            (12, 2) if S::TILE_ROWS >= 12 => tile::<S, F, 12, 2>(s, args),
            (8, 2) if S::TILE_ROWS >= 8 => tile::<S, F, 8, 2>(s, args),
            (6, 2) => tile::<S, F, 6, 2>(s, args),
            (4, 2) => tile::<S, F, 4, 2>(s, args),
            (3, 2) => tile::<S, F, 3, 2>(s, args),
            (2, 2) => tile::<S, F, 2, 2>(s, args),
            (1, 2) => tile::<S, F, 1, 2>(s, args),
            (12, 1) if S::TILE_ROWS >= 12 => tile::<S, F, 12, 1>(s, args),
            (8, 1) if S::TILE_ROWS >= 8 => tile::<S, F, 8, 1>(s, args),
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
    args.finish.expect::<R, N>(s, args.row);
    // SAFETY: the caller's promise.
    unsafe {
        // Asked once: in every step, an instruction that fetches nothing takes a twentieth more of them.
        let sums = match args.column {
            Some(column) => sums::<S, F, R, N, true>(s, &args, column),
            None => sums::<S, F, R, N, false>(s, &args, Column { start: args.b, stride: 0 }),
        };
        args.finish.tile(s, args.row, &sums);
    }
}

/// The sums of a tile, with `FAR` while `column` is fetched.
///
/// # Safety
/// As for [`run_tile`].
#[inline(always)]
unsafe fn sums<S: Simd, F: Finish<S>, const R: usize, const N: usize, const FAR: bool>(
    s: S,
    args: &TileArgs<F>,
    column: Column,
) -> [[S::V; N]; R] {
    let &TileArgs { depth, a, a_row, a_k, runs, b, b_k, next_rows, .. } = args;
    let mut sums = [[s.splat(0.0); N]; R];
    let mut at = Cursor { a, b, line: column.start };
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
                let strides = [a_k, N * S::LANES, column.stride];
                at.steps::<S, R, N, 4, FAR>(s, &mut sums, a_row, strides);
            }
            for _ in 4 * fours..count {
                at.steps::<S, R, N, 1, FAR>(s, &mut sums, a_row, [a_k, b_k, column.stride]);
            }
        }
        at.a = at.a.wrapping_add(runs.gap);
    }
    sums
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
    unsafe fn steps<S: Simd, const R: usize, const N: usize, const K: usize, const FAR: bool>(
        &mut self,
        s: S,
        sums: &mut [[S::V; N]; R],
        a_row: usize,
        strides: [usize; 3],
    ) {
        let [a_k, b_k, line_k] = strides;
        for k in 0..K {
            if FAR {
                s.prefetch_far(self.line.wrapping_add(k * line_k));
            }
            let (a, b) = (self.a.wrapping_add(k * a_k), self.b.wrapping_add(k * b_k));
            // SAFETY: the caller's promise.
            unsafe { step(s, sums, a, a_row, b) };
        }
        self.a = self.a.wrapping_add(K * a_k);
        self.b = self.b.wrapping_add(K * b_k);
        if FAR {
            self.line = self.line.wrapping_add(K * line_k);
        }
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
