//! What several test modules share.

use moco_data::{Dataset, Image, OpenOptions, Random, save_png};
use std::fs::{self, File};
use std::path::Path;
use tar::{Builder, Header};
use tempfile::{TempDir, tempdir};

/// An image of smooth colours and noise, different for each seed.
pub fn image(width: usize, height: usize, seed: u64) -> Image {
    let mut random = Random::from_words([seed, 0, 0, 0]);
    let tint = [random.unit(), random.unit(), random.unit()];
    let sample = |i: usize| {
        let (x, y, c) = (i / 3 % width, i / 3 / width, i % 3);
        let wave = ((x as f64 * 0.2 + tint[c] * 9.0).sin() + (y as f64 * 0.17).cos()) * 50.0;
        (tint[c] * 120.0 + 60.0 + wave + random.uniform(-15.0, 15.0)).clamp(0.0, 255.0) as u8
    };
    Image::new(width, height, (0..width * height * 3).map(sample).collect())
}

/// A data set in memory without labels.
pub fn images(count: usize) -> Dataset {
    let entry = |i: usize| (format!("{i:04}"), None, image(24 + i % 7, 20 + i % 5, i as u64));
    Dataset::from_images((0..count).map(entry).collect(), Vec::new())
}

/// Writes PNG images under the names, and makes the folders that these need.
pub fn write_images(root: &Path, names: &[&str]) {
    for (i, name) in names.iter().enumerate() {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        save_png(&image(17 + i, 19, i as u64), &path).unwrap();
    }
}

/// A folder of PNG images of these names.
pub fn folder(files: &[&str]) -> TempDir {
    let root = tempdir().unwrap();
    write_images(root.path(), files);
    root
}

/// A tar of the files of a folder, each name with a prefix.
pub fn tar_of(root: &Path, files: &[&str], prefix: &str, path: &Path) {
    let mut tar = Builder::new(File::create(path).unwrap());
    for name in files {
        append(&mut tar, &format!("{prefix}{name}"), &fs::read(root.join(name)).unwrap());
    }
    tar.finish().unwrap();
}

/// Adds a file to an archive.
pub fn append(tar: &mut Builder<File>, name: &str, bytes: &[u8]) {
    let mut header = Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, name, bytes).unwrap();
}

/// Names of all images, in order.
pub fn names(dataset: &Dataset) -> Vec<&str> {
    (0..dataset.len()).map(|i| dataset.name(i)).collect()
}

/// Options with a cache of the test's own.
pub fn options(cache: &Path) -> OpenOptions {
    OpenOptions { cache: Some(cache.into()), threads: 2, ..OpenOptions::default() }
}

/// A tar made header by header, so that it may be odd.
#[derive(Default)]
pub struct Archive {
    pub bytes: Vec<u8>,
}

impl Archive {
    /// A header of this type, of a member with this name, link target and size.
    pub fn raw(&mut self, kind: u8, name: &[u8], target: &[u8], size: u64) -> &mut Archive {
        self.header(Header::new_ustar(), kind, name, target, size)
    }

    fn header(
        &mut self,
        mut header: Header,
        kind: u8,
        name: &[u8],
        target: &[u8],
        size: u64,
    ) -> &mut Archive {
        let old = header.as_old_mut();
        old.name[..name.len()].copy_from_slice(name);
        old.linkname[..target.len()].copy_from_slice(target);
        old.linkflag = [kind];
        header.set_size(size);
        header.set_cksum();
        self.bytes.extend(header.as_bytes());
        self
    }

    /// A header as of the seventh edition of Unix.
    pub fn old_header(&mut self, name: &str, size: u64) -> &mut Archive {
        self.header(Header::new_old(), 0, name.as_bytes(), b"", size)
    }

    /// A header whose size is in base 256, as that of files over 8 GB.
    pub fn base_256(&mut self, name: &str, size: u64) -> &mut Archive {
        self.raw(b'0', name.as_bytes(), b"", 1 << 40);
        let at = self.bytes.len() - 512;
        let mut header = Header::from_byte_slice(&self.bytes[at..]).clone();
        assert_eq!(header.as_old().size[0], 0x80);
        header.as_old_mut().size[4..].copy_from_slice(&size.to_be_bytes());
        header.set_cksum();
        self.bytes[at..].copy_from_slice(header.as_bytes());
        self
    }

    /// Data of the member before, filled up to whole blocks.
    pub fn data(&mut self, bytes: &[u8]) -> &mut Archive {
        self.bytes.extend(bytes);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self
    }

    /// A file.
    pub fn file(&mut self, name: &str, bytes: &[u8]) -> &mut Archive {
        self.raw(b'0', name.as_bytes(), b"", bytes.len() as u64).data(bytes)
    }

    /// A hard (`1`) or symbolic (`2`) link.
    pub fn link(&mut self, kind: u8, name: &str, target: &str) -> &mut Archive {
        self.raw(kind, name.as_bytes(), target.as_bytes(), 0)
    }

    /// The whole archive, with its end mark.
    pub fn end(&self) -> Vec<u8> {
        [&self.bytes[..], &[0; 1024]].concat()
    }
}
