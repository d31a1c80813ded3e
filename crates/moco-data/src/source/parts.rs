//! The parts of a data set: training, validation and test images, told by the names of folders and
//! files.
//!
//! A folder is a part if its name is one of the words below, in any case, maybe with digits behind
//! it (`train2017`) or one of a few words beside it (`val_images`). A file is one if exactly one
//! part's words occur in its name (`imagenet-val-012.tar`, `test-00000-of-00001.parquet`), or else
//! if it lies in a folder that is one.

use super::holdings::enumerated;
use super::listing::shown_os;
use super::selection::{Part, Selection};
use crate::error::DataError;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Words for each part; `t10k` is MNIST's.
const WORDS: [(Part, &[&str]); 3] = [
    (Part::Train, &["train", "training", "trainset"]),
    (Part::Validation, &["val", "valid", "validation", "dev", "valset"]),
    (Part::Test, &["test", "testing", "testset", "t10k"]),
];

/// What all of them contain.
const STEMS: [&[u8]; 5] = [b"train", b"val", b"dev", b"test", b"t10k"];

/// Words that may stand beside them in the name of a folder.
const BESIDE: [&str; 8] = ["images", "image", "imgs", "img", "set", "data", "split", "photos"];

/// The part that a word is, with digits behind it or not.
fn of_word(word: &str) -> Option<Part> {
    let stem = word.trim_end_matches(|c: char| c.is_ascii_digit());
    let is = |(_, words): &&(Part, &[&str])| words.contains(&stem) || words.contains(&word);
    WORDS.iter().find(is).map(|(part, _)| *part)
}

/// The words of a name, in lower case; none if no part's word can be among them, which is cheap to
/// see, of millions of folders too.
fn words(name: &str) -> Vec<String> {
    let has = |stem: &&[u8]| {
        name.as_bytes().windows(stem.len()).any(|part| part.eq_ignore_ascii_case(stem))
    };
    if !STEMS.iter().any(has) {
        return Vec::new();
    }
    let name = name.to_lowercase();
    name.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).map(String::from).collect()
}

/// The part that a folder is by its name.
pub(super) fn of_folder(name: &str) -> Option<Part> {
    let words = words(name);
    let (parts, others): (Vec<_>, Vec<_>) = words.iter().partition(|word| of_word(word).is_some());
    let known = |word: &&String| {
        BESIDE.contains(&word.as_str()) || word.bytes().all(|byte| byte.is_ascii_digit())
    };
    match parts[..] {
        [part] if others.iter().all(known) => of_word(part),
        _ => None,
    }
}

/// The part that a file is by its name; none if its name has words of several.
pub(super) fn of_file(name: &str) -> Option<Part> {
    let found: BTreeSet<Part> = words(name).iter().filter_map(|word| of_word(word)).collect();
    found.first().copied().filter(|_| found.len() == 1)
}

/// The part that a file is by its name, or by that of the nearest folder that is one.
pub(super) fn of_path(path: &Path) -> Option<Part> {
    let own = path.file_name().and_then(|name| of_file(&shown_os(name)));
    let folders = || path.parent()?.iter().rev().find_map(|folder| of_folder(&shown_os(folder)));
    own.or_else(folders)
}

/// A sentence on which part of those there are was taken.
pub(super) fn taken(part: Part, there: &BTreeSet<Part>) -> String {
    format!("this is the part {} of {}", part.name(), listed(there))
}

fn listed(parts: &BTreeSet<Part>) -> String {
    let names: Vec<_> = parts.iter().map(|part| part.name()).collect();
    enumerated(&names)
}

/// The error that `part` is not among `there`.
pub(super) fn missing(place: &Path, part: Part, there: &BTreeSet<Part>) -> DataError {
    if there.is_empty() {
        return DataError::NoParts { path: place.into(), images: part.images() };
    }
    DataError::NoPart { path: place.into(), part: part.name(), parts: listed(there) }
}

/// What is asked for of a thing that is `own` part by its name.
pub(super) fn check_own(
    place: &Path,
    asked: Option<Part>,
    own: Option<Part>,
) -> Result<(), DataError> {
    match asked {
        Some(part) if own != Some(part) => Err(missing(place, part, &own.into_iter().collect())),
        _ => Ok(()),
    }
}

/// The part that an archive is: by its name, or by that of a folder below `root`; without a root,
/// by the folder right above it.
fn of_shard(root: Option<&Path>, file: &Path) -> Option<Part> {
    let near = || file.parent().and_then(Path::parent);
    let above = root.or_else(near);
    of_path(above.and_then(|above| file.strip_prefix(above).ok()).unwrap_or(file))
}

/// The part that a single archive is.
pub(super) fn of_place(place: &Path) -> Option<Part> {
    of_shard(None, place)
}

/// The archives among `files` that belong to the part asked for, a note on the choice, and what else is
/// asked for. A single file may still hold parts within, if its name does not tell.
pub(super) fn pick_shards(
    place: &Path,
    root: Option<&Path>,
    files: Vec<PathBuf>,
    asked: &Selection,
) -> Result<(Vec<PathBuf>, Option<String>, Selection), DataError> {
    if let [file] = &files[..]
        && (root.is_none() || of_shard(root, file).is_none())
    {
        return Ok((files, None, asked.clone()));
    }
    let (files, note) = pick(place, root, files, asked.part, root.is_some())?;
    Ok((files, note, asked.whole()))
}

/// The files among `files` that belong to a part, and a note on the choice. If none is asked for, these are
/// the files of training if `usual` is set and there are any, else all.
pub(super) fn pick(
    place: &Path,
    root: Option<&Path>,
    files: Vec<PathBuf>,
    asked: Option<Part>,
    usual: bool,
) -> Result<(Vec<PathBuf>, Option<String>), DataError> {
    let of = |file: &PathBuf| of_shard(root, file);
    let there: BTreeSet<Part> = files.iter().filter_map(of).collect();
    let wanted = match asked {
        Some(part) if there.contains(&part) => part,
        Some(part) => return Err(missing(place, part, &there)),
        None if usual && there.contains(&Part::Train) => Part::Train,
        None if there.len() > 1 => {
            return Ok((files, Some(format!("the parts {} together", listed(&there)))));
        }
        None => return Ok((files, None)),
    };
    let chosen = files.into_iter().filter(|file| of(file) == Some(wanted)).collect();
    Ok((chosen, Some(taken(wanted, &there))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_parts_by_few_names() {
        for (part, names) in [
            (
                Some(Part::Train),
                &["train", "Training", "train2017", "images_train", "TRAIN-set"][..],
            ),
            (Some(Part::Validation), &["val", "valid", "validation", "dev", "val_images"]),
            (Some(Part::Test), &["test", "testing", "test-images_2"]),
            (
                None,
                &["trains", "testament", "steam train", "test_cat", "trainval", "train-val", ""],
            ),
        ] {
            names.iter().for_each(|name| assert_eq!(of_folder(name), part, "{name}"));
        }
    }

    #[test]
    fn files_are_parts_by_their_words() {
        let of = |path: &str| of_path(Path::new(path));
        assert_eq!(of("data/train-00000-of-00001.parquet"), Some(Part::Train));
        assert_eq!(of("imagenet-val-012.tar"), Some(Part::Validation));
        assert_eq!(of("default/test/0000.parquet"), Some(Part::Test));
        assert_eq!(of("train/test-0.tar"), Some(Part::Test));
        assert_eq!(of("train-and-val.tar"), None);
        assert_eq!(of("shards/0000.tar"), None);
        assert_eq!(of("t10k-images-idx3-ubyte.gz"), Some(Part::Test));
    }

    #[test]
    fn files_of_training_are_the_usual_ones() {
        let files = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
        let pick =
            |names: &[&str], asked, usual| pick(Path::new("x"), None, files(names), asked, usual);
        let set = ["test-0.tar", "train-0.tar", "train-1.tar"];
        let (chosen, note) = pick(&set, None, true).unwrap();
        assert_eq!(chosen, files(&["train-0.tar", "train-1.tar"]));
        assert_eq!(note.unwrap(), "this is the part train of train and test");
        assert_eq!(pick(&set, None, false).unwrap().0.len(), 3);
        assert_eq!(pick(&set, Some(Part::Test), true).unwrap().0, files(&["test-0.tar"]));
        let error = pick(&set, Some(Part::Validation), true).unwrap_err().to_string();
        assert_eq!(error, "`x` has no part `val`; it has train and test");
        let error = pick(&["0.tar", "1.tar"], Some(Part::Train), true).unwrap_err().to_string();
        assert_eq!(error, "`x` has no parts; give the place of the training images by itself");
    }
}
