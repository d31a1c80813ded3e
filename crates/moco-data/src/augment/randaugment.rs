//! RandAugment: distortions of random kinds, whose strength is one number for all.
//!
//! Cubuk et al., "RandAugment: Practical Automated Data Augmentation with a Reduced Search Space",
//! NeurIPS 2020, in the reading of timm's `rand-m9-mstd0.5-inc1`, with which MAE (He et al., 2022,
//! arXiv 2111.06377, Table 9) fine-tunes: every kind gets stronger with its magnitude, the
//! magnitude is random, and each of the two distortions is left out half of the time.

use super::affine::Affine;
use super::color::{adjust_brightness, adjust_contrast, adjust_saturation};
use super::levels::{autocontrast, equalize, posterize};
use super::sharpen::adjust_sharpness;
use super::solarize::{solarize, solarize_add};
use crate::image::Image;
use crate::random::Random;
use std::mem;

/// The largest magnitude.
pub(super) const MAX_MAGNITUDE: f64 = 10.0;

/// How strong the distortions of a RandAugment are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RandAugment {
    /// Mean of the magnitude, in 0..=10.
    pub magnitude: f64,
    /// Standard deviation of the magnitude, which is normal and clipped to 0..=10.
    pub std: f64,
}

/// A kind of distortion; `m` is a tenth of the magnitude, `±m` has a random sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distortion {
    /// [`autocontrast`].
    AutoContrast,
    /// [`equalize`].
    Equalize,
    /// Each sample is subtracted from 255.
    Invert,
    /// A turn by `±30 m` degrees about the middle.
    Rotate,
    /// [`posterize`] to `4 - 4 m` bits, rounded up. None are left of the magnitude 10, and the image
    /// is black, as in timm on a Pillow before 13, which refuses that.
    Posterize,
    /// [`solarize`] from the level `256 - 256 m` on, rounded up.
    Solarize,
    /// [`solarize_add`] of `110 m` levels, rounded down.
    SolarizeAdd,
    /// [`adjust_saturation`] by the factor `1 ± 0.9 m`.
    Color,
    /// [`adjust_contrast`] by the factor `1 ± 0.9 m`.
    Contrast,
    /// [`adjust_brightness`] by the factor `1 ± 0.9 m`.
    Brightness,
    /// [`adjust_sharpness`] by the factor `1 ± 0.9 m`.
    Sharpness,
    /// Each row moves left by `±0.3 m` of its distance from the top.
    ShearX,
    /// Each column moves up by `±0.3 m` of its distance from the left.
    ShearY,
    /// A move to the left by `±0.45 m` of the width.
    TranslateX,
    /// A move up by `±0.45 m` of the height.
    TranslateY,
}

/// One drawn distortion.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DistortionParams {
    /// What is done.
    pub kind: Distortion,
    /// How strongly, in 0..=10.
    pub magnitude: f64,
    /// The sign, of the kinds that have one.
    pub negative: bool,
}

impl RandAugment {
    /// Draws two distortions to be applied one after the other, independently: each is there with
    /// probability 1/2, and of any kind with equal probability.
    pub fn draw(&self, random: &mut Random) -> [Option<DistortionParams>; 2] {
        [(); 2].map(|()| {
            let kind = Distortion::ALL[random.below(Distortion::ALL.len())];
            let magnitude = self.magnitude + self.std * random.normal();
            let magnitude = magnitude.clamp(0.0, MAX_MAGNITUDE);
            let params = DistortionParams { kind, magnitude, negative: random.chance(0.5) };
            random.chance(0.5).then_some(params)
        })
    }
}

impl Distortion {
    /// Every kind.
    pub const ALL: [Distortion; 15] = [
        Distortion::AutoContrast,
        Distortion::Equalize,
        Distortion::Invert,
        Distortion::Rotate,
        Distortion::Posterize,
        Distortion::Solarize,
        Distortion::SolarizeAdd,
        Distortion::Color,
        Distortion::Contrast,
        Distortion::Brightness,
        Distortion::Sharpness,
        Distortion::ShearX,
        Distortion::ShearY,
        Distortion::TranslateX,
        Distortion::TranslateY,
    ];
}

impl DistortionParams {
    /// Applies the distortion. What comes in from outside the image is of the colour `fill`; `spare`
    /// is working memory.
    pub fn apply(&self, image: &mut Image, fill: [u8; 3], spare: &mut Image) {
        let m = self.magnitude / MAX_MAGNITUDE;
        let signed = if self.negative { -m } else { m };
        let factor = (1.0 + 0.9 * signed).max(0.1);
        let (width, height) = (image.width as f64, image.height as f64);
        let affine = match self.kind {
            Distortion::AutoContrast => return autocontrast(image),
            Distortion::Equalize => return equalize(image),
            Distortion::Invert => return solarize(image, 0),
            Distortion::Posterize => return posterize(image, 4 - (4.0 * m) as u32),
            Distortion::Solarize => {
                // From the level 256 on, which no sample has, nothing is inverted.
                let threshold = u8::try_from(256 - (256.0 * m) as u32);
                return threshold.map_or((), |threshold| solarize(image, threshold));
            }
            Distortion::SolarizeAdd => return solarize_add(image, (110.0 * m) as u8),
            Distortion::Color => return adjust_saturation(image, factor),
            Distortion::Contrast => return adjust_contrast(image, factor),
            Distortion::Brightness => return adjust_brightness(image, factor),
            Distortion::Sharpness => {
                adjust_sharpness(image, factor, spare);
                return mem::swap(image, spare);
            }
            Distortion::Rotate => Affine::rotation(30.0 * signed, [image.height, image.width]),
            Distortion::ShearX => Affine([1.0, 0.3 * signed, 0.0, 0.0, 1.0, 0.0]),
            Distortion::ShearY => Affine([1.0, 0.0, 0.0, 0.3 * signed, 1.0, 0.0]),
            Distortion::TranslateX => Affine([1.0, 0.0, 0.45 * signed * width, 0.0, 1.0, 0.0]),
            Distortion::TranslateY => Affine([1.0, 0.0, 0.0, 0.0, 1.0, 0.45 * signed * height]),
        };
        affine.apply(image, fill, spare);
        mem::swap(image, spare);
    }
}
