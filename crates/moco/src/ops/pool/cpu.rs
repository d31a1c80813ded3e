//! Pooling by our CPU kernels, as nodes of the autodiff graph.

use crate::ops::flex::{contiguous, record, slice, tensor};
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;
use burn_flex::FlexTensor;
use moco_kernels::Isa;
use moco_kernels::pool::{
    self, PoolShape, average_pool_backward, average_pool_forward, max_pool_backward,
    max_pool_forward,
};
use std::sync::Arc;

pub(super) fn max_pool(x: Tensor<4>, isa: Isa) -> Tensor<4> {
    Tensor::from_dispatch(<Dispatch as PoolOps>::max_pool(x.into_dispatch(), isa))
}

pub(super) fn average_pool(x: Tensor<4>, isa: Isa) -> Tensor<2> {
    Tensor::from_dispatch(<Dispatch as PoolOps>::average_pool(x.into_dispatch(), isa))
}

#[backend_extension(Flex, Autodiff)]
trait PoolOps: Backend {
    fn max_pool(x: FloatTensor<Self>, isa: Isa) -> FloatTensor<Self>;
    fn average_pool(x: FloatTensor<Self>, isa: Isa) -> FloatTensor<Self>;
}

impl PoolOps for Flex {
    fn max_pool(x: FlexTensor, isa: Isa) -> FlexTensor {
        let x = contiguous(x);
        let shape = pool_shape(x.layout().shape().dims());
        tensor(pool::max_pool(isa, &shape, slice(&x)), out_dims(&shape))
    }

    fn average_pool(x: FlexTensor, isa: Isa) -> FlexTensor {
        run_average(x, isa).0
    }
}

impl<C: CheckpointStrategy> PoolOps for Autodiff<Flex, C> {
    fn max_pool(x: FloatTensor<Self>, isa: Isa) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        let (out, saved) = run(x, isa);
        record(MaxPool.prepare::<C>([node]).compute_bound().stateful(), saved, out)
    }

    fn average_pool(x: FloatTensor<Self>, isa: Isa) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        let (out, saved) = run_average(x, isa);
        record(AveragePool.prepare::<C>([node]).compute_bound().stateful(), saved, out)
    }
}

fn run(x: FlexTensor, isa: Isa) -> (FlexTensor, Saved) {
    let x = contiguous(x);
    let shape = pool_shape(x.layout().shape().dims());
    let (out, positions) = max_pool_forward(isa, &shape, slice(&x));
    (tensor(out, out_dims(&shape)), Saved { shape, positions: Arc::new(positions), isa })
}

/// The networks' only max-pool, of maps `[N, H, W, C]`.
pub(in crate::ops) fn pool_shape([n, h, w, c]: [usize; 4]) -> PoolShape {
    PoolShape { n, h, w, c, k: 3, stride: 2, pad: 1 }
}

pub(in crate::ops) fn out_dims(shape: &PoolShape) -> [usize; 4] {
    [shape.n, shape.out_h(), shape.out_w(), shape.c]
}

/// The backward pass.
#[derive(Debug)]
struct MaxPool;

/// Where each maximum was.
#[derive(Clone, Debug)]
struct Saved {
    shape: PoolShape,
    positions: Arc<Vec<u8>>,
    isa: Isa,
}

impl Backward<Flex, 1> for MaxPool {
    type State = Saved;

    fn backward(self, ops: Ops<Saved, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let d_out = contiguous(grads.consume::<Flex>(&ops.node));
        let Saved { shape, positions, isa } = ops.state;
        if let [Some(parent)] = ops.parents {
            let dx = max_pool_backward(isa, &shape, slice(&d_out), &positions);
            grads.register::<Flex>(parent.id, tensor(dx, [shape.n, shape.h, shape.w, shape.c]));
        }
    }
}

fn run_average(x: FlexTensor, isa: Isa) -> (FlexTensor, SavedAverage) {
    let x = contiguous(x);
    let x_dims: [usize; 4] = x.layout().shape().dims();
    let saved = SavedAverage { x_dims, isa };
    let [n, _, c] = saved.kernel_dims();
    (tensor(average_pool_forward(isa, saved.kernel_dims(), slice(&x)), [n, c]), saved)
}

/// The backward pass.
#[derive(Debug)]
struct AveragePool;

/// The size of the input, `[N, H, W, C]`.
#[derive(Clone, Debug)]
struct SavedAverage {
    x_dims: [usize; 4],
    isa: Isa,
}

impl SavedAverage {
    /// Images, positions, channels.
    fn kernel_dims(&self) -> [usize; 3] {
        let [n, h, w, c] = self.x_dims;
        [n, h * w, c]
    }
}

impl Backward<Flex, 1> for AveragePool {
    type State = SavedAverage;

    fn backward(self, ops: Ops<SavedAverage, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let d_out = contiguous(grads.consume::<Flex>(&ops.node));
        let saved = ops.state;
        if let [Some(parent)] = ops.parents {
            let dx = average_pool_backward(saved.isa, saved.kernel_dims(), slice(&d_out));
            grads.register::<Flex>(parent.id, tensor(dx, saved.x_dims));
        }
    }
}
