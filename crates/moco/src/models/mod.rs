//! Networks: backbones, projection heads, and the two together.

mod encoder;
mod head;
pub mod resnet;

pub use encoder::Encoder;
pub use head::ProjectionHead;
pub use resnet::ResNet;
