//! An encoder by the name that a person gives it: a run's folder, a file of ours, or weights of
//! another program.

use super::encoder::{EncoderError, TrainedEncoder, is_ours, load_encoder};
use crate::export;
use crate::files::{CONFIG, ENCODER};
use crate::pretrained::{Pretrained, read_imported};
use burn::tensor::Device;
use moco_data::View;
use moco_weights::Options;
use std::path::Path;

/// The encoder at `path`: the folder of a run or of imported weights, a file that this program wrote,
/// or a file or folder of another program, which is read as `options` say. Images are seen through
/// `view`, if one is given, instead of the run's or what is usual for such weights.
///
/// # Errors
/// [`EncoderError`].
pub fn open_encoder(
    path: &Path,
    options: &Options,
    view: Option<&View>,
    device: &Device,
) -> Result<TrainedEncoder, EncoderError> {
    let is_run = path.join(CONFIG).exists() || is_ours(&path.join(ENCODER));
    let mut opened = match () {
        () if path.is_dir() && is_run => load_encoder(path, device)?,
        () if is_ours(path) && reads_as_ours(path, options)? => open_file(path, device)?,
        () => {
            let weights = moco_weights::open(path, options)?;
            let notes = weights.report.to_string().lines().map(str::to_owned).collect();
            let source = path.display().to_string();
            let pretrained = Pretrained::new(&weights, &source, view, device)?;
            TrainedEncoder { notes, ..pretrained.into() }
        }
    };
    if let Some(view) = view {
        opened.encoder.view = view.clone();
    }
    Ok(opened)
}

/// Whether a file of ours is one of imported weights, or has the names of our networks, and nobody says
/// that it is to be read otherwise.
fn reads_as_ours(path: &Path, options: &Options) -> Result<bool, EncoderError> {
    let Options { layout, part, heads, stem_padding } = options;
    let told = layout.is_some() || part.is_some() || heads.is_some() || stem_padding.is_some();
    let card = export::describe(path)?;
    Ok(!told && card.is_none_or(|card| card.has_our_names()))
}

/// The encoder in a file of ours, away from its run's folder.
fn open_file(path: &Path, device: &Device) -> Result<TrainedEncoder, EncoderError> {
    if let Some(imported) = read_imported(path, device)? {
        return Ok(imported.into());
    }
    let (encoder, card) = export::open_encoder(path, device)?;
    let damaged = || EncoderError::DamagedFile(path.to_owned());
    let config = card.config.ok_or_else(damaged)?;
    Ok(TrainedEncoder { encoder, config, imported: None, notes: Vec::new() })
}
