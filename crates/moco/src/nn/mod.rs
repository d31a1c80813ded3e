//! Building blocks of networks: named state, layers, initial weights.
//!
//! Knows nothing of methods, data or training.

mod attention;
mod average;
mod block;
mod conv;
mod drop_path;
mod feature_norm;
mod frozen;
pub mod init;
mod layer_norm;
mod linear;
mod map_norm;
mod module;
mod norm;
mod param;
mod ranks;

pub use attention::Attention;
pub(crate) use average::{average, average_statistics};
pub use block::{NormedConv, residual};
pub use conv::{Conv, ConvNorm, conv_bn_act, conv_norm_act};
pub use drop_path::{DropPath, drop_path};
pub use feature_norm::{Affine, FeatureNorm};
pub use frozen::{freeze, thaw};
pub use layer_norm::{EPSILON as LAYER_NORM_EPSILON, LayerNorm};
pub use linear::Linear;
pub use map_norm::MapNorm;
pub use module::{
    Leaf, Module, TensorLeaf, Visitor, copy_tensors, count_params, for_each_leaf, for_each_param,
    share, tensors,
};
pub use norm::{BatchNorm, EPSILON, Mode};
pub use param::{Buffer, Param};
pub use ranks::gather;
