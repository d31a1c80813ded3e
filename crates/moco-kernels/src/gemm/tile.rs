//! The register tile.

use std::mem::MaybeUninit;

use super::fetch::Column;
use super::into_sink::IntoSink;
use super::{Runs, Sink};
use crate::simd::{Kernel, Simd};

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
#[derive(Clone, Copy)]
pub(super) struct TileArgs {
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
}

/// The tile of rows `row..row + rows` of the block, into `into`.
///
/// Tiles of all rows are compiled into each block product. Those of fewer, the last of a block, are
/// compiled once, and hand their sums over in memory, row by row.
///
/// # Safety
/// For all `r < rows` and `k < depth`: `a[r * a_row + k * a_k]`, behind the gaps of the runs before,
/// and `vectors` vectors at `b[k * b_k]` are readable, and `into` takes these rows.
#[inline(always)]
pub(super) unsafe fn run_tile<S: Simd, K: Sink>(
    s: S,
    (row, rows): (usize, usize),
    vectors: usize,
    args: TileArgs,
    into: &mut IntoSink<S, K>,
) {
    // SAFETY: the caller says that `rows` rows of `a` and `vectors` vectors of `b` can be read in each step, and
    // that `into` takes these rows; each arm reads no more.
    unsafe {
        match rows == S::TILE_ROWS {
            true if const { S::TILE_ROWS == 12 } => whole::<S, K, 12>(s, row, vectors, args, into),
            true if const { S::TILE_ROWS == 8 } => whole::<S, K, 8>(s, row, vectors, args, into),
            true if const { S::TILE_ROWS == 6 } => whole::<S, K, 6>(s, row, vectors, args, into),
            true if const { S::TILE_ROWS == 4 } => whole::<S, K, 4>(s, row, vectors, args, into),
            _ if const { S::TILE_VECTORS == 2 } && vectors == 2 => {
                last::<S, K, 2>(s, (row, rows), args, into);
            }
            _ => last::<S, K, 1>(s, (row, rows), args, into),
        }
    }
}

/// A tile of `R` rows, all that a tile has.
///
/// # Safety
/// As for [`run_tile`].
#[inline(always)]
unsafe fn whole<S: Simd, K: Sink, const R: usize>(
    s: S,
    row: usize,
    vectors: usize,
    args: TileArgs,
    into: &mut IntoSink<S, K>,
) {
    // SAFETY: the caller says that `R` rows of `a` and `vectors` vectors of `b` can be read in each step, and that
    // `into` takes these rows; each arm reads as many.
    unsafe {
        match vectors {
            2 if const { S::TILE_VECTORS == 2 } => tile::<S, K, R, 2>(s, row, args, into),
            1 => tile::<S, K, R, 1>(s, row, args, into),
            _ => unreachable!("a panel is as wide as a tile at most"),
        }
    }
}

/// `R` rows by `N` vectors.
///
/// # Safety
/// As for [`run_tile`].
#[inline(always)]
unsafe fn tile<S: Simd, K: Sink, const R: usize, const N: usize>(
    s: S,
    row: usize,
    args: TileArgs,
    into: &mut IntoSink<S, K>,
) {
    into.expect::<R, N>(s, row);
    // SAFETY: the caller says that `R` rows of `a` and `N` vectors of `b` can be read in each step, and
    // that `into` takes these rows.
    unsafe {
        // Asked once: in every step, an instruction that fetches nothing takes a twentieth more of them.
        let sums = match args.column {
            Some(column) if N == S::TILE_VECTORS => sums::<S, R, N, true>(s, &args, column),
            _ => sums::<S, R, N, false>(s, &args, Column { start: args.b, stride: 0 }),
        };
        into.tile(s, row, &sums);
    }
}

/// Floats of the largest tile.
const MOST: usize = 12 * 2 * 16;

/// Fewer rows than a tile has, by `N` vectors.
///
/// # Safety
/// As for [`run_tile`].
#[inline(always)]
unsafe fn last<S: Simd, K: Sink, const N: usize>(
    s: S,
    (row, rows): (usize, usize),
    args: TileArgs,
    into: &mut IntoSink<S, K>,
) {
    for r in 0..rows {
        into.expect::<1, N>(s, row + r);
    }
    let mut sums = [MaybeUninit::uninit(); MOST];
    s.enter(Last { rows, vectors: N, args, sums: &mut sums });
    for r in 0..rows {
        let mut these = [s.splat(0.0); N];
        for j in 0..N {
            // SAFETY: `Last` has written `rows` rows of `N` vectors.
            these[j] = unsafe { s.load(sums.as_ptr().cast::<f32>().add((r * N + j) * S::LANES)) };
        }
        // SAFETY: the caller says that `into` takes these rows, and `r < rows`.
        unsafe { into.tile(s, row + r, &[these]) };
    }
}

/// The sums of fewer rows than a tile has, into memory. Whoever makes one promises what [`run_tile`]
/// asks for.
struct Last<'a> {
    rows: usize,
    vectors: usize,
    args: TileArgs,
    /// Row after row.
    sums: &'a mut [MaybeUninit<f32>; MOST],
}

impl Kernel for Last<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        match (self.rows, self.vectors) {
            (8, 2) if const { S::TILE_ROWS > 8 && S::TILE_VECTORS > 1 } => self.of::<S, 8, 2>(s),
            (6, 2) if const { S::TILE_ROWS > 6 && S::TILE_VECTORS > 1 } => self.of::<S, 6, 2>(s),
            (4, 2) if const { S::TILE_ROWS > 4 && S::TILE_VECTORS > 1 } => self.of::<S, 4, 2>(s),
            (3, 2) if const { S::TILE_VECTORS > 1 } => self.of::<S, 3, 2>(s),
            (2, 2) if const { S::TILE_VECTORS > 1 } => self.of::<S, 2, 2>(s),
            (1, 2) if const { S::TILE_VECTORS > 1 } => self.of::<S, 1, 2>(s),
            (8, 1) if const { S::TILE_ROWS > 8 } => self.of::<S, 8, 1>(s),
            (6, 1) if const { S::TILE_ROWS > 6 } => self.of::<S, 6, 1>(s),
            (4, 1) if const { S::TILE_ROWS > 4 } => self.of::<S, 4, 1>(s),
            (3, 1) => self.of::<S, 3, 1>(s),
            (2, 1) => self.of::<S, 2, 1>(s),
            (1, 1) => self.of::<S, 1, 1>(s),
            _ => unreachable!("tile_rows and the panel width allow no other tile"),
        }
    }
}

impl Last<'_> {
    /// `R` rows by `N` vectors.
    #[inline(always)]
    fn of<S: Simd, const R: usize, const N: usize>(self, s: S) {
        const { assert!(R * N * S::LANES <= MOST) };
        let no_column = Column { start: self.args.b, stride: 0 };
        // SAFETY: whoever made this says that so many rows of `a` and vectors of `b` can be read in each step.
        let sums = unsafe { sums::<S, R, N, false>(s, &self.args, no_column) };
        for r in 0..R {
            for j in 0..N {
                let to = self.sums.as_mut_ptr().cast::<f32>();
                // SAFETY: asserted above.
                unsafe { s.store(to.add((r * N + j) * S::LANES), sums[r][j]) };
            }
        }
    }
}

/// The sums of a tile, with `FAR` while `column` is fetched.
///
/// # Safety
/// As for [`run_tile`].
#[inline(always)]
unsafe fn sums<S: Simd, const R: usize, const N: usize, const FAR: bool>(
    s: S,
    args: &TileArgs,
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
            // SAFETY: the caller says that `R` floats at `a` and `N` vectors at `b` can be read in each of the `K`
            // steps.
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
        // SAFETY: `j < N`, and the caller says that `N` vectors can be read at `b`.
        columns[j] = unsafe { s.load(b.add(j * S::LANES)) };
    }
    for r in 0..R {
        // SAFETY: `r < R`, and the caller says that `R` floats, `a_row` apart, can be read at `a`.
        let x = s.splat(unsafe { *a.add(r * a_row) });
        for j in 0..N {
            sums[r][j] = s.fma(x, columns[j], sums[r][j]);
        }
    }
}
