//! What a transformer looks at: the attention of its class token in the last block, head by head, as
//! Caron et al. 2021 (arXiv 2104.14294, Fig. 1) show it.

use super::Vit;
use crate::nn::Mode;
use burn::tensor::Tensor;

impl Vit {
    /// How much the class token takes of each patch in the last block, in evaluation mode. What it
    /// takes of itself, and of other tokens that are no patches, is left out, so a map sums to less
    /// than 1. `None` without a class token, or with a single block.
    ///
    /// # Shapes
    /// `[N, H, W, 3]` to `[N, heads, H / p, W / p]`.
    ///
    /// # Panics
    /// As [`Vit::forward`].
    pub fn class_attention(&mut self, images: Tensor<4>) -> Option<Tensor<4>> {
        let (depth, patch) = (self.blocks.len(), self.config.patch);
        if !self.config.class_token || depth < 2 {
            return None;
        }
        let [n, height, width, _] = images.dims();
        let grid = [height / patch, width / patch];
        let patches = self.embed(images, Mode::Eval);
        let mut before_last = None;
        self.run(patches, Mode::Eval, super::Read::AllTokens, |block, x| {
            if block + 2 == depth {
                before_last = Some(x.clone());
            }
        });
        let weights = self.blocks[depth - 1].first_token_weights(before_last?);
        let [_, heads, _, tokens] = weights.dims();
        // Patches are the last tokens, whatever stands before them.
        let count = grid[0] * grid[1];
        let maps = weights.narrow(3, tokens - count, count);
        Some(maps.reshape([n, heads, grid[0], grid[1]]))
    }
}
