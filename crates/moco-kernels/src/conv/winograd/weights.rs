//! `U = G g Gᵀ` from OIHW weights, in the panels that the products read.

use std::ops::Range;

use super::input::Slabs;
use super::transform::both_ways;
use super::{POINTS, Scheme, phases, transform};
use crate::Isa;
use crate::conv::pack::{WeightView, load_square};
use crate::conv::shape::ConvShape;
use crate::simd::{Kernel, Simd};
use crate::threads::{Kept, for_each_chunk};

/// Weights seen as outputs by channels, and whether the kernel is rotated by half a turn (the data
/// gradient).
#[derive(Clone, Copy)]
pub(crate) struct Kernels<'a> {
    pub(super) view: WeightView<'a>,
    pub(super) rotated: bool,
    pub(super) scheme: Scheme,
}

impl<'a> Kernels<'a> {
    /// The kernels of the convolution's forward pass.
    pub(crate) fn forward(scheme: Scheme, shape: &ConvShape, w: &'a [f32]) -> Self {
        let view = WeightView::forward(w, shape.cout, shape.cin, 9);
        Kernels { view, rotated: false, scheme }
    }

    /// The kernels of the data gradient at stride 1.
    pub(crate) fn data_grad(shape: &ConvShape, w: &'a [f32]) -> Self {
        let view = WeightView::transposed(w, shape.cout, shape.cin, 9);
        Kernels { view, rotated: true, scheme: Scheme::Stride1 }
    }

    /// The transformed weights, panel by panel, each as [`weight_slabs`] has them; `None` if they are
    /// so many that they are better transformed on the way.
    pub(crate) fn transformed(self, isa: Isa) -> Option<Kept> {
        if self.view.channels > most_channels(self.scheme) {
            return None;
        }
        let panel = isa.panel_width();
        let outputs = self.view.outputs.next_multiple_of(isa.lanes());
        let slabs = weight_slabs(self.view.channels, panel);
        let mut out = Kept::new(outputs.div_ceil(panel) * slabs.len());
        for_each_chunk(&mut out, slabs.len(), |i, out| {
            let outputs = (i * panel, panel.min(outputs - i * panel));
            let channels = 0..self.view.channels;
            isa.run(Transform { kernels: self, channels, outputs, slabs, out });
        });
        Some(out)
    }
}

/// Most input channels whose weights are transformed beforehand. At stride 2 a tile is more than twice
/// as large.
fn most_channels(scheme: Scheme) -> usize {
    match scheme {
        Scheme::Stride1 => 300,
        Scheme::Stride2 => 150,
    }
}

/// How the transformed weights of one panel of outputs lie in memory, a row per channel: 36 slabs.
pub(super) fn weight_slabs(channels: usize, panel_width: usize) -> Slabs {
    Slabs::new(POINTS, channels, panel_width)
}

/// Writes `[36][channel][output]` for `channels` of the depth and `width` outputs from `first` on,
/// a multiple of the vector length; outputs beyond the last are zeros.
pub(super) struct Transform<'a> {
    pub kernels: Kernels<'a>,
    pub channels: Range<usize>,
    /// `(first, width)`
    pub outputs: (usize, usize),
    pub out: &'a mut [f32],
    pub slabs: Slabs,
}

impl Kernel for Transform<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Transform { kernels, channels, outputs, out, slabs } = self;
        let (first, width) = outputs;
        assert!(slabs.count == POINTS && out.len() >= slabs.len());
        assert!(channels.len() * slabs.pitch <= slabs.slab);
        assert!(width <= slabs.pitch && width.is_multiple_of(S::LANES));
        let mut squares = [[[0.0; 16]; 16]; 2];
        for (row, channel) in channels.enumerate() {
            for lane in (0..width).step_by(S::LANES) {
                let kernel = load_kernels(s, kernels, first + lane, channel, &mut squares);
                let transformed = match kernels.scheme {
                    Scheme::Stride1 => both_ways(s, transform::Weights, kernel),
                    Scheme::Stride2 => both_ways(s, phases::Weights, kernel),
                };
                for y in 0..6 {
                    for x in 0..6 {
                        let at = (y * 6 + x) * slabs.slab + row * slabs.pitch + lane;
                        // SAFETY: a point below 36, a row of its slab, `lane + LANES <= width`: within
                        // the asserted lengths.
                        unsafe { s.store(out.as_mut_ptr().add(at), transformed[y][x]) };
                    }
                }
            }
        }
    }
}

/// The nine taps of a vector of outputs for one channel, with zeros beyond the last output.
#[inline(always)]
fn load_kernels<S: Simd>(
    s: S,
    Kernels { view, rotated, .. }: Kernels,
    output: usize,
    channel: usize,
    [taps, later]: &mut [[[f32; 16]; 16]; 2],
) -> [[S::V; 3]; 3] {
    let from = output * view.output_stride + channel * view.channel_stride;
    load_square(s, view, output, from, taps);
    // A square of eight lanes has one row too few: the next one, a float further on, has it.
    if S::LANES < 9 {
        load_square(s, view, output, from + 9 - S::LANES, later);
    }
    let mut kernel = [[s.splat(0.0); 3]; 3];
    for t in 0..9 {
        let tap = if rotated { 8 - t } else { t };
        let row = if tap < S::LANES { &taps[tap] } else { &later[tap + S::LANES - 9] };
        // SAFETY: no vector has more than 16 lanes.
        kernel[t / 3][t % 3] = unsafe { s.load(row.as_ptr()) };
    }
    kernel
}
