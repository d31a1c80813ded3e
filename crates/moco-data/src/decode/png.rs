//! PNG.
//!
//! As in Pillow, the pixels' own checksums decide: that of a chunk is checked only where the rest
//! rests on it (header and palette), an ancillary chunk is passed over, and the end chunk may be
//! missing. A bit that flipped within the pixels is found by the checksum inside their stream.

use super::samples::{Samples, Values};
use super::{BAD_DATA, BAD_HEADER, DecodeOptions, Decoded, Pixels, damaged, orientation_of};
use crate::error::ImageError;
use crate::image::Image;
use flate2::Crc;
use image::metadata::Orientation;
use png::{BitDepth, Decoder, DecodingError, Limits, Transformations};
use std::borrow::Cow;
use std::io::Cursor;

const NAME: &str = "PNG";

/// The chunk that ends a file.
const END: &[u8] = b"\0\0\0\0IEND\xae\x42\x60\x82";

pub(super) fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<Decoded, ImageError> {
    let bytes = with_end(bytes)?;
    let mut settings = png::DecodeOptions::default();
    settings.set_ignore_crc(true);
    settings.set_ignore_adler32(false);
    settings.set_ignore_text_chunk(true);
    settings.set_ignore_iccp_chunk(true);
    let mut decoder = Decoder::new_with_options(Cursor::new(bytes.as_ref()), settings);
    let max_bytes = usize::try_from(options.max_bytes()).unwrap_or(usize::MAX);
    decoder.set_limits(Limits { bytes: max_bytes });
    // Palettes become colours and 1, 2 and 4 bits 8.
    decoder.set_transformations(Transformations::EXPAND);
    let header = decoder.read_header_info().map_err(|error| explain(error, BAD_HEADER))?;
    options.check_size(NAME, header.width.into(), header.height.into())?;
    let mut reader = decoder.read_info().map_err(|error| explain(error, BAD_HEADER))?;

    let size = reader.output_buffer_size().ok_or_else(|| damaged(NAME, BAD_HEADER))?;
    let mut data = vec![0; size];
    let info = reader.next_frame(&mut data).map_err(|error| explain(error, BAD_DATA))?;
    let exif = reader.info().exif_metadata.as_deref();
    let orientation = exif.map_or(Orientation::NoTransforms, orientation_of);
    let (width, height) = (info.width as usize, info.height as usize);
    let channels = info.color_type.samples();
    let pixels = match info.bit_depth {
        BitDepth::Sixteen => {
            let values = data.as_chunks::<2>().0.iter().map(|&pair| u16::from_be_bytes(pair));
            let values = Values::U16(values.collect());
            Pixels::Deep(Samples { width, height, channels, values, white: 65535.0 })
        }
        _ => Pixels::Rgb8(Image { width, height, pixels: to_rgb(data, channels) }),
    };
    Ok(Decoded { pixels, orientation })
}

/// Grey replicated, alpha dropped.
pub(super) fn to_rgb(data: Vec<u8>, channels: usize) -> Vec<u8> {
    match channels {
        3 => data,
        1 => data.iter().flat_map(|&level| [level; 3]).collect(),
        2 => data.chunks_exact(2).flat_map(|pixel| [pixel[0]; 3]).collect(),
        _ => data.chunks_exact(channels).flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect(),
    }
}

fn explain(error: DecodingError, otherwise: &str) -> ImageError {
    match error {
        DecodingError::IoError(_) => ImageError::Truncated,
        _ => damaged(NAME, otherwise),
    }
}

/// The file, with an end where it lacks one behind whole pixels.
///
/// # Errors
/// If the header or the palette is not what its checksum says.
fn with_end(bytes: &[u8]) -> Result<Cow<'_, [u8]>, ImageError> {
    let mut rest = &bytes[8..];
    let mut seen_data = false;
    while let Some((kind, body, after)) = chunk(rest) {
        let checked = matches!(kind, b"IHDR" | b"PLTE");
        if checked && !checksum_holds(rest, body.len()) {
            return Err(damaged(NAME, "the checksum of its header is wrong"));
        }
        if kind == b"IEND" {
            return Ok(Cow::Borrowed(bytes));
        }
        seen_data |= kind == b"IDAT";
        rest = after;
    }
    // What is left is less than a chunk.
    let whole = &bytes[..bytes.len() - rest.len()];
    match seen_data {
        true if !is_pixels(rest) => Ok(Cow::Owned([whole, END].concat())),
        _ => Ok(Cow::Borrowed(bytes)),
    }
}

/// Kind and body of the first chunk, and what follows it.
fn chunk(bytes: &[u8]) -> Option<(&[u8; 4], &[u8], &[u8])> {
    let size = u32::from_be_bytes(*bytes.first_chunk()?) as usize;
    let kind = bytes.get(4..8)?.try_into().ok()?;
    Some((kind, bytes.get(8..8 + size)?, bytes.get(12 + size..)?))
}

/// Whether a chunk that is cut off is one of pixels.
fn is_pixels(bytes: &[u8]) -> bool {
    bytes.get(4..8) == Some(b"IDAT")
}

fn checksum_holds(chunk: &[u8], size: usize) -> bool {
    let mut crc = Crc::new();
    crc.update(&chunk[4..8 + size]);
    chunk[8 + size..].first_chunk().is_some_and(|sum| u32::from_be_bytes(*sum) == crc.sum())
}
