//! Bytes of a file to RGB8, as Pillow's `Image.open(...).convert("RGB")` has it.
//!
//! The format is told from the bytes, not from the name. Grey is replicated, alpha is dropped, of
//! an animation the first frame counts. What has more than 8 bits a sample becomes 8 bits as
//! [`Samples`] says: by the range that the options name, else the high byte of 16 bits is kept
//! (Pillow does so for colour, but clips grey at 255, which whitens the image). No bytes panic: a
//! decoder's panic is a damaged image.

mod format;
mod gif;
mod jpeg;
mod other;
mod png;
mod pnm;
mod range;
mod samples;
mod tiff;

use crate::caught::caught;
use crate::error::ImageError;
use crate::image::Image;
use image::metadata::Orientation;
use image::{DynamicImage, RgbImage};

pub(crate) use format::Format;
pub use range::ValueRange;
pub(crate) use samples::Depth;
use samples::Samples;

/// How files are decoded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DecodeOptions {
    /// Whether a photo is turned upright as its EXIF data says. Phones store photos as their
    /// sensor lies and leave it to the viewer to turn them, so that without this, part of such a
    /// data set lies on its side. torchvision's loader does not turn them; switch it off to see
    /// exactly what it sees.
    pub orient: bool,
    /// Largest number of pixels that is decoded. A larger image is an error before memory is taken
    /// for it: a file of some hundred bytes can claim gigabytes of pixels.
    pub max_pixels: u64,
    /// The values that become black and white in an image of more than 8 bits a sample; none for
    /// the whole range of their type.
    pub range: Option<ValueRange>,
}

impl Default for DecodeOptions {
    /// Upright, and Pillow's limit, above which it refuses an image as a decompression bomb.
    fn default() -> DecodeOptions {
        DecodeOptions { orient: true, max_pixels: 178_956_970, range: None }
    }
}

impl DecodeOptions {
    fn check_size(&self, format: &'static str, width: u64, height: u64) -> Result<(), ImageError> {
        if width == 0 || height == 0 {
            return Err(damaged(format, "it has no pixels"));
        }
        if width.saturating_mul(height) <= self.max_pixels {
            return Ok(());
        }
        let side = |side: u64| u32::try_from(side).unwrap_or(u32::MAX);
        let limit_mpx = self.max_pixels / 1_000_000;
        Err(ImageError::TooLarge { width: side(width), height: side(height), limit_mpx })
    }

    /// What a decoder may allocate: the image in 16-bit RGBA.
    fn max_bytes(&self) -> u64 {
        self.max_pixels.saturating_mul(8)
    }
}

/// An image as its file holds it, not yet turned upright.
struct Decoded {
    pixels: Pixels,
    orientation: Orientation,
}

/// Pixels of 8 bits a sample, or more.
enum Pixels {
    Rgb8(Image),
    Deep(Samples),
}

impl Decoded {
    /// Pixels that lie as they are meant to be seen.
    fn upright(pixels: Pixels) -> Decoded {
        Decoded { pixels, orientation: Orientation::NoTransforms }
    }
}

/// Decodes a whole file.
pub(crate) fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<Image, ImageError> {
    decode_file(bytes, options).map(|decoded| finish(decoded, options))
}

/// As [`decode`], and what values there are of more than 8 bits.
pub(crate) fn decode_with_depth(
    bytes: &[u8],
    options: &DecodeOptions,
) -> Result<(Image, Option<Depth>), ImageError> {
    let decoded = decode_file(bytes, options)?;
    let depth = match &decoded.pixels {
        Pixels::Rgb8(_) => None,
        Pixels::Deep(samples) => Some(samples.depth()),
    };
    Ok((finish(decoded, options), depth))
}

fn decode_file(bytes: &[u8], options: &DecodeOptions) -> Result<Decoded, ImageError> {
    if bytes.is_empty() {
        return Err(ImageError::Empty);
    }
    let format = Format::of(bytes).ok_or(ImageError::UnknownFormat)?;
    let decode = || match format {
        Format::Jpeg => jpeg::decode(bytes, options),
        Format::Png => png::decode(bytes, options),
        Format::Gif => gif::decode(bytes, options),
        Format::Tiff => tiff::decode(bytes, options),
        Format::Pnm => pnm::decode(bytes, options),
        Format::WebP | Format::Bmp => other::decode(bytes, format, options),
        Format::Unread { name, mend } => Err(unsupported(format!("{name} image"), mend)),
    };
    let gave_up = |_| Err(damaged(format.name(), "it cannot be made sense of"));
    caught(decode).unwrap_or_else(gave_up)
}

/// Pixels of 8 bits, upright.
fn finish(decoded: Decoded, options: &DecodeOptions) -> Image {
    let image = match decoded.pixels {
        Pixels::Rgb8(image) => image,
        Pixels::Deep(samples) => samples.to_image(options.range),
    };
    if options.orient { oriented(image, decoded.orientation) } else { image }
}

/// An error of this format, in words of our own: a library's would name what no user knows.
fn damaged(format: &'static str, reason: &str) -> ImageError {
    ImageError::Damaged { format, reason: reason.into() }
}

/// What is wrong with data that a decoder cannot make sense of.
const BAD_HEADER: &str = "its header does not follow the format";
const BAD_DATA: &str = "its compressed data does not follow the format";

fn unsupported(what: impl Into<String>, mend: impl Into<String>) -> ImageError {
    ImageError::Unsupported { what: what.into(), mend: mend.into() }
}

/// The mend for a rare kind of a format that is read otherwise.
const CONVERT: &str = "convert it to PNG, e.g. with ImageMagick's `magick FILE out.png`";

/// The image turned and mirrored upright.
fn oriented(image: Image, orientation: Orientation) -> Image {
    if orientation == Orientation::NoTransforms {
        return image;
    }
    let (width, height) = (image.width as u32, image.height as u32);
    let buffer = RgbImage::from_raw(width, height, image.pixels).expect("pixels of that size");
    let mut turned = DynamicImage::ImageRgb8(buffer);
    turned.apply_orientation(orientation);
    let (width, height) = (turned.width() as usize, turned.height() as usize);
    Image { width, height, pixels: turned.into_rgb8().into_raw() }
}

/// A pixel of CMYK, in which 0 is no ink, as Pillow makes it RGB.
fn cmyk_to_rgb([c, m, y, k]: [u8; 4]) -> [u8; 3] {
    let light = 255 - u32::from(k);
    // Pillow's product of two shares of 255, rounded.
    let product = |ink: u8| {
        let product = u32::from(ink) * light + 128;
        ((product >> 8) + product) >> 8
    };
    [c, m, y].map(|ink| (light - product(ink)) as u8)
}

/// How an EXIF block says that the image lies. A note that cannot be read turns nothing.
fn orientation_of(exif: &[u8]) -> Orientation {
    Orientation::from_exif_chunk(exif).unwrap_or(Orientation::NoTransforms)
}
