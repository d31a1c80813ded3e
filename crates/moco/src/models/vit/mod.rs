//! Vision Transformers: Dosovitskiy et al. 2020 (arXiv 2010.11929), in timm's arrangement.
//!
//! Parameter names are timm's, so `timm.create_model(..., num_classes=0)` loads an exported
//! backbone. With learned positions at 224 pixels and patches of 16 there are 5.52 M parameters as
//! `vit-tiny`, 21.67 M as `-small`, 85.80 M as `-base` and 303.30 M as `-large`. Fixed positions, and a frozen patch projection, are buffers of
//! the module walk: saved and copied, but neither trained nor averaged.

mod block;
mod config;
mod init;
mod look;
mod patch;
mod position;

pub use config::{PatchStem, Pool, Positions, VitConfig, VitError, VitInit};
pub use patch::{patchify, unpatchify};
pub use position::{Interpolation, resize_positions};

pub(super) use block::{Block, BlockShape};
pub(super) use init::tokens;
pub(super) use position::PositionEmbedding;

use crate::nn::{DropPath, LayerNorm, Mode, Module, Param, Visitor, drop_path};
use burn::tensor::{Device, Tensor};
use patch::PatchEmbed;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// A Vision Transformer up to and including the final LayerNorm.
#[derive(Debug)]
pub struct Vit {
    cls_token: Option<Param<3>>,
    reg_token: Option<Param<3>>,
    pos_embed: PositionEmbedding,
    patch_embed: PatchEmbed,
    blocks: Vec<Block>,
    norm: LayerNorm,
    drop_path: Option<DropPath>,
    config: VitConfig,
}

impl Vit {
    /// Draws a network from `rng`.
    ///
    /// # Panics
    /// If [`VitConfig::check`] refuses the sizes. Those of a plan have been checked.
    pub fn new(config: &VitConfig, rng: &mut ChaCha8Rng, device: &Device) -> Self {
        if let Err(error) = config.check() {
            panic!("{error}");
        }
        let VitConfig { width, depth, init, .. } = *config;
        let shape = BlockShape::of(config);
        let class_token = config.class_token.then(|| init.class_token(width, rng, device));
        let registers = (config.registers > 0)
            .then(|| Param::new(tokens([1, config.registers, width], rng, device)));
        Self {
            cls_token: class_token.map(Param::new),
            reg_token: registers,
            pos_embed: PositionEmbedding::new(config, rng, device),
            patch_embed: PatchEmbed::new(config, rng, device),
            blocks: (0..depth).map(|_| Block::new(shape, init, rng, device)).collect(),
            norm: LayerNorm::with_epsilon(width, config.norm_epsilon, device),
            drop_path: (config.drop_path > 0.0).then(|| DropPath::new(rng.random())),
            config: config.clone(),
        }
    }

    /// What the network was made from.
    pub fn config(&self) -> &VitConfig {
        &self.config
    }

    /// Width of the pooled output.
    pub fn features(&self) -> usize {
        self.config.width
    }

    /// The feature of each image, as [`Pool`] says.
    ///
    /// # Shapes
    /// `[N, H, W, 3]` to `[N, D]`.
    ///
    /// # Panics
    /// If the patch size does not divide H and W; see [`VitConfig::check_image`].
    pub fn forward(&mut self, images: Tensor<4>, mode: Mode) -> Tensor<2> {
        let patches = self.embed(images, mode);
        let read = if self.config.pool == Pool::Class { Read::ClassToken } else { Read::AllTokens };
        let x = self.run(patches, mode, read, |_, _| ());
        let first = self.config.prefix_tokens();
        match self.config.pool {
            Pool::Class => class_token(self.norm.forward(x)),
            Pool::Mean => mean(self.norm.forward(x), first),
            Pool::MeanBeforeNorm => self.norm.forward(mean(x, first)),
        }
    }

    /// All tokens after the final LayerNorm, but with [`Pool::MeanBeforeNorm`] without it: the class
    /// token, registers, patches.
    ///
    /// # Shapes
    /// `[N, H, W, 3]` to `[N, T, D]`, with T = (H / p) (W / p), and 1 more for a class token and for
    /// each register.
    ///
    /// # Panics
    /// As [`Vit::forward`].
    pub fn forward_tokens(&mut self, images: Tensor<4>, mode: Mode) -> Tensor<3> {
        let patches = self.embed(images, mode);
        self.encode(patches, mode)
    }

    /// All tokens after each of the last `n` blocks, or of all if there are fewer, every one through
    /// the final LayerNorm.
    ///
    /// # Shapes
    /// `[N, H, W, 3]` to `n` times `[N, T, D]`.
    ///
    /// # Panics
    /// As [`Vit::forward`].
    pub fn last_blocks(&mut self, images: Tensor<4>, n: usize, mode: Mode) -> Vec<Tensor<3>> {
        let patches = self.embed(images, mode);
        let first = self.blocks.len().saturating_sub(n);
        let mut outputs = Vec::with_capacity(n);
        self.run(patches, mode, Read::AllTokens, |block, x| {
            if block >= first {
                outputs.push(x.clone());
            }
        });
        outputs.into_iter().map(|x| self.normalized(x)).collect()
    }

    /// Class tokens of the last `n` blocks side by side, in evaluation mode: the features of
    /// DINO's linear probe, with n = 4 for ViT-S (Caron et al. 2021, arXiv 2104.14294).
    ///
    /// # Shapes
    /// `[N, H, W, 3]` to `[N, n D]`, for n up to the depth.
    ///
    /// # Panics
    /// As [`Vit::forward`], and if there is no class token.
    pub fn last_class_tokens(&mut self, images: Tensor<4>, n: usize) -> Tensor<2> {
        assert!(self.config.class_token, "a network with a class token");
        let blocks = self.last_blocks(images, n, Mode::Eval);
        Tensor::cat(blocks.into_iter().map(class_token).collect(), 1)
    }

    /// The class token and the mean over the patches' tokens side by side, in evaluation mode: the
    /// features of DINO's linear probe for ViT-B (Caron et al. 2021, arXiv 2104.14294, App. F.2).
    ///
    /// # Shapes
    /// `[N, H, W, 3]` to `[N, 2 D]`.
    ///
    /// # Panics
    /// As [`Vit::last_class_tokens`].
    pub fn class_and_patches(&mut self, images: Tensor<4>) -> Tensor<2> {
        assert!(self.config.class_token, "a network with a class token");
        let tokens = self.forward_tokens(images, Mode::Eval);
        let patches = mean(tokens.clone(), self.config.prefix_tokens());
        Tensor::cat(vec![class_token(tokens), patches], 1)
    }

    /// From now on the feature is the mean over the patches' tokens under a new LayerNorm,
    /// [`Pool::MeanBeforeNorm`], whatever was pre-trained: how MAE fine-tunes.
    pub fn pool_patches_anew(&mut self) {
        let device = self.norm.weight.val().device();
        let VitConfig { width, norm_epsilon, .. } = self.config;
        self.norm = LayerNorm::with_epsilon(width, norm_epsilon, &device);
        self.config.pool = Pool::MeanBeforeNorm;
    }

    /// Sets the probability that drop-path leaves out a branch of the last block, in [0, 1), and
    /// the seed of what it leaves out.
    pub fn set_drop_path(&mut self, rate: f64, seed: u64) {
        self.drop_path = (rate > 0.0).then(|| DropPath::new(seed));
        self.config.drop_path = rate;
    }

    /// Tokens of the patches, with their positions.
    ///
    /// # Shapes
    /// `[N, H, W, 3]` to `[N, (H / p) (W / p), D]`.
    pub(super) fn embed(&mut self, images: Tensor<4>, mode: Mode) -> Tensor<3> {
        let [_, height, width, _] = images.dims();
        self.config.check_image([height, width]).unwrap_or_else(|error| panic!("{error}"));
        let grid = [height, width].map(|side| side / self.config.patch);
        self.patch_embed.forward(images, mode) + self.pos_embed.patches(grid)
    }

    /// Class token, blocks and final LayerNorm, on any subset of the patches.
    ///
    /// # Shapes
    /// `[N, L, D]` to `[N, T, D]`.
    pub(super) fn encode(&mut self, patches: Tensor<3>, mode: Mode) -> Tensor<3> {
        let x = self.run(patches, mode, Read::AllTokens, |_, _| ());
        self.normalized(x)
    }

    /// Tokens after the final LayerNorm; where that is of the pooled feature, tokens have none.
    fn normalized(&self, tokens: Tensor<3>) -> Tensor<3> {
        match self.config.pool {
            Pool::MeanBeforeNorm => tokens,
            Pool::Class | Pool::Mean => self.norm.forward(tokens),
        }
    }

    /// Class token and blocks, the last one as far as it is read; shows every block's index and
    /// output to `after`.
    fn run(
        &mut self,
        patches: Tensor<3>,
        mode: Mode,
        read: Read,
        after: impl FnMut(usize, &Tensor<3>),
    ) -> Tensor<3> {
        let dropping = self.drop_path.as_mut().filter(|_| mode == Mode::Train);
        let Some(mut rng) = dropping.map(DropPath::next_pass) else {
            return self.run_blocks(patches, read, |_, branch| branch, after);
        };
        let VitConfig { drop_path: rate, depth, .. } = self.config;
        let dropped = |i, branch| drop_path(branch, block_rate(rate, i, depth), &mut rng);
        self.run_blocks(patches, read, dropped, after)
    }

    /// As [`Vit::run`]; what block `i` adds to its input goes through `branch(i, _)`.
    fn run_blocks(
        &self,
        patches: Tensor<3>,
        read: Read,
        mut branch: impl FnMut(usize, Tensor<3>) -> Tensor<3>,
        mut after: impl FnMut(usize, &Tensor<3>),
    ) -> Tensor<3> {
        let mut x = self.with_prefix(patches);
        for (i, block) in self.blocks.iter().enumerate() {
            let count = match read {
                Read::ClassToken if i + 1 == self.blocks.len() => 1,
                _ => x.dims()[1],
            };
            x = block.forward_first(x, count, |added| branch(i, added));
            after(i, &x);
        }
        x
    }

    /// Class token and registers in front of the patches of each image.
    fn with_prefix(&self, patches: Tensor<3>) -> Tensor<3> {
        let class = self.cls_token.as_ref().map(|token| match self.pos_embed.class_token() {
            Some(position) => token.val() + position,
            None => token.val(),
        });
        let prefix = class.into_iter().chain(self.reg_token.as_ref().map(Param::val));
        let n = patches.dims()[0];
        let mut parts: Vec<_> = prefix.map(|tokens| tokens.repeat_dim(0, n)).collect();
        if parts.is_empty() {
            return patches;
        }
        parts.push(patches);
        Tensor::cat(parts, 1)
    }
}

/// What is read of the last block's output.
#[derive(Clone, Copy)]
enum Read {
    AllTokens,
    ClassToken,
}

impl Module for Vit {
    fn visit(&mut self, visitor: &mut Visitor<'_>) {
        let norm = match self.config.pool {
            Pool::Class | Pool::Mean => "norm",
            Pool::MeanBeforeNorm => "fc_norm",
        };
        visitor.child("cls_token", &mut self.cls_token);
        visitor.child("reg_token", &mut self.reg_token);
        visitor.child("pos_embed", &mut self.pos_embed);
        visitor.child("patch_embed", &mut self.patch_embed);
        visitor.child("blocks", &mut self.blocks);
        visitor.child(norm, &mut self.norm);
        visitor.child("drop_path", &mut self.drop_path);
    }
}

/// Drop-path's rate in block `index` of `depth`: from 0, linearly, to the whole rate.
fn block_rate(rate: f64, index: usize, depth: usize) -> f64 {
    rate * index as f64 / (depth - 1).max(1) as f64
}

/// Mean over the patches, which begin at token `first`.
///
/// # Shapes
/// `[N, T, D]` to `[N, D]`.
fn mean(tokens: Tensor<3>, first: usize) -> Tensor<2> {
    let [n, t, d] = tokens.dims();
    tokens.narrow(1, first, t - first).mean_dim(1).reshape([n, d])
}

/// # Shapes
/// `[N, T, D]` to `[N, D]`.
fn class_token(tokens: Tensor<3>) -> Tensor<2> {
    let [n, _, d] = tokens.dims();
    tokens.narrow(1, 0, 1).reshape([n, d])
}

#[cfg(test)]
mod tests;
