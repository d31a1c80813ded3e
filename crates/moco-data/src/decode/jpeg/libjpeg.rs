//! JPEG by libjpeg, in the form of mozjpeg: every layout that Pillow reads, to Pillow's very
//! pixels.

use super::NAME;
use super::header::Header;
use super::markers::scans;
use crate::caught::caught;
use crate::decode::{BAD_DATA, cmyk_to_rgb, damaged};
use crate::error::ImageError;
use crate::image::Image;
use mozjpeg::{ColorSpace, Decompress};
use std::io;

/// Scans that a file may have. Each walks over the whole image, so that a small file of many would
/// take hours.
const MAX_SCANS: usize = 100;

/// Decodes; the header has been found supported and of sensible size.
pub(super) fn decode(bytes: &[u8], header: &Header) -> Result<Image, ImageError> {
    if scans(bytes) > MAX_SCANS {
        return Err(damaged(NAME, "it has more than 100 scans"));
    }
    // An error of libjpeg unwinds.
    let decode = || match header.components.len() {
        1 => decode_as(bytes, ColorSpace::JCS_GRAYSCALE),
        3 => decode_as(bytes, ColorSpace::JCS_RGB),
        _ => decode_as(bytes, ColorSpace::JCS_CMYK),
    };
    let outcome = caught(decode).ok().and_then(Result::ok);
    let (width, height, data) = outcome.ok_or_else(|| damaged(NAME, BAD_DATA))?;
    let pixels = match header.components.len() {
        1 => data.iter().flat_map(|&level| [level; 3]).collect(),
        3 => data,
        // Adobe's programs store CMYK inverted, and Pillow takes all to be so.
        _ => data.as_chunks::<4>().0.iter().flat_map(|p| cmyk_to_rgb(p.map(|c| 255 - c))).collect(),
    };
    match pixels.len() == width * height * 3 {
        true => Ok(Image { width, height, pixels }),
        false => Err(damaged(NAME, BAD_DATA)),
    }
}

fn decode_as(bytes: &[u8], space: ColorSpace) -> io::Result<(usize, usize, Vec<u8>)> {
    let mut started = Decompress::new_mem(bytes)?.to_colorspace(space)?;
    let data = started.read_scanlines::<u8>()?;
    let (width, height) = (started.width(), started.height());
    // Reads on to the end of the image, as Pillow does: a marker that is none is told only then.
    started.finish()?;
    Ok((width, height, data))
}
