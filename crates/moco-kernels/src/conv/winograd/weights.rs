//! `U = G g Gᵀ` from OIHW weights, in the panels that the products read.

use super::POINTS;
use super::transform::{Weights, both_ways};
use crate::conv::pack::WeightView;
use crate::simd::Simd;

/// Weights seen as outputs by channels, and whether the kernel is rotated by half a turn (the data
/// gradient).
#[derive(Clone, Copy)]
pub(super) struct Kernels<'a> {
    pub view: WeightView<'a>,
    pub rotated: bool,
}

/// Writes `[36][channel][output]` for `channels` of the depth and `width` outputs from `first` on,
/// a multiple of the vector length; outputs beyond the last are zeros.
#[inline(always)]
pub(super) fn transform_weights<S: Simd>(
    s: S,
    kernels: Kernels,
    channels: std::ops::Range<usize>,
    first: usize,
    width: usize,
    out: &mut [f32],
) {
    let view = kernels.view;
    let count = channels.len();
    assert!(out.len() >= POINTS * count * width && width.is_multiple_of(S::LANES));
    let mut taps = [[0.0f32; 16]; 9];
    for (row, channel) in channels.enumerate() {
        for lane in (0..width).step_by(S::LANES) {
            let inside = view.outputs.saturating_sub(first + lane).min(S::LANES);
            for l in 0..inside {
                let from = (first + lane + l) * view.output_stride + channel * view.channel_stride;
                let kernel: &[f32; 9] = view.data[from..from + 9].try_into().expect("nine taps");
                for t in 0..9 {
                    taps[t][l] = kernel[if kernels.rotated { 8 - t } else { t }];
                }
            }
            taps.iter_mut().for_each(|tap| tap[inside..].fill(0.0));
            let mut kernel = [[s.splat(0.0); 3]; 3];
            for t in 0..9 {
                // SAFETY: no vector has more than 16 lanes.
                kernel[t / 3][t % 3] = unsafe { s.load(taps[t].as_ptr()) };
            }
            let transformed = both_ways(s, Weights, kernel);
            for y in 0..6 {
                for x in 0..6 {
                    let at = ((y * 6 + x) * count + row) * width + lane;
                    // SAFETY: a point below 36, `row < count`, `lane + LANES <= width`: within the
                    // asserted length.
                    unsafe { s.store(out.as_mut_ptr().add(at), transformed[y][x]) };
                }
            }
        }
    }
}
