//! LibTorch under our operations: what the files `torch.rs` beside each operation share.
//!
//! Each runs LibTorch's own operations, with LibTorch's own autograd inside, as one node of Burn's
//! graph ([`node`]); in the precision that the run asks for ([`crate::device::Arithmetic`]). NHWC tensors are
//! permuted to NCHW without copies, which LibTorch calls channels-last and its convolutions prefer.
//!
//! Nothing outside `ops` knows of `tch`, so that another engine would be another file in each folder.

pub(super) mod batch_norm;
#[cfg(test)]
mod half_tests;
mod node;
#[cfg(test)]
mod tests;

pub(super) use batch_norm::Running;
pub(super) use node::{Operand, node, node_in_f32};

use burn::backend::LibTorch;
use burn::backend::libtorch::TchTensor;
use burn::tensor::Tensor;

const PLAIN: &str = "a tensor on LibTorch, outside autodiff";

/// LibTorch's tensor behind a plain handle, to read.
pub(super) fn shared<const D: usize>(tensor: Tensor<D>) -> tch::Tensor {
    tensor.try_into_primitive::<LibTorch>().expect(PLAIN).tensor
}

/// LibTorch's tensor behind a plain handle, to write to: a copy, if anything else holds the memory.
pub(super) fn exclusive<const D: usize>(tensor: Tensor<D>) -> tch::Tensor {
    let tensor = tensor.try_into_primitive::<LibTorch>().expect(PLAIN);
    if tensor.can_mut() { tensor.tensor } else { tensor.tensor.copy() }
}

/// A plain handle on LibTorch's tensor, whose memory no other handle of Burn's may share.
pub(super) fn plain<const D: usize>(tensor: tch::Tensor) -> Tensor<D> {
    Tensor::from_primitive::<LibTorch>(TchTensor::new(tensor))
}

/// `[N, H, W, C]` as `[N, C, H, W]`, without copying.
pub(super) fn to_nchw(x: &tch::Tensor) -> tch::Tensor {
    x.permute([0, 3, 1, 2])
}

/// `[N, C, H, W]` as `[N, H, W, C]`, without copying.
pub(super) fn to_nhwc(x: &tch::Tensor) -> tch::Tensor {
    x.permute([0, 2, 3, 1])
}
