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
        let [conv, norm, relu] = ["conv1", "bn1", "relu1"].map(|name| self.named(name));
        let stride = if self.shape.stem == StemKind::Cifar { 1 } else { 2 };
        let moves = Stride { stride, border: self.shape.stem_padding };
        let x = self.conv_norm(layers, x, [&conv, &norm], moves);
        let x = layers.relu(&x, &relu);
        match self.shape.stem {
            StemKind::Cifar => x,
            StemKind::Imagenet => {
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
        }
        let names = ["conv", "bn"].map(|kind| format!("{block}.{kind}{last}"));
        let y = self.conv_norm(layers, &y, [&names[0], &names[1]], Stride::of(1));
        let skip = match layers.has(&format!("{block}.downsample.0.weight")) {
            true => {
                let names = [0, 1].map(|i| format!("{block}.downsample.{i}"));
                self.conv_norm(layers, x, [&names[0], &names[1]], Stride::of(stride))
            }
            false => x.clone(),
        };
        let sum = layers.add(&y, &skip, &format!("{block}.sum"));
        layers.relu(&sum, &format!("{block}.relu"))
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
