//! TIFF, classic and big.

mod color;
mod directory;

use super::samples::{Samples, Values};
use super::{BAD_DATA, BAD_HEADER, CONVERT, DecodeOptions, Decoded, Pixels, damaged, unsupported};
use crate::error::ImageError;
use crate::image::Image;
use color::{Model, to_rgb};
use directory::Directory;
use image::metadata::Orientation;
use std::io::{Cursor, ErrorKind};
use tiff::decoder::{BufferLayoutPreference, Decoder, DecodingResult, Limits};
use tiff::tags::{CompressionMethod, Tag};
use tiff::{ColorType, TiffError, TiffFormatError, TiffUnsupportedError};

const NAME: &str = "TIFF";

/// Memory for one entry of a directory, such as the offsets of a million tiles.
const MAX_ENTRY: usize = 16 << 20;

/// Decodes the first image.
pub(super) fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<Decoded, ImageError> {
    let directory = Directory::of(bytes).ok_or(ImageError::Truncated)?;
    if directory.is_raw() {
        let mend = "develop it to JPEG or TIFF, e.g. with `dcraw` or darktable";
        return Err(unsupported("camera raw image", mend));
    }
    let bytes = directory.with_palette_as_grey();
    let length = bytes.len() as u64;
    let mut limits = Limits::default();
    let max_bytes = usize::try_from(options.max_bytes()).unwrap_or(usize::MAX);
    (limits.decoding_buffer_size, limits.intermediate_buffer_size) = (max_bytes, max_bytes);
    limits.ifd_value_size = MAX_ENTRY;
    let mut decoder = Decoder::new(Cursor::new(bytes)).map_err(explain)?.with_limits(limits);
    let (width, height) = decoder.dimensions().map_err(explain)?;
    options.check_size(NAME, width.into(), height.into())?;
    let (model, bits) = model(&mut decoder, directory.has_palette())?;
    if !is_whole(&mut decoder, length) {
        return Err(ImageError::Truncated);
    }

    let mut data = DecodingResult::U8(Vec::new());
    let layout = decoder.read_image_to_buffer(&mut data).map_err(explain)?;
    if data.as_buffer(0).byte_len() < layout.complete_len {
        return Err(damaged(NAME, BAD_HEADER));
    }
    // A note that cannot be read turns nothing.
    let turned = decoder.find_tag_unsigned::<u8>(Tag::Orientation).ok().flatten();
    let orientation = turned.and_then(Orientation::from_exif);
    let orientation = orientation.unwrap_or(Orientation::NoTransforms);
    let raster = Raster { width: width as usize, height: height as usize, model, bits, layout };
    Ok(Decoded { pixels: raster.pixels(data)?, orientation })
}

/// Whether the compressed strips or tiles lie within the file: the library decodes as much of a JPEG as
/// there is. How long pixels are that are not compressed follows from their number.
fn is_whole(decoder: &mut Decoder<Cursor<impl AsRef<[u8]>>>, length: u64) -> bool {
    let compression = decoder.find_tag_unsigned::<u16>(Tag::Compression).ok().flatten();
    if compression.is_none_or(|method| method == CompressionMethod::None.to_u16()) {
        return true;
    }
    let mut numbers =
        |tag| decoder.find_tag_unsigned_vec::<u64>(tag).ok().flatten().unwrap_or_default();
    let mut are_within = |starts: Tag, sizes: Tag| {
        let (starts, sizes) = (numbers(starts), numbers(sizes));
        let mut parts = starts.iter().zip(&sizes);
        parts.all(|(&start, &size)| start.checked_add(size).is_some_and(|end| end <= length))
    };
    are_within(Tag::StripOffsets, Tag::StripByteCounts)
        && are_within(Tag::TileOffsets, Tag::TileByteCounts)
}

/// The colours and the bits of a sample.
fn model(
    decoder: &mut Decoder<Cursor<impl AsRef<[u8]>>>,
    has_palette: bool,
) -> Result<(Model, u8), ImageError> {
    let color = decoder.colortype().map_err(explain)?;
    let is_premultiplied = |decoder: &mut Decoder<_>| {
        let extra = decoder.find_tag_unsigned_vec::<u16>(Tag::ExtraSamples);
        extra.ok().flatten().is_some_and(|extra| extra.first() == Some(&1))
    };
    let model = match color {
        ColorType::Gray(_) if has_palette => {
            let table = decoder.get_tag_u16_vec(Tag::ColorMap).map_err(explain)?;
            Model::Palette(table)
        }
        ColorType::Gray(_) => Model::Grey { channels: 1 },
        ColorType::Multiband { num_samples: 2, .. } => Model::Grey { channels: 2 },
        ColorType::RGB(_) => Model::Rgb,
        ColorType::RGBA(_) => Model::Rgba { premultiplied: is_premultiplied(decoder) },
        ColorType::CMYK(_) => Model::Cmyk,
        ColorType::YCbCr(8) => Model::YCbCr,
        _ => return Err(unsupported("TIFF image of rare colours", CONVERT)),
    };
    let bits = color.bit_depth();
    match (&model, bits) {
        (_, 8 | 16 | 32 | 64) => Ok((model, bits)),
        (Model::Grey { channels: 1 } | Model::Palette(_), 1 | 2 | 4) => Ok((model, bits)),
        _ => Err(unsupported(format!("TIFF image of {bits} bits a sample"), CONVERT)),
    }
}

/// What is known of the pixels.
struct Raster {
    width: usize,
    height: usize,
    model: Model,
    bits: u8,
    layout: BufferLayoutPreference,
}

impl Raster {
    fn pixels(&self, data: DecodingResult) -> Result<Pixels, ImageError> {
        let float = |values: Vec<f32>, white: f32| (Values::F32(values), white);
        let (values, white) = match data {
            DecodingResult::U8(all) => return self.of_bytes(all),
            DecodingResult::U16(all) => (Values::U16(self.interleaved(all)), 65535.0),
            DecodingResult::U32(all) => float(self.floats(all, |v| v as f32), u32::MAX as f32),
            DecodingResult::U64(all) => float(self.floats(all, |v| v as f32), u64::MAX as f32),
            DecodingResult::I8(all) => float(self.floats(all, f32::from), 127.0),
            DecodingResult::I16(all) => float(self.floats(all, f32::from), 32767.0),
            DecodingResult::I32(all) => float(self.floats(all, |v| v as f32), i32::MAX as f32),
            DecodingResult::I64(all) => float(self.floats(all, |v| v as f32), i64::MAX as f32),
            DecodingResult::F16(all) => float(self.floats(all, f32::from), 1.0),
            DecodingResult::F32(all) => float(self.floats(all, |v| v), 1.0),
            DecodingResult::F64(all) => float(self.floats(all, |v| v as f32), 1.0),
        };
        let channels = match self.model {
            Model::Grey { channels } => channels,
            Model::Rgb => 3,
            Model::Rgba { .. } => 4,
            Model::Cmyk | Model::YCbCr | Model::Palette(_) => return self.of_deep(values),
        };
        let count = match &values {
            Values::U16(all) => all.len(),
            Values::F32(all) => all.len(),
        };
        let (width, height) = (self.width, self.height);
        match count == width * height * channels {
            true => Ok(Pixels::Deep(Samples { width, height, channels, values, white })),
            // Signed samples of less than a byte, which lie packed.
            false => Err(unsupported("TIFF image of a rare kind", CONVERT)),
        }
    }

    fn of_bytes(&self, data: Vec<u8>) -> Result<Pixels, ImageError> {
        let data = if self.bits < 8 { self.unpacked(&data) } else { self.interleaved(data) };
        let (width, height) = (self.width, self.height);
        let pixels = to_rgb(data, &self.model, self.bits)?;
        match pixels.len() == width * height * 3 {
            true => Ok(Pixels::Rgb8(Image { width, height, pixels })),
            false => Err(damaged(NAME, BAD_DATA)),
        }
    }

    /// Colours that are not red, green and blue are made so in 8 bits.
    fn of_deep(&self, values: Values) -> Result<Pixels, ImageError> {
        match (&self.model, values) {
            (Model::Cmyk, Values::U16(all)) => {
                let data = all.into_iter().map(|value| (value >> 8) as u8).collect();
                let pixels = to_rgb(data, &self.model, 8)?;
                Ok(Pixels::Rgb8(Image { width: self.width, height: self.height, pixels }))
            }
            _ => Err(unsupported("TIFF image of rare colours", CONVERT)),
        }
    }

    fn floats<T: Copy>(&self, data: Vec<T>, float: impl Fn(T) -> f32) -> Vec<f32> {
        self.interleaved(data).into_iter().map(float).collect()
    }

    /// The channels of a pixel side by side.
    fn interleaved<T: Copy>(&self, data: Vec<T>) -> Vec<T> {
        let (planes, size) = (self.layout.planes, self.width * self.height);
        if planes < 2 || data.len() < planes * size {
            return data;
        }
        let pixel = |i: usize| (0..planes).map(move |plane| (plane, i));
        (0..size).flat_map(pixel).map(|(plane, i)| data[plane * size + i]).collect()
    }

    /// One byte for each sample of 1, 2 or 4 bits; rows start with a byte.
    fn unpacked(&self, data: &[u8]) -> Vec<u8> {
        let bits = usize::from(self.bits);
        let (per_byte, mask) = (8 / bits, 0xff >> (8 - bits));
        let rows = data.chunks_exact(self.width.div_ceil(per_byte)).take(self.height);
        let sample =
            |row: &[u8], x: usize| row[x / per_byte] >> (8 - bits - x % per_byte * bits) & mask;
        rows.flat_map(|row| (0..self.width).map(move |x| sample(row, x))).collect()
    }
}

fn explain(error: TiffError) -> ImageError {
    match error {
        TiffError::IoError(error) if error.kind() == ErrorKind::UnexpectedEof => {
            ImageError::Truncated
        }
        TiffError::FormatError(TiffFormatError::CompressedDataCorrupt(_))
        | TiffError::IoError(_) => damaged(NAME, BAD_DATA),
        TiffError::UnsupportedError(kind) => unsupported(unsupported_kind(&kind), CONVERT),
        _ => damaged(NAME, BAD_HEADER),
    }
}

fn unsupported_kind(kind: &TiffUnsupportedError) -> String {
    use TiffUnsupportedError as Kind;
    match kind {
        Kind::UnsupportedCompressionMethod(method) => {
            let method = match method {
                CompressionMethod::Huffman | CompressionMethod::Fax3 => "as a fax",
                CompressionMethod::JPEG => "as JPEG in the form before 1995",
                _ => "in a rare way",
            };
            format!("TIFF image compressed {method}")
        }
        Kind::InterpretationWithBits(..)
        | Kind::UnknownInterpretation
        | Kind::UnsupportedColorType(_)
        | Kind::UnsupportedInterpretation(_) => "TIFF image of rare colours".into(),
        _ => "TIFF image of a rare kind".into(),
    }
}
