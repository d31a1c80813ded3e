//! Writing a file whole, what large ones ask of a disk, and how paths stand in messages.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufWriter, IntoInnerError};
use std::path::Path;

/// Name of a run's configuration in its folder.
pub const CONFIG: &str = "config.toml";
/// Name of a run's encoder, or of imported weights, in its folder.
pub const ENCODER: &str = "encoder.safetensors";
/// Writes the file at `path` so that a reader, or a crash, sees either the old file or the new one:
/// under the extension `tmp`, on the disk in full, then renamed. Of a failed attempt nothing stays.
///
/// # Errors
/// What `write` gives, or the system's reason.
pub fn write_whole(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let attempt = || {
        let mut out = BufWriter::with_capacity(1 << 20, File::create(&temporary)?);
        write(&mut out)?;
        out.into_inner().map_err(IntoInnerError::into_error)?.sync_all()?;
        fs::rename(&temporary, path)?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
    };
    attempt().inspect_err(|_| {
        // What is left of it is of no use; that it stays is no further error.
        let _ = fs::remove_file(&temporary);
    })
}

/// A disk without room for what is to be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.told())]
pub struct NoRoom {
    /// The folder, as a message shows it.
    pub folder: String,
    /// Bytes that are free; `None` if that is not known, or would be enough: a disk may have become
    /// full and empty again, and a user's share of it may be used up before the disk is.
    pub free: Option<u64>,
    /// Bytes that are needed.
    pub needed: u64,
}

impl NoRoom {
    fn told(&self) -> String {
        let needed = Size(self.needed);
        match self.free {
            Some(free) => {
                format!("{} has {} free and {needed} are needed", self.folder, Size(free))
            }
            None => format!("{} has no room for the {needed} that are needed", self.folder),
        }
    }
}

/// Checks that `needed` bytes can still be written to the disk of `folder`. A system that does not
/// tell is trusted.
///
/// # Errors
/// [`NoRoom`], with both numbers.
pub fn ensure_room(folder: &Path, needed: u64) -> Result<(), NoRoom> {
    match free_space(folder) {
        Some(free) if free < needed => {
            let folder = format!("the disk of `{}`", folder.display());
            Err(NoRoom { folder, free: Some(free), needed })
        }
        _ => Ok(()),
    }
}

/// Bytes that this user may still write to the disk of `path`, which need not exist yet; `None`
/// where the system does not tell.
#[cfg(unix)]
pub fn free_space(path: &Path) -> Option<u64> {
    let absolute = std::path::absolute(path).ok()?;
    let disk = absolute.ancestors().find_map(|path| rustix::fs::statvfs(path).ok())?;
    disk.f_bavail.checked_mul(disk.f_frsize)
}

/// Bytes that this user may still write to the disk of `path`; this system does not tell.
#[cfg(not(unix))]
pub fn free_space(_: &Path) -> Option<u64> {
    None
}

/// A number of bytes as people read it: `3 MB`, `8.6 GB`, `512 TB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut units = ["kB", "MB", "GB", "TB", "PB"].iter().peekable();
        let (mut value, mut unit) = (self.0 as f64, "bytes");
        while value >= 999.5 && units.peek().is_some() {
            value /= 1e3;
            unit = units.next().unwrap_or(&unit);
        }
        let text = if value < 9.95 { format!("{value:.1}") } else { format!("{value:.0}") };
        write!(f, "{} {unit}", text.trim_end_matches(".0"))
    }
}

/// A path as one word of a command that a person copies into a shell. Bytes that are no text are
/// shown as the terminal would.
pub fn shell_word(path: &Path) -> String {
    let text = path.to_string_lossy();
    match shlex::try_quote(&text) {
        Ok(word) => word.into_owned(),
        // No path holds a NUL, the one thing that cannot be quoted.
        Err(_) => text.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn sizes_have_two_digits_where_they_matter() {
        let cases = [
            (0, "0 bytes"),
            (999, "999 bytes"),
            (1_000, "1 kB"),
            (3_140_000, "3.1 MB"),
            (90_400_000, "90 MB"),
            (8_589_934_592, "8.6 GB"),
            (999_700_000_000, "1 TB"),
            (512_000_000_000_000, "512 TB"),
            (u64::MAX, "18447 PB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(Size(bytes).to_string(), text);
        }
    }

    #[test]
    fn a_failed_attempt_leaves_what_was_there() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("x.txt");
        write_whole(&path, |out| out.write_all(b"first")).unwrap();
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let error = write_whole(&path, |out| out.write_all(b"x").and(Err(full()))).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(fs::read(&path).unwrap() == b"first" && !path.with_extension("tmp").exists());
    }

    #[test]
    fn words_survive_a_shell() {
        let word = |path: &str| shell_word(Path::new(path));
        assert_eq!(word("runs/first"), "runs/first");
        assert_eq!(word("my run"), "'my run'");
        let hostile = "it's; rm -rf $HOME `\"";
        assert_eq!(shlex::split(&word(hostile)).unwrap(), [hostile]);
    }

    #[cfg(unix)]
    #[test]
    fn a_disk_has_room_for_a_byte_and_none_for_an_exabyte() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("not/yet");
        assert_eq!(ensure_room(&folder, 1), Ok(()));
        let full = ensure_room(&folder, 1 << 60).unwrap_err();
        assert!(full.to_string().contains("not/yet"), "{full}");
        assert!(full.to_string().ends_with("are needed"), "{full}");
    }

    #[test]
    fn a_full_disk_never_has_as_much_free_as_is_needed() {
        let folder = "the disk of `runs`".to_owned();
        let room = |free| NoRoom { folder: folder.clone(), free, needed: 5_000_000 }.to_string();
        assert_eq!(room(Some(1_000)), "the disk of `runs` has 1 kB free and 5 MB are needed");
        assert_eq!(room(None), "the disk of `runs` has no room for the 5 MB that are needed");
    }
}
