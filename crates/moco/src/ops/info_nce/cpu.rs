//! Cross-entropy against a large matrix by our CPU kernel, as one node of the autodiff graph: the
//! logits are never stored, and the gradient comes from the same pass.

use super::Contrast;
use crate::ops::flex::{contiguous, record, slice, tensor, vector};
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::tensor::FloatTensor;
use burn::backend::{
    Autodiff, AutodiffBackend, Backend, Dispatch, ExtensionType, Flex, backend_extension,
};
use burn::tensor::Tensor;
use burn_flex::FlexTensor;
use moco_kernels::Isa;
use moco_kernels::contrast::{self, ContrastNeeds, ContrastShape};
use std::sync::Arc;

pub(super) fn info_nce(
    q: Tensor<2>,
    k: Tensor<2>,
    queue: Tensor<2>,
    temperature: f64,
    isa: Isa,
) -> Contrast {
    run(q, Positives::Vectors(k.into_dispatch()), queue, temperature, isa)
}

pub(super) fn over_bank(
    v: Tensor<2>,
    bank: Tensor<2>,
    own: Vec<usize>,
    temperature: f64,
    isa: Isa,
) -> Contrast {
    run(v, Positives::Rows(own), bank, temperature, isa)
}

fn run(
    q: Tensor<2>,
    positives: Positives<Dispatch>,
    bank: Tensor<2>,
    temperature: f64,
    isa: Isa,
) -> Contrast {
    let (q, bank) = (q.into_dispatch(), bank.into_dispatch());
    let (loss, hits) =
        <Dispatch as ContrastOps>::contrast(q, positives, bank, temperature as f32, isa);
    let (loss, hits): (Tensor<1>, Tensor<1>) =
        (Tensor::from_dispatch(loss), Tensor::from_dispatch(hits));
    Contrast { loss: loss.mean(), accuracy: hits.without_autodiff().mean() }
}

/// Where each query's positive is.
#[derive(ExtensionType)]
pub enum Positives<B: Backend> {
    /// Beside the matrix, `[N, D]`.
    Vectors(FloatTensor<B>),
    /// Rows of the matrix.
    Rows(Vec<usize>),
}

/// Losses `[N]`, and 1 or 0 `[N]`: does the positive beat every negative?
#[backend_extension(Flex, Autodiff)]
trait ContrastOps: Backend {
    fn contrast(
        q: FloatTensor<Self>,
        #[extension_type] positives: Positives<Self>,
        bank: FloatTensor<Self>,
        temperature: f32,
        isa: Isa,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
}

impl ContrastOps for Flex {
    fn contrast(
        q: FlexTensor,
        positives: Positives<Self>,
        bank: FlexTensor,
        temperature: f32,
        isa: Isa,
    ) -> (FlexTensor, FlexTensor) {
        let result = positives.run(q, bank, temperature, isa, ContrastNeeds::default());
        (result.loss, result.hits)
    }
}

impl<C: CheckpointStrategy> ContrastOps for Autodiff<Flex, C> {
    fn contrast(
        q: FloatTensor<Self>,
        positives: Positives<Self>,
        bank: FloatTensor<Self>,
        temperature: f32,
        isa: Isa,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (bank, queries) = (bank.into_primitive(), q.is_tracked());
        let (q, q_node) = q.into_parts();
        let (loss, hits) = match positives {
            Positives::Rows(rows) => {
                let needs = ContrastNeeds { queries, positives: false };
                let Results { loss, hits, saved } =
                    Positives::Rows(rows).run(q, bank, temperature, isa, needs);
                let prepared = ContrastNode.prepare::<C>([q_node]);
                (record(prepared.compute_bound().stateful(), saved, loss), hits)
            }
            Positives::Vectors(k) => {
                let needs = ContrastNeeds { queries, positives: k.is_tracked() };
                let (k, k_node) = k.into_parts();
                let Results { loss, hits, saved } =
                    Positives::Vectors(k).run(q, bank, temperature, isa, needs);
                let prepared = ContrastNode.prepare::<C>([q_node, k_node]);
                (record(prepared.compute_bound().stateful(), saved, loss), hits)
            }
        };
        (loss, <Self as AutodiffBackend>::from_inner(hits))
    }
}

struct Results {
    loss: FlexTensor,
    hits: FlexTensor,
    saved: Saved,
}

impl Positives<Flex> {
    fn run(
        self,
        q: FlexTensor,
        bank: FlexTensor,
        temperature: f32,
        isa: Isa,
        needs: ContrastNeeds,
    ) -> Results {
        let (q, bank) = (contiguous(q), contiguous(bank));
        let [queries, dim] = q.layout().shape().dims();
        let [rows, _] = bank.layout().shape().dims();
        let shape = ContrastShape { queries, dim, bank: rows };
        let of = |positives: contrast::Positives| {
            contrast::contrast(isa, &shape, slice(&q), positives, slice(&bank), temperature, needs)
        };
        let result = match self {
            Positives::Vectors(k) => of(contrast::Positives::Vectors(slice(&contiguous(k)))),
            Positives::Rows(rows) => of(contrast::Positives::Rows(&rows)),
        };
        Results {
            loss: vector(result.loss),
            hits: vector(result.hits.into_iter().map(|hit| f32::from(u8::from(hit))).collect()),
            saved: Saved { rows: Arc::new([result.d_queries, result.d_positives]), dim },
        }
    }
}

/// The backward pass, with parents q and, as the second, the positives beside the matrix.
#[derive(Debug)]
struct ContrastNode;

/// Gradients of each query's own loss.
#[derive(Clone, Debug)]
struct Saved {
    /// With respect to q and its positive, `[N, dim]`, where wanted.
    rows: Arc<[Option<Vec<f32>>; 2]>,
    dim: usize,
}

impl<const N: usize> Backward<Flex, N> for ContrastNode {
    type State = Saved;

    fn backward(self, ops: Ops<Saved, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let d_loss = contiguous(grads.consume::<Flex>(&ops.node));
        let weights = slice(&d_loss);
        let Saved { rows, dim } = ops.state;
        for (parent, gradient) in ops.parents.iter().zip(rows.iter()) {
            if let (Some(parent), Some(gradient)) = (parent, gradient) {
                let rows = gradient.chunks_exact(dim).zip(weights);
                let scaled = rows.flat_map(|(row, weight)| row.iter().map(move |d| d * weight));
                let scaled = tensor(scaled.collect(), [weights.len(), dim]);
                grads.register::<Flex>(parent.id, scaled);
            }
        }
    }
}
