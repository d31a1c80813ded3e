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
//! | operation | what it does | equal to the reference |
//! |---|---|---|
//! | `range(a..b)`, `range(percentile a..b)` | [`ValueRange`](crate::ValueRange) of decoding | numpy, exactly |
//! | `crop(S, a..b)` | [`RandomResizedCrop`] | torchvision, within 1 level |
//! | `cut(S)` | random window without resampling ([`draw_window`], [`cut`]) | torchvision, exactly |
//! | `resize(S)` | [`Resize`] of the shorter side | torchvision, within 1 level |
//! | `center(S)` | [`center_crop`] | torchvision, exactly |
//! | `flip` | [`flip`] from left to right | torchvision, exactly |
//! | `jitter(b,c,s,h)` | [`ColorJitter`] | torchvision, exactly |
//! | `gray` | [`grayscale`] | torchvision, exactly |
//! | `drop` | [`keep_channel`], a random one; the others become those of a mean pixel | its definition |
//! | `blur(a..b)` | [`gaussian_blur`] | Pillow, exactly |
//! | `blur(a..b; taps=N)` | [`Convolver`] | convolution in double precision, within 1 level |
//! | `solarize(t)` | [`solarize`] | torchvision, exactly |
//! | `translate(n)` | [`translate`] by up to `n` pixels, mirrored at the edges | numpy, exactly |
//! | `randaugment(m, d)` | [`RandAugment`] | timm, exactly |
//! | `patches(S, stride=T)` | [`Patches`], each of which goes through what follows | numpy, exactly |
//! | `lab`, `ycbcr` | [`ColorSpace`] | skimage, within 2e-4 of a channel's range |
//! | `normalize(...)` | [`Normalize`] to `f32` | torchvision, exactly |
//! | `erase` | [`RandomErasing`] | timm, in distribution |
//!
//! "torchvision" means its transforms of Pillow images. The one level of resampling concerns 0.1 %
//! of the samples of a photo, 0.3 % if bicubic: the weights have 16 bits here and 22 in Pillow.
//!
//! Sizes are `S` for a square or `HxW`. Every operation but those that set the size and
//! `normalize` takes `p=`, its probability: 0.5 for `flip`, else 1 unless given. Operations are
//! applied in the order written, each on 8-bit pixels with Pillow's own rounding, as torchvision
//! does on Pillow images. `lab` and `ycbcr` stand at the end, before `normalize`, and `erase` stands
//! behind it, for it replaces normalised samples.
//!
//! `range` stands at the front. It says which values of a file of more than 8 bits a sample become
//! black and white before anything is cut to 8 bits: `range(0..4095)` for 12 bits in 16-bit PNG,
//! `range(-1000..400)` for Hounsfield units, `range(percentile 1..99)` by each image's own values.
//! Files of 8 bits stay as they are. All views of a loader have the same range.
//!
//! CPC v2 lets each patch keep one channel: `patches(80; stride=36) drop`.
//!
//! MAE fine-tunes with `crop(224, 0.08..1, bicubic) flip randaugment(9, 0.5) normalize(imagenet)
//! erase(p=0.25)`. What `randaugment` moves in from outside the image has the mean colour that
//! `normalize` names, or is grey if it names none in RGB.
//!
//! `6x crop(96, 0.05..0.14)` is six views of one kind ([`View::repeated`]).
//!
//! In each file the draw of the parameters and their application are separate, so that the
//! application can be compared with Pillow on the same parameters, and the draws with their
//! distribution.

mod affine;
mod blur;
mod color;
mod crop;
mod erase;
mod flip;
mod gaussian;
mod hue;
mod jitter;
mod lanes;
mod levels;
mod normalize;
mod op;
mod parse;
mod randaugment;
mod resize;
mod sharpen;
mod solarize;
mod space;
mod tensorflow;
mod text;
mod view;
mod window;

pub use affine::Affine;
pub use blur::gaussian_blur;
pub use color::{
    add_brightness, adjust_brightness, adjust_contrast, adjust_saturation, grayscale, keep_channel,
};
pub use crop::{ASPECT, CropBox, RandomResizedCrop, center_crop};
pub use erase::RandomErasing;
pub use flip::flip;
pub use gaussian::{Convolver, Taps};
pub use hue::adjust_hue;
pub use jitter::{ColorJitter, JitterParams};
pub use levels::{autocontrast, equalize, posterize};
pub use normalize::Normalize;
pub use parse::ParseViewError;
pub use randaugment::{Distortion, DistortionParams, RandAugment};
pub(crate) use resize::lanczos;
pub use resize::{Filter, MAX_PROPORTION, Resampler, Resize};
pub use sharpen::adjust_sharpness;
pub use solarize::{solarize, solarize_add};
pub use space::ColorSpace;
pub use view::{ResizedCenter, View};
pub use window::{Patches, cut, draw_window, translate};

pub(crate) use view::Scratch;
