//! Copies of whole objects: of packed ones, and from servers that give no ranges.

use super::fault::Fault;
use super::line::Pulse;
use super::{Object, Place, naming, web};
use crate::error::{DataError, Unreachable};
use crate::source::OpenOptions;
use crate::source::listing::Fnv;
use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::time::Instant;

/// Bytes per request, or between two writes: what is lost when a connection breaks.
const STEP: u64 = 4 << 20;

/// The object's copy in the cache, made if it is not there. `called` is what the object is called.
pub(super) fn keep(
    object: &Object,
    called: &Path,
    options: &OpenOptions,
) -> Result<PathBuf, DataError> {
    let Some(cache) = &options.cache else {
        return Err(DataError::NoCache { path: object.shown().into() });
    };
    let mut hash = Fnv::new();
    hash.feed(&naming::identity(&object.address).to_le_bytes());
    hash.feed(object.version().unwrap_or_default().as_bytes());
    let name = format!("{:016x}-{}", hash.0, naming::file_name(called));
    let path = cache.join("downloads").join(name);
    // Without a version, the object may have changed.
    if path.is_file() && object.version().is_some() {
        return Ok(path);
    }
    let uncached = |source| DataError::Cache { path: path.clone(), source };
    fs::create_dir_all(cache.join("downloads")).map_err(uncached)?;
    let mut partial = path.clone().into_os_string();
    partial.push(format!(".{}.part", process::id()));
    let size = object.probe.size.map(|size| format!(" ({})", megabytes(size)));
    let (shown, size) = (object.shown(), size.unwrap_or_default());
    options.notify(&format!("fetching {shown}{size} to {}, once", path.display()));
    let fetch = || {
        let mut file = File::options().write(true).create(true).truncate(true).open(&partial)?;
        write(object, &mut file, options)?;
        file.sync_all()?;
        fs::rename(&partial, &path)
    };
    fetch().map_err(|error| {
        let _ = fs::remove_file(&partial);
        match Unreachable::within(&error) {
            Some(unreachable) => DataError::unreachable(unreachable),
            None => uncached(error),
        }
    })?;
    Ok(path)
}

/// Writes the object to a file; where there are ranges, what the file holds is not asked for again.
pub(super) fn write(object: &Object, file: &mut File, options: &OpenOptions) -> io::Result<()> {
    let mut progress = Progress::new(object, options);
    match &object.place {
        Place::Web(link) if !object.probe.ranged => stream(object, link, file, &mut progress),
        _ => {
            let mut have = file.seek(SeekFrom::End(0))?;
            while have < object.len() {
                let count = STEP.min(object.len() - have);
                file.write_all(&object.read(have, count as usize)?)?;
                have += count;
                progress.at(have);
            }
            Ok(())
        }
    }
}

/// Writes what comes in one answer, from the beginning again if it breaks off.
fn stream(
    object: &Object,
    link: &web::Link,
    file: &mut File,
    progress: &mut Progress,
) -> io::Result<()> {
    let line = &object.line;
    // The inner error is of the file, and no fault of the server's.
    let outcome = line.retry(&object.shown(), true, |number| {
        let mut pulse = Pulse::default();
        let link = link.clone();
        let mut response = line.watch(number, Instant::now(), link.whole(pulse.clone()), &pulse)?;
        if let Err(error) = file.set_len(0).and_then(|()| file.rewind()) {
            return Ok(Err(error));
        }
        let mut have = 0;
        loop {
            pulse = Pulse::default();
            let more = web::more(response, STEP as usize / 4, pulse.clone());
            let bytes;
            (response, bytes) = line.watch(number, Instant::now(), more, &pulse)?;
            if bytes.is_empty() {
                break;
            }
            if let Err(error) = file.write_all(&bytes) {
                return Ok(Err(error));
            }
            have += bytes.len() as u64;
            progress.at(have);
        }
        let whole = object.probe.size.is_none_or(|size| size == have);
        if whole { Ok(Ok(())) } else { Err(Fault::Broke) }
    });
    outcome.map_err(io::Error::other)?
}

/// Says now and then how far a copy is.
struct Progress<'a> {
    size: Option<u64>,
    options: &'a OpenOptions,
    said: Instant,
}

impl<'a> Progress<'a> {
    fn new(object: &Object, options: &'a OpenOptions) -> Progress<'a> {
        Progress { size: object.probe.size, options, said: Instant::now() }
    }

    fn at(&mut self, bytes: u64) {
        if self.said.elapsed() < self.options.patience.tell_after || self.size == Some(bytes) {
            return;
        }
        self.said = Instant::now();
        let have = megabytes(bytes);
        self.options.notify(&match self.size {
            Some(size) => format!("fetched {have} of {}", megabytes(size)),
            None => format!("fetched {have}"),
        });
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
