//! Convolution and what follows it by our CPU kernels, as one node of the autodiff graph. With given
//! statistics it is in [`super::cpu_eval`].

use super::Filter;
use crate::ops::Epilogue;
use crate::ops::batch_norm::{ByBatch, OfBatch, Statistics};
use crate::ops::flex::{Optional, contiguous, record_kept, slice, tensor, vector};
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, AutodiffBackend, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;
use burn_flex::FlexTensor;
use moco_kernels::Isa;
use moco_kernels::Processes;
use moco_kernels::conv::{
    BnActNeeds, BnActOutput, BnActSaved, BnParams, ConvShape, Norm, conv_bn_act_backward,
    conv_bn_act_forward,
};
use std::sync::Arc;

/// Settings of one layer.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub stride: usize,
    /// BatchNorm groups in training; `None` for a layer without BatchNorm, whose shift is a bias.
    pub groups: Option<usize>,
    /// The other ranks that have parts of the one group.
    pub others: Option<Arc<dyn Processes>>,
    pub eps: f32,
    pub relu: bool,
    pub isa: Isa,
}

impl Layer {
    /// The normalisation that it has in training.
    fn norm(&self) -> Norm<'_> {
        match (self.groups, &self.others) {
            (None, _) => Norm::None,
            (Some(_), Some(others)) => Norm::Shared(others),
            (Some(groups), None) => Norm::Batch { groups },
        }
    }
}

pub(super) fn by_batch(
    x: Tensor<4>,
    filter: Filter,
    norm: ByBatch,
    then: Epilogue,
    isa: Isa,
) -> (Tensor<4>, Statistics) {
    let (n, groups) = (x.dims()[0], norm.groups);
    assert!(n.is_multiple_of(groups), "a batch of {n} does not split into {groups} groups");
    let (skip, relu) = then.skip_and_relu();
    let eps = norm.epsilon as f32;
    let (others, parts) = (norm.others(), norm.parts());
    let layer = Layer { stride: filter.stride, groups: Some(groups), others, eps, relu, isa };
    let affine = [norm.scale, norm.shift];
    let (out, [mean, variance]) = run(x, filter.weight, affine, skip, layer);
    let [n, h, w, _] = out.dims();
    let statistics = OfBatch { mean, variance, count: parts * n / groups * h * w };
    (out, Statistics::OfBatch(statistics))
}

pub(super) fn with_bias(
    x: Tensor<4>,
    filter: Filter,
    bias: Option<Tensor<1>>,
    then: Epilogue,
    isa: Isa,
) -> Tensor<4> {
    let (skip, relu) = then.skip_and_relu();
    let Filter { weight, stride, .. } = filter;
    let plain = weight.device().without_autodiff();
    let bias = bias.unwrap_or_else(|| Tensor::zeros([weight.dims()[0]], &plain));
    let unused = bias.clone().without_autodiff();
    let layer = Layer { stride, groups: None, others: None, eps: 0.0, relu, isa };
    run(x, weight, [unused, bias], skip, layer).0
}

/// The output, and mean and biased variance per group, `[groups * C]`, where the layer has groups.
fn run(
    x: Tensor<4>,
    weight: Tensor<4>,
    affine: [Tensor<1>; 2],
    skip: Option<Tensor<4>>,
    layer: Layer,
) -> (Tensor<4>, [Tensor<1>; 2]) {
    let [gamma, beta] = affine.map(Tensor::into_dispatch);
    let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
    let (out, mean, variance) =
        <Dispatch as TrainOps>::conv_bn_act(x, weight, gamma, beta, Optional::of(skip), layer);
    (Tensor::from_dispatch(out), [mean, variance].map(Tensor::from_dispatch))
}

/// The layer in training.
#[backend_extension(Flex, Autodiff)]
trait TrainOps: Backend {
    fn conv_bn_act(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        #[extension_type] skip: Optional<Self>,
        layer: Layer,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

impl TrainOps for Flex {
    fn conv_bn_act(
        x: FlexTensor,
        weight: FlexTensor,
        gamma: FlexTensor,
        beta: FlexTensor,
        skip: Optional<Self>,
        layer: Layer,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        let skip = skip.contiguous();
        let forward = Forward::new(x, weight, layer);
        let BnActOutput { out, mean, var, .. } = forward.run(&gamma, &beta, skip.as_ref(), false);
        (forward.output(out), vector(mean), vector(var))
    }
}

impl<C: CheckpointStrategy> TrainOps for Autodiff<Flex, C> {
    fn conv_bn_act(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        skip: Optional<Self>,
        layer: Layer,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let ((x, x_node), (weight, weight_node)) = (x.into_parts(), weight.into_parts());
        let ((gamma, gamma_node), (beta, beta_node)) = (gamma.into_parts(), beta.into_parts());
        let nodes = [x_node, weight_node, gamma_node, beta_node];
        let forward = Forward::new(x, weight, layer);
        match skip {
            Optional::Absent => {
                let prepared = ConvBnAct.prepare::<C>(nodes).compute_bound().stateful();
                forward.record(prepared, &gamma, &beta, None)
            }
            Optional::Present(skip) => {
                let (skip, skip_node) = skip.into_parts();
                let [x, weight, gamma_node, beta_node] = nodes;
                let nodes = [x, weight, gamma_node, beta_node, skip_node];
                let prepared = ConvBnAct.prepare::<C>(nodes).compute_bound().stateful();
                forward.record(prepared, &gamma, &beta, Some(contiguous(skip)))
            }
        }
    }
}

/// Inputs of a layer, contiguous, with their sizes.
#[derive(Clone, Debug)]
struct Forward {
    x: FlexTensor,
    weight: FlexTensor,
    shape: ConvShape,
    layer: Layer,
}

impl Forward {
    fn new(x: FlexTensor, weight: FlexTensor, layer: Layer) -> Self {
        let (x, weight) = (contiguous(x), contiguous(weight));
        let shape = conv_shape(&x, &weight, layer.stride);
        Self { x, weight, shape, layer }
    }

    fn run(
        &self,
        gamma: &FlexTensor,
        beta: &FlexTensor,
        skip: Option<&FlexTensor>,
        keep: bool,
    ) -> BnActOutput {
        let norm = self.layer.norm();
        let (gamma, beta) = (contiguous(gamma.clone()), contiguous(beta.clone()));
        let gamma = if matches!(norm, Norm::None) { &[] } else { slice(&gamma) };
        let bn = BnParams { gamma, beta: slice(&beta), eps: self.layer.eps, norm };
        let (x, weight, skip) = (slice(&self.x), slice(&self.weight).into(), skip.map(slice));
        let Layer { isa, relu, .. } = self.layer;
        conv_bn_act_forward(isa, &self.shape, x, weight, &bn, skip, relu, keep)
    }

    fn output(&self, out: Vec<f32>) -> FlexTensor {
        let ConvShape { n, cout, .. } = self.shape;
        tensor(out, [n, self.shape.out_h(), self.shape.out_w(), cout])
    }

    /// Runs the layer and, where a gradient is wanted, puts it on the graph.
    fn record<C: CheckpointStrategy, const N: usize>(
        self,
        prepared: OpsKind<ConvBnAct, Flex, Saved, C, N>,
        gamma: &FlexTensor,
        beta: &FlexTensor,
        skip: Option<FlexTensor>,
    ) -> Recorded<C> {
        let tracked = matches!(prepared, OpsKind::Tracked(_));
        let BnActOutput { out, saved, mean, var } = self.run(gamma, beta, skip.as_ref(), tracked);
        let out = self.output(out);
        let state = |kept| Saved { forward: self, kept: Arc::new(kept), out: out.clone() };
        let out = record_kept(prepared, saved.map(state), out.clone());
        let constant = <Autodiff<Flex, C> as AutodiffBackend>::from_inner;
        (out, constant(vector(mean)), constant(vector(var)))
    }
}

type Recorded<C> = (
    FloatTensor<Autodiff<Flex, C>>,
    FloatTensor<Autodiff<Flex, C>>,
    FloatTensor<Autodiff<Flex, C>>,
);

/// The backward pass, with parents x, weight, gamma, beta and, as the fifth, the skip connection.
#[derive(Debug)]
struct ConvBnAct;

/// What the backward pass needs.
#[derive(Clone, Debug)]
struct Saved {
    forward: Forward,
    kept: Arc<BnActSaved>,
    out: FlexTensor,
}

impl<const N: usize> Backward<Flex, N> for ConvBnAct {
    type State = Saved;

    fn backward(self, ops: Ops<Saved, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let d_out = contiguous(grads.consume::<Flex>(&ops.node));
        let Saved { forward, kept, out } = ops.state;
        let ConvShape { n, h, w, cin, cout, k, .. } = forward.shape;
        let parent = |i: usize| ops.parents.get(i).and_then(Option::as_ref);
        let needs = BnActNeeds {
            x: parent(0).is_some(),
            weight: parent(1).is_some(),
            affine: parent(2).is_some() || parent(3).is_some(),
            skip: parent(4).is_some(),
        };
        let result = conv_bn_act_backward(
            forward.layer.isa,
            &forward.shape,
            slice(&forward.x),
            slice(&forward.weight),
            &kept,
            slice(&out),
            slice(&d_out),
            needs,
        );
        let all: [(Option<Vec<f32>>, &[usize]); 5] = [
            (result.x, &[n, h, w, cin]),
            (result.weight, &[cout, cin, k, k]),
            (result.gamma, &[cout]),
            (result.beta, &[cout]),
            (result.skip, &[n, forward.shape.out_h(), forward.shape.out_w(), cout]),
        ];
        for (i, (gradient, shape)) in all.into_iter().enumerate() {
            if let (Some(parent), Some(gradient)) = (parent(i), gradient) {
                grads.register::<Flex>(parent.id, tensor(gradient, shape));
            }
        }
    }
}

/// The sizes of a convolution of `x`, `[N, H, W, in]`, with `weight`, `[out, in, k, k]`.
pub(super) fn conv_shape(x: &FlexTensor, weight: &FlexTensor, stride: usize) -> ConvShape {
    let [n, h, w, cin] = x.layout().shape().dims();
    let [cout, _, k, _] = weight.layout().shape().dims();
    ConvShape { n, h, w, cin, cout, k, stride, pad: k / 2 }
}
