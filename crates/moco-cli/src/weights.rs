//! Weights of other programs: where they are, what they are, and the encoder that they make.

use crate::args::ReadingArgs;
use crate::session::lasting_path;
use anyhow::Context;
use moco::config::InitConfig;
use moco::device::Device;
use moco::run::{TrainedEncoder, open_encoder};
use moco_weights::hub::{self, Places, Source};
use moco_weights::{Options, Weights};
use std::path::{Path, PathBuf};
use std::sync::Arc;

impl ReadingArgs {
    /// As the reader of weights takes them.
    pub fn options(&self) -> anyhow::Result<Options> {
        Ok(Options {
            layout: self.layout.as_deref().map(str::parse).transpose()?,
            part: self.network.clone(),
            heads: self.heads.map(usize::from),
            stem_padding: self.stem_padding.map(usize::from),
        })
    }
}

/// The weights at a source, which are told about on stderr.
pub fn read(source: &str, reading: &ReadingArgs) -> anyhow::Result<Weights> {
    let weights = moco_weights::open(&fetch(source)?, &reading.options()?)?;
    tell(&weights);
    Ok(weights)
}

/// Says on stderr what weights are.
pub fn tell(weights: &Weights) {
    weights.report.to_string().lines().for_each(|line| eprintln!("{line}"));
}

/// The weights that a run starts from.
pub fn read_start(init: &InitConfig) -> anyhow::Result<Weights> {
    let reading = ReadingArgs {
        layout: init.layout.clone(),
        network: init.network.clone(),
        heads: init.heads.map(|heads| u16::try_from(heads).unwrap_or(u16::MAX)),
        ..ReadingArgs::default()
    };
    read(&init.source, &reading).context("the weights to start from (init.source)")
}

/// The file on this machine, fetched if it is elsewhere.
pub fn fetch(source: &str) -> anyhow::Result<PathBuf> {
    let cache = moco_data::OpenOptions::default().cache;
    let notice = Arc::new(|text: &str| eprintln!("{text}"));
    let places = Places::from_environment(cache, Some(notice));
    Ok(hub::fetch(&Source::parse(source)?, &places)?)
}

/// A source as it is understood from any folder.
pub fn lasting_source(source: &str) -> anyhow::Result<String> {
    let path = Path::new(source);
    if source.contains("://") || !path.exists() {
        return Ok(source.to_owned());
    }
    lasting_path(path)
}

/// The encoder of `--encoder`: a run's or an imported one by its folder or file, or weights of
/// another program.
pub fn open(
    source: &str,
    reading: &ReadingArgs,
    device: &Device,
) -> anyhow::Result<TrainedEncoder> {
    let path = fetch(source)?;
    let view = reading.eval_view.as_ref();
    Ok(open_encoder(&path, &reading.options()?, view, device)?)
}
