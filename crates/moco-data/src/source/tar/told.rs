//! Archives that another process has gone through.

use super::sparse::Piece;
use super::{Shard, Span, Tar};
use crate::source::OpenOptions;
use crate::source::blob::Blob;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Archives and where their images lie, for another process.
#[derive(Serialize, Deserialize)]
pub(in crate::source) struct Told {
    shards: Vec<Place>,
    spans: Vec<Span>,
    pieces: Vec<(usize, Box<[Piece]>)>,
}

impl Told {
    /// `None` if one of the archives cannot be told of.
    pub(super) fn of(tar: &Tar) -> Option<Told> {
        let place = |(blob, path): (&Arc<Blob>, &PathBuf)| Place::of(blob, path);
        let shards = tar.shards.iter().zip(&tar.paths).map(place).collect::<Option<_>>()?;
        let pieces = tar.pieces.iter().map(|(image, pieces)| (*image, pieces.clone())).collect();
        Some(Told { shards, spans: tar.spans.clone(), pieces })
    }

    /// The archives; `None` if one is not there or is another.
    pub(in crate::source) fn open(self, options: &OpenOptions) -> Option<Tar> {
        let Told { shards: places, spans, pieces } = self;
        let (mut shards, mut paths) = (Vec::new(), Vec::new());
        let mut distant = distant(options);
        for place in places {
            let Shard { path, blob, .. } = place.open(&mut distant)?;
            shards.push(blob);
            paths.push(path);
        }
        let within = |span: &Span| (span.shard as usize) < shards.len();
        let fits = spans.iter().all(within);
        fits.then(|| Tar { shards, paths, spans, pieces: pieces.into_iter().collect() })
    }
}

/// Where an archive is, and by what it is known to be the same one.
#[derive(Serialize, Deserialize)]
enum Place {
    File {
        path: PathBuf,
        length: u64,
    },
    Distant {
        /// With its secrets, since the other process has to ask as well.
        address: String,
        /// Changes when the archive does.
        version: String,
    },
}

impl Place {
    fn of(blob: &Blob, path: &Path) -> Option<Place> {
        match blob {
            Blob::File(_, length) => Some(Place::File { path: path.into(), length: *length }),
            Blob::Memory(_) => None,
            #[cfg(feature = "remote")]
            Blob::Remote(object) => {
                let version = object.version()?;
                Some(Place::Distant { address: object.address().into(), version })
            }
        }
    }

    fn open(self, distant: &mut impl FnMut(&str) -> Option<Shard>) -> Option<Shard> {
        match self {
            Place::File { path, length } => {
                let blob = Blob::open(&path).ok().filter(|blob| blob.len() == length)?;
                Some(Shard { path, blob: Arc::new(blob), version: None })
            }
            Place::Distant { address, version } => {
                distant(&address).filter(|shard| shard.version.as_ref() == Some(&version))
            }
        }
    }
}

/// Asks for archives on servers, each by one request for its size and its first bytes.
#[cfg(feature = "remote")]
fn distant(options: &OpenOptions) -> impl FnMut(&str) -> Option<Shard> {
    use crate::source::remote::{Found, Servers};
    let mut servers = Servers::new(options);
    move |address| {
        let Found { path, blob, version, .. } = servers.open(address).ok()?;
        Some(Shard { path, blob, version })
    }
}

#[cfg(not(feature = "remote"))]
fn distant(_: &OpenOptions) -> impl FnMut(&str) -> Option<Shard> {
    |_| None
}
