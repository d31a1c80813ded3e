//! The path for any shape: gather the pixels under each output point into rows, multiply by the
//! packed weights.
//!
//! Forwards a point is an output pixel and its taps are the kernel's. The data gradient at stride
//! `s` splits the input pixels into `s * s` classes by their position modulo `s`; within a class it
//! is again a gather with step 1 over the output's gradient, with those taps of the kernel that
//! reach the class, so nothing is multiplied by zero.
//!
//! A job takes some points through all outputs, or in a layer of few points or many weights through a
//! share of them. Sums leave the registers for the sink: kept in rows until the end, those of a layer
//! with 1024 outputs fell out of the second-level cache, and walking them channel by channel took a
//! fifth of the layer's time. Three arrangements:
//!
//! - Columns of one block: a tile of rows passes many panels of outputs before the next one does, so
//!   that a pixel's outputs are written side by side.
//! - Up to [`WHOLE_DEPTH`] all columns are gathered at once, and all rows pass one panel after the other.
//! - Deeper rows are gathered block by block, with sums for all the job's outputs beside them.
//!
//! The rows of a 1x1 convolution at stride 1 are the source itself.

use std::ops::Range;

use super::shape::{Span, spans, units};
use super::window::{Panels, Window};
use crate::Isa;
use crate::gemm::{
    Channels, Columns, Dims, Fetch, IntoSink, Panel, PanelInto, Rows, Sink, Strided,
    multiply_apart, multiply_into, multiply_panels_into,
};
use crate::simd::{Kernel, Simd};
use crate::threads::{LINE, Scratch, cut, for_each, odd_lines};

/// A gather over NHWC maps followed by a matrix product.
#[derive(Clone)]
pub(crate) struct Gather<'a> {
    pub window: Window<'a>,
    pub images: usize,
    /// BatchNorm groups, for the statistics of the sink; 1 when there are none.
    pub groups: usize,
    /// Output points per image: rows and columns.
    pub points: [usize; 2],
    pub outputs: usize,
    /// Where point `(y, x)` lies in the destination.
    pub dst: Placement,
}

/// Point `(y, x)` is pixel `(y * step + first_y, x * step + first_x)` of a map with these rows and
/// columns.
#[derive(Clone, Copy)]
pub(crate) struct Placement {
    pub rows: usize,
    pub cols: usize,
    pub step: usize,
    pub first_y: usize,
    pub first_x: usize,
}

impl Placement {
    #[inline(always)]
    fn pixel(&self, image: usize, y: usize, x: usize) -> usize {
        (image * self.rows + y * self.step + self.first_y) * self.cols
            + x * self.step
            + self.first_x
    }
}

/// Floats of a block of a panel: 64 KiB, 1024 rows with AVX2 and 512 with AVX-512, whose panels are
/// twice as wide. With 256 rows AVX2 took 2 to 4 % longer on Zen 3 from 512 channels on; a tile's rows of
/// 1024 columns still have room in the first-level cache.
const BLOCK_FLOATS: usize = 16 << 10;
/// Depth of a block by which the rows of a job are reckoned: blocks are two to four times as deep, and
/// jobs of deep rows larger than [`JOB_FLOATS`].
const BLOCK_DEPTH: usize = 256;
/// Floats of the panels that a tile of rows passes before the next one does: 256 KiB of a second-level
/// cache.
const TOGETHER_FLOATS: usize = 64 << 10;
/// And how many panels these are at most.
const MOST_TOGETHER: usize = 16;
/// Columns that are gathered at once: a 3x3 kernel over 256 channels.
const WHOLE_DEPTH: usize = 2304;
/// Floats of a job's gathered rows, or of a block of them and the sums: 256 KiB of a second-level
/// cache.
const JOB_FLOATS: usize = 64 << 10;
const MAX_ROWS: usize = 240;
/// Weights that cost little to read anew for each job: jobs are small then, of all outputs. Of more
/// weights a job takes a share, and more rows.
const NEAR_WEIGHTS: usize = 256 << 10;
/// Weights beyond a share of the third-level cache, which are better fetched ahead.
const FAR_WEIGHTS: usize = 1 << 20;
/// Jobs that a layer is cut into: eleven like jobs are six for one of two threads and five for the
/// other.
const JOBS: usize = 48;
/// Panels of outputs that such a job has at least, for it gathers the rows again.
const LEAST_PANELS: usize = 4;

impl Gather<'_> {
    /// Spans of output points, one per job.
    pub(crate) fn spans(&self) -> Vec<Span> {
        let per_image = self.points[0] * self.points[1];
        let depth = self.window.depth();
        // In multiples of every tile height.
        let per_row = match depth <= WHOLE_DEPTH {
            true => odd_lines(depth),
            false => BLOCK_DEPTH + self.outputs,
        };
        let [jobs, most] = match depth * self.outputs <= NEAR_WEIGHTS {
            true => [JOBS, 96],
            false => [16, MAX_ROWS],
        };
        let by_jobs = (self.images * per_image).div_ceil(jobs);
        let rows = (JOB_FLOATS / per_row).min(by_jobs).next_multiple_of(24).clamp(24, most);
        spans(self.images, self.groups, per_image, [rows; 2])
    }

    /// Runs all jobs. `packed` comes from [`super::pack::pack`] with the same taps.
    ///
    /// # Panics
    /// When `src` or `packed` is shorter than the shape says.
    pub(crate) fn run(&self, isa: Isa, packed: &[f32], spans: &[Span], sink: &impl Sink) {
        let [h, w, c] = self.window.src_dims;
        assert!(self.window.src.data.len() >= self.images * h * w * c);
        assert!(packed.len() >= super::pack::packed_len(isa, self.outputs, self.window.depth()));
        let panel = isa.panel_width();
        let panels = self.outputs.div_ceil(panel);
        let shares = (JOBS / spans.len().max(1)).clamp(1, panels.div_ceil(LEAST_PANELS).max(1));
        for_each(spans.len() * shares, |i| {
            let (job, share) = (i / shares, i % shares);
            let bound = |share: usize| self.outputs.min(share * panels / shares * panel);
            let outputs = bound(share)..bound(share + 1);
            isa.run(Job { gather: self, packed, span: spans[job], outputs, job, sink });
        });
    }

    /// Whether the gathered rows of a span are rows of the source.
    fn in_place(&self) -> bool {
        let Window { src, src_dims: [h, w, _], step, runs } = &self.window;
        let pointwise = matches!(runs[..], [run] if (run.y, run.x, run.taps) == (0, 0, 1));
        let as_it_is = src.activation.is_none();
        as_it_is && pointwise && *step == 1 && self.points == [*h, *w] && self.groups == 1
    }
}

struct Job<'a, K> {
    gather: &'a Gather<'a>,
    packed: &'a [f32],
    span: Span,
    /// Whole panels, except the last.
    outputs: Range<usize>,
    job: usize,
    sink: &'a K,
}

impl<K: Sink> Kernel for Job<'_, K> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let mut list = Points { places: [[0; 3]; MAX_ROWS], pixels: [0; MAX_ROWS], count: 0 };
        self.list_points(&mut list);
        let depth = self.gather.window.depth();
        if depth == 0 {
            if !K::ADDS {
                self.put_zeros(s, &list);
            }
        } else if depth <= WHOLE_DEPTH {
            self.panel_by_panel(s, &list);
        } else {
            self.block_by_block(s, &list);
        }
    }
}

/// The points of a job.
struct Points {
    /// Image, row and column.
    places: [[usize; 3]; MAX_ROWS],
    /// In the destination.
    pixels: [usize; MAX_ROWS],
    count: usize,
}

impl Points {
    #[inline(always)]
    fn rows(&self) -> Rows<'_> {
        Rows::Listed(&self.pixels)
    }
}

impl<K: Sink> Job<'_, K> {
    #[inline(always)]
    fn list_points(&self, list: &mut Points) {
        let [rows, cols] = self.gather.points;
        for (image, point) in units(self.span, self.gather.groups, rows * cols) {
            let (y, x) = (point / cols, point % cols);
            list.places[list.count] = [image, y, x];
            list.pixels[list.count] = self.gather.dst.pixel(image, y, x);
            list.count += 1;
        }
    }

    /// All columns at once.
    #[inline(always)]
    fn panel_by_panel<S: Simd>(&self, s: S, points: &Points) {
        let window = &self.gather.window;
        let (depth, rows) = (window.depth(), points.count);
        let panel = S::LANES * S::TILE_VECTORS;
        let in_place = self.gather.in_place();
        let pitch = if in_place { depth } else { odd_lines(depth) };
        // Gathered rows are near already. Of rows a page apart, a set of the first-level cache has no
        // room for twice as many.
        let far = in_place && !pitch.is_multiple_of(1024);
        let one_block =
            depth_blocks(depth, panel).count() == 1 && depth * self.gather.outputs <= FAR_WEIGHTS;
        let mut memory = Scratch::new(rows * (pitch + panel) + LINE);
        let mut scratch = &mut *memory;
        let sums = (&mut *cut(&mut scratch, rows * panel), panel);
        let data = if in_place {
            &window.src.data[self.span.start * depth..self.span.end * depth]
        } else {
            gather_rows(s, window, points, 0..depth, (&mut *scratch, pitch));
            &*scratch
        };
        if one_block {
            let a = Strided { data, row_stride: pitch, k_stride: 1 };
            return self.tile_by_tile(s, points, (a, far));
        }
        for first in self.outputs.clone().step_by(panel) {
            for columns in depth_blocks(depth, panel) {
                let a = Strided { data: &data[columns.start..], row_stride: pitch, k_stride: 1 };
                let sums = (&mut *sums.0, panel);
                self.multiply(s, points, (a, far), columns, first, sums);
            }
        }
    }

    /// A tile of rows passes some panels of outputs before the next one does, each in one go.
    #[inline(always)]
    fn tile_by_tile<S: Simd>(&self, s: S, points: &Points, (a, far): (Strided, bool)) {
        let (depth, panel) = (self.gather.window.depth(), S::LANES * S::TILE_VECTORS);
        let together = (TOGETHER_FLOATS / (depth * panel)).clamp(1, MOST_TOGETHER);
        for first in self.outputs.clone().step_by(together * panel) {
            let bound = |i: usize| self.gather.outputs.min(first + i * panel);
            let mut panels: [_; MOST_TOGETHER] = std::array::from_fn(|i| {
                let outputs = bound(i)..bound(i + 1);
                let vectors = outputs.len().div_ceil(S::LANES);
                let b = Panel {
                    data: &self.packed[outputs.start * depth..],
                    stride: vectors * S::LANES,
                };
                PanelInto { b, vectors, into: IntoSink::new(self.sink, points.rows(), outputs) }
            });
            let count = together.min((self.outputs.end - first).div_ceil(panel));
            let panels = &mut panels[..count];
            multiply_panels_into(s, [points.count, depth], (a, far), panels);
            for PanelInto { vectors, into, .. } in panels {
                into.end(s, self.job, *vectors);
            }
        }
    }

    /// A block of columns at a time, with sums for all outputs.
    #[inline(always)]
    fn block_by_block<S: Simd>(&self, s: S, points: &Points) {
        let (window, outputs) = (&self.gather.window, &self.outputs);
        let panel = S::LANES * S::TILE_VECTORS;
        let pitch = odd_lines(BLOCK_FLOATS / panel);
        let sums_pitch = odd_lines(outputs.len().next_multiple_of(S::LANES));
        let mut memory = Scratch::new(points.count * (pitch + sums_pitch) + LINE);
        let mut scratch = &mut *memory;
        let sums = cut(&mut scratch, points.count * sums_pitch);
        for columns in depth_blocks(window.depth(), panel) {
            gather_rows(s, window, points, columns.clone(), (&mut *scratch, pitch));
            let a = Strided { data: scratch, row_stride: pitch, k_stride: 1 };
            for first in outputs.clone().step_by(panel) {
                let sums = (&mut sums[first - outputs.start..], sums_pitch);
                self.multiply(s, points, (a, false), columns.clone(), first, sums);
            }
        }
    }

    /// The product of some columns and the panel of outputs from `first` on: into `sums`, or with
    /// the last columns into the sink. `far` says whether the rows are to be fetched ahead.
    #[inline(always)]
    fn multiply<S: Simd>(
        &self,
        s: S,
        points: &Points,
        (a, far): (Strided, bool),
        columns: Range<usize>,
        first: usize,
        (sums, pitch): (&mut [f32], usize),
    ) {
        let depth = self.gather.window.depth();
        let outputs = self.gather.outputs - first;
        let vectors = outputs.div_ceil(S::LANES).min(S::TILE_VECTORS);
        let width = vectors * S::LANES;
        let data = &self.packed[first * depth + columns.start * width..];
        let b = Panel { data, stride: width };
        // The next block or panel lies behind this one.
        let block = [columns.len(), width];
        let tiles = points.count.div_ceil(S::TILE_ROWS);
        let behind = data.as_ptr().wrapping_add(block[0] * width);
        let next = Columns::panel(behind, block, tiles);
        let fetch = Fetch { rows: far.then_some(0), ..next.fetch() };
        let dims = Dims { fetch, ..Dims::new(points.count, columns.len(), vectors) };
        if columns.end < depth {
            return multiply_apart(s, dims, a, b, (sums, pitch), columns.start > 0);
        }
        let begun = (columns.start > 0).then_some((&*sums, pitch));
        let mut into = IntoSink::new(self.sink, points.rows(), first..self.gather.outputs);
        into.begun = begun;
        multiply_into(s, dims, a, b, &mut into);
        into.end(s, self.job, vectors);
    }

    /// What points that no tap reaches get.
    #[inline(always)]
    fn put_zeros<S: Simd>(&self, s: S, points: &Points) {
        for first in self.outputs.clone().step_by(S::LANES) {
            let at = Channels { first, lanes: S::LANES.min(self.outputs.end - first) };
            let zero = s.splat(0.0);
            let mut state = self.sink.begin(s, at, zero);
            for &pixel in &points.pixels[..points.count] {
                // SAFETY: the pixel is this job's own, the channels exist.
                unsafe { self.sink.put(s, &mut state, pixel, at, zero) };
            }
            // SAFETY: `begin` made the state for this job and these channels, which exist.
            unsafe { self.sink.end(s, state, self.job, at) };
        }
    }
}

/// Blocks of like length, of which a panel has at most [`BLOCK_FLOATS`].
pub(super) fn depth_blocks(depth: usize, panel: usize) -> impl Iterator<Item = Range<usize>> {
    let length = depth.div_ceil(depth.div_ceil(BLOCK_FLOATS / panel).max(1)).max(1);
    (0..depth).step_by(length).map(move |start| start..depth.min(start + length))
}

/// Some columns of the points' rows.
#[inline(always)]
fn gather_rows<S: Simd>(
    s: S,
    window: &Window,
    points: &Points,
    columns: Range<usize>,
    (rows, pitch): (&mut [f32], usize),
) {
    assert!(columns.len() <= pitch && points.count * pitch <= rows.len());
    let panels = Panels { width: pitch, panel_stride: 0 };
    let pieces = window.pieces(columns);
    let mut start = 0;
    for line in points.places[..points.count].chunk_by(|a, b| a[..2] == b[..2]) {
        let to = rows[start * pitch..].as_mut_ptr();
        // SAFETY: the image is one of the batch's; a row is as long as its only panel is wide.
        unsafe { window.copy_rows(s, (line[0], line.len()), &pieces, (to, pitch), panels) };
        start += line.len();
    }
}
