//! Repositories of Hugging Face that are on this system already.

use super::Places;
use crate::error::{Result, WeightsError};
use crate::read::pick;
use std::fs;
use std::path::{Path, PathBuf};

/// A repository that is asked for.
pub(super) struct Repository<'a> {
    /// `ORG/NAME`.
    pub name: &'a str,
    pub revision: &'a str,
    pub file: Option<&'a str>,
}

/// Weights in our cache.
struct Fetched {
    /// The commit that they are of.
    commit: String,
    path: PathBuf,
}

impl Repository<'_> {
    /// The source that a user writes for it.
    pub fn shown(&self) -> String {
        let revision = match self.revision {
            "main" => String::new(),
            other => format!("@{other}"),
        };
        let file = self.file.map_or(String::new(), |file| format!("/{file}"));
        format!("hf://{}{revision}{file}", self.name)
    }

    /// Its folder in our cache.
    pub fn own(&self, places: &Places) -> Result<PathBuf> {
        let Some(cache) = &places.cache else {
            return Err(WeightsError::NoPlace { what: self.shown() });
        };
        Ok(cache.join("hub").join(self.name.replace('/', "--")))
    }

    /// Its weights in Hugging Face's cache, or in ours; those of a branch only while nothing may be
    /// fetched, or if Hugging Face's tools have fetched them.
    pub fn cached(&self, places: &Places) -> Result<Option<PathBuf>> {
        if let Some(hub) = &places.hub {
            let folder = hub.join(format!("models--{}", self.name.replace('/', "--")));
            let snapshots = folder.join("snapshots");
            let commit = commit(&folder.join("refs").join(self.revision), self.revision);
            if let Some(path) = self.within(&snapshots.join(commit)) {
                return Ok(Some(path));
            }
        }
        // A branch may have moved on, and then the server says where.
        let stands = |copy: &Fetched| places.offline || copy.commit == self.revision;
        Ok(self.own_copy(places)?.filter(stands).map(|copy| copy.path))
    }

    /// What we have fetched of it, of whatever commit the revision was then.
    fn own_copy(&self, places: &Places) -> Result<Option<Fetched>> {
        if places.cache.is_none() {
            return Ok(None);
        }
        let own = self.own(places)?;
        let commit = commit(&own.join("refs").join(self.revision), self.revision);
        Ok(self.within(&own.join(&commit)).map(|path| Fetched { commit, path }))
    }

    /// What we have fetched of it earlier, which is told; `error`, for which the server does not say
    /// what the revision is now, if there is nothing.
    pub fn earlier(&self, places: &Places, error: WeightsError) -> Result<PathBuf> {
        let Some(Fetched { commit, path }) = self.own_copy(places)? else { return Err(error) };
        let shown = self.shown();
        places.tell(&format!(
            "{error}; until then `{shown}` is the copy of commit {commit}, fetched earlier"
        ));
        Ok(path)
    }

    /// The file with the weights in a folder that has the repository's files, if all is there.
    fn within(&self, folder: &Path) -> Option<PathBuf> {
        let path = match self.file {
            Some(file) => folder.join(file),
            None => {
                let names = fs::read_dir(folder).ok()?.filter_map(|entry| {
                    let name = entry.ok()?.file_name().into_string().ok()?;
                    Some(name).filter(|name| !name.ends_with(".part"))
                });
                let mut names: Vec<String> = names.collect();
                names.sort();
                folder.join(pick(&names).ok()?)
            }
        };
        if !path.is_file() {
            return None;
        }
        if path.to_string_lossy().ends_with(".index.json") {
            let shards = super::shards(&path).ok()?;
            let beside = path.parent()?;
            if !shards.iter().all(|shard| beside.join(shard).is_file()) {
                return None;
            }
        }
        Some(path)
    }

    /// Notes which commit the revision was, for when nothing may be fetched.
    pub fn remember(&self, places: &Places, commit: &str) -> Result<()> {
        let folder = self.own(places)?.join("refs");
        let path = folder.join(self.revision);
        let partial = folder.join(format!("{}.{}.part", self.revision, std::process::id()));
        let write = || {
            fs::create_dir_all(&folder)?;
            fs::write(&partial, commit)?;
            fs::rename(&partial, &path)
        };
        write().map_err(|source| WeightsError::Io { path: path.clone(), source })
    }
}

/// The commit that a note says a revision is; the revision itself if there is none.
fn commit(note: &Path, revision: &str) -> String {
    let text = fs::read_to_string(note).unwrap_or_default();
    let commit = text.trim();
    let plain = !commit.is_empty() && commit.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if plain { commit.to_owned() } else { revision.to_owned() }
}
