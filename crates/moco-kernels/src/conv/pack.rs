//! OIHW weights to the panels that the GEMM reads.

use crate::Isa;
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
        pack_panel(view, taps, panel * panel_width, out.len() / depth, out);
    });
}

fn pack_panel(view: WeightView, taps: &[usize], first: usize, width: usize, out: &mut [f32]) {
    // Blocks of channels, so that the lines being written stay in the first-level cache.
    const BLOCK: usize = 16;
    for block in (0..view.channels).step_by(BLOCK) {
        let end = view.channels.min(block + BLOCK);
        for lane in 0..width {
            let output = first + lane;
            for channel in block..end {
                let from = output * view.output_stride + channel * view.channel_stride;
                for (t, &tap) in taps.iter().enumerate() {
                    let value = if output < view.outputs { view.data[from + tap] } else { 0.0 };
                    out[(t * view.channels + channel) * width + lane] = value;
                }
            }
        }
    }
}
