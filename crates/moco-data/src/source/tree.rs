//! Opening a folder: record files, a part's folder, images, archives or a list, as they are there or
//! asked for.

use super::choice::{self, Choice};
use super::folder::{Folder, Walk};
use super::listing::{self, Listing, shown_os};
use super::open::Opened;
use super::selection::{Part, Selection, Source};
use super::{Holdings, OpenOptions, list, listing_cache, part_folders, parts};
use crate::error::DataError;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

impl OpenOptions {
    /// A folder of images, or one of archives or record files.
    pub(super) fn folder(&self, path: &Path, asked: &Selection) -> Result<Opened, DataError> {
        if asked.is_empty()
            && let Some(kept) = self.kept_tree(path)
        {
            return Ok(kept);
        }
        let files = visible_files(path)?;
        if asked.source == Some(Source::List) {
            let (list, asked) = list_in(path, &files, asked)?;
            return self.file(&list, &asked);
        }
        if asked.source.is_none()
            && let Some(records) = self.records_in(path, &files, asked)?
        {
            return Ok(records);
        }
        if let Some(part) = asked.part
            && let Some((folder, note)) = part_folder(path, part)?
        {
            let (mut listing, store) = self.folder(&folder, &asked.whole())?;
            listing.holdings.note(note);
            return Ok((listing, store));
        }
        self.tree(path, &files, asked)
    }

    /// Images of any depth, or archives among them.
    fn tree(&self, path: &Path, files: &[String], asked: &Selection) -> Result<Opened, DataError> {
        let start = SystemTime::now();
        let (mut walk, folder) = Folder::scan(path)?;
        let images = walk.listing.entries.len();
        match choice::choose(images, &walk.archives, asked.source) {
            Choice::Archives(_, files) if files.is_empty() => Err(asked.no_source(path)),
            Choice::Archives(source, files) => {
                let before = beside(source, files.len(), walk.listing, &walk.archives);
                self.archives(path, source, &files, before, asked)
            }
            Choice::Images => {
                asked.check(path, Some(Source::Images))?;
                if choice::choose(images, &walk.archives, None) == Choice::Images {
                    self.keep(path, &walk, &folder, start);
                }
                note_archives(&mut walk.listing.holdings, &walk.archives, files);
                of_images(&mut walk.listing.holdings);
                let own = path.file_name().and_then(|name| parts::of_folder(&shown_os(name)));
                part_folders::select(path, (walk.listing, Box::new(folder)), asked.part, own, true)
            }
        }
    }

    /// The files of a folder that make up the part that is asked for, or training.
    fn archives(
        &self,
        path: &Path,
        source: Source,
        files: &[&str],
        before: Listing,
        asked: &Selection,
    ) -> Result<Opened, DataError> {
        let (files, note) = match source {
            Source::Parquet => choice::one_configuration(path, files.to_vec()),
            _ => (files.to_vec(), None),
        };
        let files = files.into_iter().map(|name| path.join(name)).collect();
        let (mut listing, store) = self.shards(path, Some(path), files, asked)?;
        listing.skipped.extend(before.skipped);
        listing.holdings.absorb(before.holdings);
        listing.holdings.notes.extend(note);
        if listing.holdings.passed_over.contains_key(Source::Images.plural()) {
            listing.holdings.note("`:source=images` takes the images");
        }
        Ok((listing, store))
    }

    /// Keeps the listing of many images. One that cannot be kept costs time in the next run and
    /// nothing else.
    fn keep(&self, path: &Path, walk: &Walk, folder: &Folder, start: SystemTime) {
        let large = walk.listing.entries.len() >= self.keep_listing_from;
        let plain = walk.listing.skipped.is_empty() && folder.has_plain_names();
        if let Some(cache) = self.cache.as_ref().filter(|_| large && plain) {
            let _ = listing_cache::save(path, cache, walk, start);
        }
    }

    /// A tree whose listing is in the cache and still holds.
    fn kept_tree(&self, path: &Path) -> Option<Opened> {
        let (entries, passed_over) = listing_cache::load(path, self.cache.as_ref()?)?;
        let mut holdings = Holdings { passed_over, ..Holdings::default() };
        note_archives(&mut holdings, &[], &[]);
        of_images(&mut holdings);
        let listing = Listing { entries, holdings, ..Listing::default() };
        Some((listing, Box::new(Folder::known(path))))
    }
}

/// What a walk found beside the archives that are taken.
fn beside(source: Source, taken: usize, mut listing: Listing, archives: &[String]) -> Listing {
    let images = listing.entries.len();
    let holdings = &mut listing.holdings;
    holdings.passed_over.retain(|kind, _| kind != source.plural());
    holdings.pass_over(source.plural(), choice::of_kind(archives, source).len() - taken);
    holdings.pass_over(Source::Images.plural(), images);
    listing
}

fn of_images(holdings: &mut Holdings) {
    holdings.chosen = "a folder of images".into();
}

/// Says how what lies beside the images is taken instead; by its name, where it is known and
/// single.
fn note_archives(holdings: &mut Holdings, archives: &[String], files: &[String]) {
    let tables = files.iter().map(String::as_str).filter(|name| is_table(name)).collect();
    for (source, kind, names) in [
        (Source::Tar, Source::Tar.plural(), choice::of_kind(archives, Source::Tar)),
        (Source::Parquet, Source::Parquet.plural(), choice::of_kind(archives, Source::Parquet)),
        (Source::List, "tables", tables),
    ] {
        let what = match (holdings.passed_over.get(kind), &names[..]) {
            (None, _) => continue,
            (Some(1), [only]) => format!("`{only}`"),
            // Only a table right in the folder is.
            (Some(_), []) if source == Source::List => continue,
            (Some(_), _) => format!("the {}", source.plural()),
        };
        holdings.note(format!("`:source={}` takes {what}", source.name()));
    }
}

/// Whether a file is named as a list of paths with columns.
fn is_table(name: &str) -> bool {
    let path = Path::new(name);
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("csv") || e.eq_ignore_ascii_case("tsv"))
}

/// Names of the files of a folder, sorted.
fn visible_files(path: &Path) -> Result<Vec<String>, DataError> {
    let unreadable = |source| DataError::Unreadable { path: path.into(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(path).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        // Of millions of images, none is of interest here.
        let name = shown_os(&entry.file_name()).into_owned();
        if !listing::is_hidden(&name) && !listing::is_image(&name) && entry.path().is_file() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// The one folder right below `path` that is the part that is asked for, and a note; none if there
/// is none, or are several.
fn part_folder(path: &Path, part: Part) -> Result<Option<(PathBuf, String)>, DataError> {
    let unreadable = |source| DataError::Unreadable { path: path.into(), source };
    let (mut found, mut there) = (Vec::new(), BTreeSet::new());
    for entry in fs::read_dir(path).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name();
        let Some(of) = name.to_str().and_then(parts::of_folder) else { continue };
        if entry.path().is_dir() {
            there.insert(of);
            if of == part {
                found.push(entry.path());
            }
        }
    }
    let only = if found.len() == 1 { found.pop() } else { None };
    Ok(only.map(|folder| (folder, parts::taken(part, &there))))
}

/// The one list of a folder, or the one of a part, that of training if none is asked for; and what
/// is asked for of the list.
fn list_in(
    path: &Path,
    files: &[String],
    asked: &Selection,
) -> Result<(PathBuf, Selection), DataError> {
    let lists: Vec<PathBuf> =
        files.iter().map(|name| path.join(name)).filter(|file| list::is_list(file)).collect();
    let table = |file: &&PathBuf| is_table(&file.to_string_lossy());
    // A text is often a note to the reader.
    let tables: Vec<PathBuf> = lists.iter().filter(table).cloned().collect();
    let lists = if tables.is_empty() { lists } else { tables };
    if lists.is_empty() {
        return Err(asked.no_source(path));
    }
    let (lists, _, asked) = parts::pick_shards(path, Some(path), lists, asked)?;
    match &lists[..] {
        [only] => Ok((only.clone(), asked)),
        _ => Err(DataError::NoSource {
            path: path.into(),
            wanted: "single list of paths but several",
            mend: format!("give one by its name, such as `{}`", lists[0].display()),
        }),
    }
}
