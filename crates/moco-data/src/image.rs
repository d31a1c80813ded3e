//! The one image type of this crate.

use crate::decode::{DecodeOptions, decode};
use crate::error::ImageError;
use std::fs;
use std::path::Path;

/// An 8-bit RGB image: interleaved channels, rows from top to bottom, no padding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// Pixels per row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `height * width * 3` bytes, `[H, W, 3]`.
    pub pixels: Vec<u8>,
}

impl Image {
    /// Wraps pixels in the layout `[H, W, 3]`.
    ///
    /// # Panics
    /// If `pixels` does not hold `height * width * 3` bytes.
    pub fn new(width: usize, height: usize, pixels: Vec<u8>) -> Image {
        assert_eq!(pixels.len(), width * height * 3, "pixels of a {width}x{height} RGB image");
        Image { width, height, pixels }
    }

    /// Reads and decodes a JPEG, PNG, WebP, BMP, GIF, TIFF or PNM file, and turns it upright.
    ///
    /// # Errors
    /// If the file cannot be read or is no such image.
    pub fn open(path: &Path) -> Result<Image, ImageError> {
        Image::decode(&fs::read(path)?, &DecodeOptions::default())
    }

    /// Decodes the bytes of a JPEG, PNG, WebP, BMP, GIF, TIFF or PNM file.
    ///
    /// # Errors
    /// If they are no such image, of a kind that is not read, damaged, cut off, or of more pixels than
    /// the options allow.
    pub fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<Image, ImageError> {
        decode(bytes, options)
    }

    /// An image of one colour.
    pub fn filled(width: usize, height: usize, color: [u8; 3]) -> Image {
        Image { width, height, pixels: color.repeat(width * height) }
    }

    /// Copies another image to where its top left corner is at `[top, left]`.
    ///
    /// # Panics
    /// If it leaves this image.
    pub(crate) fn paste(&mut self, image: &Image, [top, left]: [usize; 2]) {
        for (y, row) in image.pixels.chunks_exact(image.width * 3).enumerate() {
            let start = ((top + y) * self.width + left) * 3;
            self.pixels[start..start + row.len()].copy_from_slice(row);
        }
    }

    /// Gives the image a new size, reusing its memory; the pixels are left unspecified.
    pub(crate) fn reshape(&mut self, width: usize, height: usize) {
        self.width = width;
        self.height = height;
        self.pixels.resize(width * height * 3, 0);
    }

    /// Makes this a copy of `other`, reusing the memory.
    pub(crate) fn copy_from(&mut self, other: &Image) {
        self.width = other.width;
        self.height = other.height;
        self.pixels.clear();
        self.pixels.extend_from_slice(&other.pixels);
    }
}
