//! The colour models of TIFF in 8 bits, made RGB.

use super::{BAD_HEADER, NAME, damaged};
use crate::decode::{cmyk_to_rgb, png};
use crate::error::ImageError;

/// What the samples of a pixel are.
pub(super) enum Model {
    /// A second channel is alpha.
    Grey {
        channels: usize,
    },
    Rgb,
    Rgba {
        /// Whether the colours are multiplied by alpha.
        premultiplied: bool,
    },
    Cmyk,
    YCbCr,
    /// Red of all indices in 16 bits, then green, then blue.
    Palette(Vec<u16>),
}

/// RGB of interleaved samples of 8 bits, or of fewer, one a byte.
pub(super) fn to_rgb(data: Vec<u8>, model: &Model, bits: u8) -> Result<Vec<u8>, ImageError> {
    Ok(match model {
        Model::Grey { channels: 1 } if bits < 8 => {
            let step = 255 / (0xff >> (8 - bits));
            data.iter().flat_map(|&level| [level * step; 3]).collect()
        }
        Model::Grey { channels } => png::to_rgb(data, *channels),
        Model::Rgb => data,
        Model::Rgba { premultiplied: false } => png::to_rgb(data, 4),
        Model::Rgba { premultiplied: true } => {
            data.as_chunks::<4>().0.iter().flat_map(|&pixel| divided(pixel)).collect()
        }
        Model::Cmyk => {
            data.as_chunks::<4>().0.iter().flat_map(|&pixel| cmyk_to_rgb(pixel)).collect()
        }
        Model::YCbCr => {
            data.as_chunks::<3>().0.iter().flat_map(|&pixel| ycbcr_to_rgb(pixel)).collect()
        }
        Model::Palette(table) => {
            let size = 1usize << bits;
            if table.len() < 3 * size {
                return Err(damaged(NAME, BAD_HEADER));
            }
            let color =
                |&index: &u8| [0, 1, 2].map(|c| (table[c * size + usize::from(index)] >> 8) as u8);
            data.iter().flat_map(color).collect()
        }
    })
}

/// A pixel whose colours are multiplied by alpha, without that, as Pillow rounds.
fn divided([r, g, b, alpha]: [u8; 4]) -> [u8; 3] {
    match alpha {
        0 | 255 => [r, g, b],
        _ => [r, g, b].map(|c| (u32::from(c) * 255 / u32::from(alpha)).min(255) as u8),
    }
}

/// The formula of JPEG's file format.
fn ycbcr_to_rgb([y, cb, cr]: [u8; 3]) -> [u8; 3] {
    let (y, cb, cr) = (f32::from(y), f32::from(cb) - 128.0, f32::from(cr) - 128.0);
    let rgb = [y + 1.402 * cr, y - 0.344_136 * cb - 0.714_136 * cr, y + 1.772 * cb];
    rgb.map(|value| value.round() as u8)
}
