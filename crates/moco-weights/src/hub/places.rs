//! The folders and servers that weights are looked for in.

use crate::error::{Result, WeightsError};
use std::env;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

/// Where copies lie, whom to ask, and how.
#[derive(Clone)]
pub struct Places {
    /// Hugging Face's cache: `HF_HUB_CACHE`, else `hub` in `HF_HOME`, else in
    /// `~/.cache/huggingface`. It is read and never written.
    pub hub: Option<PathBuf>,
    /// Hugging Face's server: `HF_ENDPOINT`, else its own.
    pub endpoint: String,
    /// Says who asks Hugging Face's server: `HF_TOKEN`, else what its own login has left.
    pub token: Option<String>,
    /// Whether nothing may be fetched: `HF_HUB_OFFLINE`.
    pub offline: bool,
    /// Folder of the copies that we make; `None` makes none.
    pub cache: Option<PathBuf>,
    /// Hears a sentence before something is fetched, and how far it is.
    pub notice: Option<Notice>,
}

/// Takes a sentence for the person who waits.
pub type Notice = Arc<dyn Fn(&str) + Send + Sync>;

impl Places {
    /// Places that the environment names, with the program's own cache.
    pub fn from_environment(own: Option<PathBuf>, notice: Option<Notice>) -> Places {
        Places::from_variables(&|name| env::var(name).ok(), own, notice)
    }

    /// Places that variables name, whose values `variable` gives; empty ones count as not set.
    pub fn from_variables(
        variable: &dyn Fn(&str) -> Option<String>,
        own: Option<PathBuf>,
        notice: Option<Notice>,
    ) -> Places {
        let text = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let folder = |name: &str| text(name).map(PathBuf::from);
        let cache = folder("XDG_CACHE_HOME").or_else(|| folder("HOME").map(|h| h.join(".cache")));
        let home = folder("HF_HOME").or_else(|| cache.map(|cache| cache.join("huggingface")));
        let hub = folder("HF_HUB_CACHE").or_else(|| folder("HUGGINGFACE_HUB_CACHE"));
        let left = folder("HF_TOKEN_PATH").or_else(|| home.as_ref().map(|home| home.join("token")));
        let left = || fs::read_to_string(left?).ok();
        let token = text("HF_TOKEN").or_else(left).map(|token| token.trim().to_owned());
        let yes =
            |value: String| matches!(value.to_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE");
        let endpoint = text("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".into());
        Places {
            hub: hub.or_else(|| home.map(|home| home.join("hub"))),
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            token: token.filter(|token| !token.is_empty()),
            offline: text("HF_HUB_OFFLINE").is_some_and(yes),
            cache: own,
            notice,
        }
    }

    /// Tells the person who waits.
    pub(super) fn tell(&self, sentence: &str) {
        if let Some(notice) = &self.notice {
            notice(sentence);
        }
    }

    /// A folder of our own cache for what is fetched from one place.
    pub(super) fn own(&self, kind: &str, place: &str) -> Result<PathBuf> {
        let Some(cache) = &self.cache else {
            return Err(WeightsError::NoPlace { what: place.to_owned() });
        };
        // FNV-1a: two addresses that end alike lie apart.
        let hash = place.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Ok(cache.join(kind).join(format!("{hash:016x}")))
    }
}
