//! A view: operations in the order written, applied to one image with one key.

mod text;

use super::erase::RandomErasing;
use super::normalize::{self, Normalize};
use super::op::{Op, SizeOp, Tools};
use super::resize::{Filter, Resize};
use super::space::ColorSpace;
use super::window::{Patches, cut};
use crate::decode::ValueRange;
use crate::image::Image;
use crate::random::{Random, ViewKey};

/// One augmentation pipeline. Parsed from text; its `Display` is that text in canonical form.
#[derive(Clone, PartialEq)]
pub struct View {
    range: Option<ValueRange>,
    ops: Vec<Op>,
    patches: Option<PatchStage>,
    space: ColorSpace,
    normalize: Normalize,
    erasing: Option<RandomErasing>,
    size: [usize; 2],
}

/// A resized image, of which the centre is cut out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ResizedCenter {
    /// The size before the cut.
    pub resize: Resize,
    /// The interpolation kernel.
    pub filter: Filter,
    /// `[height, width]` of what is cut out.
    pub size: [usize; 2],
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

    /// The values of a file of more than 8 bits a sample that the view wants to be black and white.
    /// Decoding applies it: a program that decodes for a view passes it on.
    pub fn range(&self) -> Option<ValueRange> {
        self.range
    }

    /// How the result is normalised.
    pub fn normalize(&self) -> Normalize {
        self.normalize
    }

    /// The first cut, `[height, width]`, that is larger than what the view has of an image of
    /// `[height, width]` by then, and what it has; the rest would be black. `None` if every cut fits.
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

    /// How the view resizes an image and cuts out its centre, if that is all it does before it makes
    /// numbers of the pixels: what the preprocessing of other programs can be told.
    pub fn resized_center(&self) -> Option<ResizedCenter> {
        let (resize, filter) = match self.ops[..] {
            [Op::Size(SizeOp::Resize(resize, filter))]
            | [Op::Size(SizeOp::Resize(resize, filter)), Op::Size(SizeOp::Center(_))] => {
                (resize, filter)
            }
            _ => return None,
        };
        let plain = self.range.is_none() && self.patches.is_none() && self.erasing.is_none();
        plain.then_some(ResizedCenter { resize, filter, size: self.size })
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
    /// their grid, and what is erased is of one colour.
    ///
    /// # Panics
    /// If `image` has no pixels.
    pub fn apply_image(&self, image: &Image, key: ViewKey) -> Image {
        let [height, width] = self.size;
        let [rows, columns] = self.patches.as_ref().map_or([1, 1], |stage| stage.grid);
        let mut sheet = Image::filled(columns * width, rows * height, [0; 3]);
        let mut i = 0;
        let place = |patch: &Image, random: &mut Random| {
            let [top, left] = [i / columns * height, i % columns * width];
            sheet.paste(patch, [top, left]);
            let dot = Image::filled(1, 1, self.fill());
            self.erase(random, |[y, x], _| sheet.paste(&dot, [top + y, left + x]));
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
        let write = |image: &Image, random: &mut Random| {
            let out = outs.next().expect("one for each image");
            match self.space {
                ColorSpace::Rgb => normalize::write(image, mean, std, out),
                space => space.write(image, mean, std, out),
            }
            let pixels = out.as_chunks_mut::<3>().0;
            self.erase(random, |[y, x], noise| pixels[y * width + x] = noise);
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
        steps.push(self.ending());
        steps
    }

    /// The colour of what lies outside an image: the mean of the data if the normalisation tells it
    /// in RGB, else grey, both as timm has it.
    fn fill(&self) -> [u8; 3] {
        if self.space != ColorSpace::Rgb || self.normalize == Normalize::None {
            return [128; 3];
        }
        let (mean, _) = self.normalize.statistics();
        mean.map(|mean| (f64::from(mean) * 255.0).round_ties_even() as u8)
    }

    /// Calls `set` with the place of each pixel that is erased and what it becomes.
    fn erase(&self, random: &mut Random, set: impl FnMut([usize; 2], [f32; 3])) {
        if let Some(erasing) = self.erasing {
            erasing.apply(random, self.size, set);
        }
    }

    /// Calls `done` with each of the view's images in 8 bits.
    fn run(
        &self,
        scratch: &mut Scratch,
        source: &Image,
        random: &mut Random,
        mut done: impl FnMut(&Image, &mut Random),
        observe: Observe,
    ) {
        let Scratch { image, patch, patch_out, tools } = scratch;
        tools.fill = self.fill();
        let whole = run_ops(&self.ops, source, image, tools, random, observe);
        let first = self.ops.len();
        let Some(PatchStage { patches, grid: [_, columns], ops }) = &self.patches else {
            done(whole, random);
            return observe(first);
        };
        for window in patches.windows(*columns).take(self.count()) {
            cut(whole, window, patch);
            observe(first);
            let inner = &mut |step| observe(first + 1 + step);
            let image = run_ops(ops, patch, patch_out, tools, random, inner);
            done(image, random);
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
