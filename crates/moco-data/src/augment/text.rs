//! Operations as text.

use super::crop::{ASPECT, RandomResizedCrop};
use super::erase::RandomErasing;
use super::gaussian::Taps;
use super::jitter::ColorJitter;
use super::op::{Change, Op, SizeOp};
use super::parse::{Call, ParseViewError};
use super::randaugment::{MAX_MAGNITUDE, RandAugment};
use super::resize::{Filter, Resize};
use super::window::Patches;
use crate::decode::ValueRange;
use std::fmt;

/// Every operation's name and form; what stands in brackets may be left out.
pub(super) const USAGE: [(&str, &str); 18] = [
    ("range", "range(a..b) in the values of the file, or range(percentile a..b)"),
    ("crop", "crop(S or HxW, [a..b], [bicubic], [aspect=3/4..4/3])"),
    ("cut", "cut(S or HxW)"),
    ("flip", "flip([p=0.5])"),
    (
        "jitter",
        "jitter(brightness, contrast, saturation, hue, [brightness=add], [order=fixed], \
         [colors=tensorflow], [p=1])",
    ),
    ("gray", "gray([p=1])"),
    ("drop", "drop([p=1])"),
    ("blur", "blur(a..b, [taps=N or height/10], [p=1])"),
    ("solarize", "solarize(threshold, [p=1])"),
    ("translate", "translate(pixels, [p=1])"),
    ("randaugment", "randaugment(magnitude, deviation, [p=1])"),
    ("resize", "resize(S or HxW, [bicubic])"),
    ("center", "center(S or HxW)"),
    ("patches", "patches(S or HxW, stride=S or HxW)"),
    ("lab", "lab"),
    ("ycbcr", "ycbcr"),
    (
        "normalize",
        "normalize(imagenet, cifar10, cifar10-pixels, cifar100, mnist, fashion-mnist, half, lab, \
         ycbcr or none, or mean=r,g,b std=r,g,b)",
    ),
    ("erase", "erase([p=1])"),
];

impl Op {
    /// Reads one operation.
    pub(super) fn read(mut call: Call) -> Result<Op, ParseViewError> {
        let op = match call.name.text {
            "crop" => Op::Size(SizeOp::Crop(RandomResizedCrop {
                size: call.need(SIZE, size)?,
                area: call.next("a range of areas such as 0.08..1", area)?.unwrap_or([0.08, 1.0]),
                filter: call.next(FILTER, filter)?.unwrap_or_default(),
                aspect: call
                    .option("aspect", "a range of ratios such as 3/4..4/3", aspect)?
                    .map_or(ASPECT, |[range]| range),
            })),
            "cut" => Op::Size(SizeOp::Cut(call.need(SIZE, size)?)),
            "resize" => {
                let resize = call.need(SIZE, |text| {
                    side(text).map(Resize::ShortSide).or_else(|| size(text).map(Resize::Exact))
                })?;
                Op::Size(SizeOp::Resize(resize, call.next(FILTER, filter)?.unwrap_or_default()))
            }
            "center" => Op::Size(SizeOp::Center(call.need(SIZE, size)?)),
            _ => {
                let change = read_change(&mut call)?;
                let p = probability(&mut call)?.unwrap_or(change.default_p());
                Op::Change { change, p }
            }
        };
        call.finish()?;
        Ok(op)
    }
}

impl Patches {
    /// Reads the operation from a view's text.
    pub(super) fn read(mut call: Call) -> Result<Patches, ParseViewError> {
        let patch = call.need(SIZE, size)?;
        let [stride] =
            call.option("stride", SIZE, size)?.ok_or_else(|| call.missing("a stride"))?;
        call.finish()?;
        Ok(Patches { size: patch, stride })
    }
}

impl ValueRange {
    /// Reads the operation from a view's text.
    pub(super) fn read(mut call: Call) -> Result<ValueRange, ParseViewError> {
        const EXPECTED: &str = "a range of values such as 0..4095, or the word percentile";
        let value_range = |text: &str| range(text, -MAX_VALUE, MAX_VALUE).filter(|[a, b]| a < b);
        let percentiles = |text: &str| range(text, 0.0, 100.0).filter(|[a, b]| a < b);
        let first = call.need(EXPECTED, |text| match text {
            "percentile" => Some(None),
            _ => value_range(text).map(Some),
        })?;
        let found = match first {
            Some(bounds) => ValueRange::Values(bounds),
            None => ValueRange::Percentiles(
                call.need("a range of percentiles such as 1..99", percentiles)?,
            ),
        };
        call.finish()?;
        Ok(found)
    }
}

impl RandomErasing {
    /// Reads the operation from a view's text.
    pub(super) fn read(mut call: Call) -> Result<RandomErasing, ParseViewError> {
        let p = probability(&mut call)?.unwrap_or(1.0);
        call.finish()?;
        Ok(RandomErasing { p })
    }
}

/// The largest value that a file can hold.
const MAX_VALUE: f64 = f32::MAX as f64;

fn probability(call: &mut Call) -> Result<Option<f64>, ParseViewError> {
    let p = call.option("p", "a probability in 0..1", |text| number(text, 0.0, 1.0))?;
    Ok(p.map(|[p]| p))
}

fn read_change(call: &mut Call) -> Result<Change, ParseViewError> {
    Ok(match call.name.text {
        "flip" => Change::Flip,
        "jitter" => Change::Jitter(read_jitter(call)?),
        "gray" => Change::Gray,
        "drop" => Change::Drop,
        "blur" => Change::Blur {
            sigma: call.need("a range of blurs such as 0.1..2", |text| range(text, 0.0, 100.0))?,
            taps: call
                .option("taps", "an odd number up to 999, or height/10", taps)?
                .map(|[taps]| taps),
        },
        "solarize" => Change::Solarize {
            threshold: call.need("a level in 0..255", |text| text.parse().ok())?,
        },
        "translate" => {
            Change::Translate { pixels: call.need("a number of pixels in 1..4096", side)? }
        }
        "randaugment" => {
            let strength = |text: &str| number(text, 0.0, MAX_MAGNITUDE);
            Change::RandAugment(RandAugment {
                magnitude: call.need("a magnitude in 0..10", strength)?,
                std: call.need("a standard deviation in 0..10", strength)?,
            })
        }
        name => unreachable!("`{name}` is listed in USAGE but not read"),
    })
}

fn read_jitter(call: &mut Call) -> Result<ColorJitter, ParseViewError> {
    let strength = |text: &str| number(text, 0.0, 100.0);
    let is = |word: &'static str| move |text: &str| (text == word).then_some(());
    Ok(ColorJitter {
        brightness: call.need("a strength of at least 0", strength)?,
        contrast: call.need("a strength of at least 0", strength)?,
        saturation: call.need("a strength of at least 0", strength)?,
        hue: call.need("a hue shift in 0..0.5", |text| number(text, 0.0, 0.5))?,
        additive: call.option::<_, 1>("brightness", "the word add", is("add"))?.is_some(),
        fixed_order: call.option::<_, 1>("order", "the word fixed", is("fixed"))?.is_some(),
        tensorflow: call
            .option::<_, 1>("colors", "the word tensorflow", is("tensorflow"))?
            .is_some(),
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

fn taps(text: &str) -> Option<Taps> {
    match text {
        "height/10" => Some(Taps::TenthOfHeight),
        _ => text.parse().ok().filter(|taps| taps % 2 == 1 && *taps < 1000).map(Taps::Fixed),
    }
}

/// A number or a fraction such as 3/4.
fn ratio(text: &str) -> Option<f64> {
    let value = match text.split_once('/') {
        Some((over, under)) => over.parse::<f64>().ok()? / under.parse::<f64>().ok()?,
        None => text.parse().ok()?,
    };
    (0.01..=100.0).contains(&value).then_some(value)
}

fn aspect(text: &str) -> Option<[f64; 2]> {
    let (from, to) = text.split_once("..")?;
    let range = [ratio(from)?, ratio(to)?];
    (range[0] <= range[1]).then_some(range)
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
            SizeOp::Crop(RandomResizedCrop { size, area: [a, b], filter: kernel, aspect }) => {
                write!(f, "crop({}, {a}..{b}{}", size_text(size), filter(kernel))?;
                match aspect {
                    ASPECT => f.write_str(")"),
                    [from, to] => write!(f, ", aspect={from}..{to})"),
                }
            }
            SizeOp::Cut(size) => write!(f, "cut({})", size_text(size)),
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

impl fmt::Display for Patches {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "patches({}, stride={})", size_text(self.size), size_text(self.stride))
    }
}

impl fmt::Display for RandomErasing {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.p {
            1.0 => f.write_str("erase"),
            p => write!(f, "erase(p={p})"),
        }
    }
}

fn size_text([height, width]: [usize; 2]) -> String {
    if height == width { height.to_string() } else { format!("{height}x{width}") }
}

fn fmt_change(change: &Change, p: f64, f: &mut fmt::Formatter) -> fmt::Result {
    let (name, mut arguments) = match *change {
        Change::Flip => ("flip", Vec::new()),
        Change::Jitter(jitter) => ("jitter", jitter_arguments(jitter)),
        Change::Gray => ("gray", Vec::new()),
        Change::Drop => ("drop", Vec::new()),
        Change::Blur { sigma: [a, b], taps } => {
            let range = format!("{a}..{b}");
            let taps = taps.map(|taps| match taps {
                Taps::Fixed(taps) => format!("taps={taps}"),
                Taps::TenthOfHeight => "taps=height/10".into(),
            });
            ("blur", [Some(range), taps].into_iter().flatten().collect())
        }
        Change::Solarize { threshold } => ("solarize", vec![threshold.to_string()]),
        Change::Translate { pixels } => ("translate", vec![pixels.to_string()]),
        Change::RandAugment(RandAugment { magnitude, std }) => {
            ("randaugment", vec![format!("{magnitude}, {std}")])
        }
    };
    if p != change.default_p() {
        arguments.push(format!("p={p}"));
    }
    match arguments.is_empty() {
        true => f.write_str(name),
        false => write!(f, "{name}({})", arguments.join("; ")),
    }
}

fn jitter_arguments(jitter: ColorJitter) -> Vec<String> {
    let ColorJitter { brightness: b, contrast: c, saturation: s, hue: h, .. } = jitter;
    let mut arguments = vec![format!("{b},{c},{s},{h}")];
    arguments.extend(jitter.additive.then(|| "brightness=add".into()));
    arguments.extend(jitter.fixed_order.then(|| "order=fixed".into()));
    arguments.extend(jitter.tensorflow.then(|| "colors=tensorflow".into()));
    arguments
}
