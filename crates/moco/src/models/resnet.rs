//! Residual networks: He et al. 2016 (arXiv 1512.03385), Table 1, in torchvision's arrangement.
//!
//! torchvision's "v1.5" bottleneck has its stride on the 3x3 convolution. Parameter names are
//! torchvision's. `width` scales every stage; 64 is the published network, for which the encoder
//! (without `fc`) has 11.18 M parameters as ResNet-18, 21.28 M as -34, 23.51 M as -50 and 42.50 M
//! as -101. The CIFAR stem is that of He et al., Sec. 4.2: one 3x3 convolution, no pooling.

use crate::config::{ConvInit, NormKind, ResNetConfig, StemKind};
use crate::nn::{
    BatchNorm, Conv, ConvNorm, LayerNorm, MapNorm, Mode, Module, NormedConv, Visitor,
    conv_norm_act, for_each_param, init, residual,
};
use crate::ops::pool::global_average_pool;
use crate::ops::{Engine, Epilogue};
use burn::tensor::{Device, Tensor, s};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// What determines a residual network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResNetShape {
    /// Blocks of 1x1, 3x3 and 1x1 convolutions with a fourfold wider output; otherwise two of 3x3.
    pub bottleneck: bool,
    /// Blocks of each stage, 1 to 4 stages.
    pub blocks: Vec<usize>,
    /// Channels of the first stage's 3x3 convolutions; each further stage has twice as many.
    pub width: usize,
    /// First layers.
    pub stem: StemKind,
    /// Channels of the first layer.
    pub stem_width: usize,
    /// Zeros beyond each border that the first layer sees besides the usual ones, which keep the
    /// size at stride 1.
    pub stem_padding: usize,
    /// Whether the first stage's first skip connection is projected even if its shape stays.
    pub first_projection: bool,
    /// Normalisation after each convolution.
    pub norm: NormKind,
    /// Start every residual branch at zero.
    pub zero_init_residual: bool,
    /// BatchNorm groups, see [`BatchNorm::new`].
    pub bn_groups: usize,
    /// How the convolutions' weights are drawn.
    #[serde(default)]
    pub init: ConvInit,
    /// Height and width of the images, which [`NormKind::Map`] is made for.
    #[serde(default)]
    pub image: [usize; 2],
}

/// The names that [`ResNetShape::named`] knows: blocks of each stage, and whether they are
/// bottlenecks.
const NAMED: [(&str, [usize; 4], bool); 6] = [
    ("resnet18", [2, 2, 2, 2], false),
    ("resnet34", [3, 4, 6, 3], false),
    ("resnet50", [3, 4, 6, 3], true),
    ("resnet101", [3, 4, 23, 3], true),
    ("resnet152", [3, 8, 36, 3], true),
    ("resnet200", [3, 24, 36, 3], true),
];

impl ResNetShape {
    /// The network of a name with a run's choices, for images of any size; `None` if there is no network of that name.
    pub fn named(name: &str, config: &ResNetConfig) -> Option<Self> {
        let (_, blocks, bottleneck) = NAMED.into_iter().find(|(known, ..)| *known == name)?;
        let blocks = config.blocks.clone().unwrap_or_else(|| blocks.to_vec());
        Some(Self {
            bottleneck,
            blocks: blocks.into_iter().take(config.stages).collect(),
            width: config.width,
            stem: config.stem,
            stem_width: config.stem_width.unwrap_or(config.width),
            stem_padding: 0,
            first_projection: config.first_projection.unwrap_or(false),
            norm: config.norm,
            zero_init_residual: config.zero_init_residual,
            bn_groups: config.bn_groups,
            init: config.init,
            image: [0; 2],
        })
    }

    /// Blocks of the stages of the network of a name.
    pub fn blocks_of(name: &str) -> Option<[usize; 4]> {
        NAMED.into_iter().find(|(known, ..)| *known == name).map(|(_, blocks, _)| blocks)
    }

    /// Output channels of a block as a multiple of its width.
    pub(super) fn widening(&self) -> usize {
        if self.bottleneck { 4 } else { 1 }
    }

    /// Width of the pooled output.
    pub fn features(&self) -> usize {
        (self.widening() * self.width) << (self.blocks.len() - 1)
    }
}

/// A residual network up to and including the global average pool.
#[derive(Debug)]
pub struct ResNet {
    conv1: Conv,
    bn1: ConvNorm,
    layer1: Vec<Block>,
    layer2: Vec<Block>,
    layer3: Vec<Block>,
    layer4: Vec<Block>,
    shape: ResNetShape,
}

crate::module!(ResNet { conv1, bn1, layer1, layer2, layer3, layer4 });

impl ResNet {
    /// Draws a network for images of `channels` channels from `rng`.
    pub fn new(
        shape: &ResNetShape,
        channels: usize,
        rng: &mut ChaCha8Rng,
        device: &Device,
    ) -> Self {
        let (kernel, stride) = match shape.stem {
            StemKind::Imagenet => (7, 2),
            StemKind::Cifar => (3, 1),
        };
        let conv1 = Conv::new(channels, shape.stem_width, kernel, stride, rng, device);
        let mut map = shape.image.map(|side| (side + 2 * shape.stem_padding).div_ceil(stride));
        let bn1 = norm(shape.stem_width, map, shape, device);
        if shape.stem == StemKind::Imagenet {
            map = map.map(|side| side.div_ceil(2));
        }
        let mut channels = shape.stem_width;
        let mut stage = |index: usize| {
            let Some(&count) = shape.blocks.get(index) else { return Vec::new() };
            let block = BlockShape {
                inputs: channels,
                map,
                width: shape.width << index,
                stride: if index == 0 { 1 } else { 2 },
                projected: index == 0 && shape.first_projection,
            };
            channels = shape.widening() * block.width;
            map = block.outputs_map();
            stage(count, block, shape, rng, device)
        };
        let [layer1, layer2, layer3, layer4] = std::array::from_fn(&mut stage);
        let mut net = Self { conv1, bn1, layer1, layer2, layer3, layer4, shape: shape.clone() };
        if shape.init == ConvInit::Torch {
            draw_as_torch(&mut net, rng, device);
        }
        net
    }

    /// What the network was made from.
    pub fn shape(&self) -> &ResNetShape {
        &self.shape
    }

    /// Width of the pooled output.
    pub fn features(&self) -> usize {
        self.shape.features()
    }

    /// # Shapes
    /// `[N, H, W, channels]` to `[N, features]`.
    pub fn forward(&mut self, x: Tensor<4>, mode: Mode) -> Tensor<2> {
        let together = match mode {
            Mode::Train => usize::MAX,
            Mode::Eval => self.images_in_cache(&x),
        };
        self.forward_in_parts(x, mode, together)
    }

    /// The forward pass, its first stages on so many images at a time: in evaluation nothing ties
    /// images to each other, and these stages have large maps and few weights.
    fn forward_in_parts(&mut self, x: Tensor<4>, mode: Mode, together: usize) -> Tensor<2> {
        global_average_pool(self.maps_in_parts(x, mode, together))
    }

    /// The maps that are pooled to the features, in evaluation mode.
    ///
    /// # Shapes
    /// `[N, H, W, channels]` to `[N, h, w, features]`.
    pub fn last_maps(&mut self, x: Tensor<4>) -> Tensor<4> {
        let together = self.images_in_cache(&x);
        self.maps_in_parts(x, Mode::Eval, together)
    }

    fn maps_in_parts(&mut self, x: Tensor<4>, mode: Mode, together: usize) -> Tensor<4> {
        let x = if together < x.dims()[0] {
            let parts = x.split(together, 0);
            Tensor::cat(parts.into_iter().map(|x| self.early_stages(x, mode)).collect(), 0)
        } else {
            self.early_stages(x, mode)
        };
        let late = self.layer3.iter_mut().chain(&mut self.layer4);
        late.fold(x, |x, block| block.forward(x, mode))
    }

    fn early_stages(&mut self, x: Tensor<4>, mode: Mode) -> Tensor<4> {
        let (conv, norm) = (&self.conv1, &mut self.bn1);
        let x = with_border(x, self.shape.stem_padding);
        let x = match self.shape.stem {
            StemKind::Imagenet => conv_norm_act(x, conv, norm, Epilogue::ReluMaxPool, mode),
            StemKind::Cifar => conv_norm_act(x, conv, norm, Epilogue::Relu, mode),
        };
        let early = self.layer1.iter_mut().chain(&mut self.layer2);
        early.fold(x, |x, block| block.forward(x, mode))
    }

    /// Images whose largest maps stay in a CPU's cache until they are read; all on other devices.
    fn images_in_cache(&self, x: &Tensor<4>) -> usize {
        if Engine::of(&x.device()) == Engine::Stock {
            return usize::MAX;
        }
        let [_, h, w, _] = x.dims();
        let shrinks = if self.shape.stem == StemKind::Imagenet { 4 } else { 1 };
        let channels = self.layer1.last().map_or(1, Block::outputs);
        let map = h.div_ceil(shrinks) * w.div_ceil(shrinks) * channels * size_of::<f32>();
        (rayon::current_num_threads() * CACHE_BYTES / map.max(1)).max(1)
    }
}

/// Draws the convolutions anew, uniform in `±1/sqrt(fan in)`: what torch does by itself.
fn draw_as_torch(net: &mut ResNet, rng: &mut ChaCha8Rng, device: &Device) {
    for_each_param(net, |_, param| {
        if let [out, inputs, height, width] = param.shape()[..] {
            let (shape, fan_in) = ([out, inputs, height, width], inputs * height * width);
            param.set_flat(
                init::linear_uniform(shape, fan_in, rng, &device.clone().inner()).flatten(0, 3),
            );
        }
    });
}

/// What one map of each image may take of a third-level cache, per thread. Each part reads the early
/// stages' weights anew: with half as much encoding takes a sixtieth longer (two Zen 3 cores).
const CACHE_BYTES: usize = 8 << 20;

/// Images with so many zeros beyond each border.
///
/// # Shapes
/// `[N, H, W, C]` to `[N, H + 2 border, W + 2 border, C]`.
fn with_border(x: Tensor<4>, border: usize) -> Tensor<4> {
    if border == 0 {
        return x;
    }
    let [n, h, w, c] = x.dims();
    let zeros = Tensor::zeros([n, h + 2 * border, w + 2 * border, c], &x.device());
    zeros.slice_assign(s![.., border..border + h, border..border + w, ..], x)
}

/// The normalisation of maps of so many channels, height and width.
fn norm(channels: usize, map: [usize; 2], shape: &ResNetShape, device: &Device) -> ConvNorm {
    match shape.norm {
        NormKind::Map => ConvNorm::Map(MapNorm::new(channels, map, device)),
        NormKind::Batch => ConvNorm::Batch(BatchNorm::new(channels, shape.bn_groups, device)),
        NormKind::Layer => ConvNorm::Layer(LayerNorm::new(channels, device)),
        NormKind::Nothing => ConvNorm::Nothing,
    }
}

/// Sizes of one residual block.
#[derive(Clone, Copy)]
struct BlockShape {
    inputs: usize,
    /// Height and width of what comes in.
    map: [usize; 2],
    width: usize,
    stride: usize,
    /// Whether the skip connection is projected even if its shape stays.
    projected: bool,
}

impl BlockShape {
    /// Height and width of what goes out.
    fn outputs_map(&self) -> [usize; 2] {
        self.map.map(|side| side.div_ceil(self.stride))
    }
}

/// `count` blocks, of which `first` is the first.
fn stage(
    count: usize,
    first: BlockShape,
    shape: &ResNetShape,
    rng: &mut ChaCha8Rng,
    device: &Device,
) -> Vec<Block> {
    let inputs = shape.widening() * first.width;
    let map = first.outputs_map();
    let next = BlockShape { inputs, map, stride: 1, projected: false, ..first };
    let sizes = std::iter::once(first).chain(std::iter::repeat(next)).take(count);
    sizes.map(|sizes| Block::new(sizes, shape, rng, device)).collect()
}

/// A residual block: two 3x3 convolutions, or 1x1, 3x3, 1x1 with a fourfold wider output.
#[derive(Debug)]
struct Block {
    conv1: Conv,
    bn1: ConvNorm,
    conv2: Conv,
    bn2: ConvNorm,
    conv3: Option<Conv>,
    bn3: Option<ConvNorm>,
    downsample: Option<Projection>,
}

crate::module!(Block { conv1, bn1, conv2, bn2, conv3, bn3, downsample });

impl Block {
    fn new(sizes: BlockShape, shape: &ResNetShape, rng: &mut ChaCha8Rng, device: &Device) -> Self {
        let BlockShape { inputs, map, width, stride, projected } = sizes;
        let bottleneck = shape.bottleneck;
        let outputs = shape.widening() * width;
        let out = sizes.outputs_map();
        let norm = |channels, map| norm(channels, map, shape, device);
        let (first, second) =
            if bottleneck { ((1, 1), (3, stride)) } else { ((3, stride), (3, 1)) };
        let between = if bottleneck { map } else { out };
        let mut block = Self {
            conv1: Conv::new(inputs, width, first.0, first.1, rng, device),
            bn1: norm(width, between),
            conv2: Conv::new(width, width, second.0, second.1, rng, device),
            bn2: norm(width, out),
            conv3: bottleneck.then(|| Conv::new(width, outputs, 1, 1, rng, device)),
            bn3: bottleneck.then(|| norm(outputs, out)),
            downsample: None,
        };
        if projected || stride != 1 || inputs != outputs {
            let conv = Conv::new(inputs, outputs, 1, stride, rng, device);
            block.downsample = Some(Projection { conv, norm: norm(outputs, out) });
        }
        if shape.zero_init_residual {
            let last = block.bn3.as_mut().unwrap_or(&mut block.bn2);
            for_each_param(last, |name, param| {
                if name == "weight" {
                    param.set_flat(param.flat().zeros_like());
                }
            });
        }
        block
    }

    /// Output channels.
    fn outputs(&self) -> usize {
        self.conv3.as_ref().unwrap_or(&self.conv2).weight.val().dims()[0]
    }

    fn forward(&mut self, x: Tensor<4>, mode: Mode) -> Tensor<4> {
        let mut layers: Vec<NormedConv> =
            vec![(&self.conv1, &mut self.bn1), (&self.conv2, &mut self.bn2)];
        layers.extend(self.conv3.as_ref().zip(self.bn3.as_mut()));
        let projection = self.downsample.as_mut().map(|p| (&p.conv, &mut p.norm));
        residual(x, layers, projection, mode)
    }
}

/// The 1x1 convolution of a skip connection that changes shape.
#[derive(Debug)]
struct Projection {
    conv: Conv,
    norm: ConvNorm,
}

impl Module for Projection {
    fn visit(&mut self, visitor: &mut Visitor<'_>) {
        visitor.child("0", &mut self.conv);
        visitor.child("1", &mut self.norm);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::to_host;
    use crate::nn::init;
    use crate::rng::{Purpose, stream};

    /// torch's default is uniform in ±1/sqrt(fan in), of variance 1/(3 fan in); the mean square of
    /// 36,864 draws is within 4 of its standard errors, 2/sqrt(5 n) of it each.
    #[test]
    fn weights_are_drawn_as_asked() {
        let draw = |init| {
            let config = ResNetConfig {
                width: 64,
                stem: StemKind::Cifar,
                stages: 1,
                norm: NormKind::Batch,
                init,
                zero_init_residual: false,
                bn_groups: 1,
                stem_width: None,
                blocks: None,
                first_projection: None,
            };
            let (rng, device) = (&mut stream(3, Purpose::Weights, 0), Device::flex());
            let shape = ResNetShape::named("resnet18", &config).expect("a known name");
            let net = ResNet::new(&shape, 3, rng, &device);
            to_host(net.layer1[0].conv2.weight.val())
        };
        let mean_square = |values: &[f32]| {
            values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / values.len() as f64
        };
        let fan = 9.0 * 64.0;
        let torch = draw(ConvInit::Torch);
        assert!(torch.iter().all(|v| f64::from(v.abs()) <= 1.0 / f64::sqrt(fan)));
        for (values, variance) in [(torch, 1.0 / (3.0 * fan)), (draw(ConvInit::FanOut), 2.0 / fan)]
        {
            let off = mean_square(&values) / variance - 1.0;
            assert!(off.abs() < 4.0 * f64::sqrt(2.0 / 36_864.0), "{off}");
        }
    }

    #[test]
    fn in_evaluation_images_are_independent_bit_for_bit() {
        let config = ResNetConfig {
            width: 8,
            stem: StemKind::Imagenet,
            stages: 4,
            norm: NormKind::Batch,
            init: ConvInit::FanOut,
            zero_init_residual: false,
            bn_groups: 1,
            stem_width: None,
            blocks: None,
            first_projection: None,
        };
        let (rng, device) = (&mut stream(3, Purpose::Weights, 0), Device::flex());
        for name in ["resnet18", "resnet50"] {
            let shape = ResNetShape::named(name, &config).expect("a known name");
            let mut network = ResNet::new(&shape, 3, rng, &device);
            let x = init::normal([5, 40, 33, 3], 1.0, rng, &device);
            let whole = to_host(network.forward_in_parts(x.clone(), Mode::Eval, usize::MAX));
            for together in [1, 2, 3] {
                let parts = network.forward_in_parts(x.clone(), Mode::Eval, together);
                assert!(to_host(parts) == whole, "{name}, {together} at a time");
            }
        }
    }

    #[test]
    fn features_are_the_means_of_the_last_maps() {
        let config = ResNetConfig {
            width: 4,
            stem: StemKind::Cifar,
            stages: 4,
            norm: NormKind::Batch,
            init: Default::default(),
            zero_init_residual: false,
            bn_groups: 1,
            stem_width: None,
            blocks: None,
            first_projection: None,
        };
        let (rng, device) = (&mut stream(3, Purpose::Weights, 0), Device::flex());
        let shape = ResNetShape::named("resnet18", &config).expect("a known name");
        let mut network = ResNet::new(&shape, 3, rng, &device);
        let x = init::normal([3, 16, 24, 3], 1.0, rng, &device);
        let maps = network.last_maps(x.clone());
        assert_eq!(maps.dims(), [3, 2, 3, network.features()]);
        let means = to_host(maps.mean_dim(1).mean_dim(2));
        for (mean, feature) in means.iter().zip(to_host(network.forward(x, Mode::Eval))) {
            // Sums of six values in two orders.
            assert!((mean - feature).abs() < 1e-5, "{mean} {feature}");
        }
    }
}
