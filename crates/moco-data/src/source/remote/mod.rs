//! Objects on servers: `s3://`, `gs://`, `https://` and `http://`.
//!
//! What a server answers by ranges of bytes is read in place. The rest, and what is packed, is
//! copied to the cache once. Every wait is bounded, and said when it takes long; an object that
//! cannot be read any more is an [`Unreachable`], which is no fault of an image.

mod bucket;
mod copy;
mod fault;
mod line;
mod naming;
mod service;
mod web;
mod whole;

pub use whole::{answer, download};

use super::blob::Blob;
use super::{OpenOptions, address, unpack};
pub use service::{Service, ServiceError, basic_authorization};

use crate::error::{DataError, Unreachable};
use bucket::Key;
use bytes::Bytes;
use fault::Fault;
use line::Line;
use reqwest::Client;
use std::collections::HashMap;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use web::Link;

/// Opens the objects of a data set.
pub(super) struct Servers<'a> {
    options: &'a OpenOptions,
    client: Option<Client>,
    /// Sent to plain servers to say who asks.
    bearer: Option<String>,
    lines: HashMap<String, Arc<Line>>,
    /// Copies in the cache that were opened.
    copies: Vec<PathBuf>,
}

/// An object that is ready to be read.
pub(super) struct Found {
    pub blob: Arc<Blob>,
    /// Its address without secrets, with an ending that says what it is.
    pub path: PathBuf,
    /// Changes when the object does; none if that cannot be told.
    pub version: Option<String>,
    /// The unpacked copy, if it is a packed one.
    pub unpacked: Option<PathBuf>,
}

/// An object on a server.
pub(super) struct Object {
    line: Arc<Line>,
    place: Place,
    probe: Probe,
    address: String,
}

#[derive(Clone)]
enum Place {
    Web(Link),
    Bucket(Key),
}

/// What is known of an object.
#[derive(Clone, Default)]
struct Probe {
    size: Option<u64>,
    /// Whether the server answers requests for a range of bytes.
    ranged: bool,
    tag: Option<String>,
    modified: Option<String>,
    /// The file's name, as the server has it.
    name: Option<String>,
    /// The first bytes.
    head: Bytes,
}

impl<'a> Servers<'a> {
    pub(super) fn new(options: &'a OpenOptions) -> Servers<'a> {
        let (client, bearer) = (None, None);
        Servers { options, client, bearer, lines: HashMap::new(), copies: Vec::new() }
    }

    /// Says who asks.
    fn with_bearer(self, bearer: Option<&str>) -> Servers<'a> {
        Servers { bearer: bearer.map(str::to_owned), ..self }
    }

    /// Makes an object ready to be read, which may mean to copy and to unpack it.
    pub(super) fn open(&mut self, address: &str) -> Result<Found, DataError> {
        let object = self.object(address).map_err(DataError::unreachable)?;
        let version = object.version();
        let probe = &object.probe;
        let path = naming::called(&object.shown(), probe.name.as_deref(), &probe.head);
        if probe.ranged && !naming::is_gzip(&probe.head) {
            let blob = Arc::new(Blob::Remote(object));
            return Ok(Found { blob, path, version, unpacked: None });
        }
        let copy = copy::keep(&object, &path, self.options)?;
        self.copies.push(copy.clone());
        self.local(copy, &object).map_err(|error| self.explain(error))
    }

    /// A copy in the cache, unpacked if need be.
    fn local(&self, copy: PathBuf, object: &Object) -> Result<Found, DataError> {
        let unreadable = |path: &PathBuf| {
            let path = path.clone();
            move |source| DataError::Unreadable { path, source }
        };
        let open = |path: &PathBuf| -> Result<(Blob, Bytes), DataError> {
            let blob = Blob::open(path).map_err(unreadable(path))?;
            let head = blob.read(0, blob.len().min(512) as usize).map_err(unreadable(path))?;
            Ok((blob, head))
        };
        let (mut blob, mut head) = open(&copy)?;
        let mut unpacked = None;
        if naming::is_gzip(&head) {
            let path = unpack::gunzip(&copy, None, self.options)?;
            (blob, head) = open(&path)?;
            unpacked = Some(path);
        }
        let path = naming::called(&object.shown(), object.probe.name.as_deref(), &head);
        Ok(Found { blob: Arc::new(blob), path, version: None, unpacked })
    }

    /// Asks for an object's size and first bytes.
    pub(super) fn object(&mut self, address: &str) -> Result<Object, Unreachable> {
        let shown = address::shown(address);
        let host = naming::host(address);
        let fail = |fault: Fault| Unreachable(fault.sentence(&shown, &host, 1));
        let place = self.place(address).map_err(fail)?;
        let options = self.options;
        let line = self
            .lines
            .entry(host)
            .or_insert_with_key(|host| Arc::new(Line::new(host.clone(), options)));
        let line = Arc::clone(line);
        let probe = line.ask(&shown, true, |pulse| {
            let place = place.clone();
            async move {
                match place {
                    Place::Web(link) => link.probe(pulse).await,
                    Place::Bucket(key) => key.probe(pulse).await,
                }
            }
        })?;
        Ok(Object { line, place, probe, address: address.into() })
    }

    fn place(&mut self, address: &str) -> Result<Place, Fault> {
        // Fails if there is one: that of the embedding program, whose choice it is, or ours.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let patience = &self.options.patience;
        if !address.starts_with("http") {
            return Key::of(address, patience).map(Place::Bucket);
        }
        let client = match &self.client {
            Some(client) => client,
            None => self.client.insert(web::client(patience)?),
        };
        Ok(Place::Web(Link::new(client.clone(), address, self.bearer.clone())))
    }

    /// What an error of reading the objects comes from: a server that was given up, which may have
    /// been taken for damage. Copies that are damaged indeed are deleted, to be fetched anew.
    pub(super) fn explain(&self, error: DataError) -> DataError {
        if let DataError::Damaged { .. } | DataError::DamagedTar { .. } = error {
            for copy in &self.copies {
                let _ = fs::remove_file(copy);
            }
        }
        self.failure().unwrap_or(error)
    }

    fn failure(&self) -> Option<DataError> {
        self.lines
            .values()
            .find_map(|line| line.failure())
            .map(|reason| DataError::unreachable(Unreachable(reason)))
    }
}

impl Object {
    /// Number of bytes, if the server tells.
    pub(super) fn size(&self) -> Option<u64> {
        self.probe.size
    }

    /// Number of bytes of one that is read in place.
    pub(super) fn len(&self) -> u64 {
        self.probe.size.unwrap_or(0)
    }

    /// The address by which it was opened, with its secrets.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Changes when the object does; none if that cannot be told.
    pub(super) fn version(&self) -> Option<String> {
        let Probe { size, tag, modified, .. } = &self.probe;
        let identity = naming::identity(&self.address);
        let dates = tag.is_some() || modified.is_some();
        let known = |text: &Option<String>| text.clone().unwrap_or_default();
        let size = size.map_or_else(|| "?".into(), |size| size.to_string());
        dates.then(|| format!("{identity:016x} {size} {} {}", known(modified), known(tag)))
    }

    /// The address without secrets.
    fn shown(&self) -> String {
        address::shown(&self.address)
    }

    /// The `length` bytes at `offset`, which must exist.
    pub(super) fn read(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        if length == 0 {
            return Ok(Bytes::new());
        }
        let range = offset..offset + length as u64;
        if range.end <= self.probe.head.len() as u64 {
            return Ok(self.probe.head.slice(offset as usize..range.end as usize));
        }
        self.fetch(range).map_err(io::Error::other)
    }

    fn fetch(&self, range: Range<u64>) -> Result<Bytes, Unreachable> {
        self.line.ask(&self.shown(), false, |pulse| {
            let (place, range, probe) = (self.place.clone(), range.clone(), self.probe.clone());
            async move {
                match place {
                    Place::Web(link) => link.range(probe, range, pulse).await,
                    Place::Bucket(key) => key.range(probe, range, pulse).await,
                }
            }
        })
    }

    /// Writes the whole object to a file, which may hold the first bytes already.
    pub(super) fn copy_to(
        &self,
        file: &mut std::fs::File,
        options: &OpenOptions,
    ) -> io::Result<()> {
        copy::write(self, file, options)
    }
}

impl Probe {
    /// A tag by which a server can be asked for this very object and no other.
    fn strong_tag(&self) -> Option<&str> {
        self.tag.as_deref().filter(|tag| !tag.starts_with("W/"))
    }

    /// Whether an answer's tag, or else its date, is still that of this object.
    fn is_still(&self, tag: Option<String>, modified: Option<String>) -> bool {
        match (self.strong_tag(), tag) {
            (Some(was), Some(is)) => was == is,
            _ => self.modified.is_none() || modified.is_none() || self.modified == modified,
        }
    }
}
