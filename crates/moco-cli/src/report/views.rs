//! What training shows the network.

use super::gallery::{Images, picture};
use moco::methods::Sees;
use moco::plan::Plan;
use moco_data::{ColorSpace, DecodeOptions, Image, View, ViewKey, contact_sheet, thumbnail};
use moco_page::page::Views;

/// Images of a sheet, and draws of each of them.
const IMAGES: usize = 4;
const DRAWS: usize = 7;
/// Side of a picture.
const SIDE: usize = 96;
const QUALITY: u8 = 82;
/// Pixels between two patches.
const LINE: usize = 2;

/// A sheet for each different view of a run.
pub fn of(config: &Plan, images: &Images) -> Vec<Views> {
    let (views, eval) = (config.views(), config.eval_view());
    let chosen: Vec<usize> = images.examples(IMAGES).iter().map(|row| images.image(*row)).collect();
    let mut sheets: Vec<Views> = Vec::new();
    for (number, view) in (0..).zip(views) {
        let recipe = view.to_string();
        if sheets.iter().any(|sheet| sheet.recipe == recipe) {
            continue;
        }
        let rows: Vec<Image> = chosen
            .iter()
            .flat_map(|image| row(images, *image, view, number, eval, config))
            .collect();
        if rows.is_empty() {
            continue;
        }
        let sheet = contact_sheet(&rows, DRAWS + 1);
        sheets.push(Views {
            caption: caption(view, number, views.len(), config),
            recipe,
            picture: picture(&sheet, QUALITY),
        });
    }
    sheets
}

fn caption(view: &View, number: u64, of: usize, config: &Plan) -> String {
    let which = if of > 1 { format!("View {}", number + 1) } else { "The view".to_owned() };
    match (config.spec().profile().sees, view.grid()) {
        (Sees::Split, _) => format!(
            "{which}, as the two networks see it: luminance for one, colour at one lightness for the \
             other, in turn"
        ),
        (_, Some([rows, columns])) => format!("{which}, cut into {rows} x {columns} patches"),
        _ => format!("{which}, the image first"),
    }
}

/// An image as evaluation sees it, then as training does.
fn row(
    images: &Images,
    image: usize,
    view: &View,
    number: u64,
    eval: &View,
    config: &Plan,
) -> Vec<Image> {
    let options = DecodeOptions { range: view.range(), ..DecodeOptions::default() };
    let Some(whole) = images.decoded(image, options) else { return Vec::new() };
    let key = |epoch| ViewKey { seed: config.train.seed, epoch, image: image as u64, view: number };
    let mut row = vec![thumbnail(&eval.apply_image(&whole, key(0)), SIDE)];
    for draw in 0..DRAWS as u64 {
        let split = view.space() != ColorSpace::Rgb;
        // Two pictures of each draw: what either network sees.
        let seen = view.apply_image(&whole, key(if split { draw / 2 } else { draw }));
        let seen = match (split, draw % 2) {
            (false, _) => view.grid().map_or_else(|| seen.clone(), |grid| spaced(&seen, grid)),
            (true, 0) => luminance(seen),
            (true, _) => colour(seen),
        };
        row.push(thumbnail(&seen, SIDE));
    }
    row
}

/// Patches that lie side by side, with white lines between them: they may overlap in the image.
fn spaced(seen: &Image, [rows, columns]: [usize; 2]) -> Image {
    let (height, width) = (seen.height / rows, seen.width / columns);
    let across = columns * (width + LINE) - LINE;
    let down = rows * (height + LINE) - LINE;
    let mut pixels = vec![255; across * down * 3];
    for y in 0..rows * height {
        for column in 0..columns {
            let from = (y * seen.width + column * width) * 3;
            let to = ((y + y / height * LINE) * across + column * (width + LINE)) * 3;
            pixels[to..to + width * 3].copy_from_slice(&seen.pixels[from..from + width * 3]);
        }
    }
    Image::new(across, down, pixels)
}

/// Y of ITU-R BT.601.
fn luma([r, g, b]: [u8; 3]) -> f32 {
    0.299 * f32::from(r) + 0.587 * f32::from(g) + 0.114 * f32::from(b)
}

fn luminance(mut image: Image) -> Image {
    for rgb in image.pixels.as_chunks_mut::<3>().0 {
        *rgb = [luma(*rgb) as u8; 3];
    }
    image
}

/// The colour alone: every pixel at middle lightness.
fn colour(mut image: Image) -> Image {
    for rgb in image.pixels.as_chunks_mut::<3>().0 {
        let less = luma(*rgb) - 128.0;
        *rgb = rgb.map(|level| (f32::from(level) - less).clamp(0.0, 255.0) as u8);
    }
    image
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_are_told_apart_by_lines() {
        // Two by two patches of one pixel each.
        let seen =
            Image::new(2, 2, [10, 20, 30, 40].iter().flat_map(|level| [*level; 3]).collect());
        let apart = spaced(&seen, [2, 2]);
        assert_eq!((apart.width, apart.height), (4, 4));
        let at = |x: usize, y: usize| apart.pixels[(y * 4 + x) * 3];
        assert_eq!([at(0, 0), at(3, 0), at(0, 3), at(3, 3)], [10, 20, 30, 40]);
        assert_eq!([at(1, 0), at(2, 2), at(0, 1)], [255; 3]);
    }

    #[test]
    fn luminance_has_no_colour_and_colour_one_lightness() {
        let image = Image::new(2, 1, vec![200, 100, 50, 20, 30, 40]);
        let grey = luminance(image.clone());
        assert!(grey.pixels.chunks(3).all(|rgb| rgb[0] == rgb[1] && rgb[1] == rgb[2]));
        let bright = colour(image);
        for rgb in bright.pixels.as_chunks::<3>().0 {
            assert!((luma(*rgb) - 128.0).abs() < 2.0, "{rgb:?}");
        }
        assert!(bright.pixels[0] > bright.pixels[2], "red stays red");
    }
}
