//! Random erasing: noise in the place of a rectangle.
//!
//! Zhong et al., "Random Erasing Data Augmentation", AAAI 2020, arXiv 1708.04896, in timm's mode
//! `pixel`, with which MAE (He et al., 2022, arXiv 2111.06377, Table 9) fine-tunes.

use super::crop::CropBox;
use crate::random::Random;

/// The rectangle's share of the image's area.
const AREA: [f64; 2] = [0.02, 1.0 / 3.0];

/// The rectangle's ratio of width to height.
const ASPECT: [f64; 2] = [0.3, 1.0 / 0.3];

/// Replaces a random rectangle of the normalised image by standard normal noise, independent in
/// each channel of each pixel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RandomErasing {
    /// The probability that there is a rectangle, in 0..=1.
    pub p: f64,
}

impl RandomErasing {
    /// Draws whether there is a rectangle, and which: its area a share of the image's, uniform in
    /// 0.02..=1/3; the logarithm of its ratio of width to height uniform between those of 0.3 and
    /// 1/0.3; its place uniform. One that is not smaller than the image along both sides is drawn
    /// again; after ten, there is none.
    pub fn draw(&self, random: &mut Random, [height, width]: [usize; 2]) -> Option<CropBox> {
        if !random.chance(self.p) {
            return None;
        }
        let largest = [height.saturating_sub(1), width.saturating_sub(1)];
        CropBox::draw_fitting(random, [height, width], largest, AREA, ASPECT)
    }

    /// Draws a rectangle in an image of `[height, width]`, and calls `set` with each of its pixels
    /// and what the pixel becomes.
    pub(super) fn apply(
        &self,
        random: &mut Random,
        size: [usize; 2],
        mut set: impl FnMut([usize; 2], [f32; 3]),
    ) {
        let Some(CropBox { top, left, height, width }) = self.draw(random, size) else { return };
        for y in top..top + height {
            for x in left..left + width {
                set([y, x], [(); 3].map(|()| random.normal() as f32));
            }
        }
    }
}
