//! The weight gradient: `dU = Σ_tiles Vᵀ dM`, `dW = Gᵀ dU G`; at stride 2 a weight's `dU` is a sum
//! over its products too.
//!
//! Two arrangements again. Narrow layers, whose `dU` fits a second-level cache beside some tiles:
//! the tiles are cut into a fixed number of parts, each with a `dU` of its own, added in order at
//! the end. Wide layers: the tiles of a wave are transformed first, then a job takes a block of 64
//! x 64 channels and some of the 36 points through all of them. In both the order of additions
//! depends on the shape alone.

use std::ops::Range;

use super::fold::{Fold, Parts};
use super::input::{Slabs, Source, gradient_tiles, input_tiles};
use super::{POINTS, Scheme, Tiles};
use crate::Isa;
use crate::conv::shape::{ConvShape, Span, spans};
use crate::conv::source::Input;
use crate::gemm::{Columns, Dims, Panel, Strided, multiply_apart};
use crate::simd::{Kernel, Simd};
use crate::threads::{Disjoint, Kept, LINE, Scratch, cut, filled, for_each, for_each_chunk};

/// Most floats of `dU` for the arrangement in parts: 192 KiB.
const NARROW_FLOATS: usize = 48 << 10;
/// Most parts.
const PARTS: usize = 32;
/// Tiles transformed together: the depth of one product.
const BLOCK: usize = 96;
/// Channels per side of a block of `dU` in the wide arrangement.
const SIDE: usize = 64;
/// Bytes of transformed tiles per wave. Measured: with 4 MiB a layer takes two thirds of the time
/// that it takes with 20 MiB, which a shared third-level cache does not hold.
const WAVE_BYTES: usize = 4 << 20;
/// Jobs wanted per wave before the 36 points are shared out too.
const WANTED_JOBS: usize = 16;

/// `dW` in OIHW.
pub(crate) fn weight_grad(
    isa: Isa,
    scheme: Scheme,
    shape: &ConvShape,
    x: Input,
    dy: &[f32],
) -> Vec<f32> {
    let problem = Problem::new(isa, scheme, shape, x, dy);
    if POINTS * shape.cin * problem.cout_pitch <= NARROW_FLOATS {
        problem.narrow(isa)
    } else {
        problem.wide(isa)
    }
}

struct Problem<'a> {
    scheme: Scheme,
    shape: ConvShape,
    input: Source<'a>,
    gradient: Source<'a>,
    tiles: Tiles,
    v: Slabs,
    dm: Slabs,
    /// Output channels, padded to whole vectors.
    cout_pitch: usize,
    panel: usize,
}

impl<'a> Problem<'a> {
    fn new(isa: Isa, scheme: Scheme, shape: &ConvShape, x: Input<'a>, dy: &'a [f32]) -> Self {
        let (out_h, out_w) = (shape.out_h(), shape.out_w());
        Problem {
            scheme,
            shape: *shape,
            input: Source::new(x, [shape.h, shape.w, shape.cin]),
            gradient: Source::new(dy.into(), [out_h, out_w, shape.cout]),
            tiles: Tiles::new(out_h, out_w, 1),
            v: Slabs::new(scheme.inputs(), BLOCK, shape.cin),
            dm: Slabs::new(scheme.sums(), BLOCK, shape.cout),
            cout_pitch: shape.cout.next_multiple_of(isa.lanes()),
            panel: isa.panel_width(),
        }
    }

    /// Floats of `V` or `dM` of a block of tiles; a block is one and then the other.
    fn half_len(&self) -> usize {
        self.v.len().max(self.dm.len())
    }

    /// Floats of a block of transformed tiles.
    fn block_len(&self) -> usize {
        2 * self.half_len()
    }

    fn blocks(&self, size: usize) -> Vec<Span> {
        spans(self.shape.n, 1, self.tiles.per_image(), [size; 2])
    }

    /// `V` (half 0) or `dM` (half 1) of one block of tiles.
    #[inline(always)]
    fn transform<S: Simd>(&self, s: S, span: Span, half: usize, zeros: &[f32], out: &mut [f32]) {
        if half == 0 {
            let (scheme, pad, tiles) = (self.scheme, self.shape.pad, self.tiles.of(span));
            input_tiles(s, scheme, self.input, pad, tiles, zeros, out, self.v);
        } else {
            let tiles = self.tiles.of(span);
            gradient_tiles(s, self.scheme, self.gradient, tiles, zeros, out, self.dm);
        }
    }

    /// `dU[ci][co] = Vᵀ dM`, or `+=`, at one point, for some input and output channels and the tiles
    /// of one block. Rows of `du` are `pitch` apart. `then` says which block is read next, and at
    /// which point.
    #[inline(always)]
    fn multiply_point<S: Simd>(
        &self,
        s: S,
        (point, block): (usize, &[f32]),
        tiles: usize,
        [cin, cout]: [Range<usize>; 2],
        (du, pitch): (&mut [f32], usize),
        add: bool,
        then: (usize, &[f32]),
    ) {
        let corner = [cin.start, cout.start];
        let mut products = self.scheme.products_of_weights(point).peekable();
        let mut begun = add;
        while let Some(product) = products.next() {
            let [v, dm] = self.operands(block, product, corner);
            let next = match products.peek() {
                Some(&product) => self.operands(block, product, corner),
                None => {
                    let first = self.scheme.products_of_weights(then.0).next();
                    self.operands(then.1, first.unwrap_or(product), corner)
                }
            };
            let a = Strided { data: v, row_stride: 1, k_stride: self.v.pitch };
            for first in (0..cout.len()).step_by(self.panel) {
                let vectors = (cout.len() - first).div_ceil(S::LANES).min(S::TILE_VECTORS);
                let mut columns = Columns::new();
                if first + self.panel < cout.len() {
                    let panel = dm[first + self.panel..].as_ptr();
                    columns.add(panel, self.dm.pitch, self.panel.div_ceil(LINE));
                } else {
                    columns.add(next[1].as_ptr(), self.dm.pitch, self.panel.div_ceil(LINE));
                    columns.add(next[0].as_ptr(), self.v.pitch, cin.len().div_ceil(LINE));
                }
                let fetch = columns.fetch();
                let dims = Dims { fetch, ..Dims::new(cin.len(), tiles, vectors) };
                let b = Panel { data: &dm[first..], stride: self.dm.pitch };
                multiply_apart(s, dims, a, b, (&mut du[first..], pitch), begun);
            }
            begun = true;
        }
    }

    /// `V` and `dM` of one product, from these channels on.
    #[inline(always)]
    fn operands<'b>(
        &self,
        block: &'b [f32],
        (input, sum): (usize, usize),
        [cin, cout]: [usize; 2],
    ) -> [&'b [f32]; 2] {
        let (v, dm) = block.split_at(self.half_len());
        [&v[input * self.v.slab + cin..], &dm[sum * self.dm.slab + cout..]]
    }

    fn zeros_len(&self) -> usize {
        self.shape.cin.max(self.shape.cout)
    }

    fn narrow(&self, isa: Isa) -> Vec<f32> {
        let blocks = self.blocks(BLOCK);
        let per_part = blocks.len().div_ceil(PARTS).max(1);
        let parts = blocks.len().div_ceil(per_part).max(1);
        let du_len = POINTS * self.shape.cin * self.cout_pitch;
        let mut sums = Kept::new(parts * du_len);
        for_each_chunk(&mut sums, du_len, |part, du| {
            let first = part * per_part;
            let blocks = &blocks[first..blocks.len().min(first + per_part)];
            isa.run(NarrowJob { problem: self, blocks, du });
        });
        let lanes = isa.lanes();
        // SAFETY: the folds of all output channels write all of it.
        unsafe {
            filled(self.shape.weight_len(), |out| {
                let out = Disjoint::new(out);
                for_each(self.shape.cout.div_ceil(lanes), |i| {
                    let cout = i * lanes..self.shape.cout.min((i + 1) * lanes);
                    let channels = [0..self.shape.cin, cout];
                    let du = Parts {
                        data: &sums[i * lanes..],
                        len: du_len,
                        count: parts,
                        rows: self.shape.cin,
                        pitch: self.cout_pitch,
                    };
                    isa.run(Fold {
                        scheme: self.scheme,
                        all_cin: self.shape.cin,
                        channels,
                        du,
                        out: out.start().cast(),
                    });
                });
            })
        }
    }

    fn wide(&self, isa: Isa) -> Vec<f32> {
        let blocks = self.blocks(BLOCK);
        // Where `dU` outweighs all the tiles, it must not go through memory: one wave.
        let heavy = POINTS * self.shape.cin * self.cout_pitch > blocks.len() * self.block_len();
        // The length of a wave does not change the order of additions, so it may follow the
        // threads: a transform job is half a block.
        let by_cache = WAVE_BYTES / size_of::<f32>() / self.block_len();
        let by_threads = rayon::current_num_threads().div_ceil(2);
        let per_wave = if heavy { blocks.len() } else { by_cache.max(by_threads) }.max(1);
        let waves = blocks.len().div_ceil(per_wave).max(1);
        let grid = [self.shape.cin.div_ceil(SIDE), self.shape.cout.div_ceil(SIDE)];
        let sides = grid[0] * grid[1];
        // With few blocks of channels the points are shared out, in divisors of 36.
        let shares = [1, 2, 4, 9, 36].into_iter().find(|n| n * sides >= WANTED_JOBS).unwrap_or(36);
        let whole = waves == 1 && shares == 1;
        let side_len = POINTS * SIDE * SIDE;
        let mut tiles = Kept::new(per_wave.min(blocks.len()) * self.block_len());
        let mut du = Kept::new(if whole { 0 } else { sides * side_len });
        let fold = |side: usize, du: &[f32], out: *mut f32| {
            let channels = self.side_channels(grid, side);
            let du = Parts { data: du, len: side_len, count: 1, rows: SIDE, pitch: SIDE };
            isa.run(Fold { scheme: self.scheme, all_cin: self.shape.cin, channels, du, out });
        };
        // SAFETY: the folds of all sides write all of it.
        unsafe {
            filled(self.shape.weight_len(), |out| {
                let out = Disjoint::new(out);
                for wave in 0..waves {
                    let first = wave * per_wave;
                    let spans = &blocks[first..blocks.len().min(first + per_wave)];
                    let tiles = &mut tiles[..spans.len() * self.block_len()];
                    for_each_chunk(tiles, self.half_len(), |i, out| {
                        isa.run(TransformJob {
                            problem: self,
                            span: spans[i / 2],
                            half: i % 2,
                            out,
                        });
                    });
                    let job = WideJob { problem: self, grid, spans, tiles, first: wave == 0 };
                    if whole {
                        for_each(sides, |side| {
                            let du = &mut *Scratch::new(side_len);
                            isa.run(job.on(side, 0..POINTS, du));
                            fold(side, du, out.start().cast());
                        });
                    } else {
                        for_each_chunk(&mut du, side_len / shares, |i, du| {
                            let points = POINTS / shares;
                            let start = i % shares * points;
                            isa.run(job.on(i / shares, start..start + points, du));
                        });
                    }
                }
                if !whole {
                    for_each(sides, |side| {
                        fold(side, &du[side * side_len..][..side_len], out.start().cast());
                    });
                }
            })
        }
    }

    /// Input and output channels of one block of the grid.
    fn side_channels(&self, grid: [usize; 2], side: usize) -> [Range<usize>; 2] {
        let range = |i: usize, all: usize| i * SIDE..all.min((i + 1) * SIDE);
        [range(side / grid[1], self.shape.cin), range(side % grid[1], self.shape.cout)]
    }
}

struct NarrowJob<'a> {
    problem: &'a Problem<'a>,
    blocks: &'a [Span],
    /// `[36][cin][cout]`
    du: &'a mut [f32],
}

impl Kernel for NarrowJob<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let NarrowJob { problem, blocks, du } = self;
        let channels = [0..problem.shape.cin, 0..problem.shape.cout];
        let slab = problem.shape.cin * problem.cout_pitch;
        if blocks.is_empty() {
            du.fill(0.0);
        }
        let mut memory = Scratch::new(problem.zeros_len() + problem.block_len() + LINE);
        let mut scratch = &mut *memory;
        let zeros = cut(&mut scratch, problem.zeros_len());
        zeros.fill(0.0);
        let tiles = &mut scratch[..problem.block_len()];
        for (block, &span) in blocks.iter().enumerate() {
            for (half, out) in tiles.chunks_mut(problem.half_len()).enumerate() {
                problem.transform(s, span, half, zeros, out);
            }
            let count = span.end - span.start;
            for (point, du) in du.chunks_mut(slab).enumerate() {
                let du = (du, problem.cout_pitch);
                let here = (point, &*tiles);
                problem.multiply_point(s, here, count, channels.clone(), du, block > 0, here);
            }
        }
    }
}

struct TransformJob<'a> {
    problem: &'a Problem<'a>,
    span: Span,
    half: usize,
    out: &'a mut [f32],
}

impl Kernel for TransformJob<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let zeros = &mut *Scratch::new(self.problem.zeros_len());
        zeros.fill(0.0);
        self.problem.transform(s, self.span, self.half, zeros, self.out);
    }
}

/// Products of one wave.
#[derive(Clone, Copy)]
struct WideJob<'a> {
    problem: &'a Problem<'a>,
    grid: [usize; 2],
    spans: &'a [Span],
    tiles: &'a [f32],
    /// Whether `dU` begins here.
    first: bool,
}

impl<'a> WideJob<'a> {
    /// Some points of one block of channels; `du` is `[points][SIDE][SIDE]`.
    fn on(self, side: usize, points: Range<usize>, du: &'a mut [f32]) -> SideJob<'a> {
        SideJob { wave: self, side, points, du }
    }
}

struct SideJob<'a> {
    wave: WideJob<'a>,
    side: usize,
    points: Range<usize>,
    du: &'a mut [f32],
}

impl Kernel for SideJob<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let SideJob { wave, side, points, du } = self;
        let problem = wave.problem;
        let channels = problem.side_channels(wave.grid, side);
        if wave.first && wave.spans.is_empty() {
            du.fill(0.0);
        }
        let block = |i: usize| &wave.tiles[i * problem.block_len()..][..problem.block_len()];
        for (point, du) in points.zip(du.chunks_mut(SIDE * SIDE)) {
            for (i, span) in wave.spans.iter().enumerate() {
                let (count, du) = (span.end - span.start, (&mut *du, SIDE));
                let add = i > 0 || !wave.first;
                let then = match i + 1 < wave.spans.len() {
                    true => (point, block(i + 1)),
                    false => ((point + 1) % POINTS, block(0)),
                };
                let channels = channels.clone();
                problem.multiply_point(s, (point, block(i)), count, channels, du, add, then);
            }
        }
    }
}
