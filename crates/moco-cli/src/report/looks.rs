//! Pictures of what an encoder looks at.

use super::gallery::{Images, picture, side_by_side};
use moco::batch::{pixels_to_tensor, to_host};
use moco::eval::FrozenEncoder;
use moco::models::Look;
use moco_data::{DecodeOptions, Image, View, ViewKey, for_each_batch, thumbnail};
use moco_page::page::{Looks, Strip};
use std::ops::ControlFlow;

/// Images that are shown.
const IMAGES: usize = 8;
/// Maps of an image that are shown: heads of a large transformer are many.
const MAPS: usize = 8;
/// Side of a panel.
const SIDE: usize = 112;
const QUALITY: u8 = 80;
/// How much of a panel is the map; the rest is the image in grey.
const SHARE: f32 = 0.7;

const ATTENTION: &str = "How much the class token takes of each patch in the last block, one panel \
    for each head, bright where it takes most. Heads that rest on things rather than on background \
    are a good sign; heads that are all alike, or the same for every image, are not.";
const ENERGY: &str = "Length of the feature at each place of the last stage, before places are \
    averaged: bright places make up the image's feature. It should lie on what the image is of; the \
    same corner or border bright in every image is a sign of an artefact.";

/// A sample of images with what the encoder looks at in each; nothing where it cannot tell.
pub fn of(frozen: &mut FrozenEncoder, images: &Images) -> Looks {
    let view = frozen.view.clone();
    if view.count() > 1 {
        return Looks::default();
    }
    let rows = images.examples(IMAGES);
    let mut looks = Looks::default();
    let chosen: Vec<usize> = rows.iter().map(|row| images.image(*row)).collect();
    let [height, width] = view.size();
    let device = frozen.device().clone();
    // A server that is lost now leaves out pictures, no figures.
    let _ = for_each_batch(&images.sample, &chosen, &view, 1, 1, &mut |batch| {
        let x = pixels_to_tensor(batch.pixels, [1, height, width], &device);
        let Some(look) = frozen.encoder.look(x) else { return ControlFlow::Break(()) };
        let image = batch.indices[0];
        let row = rows.iter().find(|row| images.image(**row) == image);
        if let (Some(&row), Some(shown)) = (row, as_seen(images, &view, image)) {
            let (meaning, maps, names) = maps_of(look);
            meaning.clone_into(&mut looks.meaning);
            looks.strips.push(strip(row, &shown, &maps, names));
        }
        ControlFlow::Continue(())
    });
    looks
}

/// An image as the view makes it, before normalisation, at the size of a panel.
fn as_seen(images: &Images, view: &View, image: usize) -> Option<Image> {
    let options = DecodeOptions { range: view.range(), ..DecodeOptions::default() };
    let whole = images.decoded(image, options)?;
    let key = ViewKey { seed: 0, epoch: 0, image: image as u64, view: 0 };
    Some(thumbnail(&view.apply_image(&whole, key), SIDE))
}

/// A map and its height and width.
type Map = (Vec<f32>, [usize; 2]);

/// What is shown, the maps of the one image, and their names.
fn maps_of(look: Look) -> (&'static str, Vec<Map>, Vec<String>) {
    let (meaning, maps, name) = match look {
        Look::Attention(maps) => (ATTENTION, maps, "head"),
        Look::Energy(maps) => (ENERGY, maps, "energy"),
    };
    let [_, count, height, width] = maps.dims();
    let values = to_host(maps);
    let maps: Vec<Map> = values
        .chunks_exact(height * width)
        .take(MAPS)
        .map(|map| (map.to_vec(), [height, width]))
        .collect();
    let names = (1..=maps.len()).map(|i| match (name, count) {
        ("energy", 1) => "energy".to_owned(),
        ("energy", _) => ["energy of luminance", "energy of colour"][i - 1].to_owned(),
        _ => format!("head {i}"),
    });
    let names = names.collect();
    (meaning, maps, names)
}

fn strip(row: usize, shown: &Image, maps: &[Map], names: Vec<String>) -> Strip {
    let mut panels = vec![shown.clone()];
    panels.extend(maps.iter().map(|map| overlaid(shown, map)));
    let columns = panels.len();
    Strip {
        image: row,
        picture: picture(&side_by_side(&panels, columns), QUALITY),
        panels: std::iter::once("the image".to_owned()).chain(names).collect(),
    }
}

/// The map in colours over the image in grey.
fn overlaid(image: &Image, (map, [height, width]): &Map) -> Image {
    let most = map.iter().copied().fold(0.0, f32::max).max(1e-12);
    let least = map.iter().copied().fold(f32::INFINITY, f32::min);
    let mut pixels = Vec::with_capacity(image.pixels.len());
    for (i, rgb) in image.pixels.chunks_exact(3).enumerate() {
        let at = |place: usize, cells: usize, side: usize| {
            ((place as f32 + 0.5) / side as f32 * cells as f32 - 0.5).clamp(0.0, cells as f32 - 1.0)
        };
        let (x, y) = (i % image.width, i / image.width);
        let value = between(map, *width, at(x, *width, image.width), at(y, *height, image.height));
        let heat = hot((value - least) / (most - least).max(1e-12));
        let grey = 0.3 * f32::from(rgb[0]) + 0.59 * f32::from(rgb[1]) + 0.11 * f32::from(rgb[2]);
        pixels.extend(heat.map(|heat| (SHARE * heat + (1.0 - SHARE) * grey) as u8));
    }
    Image::new(image.width, image.height, pixels)
}

/// The map between its cells, linearly.
fn between(map: &[f32], width: usize, x: f32, y: f32) -> f32 {
    let height = map.len() / width;
    let (left, top) = (x as usize, y as usize);
    let (right, bottom) = ((left + 1).min(width - 1), (top + 1).min(height - 1));
    let (along, down) = (x - left as f32, y - top as f32);
    let row = |row: usize| {
        let (a, b) = (map[row * width + left], map[row * width + right]);
        a + (b - a) * along
    };
    row(top) + (row(bottom) - row(top)) * down
}

/// From black over violet and orange to pale yellow, even in lightness: five points of matplotlib's
/// "inferno", and lines between them.
fn hot(share: f32) -> [f32; 3] {
    const POINTS: [[f32; 3]; 5] = [
        [0.0, 0.0, 4.0],
        [87.0, 16.0, 110.0],
        [188.0, 55.0, 84.0],
        [249.0, 142.0, 9.0],
        [252.0, 255.0, 164.0],
    ];
    let place = share.clamp(0.0, 1.0) * 4.0;
    let from = (place as usize).min(3);
    let along = place - from as f32;
    std::array::from_fn(|c| POINTS[from][c] + (POINTS[from + 1][c] - POINTS[from][c]) * along)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_is_bright_where_it_is_large() {
        let image = Image::filled(8, 8, [0; 3]);
        let shown = overlaid(&image, &(vec![0.0, 0.0, 0.0, 2.0], [2, 2]));
        let level = |x: usize, y: usize| u32::from(shown.pixels[(y * 8 + x) * 3]);
        assert!(level(7, 7) > 150 && level(0, 0) < 10 && level(4, 4) < level(7, 7));
        let flat = overlaid(&image, &(vec![1.0; 4], [2, 2]));
        assert!(flat.pixels.iter().all(|level| *level < 10), "an even map shows nothing");
    }
}
