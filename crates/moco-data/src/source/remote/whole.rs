//! Whole files from plain servers, for programs that fetch other things than images.

use super::{Place, Servers, copy, naming};
use crate::error::{DataError, Unreachable};
use crate::source::OpenOptions;
use crate::source::listing::Fnv;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a server answers at an address of `https://` or `http://`, up to `most` bytes.
///
/// `bearer` is sent as the header `Authorization: Bearer ...`, and not to where a redirect to
/// another host leads.
///
/// # Errors
/// [`DataError::Unreachable`], also for a longer answer.
pub fn answer(
    address: &str,
    bearer: Option<&str>,
    most: u64,
    options: &OpenOptions,
) -> Result<Vec<u8>, DataError> {
    let mut file = tempfile()?;
    let object = Servers::new(options).with_bearer(bearer).object(address);
    let object = object.map_err(DataError::unreachable)?;
    if object.size().is_some_and(|size| size > most) {
        let reason = format!("`{}` answers with more than {most} bytes", object.shown());
        return Err(DataError::Unreachable { reason });
    }
    let path = file.path.clone();
    let unreadable = |error| told(error, |source| DataError::Cache { path: path.clone(), source });
    copy::write(&object, &mut file.file, options).map_err(unreadable)?;
    fs::read(&file.path).map_err(|source| DataError::Cache { path: file.path.clone(), source })
}

/// A file that is removed with this value.
struct Temporary {
    path: PathBuf,
    file: File,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn tempfile() -> Result<Temporary, DataError> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("moco-answer-{}-{number}", process::id()));
    let file = File::options().read(true).write(true).create_new(true).open(&path);
    match file {
        Ok(file) => Ok(Temporary { path, file }),
        Err(source) => Err(DataError::Cache { path, source }),
    }
}

/// Copies a file from an address of `https://` or `http://` to `to`, whose folder must exist. It is
/// whole under that name: until then it has another beside it, from which an interrupted copy goes
/// on where the server gives ranges and the file is still the same. `bearer` as in [`answer`].
///
/// # Errors
/// [`DataError::Unreachable`], and [`DataError::Cache`] if the copy cannot be written.
pub fn download(
    address: &str,
    bearer: Option<&str>,
    to: &Path,
    options: &OpenOptions,
) -> Result<(), DataError> {
    let object = Servers::new(options).with_bearer(bearer).object(address);
    let object = object.map_err(DataError::unreachable)?;
    let version = object.version();
    let mut hash = Fnv::new();
    hash.feed(&naming::identity(&object.address).to_le_bytes());
    hash.feed(version.as_deref().unwrap_or_default().as_bytes());
    let partial = |own: &str| {
        let mut name = to.as_os_str().to_owned();
        name.push(format!(".{:016x}{own}.part", hash.0));
        PathBuf::from(name)
    };
    let failed = |error| told(error, |source| DataError::Cache { path: to.to_owned(), source });
    let open = |path: &Path| {
        File::options().read(true).write(true).create(true).truncate(false).open(path)
    };
    let mut path = partial("");
    let mut file = open(&path).map_err(failed)?;
    if file.try_lock().is_err() {
        // Another process is at it.
        path = partial(&format!("-{}", process::id()));
        file = open(&path).map_err(failed)?;
    }
    let goes_on = version.is_some() && object.probe.ranged && matches!(object.place, Place::Web(_));
    let size = object.probe.size;
    let mut attempt = || {
        let have = file.metadata()?.len();
        if !goes_on || size.is_some_and(|size| have > size) {
            file.set_len(0)?;
        }
        options.notify(&format!("fetching {} to {}", object.shown(), to.display()));
        copy::write(&object, &mut file, options)?;
        file.sync_all()?;
        fs::rename(&path, to)
    };
    attempt().map_err(|error| {
        if !goes_on {
            let _ = fs::remove_file(&path);
        }
        failed(error)
    })
}

/// The error of a server within one of the system's, or what `other` makes of it.
fn told(error: io::Error, other: impl FnOnce(io::Error) -> DataError) -> DataError {
    match Unreachable::within(&error) {
        Some(unreachable) => DataError::unreachable(unreachable),
        None => other(error),
    }
}
