//! DINO's head: Caron et al. 2021 (arXiv 2104.14294), Sec. 3.2 and App. C.
//!
//! Three linear layers with GELU, a bottleneck of unit length, and a last layer whose rows have
//! their length apart from their direction (weight normalisation).

use super::{Backbone, Encode, Look, NetworkSpec, Vit};
use crate::config::FeatureKind;
use crate::loss::l2_normalize;
use crate::nn::{Affine, FeatureNorm, Linear, Mode, Module, Param, Visitor, init};
use crate::ops::gelu::{Gelu, gelu};
use burn::tensor::{Device, Tensor};
use rand_chacha::ChaCha8Rng;

/// Standard deviation of the first weights.
const STD: f64 = 0.02;

/// The layers of the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DinoHeadShape {
    /// Width of the hidden layers.
    pub hidden: usize,
    /// Width of the normalised bottleneck before the last layer.
    pub bottleneck: usize,
    /// Outputs, K.
    pub outputs: usize,
    /// BatchNorm behind the hidden layers.
    pub head_norm: bool,
    /// Keep the last layer's rows at unit length.
    pub norm_last_layer: bool,
}

/// The head.
#[derive(Debug)]
pub struct DinoHead {
    layers: Vec<Linear>,
    norms: Vec<FeatureNorm>,
    last_layer: LastLayer,
    bottleneck: usize,
}

crate::module!(DinoHead { layers, norms, last_layer });

impl DinoHead {
    /// Draws a head from `rng`.
    pub fn new(
        shape: &DinoHeadShape,
        inputs: usize,
        bn_groups: usize,
        rng: &mut ChaCha8Rng,
        device: &Device,
    ) -> Self {
        let DinoHeadShape { hidden, bottleneck, outputs, .. } = *shape;
        let linear = |[inputs, outputs]: [usize; 2]| Linear {
            weight: Param::new(init::normal([outputs, inputs], STD, rng, device)),
            bias: Some(Param::new(Tensor::zeros([outputs], device))),
        };
        let layers = [[inputs, hidden], [hidden, hidden], [hidden, bottleneck]].map(linear);
        let norm = |_| FeatureNorm::new(hidden, bn_groups, Affine::Both, device);
        let norms = if shape.head_norm { 2 } else { 0 };
        let direction = init::linear_uniform([outputs, bottleneck], bottleneck, rng, device);
        let length = Param::new(Tensor::ones([outputs, 1], device));
        Self {
            layers: layers.into(),
            norms: (0..norms).map(norm).collect(),
            last_layer: LastLayer {
                weight_v: Param::new(direction),
                weight_g: (!shape.norm_last_layer).then_some(length),
            },
            bottleneck,
        }
    }

    /// # Shapes
    /// `[N, inputs]` to the bottleneck, `[N, bottleneck]`, rows of unit length.
    pub fn bottleneck(&mut self, mut x: Tensor<2>, mode: Mode) -> Tensor<2> {
        let last = self.layers.len() - 1;
        for (i, layer) in self.layers.iter().enumerate() {
            x = layer.forward(x);
            if let Some(norm) = self.norms.get_mut(i) {
                x = norm.forward(x, mode);
            }
            if i < last {
                x = gelu(x, Gelu::Erf);
            }
        }
        l2_normalize(x)
    }

    /// # Shapes
    /// The bottleneck, `[N, bottleneck]`, to logits, `[N, outputs]`.
    pub fn logits(&self, z: Tensor<2>) -> Tensor<2> {
        self.last_layer.forward(z)
    }
}

/// A linear layer without bias whose rows are `g v / |v|`.
#[derive(Debug)]
struct LastLayer {
    weight_v: Param<2>,
    /// Lengths, `[K, 1]`; without them all are 1.
    weight_g: Option<Param<2>>,
}

impl Module for LastLayer {
    fn visit(&mut self, visitor: &mut Visitor<'_>) {
        if let Some(g) = &mut self.weight_g {
            visitor.child("weight_g", g);
        }
        visitor.child("weight_v", &mut self.weight_v);
    }
}

impl LastLayer {
    fn forward(&self, z: Tensor<2>) -> Tensor<2> {
        let rows = l2_normalize(self.weight_v.val());
        let rows = match &self.weight_g {
            Some(g) => rows * g.val(),
            None => rows,
        };
        z.matmul(rows.transpose())
    }
}

/// Backbone and DINO's head.
#[derive(Debug)]
pub struct DinoEncoder {
    /// Images to features.
    pub backbone: Backbone,
    /// Features to logits.
    pub head: DinoHead,
}

crate::module!(DinoEncoder { backbone, head });

impl DinoEncoder {
    /// Draws an encoder whose weights are a function of the specification alone.
    pub fn new(shape: &DinoHeadShape, network: &NetworkSpec, device: &Device) -> Self {
        let mut rng = network.weights(0);
        let backbone = Backbone::new(network, 3, &mut rng, device);
        let groups = network.bn_groups();
        let head = DinoHead::new(shape, backbone.features(), groups, &mut rng, device);
        Self { backbone, head }
    }

    /// Views, which may differ in size, to bottleneck and logits.
    ///
    /// # Shapes
    /// V views of `[N, H, W, 3]` to `[V N, bottleneck]` and `[V N, outputs]`, view by view.
    pub fn forward_views(&mut self, views: &[Tensor<4>], mode: Mode) -> [Tensor<2>; 2] {
        let features = self.backbone.forward_views(views, mode);
        let z = self.head.bottleneck(features, mode);
        [z.clone(), self.head.logits(z)]
    }
}

impl Encode for DinoEncoder {
    fn embed(&mut self, x: Tensor<4>, kind: FeatureKind, mode: Mode) -> Tensor<2> {
        let features = self.backbone.embed(x, kind, mode);
        match kind {
            FeatureKind::Head => self.head.bottleneck(features, mode),
            _ => features,
        }
    }

    fn width(&self, kind: FeatureKind) -> usize {
        match kind {
            FeatureKind::Head => self.head.bottleneck,
            kind => self.backbone.width(kind),
        }
    }

    fn backbone(&mut self) -> &mut dyn Module {
        &mut self.backbone
    }

    fn vit(&mut self) -> Option<&mut Vit> {
        self.backbone.vit()
    }

    fn look(&mut self, x: Tensor<4>) -> Option<Look> {
        self.backbone.look(x)
    }
}
