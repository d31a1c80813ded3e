//! Colour jitter: brightness, contrast, saturation and hue by random amounts, in random or fixed
//! order.

use super::color::{add, luma_sum, mean_level, saturate, scale, stretch};
use super::hue::turn;
use super::lanes::{Block, change_blocks, read_blocks, vectorized};
use super::tensorflow;
use crate::image::Image;
use crate::random::Random;

/// Strengths of a colour jitter, with the meaning of torchvision's `ColorJitter`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ColorJitter {
    /// The factor is uniform in `max(0, 1 - brightness) ..= 1 + brightness`; if it is added, the
    /// amount is uniform in `-brightness ..= brightness`.
    pub brightness: f64,
    /// The factor is uniform in `max(0, 1 - contrast) ..= 1 + contrast`.
    pub contrast: f64,
    /// The factor is uniform in `max(0, 1 - saturation) ..= 1 + saturation`.
    pub saturation: f64,
    /// The shift is uniform in `-hue ..= hue`, in turns of the colour circle; at most 0.5.
    pub hue: f64,
    /// Whether brightness is added to the samples, as in BYOL and SimCLR v1, and no factor.
    pub additive: bool,
    /// Whether the order is always brightness, contrast, saturation, hue, and not random.
    pub fixed_order: bool,
    /// Whether the arithmetic is TensorFlow's, as in SimCLR and BYOL, and not Pillow's: contrast
    /// about the mean of each channel, saturation and hue in HSV, one rounding at the end.
    pub tensorflow: bool,
}

/// One drawn colour jitter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct JitterParams {
    /// Order of application: 0 brightness, 1 contrast, 2 saturation, 3 hue.
    pub order: [usize; 4],
    /// Factor of the brightness, or what is added to it, in units of the full range.
    pub brightness: f64,
    /// Factor of the contrast.
    pub contrast: f64,
    /// Factor of the saturation.
    pub saturation: f64,
    /// Shift of the hue, in turns.
    pub hue: f64,
    /// Whether brightness is added.
    pub additive: bool,
    /// Whether the arithmetic is TensorFlow's.
    pub tensorflow: bool,
}

/// The number of contrast in an order.
const CONTRAST: usize = 1;

impl ColorJitter {
    /// Draws the order and the four amounts, independently.
    pub fn draw(&self, random: &mut Random) -> JitterParams {
        let mut order = [0, 1, 2, 3];
        if !self.fixed_order {
            random.shuffle(&mut order);
        }
        let factor = |strength: f64, random: &mut Random| {
            random.uniform((1.0 - strength).max(0.0), 1.0 + strength)
        };
        let brightness = match self.additive {
            true => random.uniform(-self.brightness, self.brightness),
            false => factor(self.brightness, random),
        };
        let contrast = factor(self.contrast, random);
        let saturation = factor(self.saturation, random);
        let hue = random.uniform(-self.hue, self.hue);
        let Self { additive, tensorflow, .. } = *self;
        JitterParams { order, brightness, contrast, saturation, hue, additive, tensorflow }
    }
}

impl JitterParams {
    /// Applies the four changes in their order, rounding to levels after each; with TensorFlow's
    /// arithmetic, after all of them.
    ///
    /// Contrast needs the mean of the image as it is at its turn, so there are two passes over the
    /// pixels: up to it, and from it on.
    pub fn apply(&self, image: &mut Image) {
        if self.tensorflow {
            return tensorflow::jitter(self, image);
        }
        let pixels = image.pixels.len() / 3;
        let turn = self.order.iter().position(|&change| change == CONTRAST).unwrap_or(4);
        let (before, after) = self.order.split_at(turn);
        vectorized(
            #[inline(always)]
            || {
                let sum = self.luma_sum_after(image, before);
                self.change_all(image, after, mean_level(sum, pixels));
            },
        );
    }

    /// Applies changes of which none is of contrast, and sums the grey levels that result.
    #[inline(always)]
    fn luma_sum_after(&self, image: &mut Image, changes: &[usize]) -> u64 {
        let mut sum = 0;
        if changes.is_empty() {
            read_blocks(
                &image.pixels,
                #[inline(always)]
                |block, n| sum += luma_sum(block, n),
            );
        } else {
            change_blocks(
                &mut image.pixels,
                #[inline(always)]
                |block, n| {
                    self.change(block, changes, 0);
                    sum += luma_sum(block, n);
                },
            );
        }
        sum
    }

    #[inline(always)]
    fn change_all(&self, image: &mut Image, changes: &[usize], mean: u8) {
        change_blocks(
            &mut image.pixels,
            #[inline(always)]
            |block, _| self.change(block, changes, mean),
        );
    }

    #[inline(always)]
    fn change(&self, block: &mut Block, changes: &[usize], mean: u8) {
        for change in changes {
            match change {
                0 if self.additive => add(block, self.brightness),
                0 => scale(block, self.brightness as f32),
                1 => stretch(block, mean, self.contrast as f32),
                2 => saturate(block, self.saturation as f32),
                _ => turn(block, self.hue),
            }
        }
    }
}
