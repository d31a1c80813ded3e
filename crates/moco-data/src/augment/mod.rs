//! Augmentation: from an RGB image to a view of it.
//!
//! A [`View`] is parsed from text, such as the CIFAR-10 recipe of MoCo:
//!
//! ```
//! let view: moco_data::View = "crop(32, 0.08..1) flip jitter(0.4,0.4,0.4,0.1; p=0.8) \
//!     gray(p=0.2) normalize(cifar10)".parse()?;
//! # Ok::<(), moco_data::ParseViewError>(())
//! ```
//!
//! | operation | what it does | equal to torchvision on Pillow |
//! |---|---|---|
//! | `crop(S, a..b)` | [`RandomResizedCrop`] | within 1 level |
//! | `resize(S)` | [`Resize`] of the shorter side | within 1 level |
//! | `center(S)` | [`center_crop`] | exactly |
//! | `flip` | [`flip`] from left to right | exactly |
//! | `jitter(b,c,s,h)` | [`ColorJitter`] | exactly |
//! | `gray` | [`grayscale`] | exactly |
//! | `blur(a..b)` | [`gaussian_blur`] | exactly |
//! | `solarize(t)` | [`solarize`] | exactly |
//! | `normalize(...)` | [`Normalize`] to `f32` | exactly |
//!
//! The one level concerns 0.1 % of the samples of a photo, 0.3 % if bicubic: the weights have 16
//! bits here and 22 in Pillow.
//!
//! Sizes are `S` for a square or `HxW`. Every operation but the sizes and `normalize` takes
//! `p=`, its probability: 0.5 for `flip`, else 1 unless given. Operations are applied in the order
//! written, each on 8-bit pixels with Pillow's own rounding, as torchvision does on Pillow images.
//!
//! In each file the draw of the parameters and their application are separate, so that the
//! application can be compared with Pillow on the same parameters, and the draws with their
//! distribution.

mod blur;
mod color;
mod crop;
mod flip;
mod hue;
mod normalize;
mod op;
mod parse;
mod resize;
mod solarize;
mod view;

pub use blur::gaussian_blur;
pub use color::{
    ColorJitter, JitterParams, adjust_brightness, adjust_contrast, adjust_saturation, grayscale,
};
pub use crop::{CropBox, RandomResizedCrop, center_crop};
pub use flip::flip;
pub use hue::adjust_hue;
pub use normalize::Normalize;
pub use parse::ParseViewError;
pub use resize::{Filter, MAX_PROPORTION, Resampler, Resize};
pub use solarize::solarize;
pub use view::View;

pub(crate) use view::Scratch;
