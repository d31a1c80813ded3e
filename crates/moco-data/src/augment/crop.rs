//! Random-resized-crop and centre crop.

use super::resize::{Filter, Resampler};
use crate::image::Image;
use crate::random::Random;

/// Aspect ratios (width / height) of random crops, torchvision's default and every recipe's.
pub const ASPECT: [f64; 2] = [3.0 / 4.0, 4.0 / 3.0];

/// A rectangle of pixels within an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CropBox {
    /// First row.
    pub top: usize,
    /// First column.
    pub left: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl CropBox {
    /// The whole image.
    pub fn whole(image: &Image) -> CropBox {
        CropBox { top: 0, left: 0, height: image.height, width: image.width }
    }

    /// Draws a box as torchvision's `RandomResizedCrop`: its area a share of the image's, uniform
    /// in `area`; the logarithm of its aspect ratio uniform; its place uniform. A box that does
    /// not fit is drawn again; after ten, the largest central box of an allowed aspect ratio.
    pub fn draw(
        random: &mut Random,
        height: usize,
        width: usize,
        area: [f64; 2],
        aspect: [f64; 2],
    ) -> CropBox {
        let image = [height, width];
        CropBox::draw_fitting(random, image, image, area, aspect)
            .unwrap_or_else(|| CropBox::central(height, width, aspect))
    }

    /// As [`draw`](Self::draw), of boxes that are no larger than `[height, width]`; none if ten do
    /// not fit.
    pub(super) fn draw_fitting(
        random: &mut Random,
        [height, width]: [usize; 2],
        largest: [usize; 2],
        area: [f64; 2],
        aspect: [f64; 2],
    ) -> Option<CropBox> {
        let pixels = (height * width) as f64;
        for _ in 0..10 {
            let target = pixels * random.uniform(area[0], area[1]);
            let ratio = random.uniform(aspect[0].ln(), aspect[1].ln()).exp();
            let w = (target * ratio).sqrt().round_ties_even() as usize;
            let h = (target / ratio).sqrt().round_ties_even() as usize;
            if (1..=largest[1]).contains(&w) && (1..=largest[0]).contains(&h) {
                let top = random.below(height - h + 1);
                let left = random.below(width - w + 1);
                return Some(CropBox { top, left, height: h, width: w });
            }
        }
        None
    }

    /// The largest central box whose aspect ratio is allowed.
    fn central(height: usize, width: usize, [narrow, wide]: [f64; 2]) -> CropBox {
        let ratio = width as f64 / height as f64;
        let (h, w) = if ratio < narrow {
            ((width as f64 / narrow).round_ties_even() as usize, width)
        } else if ratio > wide {
            (height, (height as f64 * wide).round_ties_even() as usize)
        } else {
            (height, width)
        };
        // A strip has a part at least one pixel long.
        let (h, w) = (h.max(1), w.max(1));
        CropBox { top: (height - h) / 2, left: (width - w) / 2, height: h, width: w }
    }
}

/// A random part of the image, resized to a fixed size (torchvision's `RandomResizedCrop`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RandomResizedCrop {
    /// `[height, width]` of the result.
    pub size: [usize; 2],
    /// Smallest and largest share of the image's area, in 0..=1.
    pub area: [f64; 2],
    /// Smallest and largest ratio of the crop's width to its height.
    pub aspect: [f64; 2],
    /// How the crop is resampled.
    pub filter: Filter,
}

impl RandomResizedCrop {
    /// Draws a box and resamples it into `out`.
    pub(super) fn apply(
        &self,
        image: &Image,
        random: &mut Random,
        resampler: &mut Resampler,
        out: &mut Image,
    ) {
        let crop = CropBox::draw(random, image.height, image.width, self.area, self.aspect);
        resampler.resample(image, crop, self.size, self.filter, out);
    }
}

/// The central `[height, width]` pixels, as torchvision's `CenterCrop`: where the image is
/// smaller, black is put around it.
pub fn center_crop(image: &Image, size: [usize; 2], out: &mut Image) {
    let [height, width] = size;
    out.reshape(width, height);
    let (rows, top) = overlap(image.height, height);
    let (columns, left) = overlap(image.width, width);
    if rows < height || columns < width {
        out.pixels.fill(0);
    }
    let (from_top, to_top) = top;
    let (from_left, to_left) = left;
    for row in 0..rows {
        let from = ((from_top + row) * image.width + from_left) * 3;
        let to = ((to_top + row) * width + to_left) * 3;
        out.pixels[to..to + columns * 3].copy_from_slice(&image.pixels[from..from + columns * 3]);
    }
}

/// Along one axis: how many pixels image and crop share, and where these begin in (image, crop).
fn overlap(image: usize, crop: usize) -> (usize, (usize, usize)) {
    if crop > image {
        (image, (0, (crop - image) / 2))
    } else {
        (crop, (((image - crop) as f64 / 2.0).round_ties_even() as usize, 0))
    }
}
