//! JPEG, the format whose speed matters.
//!
//! zune-jpeg, in Rust alone, decodes; with the feature `turbojpeg`, libjpeg-turbo does, whose
//! pixels are Pillow's and which needs CMake and NASM to build. Neither is asked for a reduced
//! scale: a random crop of an ordinary photo is seldom twice as large as the view, and at other
//! scales than 1/2 and less libjpeg-turbo is slower than at full size
//! (`results/data-decoders.md`).

use super::reader::Reader;
use super::{DecodeOptions, damaged};
use crate::error::ImageError;
use crate::image::Image;
use image::metadata::Orientation;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;

const NAME: &str = "JPEG";

/// The marker after the last pixel.
const END: [u8; 2] = [0xff, 0xd9];

/// Decodes a file that starts like a JPEG. Grey becomes RGB, and so does CMYK, which Adobe's
/// programs store inverted.
pub(super) fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<Image, ImageError> {
    if !bytes.ends_with(&END) && !is_whole(bytes) {
        return Err(ImageError::Truncated);
    }
    let lenient = DecoderOptions::default()
        .set_strict_mode(false)
        .set_max_width(usize::MAX)
        .set_max_height(usize::MAX)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(Reader::new(bytes), lenient);
    decoder.decode_headers().map_err(explain)?;
    let (width, height) = decoder.dimensions().unwrap_or_default();
    options.check_size(NAME, width as u64, height as u64)?;
    let orientation = decoder.exif().and_then(|chunk| Orientation::from_exif_chunk(chunk));

    let mut image = Image::default();
    image.reshape(width, height);
    if !turbo_decode(bytes, decoder.input_colorspace(), &mut image) {
        decoder.decode_into(&mut image.pixels).map_err(explain)?;
    }
    match orientation {
        Some(orientation) if options.orient => Ok(super::oriented(image, orientation)),
        _ => Ok(image),
    }
}

fn explain(error: DecodeErrors) -> ImageError {
    match error {
        DecodeErrors::ExhaustedData | DecodeErrors::IoErrors(_) => ImageError::Truncated,
        other => damaged(NAME, other),
    }
}

/// Decodes with libjpeg-turbo. Not done if it refuses, be it for a warning, or does not know the
/// colours; then zune-jpeg has the last word.
#[cfg(feature = "turbojpeg")]
fn turbo_decode(bytes: &[u8], space: Option<ColorSpace>, image: &mut Image) -> bool {
    use turbojpeg::{Decompressor, PixelFormat};
    if !matches!(space, Some(ColorSpace::YCbCr | ColorSpace::Luma | ColorSpace::RGB)) {
        return false;
    }
    let (width, height) = (image.width, image.height);
    let pixels = image.pixels.as_mut_slice();
    let format = PixelFormat::RGB;
    let output = turbojpeg::Image { pixels, width, pitch: width * 3, height, format };
    Decompressor::new().and_then(|mut decompressor| decompressor.decompress(bytes, output)).is_ok()
}

#[cfg(not(feature = "turbojpeg"))]
fn turbo_decode(_: &[u8], _: Option<ColorSpace>, _: &mut Image) -> bool {
    false
}

/// Whether the end marker is there. The decoder fills what is missing with grey and reports
/// success, which would train on half-grey photos.
fn is_whole(bytes: &[u8]) -> bool {
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
