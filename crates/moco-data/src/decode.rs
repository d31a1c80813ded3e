//! Bytes of a file to RGB8, as Pillow's `Image.open(...).convert("RGB")` has it.
//!
//! The format is told from the bytes, not from the name. Grey is replicated, alpha is dropped, of
//! 16-bit samples the high byte is kept (Pillow does so for colour, but clips grey at 255, which
//! whitens the image). No bytes panic: a decoder's panic is a damaged image.

use crate::error::ImageError;
use crate::image::Image;
use image::error::ImageError as CodecError;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};
use std::io::Cursor;
use std::panic;

/// Largest number of pixels that is decoded; Pillow refuses larger images as decompression bombs.
const MAX_PIXELS: u64 = 178_956_970;

/// Largest memory of one decoding: 16-bit RGBA at [`MAX_PIXELS`].
const MAX_BYTES: u64 = MAX_PIXELS * 8;

/// The marker after a JPEG's last pixel.
const JPEG_END: [u8; 2] = [0xff, 0xd9];

/// Decodes a whole file.
pub(crate) fn decode(bytes: &[u8]) -> Result<Image, ImageError> {
    if bytes.is_empty() {
        return Err(ImageError::Empty);
    }
    let format = image::guess_format(bytes).map_err(|_| ImageError::UnknownFormat)?;
    let name = format_name(format).ok_or(ImageError::UnknownFormat)?;
    let ends_well = bytes.ends_with(&JPEG_END);
    if format == ImageFormat::Jpeg && !ends_well && !jpeg_is_whole(bytes) {
        return Err(ImageError::Truncated);
    }
    panic::catch_unwind(|| decode_as(bytes, format, name)).unwrap_or_else(|_| {
        Err(ImageError::Damaged { format: name, reason: "the decoder gave up".into() })
    })
}

fn format_name(format: ImageFormat) -> Option<&'static str> {
    match format {
        ImageFormat::Jpeg => Some("JPEG"),
        ImageFormat::Png => Some("PNG"),
        ImageFormat::WebP => Some("WebP"),
        ImageFormat::Bmp => Some("BMP"),
        _ => None,
    }
}

fn decode_as(bytes: &[u8], format: ImageFormat, name: &'static str) -> Result<Image, ImageError> {
    let explain = |error: CodecError| match error {
        CodecError::IoError(_) => ImageError::Truncated,
        other => ImageError::Damaged { format: name, reason: other.to_string() },
    };
    let mut decoder =
        ImageReader::with_format(Cursor::new(bytes), format).into_decoder().map_err(explain)?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(ImageError::TooLarge { width, height, limit_mpx: MAX_PIXELS / 1_000_000 });
    }
    if width == 0 || height == 0 {
        return Err(ImageError::Damaged { format: name, reason: "it has no pixels".into() });
    }
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_BYTES);
    decoder.set_limits(limits).map_err(explain)?;
    DynamicImage::from_decoder(decoder).map(to_rgb8).map_err(explain)
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

/// Whether a JPEG's end marker is there. The decoder fills what is missing with grey and reports
/// success, which would train on half-grey photos.
fn jpeg_is_whole(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some(start) = rest.iter().position(|&byte| byte == 0xff) {
        let marker = rest.get(start + 1).copied();
        let length = match marker {
            Some(0xd9) => return true,
            // A fill byte: the marker may start at the next 0xff.
            Some(0xff) => 1,
            // Stuffed data byte, restarts, start of image: no parameters.
            Some(0x00 | 0x01 | 0xd0..=0xd8) => 2,
            // A segment, skipped whole: an embedded thumbnail has an end marker of its own.
            Some(_) => match rest.get(start + 2..start + 4) {
                Some(size) => 2 + usize::from(u16::from_be_bytes([size[0], size[1]])),
                None => return false,
            },
            None => return false,
        };
        rest = rest.get(start + length..).unwrap_or_default();
    }
    false
}
