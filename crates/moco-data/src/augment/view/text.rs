//! A view as text.

use super::{PatchStage, View};
use crate::augment::erase::RandomErasing;
use crate::augment::normalize::Normalize;
use crate::augment::op::{Op, SizeOp};
use crate::augment::parse::{Call, ParseViewError, Word};
use crate::augment::space::ColorSpace;
use crate::augment::window::Patches;
use crate::decode::ValueRange;
use std::fmt;
use std::str::FromStr;

impl View {
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

    /// The text of what makes numbers of the pixels.
    pub(super) fn ending(&self) -> String {
        match self.erasing {
            Some(erasing) => format!("{} {erasing}", self.normalize),
            None => self.normalize.to_string(),
        }
    }
}

impl FromStr for View {
    type Err = ParseViewError;

    /// Reads a view such as `crop(224, 0.2..1) flip normalize(imagenet)`. Without `normalize` the
    /// samples of RGB lie in 0..=1.
    fn from_str(text: &str) -> Result<View, ParseViewError> {
        let mut calls = Call::split(text)?;
        let starts = calls.first().is_some_and(|call| call.name.text == "range");
        let range = starts.then(|| ValueRange::read(calls.remove(0))).transpose()?;
        let erasing = calls.pop_if(|call| call.name.text == "erase");
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
                ("range", _) => return Err(ParseViewError::RangeNotFirst { column }),
                ("erase", _) => return Err(ParseViewError::EraseNotLast { column }),
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
        let erasing = erasing.map(RandomErasing::read).transpose()?;
        Ok(View { range, ops, patches, space, normalize, erasing, size })
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
        if let Some(range) = self.range {
            write!(f, "{range} ")?;
        }
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
        f.write_str(&self.ending())
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "View({self})")
    }
}
