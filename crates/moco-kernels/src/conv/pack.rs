//! OIHW weights to the panels that the GEMM reads.

use crate::Isa;
use crate::simd::{Kernel, Simd};
use crate::threads::for_each_chunk;

/// OIHW weights seen as a matrix of depth (tap, channel) by outputs: forwards the outputs are
/// `cout`, for the data gradient they are `cin`.
#[derive(Clone, Copy)]
pub(crate) struct WeightView<'a> {
    pub data: &'a [f32],
    /// Outputs and the distance between them.
    pub outputs: usize,
    pub output_stride: usize,
    /// Channels summed over, per tap, and the distance between them.
    pub channels: usize,
    pub channel_stride: usize,
}

impl<'a> WeightView<'a> {
    pub(crate) fn forward(data: &'a [f32], cout: usize, cin: usize, taps: usize) -> Self {
        WeightView {
            data,
            outputs: cout,
            output_stride: cin * taps,
            channels: cin,
            channel_stride: taps,
        }
    }

    pub(crate) fn transposed(data: &'a [f32], cout: usize, cin: usize, taps: usize) -> Self {
        WeightView {
            data,
            outputs: cin,
            output_stride: taps,
            channels: cout,
            channel_stride: cin * taps,
        }
    }
}

/// Floats that [`pack`] writes.
pub(crate) fn packed_len(isa: Isa, outputs: usize, depth: usize) -> usize {
    outputs.next_multiple_of(isa.lanes()) * depth
}

/// Writes `[panel][tap][channel][output of the panel]`, outputs padded with zeros to whole vectors.
///
/// `taps` lists positions in the kernel, `ky * k + kx`.
pub(crate) fn pack(isa: Isa, view: WeightView, taps: &[usize], out: &mut [f32]) {
    let depth = taps.len() * view.channels;
    if depth == 0 {
        return;
    }
    let panel_width = isa.panel_width();
    for_each_chunk(out, panel_width * depth, |panel, out| {
        let width = out.len() / depth;
        isa.run(PackPanel { view, taps, first: panel * panel_width, width, out });
    });
}

/// One panel: `width` outputs from `first` on.
struct PackPanel<'a> {
    view: WeightView<'a>,
    taps: &'a [usize],
    first: usize,
    width: usize,
    out: &'a mut [f32],
}

impl Kernel for PackPanel<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let PackPanel { view, taps, first, width, out } = self;
        assert!(out.len() >= taps.len() * view.channels * width && width.is_multiple_of(S::LANES));
        // An output's floats lie together: those of all its channels, or a kernel per channel.
        let (runs, taps_in_kernel) = match view.channel_stride <= view.output_stride {
            true => (1, view.channel_stride),
            false => (view.channels, view.output_stride),
        };
        let slots: Vec<Option<usize>> =
            (0..taps_in_kernel).map(|tap| taps.iter().position(|&t| t == tap)).collect();
        let floats_in_run = view.channels / runs * taps_in_kernel;
        let mut square = [[0.0; 16]; 16];
        for lane in (0..width).step_by(S::LANES) {
            for run in 0..runs {
                let start = (first + lane) * view.output_stride + run * view.channel_stride;
                let (mut channel, mut tap) = (run, 0);
                for begin in (0..floats_in_run).step_by(S::LANES) {
                    let rows = S::LANES.min(floats_in_run - begin);
                    load_square(s, view, first + lane, start + begin, &mut square);
                    for values in &square[..rows] {
                        if let Some(slot) = slots[tap] {
                            let to = &mut out[(slot * view.channels + channel) * width + lane..];
                            to[..S::LANES].copy_from_slice(&values[..S::LANES]);
                        }
                        tap += 1;
                        if tap == taps_in_kernel {
                            (channel, tap) = (channel + 1, 0);
                        }
                    }
                }
            }
        }
    }
}

/// Fills row `i`, lane `l` with the float at `from + i` plus `l` outputs, `LANES` rows and lanes: zero
/// beyond the last output or float.
///
/// Into the caller's memory: zeroing a square for each call took 2 % of a ResNet-50's forward pass.
#[inline(always)]
pub(crate) fn load_square<S: Simd>(
    s: S,
    view: WeightView,
    output: usize,
    from: usize,
    square: &mut [[f32; 16]; 16],
) {
    let inside = view.outputs.saturating_sub(output).min(S::LANES);
    let last = from + (S::LANES - 1) * view.output_stride + S::LANES;
    if inside == S::LANES && last <= view.data.len() {
        // SAFETY: `last` is the end of the last row that is read; the square has room for all.
        unsafe {
            let data = view.data.as_ptr().add(from);
            s.transpose(data, view.output_stride, square[0].as_mut_ptr(), 16);
        }
    } else {
        square[..S::LANES].fill([0.0; 16]);
        for lane in 0..inside {
            let floats = &view.data[from + lane * view.output_stride..];
            for (row, &value) in square[..S::LANES].iter_mut().zip(floats) {
                row[lane] = value;
            }
        }
    }
}
