//! Looking at images: a sheet of many, and PNG files.

use crate::augment::{center_crop, lanczos};
use crate::image::Image;
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::codecs::webp::WebPEncoder;
use image::{ExtendedColorType, ImageEncoder};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// Pixels between the images of a sheet.
const GAP: usize = 2;

/// Images side by side on white, `columns` to a row, in cells of the largest image's size.
///
/// # Panics
/// If `columns` is 0.
pub fn contact_sheet(images: &[Image], columns: usize) -> Image {
    let columns = columns.min(images.len().max(1));
    let rows = images.len().div_ceil(columns);
    let cell_width = images.iter().map(|image| image.width).max().unwrap_or(0) + GAP;
    let cell_height = images.iter().map(|image| image.height).max().unwrap_or(0) + GAP;
    let mut sheet = Image::filled(columns * cell_width + GAP, rows * cell_height + GAP, [255; 3]);
    for (i, image) in images.iter().enumerate() {
        let left = i % columns * cell_width + GAP;
        let top = i / columns * cell_height + GAP;
        sheet.paste(image, [top, left]);
    }
    sheet
}

/// A format that images are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PictureFormat {
    /// Without loss.
    Png,
    /// With a loss that is hard to see.
    Jpeg,
    /// Without loss, smaller than PNG.
    WebP,
}

/// JPEG's usual scale ends at 100.
const JPEG_QUALITY: u8 = 95;

impl PictureFormat {
    /// The format that a file's name asks for: `.png`, `.jpg` or `.jpeg`, `.webp`.
    pub fn of(path: &Path) -> Option<PictureFormat> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        match extension.as_str() {
            "png" => Some(PictureFormat::Png),
            "jpg" | "jpeg" => Some(PictureFormat::Jpeg),
            "webp" => Some(PictureFormat::WebP),
            _ => None,
        }
    }

    /// Writes an image.
    ///
    /// # Errors
    /// If it cannot be written, or has more pixels a side than the format has room for.
    pub fn write(self, image: &Image, out: &mut dyn Write) -> io::Result<()> {
        let side = |pixels: usize| u32::try_from(pixels).map_err(io::Error::other);
        let (width, height) = (side(image.width)?, side(image.height)?);
        let (pixels, color) = (&image.pixels, ExtendedColorType::Rgb8);
        let written = match self {
            PictureFormat::Png => PngEncoder::new(out).write_image(pixels, width, height, color),
            PictureFormat::Jpeg => JpegEncoder::new_with_quality(out, JPEG_QUALITY)
                .write_image(pixels, width, height, color),
            PictureFormat::WebP => {
                WebPEncoder::new_lossless(out).write_image(pixels, width, height, color)
            }
        };
        written.map_err(|error| match error {
            image::ImageError::IoError(error) => error,
            other => io::Error::other(other),
        })
    }
}

/// The middle square of an image at `side` pixels a side, made larger or smaller.
///
/// # Panics
/// If the image has no pixels, `side` is 0, or either has more than 2^32 pixels a side.
pub fn thumbnail(image: &Image, side: usize) -> Image {
    // Cut out first: a crop of the resizer looks a little beyond its edges.
    let square = image.width.min(image.height);
    let mut middle = Image::filled(square, square, [0; 3]);
    center_crop(image, [square; 2], &mut middle);
    lanczos(&middle, [side; 2])
}

/// An image as JPEG of a quality of 1 to 100.
///
/// # Errors
/// If it has more pixels a side than the format has room for.
pub fn jpeg(image: &Image, quality: u8) -> io::Result<Vec<u8>> {
    let side = |pixels: usize| u32::try_from(pixels).map_err(io::Error::other);
    let (width, height) = (side(image.width)?, side(image.height)?);
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, quality)
        .write_image(&image.pixels, width, height, ExtendedColorType::Rgb8)
        .map_err(io::Error::other)?;
    Ok(bytes)
}

/// Writes an image as PNG.
///
/// # Errors
/// If the file cannot be written.
pub fn save_png(image: &Image, path: &Path) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    PictureFormat::Png.write(image, &mut file)?;
    file.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thumbnail_is_the_middle_square() {
        // Red at the left and right ends, of which nothing is left.
        let row: Vec<u8> =
            (0..12).flat_map(|x| [if (4..8).contains(&x) { 9 } else { 200 }; 3]).collect();
        let small = thumbnail(&Image::new(12, 4, row.repeat(4)), 2);
        assert_eq!((small.width, small.height), (2, 2));
        assert_eq!(small.pixels, [9; 12]);
        let large = thumbnail(&Image::filled(1, 3, [5, 6, 7]), 8);
        assert_eq!(large, Image::filled(8, 8, [5, 6, 7]));
    }

    #[test]
    fn a_jpeg_is_read_back() {
        let image = Image::filled(16, 8, [90, 120, 40]);
        let bytes = jpeg(&image, 75).unwrap();
        let read = Image::decode(&bytes, &crate::DecodeOptions::default()).unwrap();
        assert_eq!((read.width, read.height), (16, 8));
        assert!(read.pixels.iter().zip(&image.pixels).all(|(a, b)| a.abs_diff(*b) < 4));
    }
}
