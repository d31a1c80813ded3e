//! What a path or name stands for.

use super::blob::Blob;
use super::cifar::{self, Cifar};
use super::folder::Folder;
use super::idx::{self, Idx};
use super::listing::{self, Listing};
use super::named::{self, Format, Named};
use super::parquet::Parquet;
use super::selection::{Part, Selection};
use super::tar::{Shard, Tar};
use super::{Dataset, Encoded, Holdings, Store, cache_dir, list, listing_cache, pattern, unpack};
use crate::error::DataError;
use bytes::Bytes;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::SystemTime;

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
        }
    }
}

/// What no plain path contains.
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
type Opened = (Listing, Box<dyn Store>);

impl OpenOptions {
    /// Opens a data set, as [`Dataset::open`] does.
    ///
    /// # Errors
    /// If there is no such thing, it cannot be read, is damaged, or holds no image.
    pub fn open(&self, path: &Path) -> Result<Dataset, DataError> {
        let (listing, store) = self.resolve(path)?;
        finished(path, listing, store)
    }

    pub(super) fn notify(&self, text: &str) {
        if let Some(notice) = &self.notice {
            notice(text);
        }
    }

    /// What exists under the path as it is comes first; then names, addresses, a part of something
    /// that exists, patterns.
    fn resolve(&self, path: &Path) -> Result<Opened, DataError> {
        let missing = || DataError::Missing { path: path.into() };
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
        if let Some(named) = named::find(place) {
            return self.named(named, &asked);
        }
        if is_address(text) {
            return self.addresses(place, &asked);
        }
        if !asked.is_empty() {
            return match fs::metadata(place) {
                Ok(metadata) if metadata.is_dir() => self.folder(Path::new(place), &asked),
                Ok(_) => self.file(Path::new(place), &asked),
                Err(_) => Err(missing()),
            };
        }
        self.shards(path, files_of_pattern(path, text)?, &asked)
    }

    /// A folder of images, or one of archives or record files.
    fn folder(&self, path: &Path, asked: &Selection) -> Result<Opened, DataError> {
        if let Some(kept) = self.kept_tree(path) {
            return Ok(kept);
        }
        let files = visible_files(path)?;
        let named = |name: &str| files.iter().any(|file| file == name);
        let train_or_test = asked.part.unwrap_or(Part::Train);
        for kind in [cifar::Kind::Cifar10, cifar::Kind::Cifar100] {
            let files = kind.files(train_or_test).0;
            if !files.is_empty() && files.iter().all(|name| named(name)) {
                return cifar_folder(path, kind, train_or_test);
            }
        }
        let prefix = if train_or_test == Part::Train { "train" } else { "t10k" };
        if let Some(images) =
            files.iter().find(|file| is_idx_name(file) && file.starts_with(prefix))
        {
            return self.idx(&path.join(images), &[]);
        }
        let (listing, store) = self.tree(path)?;
        if !listing.entries.is_empty() {
            return Ok((listing, store));
        }
        // No image anywhere: then archives, beside one another or where Hugging Face has them.
        for folder in [path.to_path_buf(), path.join("data")] {
            for extension in ["parquet", "tar"] {
                let found = shards_in(&folder, extension, asked);
                if !found.is_empty() {
                    return self.shards(path, found, asked);
                }
            }
        }
        Ok((listing, store))
    }

    fn tree(&self, path: &Path) -> Result<Opened, DataError> {
        let start = SystemTime::now();
        let (walk, folder) = Folder::scan(path)?;
        let large = walk.listing.entries.len() >= self.keep_listing_from;
        let plain = walk.listing.skipped.is_empty() && folder.has_plain_names();
        if let Some(cache) = self.cache.as_ref().filter(|_| large && plain) {
            // A listing that cannot be kept costs time in the next run and nothing else.
            let _ = listing_cache::save(path, cache, &walk, start);
        }
        Ok((walk.listing, Box::new(folder)))
    }

    /// A tree whose listing is in the cache and still holds.
    fn kept_tree(&self, path: &Path) -> Option<Opened> {
        let (entries, others) = listing_cache::load(path, self.cache.as_ref()?)?;
        let listing = Listing { entries, others, ..Listing::default() };
        Some((listing, Box::new(Folder::known(path))))
    }

    fn file(&self, path: &Path, asked: &Selection) -> Result<Opened, DataError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        if name.ends_with(".tar.gz") || name.ends_with(".tgz") {
            return self.packed_tar(path, asked);
        }
        if name.ends_with(".tar") || name.ends_with(".parquet") {
            return self.shards(path, vec![path.into()], asked);
        }
        if list::is_list(path) {
            let (listing, folder) = list::read(path, asked)?;
            // Any text is a list of lines; one whose first is no image's name is not meant as one.
            if listing.entries.is_empty() || list::looks_right(path, listing.entries.name(0)) {
                return Ok((listing, Box::new(folder)));
            }
        }
        if cifar::Kind::of_file(&name).is_some() || is_idx_name(&name) || has_idx_magic(path) {
            return self.records(path, &name);
        }
        Err(DataError::NotADataset { path: path.into() })
    }

    /// A single file of records.
    fn records(&self, path: &Path, name: &str) -> Result<Opened, DataError> {
        let Some(kind) = cifar::Kind::of_file(name) else { return self.idx(path, &[]) };
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

    /// A gzipped tar, of CIFAR or of images.
    fn packed_tar(&self, path: &Path, asked: &Selection) -> Result<Opened, DataError> {
        let unpacked = unpack::gunzip(path, None, self)?;
        if let Some(cifar) = cifar_in_tar(&unpacked, asked.part.unwrap_or(Part::Train))? {
            return Ok(cifar);
        }
        self.shards(path, vec![unpacked], asked)
    }

    fn named(&self, named: &'static Named, asked: &Selection) -> Result<Opened, DataError> {
        let part = asked.part.unwrap_or(Part::Train);
        match named.format {
            Format::Cifar(_) => {
                let tar = named.unpacked(named.archive(), self)?;
                let cifar = cifar_in_tar(&tar, part)?;
                cifar.ok_or(DataError::Damaged {
                    path: tar,
                    reason: "the files of CIFAR are not in it".into(),
                })
            }
            Format::Idx(class_names) => {
                let prefix = if part == Part::Train { "train" } else { "t10k" };
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
    }

    /// One or several tars, or one or several files of Parquet.
    fn shards(
        &self,
        path: &Path,
        files: Vec<PathBuf>,
        asked: &Selection,
    ) -> Result<Opened, DataError> {
        let opened = files.into_iter().map(|file| Ok((blob(&file)?, file, None)));
        self.opened_shards(path, opened.collect::<Result<_, DataError>>()?, asked)
    }

    fn opened_shards(
        &self,
        path: &Path,
        shards: Vec<(Arc<Blob>, PathBuf, Option<String>)>,
        asked: &Selection,
    ) -> Result<Opened, DataError> {
        let all_are = |known: &str| {
            let is = |path: &Path| path.extension().is_some_and(|e| e.eq_ignore_ascii_case(known));
            shards.iter().all(|(_, path, _)| is(path))
        };
        if all_are("parquet") {
            return boxed(Parquet::open(
                shards.into_iter().map(|(b, path, _)| (path, b)).collect(),
                asked,
            ));
        }
        if all_are("tar") {
            let shard = |(blob, path, version)| Shard { path, blob, version };
            return boxed(Tar::scan(shards.into_iter().map(shard).collect(), self));
        }
        Err(DataError::NotADataset { path: path.into() })
    }

    #[cfg(feature = "remote")]
    fn addresses(&self, text: &str, asked: &Selection) -> Result<Opened, DataError> {
        use super::remote::Object;
        let addresses =
            pattern::expand_braces(text).ok_or_else(|| DataError::Pattern { path: text.into() })?;
        let shards = addresses.into_iter().map(|address| {
            let object = Object::open(&address)
                .map_err(|source| DataError::Unreadable { path: address.clone().into(), source })?;
            let version = Some(object.version());
            Ok((Arc::new(Blob::Remote(object)), PathBuf::from(address), version))
        });
        self.opened_shards(Path::new(text), shards.collect::<Result<_, DataError>>()?, asked)
    }

    #[cfg(not(feature = "remote"))]
    fn addresses(&self, text: &str, _: &Selection) -> Result<Opened, DataError> {
        Err(DataError::NoNetwork { address: text.into() })
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
    } else if listing::is_image(name) {
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
    if listing.entries.is_empty() {
        return Err(match listing.others {
            0 => DataError::Empty { path: path.into() },
            others => DataError::NoImages { path: path.into(), others },
        });
    }
    let holdings = &mut listing.holdings;
    if holdings.chosen.is_empty() {
        holdings.chosen = Holdings::of("images").chosen;
    }
    holdings.pass_over("other files", listing.others);
    if let Some(first) = listing.skipped.first() {
        let more = listing.skipped.len();
        holdings.note(format!("{more} left out, such as `{}` ({})", first.name, first.reason));
    }
    Ok(Dataset::new(listing, store))
}

fn boxed<S: Store + 'static>(opened: Result<(Listing, S), DataError>) -> Result<Opened, DataError> {
    opened.map(|(listing, store)| (listing, Box::new(store) as _))
}

fn blob(path: &Path) -> Result<Arc<Blob>, DataError> {
    let blob = Blob::open(path);
    blob.map(Arc::new).map_err(|source| DataError::Unreadable { path: path.into(), source })
}

fn is_address(text: &str) -> bool {
    ["s3://", "gs://", "https://", "http://"].iter().any(|scheme| text.starts_with(scheme))
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

/// Names of the files of a folder, sorted.
fn visible_files(path: &Path) -> Result<Vec<String>, DataError> {
    let unreadable = |source| DataError::Unreadable { path: path.into(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(path).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        // Of millions of images, none is of interest here.
        let name = entry.file_name().to_string_lossy().into_owned();
        if !listing::is_hidden(&name) && !listing::is_image(&name) && entry.path().is_file() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// The archives of a folder. If some are named after their part of the data set, as Hugging Face
/// does, those of the part that is asked for, and of training if none is.
fn shards_in(folder: &Path, extension: &str, asked: &Selection) -> Vec<PathBuf> {
    let Ok(names) = visible_files(folder) else { return Vec::new() };
    let is = |name: &&String| {
        Path::new(name).extension().is_some_and(|e| e.eq_ignore_ascii_case(extension))
    };
    let all: Vec<&String> = names.iter().filter(is).collect();
    let of_part = |prefix: &str| -> Vec<&String> {
        all.iter().copied().filter(|name| name.starts_with(prefix)).collect()
    };
    let chosen = match asked.part {
        Some(Part::Test) => of_part("test"),
        Some(Part::Validation) => of_part("val"),
        Some(Part::Train) => of_part("train"),
        None if of_part("train").is_empty() => all.clone(),
        None => of_part("train"),
    };
    chosen.into_iter().map(|name| folder.join(name)).collect()
}

/// `train-images-idx3-ubyte`, `train-images.idx3-ubyte`, and the same with `.gz`.
fn is_idx_name(name: &str) -> bool {
    let plain = name.strip_suffix(".gz").unwrap_or(name);
    plain.ends_with("idx3-ubyte") || plain.ends_with("idx4-ubyte")
}

fn has_idx_magic(path: &Path) -> bool {
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

/// CIFAR within a tar, if it is there.
fn cifar_in_tar(path: &Path, part: Part) -> Result<Option<Opened>, DataError> {
    let archive = blob(path)?;
    let members = super::tar::members(&archive)
        .map_err(|reason| DataError::DamagedTar { path: path.into(), reason })?;
    let find =
        |name: &str| members.iter().find(|member| member.name.rsplit('/').next() == Some(name));
    for kind in [cifar::Kind::Cifar10, cifar::Kind::Cifar100] {
        let (files, names) = kind.files(part);
        let found: Option<Vec<_>> = files.iter().map(|name| find(name)).collect();
        let Some(found) = found.filter(|found| !found.is_empty()) else { continue };
        let batches = found.into_iter().map(|member| cifar::Batch {
            path: PathBuf::from(&member.name),
            blob: Arc::clone(&archive),
            start: member.offset,
            length: member.bytes,
        });
        let names = find(names).and_then(|member| {
            let text = archive.read(member.offset, member.bytes.min(1 << 16) as usize).ok()?;
            String::from_utf8(text.to_vec()).ok()
        });
        return boxed(Cifar::open(kind, batches.collect(), names.as_deref())).map(Some);
    }
    Ok(None)
}
