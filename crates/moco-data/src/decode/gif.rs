//! GIF: the first frame on its canvas, as Pillow shows it.

use super::{BAD_DATA, DecodeOptions, Decoded, Pixels, damaged};
use crate::error::ImageError;
use crate::image::Image;
use gif::{ColorOutput, DecodingError, MemoryLimit};
use std::num::NonZeroU64;

const NAME: &str = "GIF";

/// Decodes the first frame. The canvas around it has the transparent colour if there is one, else
/// the palette's first; it grows if the frame is larger. Transparent pixels keep their colour.
pub(super) fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<Decoded, ImageError> {
    let mut settings = gif::DecodeOptions::new();
    settings.set_color_output(ColorOutput::Indexed);
    if let Some(limit) = NonZeroU64::new(options.max_bytes()) {
        settings.set_memory_limit(MemoryLimit::Bytes(limit));
    }
    let mut decoder = settings.read_info(bytes).map_err(explain)?;
    let (screen_width, screen_height) = (decoder.width(), decoder.height());
    let global = decoder.global_palette().map(<[u8]>::to_vec);

    let frame = decoder.next_frame_info().map_err(explain)?.ok_or(ImageError::Truncated)?;
    let [left, top] = [frame.left, frame.top].map(usize::from);
    let [columns, rows] = [frame.width, frame.height].map(usize::from);
    let width = usize::from(screen_width).max(left + columns);
    let height = usize::from(screen_height).max(top + rows);
    options.check_size(NAME, width as u64, height as u64)?;
    options.check_size(NAME, columns as u64, rows as u64)?;
    let colors = colors(frame.palette.as_deref().or(global.as_deref()));
    let background = colors[usize::from(frame.transparent.unwrap_or(0))];

    let mut indices = vec![0; columns * rows];
    decoder.read_into_buffer(&mut indices).map_err(explain)?;
    let mut image = Image::filled(width, height, background);
    let pixels = image.pixels.as_chunks_mut::<3>().0;
    for (y, row) in indices.chunks_exact(columns).enumerate() {
        for (x, &index) in row.iter().enumerate() {
            pixels[(top + y) * width + left + x] = colors[usize::from(index)];
        }
    }
    Ok(Decoded::upright(Pixels::Rgb8(image)))
}

/// The colour of each index; beyond the palette, a grey of that level.
fn colors(palette: Option<&[u8]>) -> [[u8; 3]; 256] {
    let mut colors: [[u8; 3]; 256] = std::array::from_fn(|index| [index as u8; 3]);
    for (color, entry) in colors.iter_mut().zip(palette.unwrap_or_default().chunks_exact(3)) {
        color.copy_from_slice(entry);
    }
    colors
}

fn explain(error: DecodingError) -> ImageError {
    match error {
        DecodingError::Io(_) | DecodingError::UnexpectedEof => ImageError::Truncated,
        _ => damaged(NAME, BAD_DATA),
    }
}
