//! From 8-bit levels to the numbers that a network sees.

use super::lanes::vectorized;
use super::parse::{Call, ParseViewError};
use super::space::ColorSpace;
use crate::image::Image;
use std::fmt;

/// `(sample - mean) / std`, per channel. A sample of RGB is `level / 255`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Normalize {
    /// Leaves the samples as they are.
    #[default]
    None,
    /// Mean (.485, .456, .406), standard deviation (.229, .224, .225).
    ImageNet,
    /// Mean (.4914, .4822, .4465), standard deviation (.2023, .1994, .2010), as in MoCo's CIFAR
    /// demo, InstDisc and InvaSpread.
    Cifar10,
    /// Mean (.4914, .4822, .4465), standard deviation (.2470, .2435, .2616): that of all pixels,
    /// as in solo-learn.
    Cifar10Pixels,
    /// Mean (.5071, .4865, .4409), standard deviation (.2673, .2564, .2762).
    Cifar100,
    /// Mean .1307, standard deviation .3081 in each channel.
    Mnist,
    /// Mean .2860, standard deviation .3530 in each channel.
    FashionMnist,
    /// Mean .5, standard deviation .5 in each channel: samples in -1..=1.
    Half,
    /// Midpoint and half range of each channel of L*a*b*, as in CMC.
    Lab,
    /// Midpoint and half range of each channel of YCbCr, as in CMC.
    YCbCr,
    /// Any other statistics.
    Custom {
        /// Mean of each channel.
        mean: [f32; 3],
        /// Standard deviation of each channel, above 0.
        std: [f32; 3],
    },
}

/// Names in a view's text, with mean and standard deviation.
const NAMED: [(&str, Normalize, [f32; 3], [f32; 3]); 10] = [
    ("none", Normalize::None, [0.0; 3], [1.0; 3]),
    ("imagenet", Normalize::ImageNet, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ("cifar10", Normalize::Cifar10, [0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010]),
    (
        "cifar10-pixels",
        Normalize::Cifar10Pixels,
        [0.4914, 0.4822, 0.4465],
        [0.2470, 0.2435, 0.2616],
    ),
    ("cifar100", Normalize::Cifar100, [0.5071, 0.4865, 0.4409], [0.2673, 0.2564, 0.2762]),
    ("mnist", Normalize::Mnist, [0.1307; 3], [0.3081; 3]),
    ("fashion-mnist", Normalize::FashionMnist, [0.2860; 3], [0.3530; 3]),
    ("half", Normalize::Half, [0.5; 3], [0.5; 3]),
    ("lab", Normalize::Lab, [50.0, 6.025, -6.6895], [50.0, 92.208, 101.1675]),
    ("ycbcr", Normalize::YCbCr, [116.151, 121.080, 132.342], [109.5, 111.855, 111.964]),
];

/// What `normalize` may be given, for error messages.
const NAMES: &str = "imagenet, cifar10, cifar10-pixels, cifar100, mnist, fashion-mnist, half, lab, \
                     ycbcr or none";

impl Normalize {
    /// Mean and standard deviation of each channel.
    pub fn statistics(&self) -> ([f32; 3], [f32; 3]) {
        match (*self, self.named()) {
            (Normalize::Custom { mean, std }, _) => (mean, std),
            (_, named) => {
                let &(_, _, mean, std) = named.expect("every other kind has a name");
                (mean, std)
            }
        }
    }

    /// The colour space that the statistics are of, if it is certain.
    pub(super) fn space(&self) -> Option<ColorSpace> {
        match self {
            Normalize::None | Normalize::Custom { .. } => None,
            Normalize::Lab => Some(ColorSpace::Lab),
            Normalize::YCbCr => Some(ColorSpace::YCbCr),
            _ => Some(ColorSpace::Rgb),
        }
    }

    fn named(&self) -> Option<&'static (&'static str, Normalize, [f32; 3], [f32; 3])> {
        NAMED.iter().find(|(_, known, ..)| known == self)
    }

    /// Reads the operation from a view's text.
    pub(super) fn read(mut call: Call) -> Result<Normalize, ParseViewError> {
        let find = |text: &str| NAMED.iter().find(|(name, ..)| *name == text);
        let named = call.next(NAMES, |text| find(text).map(|&(_, known, ..)| known))?;
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
}

impl fmt::Display for Normalize {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.named() {
            Some((name, ..)) => write!(f, "normalize({name})"),
            None => {
                let ([mr, mg, mb], [sr, sg, sb]) = self.statistics();
                write!(f, "normalize(mean={mr},{mg},{mb} std={sr},{sg},{sb})")
            }
        }
    }
}

/// Samples that are worked on together: whole pixels and whole vectors.
const GROUP: usize = 48;

/// Writes an image's pixels, `[H, W, 3]`, as `(level / 255 - mean) / std` in single precision.
pub(super) fn write(image: &Image, mean: [f32; 3], std: [f32; 3], out: &mut [f32]) {
    let mean: [f32; GROUP] = std::array::from_fn(|i| mean[i % 3]);
    // The quotient of two singles is no closer than 2^-49 of itself to where rounding to single
    // precision turns, so that a product in double precision rounds to the same as a division.
    let scale: [f64; GROUP] = std::array::from_fn(|i| 1.0 / f64::from(std[i % 3]));
    vectorized(
        #[inline(always)]
        || {
            let (groups, rest) = image.pixels.as_chunks::<GROUP>();
            let (outs, rest_out) = out.as_chunks_mut::<GROUP>();
            for (from, to) in groups.iter().zip(outs) {
                for i in 0..GROUP {
                    to[i] = normalized(from[i], mean[i], scale[i]);
                }
            }
            for (i, (&from, to)) in rest.iter().zip(rest_out).enumerate() {
                *to = normalized(from, mean[i], scale[i]);
            }
        },
    );
}

#[inline(always)]
fn normalized(level: u8, mean: f32, scale: f64) -> f32 {
    let sample = (f64::from(level) * (1.0 / 255.0)) as f32;
    (f64::from(sample - mean) * scale) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_is_as_divided_in_single_precision() {
        let levels: Vec<u8> = (0..=255).flat_map(|level| [level; 3]).collect();
        let image = Image::new(256, 1, levels);
        let mut out = vec![0.0; 768];
        let odd = Normalize::Custom { mean: [0.1, -3.7, 1e-6], std: [1e-5, 77.7, 0.3] };
        for normalize in NAMED.map(|(_, normalize, ..)| normalize).into_iter().chain([odd]) {
            let (mean, std) = normalize.statistics();
            write(&image, mean, std, &mut out);
            for (i, value) in out.iter().enumerate() {
                let (level, c) = ((i / 3) as f32, i % 3);
                assert_eq!(*value, (level / 255.0 - mean[c]) / std[c], "{normalize} {level}");
            }
        }
    }
}
