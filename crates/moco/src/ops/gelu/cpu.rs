//! GELU by our CPU kernels, as one node of the autodiff graph.

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
use moco_kernels::gelu::{Gelu, gelu_backward, gelu_forward};

pub(in crate::ops) fn gelu<const D: usize>(x: Tensor<D>, kind: super::Gelu, isa: Isa) -> Tensor<D> {
    Tensor::from_dispatch(<Dispatch as GeluOps>::gelu(x.into_dispatch(), kind.kernel(), isa))
}

#[backend_extension(Flex, Autodiff)]
trait GeluOps: Backend {
    fn gelu(x: FloatTensor<Self>, kind: Gelu, isa: Isa) -> FloatTensor<Self>;
}

impl GeluOps for Flex {
    fn gelu(x: FlexTensor, kind: Gelu, isa: Isa) -> FlexTensor {
        Saved { x: contiguous(x), kind, isa }.run()
    }
}

impl<C: CheckpointStrategy> GeluOps for Autodiff<Flex, C> {
    fn gelu(x: FloatTensor<Self>, kind: Gelu, isa: Isa) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        let saved = Saved { x: contiguous(x), kind, isa };
        let out = saved.run();
        record(Node.prepare::<C>([node]).compute_bound().stateful(), saved, out)
    }
}

/// The backward pass.
#[derive(Debug)]
struct Node;

/// The input.
#[derive(Clone, Debug)]
struct Saved {
    x: FlexTensor,
    kind: Gelu,
    isa: Isa,
}

impl Saved {
    fn run(&self) -> FlexTensor {
        let out = gelu_forward(self.isa, self.kind, slice(&self.x));
        tensor(out, self.x.layout().shape().clone())
    }
}

impl Backward<Flex, 1> for Node {
    type State = Saved;

    fn backward(self, ops: Ops<Saved, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let d_out = contiguous(grads.consume::<Flex>(&ops.node));
        let Saved { x, kind, isa } = ops.state;
        if let [Some(parent)] = ops.parents {
            let dx = gelu_backward(isa, kind, slice(&x), slice(&d_out));
            grads.register::<Flex>(parent.id, tensor(dx, x.layout().shape().clone()));
        }
    }
}
