//! What of a folder is taken, where it holds images as well as tars and Parquet files.

use super::holdings::enumerated;
use super::parts;
use super::selection::Source;
use std::collections::{BTreeMap, HashSet};
use std::path::Path;

/// Images that may lie beside each archive of a data set and not be meant: previews and figures.
const FEW: usize = 10;

/// What is taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Choice<'a> {
    Images,
    /// Archives of one kind.
    Archives(Source, Vec<&'a str>),
}

/// What of a folder is taken that holds `images` and archives. In this order:
///
/// 1. what is asked for
/// 2. Parquet that is named as a data set's, with numbers or the words of its parts, if there are
///    fewer than ten images for each file; likewise tars, or several tars of any name
/// 3. images
/// 4. Parquet; tars
///
/// A Parquet file that has the name of a tar beside it is a table about that tar.
pub(super) fn choose(images: usize, archives: &[String], asked: Option<Source>) -> Choice<'_> {
    let (tars, mut parquet) = (of_kind(archives, Source::Tar), of_kind(archives, Source::Parquet));
    if asked.is_none() {
        let stems: HashSet<&str> = tars.iter().map(|name| stem(name)).collect();
        parquet.retain(|name| !stems.contains(stem(name)));
    }
    let few = |files: &[&str]| images < FEW * files.len();
    let named = |files: &[&str]| files.iter().any(|name| is_of_a_set(name));
    match asked {
        Some(Source::Tar) => Choice::Archives(Source::Tar, tars),
        Some(Source::Parquet) => Choice::Archives(Source::Parquet, parquet),
        Some(Source::Images | Source::List) => Choice::Images,
        None if few(&parquet) && named(&parquet) => Choice::Archives(Source::Parquet, parquet),
        None if few(&tars) && (named(&tars) || tars.len() > 1) => {
            Choice::Archives(Source::Tar, tars)
        }
        None if images > 0 => Choice::Images,
        None if !parquet.is_empty() => Choice::Archives(Source::Parquet, parquet),
        None if !tars.is_empty() => Choice::Archives(Source::Tar, tars),
        None => Choice::Images,
    }
}

/// The archives of a kind, by their extension.
pub(super) fn of_kind(archives: &[String], source: Source) -> Vec<&str> {
    // The words for them are their extensions.
    let is = |name: &&str| {
        Path::new(name).extension().is_some_and(|e| e.eq_ignore_ascii_case(source.name()))
    };
    archives.iter().map(String::as_str).filter(is).collect()
}

/// A name without its extension.
fn stem(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}

/// Whether a file is named after a part, or has a number between other signs in its name:
/// `train.tar`, `test/a.parquet`, `shard-000.tar`.
fn is_of_a_set(name: &str) -> bool {
    let file = stem(name.rsplit('/').next().unwrap_or(name));
    let is_number = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit());
    parts::of_path(Path::new(name)).is_some()
        || file.split(|c: char| !c.is_alphanumeric()).any(is_number)
}

/// The files of one configuration of a data set, as Hugging Face calls the folders of Parquet that
/// are not parts of one another; of several, `default`, else `data`, else the first. And a note, if
/// there are several.
pub(super) fn one_configuration<'a>(
    place: &Path,
    files: Vec<&'a str>,
) -> (Vec<&'a str>, Option<String>) {
    let mut sets: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for file in files {
        let folders = file.rsplit_once('/').map_or("", |(folders, _)| folders);
        let own = folders.split('/').filter(|folder| parts::of_folder(folder).is_none());
        sets.entry(own.collect::<Vec<_>>().join("/")).or_default().push(file);
    }
    let usual = ["default", "data"].into_iter().find(|name| sets.contains_key(*name));
    let taken = usual.map(String::from).or_else(|| sets.keys().next().cloned());
    let taken = taken.unwrap_or_default();
    let note = (sets.len() > 1).then(|| {
        let quoted = |name: &String| match name.as_str() {
            "" => "the top folder".to_string(),
            name => format!("`{name}`"),
        };
        let others: Vec<_> = sets.keys().filter(|name| **name != taken).map(quoted).collect();
        let other = sets.keys().rfind(|name| **name != taken).map_or("", |name| name);
        let (taken, others, place) = (quoted(&taken), enumerated(&others), place.display());
        format!("of its sets, that in {taken} is taken and not {others}: give `{place}/{other}`")
    });
    (sets.remove(&taken).unwrap_or_default(), note)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(images: usize, archives: &[&str]) -> Option<(Source, usize)> {
        let archives: Vec<String> = archives.iter().map(|name| name.to_string()).collect();
        match choose(images, &archives, None) {
            Choice::Images => None,
            Choice::Archives(source, files) => Some((source, files.len())),
        }
    }

    #[test]
    fn data_sets_win_over_few_images_and_many_images_over_archives() {
        let (tars, parquet) = (Source::Tar, Source::Parquet);
        assert_eq!(taken(1, &["000.tar", "001.tar", "002.tar"]), Some((tars, 3)));
        assert_eq!(taken(9, &["data/train-00000-of-00001.parquet"]), Some((parquet, 1)));
        assert_eq!(taken(10, &["data/train-00000-of-00001.parquet"]), None);
        assert_eq!(taken(1, &["captions.parquet"]), None, "a table about the images");
        assert_eq!(taken(1, &["images.tar"]), None, "a packed copy of the images");
        assert_eq!(taken(1, &["cats.tar", "dogs.tar"]), Some((tars, 2)));
        assert_eq!(taken(0, &["images.tar"]), Some((tars, 1)));
        assert_eq!(taken(0, &["00000.tar", "00000.parquet"]), Some((tars, 1)), "img2dataset");
        assert_eq!(taken(0, &["a.tar", "b.parquet"]), Some((parquet, 1)));
        assert_eq!(taken(0, &[]), None);
    }

    #[test]
    fn of_several_configurations_one_is_taken() {
        let place = Path::new("repo");
        let both = vec!["plain/test-0.parquet", "plain/train-0.parquet", "zoom/train-0.parquet"];
        let (files, note) = one_configuration(place, both);
        assert_eq!(files, ["plain/test-0.parquet", "plain/train-0.parquet"]);
        let expected = "of its sets, that in `plain` is taken and not `zoom`: give `repo/zoom`";
        assert_eq!(note.unwrap(), expected);
        let (files, note) =
            one_configuration(place, vec!["default/train/0.parquet", "a/0.parquet"]);
        assert_eq!((files, note.is_some()), (vec!["default/train/0.parquet"], true));
        let split = vec!["data/test/0.parquet", "data/train/0.parquet"];
        assert_eq!(
            one_configuration(place, split),
            (vec!["data/test/0.parquet", "data/train/0.parquet"], None)
        );
    }
}
