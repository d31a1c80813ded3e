//! Data sets that have names: found on this system, in the cache, or fetched from where their
//! authors publish them.

use super::cifar::Kind;
use super::{OpenOptions, unpack};
use crate::error::DataError;
use std::path::{Path, PathBuf};

/// A data set that `--data NAME` stands for.
#[derive(Debug, PartialEq)]
pub(super) struct Named {
    /// Its name in the cache and in messages.
    pub name: &'static str,
    aliases: &'static [&'static str],
    pub format: Format,
    /// Folder of the archives' addresses.
    base: &'static str,
    archives: &'static [Archive],
    /// Folders where a system's packages put it.
    installed: &'static [&'static str],
}

/// What the archives hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Format {
    /// One gzipped tar of record files.
    Cifar(Kind),
    /// Gzipped IDX files, and the names of the classes.
    Idx(&'static [&'static str]),
}

/// A file as published, with its published checksum.
#[derive(Debug, PartialEq)]
struct Archive {
    file: &'static str,
    bytes: u64,
    md5: &'static str,
}

/// Sizes and checksums of CIFAR are those of its page, of Fashion-MNIST those of its repository.
static NAMED: [Named; 3] = [
    Named {
        name: "cifar10",
        aliases: &["cifar-10"],
        format: Format::Cifar(Kind::Cifar10),
        base: "https://www.cs.toronto.edu/~kriz/",
        archives: &[Archive {
            file: "cifar-10-binary.tar.gz",
            bytes: 170_052_171,
            md5: "c32a1d4ab5d03f1284b67883e8d87530",
        }],
        installed: &[],
    },
    Named {
        name: "cifar100",
        aliases: &["cifar-100"],
        format: Format::Cifar(Kind::Cifar100),
        base: "https://www.cs.toronto.edu/~kriz/",
        archives: &[Archive {
            file: "cifar-100-binary.tar.gz",
            bytes: 168_513_733,
            md5: "03b5dce01913d631647c71ecec9e9cb8",
        }],
        installed: &[],
    },
    Named {
        name: "fashion-mnist",
        aliases: &["fashionmnist", "fashion_mnist"],
        format: Format::Idx(&FASHION_CLASSES),
        base: "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        archives: &[
            Archive {
                file: "train-images-idx3-ubyte.gz",
                bytes: 26_421_880,
                md5: "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            },
            Archive {
                file: "train-labels-idx1-ubyte.gz",
                bytes: 29_515,
                md5: "25c81989df183df01b3e8a0aad5dffbe",
            },
            Archive {
                file: "t10k-images-idx3-ubyte.gz",
                bytes: 4_422_102,
                md5: "bef4ecab320f06d8554ea6380940ec79",
            },
            Archive {
                file: "t10k-labels-idx1-ubyte.gz",
                bytes: 5_148,
                md5: "bb300cfdad3c16e7a12a480ee83cd310",
            },
        ],
        // Of Debian's package dataset-fashion-mnist, which packs the same data anew.
        installed: &["/usr/share/datasets/fashion-mnist", "/usr/share/dataset-fashion-mnist"],
    },
];

/// Xiao, Rasul and Vollgraf 2017, arXiv 1708.07747, Table 2.
pub(super) const FASHION_CLASSES: [&str; 10] = [
    "T-Shirt/Top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandals",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boots",
];

/// The data set of a name, in any case.
pub(super) fn find(name: &str) -> Option<&'static Named> {
    let is = |known: &str| known.eq_ignore_ascii_case(name);
    NAMED.iter().find(|named| is(named.name) || named.aliases.iter().any(|alias| is(alias)))
}

impl Named {
    /// The folder of an installed copy.
    pub(super) fn installed(&self) -> Option<&'static Path> {
        let whole = |folder: &Path| self.archives.iter().all(|a| folder.join(a.file).is_file());
        self.installed.iter().map(Path::new).find(|folder| whole(folder))
    }

    /// The unpacked file of an archive, which is fetched if it is not in the cache.
    pub(super) fn unpacked(&self, file: &str, options: &OpenOptions) -> Result<PathBuf, DataError> {
        let Some(archive) = self.archives.iter().find(|archive| archive.file == file) else {
            return Err(DataError::Missing { path: file.into() });
        };
        let Some(cache) = &options.cache else {
            return Err(DataError::NoCache { path: self.name.into() });
        };
        let path = cache.join("datasets").join(self.name).join(archive.file);
        if !path.is_file() {
            let base = options.mirror.as_deref().unwrap_or(self.base);
            let address = format!("{base}{}", archive.file);
            fetch(&address, archive, &path, options).map_err(|reason| DataError::Fetch {
                name: self.name,
                reason,
                address,
                path: path.clone(),
            })?;
        }
        unpack::gunzip(&path, Some(archive.md5), options)
    }

    /// The one archive of a data set that is a single one.
    pub(super) fn archive(&self) -> &'static str {
        self.archives[0].file
    }
}

/// Copies an object to a file, going on where an earlier attempt broke off.
#[cfg(feature = "remote")]
fn fetch(
    address: &str,
    archive: &Archive,
    path: &Path,
    options: &OpenOptions,
) -> Result<(), String> {
    use super::remote::Servers;
    use std::fs::{self, OpenOptions as FileOptions};

    let bytes = archive.bytes;
    let object = Servers::new(options).object(address).map_err(|error| error.to_string())?;
    if let Some(found) = object.size().filter(|&found| found != bytes) {
        return Err(format!("the server's file has {found} bytes and not {bytes}"));
    }
    options.notify(&format!("fetching {address} ({:.1} MB)", bytes as f64 / 1e6));
    let write = || {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut name = path.as_os_str().to_owned();
        name.push(".part");
        let partial = PathBuf::from(name);
        let mut file = FileOptions::new().create(true).append(true).open(&partial)?;
        if file.metadata()?.len() > bytes {
            file.set_len(0)?;
        }
        object.copy_to(&mut file, options)?;
        file.sync_all()?;
        if unpack::md5(&partial)? != archive.md5 {
            fs::remove_file(&partial)?;
            return Err(std::io::Error::other("what came does not have the published checksum"));
        }
        fs::rename(&partial, path)
    };
    write().map_err(|error: std::io::Error| error.to_string())
}

#[cfg(not(feature = "remote"))]
fn fetch(_: &str, _: &Archive, _: &Path, _: &OpenOptions) -> Result<(), String> {
    Err("this build of moco has no network client".into())
}

#[cfg(all(test, feature = "remote"))]
#[path = "../../tests/it/server.rs"]
#[expect(dead_code, reason = "the integration tests use the rest of it")]
mod server;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_spellings() {
        assert_eq!(find("CIFAR10").unwrap().name, "cifar10");
        assert_eq!(find("cifar-100").unwrap().name, "cifar100");
        assert_eq!(find("FashionMNIST").unwrap().name, "fashion-mnist");
        assert_eq!(find("mnist"), None);
    }

    /// The first half is there from an earlier attempt, and the server drops the connection once.
    #[cfg(feature = "remote")]
    #[test]
    fn fetching_goes_on_where_it_broke_off() {
        use super::server::{Failings, Server};
        use std::collections::HashMap;
        use std::fs;

        let bytes: Vec<u8> = (0..9_000_000u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect();
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("set/x.gz");
        fs::create_dir(root.path().join("set")).unwrap();
        fs::write(root.path().join("set/x.gz.part"), &bytes[..4_500_000]).unwrap();
        fs::write(root.path().join("whole"), &bytes).unwrap();
        let sum = unpack::md5(&root.path().join("whole")).unwrap();
        let archive = Archive { file: "x.gz", bytes: 9_000_000, md5: sum.leak() };
        let failings = Failings { drops: 1, ..Failings::default() };
        let server = Server::start(HashMap::from([("/x.gz".into(), bytes.clone())]), failings);
        let address = format!("http://{}/x.gz", server.address);
        fetch(&address, &archive, &path, &OpenOptions::default()).unwrap();
        assert!(fs::read(&path).unwrap() == bytes);
        let log = server.log();
        assert!(log.iter().any(|r| r.starts_with("GET /x.gz bytes=4500000-")), "{log:?}");
        assert!(!log.iter().any(|r| r.starts_with("GET /x.gz bytes=0-4")), "{log:?}");
    }
}
