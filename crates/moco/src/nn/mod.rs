//! Building blocks of networks: named state, layers, initial weights.
//!
//! Knows nothing of methods, data or training.

mod conv;
mod feature_norm;
mod fused;
mod fused_pool;
pub mod init;
mod linear;
mod module;
mod norm;
mod param;
pub mod update;

pub use conv::{Conv, Then, conv_bn_act, global_average_pool, max_pool};
pub use feature_norm::{Affine, FeatureNorm};
pub use linear::{Linear, linear};
pub use module::{
    Leaf, Module, TensorLeaf, Visitor, copy_tensors, count_params, for_each_leaf, for_each_param,
    tensors,
};
pub use norm::{BatchNorm, EPSILON, Mode};
pub use param::{Buffer, Param};
