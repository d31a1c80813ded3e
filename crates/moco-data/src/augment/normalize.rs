//! From 8-bit levels to the numbers that a network sees.

use super::parse::{Call, ParseViewError};
use crate::image::Image;
use std::fmt;

/// `(level / 255 - mean) / std`, per channel.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Normalize {
    /// Leaves the samples in 0..=1.
    #[default]
    None,
    /// Mean (.485, .456, .406), standard deviation (.229, .224, .225).
    ImageNet,
    /// Mean (.4914, .4822, .4465), standard deviation (.2023, .1994, .2010), as in MoCo's CIFAR
    /// demo, InstDisc and InvaSpread.
    Cifar10,
    /// Any other statistics.
    Custom {
        /// Mean of R, G, B, in 0..=1.
        mean: [f32; 3],
        /// Standard deviation of R, G, B, above 0.
        std: [f32; 3],
    },
}

impl Normalize {
    /// Mean and standard deviation of R, G, B.
    pub fn statistics(&self) -> ([f32; 3], [f32; 3]) {
        match *self {
            Normalize::None => ([0.0; 3], [1.0; 3]),
            Normalize::ImageNet => ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
            Normalize::Cifar10 => ([0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010]),
            Normalize::Custom { mean, std } => (mean, std),
        }
    }

    /// Reads the operation from a view's text.
    pub(super) fn read(mut call: Call) -> Result<Normalize, ParseViewError> {
        let named = call.next("imagenet, cifar10 or none", |text| match text {
            "imagenet" => Some(Normalize::ImageNet),
            "cifar10" => Some(Normalize::Cifar10),
            "none" => Some(Normalize::None),
            _ => None,
        })?;
        let normalize = named.map_or_else(|| Normalize::read_custom(&mut call), Ok)?;
        call.finish()?;
        Ok(normalize)
    }

    fn read_custom(call: &mut Call) -> Result<Normalize, ParseViewError> {
        let means = "three means, as in mean=0.5,0.5,0.5";
        let stds = "three standard deviations above 0, as in std=0.2,0.2,0.2";
        let finite = |text: &str| text.parse::<f32>().ok().filter(|value| value.is_finite());
        let positive = |text: &str| finite(text).filter(|&value| value > 0.0);
        let mean = call.option("mean", means, finite)?.ok_or_else(|| call.missing(means))?;
        let std = call.option("std", stds, positive)?.ok_or_else(|| call.missing(stds))?;
        Ok(Normalize::Custom { mean, std })
    }

    /// The value of every level, per channel.
    pub(super) fn table(&self) -> [[f32; 3]; 256] {
        let (mean, std) = self.statistics();
        std::array::from_fn(|level| {
            std::array::from_fn(|c| (level as f32 / 255.0 - mean[c]) / std[c])
        })
    }
}

impl fmt::Display for Normalize {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Normalize::None => f.write_str("normalize(none)"),
            Normalize::ImageNet => f.write_str("normalize(imagenet)"),
            Normalize::Cifar10 => f.write_str("normalize(cifar10)"),
            Normalize::Custom { mean: [mr, mg, mb], std: [sr, sg, sb] } => {
                write!(f, "normalize(mean={mr},{mg},{mb} std={sr},{sg},{sb})")
            }
        }
    }
}

/// Writes an image's pixels, `[H, W, 3]`, through a table.
pub(super) fn write(image: &Image, table: &[[f32; 3]; 256], out: &mut [f32]) {
    let pixels = image.pixels.as_chunks::<3>().0;
    for (to, from) in out.as_chunks_mut::<3>().0.iter_mut().zip(pixels) {
        *to = std::array::from_fn(|c| table[usize::from(from[c])][c]);
    }
}
