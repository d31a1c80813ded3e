//! The weight gradient of any convolution: `dW[tap] = Σ_pixels x[pixel + tap]ᵀ dy[pixel]`.
//!
//! For each tap the valid (input pixel, output pixel) pairs are listed and the register tile runs
//! down the list, so nothing is gathered and padding costs nothing. The pixels are cut into a fixed
//! number of parts, each with sums of its own, which are added in order: the result does not depend
//! on the threads.

use super::shape::ConvShape;
use crate::Isa;
use crate::gemm::{Pairs, multiply_pairs};
use crate::simd::{Kernel, Simd, load_n, store_n};
use crate::threads::{Disjoint, Kept, LINE, Scratch, cut, filled, for_each};

/// Output pixels whose gradient is packed at a time.
const PIXELS: usize = 192;
/// Output channels per job.
const BLOCK: usize = 64;

/// `dW`, in OIHW.
pub(crate) fn weight_grad(isa: Isa, shape: &ConvShape, x: &[f32], dy: &[f32]) -> Vec<f32> {
    let plan = Plan::new(isa, shape);
    let mut sums = Kept::new(plan.parts * plan.part_len);
    let shared = Disjoint::new(&mut sums);
    for_each(plan.parts * plan.blocks, |job| {
        let (part, block) = (job / plan.blocks, job % plan.blocks);
        let start = part * plan.part_len + plan.block_start(block);
        let len = plan.depth * plan.block_width(block);
        // SAFETY: each (part, block) has its own range and its own job.
        let sums = unsafe { shared.slice(start..start + len) };
        isa.run(Part { plan: &plan, x, dy, part, block, sums });
    });
    // SAFETY: `add_parts` writes all of it: every output channel is in one block.
    unsafe {
        filled(shape.weight_len(), |out| {
            let out = Disjoint::new(out);
            for_each(plan.blocks, |block| {
                let fold = Fold { plan: &plan, sums: &sums, block, out: out.start().cast() };
                isa.run(fold);
            });
        })
    }
}

struct Plan {
    shape: ConvShape,
    lanes: usize,
    panel: usize,
    /// Taps times input channels.
    depth: usize,
    /// Blocks of output channels.
    blocks: usize,
    /// Parts of the batch's output pixels.
    parts: usize,
    pixels_per_part: usize,
    part_len: usize,
}

impl Plan {
    fn new(isa: Isa, shape: &ConvShape) -> Plan {
        let depth = shape.k * shape.k * shape.cin;
        let blocks = shape.cout.div_ceil(BLOCK);
        // Enough jobs for many cores, but no part below one packing and no more than 32 MiB of
        // sums.
        let part_len = depth * shape.cout.next_multiple_of(isa.lanes());
        let most = ((8 << 20) / part_len.max(1)).clamp(1, 32usize.div_ceil(blocks.max(1)));
        let pixels = shape.out_pixels();
        let pixels_per_part = pixels.div_ceil(most).max(PIXELS);
        Plan {
            shape: *shape,
            lanes: isa.lanes(),
            panel: isa.panel_width(),
            depth,
            blocks,
            parts: pixels.div_ceil(pixels_per_part).max(1),
            pixels_per_part,
            part_len,
        }
    }

    /// Output channels of a block, padded to whole vectors.
    fn block_width(&self, block: usize) -> usize {
        self.block_channels(block).next_multiple_of(self.lanes)
    }

    fn block_channels(&self, block: usize) -> usize {
        BLOCK.min(self.shape.cout - block * BLOCK)
    }

    fn block_start(&self, block: usize) -> usize {
        block * BLOCK * self.depth
    }
}

/// The sums `[panel][tap][cin][width]` of one block of output channels over one part of the pixels.
struct Part<'a> {
    plan: &'a Plan,
    x: &'a [f32],
    dy: &'a [f32],
    part: usize,
    block: usize,
    sums: &'a mut [f32],
}

impl Kernel for Part<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Part { plan, x, dy, part, block, sums } = self;
        sums.fill(0.0);
        let end = plan.shape.out_pixels().min((part + 1) * plan.pixels_per_part);
        let width = plan.block_width(block);
        let mut pairs = Pairs::default();
        let scratch = &mut *Scratch::new(PIXELS * width);
        for first in (part * plan.pixels_per_part..end).step_by(PIXELS) {
            let pixels = first..end.min(first + PIXELS);
            pack_pixels(s, plan, dy, block, pixels.clone(), scratch);
            for tap in 0..plan.shape.k * plan.shape.k {
                let x = &x[list_pairs(plan, tap, pixels.clone(), &mut pairs)..];
                add_tap(s, plan, width, tap, &pairs, x, scratch, sums);
            }
        }
    }
}

/// Copies one block of channels of `dy` to `[panel][pixel][width]`, tails padded with zeros.
#[inline(always)]
fn pack_pixels<S: Simd>(
    s: S,
    plan: &Plan,
    dy: &[f32],
    block: usize,
    pixels: std::ops::Range<usize>,
    out: &mut [f32],
) {
    let channels = plan.block_channels(block);
    let cout = plan.shape.cout;
    for (row, pixel) in pixels.enumerate() {
        let from = &dy[pixel * cout + block * BLOCK..][..channels];
        for first in (0..channels).step_by(S::LANES) {
            let panel = first / plan.panel * plan.panel;
            let width = plan.panel.min(plan.block_width(block) - panel);
            let to = &mut out[panel * PIXELS + row * width + first - panel..][..S::LANES];
            // SAFETY: `from` holds the `channels - first` lanes that are asked for, `to` a whole
            // vector.
            unsafe {
                let v = load_n(s, from.as_ptr().add(first), S::LANES.min(channels - first));
                store_n(s, to.as_mut_ptr(), v, S::LANES);
            }
        }
    }
}

/// Lists the pixels that `tap` joins, relative to the first image touched, whose offset in `x` is
/// returned. The second of each pair is the row of the packed gradient.
fn list_pairs(plan: &Plan, tap: usize, pixels: std::ops::Range<usize>, pairs: &mut Pairs) -> usize {
    let shape = &plan.shape;
    let (out_h, out_w) = (shape.out_h(), shape.out_w());
    let (tap_y, tap_x) = (tap / shape.k, tap % shape.k);
    let base = pixels.start / (out_h * out_w);
    let mut image = 0;
    let mut y = pixels.start / out_w % out_h;
    let mut x = pixels.start % out_w;
    pairs.clear();
    for row in 0..pixels.len() {
        let in_y = (y * shape.stride + tap_y).wrapping_sub(shape.pad);
        let in_x = (x * shape.stride + tap_x).wrapping_sub(shape.pad);
        if in_y < shape.h && in_x < shape.w {
            pairs.push(((image * shape.h + in_y) * shape.w + in_x) * shape.cin, row);
        }
        x += 1;
        if x == out_w {
            (x, y) = (0, y + 1);
            if y == out_h {
                (y, image) = (0, image + 1);
            }
        }
    }
    base * shape.h * shape.w * shape.cin
}

#[inline(always)]
fn add_tap<S: Simd>(
    s: S,
    plan: &Plan,
    width: usize,
    tap: usize,
    pairs: &Pairs,
    x: &[f32],
    packed: &[f32],
    sums: &mut [f32],
) {
    let cin = plan.shape.cin;
    for panel in (0..width).step_by(plan.panel) {
        let panel_width = plan.panel.min(width - panel);
        let sums = &mut sums[panel * plan.depth + tap * cin * panel_width..][..cin * panel_width];
        let b = &packed[panel * PIXELS..][..PIXELS * panel_width];
        let vectors = panel_width / S::LANES;
        multiply_pairs(s, (cin, vectors), pairs, x, (b, panel_width), (sums, panel_width));
    }
}

/// Adds the parts of one block and writes them as OIHW.
struct Fold<'a> {
    plan: &'a Plan,
    /// `[part][block][panel][tap][cin][width]`
    sums: &'a [f32],
    block: usize,
    /// `[cout][cin][taps]`; this job writes its block's output channels.
    out: *mut f32,
}

/// Input channels folded at a time: with 9 taps and 32 lanes, 18 KiB.
const FOLD: usize = 16;

impl Kernel for Fold<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Fold { plan, sums, block, out } = self;
        let (cin, taps) = (plan.shape.cin, plan.shape.k * plan.shape.k);
        let pitch = FOLD * taps + LINE;
        let mut memory = Scratch::new(S::LANES * (pitch + 1));
        let mut scratch = &mut *memory;
        let turned = cut(&mut scratch, S::LANES * pitch);
        let mut lanes = [0.0; 16];
        let width = plan.block_width(block);
        for first in (0..plan.block_channels(block)).step_by(S::LANES) {
            let panel = first / plan.panel * plan.panel;
            let panel_width = plan.panel.min(width - panel);
            let at = plan.block_start(block) + panel * plan.depth + first - panel;
            for channel in (0..cin).step_by(FOLD) {
                let count = FOLD.min(cin - channel);
                for (tap, c) in (0..taps).flat_map(|t| (0..count).map(move |c| (t, c))) {
                    let row = at + (tap * cin + channel + c) * panel_width;
                    sum_parts(s, plan, &sums[row..], &mut lanes);
                    for lane in 0..S::LANES {
                        turned[lane * pitch + c * taps + tap] = lanes[lane];
                    }
                }
                for lane in 0..S::LANES.min(plan.block_channels(block) - first) {
                    let output = block * BLOCK + first + lane;
                    let row = &turned[lane * pitch..][..count * taps];
                    // SAFETY: output channel and input channels are in range, and this output
                    // channel is this job's alone.
                    unsafe {
                        let to = out.add((output * cin + channel) * taps);
                        to.copy_from_nonoverlapping(row.as_ptr(), row.len());
                    }
                }
            }
        }
    }
}

/// One vector summed over the parts, in order.
#[inline(always)]
fn sum_parts<S: Simd>(s: S, plan: &Plan, sums: &[f32], out: &mut [f32; 16]) {
    let mut total = s.splat(0.0);
    for part in 0..plan.parts {
        let row = &sums[part * plan.part_len..][..S::LANES];
        // SAFETY: `row` is one vector.
        total = s.add(total, unsafe { s.load(row.as_ptr()) });
    }
    // SAFETY: `out` holds 16 floats, the most lanes there are.
    unsafe { s.store(out.as_mut_ptr(), total) };
}
