//! The images of a page: an even sample of a data set, and a small picture of each.

use super::columns;
use moco_data::{Dataset, DecodeOptions, Image, jpeg, thumbnail, without_secrets};
use moco_page::page::{Column, Gallery, Picture, Sprite};
use rayon::prelude::*;
use std::path::PathBuf;
use std::sync::Arc;

/// Pixels that all small pictures have together, and how large one is at most and at least.
const PIXELS: f64 = 5.2e6;
const LARGEST: usize = 64;
const SMALLEST: usize = 24;
/// Bytes of the picture of all, for so many images or fewer, and for each further one.
const BYTES: usize = 2_400_000;
const IMAGES: usize = 2000;
const BYTES_EACH: usize = 1200;
/// Qualities that are tried until the picture is small enough.
const QUALITIES: [u8; 5] = [82, 72, 60, 45, 30];

/// The images that are looked at.
pub struct Images {
    /// Where they come from.
    pub whole: Arc<Dataset>,
    /// A sample of them that the page shows.
    pub sample: Dataset,
    /// Which of the sample can be read; none before the first encoder has seen them.
    pub rows: Option<Vec<usize>>,
    pub threads: usize,
    path: PathBuf,
    /// Which images of the whole the sample is.
    chosen: Vec<usize>,
}

impl Images {
    /// At most `count` images, spread evenly.
    pub fn new(whole: Arc<Dataset>, path: PathBuf, count: usize, threads: usize) -> Images {
        let (all, kept) = (whole.len(), count.min(whole.len()));
        let chosen: Vec<usize> = (0..kept).map(|i| i * all / kept).collect();
        let sample = whole.subset(chosen.clone());
        Images { whole, sample, rows: None, threads, path, chosen }
    }

    /// Positions of `count` of the rows, spread evenly.
    pub fn examples(&self, count: usize) -> Vec<usize> {
        let rows = self.rows.as_ref().map_or(0, Vec::len);
        let count = count.min(rows);
        (0..count).map(|i| (2 * i + 1) * rows / (2 * count)).collect()
    }

    /// Which image of the sample a row is.
    pub fn image(&self, row: usize) -> usize {
        self.rows.as_ref().map_or(row, |rows| rows[row])
    }

    /// An image of the sample, decoded in some way; none if it cannot be read.
    pub fn decoded(&self, image: usize, options: DecodeOptions) -> Option<Image> {
        let one = self.whole.subset(vec![self.chosen[image]]);
        one.with_decoding(options).load(0).ok()
    }

    /// The images as the page has them, if an encoder has seen any.
    pub fn gallery(self) -> Option<Gallery> {
        let rows = self.rows.clone()?;
        let name = |row: &usize| self.sample.name(*row).to_owned();
        let of_whole: Vec<usize> = rows.iter().map(|row| self.chosen[*row]).collect();
        Some(Gallery {
            source: without_secrets(&self.path).display().to_string(),
            of: self.whole.len(),
            names: rows.iter().map(name).collect(),
            class: self.class(&rows),
            columns: columns::of_list(&self.path, &self.whole, &of_whole),
            sprite: self.sprite(&rows),
        })
    }

    /// The class of each image, if there are classes.
    fn class(&self, rows: &[usize]) -> Option<Column> {
        let values = self.sample.class_names().to_vec();
        (!values.is_empty()).then(|| Column {
            name: "class".to_owned(),
            values,
            of: rows.iter().map(|row| self.sample.label(*row)).collect(),
        })
    }

    fn sprite(&self, rows: &[usize]) -> Sprite {
        let side = (PIXELS / rows.len().max(1) as f64).sqrt() as usize;
        let tile = side.clamp(SMALLEST, LARGEST) / 4 * 4;
        let columns = (rows.len() as f64).sqrt().ceil() as usize;
        let small = |row: &usize| match self.sample.load(*row) {
            Ok(image) => thumbnail(&image, tile),
            // It was read a moment ago; grey stands for it now.
            Err(_) => Image::filled(tile, tile, [128; 3]),
        };
        let tiles: Vec<Image> = rows.par_iter().map(small).collect();
        let whole = side_by_side(&tiles, columns);
        let most = BYTES + rows.len().saturating_sub(IMAGES) * BYTES_EACH;
        Sprite { picture: picture_within(&whole, most), tile, columns }
    }
}

/// Images of one size in rows, without gaps.
pub fn side_by_side(images: &[Image], columns: usize) -> Image {
    let Some(first) = images.first() else { return Image::filled(1, 1, [0; 3]) };
    let (width, height) = (first.width, first.height);
    let (across, rows) = (columns * width, images.len().div_ceil(columns));
    let mut pixels = vec![128; across * rows * height * 3];
    for (i, image) in images.iter().enumerate() {
        let corner = (i / columns * height * across + i % columns * width) * 3;
        for (y, row) in image.pixels.chunks_exact(width * 3).enumerate() {
            pixels[corner + y * across * 3..][..row.len()].copy_from_slice(row);
        }
    }
    Image::new(across, rows * height, pixels)
}

/// A JPEG of at most so many bytes, as far as quality goes.
fn picture_within(image: &Image, most: usize) -> Picture {
    let pictures = QUALITIES.into_iter().map(|quality| picture(image, quality));
    let mut last = Picture::default();
    for picture in pictures {
        last = picture;
        if last.bytes.len() <= most {
            break;
        }
    }
    last
}

/// A JPEG.
pub fn picture(image: &Image, quality: u8) -> Picture {
    // A page's pictures are far smaller than the 65535 pixels that JPEG ends at.
    let bytes = jpeg(image, quality).unwrap_or_default();
    Picture { width: image.width, height: image.height, format: "jpeg", bytes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_lie_row_by_row() {
        let tile = |level| Image::filled(2, 2, [level; 3]);
        let whole = side_by_side(&[tile(1), tile(2), tile(3)], 2);
        assert_eq!((whole.width, whole.height), (4, 4));
        let at = |x: usize, y: usize| whole.pixels[(y * 4 + x) * 3];
        assert_eq!([at(0, 0), at(3, 1), at(1, 3), at(2, 2)], [1, 2, 3, 128]);
    }

    #[test]
    fn a_picture_that_is_too_large_is_made_coarser() {
        let pixels: Vec<u8> = (0..64 * 64 * 3).map(|i: usize| (i * i % 251) as u8).collect();
        let noise = Image::new(64, 64, pixels);
        let fine = picture(&noise, QUALITIES[0]).bytes.len();
        let coarse = picture_within(&noise, fine / 2).bytes.len();
        assert!(coarse < fine, "{coarse} {fine}");
    }
}
