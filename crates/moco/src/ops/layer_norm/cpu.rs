//! LayerNorm by our CPU kernels, as one node of the autodiff graph.

use crate::ops::flex::{contiguous, record, slice, tensor, vector};
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;
use burn_flex::FlexTensor;
use moco_kernels::Isa;
use moco_kernels::layer_norm::{
    LayerNormOutput, LayerNormSaved, layer_norm_backward, layer_norm_forward,
};
use std::sync::Arc;

pub(in crate::ops) fn layer_norm<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    epsilon: f64,
    isa: Isa,
) -> Tensor<D> {
    let (x, [weight, bias]) = (x.into_dispatch(), [weight, bias].map(Tensor::into_dispatch));
    let epsilon = epsilon as f32;
    Tensor::from_dispatch(<Dispatch as NormOps>::layer_norm(x, weight, bias, epsilon, isa))
}

#[backend_extension(Flex, Autodiff)]
trait NormOps: Backend {
    fn layer_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        epsilon: f32,
        isa: Isa,
    ) -> FloatTensor<Self>;
}

impl NormOps for Flex {
    fn layer_norm(
        x: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        epsilon: f32,
        isa: Isa,
    ) -> FlexTensor {
        Saved::run(x, weight, bias, epsilon, isa).1
    }
}

impl<C: CheckpointStrategy> NormOps for Autodiff<Flex, C> {
    fn layer_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        epsilon: f32,
        isa: Isa,
    ) -> FloatTensor<Self> {
        let ((x, x_node), (weight, weight_node)) = (x.into_parts(), weight.into_parts());
        let (bias, bias_node) = bias.into_parts();
        let (saved, out) = Saved::run(x, weight, bias, epsilon, isa);
        let prepared = Node.prepare::<C>([x_node, weight_node, bias_node]);
        record(prepared.compute_bound().stateful(), saved, out)
    }
}

/// The backward pass, with parents x, weight and bias.
#[derive(Debug)]
struct Node;

/// Input and scale, and the statistics of each row.
#[derive(Clone, Debug)]
struct Saved {
    x: FlexTensor,
    weight: FlexTensor,
    statistics: Arc<LayerNormSaved>,
    isa: Isa,
}

impl Saved {
    fn run(
        x: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        epsilon: f32,
        isa: Isa,
    ) -> (Self, FlexTensor) {
        let (x, weight, bias) = (contiguous(x), contiguous(weight), contiguous(bias));
        let LayerNormOutput { out, saved } =
            layer_norm_forward(isa, slice(&x), slice(&weight), slice(&bias), epsilon);
        let out = tensor(out, x.layout().shape().clone());
        (Self { x, weight, statistics: Arc::new(saved), isa }, out)
    }
}

impl Backward<Flex, 3> for Node {
    type State = Saved;

    fn backward(self, ops: Ops<Saved, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let d_out = contiguous(grads.consume::<Flex>(&ops.node));
        let Saved { x, weight, statistics, isa } = ops.state;
        let [x_parent, weight_parent, bias_parent] = ops.parents;
        let (values, need_x) = (slice(&x), x_parent.is_some());
        let result =
            layer_norm_backward(isa, values, slice(&weight), &statistics, slice(&d_out), need_x);
        if let (Some(parent), Some(dx)) = (x_parent, result.x) {
            grads.register::<Flex>(parent.id, tensor(dx, x.layout().shape().clone()));
        }
        for (parent, gradient) in [(weight_parent, result.gamma), (bias_parent, result.beta)] {
            if let Some(parent) = parent {
                grads.register::<Flex>(parent.id, vector(gradient));
            }
        }
    }
}
