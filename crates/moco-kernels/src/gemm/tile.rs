//! The register tile and the loop over a block's rows.

use super::{Dims, Strided};
use crate::simd::{Kernel, Simd};

/// `C (+)= A B` for one panel of `B`.
///
/// `b` holds `depth` rows of `b_stride` floats, `c` rows of `c_stride` floats; `dims.vectors *
/// LANES` floats of each row are used. With `accumulate` the product is added to `c`, otherwise it
/// replaces it.
///
/// # Panics
/// When an operand is shorter than the shapes say.
#[inline(always)]
pub(crate) fn multiply<S: Simd>(
    s: S,
    dims: Dims,
    a: Strided,
    (b, b_stride): (&[f32], usize),
    (c, c_stride): (&mut [f32], usize),
    accumulate: bool,
) {
    let Dims { rows, depth, vectors } = dims;
    if rows == 0 || depth == 0 {
        return;
    }
    let width = vectors * S::LANES;
    assert!((rows - 1) * a.row_stride + (depth - 1) * a.k_stride < a.data.len());
    assert!((depth - 1) * b_stride + width <= b.len());
    assert!((rows - 1) * c_stride + width <= c.len());
    let mut row = 0;
    while row < rows {
        let count = tile_rows::<S>(rows - row);
        // SAFETY: the assertions cover every row and depth that the tile reads or writes.
        unsafe {
            let args = TileArgs {
                depth,
                a: a.data.as_ptr().add(row * a.row_stride),
                a_row: a.row_stride,
                a_k: a.k_stride,
                b: b.as_ptr(),
                b_k: b_stride,
                c: c.as_mut_ptr().add(row * c_stride),
                c_row: c_stride,
                accumulate,
            };
            run_tile(s, count, vectors, args);
        }
        row += count;
    }
}

/// Depth indices of a product whose operands are gathered: entry `k` is (offset in `A`, row of
/// `B`).
#[derive(Default)]
pub(crate) struct Pairs {
    list: Vec<(u32, u32)>,
    largest: (u32, u32),
}

impl Pairs {
    pub(crate) fn clear(&mut self) {
        self.list.clear();
        self.largest = (0, 0);
    }

    pub(crate) fn push(&mut self, a: usize, b_row: usize) {
        let pair = (index(a), index(b_row));
        self.largest = (self.largest.0.max(pair.0), self.largest.1.max(pair.1));
        self.list.push(pair);
    }
}

fn index(i: usize) -> u32 {
    u32::try_from(i).expect("blocks stay below 2^32 floats")
}

/// `C += Σ_k a[pair_k.0 + row] * b[pair_k.1 * b_stride ..]`: a product over gathered pixels, rows
/// being channels.
///
/// # Panics
/// When an operand is shorter than the shapes and the pairs say.
#[inline(always)]
pub(crate) fn multiply_pairs<S: Simd>(
    s: S,
    (rows, vectors): (usize, usize),
    pairs: &Pairs,
    a: &[f32],
    (b, b_stride): (&[f32], usize),
    (c, c_stride): (&mut [f32], usize),
) {
    if rows == 0 || pairs.list.is_empty() {
        return;
    }
    let width = vectors * S::LANES;
    assert!(pairs.largest.0 as usize + rows <= a.len());
    assert!(pairs.largest.1 as usize * b_stride + width <= b.len());
    assert!((rows - 1) * c_stride + width <= c.len());
    let mut row = 0;
    while row < rows {
        let count = tile_rows::<S>(rows - row);
        // SAFETY: the assertions cover every row and pair that the tile reads or writes.
        unsafe {
            let args = PairArgs {
                pairs: &pairs.list,
                a: a.as_ptr().add(row),
                b: b.as_ptr(),
                b_row: b_stride,
                c: c.as_mut_ptr().add(row * c_stride),
                c_row: c_stride,
            };
            run_pair_tile(s, count, vectors, args);
        }
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

#[derive(Clone, Copy)]
struct TileArgs {
    depth: usize,
    a: *const f32,
    a_row: usize,
    a_k: usize,
    b: *const f32,
    b_k: usize,
    c: *mut f32,
    c_row: usize,
    accumulate: bool,
}

#[derive(Clone, Copy)]
struct PairArgs<'a> {
    pairs: &'a [(u32, u32)],
    a: *const f32,
    b: *const f32,
    b_row: usize,
    c: *mut f32,
    c_row: usize,
}

macro_rules! by_height {
    ($run:ident, $args:ty, $tile:ident) => {
        /// # Safety
        /// As for the tile that it chooses.
        #[inline(always)]
        unsafe fn $run<S: Simd>(s: S, rows: usize, vectors: usize, args: $args) {
            match (rows, vectors) {
                (12, 2) => s.enter($tile::<12, 2>(args)),
                (8, 2) => s.enter($tile::<8, 2>(args)),
                (6, 2) => s.enter($tile::<6, 2>(args)),
                (4, 2) => s.enter($tile::<4, 2>(args)),
                (3, 2) => s.enter($tile::<3, 2>(args)),
                (2, 2) => s.enter($tile::<2, 2>(args)),
                (1, 2) => s.enter($tile::<1, 2>(args)),
                (12, 1) => s.enter($tile::<12, 1>(args)),
                (8, 1) => s.enter($tile::<8, 1>(args)),
                (6, 1) => s.enter($tile::<6, 1>(args)),
                (4, 1) => s.enter($tile::<4, 1>(args)),
                (3, 1) => s.enter($tile::<3, 1>(args)),
                (2, 1) => s.enter($tile::<2, 1>(args)),
                (1, 1) => s.enter($tile::<1, 1>(args)),
                _ => unreachable!("tile_rows and the panel width allow no other tile"),
            }
        }
    };
}

by_height!(run_tile, TileArgs, Tile);
by_height!(run_pair_tile, PairArgs<'_>, PairTile);

/// `R` rows by `N` vectors over a strided `A`.
///
/// Built only where, for all `r < R` and `k < depth`: `a[r * a_row + k * a_k]` and `N` vectors at
/// `b[k * b_k]` are readable, and `N` vectors at `c[r * c_row]` are writable.
struct Tile<const R: usize, const N: usize>(TileArgs);

impl<const R: usize, const N: usize> Kernel for Tile<R, N> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let TileArgs { depth, a, a_row, a_k, b, b_k, c, c_row, accumulate } = self.0;
        let mut sums = [[s.splat(0.0); N]; R];
        let (mut a, mut b) = (a, b);
        for _ in 0..depth {
            // SAFETY: this is one `k < depth`; see the type.
            unsafe {
                step(s, &mut sums, a, a_row, b);
                a = a.wrapping_add(a_k);
                b = b.wrapping_add(b_k);
            }
        }
        // SAFETY: see the type.
        unsafe { write(s, &sums, c, c_row, accumulate) };
    }
}

/// `R` consecutive channels by `N` vectors over gathered pixels.
///
/// Built only where, for every pair: `R` floats at `a[pair.0]` and `N` vectors at `b[pair.1 *
/// b_row]` are readable; and `N` vectors at `c[r * c_row]` are writable for all `r < R`.
struct PairTile<'a, const R: usize, const N: usize>(PairArgs<'a>);

impl<const R: usize, const N: usize> Kernel for PairTile<'_, R, N> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let PairArgs { pairs, a, b, b_row, c, c_row } = self.0;
        let mut sums = [[s.splat(0.0); N]; R];
        for &(x, y) in pairs {
            // SAFETY: see the type.
            unsafe { step(s, &mut sums, a.add(x as usize), 1, b.add(y as usize * b_row)) };
        }
        // SAFETY: see the type.
        unsafe { write(s, &sums, c, c_row, true) };
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

/// # Safety
/// `N` vectors at `c[r * c_row]` are readable and writable for all `r < R`.
#[inline(always)]
unsafe fn write<S: Simd, const R: usize, const N: usize>(
    s: S,
    sums: &[[S::V; N]; R],
    c: *mut f32,
    c_row: usize,
    accumulate: bool,
) {
    for r in 0..R {
        for j in 0..N {
            // SAFETY: the caller's promise.
            unsafe {
                let p = c.add(r * c_row + j * S::LANES);
                let v = if accumulate { s.add(s.load(p), sums[r][j]) } else { sums[r][j] };
                s.store(p, v);
            }
        }
    }
}
