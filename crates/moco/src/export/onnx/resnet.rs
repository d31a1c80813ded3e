//! Residual networks as ONNX operations.
//!
//! Depths, widths, kinds of blocks and projections are read off the weights, so that any residual
//! network of these names has a graph.

use super::graph::{Setting, Value};
use super::layers::{Layers, Stride};
use crate::config::{NormKind, StemKind};
use crate::models::ResNetShape;

/// LayerNorm's epsilon in residual networks.
const EPSILON: f64 = crate::nn::LAYER_NORM_EPSILON;

/// A residual network whose weights' names begin with `prefix`.
pub(super) struct ResNetGraph<'a> {
    pub prefix: &'a str,
    pub shape: &'a ResNetShape,
}

impl ResNetGraph<'_> {
    /// `[N, C, H, W]` to `[N, features]`.
    pub(super) fn build(&self, layers: &mut Layers, x: &Value) -> Value {
        let mut x = self.stem(layers, x);
        for stage in 1..=4 {
            let blocks = (0..).map(|block| self.named(&format!("layer{stage}.{block}")));
            let blocks = blocks.take_while(|block| layers.has(&format!("{block}.conv1.weight")));
            for (index, block) in blocks.collect::<Vec<_>>().into_iter().enumerate() {
                let stride = if index == 0 && stage > 1 { 2 } else { 1 };
                x = self.block(layers, &x, &block, stride);
            }
        }
        let graph = &mut layers.graph;
        let pooled = graph.node("GlobalAveragePool", &self.named("avgpool"), &[&x], &[]);
        graph.node("Flatten", &self.named("flatten"), &[&pooled], &[("axis", Setting::Int(1))])
    }

    fn stem(&self, layers: &mut Layers, x: &Value) -> Value {
        let border = self.shape.stem_padding;
        let first = |stride| Stride { stride, border };
        let (names, moves): (&[[&str; 2]], _) = match self.shape.stem {
            StemKind::Cifar => (&[["conv1", "bn1"]], first(1)),
            StemKind::Imagenet => (&[["conv1", "bn1"]], first(2)),
            StemKind::Deep => {
                (&[["conv1.0", "conv1.1"], ["conv1.3", "conv1.4"], ["conv1.6", "bn1"]], first(2))
            }
        };
        let mut x = x.clone();
        for (i, [conv, norm]) in names.iter().enumerate() {
            let moves = if i == 0 { moves } else { Stride::of(1) };
            let normed = self.conv_norm(layers, &x, [&self.named(conv), &self.named(norm)], moves);
            x = layers.relu(&normed, &self.named(&format!("relu{}", names.len() - i)));
        }
        match self.shape.stem {
            StemKind::Cifar => x,
            StemKind::Imagenet | StemKind::Deep => {
                let settings = [
                    ("kernel_shape", Setting::Ints(&[3; 2])),
                    ("pads", Setting::Ints(&[1; 4])),
                    ("strides", Setting::Ints(&[2; 2])),
                ];
                layers.graph.node("MaxPool", &self.named("maxpool"), &[&x], &settings)
            }
        }
    }

    /// The stride is on the only 3x3 convolution of a bottleneck, and on the first one otherwise.
    fn block(&self, layers: &mut Layers, x: &Value, block: &str, stride: usize) -> Value {
        let is_bottleneck = layers.has(&format!("{block}.conv3.weight"));
        let last = if is_bottleneck { 3 } else { 2 };
        let strided = last - 1;
        let mut y = x.clone();
        for i in 1..last {
            let names = ["conv", "bn"].map(|kind| format!("{block}.{kind}{i}"));
            let stride = Stride::of(if i == strided { stride } else { 1 });
            y = self.conv_norm(layers, &y, [&names[0], &names[1]], stride);
            y = layers.relu(&y, &format!("{block}.relu{i}"));
            if i == 2 && self.shape.sk_ratio.is_some() {
                y = select(layers, &y, &format!("{block}.select"));
            }
        }
        let names = ["conv", "bn"].map(|kind| format!("{block}.{kind}{last}"));
        let y = self.conv_norm(layers, &y, [&names[0], &names[1]], Stride::of(1));
        let skip = self.skip(layers, x, &format!("{block}.downsample"), stride);
        let sum = layers.add(&y, &skip, &format!("{block}.sum"));
        layers.relu(&sum, &format!("{block}.relu"))
    }

    /// `x`, or its projection; with an average before it the convolution has number 1.
    fn skip(&self, layers: &mut Layers, x: &Value, name: &str, stride: usize) -> Value {
        let numbers = if self.shape.average_skips { [1, 2] } else { [0, 1] };
        let [conv, norm] = numbers.map(|i| format!("{name}.{i}"));
        if !layers.has(&format!("{conv}.weight")) {
            return x.clone();
        }
        if !self.shape.average_skips {
            return self.conv_norm(layers, x, [&conv, &norm], Stride::of(stride));
        }
        let settings = [
            ("kernel_shape", Setting::Ints(&[2; 2])),
            ("pads", Setting::Ints(&[0, 0, 1, 1])),
            ("strides", Setting::Ints(&[stride as i64; 2])),
            // Zeros behind an odd map count, and what is behind the last row at stride 1 does not.
            ("count_include_pad", Setting::Int(i64::from(stride == 2))),
        ];
        let averaged = layers.graph.node("AveragePool", &format!("{name}.0"), &[x], &settings);
        self.conv_norm(layers, &averaged, [&conv, &norm], Stride::of(1))
    }

    fn conv_norm(
        &self,
        layers: &mut Layers,
        x: &Value,
        [conv, norm]: [&str; 2],
        stride: Stride,
    ) -> Value {
        let x = layers.conv(x, conv, stride);
        match self.shape.norm {
            NormKind::Batch => layers.batch_norm(&x, norm),
            // Refused before the graph is begun.
            NormKind::Nothing | NormKind::Map => x,
            NormKind::Layer => {
                // Over the channels of each position, which LayerNormalization wants last.
                let last = layers.transpose(&x, &format!("{norm}.channels_last"), &[0, 2, 3, 1]);
                let normed = layers.layer_norm(&last, norm, EPSILON);
                layers.transpose(&normed, &format!("{norm}.channels_first"), &[0, 3, 1, 2])
            }
        }
    }

    fn named(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

/// Selective kernels: of each pair of channels `a u + (1 - a) v`.
fn select(layers: &mut Layers, x: &Value, name: &str) -> Value {
    let part = |part: &str| format!("{name}.{part}");
    let width = (layers.values(&part("fc2.weight")).0[0] / 2) as i64;
    let pooled = layers.graph.node("GlobalAveragePool", &part("pool"), &[x], &[]);
    let means =
        layers.graph.node("Flatten", &part("means"), &[&pooled], &[("axis", Setting::Int(1))]);
    let [u, v] = halves(layers, &means, &part("means"), width);
    let sum = layers.add(&u, &v, &part("sum"));
    let hidden = layers.linear(&sum, &part("fc1"));
    let hidden = layers.batch_norm(&hidden, &part("bn"));
    let hidden = layers.relu(&hidden, &part("relu"));
    let weights = layers.linear(&hidden, &part("fc2"));
    let [u, v] = halves(layers, &weights, &part("weights"), width);
    let difference = layers.graph.node("Sub", &part("difference"), &[&u, &v], &[]);
    let share = layers.graph.node("Sigmoid", &part("share"), &[&difference], &[]);
    let share = layers.reshape(&share, &part("share.map"), &[0, -1, 1, 1]);
    let [u, v] = halves(layers, x, &part("kernels"), width);
    let difference = layers.graph.node("Sub", &part("kernels.difference"), &[&u, &v], &[]);
    let scaled = layers.graph.node("Mul", &part("kernels.scaled"), &[&share, &difference], &[]);
    layers.add(&v, &scaled, name)
}

/// The first and the second half of the channels.
fn halves(layers: &mut Layers, x: &Value, name: &str, width: i64) -> [Value; 2] {
    [("u", [0, width]), ("v", [width, 2 * width])]
        .map(|(half, range)| layers.slice(x, &format!("{name}.{half}"), 1, range))
}
