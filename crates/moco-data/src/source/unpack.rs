//! Gzipped files, which can only be read from their beginning: unpacked once into the cache.

use super::OpenOptions;
use super::listing::Fnv;
use crate::error::DataError;
use flate2::read::MultiGzDecoder;
use md5::{Digest, Md5};
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// The unpacked copy of a `.gz`, made if it is not there. With `md5`, the packed file must have
/// that checksum.
pub(super) fn gunzip(
    path: &Path,
    md5: Option<&str>,
    options: &OpenOptions,
) -> Result<PathBuf, DataError> {
    let unreadable = |source| DataError::Unreadable { path: path.into(), source };
    let Some(cache) = &options.cache else {
        return Err(DataError::NoCache { path: path.into() });
    };
    let copy = cache.join("unpacked").join(copy_name(path).map_err(unreadable)?);
    if copy.is_file() {
        return Ok(copy);
    }
    options.notify(&format!("unpacking {} to {}, once", path.display(), copy.display()));
    let uncached = |source| DataError::Cache { path: copy.clone(), source };
    let partial = copy.with_extension(format!("{}.part", std::process::id()));
    fs::create_dir_all(cache.join("unpacked")).map_err(uncached)?;
    let output = BufWriter::new(File::create(&partial).map_err(uncached)?);
    let outcome = unpack(path, md5, output, &uncached);
    if let Err(error) = outcome {
        let _ = fs::remove_file(&partial);
        return Err(error);
    }
    fs::rename(&partial, &copy).map_err(uncached)?;
    Ok(copy)
}

/// Without `.gz`, and with a number that changes when the file does.
fn copy_name(path: &Path) -> io::Result<String> {
    let metadata = fs::metadata(path)?;
    let changed = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut hash = Fnv::new();
    hash.feed(path.canonicalize()?.as_os_str().as_encoded_bytes());
    hash.feed(&metadata.len().to_le_bytes());
    hash.feed(&changed.as_nanos().to_le_bytes());
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.strip_suffix(".gz").map(String::from);
    let stem = stem.or_else(|| name.strip_suffix(".tgz").map(|stem| format!("{stem}.tar")));
    let stem = stem.unwrap_or_else(|| name.into_owned());
    Ok(format!("{:016x}-{stem}", hash.0))
}

fn unpack(
    path: &Path,
    md5: Option<&str>,
    mut output: BufWriter<File>,
    uncached: &dyn Fn(io::Error) -> DataError,
) -> Result<(), DataError> {
    let damaged = |reason: String| DataError::Damaged { path: path.into(), reason };
    let file =
        File::open(path).map_err(|source| DataError::Unreadable { path: path.into(), source })?;
    let mut input = MultiGzDecoder::new(BufReader::new(Summed { file, sum: Md5::new() }));
    let mut buffer = vec![0; 1 << 18];
    loop {
        match input.read(&mut buffer).map_err(|error| damaged(error.to_string()))? {
            0 => break,
            count => output.write_all(&buffer[..count]).map_err(uncached)?,
        }
    }
    let file = output.into_inner().map_err(|error| uncached(error.into_error()))?;
    file.sync_all().map_err(uncached)?;
    if let Some(expected) = md5 {
        // What may follow the packed data counts too.
        let mut rest = input.into_inner();
        io::copy(&mut rest, &mut io::sink()).map_err(|error| damaged(error.to_string()))?;
        let found = hex(&rest.into_inner().sum.finalize());
        if found != expected {
            return Err(damaged(format!(
                "its MD5 is {found}, that of the published file {expected}"
            )));
        }
    }
    Ok(())
}

/// The checksum of a file, in hexadecimal.
#[cfg(feature = "remote")]
pub(super) fn md5(path: &Path) -> io::Result<String> {
    let mut file = Summed { file: File::open(path)?, sum: Md5::new() };
    io::copy(&mut file, &mut io::sink())?;
    Ok(hex(&file.sum.finalize()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A file, and the checksum of what was read of it.
struct Summed {
    file: File,
    sum: Md5,
}

impl Read for Summed {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(out)?;
        self.sum.update(&out[..count]);
        Ok(count)
    }
}
