//! Networks: backbones, projection heads, and the two together.

mod backbone;
mod encoder;
mod mlp;
pub mod resnet;
mod split;

pub use backbone::{Backbone, NetworkSpec};
pub use encoder::{Encode, Encoder};
pub use mlp::{Mlp, MlpSpec};
pub use resnet::ResNet;
pub use split::{Split, SplitEncoder};
