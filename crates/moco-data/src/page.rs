//! What pages of HTML that need nothing else have in common: text without tags, and thumbnails.

use crate::augment::lanczos;
use crate::image::Image;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
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
    let [width, height] = [small.width, small.height].map(|side| u32::try_from(side).ok());
    JpegEncoder::new_with_quality(&mut jpeg, QUALITY)
        .encode(&small.pixels, width?, height?, ExtendedColorType::Rgb8)
        .ok()?;
    Some(format!("data:image/jpeg;base64,{}", STANDARD.encode(jpeg)))
}

fn shrink(image: &Image, side: usize) -> Option<Image> {
    let longer = image.width.max(image.height);
    if image.pixels.is_empty() || u32::try_from(longer).is_err() {
        return None;
    }
    let size = [image.height, image.width].map(|length| match longer > side {
        true => (length * side / longer).max(1),
        false => length,
    });
    Some(lanczos(image, size))
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
