//! Brightness, contrast, saturation and greyscale in Pillow's arithmetic, and the colour jitter
//! made of them.

use super::hue::adjust_hue;
use crate::image::Image;
use crate::random::Random;

/// Scales the samples by `factor`; 0 gives black, 1 the image itself.
pub fn adjust_brightness(image: &mut Image, factor: f64) {
    map_samples(image, |sample| blend(0, sample, factor as f32));
}

/// Moves the samples away from the image's mean grey by `factor`; 0 gives that grey, 1 the image
/// itself.
pub fn adjust_contrast(image: &mut Image, factor: f64) {
    let mean = mean_luma(image);
    map_samples(image, |sample| blend(mean, sample, factor as f32));
}

/// Moves the samples away from their pixel's grey by `factor`; 0 gives a grey image, 1 the image
/// itself.
pub fn adjust_saturation(image: &mut Image, factor: f64) {
    for pixel in image.pixels.as_chunks_mut::<3>().0 {
        let grey = luma(*pixel);
        *pixel = pixel.map(|sample| blend(grey, sample, factor as f32));
    }
}

/// Replaces each pixel by its grey.
pub fn grayscale(image: &mut Image) {
    for pixel in image.pixels.as_chunks_mut::<3>().0 {
        *pixel = [luma(*pixel); 3];
    }
}

/// ITU-R 601 luma in 16-bit fixed point, rounded: Pillow's `convert("L")`.
fn luma([r, g, b]: [u8; 3]) -> u8 {
    let sum = u32::from(r) * 19595 + u32::from(g) * 38470 + u32::from(b) * 7471;
    ((sum + 0x8000) >> 16) as u8
}

/// Mean of the grey image, rounded to a level.
fn mean_luma(image: &Image) -> u8 {
    let pixels = image.pixels.as_chunks::<3>().0;
    let sum: u64 = pixels.iter().map(|&pixel| u64::from(luma(pixel))).sum();
    (sum as f64 / pixels.len() as f64 + 0.5) as u8
}

/// `from + factor (to - from)`, clipped to a level and rounded down: Pillow's `Image.blend`.
fn blend(from: u8, to: u8, factor: f32) -> u8 {
    // The conversion of a float to an integer clips.
    (f32::from(from) + factor * (f32::from(to) - f32::from(from))) as u8
}

/// Applies a function of one sample through a table of its 256 values.
fn map_samples(image: &mut Image, f: impl Fn(u8) -> u8) {
    let table: [u8; 256] = std::array::from_fn(|sample| f(sample as u8));
    for sample in &mut image.pixels {
        *sample = table[usize::from(*sample)];
    }
}

/// Strengths of a colour jitter, with the meaning of torchvision's `ColorJitter`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ColorJitter {
    /// The factor is uniform in `max(0, 1 - brightness) ..= 1 + brightness`.
    pub brightness: f64,
    /// The factor is uniform in `max(0, 1 - contrast) ..= 1 + contrast`.
    pub contrast: f64,
    /// The factor is uniform in `max(0, 1 - saturation) ..= 1 + saturation`.
    pub saturation: f64,
    /// The shift is uniform in `-hue ..= hue`, in turns of the colour circle; at most 0.5.
    pub hue: f64,
}

/// One drawn colour jitter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct JitterParams {
    /// Order of application: 0 brightness, 1 contrast, 2 saturation, 3 hue.
    pub order: [usize; 4],
    /// Factor of the brightness.
    pub brightness: f64,
    /// Factor of the contrast.
    pub contrast: f64,
    /// Factor of the saturation.
    pub saturation: f64,
    /// Shift of the hue, in turns.
    pub hue: f64,
}

impl ColorJitter {
    /// Draws the order and the four amounts, independently.
    pub fn draw(&self, random: &mut Random) -> JitterParams {
        let mut order = [0, 1, 2, 3];
        random.shuffle(&mut order);
        let mut factor = |strength: f64| random.uniform((1.0 - strength).max(0.0), 1.0 + strength);
        let (brightness, contrast) = (factor(self.brightness), factor(self.contrast));
        let saturation = factor(self.saturation);
        let hue = random.uniform(-self.hue, self.hue);
        JitterParams { order, brightness, contrast, saturation, hue }
    }
}

impl JitterParams {
    /// Applies the four changes in their order, rounding to levels after each.
    pub fn apply(&self, image: &mut Image) {
        for change in self.order {
            match change {
                0 => adjust_brightness(image, self.brightness),
                1 => adjust_contrast(image, self.contrast),
                2 => adjust_saturation(image, self.saturation),
                _ => adjust_hue(image, self.hue),
            }
        }
    }
}
