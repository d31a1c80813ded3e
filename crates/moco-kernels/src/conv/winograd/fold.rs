//! The last step of the weight gradient: `dW = Gᵀ dU G`, written as OIHW.

use std::ops::Range;

use super::transform::both_ways;
use super::{Scheme, phases, transform};
use crate::simd::{Kernel, Simd, turn_rows};
use crate::threads::Scratch;

/// `dU` in several parts `[36][rows][pitch]`, `len` apart, of which the sum is meant.
#[derive(Clone, Copy)]
pub(super) struct Parts<'a> {
    pub data: &'a [f32],
    pub len: usize,
    pub count: usize,
    pub rows: usize,
    pub pitch: usize,
}

impl Parts<'_> {
    #[inline(always)]
    fn load<S: Simd>(&self, s: S, point: usize, row: usize, lane: usize) -> S::V {
        let at = (point * self.rows + row) * self.pitch + lane;
        let mut sum = s.splat(0.0);
        for part in 0..self.count {
            let from = &self.data[part * self.len + at..][..S::LANES];
            // SAFETY: `from` is one vector.
            sum = s.add(sum, unsafe { s.load(from.as_ptr()) });
        }
        sum
    }
}

/// `dW = Gᵀ dU G` of some channels, into OIHW.
pub(super) struct Fold<'a> {
    pub scheme: Scheme,
    /// Input channels of all the weights.
    pub all_cin: usize,
    /// Input and output channels.
    pub channels: [Range<usize>; 2],
    /// Row 0, lane 0 is the first of these channels.
    pub du: Parts<'a>,
    /// `[cout][cin][9]`, of which these channels are written.
    pub out: *mut f32,
}

/// Input channels folded at a time, so that they are written as runs.
const FOLD: usize = 16;

impl Kernel for Fold<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Fold { scheme, all_cin, channels: [cin, cout], du, out } = self;
        let rows = &mut *Scratch::new(FOLD * 9 * S::LANES);
        for lane in (0..cout.len()).step_by(S::LANES) {
            for first in cin.clone().step_by(FOLD) {
                let count = FOLD.min(cin.end - first);
                for c in 0..count {
                    let row = first - cin.start + c;
                    let mut points = [[s.splat(0.0); 6]; 6];
                    for y in 0..6 {
                        for x in 0..6 {
                            points[y][x] = du.load(s, y * 6 + x, row, lane);
                        }
                    }
                    let taps = match scheme {
                        Scheme::Stride1 => both_ways(s, transform::WeightsTransposed, points),
                        Scheme::Stride2 => both_ways(s, phases::WeightsTransposed, points),
                    };
                    for tap in 0..9 {
                        let to = &mut rows[(c * 9 + tap) * S::LANES..][..S::LANES];
                        // SAFETY: `to` is one vector.
                        unsafe { s.store(to.as_mut_ptr(), taps[tap / 3][tap % 3]) };
                    }
                }
                let output = cout.start + lane;
                let lanes = S::LANES.min(cout.len() - lane);
                // SAFETY: `rows` holds nine rows per channel; these channels of the output are in
                // range and this fold's alone.
                unsafe {
                    let to = out.add((output * all_cin + first) * 9);
                    turn_rows(s, rows.as_ptr(), count * 9, lanes, to, all_cin * 9);
                }
            }
        }
    }
}
