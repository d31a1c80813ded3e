//! Image files that a table or list names: where they lie, and where else they might.

use super::MAX_FILE;
use crate::error::ImageError;
use bytes::Bytes;
use std::env;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

/// Extensions that a list without them may mean.
const APPENDED: [&str; 4] = ["jpg", "jpeg", "png", "JPEG"];

/// Whether a text is an address on a server.
pub(super) fn is_address(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, _)| {
        !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

/// The bytes of a file that a table names: a regular one, of the size of an image.
pub(super) fn read(path: &Path) -> Result<Bytes, ImageError> {
    let metadata = fs::metadata(path).map_err(|error| with_path(&error, path))?;
    let refused = |reason: String| Err(ImageError::Read(io::Error::other(reason)));
    if !metadata.is_file() {
        return refused(format!("`{}` is not a file", path.display()));
    }
    if metadata.len() > MAX_FILE {
        return refused(format!(
            "{:.1} GB are more than any image takes",
            metadata.len() as f64 / 1e9
        ));
    }
    Ok(fs::read(path).map_err(|error| with_path(&error, path))?.into())
}

fn with_path(error: &io::Error, path: &Path) -> io::Error {
    let shown = path.display();
    let text = match error.kind() {
        io::ErrorKind::NotFound => format!("`{shown}` does not exist"),
        _ => format!("{error} (`{shown}`)"),
    };
    io::Error::new(error.kind(), text)
}

/// The path that a name in a table stands for, counted from `folder`. A name that `moco` wrote for
/// bytes that are not UTF-8, such as `%FF.jpg`, stands for these bytes where no file is called so.
pub(super) fn path_of(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(name);
    if !name.contains('%') || path.exists() {
        return path;
    }
    let exact = exact_name(name).map(|exact| folder.join(exact));
    exact.filter(|exact| exact.exists()).unwrap_or(path)
}

#[cfg(unix)]
fn exact_name(name: &str) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    let mut bytes = Vec::new();
    let mut rest = name.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(value) if byte == b'%' => {
                bytes.push(value);
                rest = &after[2..];
            }
            _ => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    Some(std::ffi::OsString::from_vec(bytes).into())
}

#[cfg(not(unix))]
fn exact_name(_: &str) -> Option<PathBuf> {
    None
}

/// What is to be done about a list in `folder` whose path `name` leads to no file.
pub(super) fn mend(folder: &Path, name: &str) -> String {
    if is_address(name) {
        return "download the images and list their paths".into();
    }
    let is_file = |path: &Path| path.is_file();
    let shown = |path: &Path| format!("`{}`", path.display());
    for above in folder.ancestors().skip(1).chain(env::current_dir().ok().as_deref()) {
        if is_file(&above.join(name)) {
            let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
            return format!("it does exist from {}, so move the list there", shown(above));
        }
    }
    let parts: Vec<Component> = Path::new(name).components().collect();
    for cut in 1..parts.len() {
        if is_file(&folder.join(parts[cut..].iter().collect::<PathBuf>())) {
            let first: PathBuf = parts[..cut].iter().collect();
            return format!("it does exist without {}, so leave that out", shown(&first));
        }
    }
    if name.contains('\\') && is_file(&folder.join(name.replace('\\', "/"))) {
        return "it does exist with `/` in place of `\\`".into();
    }
    let appended = |extension: &&&str| is_file(&folder.join(format!("{name}.{extension}")));
    if let Some(extension) = APPENDED.iter().find(appended) {
        return format!("it does exist with `.{extension}` behind it, so add that");
    }
    if let Some((_, path)) = name.split_once(' ').filter(|(_, path)| is_file(&folder.join(path))) {
        return format!("`{path}` does exist, so write the path first and its label behind it");
    }
    format!("paths count from {}, the folder of the list", shown(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_known_by_their_scheme() {
        assert!(is_address("https://a/b.jpg") && is_address("s3://a"));
        assert!(!is_address("a://b".trim_start_matches('a')) && !is_address("C:/a.jpg"));
    }
}
