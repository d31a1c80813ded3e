//! The weight gradient of any convolution: `dW = Xᵀ dY`, where a row of `X` holds the input under
//! an output pixel and a row of `dY` that pixel's gradient.
//!
//! ```text
//!            columns (tap, cin)               outputs
//!           ┌────┬────┬────┐               ┌────┬────┐
//!   pixels  │    │    │    │  x  pixels    │    │    │   ──►  sums (columns x outputs) of a block
//!           └────┴────┴────┘               └────┴────┘
//! ```
//! A job takes a block of columns and of outputs through the pixels of its part, [`PIXELS`] at a
//! time. Up to [`COPIED_CHANNELS`], what the tile can read where it lies is not copied: `dY` in
//! whole vectors, and the input of a 1x1 convolution at stride 1. Other input is gathered into
//! panels. The cut depends on the shape alone, and parts are added in order: the result does not
//! depend on the threads.

use std::ops::Range;

use super::shape::ConvShape;
use super::source::Input;
use super::window::{Panels, Piece, Window};
use crate::Isa;
use crate::gemm::{Columns, Dims, Panel, Strided, multiply_apart};
use crate::simd::{Kernel, Simd, load_n, turn_rows};
use crate::threads::{Disjoint, Kept, LINE, Scratch, cut, filled, for_each};

/// Output pixels copied at a time.
const PIXELS: usize = 128;
/// Columns of a panel: a multiple of every tile height and every vector length.
const PANEL: usize = 48;
/// Columns per job. With [`OUTPUTS`] the operands and sums of a job take 720 KB of a second-level
/// cache.
const COLUMNS: usize = 8 * PANEL;
/// Input channels from which on both operands are copied: rows of 2 KiB fall into two sets of a
/// first-level cache, so each tile would read them from the second level again. (Measured on Zen 3:
/// 1024-512 at 14x14 takes 31 ms instead of 38; 256-64 at 56x56 takes longer with copies.)
const COPIED_CHANNELS: usize = 512;
/// Outputs per job.
const OUTPUTS: usize = 256;
/// Jobs wanted before the pixels are cut into parts: each part has sums of its own to be added.
const WANTED_JOBS: usize = 8;

/// `dW`, in OIHW.
pub(crate) fn weight_grad(isa: Isa, shape: &ConvShape, x: Input, dy: &[f32]) -> Vec<f32> {
    let plan = Plan::new(isa, shape, x, dy);
    let [columns, outputs] = plan.blocks;
    let mut sums = Kept::new(plan.parts * plan.part_len);
    let shared = Disjoint::new(&mut sums);
    for_each(plan.parts * columns * outputs, |job| {
        let (part, block) = (job / (columns * outputs), job % (columns * outputs));
        let block = [block / outputs, block % outputs];
        isa.run(Part { plan: &plan, part, block, sums: &shared });
    });
    let groups = shape.cout.div_ceil(plan.lanes);
    // SAFETY: every output channel is in one group.
    unsafe {
        filled(shape.weight_len(), |out| {
            let out = Disjoint::new(out);
            for_each(groups, |group| {
                let first = group * plan.lanes;
                let fold = Fold { plan: &plan, sums: &sums, first, out: out.start().cast() };
                isa.run(fold);
            });
        })
    }
}

struct Plan<'a> {
    shape: ConvShape,
    window: Window<'a>,
    dy: &'a [f32],
    lanes: usize,
    panel: usize,
    /// Taps times input channels.
    depth: usize,
    /// Of columns and of outputs.
    blocks: [usize; 2],
    /// Parts of the batch's output pixels.
    parts: usize,
    pixels_per_part: usize,
    part_len: usize,
}

impl<'a> Plan<'a> {
    fn new(isa: Isa, shape: &ConvShape, x: Input<'a>, dy: &'a [f32]) -> Plan<'a> {
        let depth = shape.k * shape.k * shape.cin;
        let blocks = [depth.div_ceil(COLUMNS), shape.cout.div_ceil(OUTPUTS)];
        let pixels = shape.out_pixels();
        let parts = WANTED_JOBS.div_ceil((blocks[0] * blocks[1]).max(1));
        let pixels_per_part = pixels.div_ceil(parts).next_multiple_of(PIXELS).max(PIXELS);
        Plan {
            shape: *shape,
            window: Window::forward(shape, x),
            dy,
            lanes: isa.lanes(),
            panel: isa.panel_width(),
            depth,
            blocks,
            parts: pixels.div_ceil(pixels_per_part).max(1),
            pixels_per_part,
            part_len: depth * shape.cout.next_multiple_of(isa.lanes()),
        }
    }

    /// Where the sums of the panel of outputs from `first` on begin, and its width: a part is
    /// `[panel][depth][width]`.
    fn panel_at(&self, first: usize) -> (usize, usize) {
        let all = self.shape.cout.next_multiple_of(self.lanes);
        (first * self.depth, self.panel.min(all - first))
    }

    /// Whether the input's rows lie in memory as the product wants them.
    fn input_in_place(&self) -> bool {
        let pointwise = (self.shape.k, self.shape.stride, self.shape.pad) == (1, 1, 0);
        pointwise && self.window.src.activation.is_none() && self.shape.cin < COPIED_CHANNELS
    }

    /// Whether the gradient's panels lie in memory as the product wants them, in whole vectors.
    fn gradient_in_place(&self) -> bool {
        self.shape.cout.is_multiple_of(self.lanes) && self.shape.cin < COPIED_CHANNELS
    }

    fn columns(&self, block: usize) -> Range<usize> {
        block * COLUMNS..self.depth.min((block + 1) * COLUMNS)
    }

    fn outputs(&self, block: usize) -> Range<usize> {
        block * OUTPUTS..self.shape.cout.min((block + 1) * OUTPUTS)
    }
}

/// The sums of one block over one part of the pixels.
struct Part<'a> {
    plan: &'a Plan<'a>,
    part: usize,
    /// Of columns and of outputs.
    block: [usize; 2],
    /// The sums of all parts.
    sums: &'a Disjoint<'a, f32>,
}

impl Kernel for Part<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Part { plan, part, block, .. } = self;
        let pixels = plan.shape.out_pixels();
        let start = pixels.min(part * plan.pixels_per_part);
        let end = pixels.min(start + plan.pixels_per_part);
        let (columns, outputs) = (plan.columns(block[0]), plan.outputs(block[1]));
        let pieces = plan.window.pieces(columns.clone());
        let mut memory = Scratch::new(PIXELS * (COLUMNS + OUTPUTS) + LINE);
        let mut scratch = &mut *memory;
        let x = cut(&mut scratch, PIXELS * COLUMNS);
        let dy = cut(&mut scratch, PIXELS * OUTPUTS);
        if start == end {
            for first in outputs.clone().step_by(plan.panel) {
                // SAFETY: the block's own, one panel at a time.
                unsafe { self.sums(first) }.0.fill(0.0);
            }
        }
        for first in (start..end).step_by(PIXELS) {
            let pixels = first..end.min(first + PIXELS);
            let x = if plan.input_in_place() {
                let cin = plan.shape.cin;
                let data = &plan.window.src.data[pixels.start * cin + columns.start..];
                Operand { data, pitch: cin, panel_stride: PANEL }
            } else {
                copy_input(s, plan, pixels.clone(), &pieces, x);
                Operand { data: x, pitch: PANEL, panel_stride: PANEL * PIXELS }
            };
            let dy = if plan.gradient_in_place() {
                let cout = plan.shape.cout;
                let data = &plan.dy[pixels.start * cout + outputs.start..];
                Operand { data, pitch: cout, panel_stride: plan.panel }
            } else {
                copy_gradient(s, plan, pixels.clone(), outputs.clone(), dy);
                Operand { data: dy, pitch: plan.panel, panel_stride: plan.panel * PIXELS }
            };
            self.add(s, pixels.len(), [x, dy], first > start);
        }
    }
}

/// Rows of an operand, one per pixel: panel `i` begins at `i * panel_stride`.
#[derive(Clone, Copy)]
struct Operand<'a> {
    data: &'a [f32],
    pitch: usize,
    panel_stride: usize,
}

impl Operand<'_> {
    /// The rows of panel `i`, or where there are no more than `i` panels, the first of the next
    /// pixels.
    #[inline(always)]
    fn panel(&self, i: usize, panels: usize, pixels: usize) -> *const f32 {
        let offset = if i < panels { i * self.panel_stride } else { pixels * self.pitch };
        self.data.as_ptr().wrapping_add(offset)
    }
}

impl Part<'_> {
    /// Adds the product of some pixels to the block's sums, or begins them.
    #[inline(always)]
    fn add<S: Simd>(&self, s: S, pixels: usize, [x, dy]: [Operand; 2], begun: bool) {
        let columns = self.plan.columns(self.block[0]).len();
        let outputs = self.plan.outputs(self.block[1]);
        let (x_in_place, dy_in_place) = (self.plan.input_in_place(), self.plan.gradient_in_place());
        let panels = [columns.div_ceil(PANEL), outputs.len().div_ceil(self.plan.panel)];
        for (i, first) in outputs.step_by(self.plan.panel).enumerate() {
            // SAFETY: the block's own, one panel at a time.
            let (sums, width) = unsafe { self.sums(first) };
            let b = Panel { data: &dy.data[i * dy.panel_stride..], stride: dy.pitch };
            let last = i + 1 == panels[1];
            for (j, column) in (0..columns).step_by(PANEL).enumerate() {
                let data = &x.data[j * x.panel_stride..];
                let a = Strided { data, row_stride: 1, k_stride: x.pitch };
                let rows = PANEL.min(columns - column);
                // Rows of a map are not yet in a cache when they are read first, and those of the
                // next pixels follow.
                let mut next = Columns::new();
                if x_in_place && (i == 0 && j + 1 < panels[0] || last && j + 1 == panels[0]) {
                    next.add(x.panel(j + 1, panels[0], pixels), x.pitch, PANEL / LINE);
                }
                if dy_in_place && j == 0 {
                    next.add(dy.panel(i + 1, panels[1], pixels), dy.pitch, width.div_ceil(LINE));
                }
                let fetch = next.fetch();
                let dims = Dims { fetch, ..Dims::new(rows, pixels, width / S::LANES) };
                multiply_apart(s, dims, a, b, (&mut sums[column * width..], width), begun);
            }
        }
    }

    /// The block's sums `[column][width]` of the panel of outputs from `first` on, and its width.
    ///
    /// # Safety
    /// No other live slice is this panel's. No other job has this block of this part.
    #[inline(always)]
    #[allow(clippy::mut_from_ref)]
    unsafe fn sums(&self, first: usize) -> (&mut [f32], usize) {
        let (start, width) = self.plan.panel_at(first);
        let start = self.part * self.plan.part_len + start;
        let columns = self.plan.columns(self.block[0]);
        let range = start + columns.start * width..start + columns.end * width;
        // SAFETY: the caller says that no other slice of this panel is alive, here or in another job, and
        // blocks of different parts and columns do not overlap.
        (unsafe { self.sums.slice(range) }, width)
    }
}

/// The input under some output pixels, `[panel][pixel][column]`.
#[inline(always)]
fn copy_input<S: Simd>(s: S, plan: &Plan, pixels: Range<usize>, pieces: &[Piece], out: &mut [f32]) {
    let (out_h, out_w) = (plan.shape.out_h(), plan.shape.out_w());
    let panels = Panels { width: PANEL, panel_stride: PANEL * PIXELS };
    assert!(pixels.len() <= PIXELS && out.len() >= PIXELS * COLUMNS);
    let mut pixel = pixels.start;
    while pixel < pixels.end {
        let place = [pixel / out_w / out_h, pixel / out_w % out_h, pixel % out_w];
        let count = (pixels.end - pixel).min(out_w - place[2]);
        // SAFETY: the image is one of the batch's; a block has at most `COLUMNS` columns, of which
        // `out` holds all panels.
        unsafe {
            let rows = out.as_mut_ptr().add((pixel - pixels.start) * PANEL);
            plan.window.copy_rows(s, (place, count), pieces, (rows, PANEL), panels);
        }
        pixel += count;
    }
}

/// The gradient of some output pixels and channels in panels, with zeros beyond the last channel.
#[inline(always)]
fn copy_gradient<S: Simd>(
    s: S,
    plan: &Plan,
    pixels: Range<usize>,
    outputs: Range<usize>,
    out: &mut [f32],
) {
    let cout = plan.shape.cout;
    for (row, pixel) in pixels.enumerate() {
        let from = &plan.dy[pixel * cout..][outputs.clone()];
        for (i, first) in outputs.clone().step_by(plan.panel).enumerate() {
            let (_, width) = plan.panel_at(first);
            let to = &mut out[(i * PIXELS + row) * plan.panel..][..width];
            for lane in (0..width).step_by(S::LANES) {
                let at = i * plan.panel + lane;
                let lanes = S::LANES.min(from.len() - at);
                // SAFETY: `from` holds the lanes that are asked for, `to` a whole vector.
                unsafe {
                    let v = load_n(s, from.as_ptr().add(at), lanes);
                    s.store(to.as_mut_ptr().add(lane), v);
                }
            }
        }
    }
}

/// Adds the parts of one vector of output channels and writes them as OIHW.
struct Fold<'a> {
    plan: &'a Plan<'a>,
    /// `[part][panel][depth][width]`
    sums: &'a [f32],
    first: usize,
    /// `[cout][cin][taps]`; this job writes its output channels.
    out: *mut f32,
}

/// Input channels folded at a time: with 9 taps and 16 lanes, 9 KiB.
const FOLD: usize = 16;

impl Kernel for Fold<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Fold { plan, sums, first, out } = self;
        let (cin, taps) = (plan.shape.cin, plan.shape.k * plan.shape.k);
        let rows = &mut *Scratch::new(FOLD * taps * S::LANES);
        let panel = first / plan.panel * plan.panel;
        let (start, width) = plan.panel_at(panel);
        let start = start + first - panel;
        for channel in (0..cin).step_by(FOLD) {
            let count = FOLD.min(cin - channel);
            for tap in 0..taps {
                for c in 0..count {
                    let from = &sums[start + (tap * cin + channel + c) * width..];
                    let to = &mut rows[(c * taps + tap) * S::LANES..][..S::LANES];
                    // SAFETY: `to` is one vector.
                    unsafe { s.store(to.as_mut_ptr(), sum_parts(s, plan, from)) };
                }
            }
            let lanes = S::LANES.min(plan.shape.cout - first);
            // SAFETY: `rows` holds all taps of these channels; output and input channels are in
            // range, and these outputs are this job's alone.
            unsafe {
                let to = out.add((first * cin + channel) * taps);
                turn_rows(s, rows.as_ptr(), count * taps, lanes, to, cin * taps);
            }
        }
    }
}

/// One vector summed over the parts, in order.
#[inline(always)]
fn sum_parts<S: Simd>(s: S, plan: &Plan, sums: &[f32]) -> S::V {
    let mut total = s.splat(0.0);
    for part in 0..plan.parts {
        let row = &sums[part * plan.part_len..][..S::LANES];
        // SAFETY: `row` is one vector.
        total = s.add(total, unsafe { s.load(row.as_ptr()) });
    }
    total
}
