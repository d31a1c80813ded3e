//! A residual block by our CPU kernels, as one node of the autodiff graph.

use super::Layer;
use crate::ops::batch_norm::{OfBatch, Statistics};
use crate::ops::flex::{contiguous, record_kept, slice, tensor, vector};
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, NodeGuard, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{
    Autodiff, AutodiffBackend, Backend, Dispatch, ExtensionType, Flex, backend_extension,
};
use burn::tensor::Tensor;
use burn_flex::FlexTensor;
use moco_kernels::Isa;
use moco_kernels::Processes;
use moco_kernels::conv::{
    Block, BlockGrads, BlockLayer, BlockNeeds, BlockOutput, BlockSaved, ConvShape, block_backward,
    block_forward,
};
use std::sync::Arc;

/// Settings of a block.
#[derive(Clone, Debug)]
struct Settings {
    /// Strides of the three layers and of the projection; a layer that is absent has any.
    strides: [usize; 4],
    groups: usize,
    /// The other ranks that have parts of the one group.
    others: Option<Arc<dyn Processes>>,
    eps: f32,
    isa: Isa,
}

/// Of two or three layers, which agree in groups and epsilon.
pub(super) fn residual_block(
    x: Tensor<4>,
    layers: Vec<Layer>,
    projection: Option<Layer>,
    isa: Isa,
) -> (Tensor<4>, Vec<Statistics>) {
    let (groups, eps) = (layers[0].norm.groups, layers[0].norm.epsilon as f32);
    let (others, parts) = (layers[0].norm.others(), layers[0].norm.parts());
    let of_each = values_of_each(&x, &layers, projection.as_ref(), groups);
    let of_each: Vec<_> = of_each.map(|[channels, count]| [channels, parts * count]).collect();
    let mut strides = [1; 4];
    for (at, layer) in strides.iter_mut().zip(&layers) {
        *at = layer.filter.stride;
    }
    strides[3] = projection.as_ref().map_or(1, |layer| layer.filter.stride);
    let settings = Settings { strides, groups, others, eps, isa };
    let mut layers = layers.into_iter().map(LayerTensors::of);
    let mut next = || layers.next().expect("two layers at least");
    let (first, second) = (next(), next());
    let (out, statistics) = <Dispatch as BlockOps>::residual_block(
        x.into_dispatch(),
        first,
        second,
        OptionalLayer::of(layers.next()),
        OptionalLayer::of(projection.map(LayerTensors::of)),
        settings,
    );
    (Tensor::from_dispatch(out), split(Tensor::from_dispatch(statistics), groups, &of_each))
}

/// Channels of each layer and of the projection last, and how many values of `x` go into each statistic.
fn values_of_each<'a>(
    x: &Tensor<4>,
    layers: &'a [Layer],
    projection: Option<&'a Layer>,
    groups: usize,
) -> impl Iterator<Item = [usize; 2]> + use<'a> {
    let [n, h, w, _] = x.dims();
    let depth = layers.len();
    let mut size = [h, w];
    layers.iter().chain(projection).enumerate().map(move |(i, layer)| {
        // The projection ends with the size of the last layer.
        if i < depth {
            size = size.map(|side| side.div_ceil(layer.filter.stride));
        }
        [layer.norm.scale.dims()[0], n / groups * size[0] * size[1]]
    })
}

/// Mean and variance of each layer out of all, one after another.
fn split(all: Tensor<1>, groups: usize, of_each: &[[usize; 2]]) -> Vec<Statistics> {
    let mut start = 0;
    let mut next = |len: usize| {
        start += len;
        all.clone().narrow(0, start - len, len)
    };
    let of = |&[channels, count]: &[usize; 2]| {
        let (mean, variance) = (next(groups * channels), next(groups * channels));
        Statistics::OfBatch(OfBatch { mean, variance, count })
    };
    of_each.iter().map(of).collect()
}

/// The parameters of one layer.
#[derive(ExtensionType)]
pub struct LayerTensors<B: Backend> {
    weight: FloatTensor<B>,
    gamma: FloatTensor<B>,
    beta: FloatTensor<B>,
}

/// A layer that a block may do without.
#[derive(ExtensionType)]
pub enum OptionalLayer<B: Backend> {
    /// There is none.
    Absent,
    /// There is.
    Present(#[extension_type] LayerTensors<B>),
}

#[backend_extension(Flex, Autodiff)]
trait BlockOps: Backend {
    fn residual_block(
        x: FloatTensor<Self>,
        #[extension_type] first: LayerTensors<Self>,
        #[extension_type] second: LayerTensors<Self>,
        #[extension_type] third: OptionalLayer<Self>,
        #[extension_type] projection: OptionalLayer<Self>,
        settings: Settings,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
}

impl BlockOps for Flex {
    fn residual_block(
        x: FlexTensor,
        first: LayerTensors<Self>,
        second: LayerTensors<Self>,
        third: OptionalLayer<Self>,
        projection: OptionalLayer<Self>,
        settings: Settings,
    ) -> (FlexTensor, FlexTensor) {
        let projected = projection.is_present();
        let layers = [Some(first), Some(second), third.into_option(), projection.into_option()];
        let layers = layers.into_iter().flatten().map(Parameters::new).collect();
        let forward = Forward::new(x, layers, projected, settings);
        let output = forward.run(false);
        (forward.output(output.out), flat(&output.statistics))
    }
}

impl<C: CheckpointStrategy> BlockOps for Autodiff<Flex, C> {
    fn residual_block(
        x: FloatTensor<Self>,
        first: LayerTensors<Self>,
        second: LayerTensors<Self>,
        third: OptionalLayer<Self>,
        projection: OptionalLayer<Self>,
        settings: Settings,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let projected = projection.is_present();
        let layers = [Some(first), Some(second), third.into_option(), projection.into_option()];
        let (x, x_node) = x.into_parts();
        let mut nodes = vec![x_node];
        let mut parameters = Vec::new();
        for LayerTensors { weight, gamma, beta } in layers.into_iter().flatten() {
            let [weight, gamma, beta] = [weight, gamma, beta].map(|tensor| {
                let (tensor, node) = tensor.into_parts();
                nodes.push(node);
                tensor
            });
            parameters.push(Parameters::new(LayerTensors { weight, gamma, beta }));
        }
        let forward = Forward::new(x, parameters, projected, settings);
        match nodes.len() {
            7 => forward.record::<C, 7>(nodes),
            10 => forward.record::<C, 10>(nodes),
            _ => forward.record::<C, 13>(nodes),
        }
    }
}

/// One layer's parameters, contiguous.
#[derive(Clone, Debug)]
struct Parameters {
    weight: FlexTensor,
    gamma: FlexTensor,
    beta: FlexTensor,
}

impl Parameters {
    fn new(layer: LayerTensors<Flex>) -> Self {
        let LayerTensors { weight, gamma, beta } = layer;
        let [weight, gamma, beta] = [weight, gamma, beta].map(contiguous);
        Self { weight, gamma, beta }
    }
}

/// A block's inputs, contiguous, with their sizes.
#[derive(Clone, Debug)]
struct Forward {
    x: FlexTensor,
    /// Shape and parameters of each layer, the projection last.
    layers: Vec<(ConvShape, Parameters)>,
    projected: bool,
    settings: Settings,
}

impl Forward {
    fn new(x: FlexTensor, layers: Vec<Parameters>, projected: bool, settings: Settings) -> Self {
        let x = contiguous(x);
        let [n, h, w, _] = x.layout().shape().dims();
        let depth = layers.len() - usize::from(projected);
        let mut size = [h, w];
        let with_shape = |(i, layer): (usize, Parameters)| {
            let [cout, cin, k, _] = layer.weight.layout().shape().dims();
            let ([h, w], stride) = match i < depth {
                true => (size, settings.strides[i]),
                false => ([h, w], settings.strides[3]),
            };
            let shape = ConvShape { n, h, w, cin, cout, k, stride, pad: k / 2 };
            size = [shape.out_h(), shape.out_w()];
            (shape, layer)
        };
        let layers = layers.into_iter().enumerate().map(with_shape).collect();
        Self { x, layers, projected, settings }
    }

    /// Calls `f` with the block as the kernels know it.
    fn with_block<T>(&self, f: impl FnOnce(&Block) -> T) -> T {
        let layers = self.layers.iter().map(|(shape, p)| BlockLayer {
            shape: *shape,
            weight: slice(&p.weight),
            gamma: slice(&p.gamma),
            beta: slice(&p.beta),
        });
        let mut layers: Vec<_> = layers.collect();
        let projection = if self.projected { layers.pop() } else { None };
        let Settings { groups, others, eps, .. } = &self.settings;
        let (groups, others, eps) = (*groups, others.as_ref(), *eps);
        f(&Block { layers: &layers, projection, groups, others, eps })
    }

    fn run(&self, keep: bool) -> BlockOutput {
        self.with_block(|block| block_forward(self.settings.isa, slice(&self.x), block, keep))
    }

    fn output(&self, out: Vec<f32>) -> FlexTensor {
        let (shape, _) = &self.layers[self.layers.len() - 1 - usize::from(self.projected)];
        tensor(out, [shape.n, shape.out_h(), shape.out_w(), shape.cout])
    }

    /// Runs the block and, where a gradient is wanted, puts it on the graph.
    fn record<C: CheckpointStrategy, const N: usize>(self, nodes: Vec<NodeGuard>) -> Recorded<C> {
        let nodes: [NodeGuard; N] = nodes.try_into().expect("three nodes per layer, and x");
        let prepared = ResidualBlock.prepare::<C>(nodes).compute_bound().stateful();
        let tracked = matches!(prepared, OpsKind::Tracked(_));
        let BlockOutput { out, statistics, saved } = self.run(tracked);
        let out = self.output(out);
        let state = |kept| Saved { forward: self, kept: Arc::new(kept), out: out.clone() };
        let out = record_kept(prepared, saved.map(state), out.clone());
        (out, <Autodiff<Flex, C> as AutodiffBackend>::from_inner(flat(&statistics)))
    }
}

/// The output and the statistics.
type Recorded<C> = (FloatTensor<Autodiff<Flex, C>>, FloatTensor<Autodiff<Flex, C>>);

/// Mean and variance of each BatchNorm, one after another.
fn flat(statistics: &[moco_kernels::conv::Statistics]) -> FlexTensor {
    vector(statistics.iter().flat_map(|s| s.mean.iter().chain(&s.var).copied()).collect())
}

/// The backward pass, with parents x, and weight, gamma and beta of each layer.
#[derive(Debug)]
struct ResidualBlock;

/// What the backward pass needs.
#[derive(Clone, Debug)]
struct Saved {
    forward: Forward,
    kept: Arc<BlockSaved>,
    out: FlexTensor,
}

impl<const N: usize> Backward<Flex, N> for ResidualBlock {
    type State = Saved;

    fn backward(self, ops: Ops<Saved, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let d_out = contiguous(grads.consume::<Flex>(&ops.node));
        let Saved { forward, kept, out } = ops.state;
        let wanted = |nth: usize| ops.parents.iter().skip(1 + nth).step_by(3).any(Option::is_some);
        let needs = BlockNeeds {
            x: ops.parents[0].is_some(),
            weights: wanted(0),
            affine: wanted(1) || wanted(2),
        };
        let (x, isa) = (slice(&forward.x), forward.settings.isa);
        let (out, d_out) = (slice(&out), slice(&d_out));
        let BlockGrads { x: dx, layers } =
            forward.with_block(|block| block_backward(isa, x, block, &kept, out, d_out, needs));
        let mut register = |i: usize, gradient: Option<Vec<f32>>, like: &FlexTensor| {
            if let (Some(parent), Some(gradient)) = (&ops.parents[i], gradient) {
                grads.register::<Flex>(parent.id, tensor(gradient, like.layout().shape().clone()));
            }
        };
        register(0, dx, &forward.x);
        for (i, (of, (_, like))) in layers.into_iter().zip(&forward.layers).enumerate() {
            register(3 * i + 1, of.weight, &like.weight);
            register(3 * i + 2, of.gamma, &like.gamma);
            register(3 * i + 3, of.beta, &like.beta);
        }
    }
}

impl LayerTensors<Dispatch> {
    fn of(Layer { filter, norm }: Layer) -> Self {
        Self {
            weight: filter.weight.into_dispatch(),
            gamma: norm.scale.into_dispatch(),
            beta: norm.shift.into_dispatch(),
        }
    }
}

impl OptionalLayer<Dispatch> {
    fn of(layer: Option<LayerTensors<Dispatch>>) -> Self {
        layer.map_or(OptionalLayer::Absent, OptionalLayer::Present)
    }
}

impl<B: Backend> OptionalLayer<B> {
    fn is_present(&self) -> bool {
        matches!(self, OptionalLayer::Present(_))
    }

    fn into_option(self) -> Option<LayerTensors<B>> {
        match self {
            OptionalLayer::Absent => None,
            OptionalLayer::Present(layer) => Some(layer),
        }
    }
}
