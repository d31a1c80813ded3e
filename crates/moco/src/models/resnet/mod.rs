//! Residual networks: He et al. 2016 (arXiv 1512.03385), Table 1, in torchvision's arrangement.
//!
//! torchvision's "v1.5" bottleneck has its stride on the 3x3 convolution. Parameter names are
//! torchvision's. `width` scales every stage; 64 is the published network, for which the encoder
//! (without `fc`) has 11.18 M parameters as ResNet-18, 21.28 M as -34, 23.51 M as -50 and 42.50 M
//! as -101. The CIFAR stem is that of He et al., Sec. 4.2: one 3x3 convolution, no pooling.
//!
//! SimCLR v2's networks (Chen et al. 2020, arXiv 2006.10029, Sec. 3; `resnet.py` of their code) are
//! these with ResNet-D's stem, an average before each projected skip connection, and selective kernels
//! in the bottlenecks. One thing is torch's here and not TensorFlow's: the 3x3 max-pool has a border on
//! both sides, where TensorFlow's `SAME` has one behind the last row and column of an even map.

mod block;
mod selective;
mod shape;
mod stem;

pub use shape::ResNetShape;

use crate::config::{ConvInit, NormKind, StemKind};
use crate::nn::{BatchNorm, ConvNorm, LayerNorm, MapNorm, Mode, for_each_param, init};
use crate::ops::Engine;
use crate::ops::pool::global_average_pool;
use block::{Block, BlockShape, stage};
use burn::tensor::{Device, Tensor, s};
use rand_chacha::ChaCha8Rng;
use stem::Stem;

/// A residual network up to and including the global average pool.
#[derive(Debug)]
pub struct ResNet {
    conv1: Stem,
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
        let conv1 = Stem::new(shape, channels, rng, device);
        let mut map = conv1.outputs_map(shape.image);
        let bn1 = norm(shape.stem_width, map, shape, device);
        if shape.stem != StemKind::Cifar {
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
        let x = self.conv1.forward(x, &mut self.bn1, mode);
        let early = self.layer1.iter_mut().chain(&mut self.layer2);
        early.fold(x, |x, block| block.forward(x, mode))
    }

    /// Images whose largest maps stay in a CPU's cache until they are read; all on other devices.
    fn images_in_cache(&self, x: &Tensor<4>) -> usize {
        if Engine::of(&x.device()) == Engine::Stock {
            return usize::MAX;
        }
        let [_, h, w, _] = x.dims();
        let shrinks = if self.shape.stem == StemKind::Cifar { 1 } else { 4 };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::to_host;
    use crate::config::ResNetConfig;
    use crate::nn::init;
    use crate::rng::{Purpose, stream};

    fn config(width: usize, stem: StemKind, stages: usize, init: ConvInit) -> ResNetConfig {
        ResNetConfig {
            width,
            stem,
            stages,
            norm: NormKind::Batch,
            init,
            zero_init_residual: false,
            bn_groups: 1,
            stem_width: None,
            blocks: None,
            first_projection: None,
            average_skips: None,
            sk_ratio: None,
        }
    }

    /// torch's default is uniform in ±1/sqrt(fan in), of variance 1/(3 fan in); the mean square of
    /// 36,864 draws is within 4 of its standard errors, 2/sqrt(5 n) of it each.
    #[test]
    fn weights_are_drawn_as_asked() {
        let draw = |init| {
            let config = config(64, StemKind::Cifar, 1, init);
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
        let config = config(8, StemKind::Imagenet, 4, ConvInit::FanOut);
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
        let config = config(4, StemKind::Cifar, 4, ConvInit::default());
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
