//! Opening CIFAR, IDX and the data sets that have names: which files make up which part.

use super::blob::Blob;
use super::cifar::{self, Cifar};
use super::idx::{self, Idx};
use super::named::{Format, Named};
use super::open::{Opened, blob, boxed};
use super::selection::{Part, Selection};
use super::{OpenOptions, parts, tar, unpack};
use crate::error::DataError;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The parts that record files come in.
const PARTS: [Part; 2] = [Part::Train, Part::Test];

impl OpenOptions {
    /// The record files of a folder, if it holds any.
    pub(super) fn records_in(
        &self,
        path: &Path,
        files: &[String],
        asked: &Selection,
    ) -> Result<Option<Opened>, DataError> {
        let all = |names: &[&str]| names.iter().all(|name| files.iter().any(|file| file == name));
        for kind in cifar::Kind::ALL {
            let there = PARTS.into_iter().filter(|&part| all(kind.files(part).0)).collect();
            let Some(part) = wanted(path, asked, &there)? else { continue };
            return cifar_folder(path, kind, part).map(|opened| Some(noted(opened, part, &there)));
        }
        let images = |part| {
            files.iter().find(|file| is_idx_name(file) && file.starts_with(idx::prefix(part)))
        };
        let there = PARTS.into_iter().filter(|&part| images(part).is_some()).collect();
        let Some(part) = wanted(path, asked, &there)? else { return Ok(None) };
        let Some(images) = images(part) else { return Ok(None) };
        self.idx(&path.join(images), &[]).map(|opened| Some(noted(opened, part, &there)))
    }

    /// A single file of records; `name` is its name in lower case.
    pub(super) fn record_file(
        &self,
        path: &Path,
        name: &str,
        asked: &Selection,
    ) -> Result<Opened, DataError> {
        asked.check(path, None)?;
        let Some(kind) = cifar::Kind::of_file(name) else {
            parts::check_own(path, asked.part, parts::of_file(name))?;
            return self.idx(path, &[]);
        };
        let own = PARTS.into_iter().find(|&part| kind.files(part).0.contains(&name));
        parts::check_own(path, asked.part, own)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let names = fs::read_to_string(folder.join(kind.files(Part::Train).1)).ok();
        let batch = cifar::whole_file(path, blob(path)?);
        boxed(Cifar::open(kind, vec![batch], names.as_deref()))
    }

    fn idx(&self, images: &Path, class_names: &[&str]) -> Result<Opened, DataError> {
        let open = |path: &Path| {
            let packed = path.extension().is_some_and(|extension| extension == "gz");
            blob(&if packed { unpack::gunzip(path, None, self)? } else { path.into() })
        };
        let labels = idx::labels_beside(images);
        let labels = match &labels {
            Some(path) => Some((path.as_path(), open(path)?)),
            None => None,
        };
        boxed(Idx::open((images, open(images)?), labels, class_names))
    }

    pub(super) fn named(
        &self,
        named: &'static Named,
        asked: &Selection,
    ) -> Result<Opened, DataError> {
        let place = Path::new(named.name);
        let there = PARTS.into_iter().collect();
        let Some(part) = wanted(place, asked, &there)? else {
            return Err(DataError::Missing { path: place.into() });
        };
        match named.format {
            Format::Cifar(_) => {
                let tar = named.unpacked(named.archive(), self)?;
                cifar_in_tar(&tar, place, asked)?.ok_or(DataError::Damaged {
                    path: tar,
                    reason: "the files of CIFAR are not in it".into(),
                })
            }
            Format::Idx(class_names) => {
                self.named_idx(named, part, class_names).map(|opened| noted(opened, part, &there))
            }
        }
    }

    fn named_idx(
        &self,
        named: &Named,
        part: Part,
        class_names: &[&str],
    ) -> Result<Opened, DataError> {
        let prefix = idx::prefix(part);
        let images = format!("{prefix}-images-idx3-ubyte.gz");
        if let Some(folder) = named.installed().filter(|_| self.mirror.is_none()) {
            return self.idx(&folder.join(images), class_names);
        }
        let labels = format!("{prefix}-labels-idx1-ubyte.gz");
        let labels_at = named.unpacked(&labels, self)?;
        let images_at = named.unpacked(&images, self)?;
        let images = (Path::new(&images), blob(&images_at)?);
        let labels = (Path::new(&labels), blob(&labels_at)?);
        boxed(Idx::open(images, Some(labels), class_names))
    }
}

/// The part to take of those that are there: none if there are none.
fn wanted(
    place: &Path,
    asked: &Selection,
    there: &BTreeSet<Part>,
) -> Result<Option<Part>, DataError> {
    if there.is_empty() {
        return Ok(None);
    }
    asked.check(place, None)?;
    match asked.part {
        Some(part) if !there.contains(&part) => Err(parts::missing(place, part, there)),
        Some(part) => Ok(Some(part)),
        // Training comes first.
        None => Ok(there.first().copied()),
    }
}

fn noted((mut listing, store): Opened, part: Part, there: &BTreeSet<Part>) -> Opened {
    listing.holdings.note(parts::taken(part, there));
    (listing, store)
}

/// `train-images-idx3-ubyte`, `train-images.idx3-ubyte`, and the same with `.gz`.
pub(super) fn is_idx_name(name: &str) -> bool {
    let plain = name.strip_suffix(".gz").unwrap_or(name);
    plain.ends_with("idx3-ubyte") || plain.ends_with("idx4-ubyte")
}

pub(super) fn has_idx_magic(path: &Path) -> bool {
    Blob::open(path).is_ok_and(|blob| idx::is_images(&blob))
}

fn cifar_folder(path: &Path, kind: cifar::Kind, part: Part) -> Result<Opened, DataError> {
    let (files, names) = kind.files(part);
    let batch = |name: &&str| {
        let file = path.join(name);
        Ok(cifar::whole_file(&file, blob(&file)?))
    };
    let batches = files.iter().map(batch).collect::<Result<_, DataError>>()?;
    let names = fs::read_to_string(path.join(names)).ok();
    boxed(Cifar::open(kind, batches, names.as_deref()))
}

/// CIFAR within the tar at `path`, if it is there; `place` names the data set in errors.
pub(super) fn cifar_in_tar(
    path: &Path,
    place: &Path,
    asked: &Selection,
) -> Result<Option<Opened>, DataError> {
    let archive = blob(path)?;
    let members = tar::members(path, &archive)?;
    let find =
        |name: &str| members.iter().find(|member| member.name.rsplit('/').next() == Some(name));
    for kind in cifar::Kind::ALL {
        let has = |part: &Part| kind.files(*part).0.iter().all(|name| find(name).is_some());
        let there = PARTS.into_iter().filter(has).collect();
        let Some(part) = wanted(place, asked, &there)? else { continue };
        let (files, names) = kind.files(part);
        let batches = files.iter().filter_map(|name| find(name)).map(|member| cifar::Batch {
            path: PathBuf::from(&member.name),
            blob: Arc::clone(&archive),
            start: member.offset,
            length: member.bytes,
        });
        let names = find(names).and_then(|member| {
            let text = archive.read(member.offset, member.bytes.min(1 << 16) as usize).ok()?;
            String::from_utf8(text.to_vec()).ok()
        });
        let opened = boxed(Cifar::open(kind, batches.collect(), names.as_deref()))?;
        return Ok(Some(noted(opened, part, &there)));
    }
    Ok(None)
}
