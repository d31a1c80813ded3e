//! Looking at images: a sheet of many, and PNG files.

use crate::image::Image;
use image::{ColorType, ImageFormat};
use std::io;
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

/// Writes an image as PNG.
///
/// # Errors
/// If the file cannot be written.
pub fn save_png(image: &Image, path: &Path) -> io::Result<()> {
    let side = |pixels: usize| u32::try_from(pixels).map_err(io::Error::other);
    let (width, height) = (side(image.width)?, side(image.height)?);
    let format = ImageFormat::Png;
    image::save_buffer_with_format(path, &image.pixels, width, height, ColorType::Rgb8, format)
        .map_err(io::Error::other)
}
