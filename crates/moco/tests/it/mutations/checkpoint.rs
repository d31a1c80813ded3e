//! All that reads a checkpoint, on a state as small as can be.

use burn::tensor::Tensor;
use moco::checkpoint::Checkpoint;
use moco::device::Device;
use moco::export::read_origin;
use moco::nn::Buffer;
use moco::plan::parse_run;
use std::path::Path;

/// State of two tensors and a counter.
struct Part {
    matrix: Buffer<2>,
    empty: Buffer<1>,
    counter: u64,
}

moco::module!(Part { matrix, empty, counter });

fn part(device: &Device) -> Part {
    let matrix = Buffer::new(Tensor::from_data([[1.0, -2.0, 0.5], [3e-8, 0.0, 7.0]], device));
    Part { matrix, empty: Buffer::new(Tensor::zeros([0], device)), counter: 4 }
}

/// Whether the file opens, and whether its state can be restored.
pub fn opened(path: &Path) -> [bool; 2] {
    if let Ok(Some(origin)) = read_origin(path) {
        let _ = parse_run(&origin.config);
    }
    let Ok(checkpoint) = Checkpoint::open(path) else { return [false; 2] };
    let device = Device::flex();
    let _ = parse_run(&checkpoint.meta().config);
    [true, checkpoint.restore(&mut [("part", &mut part(&device))], &device).is_ok()]
}
