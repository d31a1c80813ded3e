//! Affine transformations with Pillow's bicubic interpolation.

use super::lanes::vectorized;
use crate::image::Image;

/// Says where a pixel of the result is in the source: the place `(x, y)`, in pixels from the top
/// left corner, comes from `(a x + b y + c, d x + e y + f)` for `[a, b, c, d, e, f]`. The centre of
/// the first pixel is at (0.5, 0.5).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine(pub [f64; 6]);

impl Affine {
    /// Turns an image of `[height, width]` counter-clockwise about its middle.
    pub fn rotation(degrees: f64, [height, width]: [usize; 2]) -> Affine {
        let (sin, cos) = degrees.to_radians().sin_cos();
        let (x, y) = (width as f64 / 2.0, height as f64 / 2.0);
        Affine([cos, -sin, sin * y - cos * x + x, sin, cos, -sin * x - cos * y + y])
    }

    /// Transforms an image into one of the same size, with Pillow's `BICUBIC`: a cubic with a = -1
    /// (that of a resize has -0.5) over the 4x4 nearest pixels, the edge repeated, rounded down to
    /// a level. What comes from outside the image becomes `fill`.
    pub fn apply(&self, image: &Image, fill: [u8; 3], out: &mut Image) {
        out.reshape(image.width, image.height);
        vectorized(
            #[inline(always)]
            || self.transform(image, fill, out),
        );
    }

    #[inline(always)]
    fn transform(&self, image: &Image, fill: [u8; 3], out: &mut Image) {
        let Affine([a, b, c, d, e, f]) = *self;
        let (width, height) = (image.width as f64, image.height as f64);
        for (i, pixel) in out.pixels.as_chunks_mut::<3>().0.iter_mut().enumerate() {
            let x = (i % image.width) as f64 + 0.5;
            let y = (i / image.width) as f64 + 0.5;
            let (x, y) = (a * x + b * y + c, d * x + e * y + f);
            let inside = (0.0..width).contains(&x) && (0.0..height).contains(&y);
            *pixel = if inside { interpolate(image, x, y) } else { fill };
        }
    }
}

/// The colour at a place within the image.
#[inline(always)]
fn interpolate(image: &Image, x: f64, y: f64) -> [u8; 3] {
    let (left, past_left) = split(x - 0.5);
    let (top, past_top) = split(y - 0.5);
    let mix = cubic(past_top, |down| {
        let row = clamped(top + down, image.height) * image.width;
        cubic(past_left, |right| color(image, row + clamped(left + right, image.width)))
    });
    // Conversions of floats round towards zero and saturate.
    mix.map(|value| value as u8)
}

/// The whole number below, and what is left.
#[inline(always)]
fn split(value: f64) -> (isize, f64) {
    let whole = value.floor();
    (whole as isize, value - whole)
}

#[inline(always)]
fn clamped(place: isize, length: usize) -> usize {
    place.clamp(0, length as isize - 1) as usize
}

#[inline(always)]
fn color(image: &Image, pixel: usize) -> [f64; 3] {
    [0, 1, 2].map(|channel| f64::from(image.pixels[3 * pixel + channel]))
}

/// The cubic through `at(0)` and `at(1)`, at `t` of the way between them; its slopes there are the
/// differences of their neighbours. In Horner's form, which keeps equal values equal to the last
/// bit.
#[inline(always)]
fn cubic(t: f64, at: impl Fn(isize) -> [f64; 3]) -> [f64; 3] {
    if t == 0.0 {
        // The same for a quarter of the work, in every pixel that moves along one axis only.
        return at(0);
    }
    let [before, from, to, behind] = [at(-1), at(0), at(1), at(2)];
    [0, 1, 2].map(|c| {
        let slope = to[c] - before[c];
        let square = 2.0 * (before[c] - from[c]) + to[c] - behind[c];
        let cube = from[c] - before[c] - to[c] + behind[c];
        from[c] + t * (slope + t * (square + t * cube))
    })
}
