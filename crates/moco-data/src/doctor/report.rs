//! What an examination found, as data.

use crate::source::Holdings;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What an examination found. Names are those of the data set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// What the source was taken to be, and what in it was passed over.
    #[serde(default)]
    pub holdings: Holdings,
    /// Images listed.
    pub images: usize,
    /// Images that can be decoded.
    pub readable: usize,
    /// Encoded size of all images, in bytes.
    pub bytes: u64,
    /// How often each kind of finding occurs.
    pub counts: BTreeMap<Kind, usize>,
    /// The findings, by kind and then by position; of each kind at most as many as were asked for.
    pub findings: Vec<Finding>,
    /// What was left out of the data set when it was listed.
    pub skipped: Vec<Left>,
    /// Images whose bytes are equal; groups of at most as many as were asked for.
    pub duplicates: Groups,
    /// Images that look alike but differ in their bytes; likewise.
    pub near_duplicates: Groups,
    /// Classes with their number of images, by number; empty if there are none.
    pub classes: Vec<Class>,
    /// Widths of the readable images, in pixels.
    pub widths: Range,
    /// Heights of the readable images, in pixels.
    pub heights: Range,
    /// How many readable images have a shorter side of each length.
    pub sizes: Vec<Bin>,
    /// How many readable images there are of each format.
    pub formats: BTreeMap<String, usize>,
    /// Mean of red, green and blue, in 0..=1; every image weighs the same, whatever its size.
    pub mean: [f64; 3],
    /// Standard deviation of red, green and blue, over the same.
    pub std: [f64; 3],
}

/// A kind of finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Kind {
    /// The file cannot be read.
    Unreadable,
    /// The file has no bytes.
    Empty,
    /// The file ends before the image does.
    Truncated,
    /// The bytes do not follow their format.
    Damaged,
    /// A format, or a kind of one, that is not read.
    Unsupported,
    /// The bytes are no image.
    NotAnImage,
    /// More pixels than are decoded.
    Oversized,
    /// Decodable, but so large that each reading is slow.
    Huge,
    /// A side of fewer pixels than asked for.
    Tiny,
    /// Red, green and blue are equal everywhere.
    Greyscale,
    /// Values of more than 8 bits that take up little of the range of their type, so that 8 bits
    /// keep few levels of them.
    NarrowRange,
    /// The name ends as that of another format.
    WrongExtension,
    /// The name is not UTF-8, and so percent-encoded here, or holds control characters.
    OddName,
}

impl Kind {
    /// All kinds, in the order of a report.
    pub const ALL: [Kind; 13] = [
        Kind::Unreadable,
        Kind::Empty,
        Kind::Truncated,
        Kind::Damaged,
        Kind::Unsupported,
        Kind::NotAnImage,
        Kind::Oversized,
        Kind::Huge,
        Kind::Tiny,
        Kind::Greyscale,
        Kind::NarrowRange,
        Kind::WrongExtension,
        Kind::OddName,
    ];

    /// In words.
    pub fn title(self) -> &'static str {
        match self {
            Kind::Unreadable => "unreadable",
            Kind::Empty => "empty files",
            Kind::Truncated => "cut off",
            Kind::Damaged => "damaged",
            Kind::Unsupported => "not supported",
            Kind::NotAnImage => "not an image",
            Kind::Oversized => "too large to decode",
            Kind::Huge => "very large",
            Kind::Tiny => "tiny",
            Kind::Greyscale => "greyscale",
            Kind::NarrowRange => "values beyond 8 bits",
            Kind::WrongExtension => "named as another format",
            Kind::OddName => "odd names",
        }
    }

    /// Whether such an image cannot be used, so that training replaces it by another.
    pub fn is_fault(self) -> bool {
        self < Kind::Huge
    }
}

/// Something about one image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What it is.
    pub kind: Kind,
    /// Position in the data set.
    pub index: usize,
    /// Name in the data set.
    pub name: String,
    /// The reason or the measure, in words.
    pub detail: String,
}

/// Something that was not listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// Its path.
    pub name: String,
    /// Why it was left out.
    pub reason: String,
}

/// Groups of images that belong together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Groups {
    /// Number of groups.
    pub groups: usize,
    /// Images that could go: all but one of each group.
    pub surplus: usize,
    /// Groups whose images are not all of one class.
    pub across_classes: usize,
    /// The first groups.
    pub listed: Vec<Vec<Member>>,
}

/// An image of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Position in the data set.
    pub index: usize,
    /// Name in the data set.
    pub name: String,
}

/// A class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Class {
    /// Its name.
    pub name: String,
    /// Number of images.
    pub images: usize,
}

/// Smallest, middle and largest value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// The smallest.
    pub min: u32,
    /// The upper median.
    pub median: u32,
    /// The largest.
    pub max: u32,
}

/// Images whose shorter side has `from` to `below - 1` pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bin {
    /// Fewest pixels.
    pub from: u32,
    /// One above the most pixels; none for the last bin.
    pub below: Option<u32>,
    /// Number of images.
    pub images: usize,
}

impl Report {
    /// How many findings there are of a kind.
    pub fn count(&self, kind: Kind) -> usize {
        self.counts.get(&kind).copied().unwrap_or(0)
    }

    /// Images that cannot be used.
    pub fn faults(&self) -> usize {
        self.images - self.readable
    }
}
