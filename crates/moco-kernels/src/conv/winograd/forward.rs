//! The forward pass, which with rotated weights is the data gradient too.
//!
//! Two arrangements of the same three steps:
//!
//! - *Fused*, while the transformed weights are small: they are prepared once, and a job takes some
//!   tiles through all three steps within its core's second-level cache.
//! - *Phased*, for wide layers (their weights, 36/9 times larger once transformed, would be read
//!   from memory by every job): all tiles of a wave are transformed first; then a job takes one
//!   panel of output channels, transforms that panel's weights on the fly and multiplies the wave's
//!   tiles by them.

use std::ops::Range;

use super::input::{Slabs, Source, input_tiles};
use super::transform::{OneWay, both_ways};
use super::weights::{Kernels, Transform, weight_slabs};
use super::{POINTS, Scheme, Tile, Tiles, phases, transform};
use crate::Isa;
use crate::conv::shape::{ConvShape, Span, spans};
use crate::conv::source::Input;
use crate::gemm::{Channels, Columns, Dims, Fetch, Panel, Sink, Strided, multiply};
use crate::simd::{Kernel, Simd};
use crate::threads::{Kept, LINE, Scratch, cut, for_each, for_each_chunk};

/// Bytes of a core's second-level cache that a fused job's tiles may fill.
const FUSED_BYTES: usize = 400 << 10;
/// Tiles per span in the phased arrangement: more would push the products out of the second-level
/// cache.
const PHASED_TILES: usize = 96;
/// Depth of the weights that are transformed at a time in the phased arrangement. With 64 a 512-channel
/// layer took a twentieth longer: the products are read and written once per block of depth.
const PHASED_DEPTH: usize = 128;
/// Bytes of transformed tiles per wave: a share of a third-level cache.
const WAVE_BYTES: usize = 4 << 20;
/// Tiles that lie together in memory: the tallest register tile, and a multiple of the others.
const BLOCK: usize = 12;
/// Most tiles per span.
const MAX_TILES: usize = 96;

/// A 3x3 convolution, ready to run.
pub(crate) struct WinogradForward<'a> {
    source: Source<'a>,
    pad: usize,
    images: usize,
    tiles: Tiles,
    kernels: Kernels<'a>,
    /// What [`Kernels::transformed`] made of them.
    transformed: Option<&'a [f32]>,
}

impl<'a> WinogradForward<'a> {
    /// The convolution itself.
    pub(crate) fn new(
        shape: &ConvShape,
        groups: usize,
        x: Input<'a>,
        kernels: Kernels<'a>,
        transformed: Option<&'a [f32]>,
    ) -> Self {
        let source = Source::new(x, [shape.h, shape.w, shape.cin]);
        let tiles = Tiles::new(shape.out_h(), shape.out_w(), groups);
        Self { source, pad: shape.pad, images: shape.n, tiles, kernels, transformed }
    }

    /// The data gradient at stride 1: `dy` in, `dx` out.
    pub(crate) fn data_grad(
        shape: &ConvShape,
        dy: &'a [f32],
        kernels: Kernels<'a>,
        transformed: Option<&'a [f32]>,
    ) -> Self {
        let source = Source::new(dy.into(), [shape.out_h(), shape.out_w(), shape.cout]);
        let tiles = Tiles::new(shape.h, shape.w, 1);
        Self { source, pad: 2 - shape.pad, images: shape.n, tiles, kernels, transformed }
    }

    /// Spans of tiles; jobs and statistics are numbered by them.
    pub(crate) fn spans(&self) -> Vec<Span> {
        let all = self.images * self.tiles.per_image();
        let size = if self.transformed.is_some() {
            let [v, m] = [self.kernels.scheme.inputs(), self.kernels.scheme.sums()];
            let pitch = self.tile_slabs().pitch;
            let per_tile = (v * pitch + m * 32) * size_of::<f32>();
            // In multiples of the tallest register tile, and several jobs even for a small batch.
            let most = (FUSED_BYTES / per_tile).min(all.div_ceil(16)).min(48);
            [most.next_multiple_of(12).max(12), 12]
        } else {
            [PHASED_TILES; 2]
        };
        let mut spans = spans(self.images, self.tiles.groups, self.tiles.per_image(), size);
        for span in &mut spans {
            let inside = self.tiles.of(*span).map(|tile| self.tiles.inside(tile));
            span.pixels = inside.map(|[rows, cols]| rows * cols).sum();
        }
        spans
    }

    /// Layout of a block of transformed tiles.
    fn tile_slabs(&self) -> Slabs {
        Slabs::new(self.kernels.scheme.inputs(), BLOCK, self.source.channels)
    }

    /// Runs all jobs.
    pub(crate) fn run(&self, isa: Isa, spans: &[Span], sink: &impl Sink) {
        match self.transformed {
            Some(weights) => for_each(spans.len(), |job| {
                isa.run(FusedJob { conv: self, weights, job, span: spans[job], sink });
            }),
            None => self.run_phased(isa, spans, sink),
        }
    }

    fn run_phased(&self, isa: Isa, spans: &[Span], sink: &impl Sink) {
        let slabs = self.tile_slabs();
        let per_span = PHASED_TILES.div_ceil(BLOCK) * slabs.len();
        let per_wave = (WAVE_BYTES / size_of::<f32>() / per_span).max(1);
        let panel = isa.panel_width();
        let panels = self.kernels.view.outputs.div_ceil(panel);
        let mut memory = Kept::new(per_wave.min(spans.len()) * per_span);
        for first in (0..spans.len()).step_by(per_wave) {
            let wave = &spans[first..spans.len().min(first + per_wave)];
            for_each_chunk(&mut memory[..wave.len() * per_span], slabs.len(), |block, out| {
                let blocks = per_span / slabs.len();
                let (span, skip) = (wave[block / blocks], block % blocks * BLOCK);
                let start = span.end.min(span.start + skip);
                let span = Span { start, end: span.end.min(start + BLOCK), ..span };
                isa.run(TransformJob { conv: self, span, slabs, out });
            });
            for_each(wave.len() * panels, |job| {
                // Neighbouring jobs share their tiles rather than their weights: tiles are the
                // larger.
                let (span, index) = (job / panels, job % panels);
                let end = self.kernels.view.outputs.min((index + 1) * panel);
                isa.run(PanelJob {
                    conv: self,
                    tiles: &memory[span * per_span..][..per_span],
                    slabs,
                    span: wave[span],
                    job: first + span,
                    outputs: index * panel..end,
                    sink,
                });
            });
        }
    }
}

/// All three steps for the tiles of one span.
struct FusedJob<'a, K> {
    conv: &'a WinogradForward<'a>,
    weights: &'a [f32],
    job: usize,
    span: Span,
    sink: &'a K,
}

impl<K: Sink> Kernel for FusedJob<'_, K> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let FusedJob { conv, weights, job, span, sink } = self;
        let count = span.end - span.start;
        let depth = conv.source.channels;
        let slabs = conv.tile_slabs();
        let panel = S::LANES * S::TILE_VECTORS;
        let products = Slabs::new(conv.kernels.scheme.sums(), count, panel);
        let tiles_len = count.div_ceil(BLOCK) * slabs.len();
        let mut memory = Scratch::new(depth + tiles_len + products.len() + 3 * LINE);
        let mut scratch = &mut *memory;
        let zeros = cut(&mut scratch, depth);
        zeros.fill(0.0);
        let tiles = cut(&mut scratch, tiles_len);
        let sums = cut(&mut scratch, products.len());
        let mut list = conv.tiles.of(span);
        for block in tiles.chunks_mut(slabs.len()) {
            let tiles = list.by_ref().take(BLOCK);
            input_tiles(s, conv.kernels.scheme, conv.source, conv.pad, tiles, zeros, block, slabs);
        }
        let outputs = conv.kernels.view.outputs;
        let kernels = weight_slabs(depth, panel);
        for (first, weights) in (0..outputs).step_by(panel).zip(weights.chunks(kernels.len())) {
            let lanes = panel.min(outputs - first);
            let width = lanes.next_multiple_of(S::LANES);
            let scheme = conv.kernels.scheme;
            let layout =
                Layout { scheme, slabs, kernels, products, tiles: count, width, far: false };
            s.enter(Products { layout, tiles, channels: 0..depth, weights, sums });
            let outputs = first..first + lanes;
            s.enter(Outputs { conv, span, outputs, sums, products, job, sink });
        }
    }
}

/// Transforms one block of tiles into the wave's memory.
struct TransformJob<'a> {
    conv: &'a WinogradForward<'a>,
    span: Span,
    slabs: Slabs,
    out: &'a mut [f32],
}

impl Kernel for TransformJob<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let TransformJob { conv, span, slabs, out } = self;
        let zeros = &mut *Scratch::new(conv.source.channels);
        zeros.fill(0.0);
        input_tiles(
            s,
            conv.kernels.scheme,
            conv.source,
            conv.pad,
            conv.tiles.of(span),
            zeros,
            out,
            slabs,
        );
    }
}

/// One panel of output channels for the tiles of one span.
struct PanelJob<'a, K> {
    conv: &'a WinogradForward<'a>,
    tiles: &'a [f32],
    slabs: Slabs,
    span: Span,
    job: usize,
    outputs: Range<usize>,
    sink: &'a K,
}

impl<K: Sink> Kernel for PanelJob<'_, K> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let PanelJob { conv, tiles, slabs, span, job, outputs, sink } = self;
        let count = span.end - span.start;
        let width = outputs.len().next_multiple_of(S::LANES);
        let products = Slabs::new(conv.kernels.scheme.sums(), count, width);
        let depth = conv.source.channels;
        let kernels = weight_slabs(PHASED_DEPTH.min(depth), width);
        let mut memory = Scratch::new(products.len() + LINE + kernels.len());
        let mut scratch = &mut *memory;
        let sums = cut(&mut scratch, products.len());
        for start in (0..depth).step_by(PHASED_DEPTH) {
            let channels = start..depth.min(start + PHASED_DEPTH);
            s.enter(Transform {
                kernels: conv.kernels,
                channels: channels.clone(),
                outputs: (outputs.start, width),
                out: &mut *scratch,
                slabs: kernels,
            });
            let scheme = conv.kernels.scheme;
            let layout =
                Layout { scheme, slabs, kernels, products, tiles: count, width, far: true };
            s.enter(Products { layout, tiles, channels, weights: scratch, sums });
        }
        s.enter(Outputs { conv, span, outputs, sums, products, job, sink });
    }
}

/// Layout of the products of a span and a panel.
#[derive(Clone, Copy)]
struct Layout {
    scheme: Scheme,
    slabs: Slabs,
    kernels: Slabs,
    products: Slabs,
    tiles: usize,
    width: usize,
    /// Whether the tiles lie beyond the second-level cache.
    far: bool,
}

/// The products of `tiles` (over `channels` of their depth) and `weights`
/// (as `layout.kernels` has them); sums are begun at channel 0 and added to afterwards.
struct Products<'a> {
    layout: Layout,
    tiles: &'a [f32],
    channels: Range<usize>,
    weights: &'a [f32],
    sums: &'a mut [f32],
}

impl Kernel for Products<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Products { layout, tiles, channels, weights, sums } = self;
        let Layout { scheme, slabs, kernels, products, tiles: tiles_in_span, width, far } = layout;
        let depth = channels.len();
        let mut list = scheme.products().peekable();
        while let Some([sum, term, input, point]) = list.next() {
            let sums = &mut sums[sum * products.slab..][..products.slab];
            let begun = channels.start > 0 || term > 0;
            let b = Panel { data: &weights[point * kernels.slab..], stride: kernels.pitch };
            // Behind the last weights of a panel lie the next panel's.
            let next = list.peek().map_or(POINTS, |next| next[3]);
            let next = weights.as_ptr().wrapping_add(next * kernels.slab);
            let next = Columns::panel(next, [depth, kernels.pitch], BLOCK / S::TILE_ROWS);
            for (row, tiles) in (0..tiles_in_span).step_by(BLOCK).zip(tiles.chunks(slabs.len())) {
                let rows = BLOCK.min(tiles_in_span - row);
                let columns = if row == 0 { next.fetch() } else { Fetch::NONE };
                let fetch = Fetch { rows: far.then_some(slabs.len()), ..columns };
                let dims = Dims { fetch, ..Dims::new(rows, depth, width / S::LANES) };
                let data = &tiles[input * slabs.slab + channels.start..];
                let a = Strided { data, row_stride: slabs.pitch, k_stride: 1 };
                let c = (&mut sums[row * products.pitch..], products.pitch);
                multiply(s, dims, a, b, c, begun);
            }
        }
    }
}

/// `y = Aᵀ M A` of a span's tiles for one panel of outputs, into the sink.
struct Outputs<'a, K> {
    conv: &'a WinogradForward<'a>,
    span: Span,
    outputs: Range<usize>,
    sums: &'a [f32],
    products: Slabs,
    job: usize,
    sink: &'a K,
}

impl<K: Sink> Kernel for Outputs<'_, K> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Outputs { conv, span, outputs, sums, products, job, sink } = self;
        let mut list = [(Tile { image: 0, y: 0, x: 0 }, [0; 2]); MAX_TILES];
        let mut count = 0;
        for tile in conv.tiles.of(span) {
            list[count] = (tile, conv.tiles.inside(tile));
            count += 1;
        }
        assert!(sums.len() >= products.len() && count * products.pitch <= products.slab);
        for lane in (0..outputs.len()).step_by(S::LANES) {
            let at =
                Channels { first: outputs.start + lane, lanes: S::LANES.min(outputs.len() - lane) };
            let mut state = None;
            for (row, &(tile, [rows, cols])) in list[..count].iter().enumerate() {
                let from = &sums[row * products.pitch + lane..];
                let y = match conv.kernels.scheme {
                    Scheme::Stride1 => outputs_of(s, transform::Output, from, products),
                    Scheme::Stride2 => outputs_of(s, phases::Output, from, products),
                };
                if row == 0 {
                    state = Some(sink.begin(s, at, y[0][0]));
                }
                let Some(state) = &mut state else { unreachable!("begun at the first tile") };
                let corner =
                    (tile.image * conv.tiles.out_h + 4 * tile.y) * conv.tiles.out_w + 4 * tile.x;
                for dy in 0..rows {
                    for dx in 0..cols {
                        let pixel = corner + dy * conv.tiles.out_w + dx;
                        // SAFETY: the pixel is inside the map and belongs to this span; the channels to
                        // this panel.
                        unsafe { sink.put(s, state, pixel, at, y[dy][dx]) };
                    }
                }
            }
            if let Some(state) = state {
                // SAFETY: this span's job and these channels are handled here alone.
                unsafe { sink.end(s, state, job, at) };
            }
        }
    }
}

/// The outputs of one tile, whose sums begin at `from`, one per slab.
#[inline(always)]
fn outputs_of<S: Simd, T: OneWay<M, 4>, const M: usize>(
    s: S,
    transform: T,
    from: &[f32],
    products: Slabs,
) -> [[S::V; 4]; 4] {
    assert!((M * M - 1) * products.slab + S::LANES <= from.len());
    let mut sums = [[s.splat(0.0); M]; M];
    for y in 0..M {
        for x in 0..M {
            // SAFETY: the last of these vectors ends within `from`.
            sums[y][x] = unsafe { s.load(from.as_ptr().add((y * M + x) * products.slab)) };
        }
    }
    both_ways(s, transform, sums)
}
