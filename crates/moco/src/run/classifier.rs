//! Fine-tuned networks as files: an encoder, the layer behind it, and what tells them how to be built.

use super::EncoderError;
use crate::checkpoint::{CheckpointError, TensorFile, host_tensors, load_plain, write_tensors};
use crate::eval::{Classifier, Readout, Refit};
use crate::export::{CLASSIFIER, ExportError, Origin, PART};
use crate::models::Encode;
use crate::plan::{Plan, parse_run};
use crate::pretrained::{self, Imported};
use burn::tensor::Device;
use moco_data::View;
use std::path::Path;

const READOUT: &str = "moco.readout";
const CLASSES: &str = "moco.classes";
const IMPORTED: &str = "moco.classifier_import";
const VIEW: &str = "moco.view";

/// What a classifier's file says besides its weights.
#[derive(Clone, Debug)]
pub struct ClassifierCard {
    /// The configuration of the run that trained the encoder; of imported weights, that of a run that
    /// would have left such a backbone.
    pub config: Plan,
    /// Where imported weights are from.
    pub imported: Option<Imported>,
    /// What of the encoder the layer sees.
    pub readout: Readout,
    /// The classes, in the order of the scores.
    pub classes: Vec<String>,
    /// What is done to an image before it is classified.
    pub view: View,
}

impl ClassifierCard {
    /// The encoder as it is drawn, on `device`.
    pub fn encoder(&self, device: &Device) -> Box<dyn Encode> {
        match &self.imported {
            Some(imported) => pretrained::network(&imported.network, device),
            None => self.config.encoder(device),
        }
    }
}

/// Writes a classifier, parameters and statistics, as safetensors.
///
/// # Errors
/// [`EncoderError`] when the file cannot be written or a weight is no finite number.
pub fn save_classifier(
    net: &mut Classifier,
    card: &ClassifierCard,
    path: &Path,
) -> Result<(), EncoderError> {
    let tensors = host_tensors(net);
    crate::checkpoint::check_finite(path, &tensors)?;
    let mut texts = Origin::new(&card.config, 0)?.texts();
    let json = |value: serde_json::Result<String>| value.expect("plain data serialises");
    texts.extend([
        ("format".to_owned(), "moco".to_owned()),
        (PART.to_owned(), CLASSIFIER.to_owned()),
        (READOUT.to_owned(), card.readout.name().to_owned()),
        (CLASSES.to_owned(), json(serde_json::to_string(&card.classes))),
        (VIEW.to_owned(), card.view.to_string()),
    ]);
    if let Some(imported) = &card.imported {
        texts.insert(IMPORTED.to_owned(), json(serde_json::to_string(imported)));
    }
    Ok(write_tensors(path, &tensors, texts)?)
}

/// The classifier that [`save_classifier`] wrote, on `device`.
///
/// # Errors
/// [`EncoderError`] when the file cannot be read, is damaged or holds no classifier, or its network
/// does not fit into memory.
pub fn open_classifier(
    path: &Path,
    device: &Device,
) -> Result<(Classifier, ClassifierCard), EncoderError> {
    let card = read_card(path)?;
    card.config.check_encoder_memory()?;
    let encoder = card.encoder(device);
    let refit = Refit { readout: card.readout, drop_path: 0.0 };
    let mut net = Classifier::refitted(encoder, &refit, card.classes.len(), 0, device);
    load_plain(path, &mut net, device)?;
    Ok((net, card))
}

fn read_card(path: &Path) -> Result<ClassifierCard, EncoderError> {
    let file = TensorFile::open(path)?;
    if file.text(PART) != Some(CLASSIFIER) {
        return Err(ExportError::unsupported(
            format!("{} holds no classifier", path.display()),
            "give the file that `moco eval finetune --out` or `moco eval distill --out` wrote",
        )
        .into());
    }
    let card = || -> Result<ClassifierCard, String> {
        let text = |name: &str| file.text(name).ok_or(format!("it lacks {name}"));
        let said = |error: &dyn std::fmt::Display| error.to_string();
        Ok(ClassifierCard {
            config: parse_run(text("moco.config")?).map_err(|error| said(&error))?,
            imported: match file.text(IMPORTED) {
                Some(json) => Some(serde_json::from_str(json).map_err(|error| said(&error))?),
                None => None,
            },
            readout: Readout::of_name(text(READOUT)?).ok_or("its readout is unknown")?,
            classes: serde_json::from_str(text(CLASSES)?).map_err(|error| said(&error))?,
            view: text(VIEW)?.parse().map_err(|error| said(&error))?,
        })
    };
    card().map_err(|reason| CheckpointError::Malformed { path: path.into(), reason }.into())
}
