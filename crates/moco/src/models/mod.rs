//! Networks: backbones, projection heads, and the two together.

mod backbone;
mod context;
mod dino_head;
mod encoder;
mod look;
pub mod mae;
mod mlp;
mod online;
pub mod resnet;
mod size;
mod split;
pub mod vit;

pub use backbone::{Architecture, Backbone, NetworkSpec, VitForm};
pub use context::{Context, ContextPadding};
pub use dino_head::{DinoEncoder, DinoHead, DinoHeadShape};
pub use encoder::{Encode, Encoder, LAST_BLOCKS};
pub use look::Look;
pub use mlp::{Mlp, MlpSpec};
pub use online::Online;
pub use resnet::{ResNet, ResNetShape};
pub use size::blocks_weights;
pub use split::{Split, SplitEncoder};
pub use vit::{Vit, VitConfig};
