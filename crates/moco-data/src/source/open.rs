//! What a path or name stands for.

use super::address::{self, is_address};
use super::blob::Blob;
use super::cifar::{self, Cifar};
use super::holdings::enumerated;
use super::idx::{self, Idx};
use super::listing::{FileKind, HEAD, Listing, kind_of};
use super::named;
use super::parquet::Parquet;
use super::records::{cifar_in_tar, has_idx_magic, is_idx_name};
use super::selection::{Selection, Source};
use super::tar::{Shard, Tar};
use super::{
    Dataset, Encoded, Patience, Store, cache_dir, list, part_folders, parts, pattern, unpack,
};
use crate::error::DataError;
use bytes::Bytes;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

/// How a [`Dataset`] is opened. The default suits all but tests and programs with a cache of their
/// own.
#[derive(Clone)]
pub struct OpenOptions {
    /// Folder for what is kept between runs: fetched and unpacked archives, large listings. By
    /// default `$MOCO_CACHE`, else `moco` in the user's cache folder. `None` keeps nothing.
    pub cache: Option<PathBuf>,
    /// Threads that look through archives, several of which are opened at a time.
    pub threads: usize,
    /// Folders of at least so many images have their listing kept in the cache, where it holds
    /// until a folder in them changes.
    pub keep_listing_from: usize,
    /// Called with a sentence before something takes long or takes space, such as a download.
    pub notice: Option<Notice>,
    /// Address, ending in `/`, to fetch named data sets from, instead of from where they are
    /// published and instead of taking an installed copy.
    pub mirror: Option<String>,
    /// How long servers are waited for.
    pub patience: Patience,
}

/// Takes a sentence for the person who waits.
pub type Notice = Arc<dyn Fn(&str) + Send + Sync>;

impl Default for OpenOptions {
    fn default() -> OpenOptions {
        OpenOptions {
            cache: cache_dir::default(),
            threads: thread::available_parallelism().map_or(1, usize::from),
            keep_listing_from: 100_000,
            notice: None,
            mirror: None,
            patience: Patience::default(),
        }
    }
}

/// Characters that make a text a pattern or an address: a path to open at once has none of them.
const SIGNS: [char; 4] = ['*', '?', '{', ':'];

/// What [`Dataset::open`] understands the same from any folder: an absolute path; names of data
/// sets and addresses stay as they are.
///
/// # Errors
/// If the path is empty, or the current folder is gone.
pub fn absolute_path(path: &Path) -> io::Result<PathBuf> {
    let text = path.to_str().unwrap_or_default();
    let stays = named::find(Selection::parse(text).0).is_some() || is_address(text);
    if stays && !path.exists() { Ok(path.into()) } else { std::path::absolute(path) }
}

/// A scan's outcome.
pub(super) type Opened = (Listing, Box<dyn Store>);

impl OpenOptions {
    /// Opens a data set, as [`Dataset::open`] does.
    ///
    /// # Errors
    /// If there is no such thing, it cannot be read, is damaged, or holds no image.
    pub fn open(&self, path: &Path) -> Result<Dataset, DataError> {
        let (listing, store) = self.resolve(path)?;
        finished(&without_secrets(path), listing, store)
    }

    pub(super) fn notify(&self, text: &str) {
        if let Some(notice) = &self.notice {
            notice(text);
        }
    }

    /// What exists under the path as it is comes first; then names, addresses, what is asked for of
    /// something that exists, patterns.
    fn resolve(&self, path: &Path) -> Result<Opened, DataError> {
        let text = path.to_str().unwrap_or_default();
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => return self.folder(path, &Selection::default()),
            Ok(_) => return self.file(path, &Selection::default()),
            // Windows finds fault with the signs of patterns and addresses.
            Err(error) if error.kind() != io::ErrorKind::NotFound && !text.contains(SIGNS) => {
                return Err(DataError::Unreadable { path: path.into(), source: error });
            }
            Err(_) => {}
        }
        let (place, asked) = Selection::parse(text);
        check_word(place)?;
        if let Some(named) = named::find(place) {
            return self.named(named, &asked);
        }
        if is_address(text) {
            return self.addresses(place, &asked);
        }
        let path = if asked.is_empty() { path } else { Path::new(place) };
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => self.folder(path, &asked),
            Ok(_) => self.file(path, &asked),
            Err(_) => self.shards(path, None, files_of_pattern(path, place)?, &asked),
        }
    }

    pub(super) fn file(&self, path: &Path, asked: &Selection) -> Result<Opened, DataError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        if name.ends_with(".tar.gz") || name.ends_with(".tgz") {
            return self.packed_tar(path, asked);
        }
        if name.ends_with(".tar") || name.ends_with(".parquet") {
            return self.shards(path, None, vec![path.into()], asked);
        }
        if list::is_list(path) {
            asked.check(path, Some(Source::List))?;
            let (mut listing, folder) = list::read(path, asked)?;
            // Any text is a list of lines; one whose first is no image's name is not meant as one.
            if listing.entries.is_empty() || list::looks_right(path, listing.entries.name(0)) {
                listing.holdings.choose("a list of paths");
                let own = parts::of_file(&name);
                // The name of a list says more than those of the folders where its images lie.
                let part = asked.part.filter(|_| own != asked.part);
                return part_folders::select(path, (listing, Box::new(folder)), part, own, false);
            }
        }
        if cifar::Kind::of_file(&name).is_some() || is_idx_name(&name) || has_idx_magic(path) {
            return self.record_file(path, &name, asked);
        }
        Err(DataError::NotADataset { path: path.into() })
    }

    /// A gzipped tar, of CIFAR or of images.
    fn packed_tar(&self, path: &Path, asked: &Selection) -> Result<Opened, DataError> {
        let unpacked = unpack::gunzip(path, None, self)?;
        if let Some(cifar) = cifar_in_tar(&unpacked, path, asked)? {
            return Ok(cifar);
        }
        self.shards(path, None, vec![unpacked], asked)
    }

    /// One or several tars, or one or several files of Parquet, in the folder `root` or as they were
    /// asked for; of several, those of the part that is asked for.
    pub(super) fn shards(
        &self,
        place: &Path,
        root: Option<&Path>,
        files: Vec<PathBuf>,
        asked: &Selection,
    ) -> Result<Opened, DataError> {
        let (files, note, asked) = parts::pick_shards(place, root, files, asked)?;
        let opened = files.into_iter().map(|file| Ok((blob(&file)?, file, None)));
        let opened = opened.collect::<Result<_, DataError>>()?;
        let (mut listing, store) = self.opened_shards(place, opened, &asked)?;
        listing.holdings.notes.extend(note);
        Ok((listing, store))
    }

    fn opened_shards(
        &self,
        place: &Path,
        shards: Vec<(Arc<Blob>, PathBuf, Option<String>)>,
        asked: &Selection,
    ) -> Result<Opened, DataError> {
        let all_are = |known: &str| {
            let is = |path: &Path| path.extension().is_some_and(|e| e.eq_ignore_ascii_case(known));
            shards.iter().all(|(_, path, _)| is(path))
        };
        let (count, own) = (shards.len(), parts::of_place(place));
        if all_are("parquet") {
            asked.check(place, Some(Source::Parquet))?;
            parts::check_own(place, asked.part, own)?;
            let files = shards.into_iter().map(|(blob, path, _)| (path, blob)).collect();
            let (mut listing, store) = boxed(Parquet::open(files, asked))?;
            listing.holdings.choose(&match count {
                1 => "Parquet".to_string(),
                _ => format!("{count} Parquet files"),
            });
            return Ok((listing, store));
        }
        if all_are("tar") {
            let is_of_images = asked.source == Some(Source::Images);
            asked.check(place, Some(if is_of_images { Source::Images } else { Source::Tar }))?;
            let shard = |(blob, path, version)| Shard { path, blob, version };
            let shards = shards.into_iter().map(shard).collect();
            let opened = boxed(Tar::scan(shards, is_of_images, self))?;
            return part_folders::select(place, opened, asked.part, own, true);
        }
        Err(DataError::NotADataset { path: place.into() })
    }

    /// One or several objects on servers, each a tar, packed or not, or a file of Parquet.
    #[cfg(feature = "remote")]
    fn addresses(&self, text: &str, asked: &Selection) -> Result<Opened, DataError> {
        use super::remote::{Found, Servers};
        let path = without_secrets(Path::new(text));
        let addresses = pattern::expand_braces(text)
            .ok_or_else(|| DataError::Pattern { path: path.clone() })?;
        let files = addresses.into_iter().map(PathBuf::from).collect();
        let (addresses, note, asked) = parts::pick_shards(&path, None, files, asked)?;
        let mut servers = Servers::new(self);
        let found = addresses.iter().map(|address| servers.open(&address.to_string_lossy()));
        let found = found.collect::<Result<Vec<_>, DataError>>()?;
        if let [Found { unpacked: Some(tar), path, .. }] = &found[..]
            && path.extension().is_some_and(|extension| extension == "tar")
            && let Some(cifar) =
                cifar_in_tar(tar, path, &asked).map_err(|error| servers.explain(error))?
        {
            return Ok(cifar);
        }
        let shards = found.into_iter().map(|found| (found.blob, found.path, found.version));
        let opened = self.opened_shards(&path, shards.collect(), &asked);
        let (mut listing, store) = opened.map_err(|error| servers.explain(error))?;
        listing.holdings.notes.extend(note);
        Ok((listing, store))
    }

    #[cfg(not(feature = "remote"))]
    fn addresses(&self, text: &str, _: &Selection) -> Result<Opened, DataError> {
        Err(DataError::NoNetwork {
            address: without_secrets(Path::new(text)).display().to_string(),
        })
    }
}

/// A file in memory.
pub(super) fn from_bytes(name: &str, bytes: Bytes) -> Result<Dataset, DataError> {
    let path = Path::new(name);
    let file = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let blob = Arc::new(Blob::Memory(bytes.clone()));
    let (listing, store) = if let Some(kind) = cifar::Kind::of_file(&file) {
        boxed(Cifar::open(kind, vec![cifar::whole_file(path, blob)], None))?
    } else if is_idx_name(&file) || idx::is_images(&blob) {
        boxed(Idx::open((path, blob), None, &[]))?
    } else if kind_of(name, &bytes[..bytes.len().min(HEAD)]) == FileKind::Image {
        let mut listing = Listing::default();
        listing.entries.push(name, bytes.len() as u64);
        (listing, Box::new(Encoded(bytes)) as _)
    } else {
        let options = OpenOptions { cache: None, threads: 1, ..OpenOptions::default() };
        options.opened_shards(path, vec![(blob, path.into(), None)], &Selection::default())?
    };
    finished(path, listing, store)
}

/// The data set of a listing that holds an image.
fn finished(
    path: &Path,
    mut listing: Listing,
    store: Box<dyn Store>,
) -> Result<Dataset, DataError> {
    let holdings = &mut listing.holdings;
    holdings.pass_over("other files", listing.others);
    if listing.entries.is_empty() {
        return Err(match holdings.passed_over.is_empty() {
            true => DataError::Empty { path: path.into() },
            false => DataError::NoImages { path: path.into(), found: holdings.counts() },
        });
    }
    holdings.choose("images");
    holdings.notes.extend(part_folders::together(path, &listing.entries));
    let unread = holdings.unread();
    if !unread.is_empty() {
        let note = format!("convert the {} to JPEG to have them read", enumerated(&unread));
        holdings.note(note);
    }
    Ok(Dataset::new(listing, store))
}

pub(super) fn boxed<S: Store + 'static>(
    opened: Result<(Listing, S), DataError>,
) -> Result<Opened, DataError> {
    opened.map(|(listing, store)| (listing, Box::new(store) as _))
}

pub(super) fn blob(path: &Path) -> Result<Arc<Blob>, DataError> {
    let blob = Blob::open(path);
    blob.map(Arc::new).map_err(|source| DataError::Unreadable { path: path.into(), source })
}

/// A word behind a `:` that is not known, behind what may well stand there, is a slip of the pen.
fn check_word(place: &str) -> Result<(), DataError> {
    let Some((before, word)) = place.rsplit_once(':') else { return Ok(()) };
    let ends = [".tar", ".tar.gz", ".tgz", ".parquet"];
    let exists = named::find(before).is_some()
        || (is_address(before) && ends.iter().any(|end| before.to_lowercase().ends_with(end)))
        || before.contains(['*', '{'])
        || (!before.is_empty() && Path::new(before).exists());
    if !exists || word.contains(['/', '\\', '*', '{', '}']) {
        return Ok(());
    }
    Err(DataError::UnknownWord { path: before.into(), word: word.into() })
}

/// A path as it may be shown: of an address, without user, password and query, which may be secrets.
pub fn without_secrets(path: &Path) -> PathBuf {
    match path.to_str() {
        Some(text) if is_address(text) => address::shown(text).into(),
        _ => path.into(),
    }
}

/// The existing files that a pattern stands for.
fn files_of_pattern(path: &Path, text: &str) -> Result<Vec<PathBuf>, DataError> {
    let missing = || DataError::Missing { path: path.into() };
    let expanded = pattern::expand_braces(text);
    let expanded = expanded.ok_or_else(|| DataError::Pattern { path: path.into() })?;
    if expanded.len() == 1 && !text.contains(['*', '?', '{']) {
        return Err(missing());
    }
    let mut files = Vec::new();
    for one in expanded {
        let found = if one.contains(['*', '?']) {
            pattern::glob(Path::new(&one)).map_err(|_| missing())?
        } else {
            vec![PathBuf::from(one)]
        };
        if let Some(file) = found.iter().find(|file| !file.exists()) {
            return Err(DataError::Missing { path: file.clone() });
        }
        files.extend(found);
    }
    if files.is_empty() { Err(missing()) } else { Ok(files) }
}
