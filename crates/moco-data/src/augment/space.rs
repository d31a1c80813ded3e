//! Colour spaces other than RGB, for methods whose views are channels of one image (CMC; Tian et
//! al., "Contrastive Multiview Coding", ECCV 2020).

use crate::image::Image;
use std::sync::LazyLock;

/// What the three channels of a view mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ColorSpace {
    /// Red, green and blue, in 0..=1.
    #[default]
    Rgb,
    /// CIE 1976 L*a*b* under the illuminant D65 for the 2 degree observer, from sRGB: L in 0..=100,
    /// a in -86.2..=98.3, b in -107.9..=94.5 (skimage's `rgb2lab`).
    Lab,
    /// ITU-R BT.601 in studio range: Y in 16..=235, Cb and Cr in 16..=240 (skimage's
    /// `rgb2ycbcr`).
    YCbCr,
}

impl ColorSpace {
    /// The name that it has in a view's text.
    pub(super) fn name(self) -> &'static str {
        match self {
            ColorSpace::Rgb => "rgb",
            ColorSpace::Lab => "lab",
            ColorSpace::YCbCr => "ycbcr",
        }
    }

    /// The channels of a pixel in this space.
    #[inline(always)]
    fn convert(self, [r, g, b]: [u8; 3]) -> [f32; 3] {
        match self {
            ColorSpace::Rgb => [r, g, b].map(|level| f32::from(level) / 255.0),
            ColorSpace::Lab => lab([r, g, b].map(|level| LINEAR[usize::from(level)])),
            ColorSpace::YCbCr => ycbcr([r, g, b].map(|level| f32::from(level) / 255.0)),
        }
    }

    /// Writes an image's pixels, `[H, W, 3]`, as `(channel - mean) / std`.
    pub(super) fn write(self, image: &Image, mean: [f32; 3], std: [f32; 3], out: &mut [f32]) {
        let pixels = image.pixels.as_chunks::<3>().0;
        for (to, &from) in out.as_chunks_mut::<3>().0.iter_mut().zip(pixels) {
            let channels = self.convert(from);
            *to = std::array::from_fn(|c| (channels[c] - mean[c]) / std[c]);
        }
    }
}

/// The light that each level of sRGB stands for, in 0..=1 (IEC 61966-2-1).
static LINEAR: LazyLock<[f32; 256]> = LazyLock::new(|| {
    std::array::from_fn(|level| {
        let value = level as f64 / 255.0;
        let light =
            if value > 0.04045 { ((value + 0.055) / 1.055).powf(2.4) } else { value / 12.92 };
        light as f32
    })
});

/// From linear sRGB, through CIE XYZ in units of the white point.
fn lab([r, g, b]: [f32; 3]) -> [f32; 3] {
    const WHITE: [f32; 3] = [0.950_47, 1.0, 1.088_83];
    let x = (0.412_453 * r + 0.357_580 * g + 0.180_423 * b) / WHITE[0];
    let y = (0.212_671 * r + 0.715_160 * g + 0.072_169 * b) / WHITE[1];
    let z = (0.019_334 * r + 0.119_193 * g + 0.950_227 * b) / WHITE[2];
    // The cube root, continued by a line where it is too steep.
    let root = |t: f32| if t > 0.008_856 { t.cbrt() } else { 7.787 * t + 16.0 / 116.0 };
    let [x, y, z] = [x, y, z].map(root);
    [116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)]
}

fn ycbcr([r, g, b]: [f32; 3]) -> [f32; 3] {
    [
        16.0 + 65.481 * r + 128.553 * g + 24.966 * b,
        128.0 - 37.797 * r - 74.203 * g + 112.0 * b,
        128.0 + 112.0 * r - 93.786 * g - 18.214 * b,
    ]
}
