//! What every operation on our CPU kernels needs of Burn's CPU backend (Flex): its tensors as slices
//! of f32 and back, operands that may be absent, nodes of the autodiff graph.

use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::ops::{Backward, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, ExtensionType, Flex};
use burn::tensor::{Bytes, DType, Shape, Tensor};
use burn_flex::{FlexTensor, Layout};

/// A tensor that an operation may do without: a skip connection, a bias.
#[derive(ExtensionType)]
pub enum Optional<B: Backend> {
    /// Nothing is added.
    Absent,
    /// Is added.
    Present(FloatTensor<B>),
}

impl Optional<Dispatch> {
    pub(crate) fn of<const D: usize>(tensor: Option<Tensor<D>>) -> Self {
        tensor.map_or(Optional::Absent, |tensor| Optional::Present(tensor.into_dispatch()))
    }
}

impl Optional<Flex> {
    pub(crate) fn contiguous(self) -> Option<FlexTensor> {
        match self {
            Optional::Absent => None,
            Optional::Present(tensor) => Some(contiguous(tensor)),
        }
    }
}

/// Puts an output on the graph, if a gradient is wanted of any of its inputs.
pub(crate) fn record<O, S, C, const N: usize>(
    prepared: OpsKind<O, Flex, S, C, N>,
    state: S,
    out: FlexTensor,
) -> FloatTensor<Autodiff<Flex, C>>
where
    O: Backward<Flex, N, State = S>,
    S: Clone + Send + std::fmt::Debug + 'static,
    C: CheckpointStrategy,
{
    record_kept(prepared, Some(state), out)
}

/// As [`record`], for an operation that keeps a state only where a gradient is wanted.
pub(crate) fn record_kept<O, S, C, const N: usize>(
    prepared: OpsKind<O, Flex, S, C, N>,
    state: Option<S>,
    out: FlexTensor,
) -> FloatTensor<Autodiff<Flex, C>>
where
    O: Backward<Flex, N, State = S>,
    S: Clone + Send + std::fmt::Debug + 'static,
    C: CheckpointStrategy,
{
    match (prepared, state) {
        (OpsKind::Tracked(prepared), Some(state)) => prepared.finish(state, out),
        (OpsKind::UnTracked(prepared), _) => prepared.finish(out),
        (OpsKind::Tracked(_), None) => unreachable!("a tracked forward keeps its state"),
    }
}

/// `tensor`, or a contiguous copy of it.
pub(crate) fn contiguous(tensor: FlexTensor) -> FlexTensor {
    if tensor.is_contiguous() { tensor } else { tensor.to_contiguous() }
}

/// The values of a contiguous f32 tensor.
pub(crate) fn slice(tensor: &FlexTensor) -> &[f32] {
    tensor.as_slice().expect("contiguous f32, as everything here is made")
}

/// The values of a contiguous tensor, to be written to; copies them first if another handle shares the
/// memory.
pub(crate) fn slice_mut(tensor: &mut FlexTensor) -> &mut [f32] {
    let (start, end) = tensor.layout().contiguous_offsets().expect("a contiguous tensor");
    &mut tensor.storage_mut()[start..end]
}

/// A tensor of its own over `values`.
pub(crate) fn tensor(values: Vec<f32>, shape: impl Into<Shape>) -> FlexTensor {
    FlexTensor::new(Bytes::from_elems(values), Layout::contiguous(shape.into()), DType::F32)
}

/// A tensor of one dimension that holds `values`.
pub(crate) fn vector(values: Vec<f32>) -> FlexTensor {
    let n = values.len();
    tensor(values, [n])
}
