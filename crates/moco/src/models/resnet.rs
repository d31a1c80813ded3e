//! Residual networks: He et al. 2016 (arXiv 1512.03385), Table 1, in torchvision's arrangement.
//!
//! torchvision's "v1.5" bottleneck has its stride on the 3x3 convolution. Parameter names are
//! torchvision's. `width` scales every stage; 64 is the published network, for which the encoder
//! (without `fc`) has 11.18 M parameters as ResNet-18, 21.28 M as -34, 23.51 M as -50 and 42.50 M
//! as -101. The CIFAR stem is that of He et al., Sec. 4.2: one 3x3 convolution, no pooling.

use crate::config::{NormKind, ResNetConfig, StemKind};
use crate::nn::{
    BatchNorm, Conv, ConvNorm, LayerNorm, Mode, Module, NormedConv, Then, Visitor, conv_norm_act,
    conv_norm_relu_pool, for_each_param, fused, global_average_pool, residual,
};
use burn::tensor::{Device, Tensor};
use rand_chacha::ChaCha8Rng;

/// Which residual block a network is made of, and how many per stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Depth {
    pub blocks: [usize; 4],
    pub bottleneck: bool,
}

impl Depth {
    /// Output channels of a block as a multiple of its width.
    pub fn widening(self) -> usize {
        if self.bottleneck { 4 } else { 1 }
    }
}

/// The names that [`ResNet::new`] knows, with their depths.
const DEPTHS: [(&str, Depth); 4] = [
    ("resnet18", Depth { blocks: [2, 2, 2, 2], bottleneck: false }),
    ("resnet34", Depth { blocks: [3, 4, 6, 3], bottleneck: false }),
    ("resnet50", Depth { blocks: [3, 4, 6, 3], bottleneck: true }),
    ("resnet101", Depth { blocks: [3, 4, 23, 3], bottleneck: true }),
];

/// The depth of a network of that name.
pub(super) fn depth_of(name: &str) -> Option<Depth> {
    DEPTHS.iter().find(|(known, _)| *known == name).map(|(_, depth)| *depth)
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
    stem: StemKind,
    features: usize,
}

crate::module!(ResNet { conv1, bn1, layer1, layer2, layer3, layer4 });

impl ResNet {
    /// Draws a network for images of `channels` channels from `rng`; `None` if there is no network
    /// of that name.
    pub fn new(
        name: &str,
        config: &ResNetConfig,
        channels: usize,
        rng: &mut ChaCha8Rng,
        device: &Device,
    ) -> Option<Self> {
        let depth = depth_of(name)?;
        let width = config.width;
        let (kernel, stride) = match config.stem {
            StemKind::Imagenet => (7, 2),
            StemKind::Cifar => (3, 1),
        };
        let conv1 = Conv::new(channels, width, kernel, stride, rng, device);
        let bn1 = norm(width, config, device);

        let mut channels = width;
        let mut stage = |index: usize| {
            let shape = BlockShape {
                width: width << index,
                stride: if index == 0 { 1 } else { 2 },
                bottleneck: depth.bottleneck,
            };
            if index >= config.stages {
                return Vec::new();
            }
            let blocks = stage(depth.blocks[index], channels, shape, config, rng, device);
            channels = shape.outputs();
            blocks
        };
        let [layer1, layer2, layer3, layer4] = std::array::from_fn(&mut stage);
        Some(Self {
            conv1,
            bn1,
            layer1,
            layer2,
            layer3,
            layer4,
            stem: config.stem,
            features: channels,
        })
    }

    /// Width of the pooled output.
    pub fn features(&self) -> usize {
        self.features
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
        let x = if together < x.dims()[0] {
            let parts = x.split(together, 0);
            Tensor::cat(parts.into_iter().map(|x| self.early_stages(x, mode)).collect(), 0)
        } else {
            self.early_stages(x, mode)
        };
        let late = self.layer3.iter_mut().chain(&mut self.layer4);
        global_average_pool(late.fold(x, |x, block| block.forward(x, mode)))
    }

    fn early_stages(&mut self, x: Tensor<4>, mode: Mode) -> Tensor<4> {
        let (conv, norm) = (&self.conv1, &mut self.bn1);
        let x = match self.stem {
            StemKind::Imagenet => conv_norm_relu_pool(x, conv, norm, mode),
            StemKind::Cifar => conv_norm_act(x, conv, norm, Then::Relu, mode),
        };
        let early = self.layer1.iter_mut().chain(&mut self.layer2);
        early.fold(x, |x, block| block.forward(x, mode))
    }

    /// Images whose largest maps stay in a CPU's cache until they are read; all on other devices.
    fn images_in_cache(&self, x: &Tensor<4>) -> usize {
        if fused::isa(&x.device()).is_none() {
            return usize::MAX;
        }
        let [_, h, w, _] = x.dims();
        let shrinks = if self.stem == StemKind::Imagenet { 4 } else { 1 };
        let channels = self.layer1.last().map_or(1, Block::outputs);
        let map = h.div_ceil(shrinks) * w.div_ceil(shrinks) * channels * size_of::<f32>();
        (rayon::current_num_threads() * CACHE_BYTES / map.max(1)).max(1)
    }
}

/// What one map of each image may take of a third-level cache, per thread. Each part reads the early
/// stages' weights anew: with half as much encoding takes a sixtieth longer (two Zen 3 cores).
const CACHE_BYTES: usize = 8 << 20;

/// The configured normalisation of so many channels.
fn norm(channels: usize, config: &ResNetConfig, device: &Device) -> ConvNorm {
    match config.norm {
        NormKind::Batch => ConvNorm::Batch(BatchNorm::new(channels, config.bn_groups, device)),
        NormKind::Layer => ConvNorm::Layer(LayerNorm::new(channels, device)),
        NormKind::Nothing => ConvNorm::Nothing,
    }
}

/// Sizes of one residual block.
#[derive(Clone, Copy)]
struct BlockShape {
    width: usize,
    stride: usize,
    bottleneck: bool,
}

impl BlockShape {
    fn outputs(&self) -> usize {
        if self.bottleneck { 4 * self.width } else { self.width }
    }
}

fn stage(
    count: usize,
    inputs: usize,
    shape: BlockShape,
    config: &ResNetConfig,
    rng: &mut ChaCha8Rng,
    device: &Device,
) -> Vec<Block> {
    let first = Block::new(inputs, shape, config, rng, device);
    let rest = BlockShape { stride: 1, ..shape };
    let others = (1..count)
        .map(|_| Block::new(shape.outputs(), rest, config, rng, device))
        .collect::<Vec<_>>();
    std::iter::once(first).chain(others).collect()
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
    fn new(
        inputs: usize,
        shape: BlockShape,
        config: &ResNetConfig,
        rng: &mut ChaCha8Rng,
        device: &Device,
    ) -> Self {
        let BlockShape { width, stride, bottleneck } = shape;
        let outputs = shape.outputs();
        let norm = |channels| norm(channels, config, device);
        let (first, second) =
            if bottleneck { ((1, 1), (3, stride)) } else { ((3, stride), (3, 1)) };
        let mut block = Self {
            conv1: Conv::new(inputs, width, first.0, first.1, rng, device),
            bn1: norm(width),
            conv2: Conv::new(width, width, second.0, second.1, rng, device),
            bn2: norm(width),
            conv3: bottleneck.then(|| Conv::new(width, outputs, 1, 1, rng, device)),
            bn3: bottleneck.then(|| norm(outputs)),
            downsample: None,
        };
        if stride != 1 || inputs != outputs {
            let conv = Conv::new(inputs, outputs, 1, stride, rng, device);
            block.downsample = Some(Projection { conv, norm: norm(outputs) });
        }
        if config.zero_init_residual {
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

    #[test]
    fn in_evaluation_images_are_independent_bit_for_bit() {
        let config = ResNetConfig {
            width: 8,
            stem: StemKind::Imagenet,
            stages: 4,
            norm: NormKind::Batch,
            zero_init_residual: false,
            bn_groups: 1,
        };
        let (rng, device) = (&mut stream(3, Purpose::Weights, 0), Device::flex());
        for name in ["resnet18", "resnet50"] {
            let mut network = ResNet::new(name, &config, 3, rng, &device).expect("a known name");
            let x = init::normal([5, 40, 33, 3], 1.0, rng, &device);
            let whole = to_host(network.forward_in_parts(x.clone(), Mode::Eval, usize::MAX));
            for together in [1, 2, 3] {
                let parts = network.forward_in_parts(x.clone(), Mode::Eval, together);
                assert!(to_host(parts) == whole, "{name}, {together} at a time");
            }
        }
    }
}
