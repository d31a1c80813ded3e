//! Attention by our CPU kernels, as one node of the autodiff graph.

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
use moco_kernels::attention::{
    AttentionOutput, AttentionShape, attention_backward, attention_forward,
};
use std::sync::Arc;

pub(in crate::ops) fn attention(
    qkv: Tensor<3>,
    heads: usize,
    queries: usize,
    isa: Isa,
) -> Tensor<3> {
    let qkv = qkv.into_dispatch();
    Tensor::from_dispatch(<Dispatch as AttentionOps>::attention(qkv, heads, queries, isa))
}

#[backend_extension(Flex, Autodiff)]
trait AttentionOps: Backend {
    fn attention(
        qkv: FloatTensor<Self>,
        heads: usize,
        queries: usize,
        isa: Isa,
    ) -> FloatTensor<Self>;
}

impl AttentionOps for Flex {
    fn attention(qkv: FlexTensor, heads: usize, queries: usize, isa: Isa) -> FlexTensor {
        Saved::run(qkv, heads, queries, isa).out
    }
}

impl<C: CheckpointStrategy> AttentionOps for Autodiff<Flex, C> {
    fn attention(
        qkv: FloatTensor<Self>,
        heads: usize,
        queries: usize,
        isa: Isa,
    ) -> FloatTensor<Self> {
        let (qkv, node) = qkv.into_parts();
        let saved = Saved::run(qkv, heads, queries, isa);
        let out = saved.out.clone();
        record(Node.prepare::<C>([node]).compute_bound().stateful(), saved, out)
    }
}

/// The backward pass.
#[derive(Debug)]
struct Node;

/// Input and output, and each query's sum of exponentials.
#[derive(Clone, Debug)]
struct Saved {
    qkv: FlexTensor,
    out: FlexTensor,
    log_sums: Arc<Vec<f32>>,
    shape: AttentionShape,
    isa: Isa,
}

impl Saved {
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

impl Backward<Flex, 1> for Node {
    type State = Saved;

    fn backward(self, ops: Ops<Saved, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let d_out = contiguous(grads.consume::<Flex>(&ops.node));
        let Saved { qkv, out, log_sums, shape, isa } = ops.state;
        if let [Some(parent)] = ops.parents {
            let (x, out, d_out) = (slice(&qkv), slice(&out), slice(&d_out));
            let d_qkv = attention_backward(isa, &shape, x, out, &log_sums, d_out);
            grads.register::<Flex>(parent.id, tensor(d_qkv, qkv.layout().shape().clone()));
        }
    }
}
