//! Our attention, LayerNorm and GELU as Burn operations. See [`super::fused`].

use super::fused::{contiguous, record, slice, tensor, vector};
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;
use burn_flex::FlexTensor;
use moco_kernels::Isa;
use moco_kernels::attention::{
    AttentionOutput, AttentionShape, attention_backward, attention_forward,
};
use moco_kernels::gelu::{Gelu, gelu_backward, gelu_forward};
use moco_kernels::layer_norm::{
    LayerNormOutput, LayerNormSaved, layer_norm_backward, layer_norm_forward,
};
use std::sync::Arc;

/// GELU of every element.
pub(super) fn gelu<const D: usize>(x: Tensor<D>, kind: Gelu, isa: Isa) -> Tensor<D> {
    Tensor::from_dispatch(<Dispatch as VitOps>::gelu(x.into_dispatch(), kind, isa))
}

/// LayerNorm over the last dimension.
pub(super) fn layer_norm<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    epsilon: f32,
    isa: Isa,
) -> Tensor<D> {
    let (x, [weight, bias]) = (x.into_dispatch(), [weight, bias].map(Tensor::into_dispatch));
    Tensor::from_dispatch(<Dispatch as VitOps>::layer_norm(x, weight, bias, epsilon, isa))
}

/// Softmax attention of every head for the first `queries` tokens; `[N, T, 3 H d]` to `[N, Q, H d]`.
pub(super) fn attention(qkv: Tensor<3>, heads: usize, queries: usize, isa: Isa) -> Tensor<3> {
    Tensor::from_dispatch(<Dispatch as VitOps>::attention(qkv.into_dispatch(), heads, queries, isa))
}

#[backend_extension(Flex, Autodiff)]
trait VitOps: Backend {
    fn gelu(x: FloatTensor<Self>, kind: Gelu, isa: Isa) -> FloatTensor<Self>;

    fn layer_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        epsilon: f32,
        isa: Isa,
    ) -> FloatTensor<Self>;

    fn attention(
        qkv: FloatTensor<Self>,
        heads: usize,
        queries: usize,
        isa: Isa,
    ) -> FloatTensor<Self>;
}

impl VitOps for Flex {
    fn gelu(x: FlexTensor, kind: Gelu, isa: Isa) -> FlexTensor {
        GeluSaved { x: contiguous(x), kind, isa }.run()
    }

    fn layer_norm(
        x: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        epsilon: f32,
        isa: Isa,
    ) -> FlexTensor {
        NormSaved::run(x, weight, bias, epsilon, isa).1
    }

    fn attention(qkv: FlexTensor, heads: usize, queries: usize, isa: Isa) -> FlexTensor {
        AttentionSaved::run(qkv, heads, queries, isa).out
    }
}

impl<C: CheckpointStrategy> VitOps for Autodiff<Flex, C> {
    fn gelu(x: FloatTensor<Self>, kind: Gelu, isa: Isa) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        let saved = GeluSaved { x: contiguous(x), kind, isa };
        let out = saved.run();
        record(GeluNode.prepare::<C>([node]).compute_bound().stateful(), saved, out)
    }

    fn layer_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        epsilon: f32,
        isa: Isa,
    ) -> FloatTensor<Self> {
        let ((x, x_node), (weight, weight_node)) = (x.into_parts(), weight.into_parts());
        let (bias, bias_node) = bias.into_parts();
        let (saved, out) = NormSaved::run(x, weight, bias, epsilon, isa);
        let prepared = NormNode.prepare::<C>([x_node, weight_node, bias_node]);
        record(prepared.compute_bound().stateful(), saved, out)
    }

    fn attention(
        qkv: FloatTensor<Self>,
        heads: usize,
        queries: usize,
        isa: Isa,
    ) -> FloatTensor<Self> {
        let (qkv, node) = qkv.into_parts();
        let saved = AttentionSaved::run(qkv, heads, queries, isa);
        let out = saved.out.clone();
        record(AttentionNode.prepare::<C>([node]).compute_bound().stateful(), saved, out)
    }
}

/// The backward pass of GELU.
#[derive(Debug)]
struct GeluNode;

/// The input of GELU.
#[derive(Clone, Debug)]
struct GeluSaved {
    x: FlexTensor,
    kind: Gelu,
    isa: Isa,
}

impl GeluSaved {
    fn run(&self) -> FlexTensor {
        let out = gelu_forward(self.isa, self.kind, slice(&self.x));
        tensor(out, self.x.layout().shape().clone())
    }
}

impl Backward<Flex, 1> for GeluNode {
    type State = GeluSaved;

    fn backward(self, ops: Ops<GeluSaved, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let d_out = contiguous(grads.consume::<Flex>(&ops.node));
        let GeluSaved { x, kind, isa } = ops.state;
        if let [Some(parent)] = ops.parents {
            let dx = gelu_backward(isa, kind, slice(&x), slice(&d_out));
            grads.register::<Flex>(parent.id, tensor(dx, x.layout().shape().clone()));
        }
    }
}

/// The backward pass of LayerNorm, with parents x, weight and bias.
#[derive(Debug)]
struct NormNode;

/// Input and scale, and the statistics of each row.
#[derive(Clone, Debug)]
struct NormSaved {
    x: FlexTensor,
    weight: FlexTensor,
    statistics: Arc<LayerNormSaved>,
    isa: Isa,
}

impl NormSaved {
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

impl Backward<Flex, 3> for NormNode {
    type State = NormSaved;

    fn backward(self, ops: Ops<NormSaved, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let d_out = contiguous(grads.consume::<Flex>(&ops.node));
        let NormSaved { x, weight, statistics, isa } = ops.state;
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

/// The backward pass of attention.
#[derive(Debug)]
struct AttentionNode;

/// Input and output, and each query's sum of exponentials.
#[derive(Clone, Debug)]
struct AttentionSaved {
    qkv: FlexTensor,
    out: FlexTensor,
    log_sums: Arc<Vec<f32>>,
    shape: AttentionShape,
    isa: Isa,
}

impl AttentionSaved {
    fn run(qkv: FlexTensor, heads: usize, queries: usize, isa: Isa) -> Self {
        let qkv = contiguous(qkv);
        let [batch, tokens, packed] = qkv.layout().shape().dims();
        let head_dim = packed / 3 / heads;
        let shape = AttentionShape { batch, tokens, queries, heads, head_dim };
        let AttentionOutput { out, log_sums } = attention_forward(isa, &shape, slice(&qkv));
        let out = tensor(out, [batch, queries, packed / 3]);
        Self { qkv, out, log_sums: Arc::new(log_sums), shape, isa }
    }
}

impl Backward<Flex, 1> for AttentionNode {
    type State = AttentionSaved;

    fn backward(self, ops: Ops<AttentionSaved, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let d_out = contiguous(grads.consume::<Flex>(&ops.node));
        let AttentionSaved { qkv, out, log_sums, shape, isa } = ops.state;
        if let [Some(parent)] = ops.parents {
            let (x, out, d_out) = (slice(&qkv), slice(&out), slice(&d_out));
            let d_qkv = attention_backward(isa, &shape, x, out, &log_sums, d_out);
            grads.register::<Flex>(parent.id, tensor(d_qkv, qkv.layout().shape().clone()));
        }
    }
}
