//! A view: operations in the order written, applied to one image with one key.

use super::normalize::{self, Normalize};
use super::op::{Op, SizeOp};
use super::parse::{Call, ParseViewError};
use super::resize::Resampler;
use crate::image::Image;
use crate::random::{Random, ViewKey};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// One augmentation pipeline. Parsed from text; its `Display` is that text in canonical form.
#[derive(Clone)]
pub struct View {
    ops: Vec<Op>,
    normalize: Normalize,
    size: [usize; 2],
    table: Arc<[[f32; 3]; 256]>,
}

/// Working memory of [`View::apply`], worth keeping from image to image.
#[derive(Default)]
pub(crate) struct Scratch {
    image: Image,
    next: Image,
    spare: Vec<u8>,
    resampler: Resampler,
}

impl View {
    /// `[height, width]` of the result.
    pub fn size(&self) -> [usize; 2] {
        self.size
    }

    /// How the result is normalised.
    pub fn normalize(&self) -> Normalize {
        self.normalize
    }

    /// Writes the view of `image` that belongs to `key`, normalised, in the layout `[H, W, 3]`.
    ///
    /// # Panics
    /// If `image` has no pixels, or `out` does not hold `H * W * 3` values.
    pub fn apply(&self, image: &Image, key: ViewKey, out: &mut [f32]) {
        self.apply_with(&mut Scratch::default(), image, key, out);
    }

    /// As [`apply`](Self::apply), but before normalisation, to look at.
    ///
    /// # Panics
    /// If `image` has no pixels.
    pub fn apply_image(&self, image: &Image, key: ViewKey) -> Image {
        self.run(&mut Scratch::default(), image, &mut key.random()).clone()
    }

    pub(crate) fn apply_with(
        &self,
        scratch: &mut Scratch,
        image: &Image,
        key: ViewKey,
        out: &mut [f32],
    ) {
        let [height, width] = self.size;
        assert_eq!(out.len(), height * width * 3, "values of a {height}x{width} RGB view");
        normalize::write(self.run(scratch, image, &mut key.random()), &self.table, out);
    }

    /// The view in 8 bits. Reads `source` in place until the first operation that changes it.
    fn run<'a>(
        &self,
        scratch: &'a mut Scratch,
        source: &'a Image,
        random: &mut Random,
    ) -> &'a Image {
        let Scratch { image, next, spare, resampler } = scratch;
        let mut untouched = true;
        for op in &self.ops {
            match op {
                Op::Size(size) => {
                    size.apply(if untouched { source } else { image }, random, resampler, next);
                    std::mem::swap(image, next);
                    untouched = false;
                }
                Op::Change { change, p } if random.chance(*p) => {
                    if std::mem::take(&mut untouched) {
                        image.copy_from(source);
                    }
                    change.apply(image, random, spare);
                }
                Op::Change { .. } => {}
            }
        }
        if untouched { source } else { image }
    }
}

impl FromStr for View {
    type Err = ParseViewError;

    /// Reads a view such as `crop(224, 0.2..1) flip normalize(imagenet)`. Without `normalize` the
    /// result lies in 0..=1.
    fn from_str(text: &str) -> Result<View, ParseViewError> {
        let mut ops = Vec::new();
        let mut calls = Call::split(text)?;
        let last = calls.pop_if(|call| call.name.text == "normalize");
        for call in calls {
            if call.name.text == "normalize" {
                return Err(ParseViewError::NormalizeNotLast { column: call.name.column });
            }
            ops.push(Op::read(call)?);
        }
        let normalize = last.map(Normalize::read).transpose()?.unwrap_or_default();
        let size = output_size(&ops).ok_or(ParseViewError::OpenSize)?;
        Ok(View { ops, normalize, size, table: Arc::new(normalize.table()) })
    }
}

/// The size that the last operation of its kind gives, if it gives every image the same.
fn output_size(ops: &[Op]) -> Option<[usize; 2]> {
    let sizing = ops.iter().rev().find_map(|op| match op {
        Op::Size(size) => Some(size),
        _ => None,
    });
    sizing.and_then(SizeOp::fixed_size)
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        for op in &self.ops {
            write!(f, "{op} ")?;
        }
        self.normalize.fmt(f)
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "View({self})")
    }
}

impl PartialEq for View {
    fn eq(&self, other: &View) -> bool {
        self.ops == other.ops && self.normalize == other.normalize
    }
}
