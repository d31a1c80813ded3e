//! JPEG, the format whose speed matters.
//!
//! zune-jpeg, in Rust alone, decodes the ordinary layouts: grey, and YCbCr with whole or halved
//! chroma, baseline in one scan or progressive. It is within 4 levels of Pillow's pixels, and
//! within 10 in the last column and row where chroma is halved: there it goes on with chroma from
//! beyond the edge where libjpeg repeats the last one. libjpeg decodes all other layouts, to
//! Pillow's very pixels; zune-jpeg takes some of them for what they are not, with success. With the
//! feature `turbojpeg`, libjpeg decodes everything, by its assembly, which needs NASM to build.
//!
//! Neither is asked for a reduced scale: a random crop of an ordinary photo is seldom twice as
//! large as the view, and at other scales than 1/2 and less libjpeg-turbo is slower than at full
//! size (`results/data-decoders.md`).

mod header;
mod libjpeg;
mod reader;

use super::{BAD_DATA, DecodeOptions, Decoded, Pixels, damaged};
use crate::error::ImageError;
use crate::image::Image;
use header::{Coding, Header};
use reader::Reader;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;

const NAME: &str = "JPEG";

/// The marker after the last pixel.
const END: [u8; 2] = [0xff, 0xd9];

/// Decodes a file that starts like a JPEG. Grey becomes RGB, and so does CMYK, which Adobe's
/// programs store inverted.
pub(super) fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<Decoded, ImageError> {
    if !bytes.ends_with(&END) && !is_whole(bytes) {
        return Err(ImageError::Truncated);
    }
    let header = Header::read(bytes)?;
    header.check_supported()?;
    options.check_size(NAME, header.width.into(), header.height.into())?;
    let image = match is_ordinary(&header) && !cfg!(feature = "turbojpeg") {
        true => decode_ordinary(bytes, &header)?,
        false => libjpeg::decode(bytes, &header)?,
    };
    Ok(Decoded { pixels: Pixels::Rgb8(image), orientation: header.orientation })
}

/// Whether zune-jpeg is known to be right: by `golden/jpeg.py`, over all layouts.
fn is_ordinary(header: &Header) -> bool {
    let coding = match header.coding {
        Coding::Baseline => header.has_tables && header.in_first_scan == header.components.len(),
        Coding::Progressive => true,
        _ => false,
    };
    let samplings: Vec<_> = header.components.iter().map(|c| (c.horizontal, c.vertical)).collect();
    let may_be_rgb = header.adobe == Some(0) || header.components.iter().map(|c| c.id).eq(*b"RGB");
    coding
        && match samplings[..] {
            [_] => true,
            [(1, 1) | (2, 1) | (2, 2), (1, 1), (1, 1)] => !may_be_rgb,
            _ => false,
        }
}

fn decode_ordinary(bytes: &[u8], header: &Header) -> Result<Image, ImageError> {
    let lenient = DecoderOptions::default()
        .set_strict_mode(false)
        .set_max_width(usize::MAX)
        .set_max_height(usize::MAX)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(Reader::new(bytes), lenient);
    decoder.decode_headers().map_err(explain)?;
    let (width, height) = (usize::from(header.width), usize::from(header.height));
    if decoder.dimensions() != Some((width, height)) {
        return libjpeg::decode(bytes, header);
    }
    let mut image = Image::default();
    image.reshape(width, height);
    decoder.decode_into(&mut image.pixels).map_err(explain)?;
    Ok(image)
}

fn explain(error: DecodeErrors) -> ImageError {
    match error {
        DecodeErrors::ExhaustedData | DecodeErrors::IoErrors(_) => ImageError::Truncated,
        _ => damaged(NAME, BAD_DATA),
    }
}

/// Whether the end marker is there. The decoders fill what is missing with grey and report
/// success, which would train on half-grey photos.
fn is_whole(bytes: &[u8]) -> bool {
    Markers(bytes).any(|marker| marker == 0xd9)
}

/// How many scans there are.
fn scans(bytes: &[u8]) -> usize {
    Markers(bytes).take_while(|&marker| marker != 0xd9).filter(|&marker| marker == 0xda).count()
}

/// The markers of a file, one after the other, but for those within segments: an embedded thumbnail
/// has markers of its own.
struct Markers<'a>(&'a [u8]);

impl Iterator for Markers<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        loop {
            let start = self.0.iter().position(|&byte| byte == 0xff)?;
            let rest = &self.0[start..];
            let (found, length) = match *rest.get(1)? {
                // A fill byte: the marker may start at the next 0xff.
                0xff => (None, 1),
                // Stuffed data byte.
                0x00 => (None, 2),
                // Restarts, start and end of image: no parameters.
                marker @ (0x01 | 0xd0..=0xd9) => (Some(marker), 2),
                marker => {
                    let size = rest.get(2..4)?;
                    (Some(marker), 2 + usize::from(u16::from_be_bytes([size[0], size[1]])))
                }
            };
            self.0 = rest.get(length..).unwrap_or_default();
            if found.is_some() {
                return found;
            }
        }
    }
}
