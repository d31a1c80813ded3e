//! What a page is made of: plain data, gathered by whoever has files and networks.

use crate::near::Neighbours;
use std::collections::BTreeMap;

/// One page.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// What it is called.
    pub title: String,
    /// One line below the title: when and by what it was made.
    pub made: String,
    /// Seconds after which the page loads itself again, of a run that is not finished.
    pub reload: Option<u32>,
    /// The runs, the one that matters most first.
    pub runs: Vec<Run>,
    /// The images that all studies are of.
    pub gallery: Option<Gallery>,
}

/// One run.
#[derive(Clone, Debug)]
pub struct Run {
    /// What the runs of the page are told apart by.
    pub name: String,
    /// A few figures to begin with: what, how much.
    pub facts: Vec<(String, String)>,
    /// What was warned of.
    pub warnings: Vec<String>,
    /// What the page lacks because something could not be read, in sentences.
    pub missing: Vec<String>,
    /// What happened from step to step.
    pub curves: Curves,
    /// What its encoder makes of the images, or why that is not shown.
    pub study: Result<Study, String>,
    /// Pictures of what training showed the network.
    pub views: Vec<Views>,
    /// Every setting of the run.
    pub settings: Vec<Setting>,
    /// What was derived from the images, and why, in sentences.
    pub notes: Vec<String>,
    /// Program, machine, seed, data.
    pub made_with: Vec<(String, String)>,
    /// Images that could not be read, and why.
    pub bad_files: Vec<(String, String)>,
}

/// What a run wrote down: lines of named numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curves {
    /// Steps that were written down.
    pub steps: Vec<Line>,
    /// Epochs.
    pub epochs: Vec<Line>,
    /// The loss of a network that has learnt nothing.
    pub chance: Option<f64>,
    /// The loss of a network whose output does not depend on the image.
    pub collapse: Option<f64>,
}

/// Named numbers of one step or epoch.
pub type Line = BTreeMap<String, f64>;

/// A setting and where its value comes from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Setting {
    /// Its name in `config.toml`.
    pub key: String,
    /// Its value, as written there.
    pub value: String,
    /// Where it comes from, in words; empty if that is not known.
    pub origin: String,
}

/// The images of all studies.
#[derive(Clone, Debug, Default)]
pub struct Gallery {
    /// Where they come from, in words.
    pub source: String,
    /// How many there are in all, of which these are an even sample.
    pub of: usize,
    /// Their names.
    pub names: Vec<String>,
    /// Their classes, if there are any.
    pub class: Option<Column>,
    /// What else they can be coloured by, besides groups.
    pub columns: Vec<Column>,
    /// Small pictures of all.
    pub sprite: Sprite,
}

/// Something that is known of every image.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Column {
    /// What it is called.
    pub name: String,
    /// The different values.
    pub values: Vec<String>,
    /// Which of them each image has, if any.
    pub of: Vec<Option<u32>>,
}

/// One picture of many small ones, square, row by row.
#[derive(Clone, Debug, Default)]
pub struct Sprite {
    /// The whole.
    pub picture: Picture,
    /// Side of a small one, in pixels.
    pub tile: usize,
    /// Small ones in a row.
    pub columns: usize,
}

/// An encoded image.
#[derive(Clone, Debug, Default)]
pub struct Picture {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// `jpeg`, `png` or `webp`.
    pub format: &'static str,
    /// The file.
    pub bytes: Vec<u8>,
}

/// What an encoder makes of the images.
#[derive(Clone, Debug, Default)]
pub struct Study {
    /// Which encoder and feature, in words.
    pub of: String,
    /// Where each image lies on the map.
    pub points: Vec<[f32; 2]>,
    /// How far the map's neighbourhoods are those of the features, where that was measured.
    pub trust: Option<f64>,
    /// Group of each image.
    pub clusters: Vec<usize>,
    /// The images most like each.
    pub neighbours: Neighbours,
    /// Singular values of the features less their mean, the largest first.
    pub spectrum: Vec<f64>,
    /// Figures of health.
    pub checks: Vec<Check>,
    /// What the network looks at.
    pub looks: Looks,
    /// What a masked autoencoder paints: as it sees the image, as it paints it, as it is.
    pub paintings: Vec<Painting>,
}

/// A figure of health.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// What is measured.
    pub name: String,
    /// Its value, in words or digits.
    pub value: String,
    /// How it stands.
    pub verdict: Verdict,
    /// What it means, and what is healthy.
    pub meaning: String,
    /// What to change when it is not.
    pub mend: String,
}

/// How a figure of health stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be.
    Healthy,
    /// To be watched.
    Watch,
    /// Something is wrong.
    Ill,
    /// There is no rule for it; to be compared between runs.
    Compare,
}

/// Pictures of where a network looks.
#[derive(Clone, Debug, Default)]
pub struct Looks {
    /// What is shown, in one sentence; empty if nothing is.
    pub meaning: String,
    /// One strip of panels for each image.
    pub strips: Vec<Strip>,
}

/// An image, and what the network looks at in it.
#[derive(Clone, Debug, Default)]
pub struct Strip {
    /// Which image of the gallery.
    pub image: usize,
    /// Panels side by side, the image itself first, all of one size.
    pub picture: Picture,
    /// What each panel is.
    pub panels: Vec<String>,
}

/// A triplet of a masked autoencoder, side by side in one picture.
#[derive(Clone, Debug, Default)]
pub struct Painting {
    /// Which image of the gallery.
    pub image: usize,
    /// Hidden patches grey; painted; as it is.
    pub picture: Picture,
}

/// A sheet of views.
#[derive(Clone, Debug, Default)]
pub struct Views {
    /// What it shows.
    pub caption: String,
    /// What was done to the images, as in `config.toml`.
    pub recipe: String,
    /// The sheet.
    pub picture: Picture,
}

impl Run {
    /// A run of which nothing is known yet but its name, and why its encoder is not shown.
    pub fn named(name: &str, unseen: &str) -> Run {
        Run {
            name: name.to_owned(),
            facts: Vec::new(),
            warnings: Vec::new(),
            missing: Vec::new(),
            curves: Curves::default(),
            study: Err(unseen.to_owned()),
            views: Vec::new(),
            settings: Vec::new(),
            notes: Vec::new(),
            made_with: Vec::new(),
            bad_files: Vec::new(),
        }
    }
}
