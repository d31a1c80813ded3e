//! What a masked autoencoder paints where it sees nothing.

use super::gallery::{Images, picture, side_by_side};
use super::state::State;
use crate::session::Machine;
use moco::batch::{pixels_to_tensor, to_host};
use moco::methods::MaeConfig;
use moco::models::mae::Masking;
use moco::plan::Plan;
use moco_data::{Image, View, for_each_batch, thumbnail};
use moco_page::page::Painting;
use std::ops::ControlFlow;

/// Images that are shown.
const IMAGES: usize = 8;
/// Side of a panel.
const SIDE: usize = 128;
const QUALITY: u8 = 82;
/// What hidden patches look like.
const GREY: u8 = 128;

/// Triplets of a few images; none of other methods.
pub fn of(config: &Plan, state: &mut State, images: &Images, machine: &Machine) -> Vec<Painting> {
    if config.settings_as::<MaeConfig>().is_none() {
        return Vec::new();
    }
    let Some(view) = &view_of(config) else { return Vec::new() };
    let Some(mae) = state.mae() else { return Vec::new() };
    let rows = images.examples(IMAGES);
    let chosen: Vec<usize> = rows.iter().map(|row| images.image(*row)).collect();
    let masking = mae.masking(1, config.train.seed);
    let [height, width] = view.size();
    let mut paintings = Vec::new();
    // A server that is lost now leaves out pictures, no figures.
    let _ = for_each_batch(&images.sample, &chosen, view, 1, 1, &mut |batch| {
        let x = pixels_to_tensor(batch.pixels.clone(), [1, height, width], &machine.device);
        let painted = to_host(mae.paint(x, &masking));
        let original = levels(&batch.pixels, view);
        let mut masked = original.clone();
        hide(&mut masked, &masking, height / patch(&masking, [height, width]), machine);
        let panels =
            [masked, levels(&painted, view), original].map(|image| thumbnail(&image, SIDE));
        let row = rows.iter().find(|row| images.image(**row) == batch.indices[0]);
        paintings.extend(row.map(|&image| Painting {
            image,
            picture: picture(&side_by_side(&panels, 3), QUALITY),
        }));
        ControlFlow::Continue(())
    });
    paintings
}

/// The evaluation's view at the size of training: the decoder paints no other.
fn view_of(config: &Plan) -> Option<View> {
    let view = config.eval_view();
    let [height, width] = config.views().first()?.size();
    if view.size() == [height, width] {
        return Some(view.clone());
    }
    let size = if height == width { height.to_string() } else { format!("{height}x{width}") };
    let short = height.min(width);
    format!("resize({short}) center({size}) {}", view.normalize()).parse().ok()
}

/// Side of a patch, of which the masking has as many as fill the image.
fn patch(masking: &Masking, [height, width]: [usize; 2]) -> usize {
    (height * width / masking.patches()).isqrt()
}

/// Normalised values as levels.
fn levels(values: &[f32], view: &View) -> Image {
    let [height, width] = view.size();
    let (mean, std) = view.normalize().statistics();
    let level = |(i, value): (usize, &f32)| {
        ((value * std[i % 3] + mean[i % 3]) * 255.0).round().clamp(0.0, 255.0) as u8
    };
    Image::new(width, height, values.iter().enumerate().map(level).collect())
}

/// Paints hidden patches grey, `rows` of them below one another.
fn hide(image: &mut Image, masking: &Masking, rows: usize, machine: &Machine) {
    let hidden = to_host(masking.hidden(&machine.device));
    let columns = masking.patches() / rows;
    let side = image.height / rows;
    for (i, rgb) in image.pixels.chunks_exact_mut(3).enumerate() {
        let (x, y) = (i % image.width, i / image.width);
        if hidden[y / side * columns + x / side] > 0.5 {
            rgb.fill(GREY);
        }
    }
}
