//! JPEG, the format whose speed matters.
//!
//! zune-jpeg, in Rust alone, decodes the ordinary layouts: grey, and YCbCr with whole or halved
//! chroma, baseline in one scan or progressive. It is within 4 levels of Pillow's pixels, and
//! within 10 in the last column and row where chroma is halved: there it goes on with chroma from
//! beyond the edge where libjpeg repeats the last one. libjpeg decodes all other layouts, to
//! Pillow's very pixels; zune-jpeg takes some of them for what they are not, with success. It also
//! decodes what zune-jpeg refuses and what has a marker out of place: of a damaged photo zune-jpeg
//! makes one that is half grey, and libjpeg says, as in Pillow, that it is damaged. With the feature
//! `turbojpeg`, libjpeg decodes everything, by its assembly, which needs NASM to build.
//!
//! Neither is asked for a reduced scale: a random crop of an ordinary photo is seldom twice as
//! large as the view, and at other scales than 1/2 and less libjpeg-turbo is slower than at full
//! size (`results/data-decoders.md`).

mod header;
mod libjpeg;
mod markers;
mod reader;

use super::{BAD_DATA, DecodeOptions, Decoded, Pixels, damaged};
use crate::error::ImageError;
use crate::image::Image;
use header::{Coding, Header};
use markers::Order;
use reader::Reader;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

const NAME: &str = "JPEG";

/// The marker after the last pixel.
const END: [u8; 2] = [0xff, 0xd9];

/// Decodes a file that starts like a JPEG. Grey becomes RGB, and so does CMYK, which Adobe's
/// programs store inverted.
pub(super) fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<Decoded, ImageError> {
    let order = Order::of(bytes);
    if order == Order::CutOff {
        // The end may be there, and a damaged byte before it have made it a part of something else.
        let is_damaged = bytes.ends_with(&END);
        return Err(if is_damaged { damaged(NAME, BAD_DATA) } else { ImageError::Truncated });
    }
    let header = Header::read(bytes)?;
    header.check_supported()?;
    options.check_size(NAME, header.width.into(), header.height.into())?;
    let is_quick = order == Order::Usual && is_ordinary(&header) && !cfg!(feature = "turbojpeg");
    let image = match is_quick.then(|| decode_ordinary(bytes, &header)).flatten() {
        Some(image) => image,
        None => libjpeg::decode(bytes, &header)?,
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

/// Nothing if zune-jpeg does not make an image of the size that the header says.
fn decode_ordinary(bytes: &[u8], header: &Header) -> Option<Image> {
    let lenient = DecoderOptions::default()
        .set_strict_mode(false)
        .set_max_width(usize::MAX)
        .set_max_height(usize::MAX)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(Reader::new(bytes), lenient);
    decoder.decode_headers().ok()?;
    let (width, height) = (usize::from(header.width), usize::from(header.height));
    if decoder.dimensions() != Some((width, height)) {
        return None;
    }
    let mut image = Image::default();
    image.reshape(width, height);
    decoder.decode_into(&mut image.pixels).ok()?;
    Some(image)
}
