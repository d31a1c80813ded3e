//! Projection heads and predictors: small multi-layer perceptrons.
//!
//! The papers' heads differ in depth, in where they have a bias and in what their normalisations
//! learn. An [`MlpSpec`] says it, so that each method states its own head in a few words.

use crate::nn::{Affine, Buffer, FeatureNorm, Linear, Mode};
use burn::tensor::{Device, Tensor, activation::relu};
use rand_chacha::ChaCha8Rng;

/// The layers of a perceptron, from inputs to outputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MlpSpec {
    /// Widths of the hidden layers, which end in a ReLU.
    pub hidden: Vec<usize>,
    /// Width of the output.
    pub outputs: usize,
    /// Whether hidden layers have a bias.
    pub hidden_bias: bool,
    /// Batch normalisation between hidden layers and their ReLU.
    pub hidden_norm: bool,
    /// Whether the last layer has a bias.
    pub output_bias: bool,
    /// Batch normalisation of the output, and what it learns.
    pub output_norm: Option<Affine>,
    /// Groups of the normalisations, see [`crate::nn::BatchNorm::new`].
    pub bn_groups: usize,
}

impl MlpSpec {
    /// One linear layer with bias.
    pub fn linear(outputs: usize) -> Self {
        Self::plain(Vec::new(), outputs)
    }

    /// Linear layers with biases, no normalisation.
    pub fn plain(hidden: Vec<usize>, outputs: usize) -> Self {
        Self {
            hidden,
            outputs,
            hidden_bias: true,
            hidden_norm: false,
            output_bias: true,
            output_norm: None,
            bn_groups: 1,
        }
    }

    /// Normalised hidden layers without bias, which their shift replaces, and a plain output.
    pub fn normalized(hidden: Vec<usize>, outputs: usize) -> Self {
        Self { hidden_bias: false, hidden_norm: true, ..Self::plain(hidden, outputs) }
    }
}

/// A perceptron of linear layers, normalisations and ReLUs.
#[derive(Debug)]
pub struct Mlp {
    layers: Vec<Layer>,
    outputs: usize,
}

impl crate::nn::Module for Mlp {
    fn visit(&mut self, visitor: &mut crate::nn::Visitor<'_>) {
        self.layers.visit(visitor);
    }
}

impl Mlp {
    /// Draws a perceptron from `rng`.
    pub fn new(inputs: usize, spec: &MlpSpec, rng: &mut ChaCha8Rng, device: &Device) -> Self {
        let linear = |inputs, outputs, bias: bool, rng: &mut ChaCha8Rng| match bias {
            true => Linear::new(inputs, outputs, rng, device),
            false => Linear::without_bias(inputs, outputs, rng, device),
        };
        let norm = |width, affine| FeatureNorm::new(width, spec.bn_groups, affine, device);
        let mut layers = Vec::new();
        let mut width = inputs;
        for &hidden in &spec.hidden {
            layers.push(Layer {
                linear: linear(width, hidden, spec.hidden_bias, rng),
                fixed_bias: None,
                norm: spec.hidden_norm.then(|| norm(hidden, Affine::Both)),
                relu: true,
            });
            width = hidden;
        }
        layers.push(Layer {
            linear: linear(width, spec.outputs, spec.output_bias, rng),
            fixed_bias: None,
            norm: spec.output_norm.map(|affine| norm(spec.outputs, affine)),
            relu: false,
        });
        Self { layers, outputs: spec.outputs }
    }

    /// Leaves the bias of the last layer as it was drawn: saved, but neither trained nor averaged.
    pub fn fix_output_bias(&mut self) {
        if let Some(layer) = self.layers.last_mut() {
            layer.fixed_bias = layer.linear.bias.take().map(|bias| Buffer::new(bias.val()));
        }
    }

    /// Ends after the first layer, with the normalisation and the ReLU behind it: where SimCLR v2
    /// fine-tunes from (Chen et al. 2020, arXiv 2006.10029, Sec. 2.1).
    pub fn keep_first_layer(&mut self) {
        self.layers.truncate(1);
        self.outputs = self.layers.first().map_or(0, |layer| layer.linear.weight.val().dims()[0]);
    }

    /// Width of the output.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// # Shapes
    /// `[N, inputs]` to `[N, outputs]`.
    pub fn forward(&mut self, x: Tensor<2>, mode: Mode) -> Tensor<2> {
        self.layers.iter_mut().fold(x, |x, layer| layer.forward(x, mode))
    }
}

/// Linear, then perhaps a normalisation, then perhaps a ReLU.
#[derive(Debug)]
struct Layer {
    linear: Linear,
    /// In place of the linear layer's own.
    fixed_bias: Option<Buffer<1>>,
    norm: Option<FeatureNorm>,
    relu: bool,
}

impl crate::nn::Module for Layer {
    fn visit(&mut self, visitor: &mut crate::nn::Visitor<'_>) {
        self.linear.visit(visitor);
        if let Some(bias) = &mut self.fixed_bias {
            visitor.child("bias", bias);
        }
        if let Some(norm) = &mut self.norm {
            visitor.child("norm", norm);
        }
    }
}

impl Layer {
    fn forward(&mut self, x: Tensor<2>, mode: Mode) -> Tensor<2> {
        let x = self.linear.forward(x);
        let x = match &self.fixed_bias {
            Some(bias) => x + bias.val().unsqueeze(),
            None => x,
        };
        let x = match &mut self.norm {
            Some(norm) => norm.forward(x, mode),
            None => x,
        };
        if self.relu { relu(x) } else { x }
    }
}
