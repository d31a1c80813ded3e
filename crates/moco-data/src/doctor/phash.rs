//! A perceptual hash: equal or nearly so for images that look alike.
//!
//! The signs of the 8 x 8 lowest frequencies of a 32 x 32 grey thumbnail against their median
//! (Zauner 2010, "Implementation and Benchmarking of Perceptual Image Hash Functions", Sec. 3.2.1),
//! in the order of Python's `imagehash.phash`: row by row, the first in the highest bit.

use crate::image::Image;
use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use std::f64::consts::PI;

const SIDE: usize = 32;
const LOW: usize = 8;

/// Below this standard deviation, in grey levels, a thumbnail shows nothing that could be compared.
const FLAT: f64 = 2.0;

/// Computes hashes; keeps its tables and memory.
pub(super) struct Hasher {
    resizer: Resizer,
    options: ResizeOptions,
    /// `cosines[k][n]` is cos(pi k (2 n + 1) / 64).
    cosines: [[f64; SIDE]; LOW],
    grey: Vec<u8>,
}

impl Hasher {
    pub(super) fn new() -> Hasher {
        let cosine = |k: usize, n: usize| (PI * (k * (2 * n + 1)) as f64 / (2 * SIDE) as f64).cos();
        Hasher {
            resizer: Resizer::new(),
            options: ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Lanczos3)),
            cosines: std::array::from_fn(|k| std::array::from_fn(|n| cosine(k, n))),
            grey: Vec::new(),
        }
    }

    /// The hash of an image; none if it is flat, or larger than can be resized.
    pub(super) fn hash(&mut self, image: &Image) -> Option<u64> {
        let thumbnail = self.thumbnail(image)?;
        let mean = thumbnail.iter().map(|&g| f64::from(g)).sum::<f64>() / thumbnail.len() as f64;
        let square = |&g: &u8| (f64::from(g) - mean).powi(2);
        let variance = thumbnail.iter().map(square).sum::<f64>() / thumbnail.len() as f64;
        (variance > FLAT * FLAT).then(|| self.signs(&thumbnail))
    }

    /// 32 x 32, grey as Pillow's `convert("L")` has it.
    fn thumbnail(&mut self, image: &Image) -> Option<Vec<u8>> {
        let grey = |p: &[u8]| {
            let [r, g, b] = [p[0], p[1], p[2]].map(u32::from);
            ((r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16) as u8
        };
        self.grey.clear();
        self.grey.extend(image.pixels.chunks_exact(3).map(grey));
        let (width, height) = (u32::try_from(image.width).ok()?, u32::try_from(image.height).ok()?);
        let source: TypedImageRef<U8> =
            TypedImageRef::from_buffer(width, height, &self.grey).ok()?;
        let mut thumbnail = vec![0; SIDE * SIDE];
        let (side, buffer) = (SIDE as u32, &mut thumbnail);
        let mut small: TypedImage<U8> = TypedImage::from_buffer(side, side, buffer).ok()?;
        self.resizer.resize_typed(&source, &mut small, &self.options).ok()?;
        Some(thumbnail)
    }

    fn signs(&self, thumbnail: &[u8]) -> u64 {
        // The transform down the columns, then along the rows, of the low frequencies alone.
        let down: [[f64; SIDE]; LOW] = std::array::from_fn(|k| {
            std::array::from_fn(|x| {
                let value = |y: usize| self.cosines[k][y] * f64::from(thumbnail[y * SIDE + x]);
                (0..SIDE).map(value).sum()
            })
        });
        let mut low = [0.0; LOW * LOW];
        for (i, value) in low.iter_mut().enumerate() {
            let (row, k) = (&down[i / LOW], &self.cosines[i % LOW]);
            *value = row.iter().zip(k).map(|(v, c)| v * c).sum();
        }
        let mut sorted = low;
        sorted.sort_by(f64::total_cmp);
        let median = (sorted[LOW * LOW / 2 - 1] + sorted[LOW * LOW / 2]) / 2.0;
        low.iter().fold(0, |hash, &value| hash << 1 | u64::from(value > median))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::SafeTensors;
    use std::fs;
    use std::path::Path;

    /// Against `golden/sources/make_sources.py`. The thumbnails may differ by a grey level, which
    /// turns a bit whose coefficient lies at the median.
    #[test]
    fn hashes_are_those_of_imagehash() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/sources");
        let bytes = fs::read(root.join("expected.safetensors")).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let mut hasher = Hasher::new();
        let distances: Vec<u32> = (0..18)
            .map(|i| {
                let tensor = tensors.tensor(&format!("phash.{i:02}.image")).unwrap();
                let image =
                    Image::new(tensor.shape()[1], tensor.shape()[0], tensor.data().to_vec());
                let expected = tensors.tensor(&format!("phash.{i:02}.hash")).unwrap();
                let expected = u64::from_be_bytes(expected.data().try_into().unwrap());
                (hasher.hash(&image).unwrap() ^ expected).count_ones()
            })
            .collect();
        let equal = distances.iter().filter(|&&distance| distance == 0).count();
        assert!(equal >= 12 && distances.iter().all(|&d| d <= 2), "{distances:?}");
    }

    #[test]
    fn flat_images_have_no_hash() {
        assert_eq!(Hasher::new().hash(&Image::filled(50, 40, [90, 140, 20])), None);
    }
}
