//! What an encoder looks at in an image, to be shown to people.

use super::{Backbone, ResNet, Vit};
use burn::tensor::Tensor;

/// Where an encoder looks.
#[derive(Clone, Debug)]
pub enum Look {
    /// How much a transformer's class token takes of each patch in the last block, one map for each
    /// head: `[N, heads, h, w]`.
    Attention(Tensor<4>),
    /// Length of the feature at each place of a residual network's last maps, before they are
    /// averaged to the image's feature: `[N, 1, h, w]`. Of several networks, a map for each.
    Energy(Tensor<4>),
}

impl Backbone {
    /// Where the network looks, in evaluation mode; `None` of a transformer without a class token.
    ///
    /// # Shapes
    /// `[N, H, W, channels]` to maps, as [`Look`] says.
    pub fn look(&mut self, x: Tensor<4>) -> Option<Look> {
        match self {
            Backbone::Vit(net) => attention(net, x),
            Backbone::ResNet(net) => Some(Look::Energy(energy(net, x))),
        }
    }
}

pub(super) fn attention(net: &mut Vit, x: Tensor<4>) -> Option<Look> {
    net.class_attention(x).map(Look::Attention)
}

/// # Shapes
/// `[N, H, W, channels]` to `[N, 1, h, w]`.
fn energy(net: &mut ResNet, x: Tensor<4>) -> Tensor<4> {
    let maps = net.last_maps(x);
    let [n, h, w, _] = maps.dims();
    maps.square().sum_dim(3).sqrt().reshape([n, 1, h, w])
}
