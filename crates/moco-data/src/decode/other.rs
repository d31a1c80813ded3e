//! WebP and BMP.

use super::{BAD_DATA, CONVERT, DecodeOptions, Decoded, Format, Pixels, damaged, unsupported};
use crate::error::ImageError;
use crate::image::Image;
use image::error::ImageError as CodecError;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};
use std::io::Cursor;

pub(super) fn decode(
    bytes: &[u8],
    format: Format,
    options: &DecodeOptions,
) -> Result<Decoded, ImageError> {
    let name = format.name();
    let explain = |error: CodecError| match error {
        CodecError::IoError(_) => ImageError::Truncated,
        CodecError::Unsupported(_) => unsupported(format!("{name} image of a rare kind"), CONVERT),
        _ => damaged(name, BAD_DATA),
    };
    let codec = if format == Format::WebP { ImageFormat::WebP } else { ImageFormat::Bmp };
    if format == Format::WebP && !is_whole_riff(bytes) {
        return Err(ImageError::Truncated);
    }
    let mut decoder =
        ImageReader::with_format(Cursor::new(bytes), codec).into_decoder().map_err(explain)?;
    let (width, height) = decoder.dimensions();
    options.check_size(name, width.into(), height.into())?;
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(options.max_bytes());
    decoder.set_limits(limits).map_err(explain)?;
    // A note that cannot be read turns nothing.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let image = DynamicImage::from_decoder(decoder).map(to_rgb8).map_err(explain)?;
    Ok(Decoded { pixels: Pixels::Rgb8(image), orientation })
}

/// Whether a WebP is as long as its header says. The decoder makes up the last rows of a shorter one.
fn is_whole_riff(bytes: &[u8]) -> bool {
    let size = bytes.get(4..8).map(|size| u32::from_le_bytes([size[0], size[1], size[2], size[3]]));
    size.is_some_and(|size| bytes.len() - 8 >= size as usize)
}

/// Without alpha, whatever is beneath it.
fn to_rgb8(decoded: DynamicImage) -> Image {
    let (width, height) = (decoded.width() as usize, decoded.height() as usize);
    Image { width, height, pixels: decoded.into_rgb8().into_raw() }
}
