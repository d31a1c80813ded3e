//! Parts within one source: the folders of its names that are parts.

use super::entries::Entries;
use super::holdings::enumerated;
use super::listing::{Labels, Listing};
use super::open::Opened;
use super::selection::Part;
use super::told::Source;
use super::{Raw, Skipped, Store, parts};
use crate::error::{DataError, ImageError};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};

/// The folders of a listing that are parts, below common top folders that hold everything.
pub(super) struct Level {
    /// The common top folders, with a `/` behind each.
    pub prefix: String,
    /// The folders that are parts.
    pub folders: BTreeMap<String, Part>,
    /// Whether every image lies in one of them.
    pub all: bool,
}

impl Level {
    /// With `lone`, a folder that holds everything may be a part; in a list of absolute paths, it
    /// may as well be somebody's name for a disk.
    pub(super) fn find(entries: &Entries, lone: bool) -> Option<Level> {
        let mut prefix = String::new();
        loop {
            let (tops, loose) = tops(entries, prefix.len());
            let part = |name: &&str| Some((name.to_string(), parts::of_folder(name)?));
            let folders: BTreeMap<String, Part> = tops.iter().filter_map(part).collect();
            let only = tops.iter().next().filter(|_| tops.len() == 1 && !loose);
            if !folders.is_empty() && (lone || only.is_none()) {
                let all = !loose && folders.len() == tops.len();
                return Some(Level { prefix, folders, all });
            }
            prefix += &format!("{}/", only?);
        }
    }

    fn parts(&self) -> BTreeSet<Part> {
        self.folders.values().copied().collect()
    }
}

/// The folders at byte `start` of the names, and whether some name has none there.
fn tops(entries: &Entries, start: usize) -> (HashSet<&str>, bool) {
    let (mut found, mut last, mut loose) = (HashSet::new(), "", false);
    for (name, _) in entries.iter() {
        match name[start..].split_once('/') {
            Some((top, _)) if top == last && !found.is_empty() => {}
            Some((top, _)) => {
                found.insert(top);
                last = top;
            }
            None => loose = true,
        }
    }
    (found, loose)
}

/// A note where a listing holds several parts.
pub(super) fn together(place: &Path, entries: &Entries) -> Option<String> {
    let level = Level::find(entries, false).filter(|level| level.parts().len() > 1)?;
    let mut folders: Vec<_> = level.folders.iter().map(|(folder, part)| (*part, folder)).collect();
    folders.sort();
    let quoted: Vec<_> = folders.iter().map(|(_, folder)| format!("`{folder}`")).collect();
    let (part, first) = *folders.first()?;
    let (shown, part) = (place.display(), part.name());
    let folder = match place.is_dir() {
        true => format!(" or `{shown}/{}{first}`", level.prefix),
        false => String::new(),
    };
    let quoted = enumerated(&quoted);
    Some(format!("{quoted} are parts, here together: give `{shown}:{part}`{folder} for one"))
}

/// What of an opened source belongs to the part that is asked for: what lies in folders of that
/// part, or all if there are no such folders and the source is `own` part by its name. With
/// `strip`, the folder leaves the names, as if it had been opened itself; those of a list stay.
pub(super) fn select(
    place: &Path,
    opened: Opened,
    asked: Option<Part>,
    own: Option<Part>,
    strip: bool,
) -> Result<Opened, DataError> {
    let Some(part) = asked else { return Ok(opened) };
    // One folder around all may be the part, or merely be called `test`.
    let several = Level::find(&opened.0.entries, false);
    let several = several.filter(|level| !strip || level.parts().contains(&part));
    let level = several.or_else(|| Level::find(&opened.0.entries, true).filter(|_| strip));
    let Some(level) = level else {
        parts::check_own(place, asked, own)?;
        return Ok(opened);
    };
    let folders: Vec<&str> =
        level.folders.iter().filter(|(_, of)| **of == part).map(|(name, _)| &**name).collect();
    if folders.is_empty() {
        return Err(parts::missing(place, part, &level.parts()));
    }
    let prefix = match folders[..] {
        [only] => format!("{}{only}/", level.prefix),
        _ => level.prefix.clone(),
    };
    let within = |name: &str| {
        let rest = name.strip_prefix(level.prefix.as_str()).and_then(|rest| rest.split_once('/'));
        rest.is_some_and(|(top, _)| folders.contains(&top))
    };
    let cut = if strip { prefix.len() } else { 0 };
    let (listing, store) = opened;
    let (mut listing, chosen) = filtered(listing, within, cut);
    listing.holdings.note(parts::taken(part, &level.parts()));
    let prefix = prefix[..cut].to_string();
    Ok((listing, Box::new(Chosen { whole: store, chosen, prefix })))
}

/// The images whose names satisfy `within`, and their numbers; `cut` bytes of each name go.
fn filtered(whole: Listing, within: impl Fn(&str) -> bool, cut: usize) -> (Listing, Vec<u32>) {
    let mut chosen = Vec::new();
    let mut entries = Entries::default();
    for (i, (name, bytes)) in whole.entries.iter().enumerate() {
        if within(name) {
            entries.push(&name[cut..], bytes);
            chosen.push(i as u32);
        }
    }
    let labels = match whole.labels {
        Labels::Given(labels, names) => {
            Labels::Given(chosen.iter().map(|&i| labels[i as usize]).collect(), names)
        }
        other => other,
    };
    let inner = |skipped: Skipped| {
        within(&skipped.name).then(|| Skipped { name: skipped.name[cut..].into(), ..skipped })
    };
    let skipped = whole.skipped.into_iter().filter_map(inner).collect();
    (Listing { entries, labels, skipped, ..whole }, chosen)
}

/// Some images of a source, with shorter names.
pub(super) struct Chosen {
    pub whole: Box<dyn Store>,
    pub chosen: Vec<u32>,
    /// What the source's names have before those here.
    pub prefix: String,
}

impl Store for Chosen {
    fn read(&self, i: usize, name: &str) -> Result<Raw<'_>, ImageError> {
        self.whole.read(self.chosen[i] as usize, &format!("{}{name}", self.prefix))
    }

    fn file(&self, i: usize, name: &str) -> Option<PathBuf> {
        self.whole.file(self.chosen[i] as usize, &format!("{}{name}", self.prefix))
    }

    fn told(&self) -> Option<Source> {
        let whole = Box::new(self.whole.told()?);
        Some(Source::Chosen { whole, chosen: self.chosen.clone(), prefix: self.prefix.clone() })
    }
}
