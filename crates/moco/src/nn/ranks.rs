//! A gather over ranks on the autodiff graph, which carries gradients. Exists for the CPU backend.
//!
//! A backward pass is a collective call too. All ranks compute the same graph, and Burn walks it in
//! an order that depends on the graph alone, so they meet in the same exchanges.

use crate::ops::flex::{contiguous, record, slice, tensor};
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;
use burn_flex::FlexTensor;
use moco_peers::Peers;

/// The rows of all ranks by stride: row i of rank r becomes row `i R + r`. Backward, every rank gets
/// the sum over the ranks of what their losses say of its rows. `what` names the exchange.
///
/// # Shapes
/// `[n, D]` to `[n R, D]`.
pub fn gather(x: Tensor<2>, peers: Peers, what: &'static str) -> Tensor<2> {
    if peers.alone() {
        return x;
    }
    Tensor::from_dispatch(<Dispatch as RankOps>::gather(x.into_dispatch(), peers, what))
}

#[backend_extension(Flex, Autodiff)]
trait RankOps: Backend {
    fn gather(x: FloatTensor<Self>, peers: Peers, what: &'static str) -> FloatTensor<Self>;
}

impl RankOps for Flex {
    fn gather(x: FlexTensor, peers: Peers, what: &'static str) -> FlexTensor {
        let x = contiguous(x);
        let [n, width] = x.layout().shape().dims();
        tensor(peers.gather_rows(slice(&x), width, what), [n * peers.size(), width])
    }
}

impl<C: CheckpointStrategy> RankOps for Autodiff<Flex, C> {
    fn gather(x: FloatTensor<Self>, peers: Peers, what: &'static str) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        let [_, width] = x.layout().shape().dims();
        let out = <Flex as RankOps>::gather(x, peers, what);
        record(
            GatherNode.prepare::<C>([node]).compute_bound().stateful(),
            (width, peers, what),
            out,
        )
    }
}

/// The backward pass of a gather: the sum over ranks, scattered.
#[derive(Debug)]
struct GatherNode;

impl Backward<Flex, 1> for GatherNode {
    type State = (usize, Peers, &'static str);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let d_out = contiguous(grads.consume::<Flex>(&ops.node));
        let (width, peers, what) = ops.state;
        if let [Some(parent)] = &ops.parents {
            let own = peers.scatter_sum(slice(&d_out), width, what);
            let rows = own.len() / width;
            grads.register::<Flex>(parent.id, tensor(own, [rows, width]));
        }
    }
}
