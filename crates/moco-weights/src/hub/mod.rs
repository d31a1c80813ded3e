//! Where weights come from: a path, an address, or a repository of Hugging Face.

mod cache;
mod network;
mod places;
mod source;

pub use places::{Notice, Places};
pub use source::Source;

use crate::error::{Result, WeightsError};
use crate::read::{listed, pick};
use cache::Repository;
use network::Network;
use serde::Deserialize;
use std::fs;
use std::path::{Path, PathBuf};

/// What stands beside weights and is fetched with them, where a repository has it.
const BESIDE: [&str; 2] = ["config.json", "preprocessor_config.json"];

/// Longest list of a repository's files, in bytes.
const LONGEST_LIST: u64 = 64 << 20;

/// The place on this system of what a source stands for: of a path itself, of others that of a copy,
/// made now if there is none. For a repository Hugging Face's own cache is looked into first, and where
/// the server does not answer, what was fetched of it earlier is taken.
///
/// # Errors
/// [`WeightsError::Missing`], [`WeightsError::NoPlace`], [`WeightsError::Offline`],
/// [`WeightsError::Server`], [`WeightsError::Folder`] for a repository without weights.
pub fn fetch(source: &Source, places: &Places) -> Result<PathBuf> {
    match source {
        Source::Path(path) if path.exists() => Ok(path.clone()),
        Source::Path(path) => Err(WeightsError::Missing { path: path.clone() }),
        Source::Address(address) => of_address(address, places),
        Source::Repository { name, revision, file } => {
            let repository = Repository { name, revision, file: file.as_deref() };
            match repository.cached(places)? {
                Some(path) => Ok(path),
                None => of_repository(&repository, places),
            }
        }
    }
}

/// The copy of a file on a server. It is kept under its address, and not asked for again.
fn of_address(address: &str, places: &Places) -> Result<PathBuf> {
    let shown = without_secrets(address);
    let name = shown.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("weights");
    let folder = places.own("weights", address)?;
    let path = folder.join(plain(name));
    if path.is_file() {
        return Ok(path);
    }
    let network = Network::new(places, &shown)?;
    make(&folder)?;
    network.download(address, None, &path)?;
    Ok(path)
}

/// An address without a user's name and what follows `?`, which may hold keys.
fn without_secrets(address: &str) -> String {
    let address = address.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = address.split_once("://").unwrap_or(("https", address));
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = host.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}/{path}")
}

/// What is asked of the server's description of a repository.
#[derive(Deserialize)]
struct Description {
    /// The commit that the revision is now.
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
}

/// Copies the weights of a repository, and what stands beside them.
fn of_repository(repository: &Repository<'_>, places: &Places) -> Result<PathBuf> {
    let network = Network::new(places, &repository.shown())?;
    let Repository { name, revision, .. } = repository;
    let endpoint = &places.endpoint;
    let token = places.token.as_deref();
    let address = format!("{endpoint}/api/models/{name}/revision/{}", encoded(revision));
    let answer = match network.answer(&address, token, LONGEST_LIST) {
        Ok(answer) => answer,
        Err(error) => return repository.earlier(places, error),
    };
    let unclear = |reason: String| WeightsError::Server {
        reason: format!("`{address}` answers with no description of a repository ({reason})"),
    };
    let description: Description =
        serde_json::from_slice(&answer).map_err(|error| unclear(error.to_string()))?;
    let sha = description.sha;
    if sha.is_empty() || !sha.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(unclear("its commit has no plain name".into()));
    }
    let files: Vec<String> = description.siblings.into_iter().map(|file| file.rfilename).collect();
    let chosen = repository.choose(&files)?;
    let folder = repository.own(places)?.join(&sha);
    make(&folder)?;
    let get = |file: &str| -> Result<PathBuf> {
        let path = folder.join(safe(file, repository)?);
        if !path.is_file() {
            make(path.parent().unwrap_or(&folder))?;
            let address = format!("{endpoint}/{name}/resolve/{sha}/{}", encoded(file));
            network.download(&address, token, &path)?;
        }
        Ok(path)
    };
    let beside = Path::new(&chosen).parent().unwrap_or(Path::new(""));
    for file in BESIDE {
        let file = beside.join(file).to_string_lossy().into_owned();
        if files.contains(&file) {
            get(&file)?;
        }
    }
    let path = get(&chosen)?;
    if chosen.ends_with(".index.json") {
        for shard in shards(&path)? {
            get(&beside.join(shard).to_string_lossy())?;
        }
    }
    repository.remember(places, &sha)?;
    Ok(path)
}

/// The files that an index of shards names.
fn shards(index: &Path) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: std::collections::BTreeMap<String, String>,
    }
    let text = fs::read(index).map_err(|source| WeightsError::Io { path: index.into(), source })?;
    let index: Index = serde_json::from_slice(&text).map_err(|error| WeightsError::Damaged {
        path: index.to_owned(),
        reason: error.to_string(),
    })?;
    let mut files: Vec<String> = index.weight_map.into_values().collect();
    files.sort();
    files.dedup();
    Ok(files)
}

/// A repository's file, if it stays within the folder.
fn safe<'a>(file: &'a str, repository: &Repository<'_>) -> Result<&'a Path> {
    let path = Path::new(file);
    let normal = |part| matches!(part, std::path::Component::Normal(_));
    if file.is_empty() || !path.components().all(normal) {
        let path = PathBuf::from(repository.shown());
        let reason = format!("it names the file `{file}` outside itself");
        return Err(WeightsError::Damaged { path, reason });
    }
    Ok(path)
}

impl Repository<'_> {
    /// The file that is asked for, or the one with the weights.
    fn choose(&self, files: &[String]) -> Result<String> {
        let path = PathBuf::from(self.shown());
        if let Some(file) = self.file {
            return match files.iter().any(|known| known == file) {
                true => Ok(file.to_owned()),
                false => {
                    let problem = format!("has no file `{file}`");
                    Err(WeightsError::Folder { path, problem, files: listed(files) })
                }
            };
        }
        let top: Vec<String> = files.iter().filter(|file| !file.contains('/')).cloned().collect();
        pick(&top).map(str::to_owned).map_err(|problem| WeightsError::Folder {
            path,
            problem,
            files: listed(files),
        })
    }
}

fn make(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)
        .map_err(|source| WeightsError::Io { path: folder.to_owned(), source })
}

/// A name with nothing in it that a file system minds.
fn plain(name: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    name.chars().map(|c| if fits(c) { c } else { '_' }).collect()
}

/// A part of an address: what is no letter, digit or one of `-._~/` as its bytes in hexadecimal.
fn encoded(text: &str) -> String {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-._~/".contains(&b);
    text.bytes()
        .map(|b| if fits(b) { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}
