//! One node of Burn's graph whose inside is LibTorch's own graph.
//!
//! ```text
//! Burn's graph:      operands ───────────► node ───────────► output
//!                       │ detached leaves    │ vjp(cotangent)    ▲ detached
//! LibTorch's graph:  leaves ─► conv ─► batch_norm ─► relu ─► out
//! ```

use crate::device::Arithmetic;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, NodeGuard, Ops, OpsKind};
use burn::backend::libtorch::TchTensor;
use burn::backend::{Autodiff, LibTorch};
use burn::tensor::Tensor;
use moco_torch::autograd::vjp;
use moco_torch::precision::{Half, autocast};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

type Graph = Autodiff<LibTorch>;

/// What a node computes with: a tensor, and its place in Burn's graph if it has one.
pub(in crate::ops) struct Operand {
    tensor: TchTensor,
    node: Option<NodeGuard>,
    /// Whether a gradient of it is wanted.
    tracked: bool,
}

impl<const D: usize> From<Tensor<D>> for Operand {
    fn from(tensor: Tensor<D>) -> Self {
        const HERE: &str = "a tensor on LibTorch";
        if tensor.is_autodiff() {
            let tensor = tensor.try_into_primitive::<Graph>().expect(HERE);
            let tracked = tensor.is_tracked();
            let (tensor, node) = tensor.into_parts();
            Self { tensor, node: Some(node), tracked }
        } else {
            let tensor = tensor.try_into_primitive::<LibTorch>().expect(HERE);
            Self { tensor, node: None, tracked: false }
        }
    }
}

impl Operand {
    /// The tensor as a leaf of LibTorch's graph.
    fn leaf(&self) -> tch::Tensor {
        let leaf = self.tensor.tensor.detach();
        if self.tracked { leaf.set_requires_grad(true) } else { leaf }
    }
}

/// `f` of the operands as one node, with convolutions and products in the precision of the run.
///
/// `f` must return memory of its own, not a view of an operand's.
pub(in crate::ops) fn node<const D: usize>(
    operands: Vec<Operand>,
    f: impl FnOnce(&[tch::Tensor]) -> tch::Tensor,
) -> Tensor<D> {
    run(operands, half(), f)
}

/// As [`node`], in f32 whatever the run's precision: for losses.
pub(in crate::ops) fn node_in_f32<const D: usize>(
    operands: Vec<Operand>,
    f: impl FnOnce(&[tch::Tensor]) -> tch::Tensor,
) -> Tensor<D> {
    run(operands, None, f)
}

/// The 16-bit floats of the run's precision, if it has any.
fn half() -> Option<Half> {
    match Arithmetic::current() {
        Arithmetic::F32 | Arithmetic::Tf32 => None,
        Arithmetic::Bf16 => Some(Half::Bf16),
        Arithmetic::F16 => Some(Half::F16),
    }
}

fn run<const D: usize>(
    operands: Vec<Operand>,
    half: Option<Half>,
    f: impl FnOnce(&[tch::Tensor]) -> tch::Tensor,
) -> Tensor<D> {
    let tracked = operands.iter().any(|operand| operand.tracked);
    let leaves: Vec<tch::Tensor> = operands.iter().map(Operand::leaf).collect();
    let out = autocast(leaves[0].device(), half, || match tracked {
        true => tch::with_grad(|| f(&leaves)),
        false => tch::no_grad(|| f(&leaves)),
    });
    let start = out.data_ptr();
    assert!(leaves.iter().all(|leaf| leaf.data_ptr() != start), "a node's output is its own");
    let plain = TchTensor::new(out.detach());
    if operands.iter().all(|operand| operand.node.is_none()) {
        return Tensor::from_primitive::<LibTorch>(plain);
    }
    // Handles of all that LibTorch's graph may read again, so that Burn writes over none of it.
    let mut kept = vec![plain.clone()];
    let (mut nodes, mut wanted) = (Vec::new(), Vec::new());
    for (operand, leaf) in operands.into_iter().zip(leaves) {
        kept.push(operand.tensor);
        if let Some(node) = operand.node {
            nodes.push(node);
            wanted.push(operand.tracked.then_some(leaf));
        }
    }
    let inside = Inside { out, leaves: wanted, _kept: kept };
    // Burn knows the number of a node's parents when it compiles: at most 13, of a bottleneck block with
    // a projection.
    macro_rules! by_count {
        ($($n:literal)*) => {
            match nodes.len() {
                $($n => record::<D, $n>(nodes, inside, plain),)*
                n => unreachable!("a node of {n} operands"),
            }
        };
    }
    by_count!(1 2 3 4 5 6 7 8 9 10 11 12 13)
}

/// Puts a node's output on Burn's graph.
fn record<const D: usize, const N: usize>(
    nodes: Vec<NodeGuard>,
    inside: Inside,
    out: TchTensor,
) -> Tensor<D> {
    let nodes: [NodeGuard; N] = nodes.try_into().expect("counted");
    let prepared = TorchNode.prepare::<NoCheckpointing>(nodes).compute_bound().stateful();
    Tensor::from_primitive::<Graph>(match prepared {
        OpsKind::Tracked(prepared) => prepared.finish(State::new(inside), out),
        OpsKind::UnTracked(prepared) => prepared.finish(out),
    })
}

/// The backward pass of any node.
#[derive(Debug)]
struct TorchNode;

/// LibTorch's graph of a node.
struct Inside {
    out: tch::Tensor,
    /// The leaves of operands that are nodes of Burn's graph, in their order; none where no gradient is
    /// wanted.
    leaves: Vec<Option<tch::Tensor>>,
    _kept: Vec<TchTensor>,
}

/// It is used up by the one backward pass that a graph has.
#[derive(Clone)]
struct State(Arc<Mutex<Option<Inside>>>);

impl State {
    fn new(inside: Inside) -> Self {
        Self(Arc::new(Mutex::new(Some(inside))))
    }

    fn take(&self) -> Inside {
        let mut inside = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inside.take().expect("one backward pass of a graph")
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LibTorch's graph of a node")
    }
}

impl<const N: usize> Backward<LibTorch, N> for TorchNode {
    type State = State;

    fn backward(self, ops: Ops<State, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let cotangent = grads.consume::<LibTorch>(&ops.node).tensor;
        let Inside { out, leaves, _kept } = ops.state.take();
        let parents = ops.parents.iter().zip(&leaves);
        let wanted =
            parents.filter_map(|(parent, leaf)| Some((parent.as_ref()?.id, leaf.as_ref()?)));
        let (ids, leaves): (Vec<_>, Vec<_>) = wanted.unzip();
        let found = vjp(&[&out], &[&cotangent.to_kind(out.kind())], &leaves);
        // One tensor may be the gradient of two operands, of a sum for example; Burn writes over what it
        // believes to be its own.
        let mut taken = Vec::new();
        for (id, gradient) in ids.into_iter().zip(found) {
            let Some(mut gradient) = gradient else { continue };
            if taken.contains(&gradient.data_ptr()) {
                gradient = gradient.copy();
            }
            taken.push(gradient.data_ptr());
            grads.register::<LibTorch>(id, TchTensor::new(gradient));
        }
    }
}
