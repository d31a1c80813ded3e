//! Networks: backbones, projection heads, and the two together.

mod backbone;
mod encoder;
mod head;
pub mod mae;
pub mod resnet;
pub mod vit;

pub use backbone::Backbone;
pub use encoder::Encoder;
pub use head::ProjectionHead;
pub use resnet::ResNet;
pub use vit::{Vit, VitConfig};
