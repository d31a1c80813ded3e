//! Linear layers, alone or followed by GELU, by our CPU kernels, as one node of the autodiff graph.

use crate::ops::Frozen;
use crate::ops::flex::{Optional, contiguous, record, slice, tensor, vector};
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;
use burn_flex::FlexTensor;
use moco_kernels::gelu::Gelu;
use moco_kernels::linear::{
    LinearGelu, LinearNeeds, LinearShape, PreparedLinear, linear_backward, linear_forward,
    linear_gelu_backward, linear_gelu_forward,
};
use moco_kernels::{Isa, Weights};
use std::sync::Arc;

/// Settings of one layer.
#[derive(Clone, Copy, Debug)]
struct Layer {
    /// What follows, if anything.
    gelu: Option<Gelu>,
    isa: Isa,
}

/// Where no gradient is wanted, the weights in the kernels' order are kept in `frozen`.
pub(in crate::ops) fn linear<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    gelu: Option<super::Gelu>,
    frozen: Option<Frozen>,
    isa: Isa,
) -> Tensor<D> {
    let layer = Layer { gelu: gelu.map(super::Gelu::kernel), isa };
    let (x, weight, bias) = (x.into_dispatch(), weight.into_dispatch(), Optional::of(bias));
    Tensor::from_dispatch(<Dispatch as LinearOps>::linear(x, weight, bias, layer, frozen))
}

#[backend_extension(Flex, Autodiff)]
trait LinearOps: Backend {
    fn linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        #[extension_type] bias: Optional<Self>,
        layer: Layer,
        frozen: Option<Frozen>,
    ) -> FloatTensor<Self>;
}

impl LinearOps for Flex {
    fn linear(
        x: FlexTensor,
        weight: FlexTensor,
        bias: Optional<Self>,
        layer: Layer,
        frozen: Option<Frozen>,
    ) -> FlexTensor {
        let forward = Forward::new(x, weight, layer);
        forward.run(bias.contiguous().as_ref(), false, frozen.as_ref()).0
    }
}

impl<C: CheckpointStrategy> LinearOps for Autodiff<Flex, C> {
    fn linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: Optional<Self>,
        layer: Layer,
        _: Option<Frozen>,
    ) -> FloatTensor<Self> {
        let ((x, x_node), (weight, weight_node)) = (x.into_parts(), weight.into_parts());
        let forward = Forward::new(x, weight, layer);
        match bias {
            Optional::Absent => {
                let prepared = Linear.prepare::<C>([x_node, weight_node]);
                forward.record(prepared.compute_bound().stateful(), None)
            }
            Optional::Present(bias) => {
                let (bias, bias_node) = bias.into_parts();
                let prepared = Linear.prepare::<C>([x_node, weight_node, bias_node]);
                forward.record(prepared.compute_bound().stateful(), Some(contiguous(bias)))
            }
        }
    }
}

/// Inputs of a layer, contiguous, with their sizes.
#[derive(Clone, Debug)]
struct Forward {
    x: FlexTensor,
    weight: FlexTensor,
    shape: LinearShape,
    layer: Layer,
}

impl Forward {
    fn new(x: FlexTensor, weight: FlexTensor, layer: Layer) -> Self {
        let (x, weight) = (contiguous(x), contiguous(weight));
        let [outputs, inputs] = weight.layout().shape().dims();
        let dims = x.layout().shape().to_vec();
        let (last, before) = dims.split_last().expect("a vector at least");
        assert_eq!(*last, inputs, "the layer takes vectors of {inputs}, not of {last}");
        let shape = LinearShape { rows: before.iter().product(), inputs, outputs };
        Self { x, weight, shape, layer }
    }

    /// The output and, with `keep`, what went into GELU.
    fn run(
        &self,
        bias: Option<&FlexTensor>,
        keep: bool,
        frozen: Option<&Frozen>,
    ) -> (FlexTensor, Option<Vec<f32>>) {
        let Self { x, weight, shape, layer } = self;
        let (x, values, bias) = (slice(x), slice(weight), bias.map(slice));
        let prepared = frozen.map(|frozen| {
            let suits = |prepared: &PreparedLinear| prepared.suits(layer.isa, shape);
            frozen.prepared(suits, || PreparedLinear::new(layer.isa, shape, values))
        });
        let weight = Weights { values, prepared: prepared.as_deref() };
        let LinearGelu { out, pre } = match layer.gelu {
            Some(gelu) => linear_gelu_forward(layer.isa, shape, x, weight, bias, gelu, keep),
            None => {
                let out = linear_forward(layer.isa, shape, x, weight, bias);
                LinearGelu { out, pre: None }
            }
        };
        let mut dims = self.x.layout().shape().to_vec();
        dims.pop();
        dims.push(shape.outputs);
        (tensor(out, dims), pre)
    }

    fn record<C: CheckpointStrategy, const N: usize>(
        self,
        prepared: OpsKind<Linear, Flex, Saved, C, N>,
        bias: Option<FlexTensor>,
    ) -> FloatTensor<Autodiff<Flex, C>> {
        let tracked = matches!(prepared, OpsKind::Tracked(_));
        let (out, pre) = self.run(bias.as_ref(), tracked, None);
        record(prepared, Saved { forward: self, pre: pre.map(Arc::new) }, out)
    }
}

/// The backward pass, with parents x, weight and, as the third, the bias.
#[derive(Debug)]
struct Linear;

/// What the backward pass needs.
#[derive(Clone, Debug)]
struct Saved {
    forward: Forward,
    /// What went into GELU.
    pre: Option<Arc<Vec<f32>>>,
}

impl<const N: usize> Backward<Flex, N> for Linear {
    type State = Saved;

    fn backward(self, ops: Ops<Saved, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let d_out = contiguous(grads.consume::<Flex>(&ops.node));
        let Saved { forward: Forward { x, weight, shape, layer }, pre } = ops.state;
        let [x_parent, weight_parent, bias_parent] =
            [0, 1, 2].map(|i| ops.parents.get(i).and_then(Option::as_ref));
        let needs = LinearNeeds {
            x: x_parent.is_some(),
            weight: weight_parent.is_some(),
            bias: bias_parent.is_some(),
        };
        let (x_values, w, d) = (slice(&x), slice(&weight), slice(&d_out));
        let result = match layer.gelu.zip(pre.as_deref()) {
            Some((gelu, pre)) => {
                linear_gelu_backward(layer.isa, &shape, x_values, w, (gelu, pre), d, needs)
            }
            None => linear_backward(layer.isa, &shape, x_values, w, d, needs),
        };
        if let (Some(parent), Some(dx)) = (x_parent, result.x) {
            grads.register::<Flex>(parent.id, tensor(dx, x.layout().shape().clone()));
        }
        if let (Some(parent), Some(dw)) = (weight_parent, result.weight) {
            grads.register::<Flex>(parent.id, tensor(dw, [shape.outputs, shape.inputs]));
        }
        if let (Some(parent), Some(db)) = (bias_parent, result.bias) {
            grads.register::<Flex>(parent.id, vector(db));
        }
    }
}
