//! One image, looked at.

use super::phash::Hasher;
use super::report::Kind;
use super::{DoctorConfig, stats::Moments};
use crate::decode::{self, DecodeOptions, Depth, Format};
use crate::error::ImageError;
use crate::image::Image;
use crate::source::{Dataset, Raw, is_encoded};
use md5::{Digest, Md5};
use std::borrow::Cow;

/// What one image is like.
pub(super) struct Probe {
    pub index: usize,
    pub bytes: u64,
    /// Width and height, if it can be decoded.
    pub size: Option<(u32, u32)>,
    pub format: &'static str,
    pub moments: Moments,
    /// MD5 of the bytes, if they can be read and there are any.
    pub content: Option<[u8; 16]>,
    pub look: Option<u64>,
    pub findings: Vec<(Kind, String)>,
}

/// Looks at images; keeps its memory.
pub(super) struct Prober<'a> {
    dataset: &'a Dataset,
    config: &'a DoctorConfig,
    hasher: Hasher,
}

impl<'a> Prober<'a> {
    pub(super) fn new(dataset: &'a Dataset, config: &'a DoctorConfig) -> Prober<'a> {
        Prober { dataset, config, hasher: Hasher::new() }
    }

    pub(super) fn probe(&mut self, index: usize) -> Probe {
        let mut probe = Probe {
            index,
            bytes: 0,
            size: None,
            format: "pixels",
            moments: Moments::default(),
            content: None,
            look: None,
            findings: Vec::new(),
        };
        let name = self.dataset.name(index);
        if name.contains(|c: char| c.is_control()) || is_encoded(name) {
            let detail = format!("shown as {name:?}");
            probe.findings.push((Kind::OddName, detail));
        }
        match self.decode(index, &mut probe) {
            Ok(image) => self.look(&image, &mut probe),
            Err(error) => probe.findings.push((kind_of(&error), error.to_string())),
        }
        probe
    }

    fn decode(&self, index: usize, probe: &mut Probe) -> Result<Cow<'a, Image>, ImageError> {
        let dataset = self.dataset;
        let (image, hash) = match dataset.raw(index)? {
            Raw::File(bytes) => {
                probe.bytes = bytes.len() as u64;
                if !bytes.is_empty() {
                    probe.content = Some(Md5::digest(&bytes).into());
                }
                if let Some(format) = Format::of(&bytes) {
                    probe.format = format.name();
                    probe.findings.extend(wrong_extension(dataset.name(index), format));
                }
                let options = DecodeOptions::default();
                let (image, depth) = decode::decode_with_depth(&bytes, &options)?;
                probe.findings.extend(depth.and_then(|depth| narrow(&depth)));
                (Cow::Owned(image), None)
            }
            Raw::Image(image) => {
                probe.bytes = image.pixels.len() as u64;
                let hash = Md5::digest(&image.pixels).into();
                (image, Some(hash))
            }
        };
        probe.content = probe.content.or(hash);
        Ok(image)
    }

    fn look(&mut self, image: &Image, probe: &mut Probe) {
        let (width, height) = (image.width, image.height);
        probe.size = Some((width as u32, height as u32));
        probe.moments = Moments::of(image);
        probe.look = self.hasher.hash(image);
        let size = || format!("{width}x{height} pixels");
        if width.min(height) < self.config.tiny_below {
            probe.findings.push((Kind::Tiny, size()));
        }
        if width * height > self.config.huge_above {
            probe.findings.push((Kind::Huge, size()));
        }
        if image.pixels.chunks_exact(3).all(|p| p[0] == p[1] && p[1] == p[2]) {
            probe.findings.push((Kind::Greyscale, String::new()));
        }
    }
}

fn kind_of(error: &ImageError) -> Kind {
    match error {
        ImageError::Empty => Kind::Empty,
        ImageError::UnknownFormat => Kind::NotAnImage,
        ImageError::Truncated => Kind::Truncated,
        ImageError::Unsupported { .. } => Kind::Unsupported,
        ImageError::TooLarge { .. } => Kind::Oversized,
        ImageError::Read(_) | ImageError::Unreachable { .. } => Kind::Unreadable,
        _ => Kind::Damaged,
    }
}

/// Values that take up little of the range of their type.
fn narrow(depth: &Depth) -> Option<(Kind, String)> {
    depth.advice().map(|advice| (Kind::NarrowRange, advice))
}

/// A name without an extension says nothing, as in Parquet without paths.
fn wrong_extension(name: &str, format: Format) -> Option<(Kind, String)> {
    let (_, extension) = name.rsplit('/').next()?.rsplit_once('.')?;
    let named = Format::name_of_extension(extension)?;
    (named != format.name()).then(|| (Kind::WrongExtension, format!("is {}", format.name())))
}
