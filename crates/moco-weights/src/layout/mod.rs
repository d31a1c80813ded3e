//! Which code wrote a file, and which of its names is which of ours.
//!
//! Each layout is one small file with a `rule::Rule`. `detect` asks them in turn, the most
//! particular first.

mod byol;
mod cmc;
mod detectron2;
mod dino;
mod dinov2;
mod heads;
mod huggingface;
mod instdisc;
mod invaspread;
mod keys;
mod left;
mod lightly;
mod mae;
mod moco;
mod moco_v3;
mod name;
mod naming;
mod ours;
mod rule;
mod simclr;
mod simsiam;
mod solo;
mod swav;
mod timm;
mod torchvision;

pub use name::LayoutName;

pub(crate) use heads::heads;
pub(crate) use keys::Keys;
pub(crate) use left::left;
pub(crate) use naming::Naming;
pub(crate) use rule::{Part, Rule};

use crate::architecture::Positions;
use crate::error::{Result, WeightsError};
use crate::positions;
use crate::read::Checkpoint;

/// All layouts, the most particular first.
const RULES: [&Rule; 23] = [
    &ours::RULE,
    &cmc::RULE,
    &moco::RULE,
    &moco_v3::RULE,
    &simsiam::RULE,
    &swav::RULE,
    &instdisc::RULE,
    &invaspread::RULE,
    &simclr::RULE,
    &dinov2::RULE,
    &huggingface::DINO_V2,
    &huggingface::VIT,
    &huggingface::RESNET,
    &detectron2::RULE,
    &mae::RULE,
    &dino::RULE,
    &byol::RULE,
    &lightly::RULE,
    &solo::RULE,
    &torchvision::VIT,
    &timm::RESNET,
    &torchvision::RESNET,
    &timm::VIT,
];

impl LayoutName {
    /// The networks that a file of this layout may have, the default first; empty where it has one.
    pub fn parts(self) -> Vec<&'static str> {
        let names = rule(self).parts.iter().map(|part| part.name);
        names.filter(|name| !name.is_empty()).collect()
    }
}

/// What is known of a layout.
pub(crate) fn rule(layout: LayoutName) -> &'static Rule {
    RULES.iter().find(|rule| rule.layout == layout).expect("every layout has a rule")
}

/// The layout of a file.
///
/// # Errors
/// [`WeightsError::UnknownLayout`] with the nearest ones.
pub(crate) fn detect(checkpoint: &Checkpoint, keys: &Keys<'_>) -> Result<&'static Rule> {
    let found = RULES.iter().find(|rule| (rule.detect)(checkpoint, keys));
    found.copied().ok_or_else(|| WeightsError::UnknownLayout {
        path: checkpoint.path.clone(),
        keys: some_keys(keys),
        nearest: nearest(keys),
    })
}

/// The first names of a file.
fn some_keys(keys: &Keys<'_>) -> String {
    let first: Vec<String> =
        keys.tensors.values().take(4).map(|(name, _)| format!("`{name}`")).collect();
    match keys.tensors.len() {
        0 => "nothing at all".into(),
        count if count <= first.len() => first.join(", "),
        count => format!("{} and so on, {count} in all", first.join(", ")),
    }
}

/// The three layouts that know most of a file's names, each with the first key that it lacks.
pub(crate) fn nearest(keys: &Keys<'_>) -> String {
    let mut scored: Vec<(usize, String)> = RULES
        .iter()
        .filter(|rule| rule.layout != LayoutName::Ours)
        .map(|rule| {
            let places = rule.parts.iter().flat_map(|part| part.prefixes);
            let namings = places.flat_map(|at| rule.namings.iter().map(move |naming| (at, naming)));
            let (known, at, naming) = namings
                .map(|(at, naming)| (known(keys, at, *naming), *at, *naming))
                .max_by_key(|(known, at, _)| (*known, at.len()))
                .unwrap_or((0, "", Naming::Torchvision));
            let lacking = naming.stems().iter().map(|stem| format!("{at}{stem}"));
            let lacks = lacking.filter(|name| !keys.has(name)).take(2).collect::<Vec<_>>();
            (known, format!("{} (lacks {})", rule.layout.name(), quoted(&lacks)))
        })
        .collect();
    scored.sort_by_key(|(known, _)| std::cmp::Reverse(*known));
    scored.into_iter().take(3).map(|(_, text)| text).collect::<Vec<_>>().join(", ")
}

fn quoted(names: &[String]) -> String {
    match names {
        [] => "what tells it".into(),
        names => names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
    }
}

/// How many tensors under a prefix a naming knows.
fn known(keys: &Keys<'_>, prefix: &str, naming: Naming) -> usize {
    let offset = naming.offset(keys, prefix);
    keys.under(prefix).filter(|(name, ..)| naming.ours(name, offset).is_some()).count()
}

/// Which of the fixed tables a file's positions are; `None` if none, or if they cannot be read.
pub(crate) fn positions_of(keys: &Keys<'_>, name: &str) -> Option<Positions> {
    let (file, tensor) = keys.tensors.get(name)?;
    if tensor.count() > 1 << 26 {
        return None;
    }
    let values = tensor.read(file).ok()?;
    positions::fixed_table(&values, tensor.dtype)
}
