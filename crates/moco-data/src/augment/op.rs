//! The operations of a view and what they do to an image.

use super::blur::gaussian_blur;
use super::color::{grayscale, keep_channel};
use super::crop::{CropBox, RandomResizedCrop, center_crop};
use super::flip::flip;
use super::gaussian::{Convolver, Taps};
use super::jitter::ColorJitter;
use super::randaugment::RandAugment;
use super::resize::{Filter, Resampler, Resize};
use super::solarize::solarize;
use super::window::{cut, draw_window, translate};
use crate::image::Image;
use crate::random::Random;
use std::mem;

/// One step of a view.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Op {
    /// Makes an image of another size.
    Size(SizeOp),
    /// Changes the pixels and keeps the size, with probability `p`.
    Change { change: Change, p: f64 },
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum SizeOp {
    Crop(RandomResizedCrop),
    Cut([usize; 2]),
    Resize(Resize, Filter),
    Center([usize; 2]),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Change {
    Flip,
    Jitter(ColorJitter),
    Gray,
    /// Two of the three channels become those of a mean pixel.
    Drop,
    /// Pillow's blur, or with taps that of SimCLR and BYOL.
    Blur {
        sigma: [f64; 2],
        taps: Option<Taps>,
    },
    Solarize {
        threshold: u8,
    },
    Translate {
        pixels: usize,
    },
    RandAugment(RandAugment),
}

/// Working memory of the operations, and the colour of what is outside the image.
#[derive(Default)]
pub(super) struct Tools {
    pub fill: [u8; 3],
    next: Image,
    window: Image,
    spare: Vec<u8>,
    resampler: Resampler,
    convolver: Convolver,
}

impl SizeOp {
    /// `[height, width]` of the result, unless it depends on the image.
    pub(super) fn fixed_size(&self) -> Option<[usize; 2]> {
        match *self {
            SizeOp::Crop(RandomResizedCrop { size, .. }) => Some(size),
            SizeOp::Resize(Resize::Exact(size), _) => Some(size),
            SizeOp::Resize(Resize::ShortSide(_), _) => None,
            SizeOp::Cut(size) | SizeOp::Center(size) => Some(size),
        }
    }

    /// The pixels that are cut out at their own scale, if they are.
    pub(super) fn cut_size(&self) -> Option<[usize; 2]> {
        match *self {
            SizeOp::Cut(size) | SizeOp::Center(size) => Some(size),
            SizeOp::Crop(_) | SizeOp::Resize(..) => None,
        }
    }

    /// `[height, width]` of the result for an image of `[height, width]`.
    pub(super) fn size_of(&self, image: [usize; 2]) -> [usize; 2] {
        match self {
            SizeOp::Resize(resize, _) => resize.size_of(image),
            op => op.fixed_size().expect("only a resize depends on the image"),
        }
    }

    /// Writes the result of `source` to `out`.
    pub(super) fn apply(
        &self,
        source: &Image,
        random: &mut Random,
        tools: &mut Tools,
        out: &mut Image,
    ) {
        let Tools { resampler, window, .. } = tools;
        match self {
            SizeOp::Crop(crop) => crop.apply(source, random, resampler, out),
            SizeOp::Resize(resize, filter) => {
                let size = resize.size_of([source.height, source.width]);
                resampler.resample(source, CropBox::whole(source), size, *filter, out);
            }
            SizeOp::Cut(size) => {
                cut(source, draw_window(random, source, *size), window);
                // Of an image that is smaller, the rest is black.
                center_crop(window, *size, out);
            }
            SizeOp::Center(size) => center_crop(source, *size, out),
        }
    }

    /// As [`apply`](Self::apply), in the place of the image.
    pub(super) fn replace(&self, image: &mut Image, random: &mut Random, tools: &mut Tools) {
        let mut out = mem::take(&mut tools.next);
        self.apply(image, random, tools, &mut out);
        tools.next = mem::replace(image, out);
    }
}

impl Change {
    /// Draws parameters and applies them.
    pub(super) fn apply(&self, image: &mut Image, random: &mut Random, tools: &mut Tools) {
        match *self {
            Change::Flip => flip(image),
            Change::Jitter(jitter) => jitter.draw(random).apply(image),
            Change::Gray => grayscale(image),
            Change::Drop => keep_channel(image, random.below(3), tools.fill),
            Change::Blur { sigma: [low, high], taps } => {
                let sigma = random.uniform(low, high);
                match taps {
                    Some(taps) => tools.convolver.blur(image, sigma, taps.radius(image.height)),
                    None => gaussian_blur(image, sigma, &mut tools.spare),
                }
            }
            Change::Solarize { threshold } => solarize(image, threshold),
            Change::Translate { pixels } => {
                let mut shift = || random.below(2 * pixels + 1) as isize - pixels as isize;
                let (down, right) = (shift(), shift());
                translate(image, down, right, &mut tools.next);
                mem::swap(image, &mut tools.next);
            }
            Change::RandAugment(augment) => {
                for distortion in augment.draw(random).into_iter().flatten() {
                    distortion.apply(image, tools.fill, &mut tools.next);
                }
            }
        }
    }

    /// The probability unless another is given.
    pub(super) fn default_p(&self) -> f64 {
        if *self == Change::Flip { 0.5 } else { 1.0 }
    }
}
