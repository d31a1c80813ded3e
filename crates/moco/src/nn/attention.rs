//! Multi-head self-attention. Vaswani et al. 2017 (arXiv 1706.03762), Sec. 3.2.

use super::Linear;
use crate::ops::attention::{attention, parts, weights};
use burn::tensor::Tensor;

/// Self-attention with its four projections; names are timm's.
#[derive(Clone, Debug)]
pub struct Attention {
    /// Queries, keys and values in one, `[3 D, D]`.
    pub qkv: Linear,
    /// The linear layer behind the concatenated heads, `[D, D]`.
    pub proj: Linear,
    heads: usize,
}

crate::module!(Attention { qkv, proj });

impl Attention {
    /// `heads` must divide the width D.
    pub fn new(qkv: Linear, proj: Linear, heads: usize) -> Self {
        Self { qkv, proj, heads }
    }

    /// What the first `queries` tokens gather from all tokens.
    ///
    /// # Shapes
    /// `[N, T, D]` to `[N, queries, D]`.
    pub fn forward(&self, x: Tensor<3>, queries: usize) -> Tensor<3> {
        self.proj.forward(attention(self.qkv.forward(x), self.heads, queries))
    }

    /// How much each of the first `queries` tokens takes of every token, head by head: the weights
    /// of Eq. 1, to look at.
    ///
    /// # Shapes
    /// `[N, T, D]` to `[N, H, queries, T]`; the last dimension sums to 1.
    pub fn weights(&self, x: Tensor<3>, queries: usize) -> Tensor<4> {
        let [q, k, _] = parts(self.qkv.forward(x), self.heads);
        weights(q, k, queries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::to_host;
    use crate::device::Device;
    use crate::nn::init;
    use crate::rng::{Purpose, stream};

    /// A token's values weighted by what is looked at are what it gathers.
    #[test]
    fn weights_are_those_that_values_are_gathered_with() {
        let (n, t, heads, d) = (2, 6, 3, 4);
        let rng = &mut stream(6, Purpose::Weights, 0);
        let device = &Device::flex();
        let mut linear = |outputs| Linear::new(heads * d, outputs, rng, device);
        let layer = Attention::new(linear(3 * heads * d), linear(heads * d), heads);
        let x = init::normal([n, t, heads * d], 1.0, rng, device);
        let [_, _, v] = parts(layer.qkv.forward(x.clone()), heads);
        let found = layer.weights(x.clone(), 2);
        assert_eq!(found.dims(), [n, heads, 2, t]);
        let gathered = found.matmul(v).swap_dims(1, 2).reshape([n, 2, heads * d]);
        let gathered = to_host(layer.proj.forward(gathered));
        for (found, expected) in gathered.iter().zip(to_host(layer.forward(x, 2))) {
            // Sums of a dozen products in two orders.
            assert!((found - expected).abs() < 1e-5, "{found} {expected}");
        }
    }
}
