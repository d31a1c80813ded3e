//! Residual blocks.

use super::selective::Select;
use super::{ResNetShape, norm};
use crate::nn::{
    Conv, ConvNorm, Mode, Module, NormedConv, Visitor, conv_norm_act, for_each_param, residual,
};
use crate::ops::Epilogue;
use burn::tensor::{Device, Tensor, s};
use rand_chacha::ChaCha8Rng;

/// Sizes of one residual block.
#[derive(Clone, Copy)]
pub(super) struct BlockShape {
    pub inputs: usize,
    /// Height and width of what comes in.
    pub map: [usize; 2],
    pub width: usize,
    pub stride: usize,
    /// Whether the skip connection is projected even if its shape stays.
    pub projected: bool,
}

impl BlockShape {
    /// Height and width of what goes out.
    pub(super) fn outputs_map(&self) -> [usize; 2] {
        self.map.map(|side| side.div_ceil(self.stride))
    }
}

/// `count` blocks, of which `first` is the first.
pub(super) fn stage(
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

/// A residual block: two 3x3 convolutions, or 1x1, 3x3, 1x1 with a fourfold wider output. With
/// selective kernels `conv2` has two 3x3 convolutions' outputs, of which `select` makes one.
#[derive(Debug)]
pub(super) struct Block {
    conv1: Conv,
    bn1: ConvNorm,
    pub(super) conv2: Conv,
    bn2: ConvNorm,
    select: Option<Select>,
    conv3: Option<Conv>,
    bn3: Option<ConvNorm>,
    downsample: Option<Projection>,
}

crate::module!(Block { conv1, bn1, conv2, bn2, select, conv3, bn3, downsample });

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
        let hidden = shape.selection(width);
        let middle = if hidden.is_some() { 2 * width } else { width };
        let mut block = Self {
            conv1: Conv::new(inputs, width, first.0, first.1, rng, device),
            bn1: norm(width, between),
            conv2: Conv::new(width, middle, second.0, second.1, rng, device),
            bn2: norm(middle, out),
            select: hidden.map(|hidden| Select::new(width, hidden, shape, rng, device)),
            conv3: bottleneck.then(|| Conv::new(width, outputs, 1, 1, rng, device)),
            bn3: bottleneck.then(|| norm(outputs, out)),
            downsample: None,
        };
        if projected || stride != 1 || inputs != outputs {
            let average = shape.average_skips.then_some(stride);
            let stride = if average.is_some() { 1 } else { stride };
            let conv = Conv::new(inputs, outputs, 1, stride, rng, device);
            block.downsample = Some(Projection { average, conv, norm: norm(outputs, out) });
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
    pub(super) fn outputs(&self) -> usize {
        self.conv3.as_ref().unwrap_or(&self.conv2).weight.val().dims()[0]
    }

    pub(super) fn forward(&mut self, x: Tensor<4>, mode: Mode) -> Tensor<4> {
        let averages = self.downsample.as_ref().is_some_and(|skip| skip.average.is_some());
        if averages || self.select.is_some() {
            return self.layer_by_layer(x, mode);
        }
        let mut layers: Vec<NormedConv> =
            vec![(&self.conv1, &mut self.bn1), (&self.conv2, &mut self.bn2)];
        layers.extend(self.conv3.as_ref().zip(self.bn3.as_mut()));
        let projection = self.downsample.as_mut().map(|p| (&p.conv, &mut p.norm));
        residual(x, layers, projection, mode)
    }

    /// The block where it is more than convolutions in a row.
    fn layer_by_layer(&mut self, x: Tensor<4>, mode: Mode) -> Tensor<4> {
        let skip = match &mut self.downsample {
            Some(projection) => projection.forward(x.clone(), mode),
            None => x.clone(),
        };
        let x = conv_norm_act(x, &self.conv1, &mut self.bn1, Epilogue::Relu, mode);
        let Some((conv3, bn3)) = self.conv3.as_ref().zip(self.bn3.as_mut()) else {
            return conv_norm_act(x, &self.conv2, &mut self.bn2, Epilogue::AddRelu(skip), mode);
        };
        let x = conv_norm_act(x, &self.conv2, &mut self.bn2, Epilogue::Relu, mode);
        let x = match &mut self.select {
            Some(select) => select.forward(x, mode),
            None => x,
        };
        conv_norm_act(x, conv3, bn3, Epilogue::AddRelu(skip), mode)
    }
}

/// The 1x1 convolution of a skip connection that changes shape.
///
/// Names are torchvision's, `0` and `1`; behind an average timm's, `1` and `2`.
#[derive(Debug)]
struct Projection {
    /// The step of the 2x2 average before it, if there is one.
    average: Option<usize>,
    conv: Conv,
    norm: ConvNorm,
}

impl Module for Projection {
    fn visit(&mut self, visitor: &mut Visitor<'_>) {
        let [conv, norm] = if self.average.is_some() { ["1", "2"] } else { ["0", "1"] };
        visitor.child(conv, &mut self.conv);
        visitor.child(norm, &mut self.norm);
    }
}

impl Projection {
    fn forward(&mut self, x: Tensor<4>, mode: Mode) -> Tensor<4> {
        let x = match self.average {
            Some(stride) => average(x, stride),
            None => x,
        };
        conv_norm_act(x, &self.conv, &mut self.norm, Epilogue::Nothing, mode)
    }
}

/// Means of 2x2 positions, the first of each at a multiple of `stride`, which is 1 or 2.
///
/// Beyond the last row and column there are zeros at stride 2, and nothing that would count at stride
/// 1: what SimCLR's code pads by itself, and what TensorFlow does for `SAME`.
///
/// # Shapes
/// `[N, H, W, C]` to `[N, ceil(H / stride), ceil(W / stride), C]`.
fn average(x: Tensor<4>, stride: usize) -> Tensor<4> {
    let [n, h, w, c] = x.dims();
    if stride == 1 {
        let rows = (x.clone() + moved_up(x, 1, h)) * 0.5;
        return (rows.clone() + moved_up(rows, 2, w)) * 0.5;
    }
    let (height, width) = (h.div_ceil(2), w.div_ceil(2));
    let x = match (h % 2, w % 2) {
        (0, 0) => x,
        _ => {
            let zeros = Tensor::zeros([n, 2 * height, 2 * width, c], &x.device());
            zeros.slice_assign(s![.., ..h, ..w, ..], x)
        }
    };
    let rows = x.reshape([n * height, 2, 2 * width, c]).mean_dim(1);
    rows.reshape([n * height, width, 2, c]).mean_dim(2).reshape([n, height, width, c])
}

/// Each position's next one along an axis of this size, and the last one's own: the mean of a value and
/// itself is the value.
fn moved_up(x: Tensor<4>, axis: usize, size: usize) -> Tensor<4> {
    match size {
        1 => x,
        _ => {
            let next = x.clone().slice_dim(axis, 1..size);
            Tensor::cat(vec![next, x.slice_dim(axis, size - 1..size)], axis)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::to_host;
    use crate::nn::init;
    use crate::rng::{Purpose, stream};

    /// By loops over the positions, maps of one row and of odd and even sides alike; sums of four values
    /// in two orders.
    #[test]
    fn averages_have_tensorflows_borders() {
        let (rng, device) = (&mut stream(6, Purpose::Weights, 0), Device::flex());
        for [h, w] in [[1, 1], [1, 4], [5, 2], [6, 7]] {
            let x = init::normal([2, h, w, 3], 1.0, rng, &device);
            let values = to_host(x.clone());
            let at = |n: usize, i: usize, j: usize, c: usize| values[((n * h + i) * w + j) * 3 + c];
            for stride in [1, 2] {
                let (rows, columns) = (h.div_ceil(stride), w.div_ceil(stride));
                let found = average(x.clone(), stride);
                assert_eq!(found.dims(), [2, rows, columns, 3]);
                let mut found = to_host(found).into_iter();
                for (n, i, j, c) in places(2, rows, columns, 3) {
                    let inside =
                        |from: usize, size: usize| from * stride..size.min(from * stride + 2);
                    let of = inside(i, h).flat_map(|i| inside(j, w).map(move |j| [i, j]));
                    let window: Vec<f32> = of.map(|[i, j]| at(n, i, j, c)).collect();
                    let count = if stride == 2 { 4 } else { window.len() };
                    let expected = window.iter().sum::<f32>() / count as f32;
                    let found = found.next().expect("as many values as places");
                    assert!((found - expected).abs() < 1e-6, "{h}x{w} at {stride}: {i} {j}");
                }
            }
        }
    }

    fn places(
        n: usize,
        h: usize,
        w: usize,
        c: usize,
    ) -> impl Iterator<Item = (usize, usize, usize, usize)> {
        (0..n * h * w * c).map(move |at| (at / (h * w * c), at / (w * c) % h, at / c % w, at % c))
    }
}
