//! What can go wrong, each in one sentence that names the thing and the mend.

use crate::source::FORMATS_TEXT;
use std::error::Error;
use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// A data set that cannot be opened, or a loader that cannot start or go on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DataError {
    /// Nothing exists at the path.
    #[error("`{}` does not exist; check the path to the images", path.display())]
    Missing {
        /// The path as given.
        path: PathBuf,
    },
    /// The path is a file of no kind that holds images.
    #[error(
        "`{}` is neither a folder nor a .tar, nor another kind of data set; give the folder that \
         holds the images, a .tar or .tar.gz of it, .parquet files, a .txt list of paths, or the \
         files of CIFAR or MNIST",
        path.display()
    )]
    NotADataset {
        /// The path as given.
        path: PathBuf,
    },
    /// There is no file at all.
    #[error("`{}` holds no files; give the folder or .tar that holds the images", path.display())]
    Empty {
        /// The path as given.
        path: PathBuf,
    },
    /// There are files, but no images.
    #[error(
        "`{}` holds no image that can be read ({found}); images are {FORMATS_TEXT} files, convert \
         others to one of these",
        path.display()
    )]
    NoImages {
        /// The path as given.
        path: PathBuf,
        /// What there is instead, counted by kind.
        found: String,
    },
    /// The part that is asked for is not there.
    #[error("`{}` has no part `{part}`; it has {parts}", path.display())]
    NoPart {
        /// The place as given.
        path: PathBuf,
        /// The part.
        part: &'static str,
        /// The parts that it has.
        parts: String,
    },
    /// A part is asked for of what is not divided into parts.
    #[error("`{}` has no parts; give the place of the {images} images by itself", path.display())]
    NoParts {
        /// The place as given.
        path: PathBuf,
        /// The images that are asked for: `training`, `validation` or `test`.
        images: &'static str,
    },
    /// What follows a `:` is none of the words that may.
    #[error(
        "`{word}` is not known behind `{}:`; known are train, val, test, source=images, source=tar, \
         source=parquet, source=list, column=NAME and labels=NAME",
        path.display()
    )]
    UnknownWord {
        /// The place before the `:`, which exists.
        path: PathBuf,
        /// What follows it.
        word: String,
    },
    /// The kind of source that is asked for is not in the folder.
    #[error("`{}` holds no {wanted}; {mend}", path.display())]
    NoSource {
        /// The folder as given.
        path: PathBuf,
        /// What is asked for.
        wanted: &'static str,
        /// What to give instead.
        mend: String,
    },
    /// The system refuses to read a folder or the archive.
    #[error(
        "`{}` cannot be read ({source}); check its permissions, or leave it out of the data set",
        path.display()
    )]
    Unreadable {
        /// The folder or archive.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The archive's structure is broken or it ends early.
    #[error(
        "`{}` is not a whole .tar archive ({reason}); copy or build it again, uncompressed",
        path.display()
    )]
    DamagedTar {
        /// The archive.
        path: PathBuf,
        /// Where its structure breaks.
        reason: String,
    },
    /// The contents of an archive or record file do not follow its format.
    #[error("`{}` is damaged ({reason}); copy or download it again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A table or list of images that is whole but cannot be read as one, or not as it is asked for.
    #[error("`{}` {problem}; {mend}", path.display())]
    Table {
        /// The file.
        path: PathBuf,
        /// What is the matter, as the rest of a sentence.
        problem: String,
        /// What to do about it.
        mend: String,
    },
    /// A pattern that stands for no sensible number of files.
    #[error(
        "the range in `{}` is empty or stands for over a million files; write it as {{000..012}}",
        path.display()
    )]
    Pattern {
        /// The pattern as given.
        path: PathBuf,
    },
    /// Something must be kept between runs and there is nowhere to keep it.
    #[error(
        "`{}` needs a cache folder and this system names none; set MOCO_CACHE to a folder",
        path.display()
    )]
    NoCache {
        /// What is to be unpacked or fetched.
        path: PathBuf,
    },
    /// The cache cannot be written.
    #[error(
        "`{}` cannot be written ({source}); make room or set MOCO_CACHE to another folder",
        path.display()
    )]
    Cache {
        /// The file in the cache.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A public data set that is not at hand and cannot be fetched.
    #[error(
        "{name} cannot be fetched ({reason}); download {address} by other means and put it at `{}`",
        path.display()
    )]
    Fetch {
        /// The data set.
        name: &'static str,
        /// Why not.
        reason: String,
        /// Where its authors publish it.
        address: String,
        /// Where it would be found.
        path: PathBuf,
    },
    /// An address, in a build without the network.
    #[error(
        "`{address}` is on a server, which this build cannot read; copy it here, or build moco with \
         the feature `remote`"
    )]
    NoNetwork {
        /// The address as given.
        address: String,
    },
    /// A server that does not answer, or does not give what is asked of it.
    #[error("{reason}")]
    Unreachable {
        /// The whole sentence, which names the server and the mend.
        reason: String,
    },
    /// Not one whole batch of images.
    #[error(
        "the batch size {batch} is larger than the data set of {images} images; lower the batch \
         size to {images} or less"
    )]
    BatchTooLarge {
        /// Images per batch asked for.
        batch: usize,
        /// Images there are.
        images: usize,
    },
    /// More images than 32-bit indices can name.
    #[error("the data set's {images} images are more than the 2^32 supported; split it")]
    TooManyImages {
        /// Images there are.
        images: usize,
    },
    /// A setting of the loader that makes no sense.
    #[error("the loader's `{setting}` must be {expected}")]
    Setting {
        /// Field of `LoaderConfig`.
        setting: &'static str,
        /// What it may be.
        expected: &'static str,
    },
    /// Unreadable images beyond the share that is tolerated.
    #[error(
        "{count} of the {images} images cannot be read ({:.2} %, more than the {:.2} % allowed), \
         such as `{example}` ({reason}); repair or remove them, or raise data.max_bad_share",
        100.0 * *count as f64 / *images as f64,
        100.0 * max_share
    )]
    TooManyBad {
        /// Distinct unreadable images so far.
        count: usize,
        /// Images in the data set.
        images: usize,
        /// The share that is tolerated, in 0..=1.
        max_share: f64,
        /// One of them.
        example: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An unreadable image whose stand-ins are unreadable too.
    #[error(
        "no readable image was found in {tries} draws to stand in for `{name}` ({reason}); most of \
         the data set is damaged, copy it again"
    )]
    NoStandIn {
        /// The unreadable image.
        name: String,
        /// What is wrong with it.
        reason: String,
        /// How many other images were tried.
        tries: usize,
    },
    /// The system starts no thread.
    #[error("the system starts no more threads: pass a lower --threads, or raise `ulimit -u`")]
    NoThreads,
    /// A worker thread stopped on a bug.
    #[error("a data worker stopped unexpectedly ({message}); this is a bug in moco, report it")]
    Worker {
        /// The panic's message.
        message: String,
    },
}

/// A server that does not answer, or does not give what is asked of it: a whole sentence. It is
/// carried by the error of whatever was reading.
#[derive(Clone, Debug, Error)]
#[error("{0}")]
pub(crate) struct Unreachable(pub String);

impl Unreachable {
    /// The one that an error is about.
    pub(crate) fn within(error: &(dyn Error + 'static)) -> Option<Unreachable> {
        causes(error).find_map(|cause| cause.downcast_ref::<Unreachable>().cloned())
    }
}

/// An error and what it was caused by, down to the first cause. An error within one of the system's
/// counts, which is no cause to the standard library.
pub(crate) fn causes<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&cause| match cause.downcast_ref::<io::Error>() {
        Some(error) => error.get_ref().map(|inner| inner as &(dyn Error + 'static)),
        None => cause.source(),
    })
}

#[cfg(feature = "remote")]
impl DataError {
    pub(crate) fn unreachable(Unreachable(reason): Unreachable) -> DataError {
        DataError::Unreachable { reason }
    }
}

/// One image that cannot be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Read(#[from] io::Error),
    /// The server that holds it does not answer, or does not give what is asked of it; the image
    /// may be a good one.
    #[error("{reason}")]
    Unreachable {
        /// The whole sentence, which names the server and the mend.
        reason: String,
    },
    /// The file has no bytes.
    #[error("the file is empty")]
    Empty,
    /// The bytes are none of the supported formats.
    #[error("not a JPEG, PNG, WebP, BMP, GIF, TIFF or PNM image")]
    UnknownFormat,
    /// A known format, or a kind of one, that is not read.
    #[error("{what}: not read; {mend}")]
    Unsupported {
        /// What it is, such as `HEIC image`.
        what: String,
        /// How to make it readable.
        mend: String,
    },
    /// The file ends before the image does.
    #[error("the file is cut off before the image ends")]
    Truncated,
    /// The bytes do not follow their format.
    #[error("damaged {format} image: {reason}")]
    Damaged {
        /// Name of the format.
        format: &'static str,
        /// What does not, in words.
        reason: String,
    },
    /// More pixels or memory than is sensible.
    #[error("{width}x{height} pixels are over the limit of {limit_mpx} million")]
    TooLarge {
        /// Pixels per row.
        width: u32,
        /// Rows.
        height: u32,
        /// Largest number of pixels that is decoded, in millions.
        limit_mpx: u64,
    },
}

impl ImageError {
    /// This error; if a server caused it, the error of that server.
    pub(crate) fn or_unreachable(self) -> ImageError {
        match &self {
            ImageError::Read(error) => match Unreachable::within(error) {
                Some(Unreachable(reason)) => ImageError::Unreachable { reason },
                None => self,
            },
            _ => self,
        }
    }
}
