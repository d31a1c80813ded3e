//! Bytes of a file to RGB8, as Pillow's `Image.open(...).convert("RGB")` has it.
//!
//! The format is told from the bytes, not from the name. Grey is replicated, alpha is dropped, of
//! 16-bit samples the high byte is kept (Pillow does so for colour, but clips grey at 255, which
//! whitens the image). Of an animation, the first frame counts; TIFF with a palette is not
//! read. No bytes panic: a decoder's panic
//! is a damaged image.

mod jpeg;
mod reader;

use crate::error::ImageError;
use crate::image::Image;
use image::error::ImageError as CodecError;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};
use std::io::Cursor;
use std::panic;

/// How files are decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeOptions {
    /// Whether a photo is turned upright as its EXIF data says. Phones store photos as their
    /// sensor lies and leave it to the viewer to turn them, so that without this, part of such a
    /// data set lies on its side. torchvision's loader does not turn them; switch it off to see
    /// exactly what it sees.
    pub orient: bool,
    /// Largest number of pixels that is decoded. A larger image is an error before memory is taken
    /// for it: a file of some hundred bytes can claim gigabytes of pixels.
    pub max_pixels: u64,
}

impl Default for DecodeOptions {
    /// Upright, and Pillow's limit, above which it refuses an image as a decompression bomb.
    fn default() -> DecodeOptions {
        DecodeOptions { orient: true, max_pixels: 178_956_970 }
    }
}

impl DecodeOptions {
    fn check_size(&self, format: &'static str, width: u64, height: u64) -> Result<(), ImageError> {
        if width == 0 || height == 0 {
            return Err(ImageError::Damaged { format, reason: "it has no pixels".into() });
        }
        if width * height <= self.max_pixels {
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

/// Decodes a whole file.
pub(crate) fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<Image, ImageError> {
    if bytes.is_empty() {
        return Err(ImageError::Empty);
    }
    let format = image::guess_format(bytes).map_err(|_| ImageError::UnknownFormat)?;
    let name = format_name(format).ok_or(ImageError::UnknownFormat)?;
    let decode = || match format {
        ImageFormat::Jpeg => jpeg::decode(bytes, options),
        _ => decode_as(bytes, format, name, options),
    };
    panic::catch_unwind(decode).unwrap_or_else(|_| Err(damaged(name, "the decoder gave up")))
}

fn format_name(format: ImageFormat) -> Option<&'static str> {
    match format {
        ImageFormat::Jpeg => Some("JPEG"),
        ImageFormat::Png => Some("PNG"),
        ImageFormat::WebP => Some("WebP"),
        ImageFormat::Bmp => Some("BMP"),
        ImageFormat::Gif => Some("GIF"),
        ImageFormat::Tiff => Some("TIFF"),
        _ => None,
    }
}

fn damaged(format: &'static str, reason: impl ToString) -> ImageError {
    ImageError::Damaged { format, reason: reason.to_string() }
}

fn decode_as(
    bytes: &[u8],
    format: ImageFormat,
    name: &'static str,
    options: &DecodeOptions,
) -> Result<Image, ImageError> {
    let explain = |error: CodecError| match error {
        CodecError::IoError(_) => ImageError::Truncated,
        other => damaged(name, other),
    };
    let mut decoder =
        ImageReader::with_format(Cursor::new(bytes), format).into_decoder().map_err(explain)?;
    let (width, height) = decoder.dimensions();
    options.check_size(name, width.into(), height.into())?;
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(options.max_bytes());
    decoder.set_limits(limits).map_err(explain)?;
    // A note that cannot be read turns nothing.
    let orientation = match options.orient {
        true => decoder.orientation().unwrap_or(Orientation::NoTransforms),
        false => Orientation::NoTransforms,
    };
    let image = DynamicImage::from_decoder(decoder).map(to_rgb8).map_err(explain)?;
    Ok(oriented(image, orientation))
}

/// The image turned and mirrored upright.
fn oriented(image: Image, orientation: Orientation) -> Image {
    if orientation == Orientation::NoTransforms {
        return image;
    }
    let (width, height) = (image.width as u32, image.height as u32);
    let buffer = RgbImage::from_raw(width, height, image.pixels).expect("pixels of that size");
    let mut turned = DynamicImage::ImageRgb8(buffer);
    turned.apply_orientation(orientation);
    to_rgb8(turned)
}

/// Pillow's conversions to RGB.
fn to_rgb8(decoded: DynamicImage) -> Image {
    let (width, height) = (decoded.width() as usize, decoded.height() as usize);
    let high = |sample: u16| (sample >> 8) as u8;
    let pixels = match decoded {
        DynamicImage::ImageRgb8(image) => image.into_raw(),
        DynamicImage::ImageLuma8(image) => image.iter().flat_map(|&l| [l; 3]).collect(),
        DynamicImage::ImageLumaA8(image) => image.pixels().flat_map(|p| [p[0]; 3]).collect(),
        DynamicImage::ImageRgba8(image) => {
            image.pixels().flat_map(|p| [p[0], p[1], p[2]]).collect()
        }
        DynamicImage::ImageLuma16(image) => image.iter().flat_map(|&l| [high(l); 3]).collect(),
        DynamicImage::ImageLumaA16(image) => image.pixels().flat_map(|p| [high(p[0]); 3]).collect(),
        DynamicImage::ImageRgb16(image) => image.iter().map(|&s| high(s)).collect(),
        DynamicImage::ImageRgba16(image) => {
            image.pixels().flat_map(|p| [high(p[0]), high(p[1]), high(p[2])]).collect()
        }
        other => other.into_rgb8().into_raw(),
    };
    Image { width, height, pixels }
}
