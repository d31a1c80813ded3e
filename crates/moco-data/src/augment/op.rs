//! The operations of a view: their text form and what they do.

use super::blur::gaussian_blur;
use super::color::{ColorJitter, grayscale};
use super::crop::{CropBox, RandomResizedCrop, center_crop};
use super::flip::flip;
use super::parse::{Call, ParseViewError};
use super::resize::{Filter, Resampler, Resize};
use super::solarize::solarize;
use crate::image::Image;
use crate::random::Random;
use std::fmt;

/// Every operation's name and form; what stands in brackets may be left out.
pub(super) const USAGE: [(&str, &str); 9] = [
    ("crop", "crop(S or HxW, [a..b], [bicubic])"),
    ("flip", "flip([p=0.5])"),
    ("jitter", "jitter(brightness, contrast, saturation, hue, [p=1])"),
    ("gray", "gray([p=1])"),
    ("blur", "blur(a..b, [p=1])"),
    ("solarize", "solarize(threshold, [p=1])"),
    ("resize", "resize(S or HxW, [bicubic])"),
    ("center", "center(S or HxW)"),
    ("normalize", "normalize(imagenet or cifar10 or none or mean=r,g,b std=r,g,b)"),
];

/// One step of a view.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Op {
    /// Makes an image of another size.
    Size(SizeOp),
    /// Changes the pixels in place, with probability `p`.
    Change { change: Change, p: f64 },
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum SizeOp {
    Crop(RandomResizedCrop),
    Resize(Resize, Filter),
    Center([usize; 2]),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Change {
    Flip,
    Jitter(ColorJitter),
    Gray,
    Blur { sigma: [f64; 2] },
    Solarize { threshold: u8 },
}

impl SizeOp {
    /// `[height, width]` of the result, unless it depends on the image.
    pub(super) fn fixed_size(&self) -> Option<[usize; 2]> {
        match *self {
            SizeOp::Crop(RandomResizedCrop { size, .. }) => Some(size),
            SizeOp::Resize(Resize::Exact(size), _) => Some(size),
            SizeOp::Resize(Resize::ShortSide(_), _) => None,
            SizeOp::Center(size) => Some(size),
        }
    }

    pub(super) fn apply(
        &self,
        image: &Image,
        random: &mut Random,
        resampler: &mut Resampler,
        out: &mut Image,
    ) {
        match self {
            SizeOp::Crop(crop) => crop.apply(image, random, resampler, out),
            SizeOp::Resize(resize, filter) => {
                let size = resize.size_of(image);
                resampler.resample(image, CropBox::whole(image), size, *filter, out);
            }
            SizeOp::Center(size) => center_crop(image, *size, out),
        }
    }
}

impl Change {
    /// Draws parameters and applies them; `spare` is working memory.
    pub(super) fn apply(&self, image: &mut Image, random: &mut Random, spare: &mut Vec<u8>) {
        match *self {
            Change::Flip => flip(image),
            Change::Jitter(jitter) => jitter.draw(random).apply(image),
            Change::Gray => grayscale(image),
            Change::Blur { sigma: [low, high] } => {
                gaussian_blur(image, random.uniform(low, high), spare);
            }
            Change::Solarize { threshold } => solarize(image, threshold),
        }
    }

    fn default_p(&self) -> f64 {
        if *self == Change::Flip { 0.5 } else { 1.0 }
    }
}

impl Op {
    /// Reads one operation.
    pub(super) fn read(mut call: Call) -> Result<Op, ParseViewError> {
        let op = match call.name.text {
            "crop" => Op::Size(SizeOp::Crop(RandomResizedCrop {
                size: call.need(SIZE, size)?,
                area: call.next("a range of areas such as 0.08..1", area)?.unwrap_or([0.08, 1.0]),
                filter: call.next(FILTER, filter)?.unwrap_or_default(),
            })),
            "resize" => {
                let resize = call.need(SIZE, |text| {
                    side(text).map(Resize::ShortSide).or_else(|| size(text).map(Resize::Exact))
                })?;
                Op::Size(SizeOp::Resize(resize, call.next(FILTER, filter)?.unwrap_or_default()))
            }
            "center" => Op::Size(SizeOp::Center(call.need(SIZE, size)?)),
            _ => {
                let change = read_change(&mut call)?;
                let p = call.option("p", "a probability in 0..1", |text| number(text, 0.0, 1.0))?;
                Op::Change { change, p: p.map_or(change.default_p(), |[p]| p) }
            }
        };
        call.finish()?;
        Ok(op)
    }
}

fn read_change(call: &mut Call) -> Result<Change, ParseViewError> {
    let strength = |text: &str| number(text, 0.0, 100.0);
    Ok(match call.name.text {
        "flip" => Change::Flip,
        "jitter" => Change::Jitter(ColorJitter {
            brightness: call.need("a strength of at least 0", strength)?,
            contrast: call.need("a strength of at least 0", strength)?,
            saturation: call.need("a strength of at least 0", strength)?,
            hue: call.need("a hue shift in 0..0.5", |text| number(text, 0.0, 0.5))?,
        }),
        "gray" => Change::Gray,
        "blur" => Change::Blur {
            sigma: call.need("a range of blurs such as 0.1..2", |text| range(text, 0.0, 100.0))?,
        },
        "solarize" => Change::Solarize {
            threshold: call.need("a level in 0..255", |text| text.parse().ok())?,
        },
        name => unreachable!("`{name}` is listed in USAGE but not read"),
    })
}

const SIZE: &str = "a size such as 224 or 224x192, of 1 to 4096 pixels a side";
const FILTER: &str = "the word bicubic";

fn side(text: &str) -> Option<usize> {
    text.parse().ok().filter(|side| (1..=4096).contains(side))
}

fn size(text: &str) -> Option<[usize; 2]> {
    match text.split_once('x') {
        Some((height, width)) => Some([side(height)?, side(width)?]),
        None => side(text).map(|side| [side, side]),
    }
}

fn filter(text: &str) -> Option<Filter> {
    (text == "bicubic").then_some(Filter::Bicubic)
}

fn number(text: &str, low: f64, high: f64) -> Option<f64> {
    text.parse().ok().filter(|value| (low..=high).contains(value))
}

fn range(text: &str, low: f64, high: f64) -> Option<[f64; 2]> {
    let (from, to) = text.split_once("..")?;
    let (from, to) = (number(from, low, high)?, number(to, low, high)?);
    (from <= to).then_some([from, to])
}

fn area(text: &str) -> Option<[f64; 2]> {
    range(text, 0.0, 1.0).filter(|[_, to]| *to > 0.0)
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Op::Size(op) => op.fmt(f),
            Op::Change { change, p } => fmt_change(change, *p, f),
        }
    }
}

impl fmt::Display for SizeOp {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let filter = |filter| if filter == Filter::Bicubic { ", bicubic" } else { "" };
        match *self {
            SizeOp::Crop(RandomResizedCrop { size, area: [a, b], filter: kernel }) => {
                write!(f, "crop({}, {a}..{b}{})", size_text(size), filter(kernel))
            }
            SizeOp::Resize(Resize::ShortSide(side), kernel) => {
                write!(f, "resize({side}{})", filter(kernel))
            }
            SizeOp::Resize(Resize::Exact([height, width]), kernel) => {
                write!(f, "resize({height}x{width}{})", filter(kernel))
            }
            SizeOp::Center(size) => write!(f, "center({})", size_text(size)),
        }
    }
}

fn size_text([height, width]: [usize; 2]) -> String {
    if height == width { height.to_string() } else { format!("{height}x{width}") }
}

fn fmt_change(change: &Change, p: f64, f: &mut fmt::Formatter) -> fmt::Result {
    let (name, arguments) = match *change {
        Change::Flip => ("flip", String::new()),
        Change::Jitter(ColorJitter { brightness: b, contrast: c, saturation: s, hue: h }) => {
            ("jitter", format!("{b},{c},{s},{h}"))
        }
        Change::Gray => ("gray", String::new()),
        Change::Blur { sigma: [a, b] } => ("blur", format!("{a}..{b}")),
        Change::Solarize { threshold } => ("solarize", threshold.to_string()),
    };
    let chance = if p == change.default_p() { String::new() } else { format!("p={p}") };
    match (arguments.is_empty(), chance.is_empty()) {
        (true, true) => f.write_str(name),
        (false, false) => write!(f, "{name}({arguments}; {chance})"),
        _ => write!(f, "{name}({arguments}{chance})"),
    }
}
