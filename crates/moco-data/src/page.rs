//! What pages of HTML that need nothing else have in common: text without tags, and thumbnails.

use crate::image::Image;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fast_image_resize::images::{Image as Picture, ImageRef};
use fast_image_resize::{PixelType, Resizer};
use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;

/// Quality of thumbnails on JPEG's usual scale.
const QUALITY: u8 = 75;

/// Text as it may stand in a page, between tags or in a quoted attribute.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() => out.push(char::REPLACEMENT_CHARACTER),
            c => out.push(c),
        }
    }
    out
}

/// An image in the place of an address: a JPEG of at most `side` pixels a side; small images keep
/// their size. None for an image without pixels.
pub fn thumbnail(image: &Image, side: usize) -> Option<String> {
    let small = shrink(image, side)?;
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, QUALITY)
        .encode(small.buffer(), small.width(), small.height(), ExtendedColorType::Rgb8)
        .ok()?;
    Some(format!("data:image/jpeg;base64,{}", STANDARD.encode(jpeg)))
}

fn shrink(image: &Image, side: usize) -> Option<Picture<'static>> {
    if image.pixels.is_empty() {
        return None;
    }
    let longer = image.width.max(image.height).max(1);
    let scaled = |length: usize| {
        let length = if longer > side { length * side / longer } else { length };
        u32::try_from(length.max(1)).ok()
    };
    let (width, height) = (u32::try_from(image.width).ok()?, u32::try_from(image.height).ok()?);
    let source = ImageRef::new(width, height, &image.pixels, PixelType::U8x3).ok()?;
    let mut small = Picture::new(scaled(image.width)?, scaled(image.height)?, PixelType::U8x3);
    Resizer::new().resize(&source, &mut small, None).ok()?;
    Some(small)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_become_tags() {
        assert_eq!(escape("<b a='\"'>&\n"), "&lt;b a=&#39;&quot;&#39;&gt;&amp;\u{fffd}");
    }

    #[test]
    fn a_thumbnail_is_a_small_jpeg() {
        let address = thumbnail(&Image::filled(300, 150, [9, 80, 200]), 60).unwrap();
        let data = address.strip_prefix("data:image/jpeg;base64,").unwrap();
        let jpeg = image::load_from_memory(&STANDARD.decode(data).unwrap()).unwrap();
        assert_eq!((jpeg.width(), jpeg.height()), (60, 30));
        assert!(thumbnail(&Image::new(0, 0, Vec::new()), 60).is_none());
    }
}
