//! `moco views`: what the augmentation does to an image, on one sheet.

use crate::args::ViewsArgs;
use crate::output::Output;
use anyhow::{Context, bail};
use moco::config::DataFacts;
use moco::plan::{self, load_recipe, resolve};
use moco_data::contact_sheet;
use moco_data::{DecodeOptions, Image, ImageError, PictureFormat, ValueRange, View, ViewKey};
use std::fs;
use std::path::Path;
use toml::Table;

/// Images below this many pixels are enlarged, so that a person can see them.
const SMALL: usize = 128;
const ENLARGED: usize = 4;
/// Images of a typical data set; the default views depend on their size alone.
const TYPICAL_IMAGES: usize = 50_000;

/// Draws the image as the network sees it and a row of draws for each view.
pub fn run(args: &ViewsArgs) -> anyhow::Result<()> {
    let Some(format) = PictureFormat::of(&args.out) else {
        bail!(
            "cannot tell the format of {}: let --out end in .png, .jpg or .webp",
            args.out.display()
        );
    };
    let out = Output::at(&args.out)?.spares(&args.image)?;
    let (views, eval_view) = views(args, &load(&args.image, None)?)?;
    let image = load(&args.image, eval_view.range())?;
    let mut rows = Vec::new();
    for (number, view) in (0..).zip(&views) {
        rows.push(eval_view.apply_image(&image, key(args.seed, 0, 0)));
        let draws = 0..u64::from(args.count);
        rows.extend(draws.map(|epoch| view.apply_image(&image, key(args.seed, epoch, number))));
    }
    // All by the same factor, so that small crops look small beside large ones.
    if rows.iter().all(|image| image.width.max(image.height) < SMALL) {
        rows = rows.into_iter().map(enlarged).collect();
    }
    let sheet = contact_sheet(&rows, usize::from(args.count) + 1);
    out.write(|file| Ok(format.write(&sheet, file)?))?;

    println!("wrote {}: first the image as evaluation sees it, then the draws", args.out.display());
    for (number, view) in views.iter().enumerate() {
        println!("row {}: {view}", number + 1);
    }
    Ok(())
}

/// Epochs are what tells the draws of a view apart, as in training.
fn key(seed: u64, epoch: u64, view: u64) -> ViewKey {
    ViewKey { seed, epoch, image: 0, view }
}

/// Decodes an image by the range of values that the views begin with.
fn load(path: &Path, range: Option<ValueRange>) -> anyhow::Result<Image> {
    if !path.exists() {
        bail!("{} does not exist: give the path of an image", path.display());
    }
    if path.is_dir() {
        bail!("{} is a folder: give the path of one image", path.display());
    }
    let options = DecodeOptions { range, ..DecodeOptions::default() };
    let image = fs::read(path).map_err(ImageError::from);
    image
        .and_then(|bytes| Image::decode(&bytes, &options))
        .with_context(|| format!("cannot read {}", path.display()))
}

/// The views of the recipe, or those that `pretrain` would choose for images of this size.
fn views(args: &ViewsArgs, image: &Image) -> anyhow::Result<(Vec<View>, View)> {
    let mut tree = match &args.recipe {
        Some(recipe) => load_recipe(recipe)?,
        None => Table::new(),
    };
    plan::set(&mut tree, "data.path", "".into())?;
    let facts = DataFacts {
        images: TYPICAL_IMAGES,
        width: image.width,
        height: image.height,
        labelled: false,
    };
    let config = resolve(&tree, &facts)?.config;
    Ok((config.views().to_vec(), config.eval_view().clone()))
}

/// Each pixel of an image as a square of [`ENLARGED`] by [`ENLARGED`].
fn enlarged(image: Image) -> Image {
    let (width, height) = (image.width * ENLARGED, image.height * ENLARGED);
    let mut pixels = Vec::with_capacity(width * height * 3);
    for row in image.pixels.chunks_exact(image.width * 3) {
        let wide: Vec<u8> = row.chunks_exact(3).flat_map(|pixel| pixel.repeat(ENLARGED)).collect();
        for _ in 0..ENLARGED {
            pixels.extend_from_slice(&wide);
        }
    }
    Image::new(width, height, pixels)
}
