//! Files that are whole or absent, whatever happens while they are written.

use std::fs::{self, File};
use std::io::{self, BufWriter, IntoInnerError};
use std::path::Path;
use std::process;

/// Writes the file at `path`, and its folder if it is not there: under a name of this process's own,
/// on the disk in full, then renamed. Of a failed attempt nothing stays.
///
/// # Errors
/// What `write` gives, or the system's reason.
pub(super) fn write_whole(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut partial = path.as_os_str().to_owned();
    partial.push(format!(".{}.part", process::id()));
    let attempt = || {
        let mut out = BufWriter::with_capacity(1 << 16, File::create(&partial)?);
        write(&mut out)?;
        out.into_inner().map_err(IntoInnerError::into_error)?.sync_all()?;
        fs::rename(&partial, path)
    };
    attempt().inspect_err(|_| {
        // What is left of it is of no use; that it stays is no further error.
        let _ = fs::remove_file(&partial);
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_file_is_whole_or_as_it_was() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("cache/kept.bin");
        write_whole(&path, |out| out.write_all(b"first")).unwrap();
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let failed = write_whole(&path, |out| out.write_all(b"sec").and(Err(full())));
        assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(fs::read(&path).unwrap(), b"first");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left");
    }
}
