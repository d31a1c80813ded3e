//! How much of what was trained a file holds.

use super::{ExportError, Names, Origin, card, rename};
use crate::checkpoint::{Checkpoint, NamedTensor, check_finite, host_tensors, write_tensors};
use crate::models::Encode;
use crate::plan::Plan;
use std::path::Path;

/// How much of what was trained a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The backbone.
    Encoder,
    /// The backbone and the head that is used for training.
    EncoderAndHead,
    /// All networks and memories of the method: the momentum encoder, the decoder, the queue.
    All,
}

impl Part {
    const ALL: [(Part, &str); 3] =
        [(Part::Encoder, "encoder"), (Part::EncoderAndHead, "encoder+head"), (Part::All, "all")];

    /// The word for this part, on the command line and in a file's card.
    pub fn name(self) -> &'static str {
        Part::ALL.iter().find(|(part, _)| *part == self).map_or("all", |(_, name)| name)
    }

    pub(super) fn of_name(name: &str) -> Option<Part> {
        Part::ALL.iter().find(|(_, known)| *known == name).map(|(part, _)| *part)
    }
}

/// The tensors of a part of an encoder: under the names of a run's `encoder.safetensors` if they
/// stay ours, or if the head is among them; else under those of the backbone alone.
pub(super) fn of_encoder(
    encoder: &mut dyn Encode,
    names: Names,
    part: Part,
) -> Result<Vec<NamedTensor>, ExportError> {
    match (part, names) {
        (Part::Encoder, Names::Moco) => {
            let all = host_tensors(encoder).into_iter();
            Ok(all.filter(|(name, ..)| !name.starts_with("head.")).collect())
        }
        (Part::Encoder, _) => Ok(host_tensors(encoder.backbone())),
        (Part::EncoderAndHead, _) => Ok(host_tensors(encoder)),
        (Part::All, _) => Err(ExportError::unsupported(
            "an encoder's file has no more than the encoder",
            "give the folder of a run, whose checkpoint has the rest",
        )),
    }
}

/// Writes everything of a method that a checkpoint holds, see [`Part::All`], under `names`; the
/// optimiser's state is left out.
///
/// # Errors
/// [`ExportError::Unsupported`] where `names` has none for it, and [`ExportError::File`].
pub fn save_state(
    checkpoint: &Checkpoint,
    config: &Plan,
    origin: &Origin,
    path: &Path,
    names: Names,
) -> Result<(), ExportError> {
    let architecture = &config.network().architecture;
    names.check(Part::All, Some(config), architecture)?;
    let tensors = checkpoint.part("method")?;
    let tensors = rename::tensors(tensors, names, Part::All, Some(config), architecture);
    check_finite(path, &tensors)?;
    let mut texts = origin.described();
    card::add_format(&mut texts, names, Part::All);
    Ok(write_tensors(path, &tensors, texts)?)
}
