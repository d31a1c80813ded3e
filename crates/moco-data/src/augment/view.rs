//! A view: operations in the order written, applied to one image with one key.

use super::normalize::{self, Normalize};
use super::op::{Op, SizeOp, Tools};
use super::parse::{Call, ParseViewError, Word};
use super::space::ColorSpace;
use super::window::{Patches, cut};
use crate::image::Image;
use crate::random::{Random, ViewKey};
use std::fmt;
use std::str::FromStr;

/// One augmentation pipeline. Parsed from text; its `Display` is that text in canonical form.
#[derive(Clone, PartialEq)]
pub struct View {
    ops: Vec<Op>,
    patches: Option<PatchStage>,
    space: ColorSpace,
    normalize: Normalize,
    size: [usize; 2],
}

/// What becomes of an image that is cut into patches.
#[derive(Clone, PartialEq)]
struct PatchStage {
    patches: Patches,
    /// Rows and columns of patches.
    grid: [usize; 2],
    /// Done to each patch, with random numbers of its own.
    ops: Vec<Op>,
}

/// Working memory of [`View::apply`], worth keeping from image to image.
#[derive(Default)]
pub(crate) struct Scratch {
    image: Image,
    patch: Image,
    patch_out: Image,
    tools: Tools,
}

impl View {
    /// `[height, width]` of the result, or of each patch.
    pub fn size(&self) -> [usize; 2] {
        self.size
    }

    /// Rows and columns of the patches that the view makes of an image; none without patches.
    pub fn grid(&self) -> Option<[usize; 2]> {
        self.patches.as_ref().map(|stage| stage.grid)
    }

    /// How many images the view makes of one: 1, or the number of patches.
    pub fn count(&self) -> usize {
        self.patches.as_ref().map_or(1, |stage| stage.grid[0] * stage.grid[1])
    }

    /// How many values the view makes of one image: `count * H * W * 3`.
    pub fn value_count(&self) -> usize {
        self.count() * self.size[0] * self.size[1] * 3
    }

    /// What the channels of the result are.
    pub fn space(&self) -> ColorSpace {
        self.space
    }

    /// How the result is normalised.
    pub fn normalize(&self) -> Normalize {
        self.normalize
    }

    /// The same view, normalised in another way; for statistics computed from the data.
    pub fn with_normalize(self, normalize: Normalize) -> View {
        View { normalize, ..self }
    }

    /// Reads one or several views: `6x crop(96, 0.05..0.14) flip` is that view six times, each of
    /// which draws its own random numbers, as in multi-crop.
    ///
    /// # Errors
    /// If the text is no view, or is repeated 0 or more than 64 times.
    pub fn repeated(text: &str) -> Result<Vec<View>, ParseViewError> {
        let start = text.trim_start();
        let indent = text.len() - start.len();
        let digits = start.len() - start.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let Some(rest) = start[digits..].strip_prefix('x').filter(|_| digits > 0) else {
            return Ok(vec![text.parse()?]);
        };
        let times = start[..digits].parse().ok().filter(|times| (1..=64).contains(times));
        let column = text[..indent].chars().count() + 1;
        let times = times.ok_or(ParseViewError::Repeats { column })?;
        // Spaces in the place of the prefix keep the columns of errors.
        let alone: View = format!("{}{rest}", " ".repeat(column + digits)).parse()?;
        Ok(vec![alone; times])
    }

    /// Of images of `[height, width]`: the first `[height, width]` that the view would cut out of
    /// fewer pixels, and those that are there. The rest would be black.
    pub fn cut_beyond(&self, image: [usize; 2]) -> Option<[[usize; 2]; 2]> {
        let mut there = image;
        for op in &self.ops {
            let Op::Size(op) = op else { continue };
            match op.cut_size() {
                Some(cut) if cut[0] > there[0] || cut[1] > there[1] => return Some([cut, there]),
                _ => there = op.size_of(there),
            }
        }
        None
    }

    /// Writes the view of `image` that belongs to `key`, normalised, in the layout `[H, W, 3]`, or
    /// `[P, H, W, 3]` if the view makes P patches, row by row of the grid.
    ///
    /// # Panics
    /// If `image` has no pixels, or `out` does not hold [`value_count`](Self::value_count) values.
    pub fn apply(&self, image: &Image, key: ViewKey, out: &mut [f32]) {
        self.apply_with(&mut Scratch::default(), image, key, out, &mut |_| {});
    }

    /// As [`apply`](Self::apply), but in RGB and before normalisation, to look at; patches lie in
    /// their grid.
    ///
    /// # Panics
    /// If `image` has no pixels.
    pub fn apply_image(&self, image: &Image, key: ViewKey) -> Image {
        let [height, width] = self.size;
        let [rows, columns] = self.patches.as_ref().map_or([1, 1], |stage| stage.grid);
        let mut sheet = Image::filled(columns * width, rows * height, [0; 3]);
        let mut i = 0;
        let place = |patch: &Image| {
            sheet.paste(patch, [i / columns * height, i % columns * width]);
            i += 1;
        };
        self.run(&mut Scratch::default(), image, &mut key.random(), place, &mut |_| {});
        sheet
    }

    /// As [`apply`](Self::apply); calls `observe` after each of [`steps`](Self::steps) with its
    /// number.
    pub(crate) fn apply_with(
        &self,
        scratch: &mut Scratch,
        image: &Image,
        key: ViewKey,
        out: &mut [f32],
        observe: Observe,
    ) {
        let [height, width] = self.size;
        let count = self.count();
        assert_eq!(
            out.len(),
            self.value_count(),
            "values of {count} RGB images of {height}x{width}"
        );
        let mut outs = out.chunks_exact_mut(height * width * 3);
        let (mean, std) = self.normalize.statistics();
        let write = |image: &Image| {
            let out = outs.next().expect("one for each image");
            match self.space {
                ColorSpace::Rgb => normalize::write(image, mean, std, out),
                space => space.write(image, mean, std, out),
            }
        };
        self.run(scratch, image, &mut key.random(), write, observe);
    }

    /// The texts of all operations, in order; the last is what makes numbers of the pixels.
    pub(crate) fn steps(&self) -> Vec<String> {
        let mut steps: Vec<String> = self.ops.iter().map(Op::to_string).collect();
        if let Some(stage) = &self.patches {
            steps.push(stage.patches.to_string());
            steps.extend(stage.ops.iter().map(Op::to_string));
        }
        steps.push(self.normalize.to_string());
        steps
    }

    /// Calls `done` with each of the view's images in 8 bits.
    fn run(
        &self,
        scratch: &mut Scratch,
        source: &Image,
        random: &mut Random,
        mut done: impl FnMut(&Image),
        observe: Observe,
    ) {
        let Scratch { image, patch, patch_out, tools } = scratch;
        let whole = run_ops(&self.ops, source, image, tools, random, observe);
        let first = self.ops.len();
        let Some(PatchStage { patches, grid: [_, columns], ops }) = &self.patches else {
            done(whole);
            return observe(first);
        };
        for window in patches.windows(*columns).take(self.count()) {
            cut(whole, window, patch);
            observe(first);
            let inner = &mut |step| observe(first + 1 + step);
            done(run_ops(ops, patch, patch_out, tools, random, inner));
            observe(first + 1 + ops.len());
        }
    }
}

/// Told the number of each step that is done.
type Observe<'a> = &'a mut dyn FnMut(usize);

/// Applies operations one after the other. Reads `source` in place until the first that changes
/// it; then the result is in `image`.
fn run_ops<'a>(
    ops: &[Op],
    source: &'a Image,
    image: &'a mut Image,
    tools: &mut Tools,
    random: &mut Random,
    observe: Observe,
) -> &'a Image {
    let mut untouched = true;
    for (step, op) in ops.iter().enumerate() {
        match op {
            Op::Size(size) if std::mem::take(&mut untouched) => {
                size.apply(source, random, tools, image);
            }
            Op::Size(size) => size.replace(image, random, tools),
            Op::Change { change, p } if random.chance(*p) => {
                if std::mem::take(&mut untouched) {
                    image.copy_from(source);
                }
                change.apply(image, random, tools);
            }
            Op::Change { .. } => {}
        }
        observe(step);
    }
    if untouched { source } else { image }
}

impl FromStr for View {
    type Err = ParseViewError;

    /// Reads a view such as `crop(224, 0.2..1) flip normalize(imagenet)`. Without `normalize` the
    /// samples of RGB lie in 0..=1.
    fn from_str(text: &str) -> Result<View, ParseViewError> {
        let mut calls = Call::split(text)?;
        let normalize = calls.pop_if(|call| call.name.text == "normalize");
        let space = calls.pop_if(|call| space_of(call).is_some());
        let (space, space_call) = match space {
            Some(call) => (space_of(&call).unwrap_or_default(), Some(call)),
            None => (ColorSpace::Rgb, None),
        };
        space_call.map_or(Ok(()), Call::finish)?;

        let (mut ops, mut patches) = (Vec::new(), None::<PatchStage>);
        for call in calls {
            let (name, column) = (call.name.text, call.name.column);
            match (name, &mut patches) {
                ("normalize", _) => return Err(ParseViewError::NormalizeNotLast { column }),
                (_, _) if space_of(&call).is_some() => {
                    return Err(ParseViewError::SpaceNotLast { name: name.into(), column });
                }
                ("patches", Some(_)) => return Err(ParseViewError::PatchesTwice { column }),
                ("patches", None) => patches = Some(PatchStage::read(call, &ops)?),
                (_, Some(stage)) => stage.ops.push(Op::read(call)?),
                (_, None) => ops.push(Op::read(call)?),
            }
        }
        let size = match &patches {
            Some(stage) => output_size(&stage.ops, Some(stage.patches.size)),
            None => output_size(&ops, None),
        };
        let size = size.ok_or(ParseViewError::OpenSize)?;
        let normalize = normalize.map(|call| read_normalize(call, space)).transpose()?;
        let normalize = normalize.unwrap_or_default();
        Ok(View { ops, patches, space, normalize, size })
    }
}

impl PatchStage {
    fn read(call: Call, ops: &[Op]) -> Result<PatchStage, ParseViewError> {
        let Word { column, .. } = call.name;
        let patches = Patches::read(call)?;
        let [height, width] = output_size(ops, None).ok_or(ParseViewError::OpenSize)?;
        let grid = patches.grid([height, width]);
        match grid.contains(&0) {
            true => Err(ParseViewError::PatchesTooLarge { column, height, width }),
            false => Ok(PatchStage { patches, grid, ops: Vec::new() }),
        }
    }
}

fn space_of(call: &Call) -> Option<ColorSpace> {
    let spaces = [ColorSpace::Lab, ColorSpace::YCbCr];
    spaces.into_iter().find(|space| space.name() == call.name.text)
}

fn read_normalize(call: Call, space: ColorSpace) -> Result<Normalize, ParseViewError> {
    let Word { column, .. } = call.name;
    let normalize = Normalize::read(call)?;
    match normalize.space() {
        Some(expected) if expected != space => {
            let (expected, found) = (expected.name(), space.name());
            Err(ParseViewError::NormalizeSpace { column, expected, found })
        }
        _ => Ok(normalize),
    }
}

/// The size that operations give, if they give every image the same; `before` is that of the
/// images they start from.
fn output_size(ops: &[Op], before: Option<[usize; 2]>) -> Option<[usize; 2]> {
    let sizing = ops.iter().rev().find_map(|op| match op {
        Op::Size(size) => Some(size),
        Op::Change { .. } => None,
    });
    sizing.map_or(before, SizeOp::fixed_size)
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        for op in &self.ops {
            write!(f, "{op} ")?;
        }
        if let Some(stage) = &self.patches {
            write!(f, "{} ", stage.patches)?;
            for op in &stage.ops {
                write!(f, "{op} ")?;
            }
        }
        if self.space != ColorSpace::Rgb {
            write!(f, "{} ", self.space.name())?;
        }
        self.normalize.fmt(f)
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "View({self})")
    }
}
