//! Files that a command writes: looked at before the work begins, and under their name when whole.

use anyhow::{Context, bail, ensure};
use std::fs::{self, File};
use std::io::{BufWriter, IntoInnerError};
use std::path::{Path, PathBuf};

/// A file that can be written.
#[derive(Debug)]
pub struct Output {
    /// The path as it was given, for messages.
    path: PathBuf,
    /// Where it lies: what a symbolic link leads to.
    target: PathBuf,
}

impl Output {
    /// Looks whether a file can be written at `path`.
    pub fn at(path: &Path) -> anyhow::Result<Output> {
        let shown = path.display();
        let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        match fs::metadata(&target) {
            Ok(meta) if meta.is_dir() => bail!("{shown} is a folder: give --out a file in it"),
            Ok(meta) if !meta.is_file() => bail!("{shown} is no plain file: give --out another"),
            Ok(meta) if meta.permissions().readonly() => {
                bail!("{shown} is there and may not be written: give --out another file")
            }
            _ => {}
        }
        let folder = folder(&target);
        ensure!(
            folder.is_dir(),
            "cannot write {shown}: there is no folder {}; make it, or give --out another file",
            folder.display()
        );
        // It has no name, or a random one, and is gone at once.
        tempfile::tempfile_in(folder).with_context(|| {
            format!("cannot write {shown}: give --out a file in a folder that you may write to")
        })?;
        Ok(Output { path: path.to_owned(), target })
    }

    /// Looks whether a page can be written at `path`, which must be named as one.
    pub fn page(path: &Path) -> anyhow::Result<Output> {
        ensure!(
            ["html", "htm"].contains(&extension(path).as_str()),
            "{} does not end in .html: the report is a page, so rename --out",
            path.display()
        );
        Output::at(path)
    }

    /// Refuses to write over a file that the command reads.
    pub fn spares(self, input: &Path) -> anyhow::Result<Output> {
        ensure!(
            !same(&self.target, input),
            "{} is what the command reads: give --out another file",
            self.path.display()
        );
        Ok(self)
    }

    /// Where the file lies, behind all symbolic links.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Writes the file.
    pub fn write(
        &self,
        write: impl FnOnce(&mut BufWriter<File>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut partial = self.target.as_os_str().to_owned();
        partial.push(".partial");
        let written = || -> anyhow::Result<()> {
            let mut file = BufWriter::new(File::create(&partial)?);
            write(&mut file)?;
            file.into_inner().map_err(IntoInnerError::into_error)?.sync_all()?;
            Ok(fs::rename(&partial, &self.target)?)
        };
        written().with_context(|| format!("cannot write {}", self.path.display())).inspect_err(
            |_| {
                // What is left of a failed attempt is of no use; that it stays is no further error.
                let _ = fs::remove_file(&partial);
            },
        )
    }
}

/// Whether two paths lead to one file.
pub fn same(one: &Path, other: &Path) -> bool {
    match (fs::canonicalize(one), fs::canonicalize(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The extension of a file, in small letters.
pub fn extension(path: &Path) -> String {
    path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase()
}

/// Looks whether a folder can be made, or files in it.
pub fn check_folder(path: &Path) -> anyhow::Result<()> {
    let absolute = std::path::absolute(path)?;
    let present = absolute.ancestors().find(|folder| folder.exists()).unwrap_or(&absolute);
    match present.is_dir() {
        true => tempfile::tempfile_in(present).map(drop),
        false => Err(std::io::ErrorKind::NotADirectory.into()),
    }
    .map_err(|source| moco::run::RunDirError::Unwritable { path: path.into(), source }.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn refusal(path: &Path) -> String {
        format!("{:#}", Output::at(path).unwrap_err())
    }

    #[test]
    fn a_file_appears_when_it_is_whole() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("table.csv");
        fs::write(&path, "old").unwrap();
        let output = Output::at(&path).unwrap();
        let failed = output.write(|file| {
            file.write_all(b"half")?;
            bail!("no more")
        });
        assert_eq!(
            format!("{:#}", failed.unwrap_err()),
            format!("cannot write {}: no more", path.display())
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        output.write(|file| Ok(file.write_all(b"whole")?)).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "whole");
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn what_cannot_be_written_is_refused_first() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        assert!(refusal(place.path()).contains("is a folder"));
        assert!(refusal(&at("nowhere/f.csv")).contains("there is no folder"));
        fs::write(at("input.csv"), "").unwrap();
        let output =
            Output::at(&at("../").join(place.path().file_name().unwrap()).join("input.csv"));
        let error = output.unwrap().spares(&at("input.csv")).unwrap_err().to_string();
        assert!(error.contains("is what the command reads"), "{error}");
        let mut mode = fs::metadata(at("input.csv")).unwrap().permissions();
        mode.set_readonly(true);
        fs::set_permissions(at("input.csv"), mode).unwrap();
        assert!(refusal(&at("input.csv")).contains("may not be written"));
    }

    #[cfg(unix)]
    #[test]
    fn a_link_leads_to_the_file() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        fs::write(at("real.csv"), "old").unwrap();
        std::os::unix::fs::symlink(at("real.csv"), at("link.csv")).unwrap();
        let output = Output::at(&at("link.csv")).unwrap();
        output.write(|file| Ok(file.write_all(b"new")?)).unwrap();
        assert_eq!(fs::read_to_string(at("real.csv")).unwrap(), "new");
        assert!(fs::symlink_metadata(at("link.csv")).unwrap().is_symlink());
        assert!(same(&at("link.csv"), &at("real.csv")));
    }
}
