//! Encoders that start from weights of other programs.
//!
//! `moco_weights` reads a file into tensors under our names, with the architecture told from them.
//! Here they become a network: [`Pretrained`] is evaluated, embedded with and written like the
//! encoder of a run, and [`start_from`] gives a run's method its first weights.

mod bare;
mod channels;
mod check;
mod convert;
mod file;
mod fill;
mod init;
mod settings;

pub use bare::network;
pub use check::{CheckError, Compared, check_features};
pub use file::{read_imported, save_imported};
pub use init::{Started, start_from};
pub use settings::model_settings;

use crate::checkpoint::CheckpointError;
use crate::config::ConfigError;
use crate::eval::FrozenEncoder;
use crate::models::Architecture;
use crate::plan::Plan;
use burn::tensor::Device;
use moco_data::View;
use moco_weights::{Weights, WeightsError};
use serde::{Deserialize, Serialize};

/// An encoder whose weights come from elsewhere.
pub struct Pretrained {
    /// The network with its weights, and the view it expects.
    pub frozen: FrozenEncoder,
    /// The settings of a run that would have left such a backbone. Evaluation takes its defaults from
    /// them; the images, the length and the optimiser in them mean nothing.
    pub config: Plan,
    /// Where the weights are from.
    pub imported: Imported,
}

/// What a file of imported weights says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Imported {
    /// What the weights make.
    pub network: Network,
    /// What is done to an image before it is encoded, as text (see [`View`]).
    pub view: String,
    /// Name of the layout that the file was in, such as `dino`.
    pub layout: String,
    /// Which of the file's networks this is; empty where there was one only.
    #[serde(default)]
    pub part: String,
    /// The file, as it was named.
    pub source: String,
    /// Licence under which the layout's authors publish their weights, or of the weights that a run of
    /// ours began with, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
}

/// A backbone without a head, or two of them for two groups of channels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// One for whole images.
    Single(Architecture),
    /// One for the first channel, one for the other two (CMC).
    Split {
        /// For the first channel.
        luma: Architecture,
        /// For the second and third channel.
        chroma: Architecture,
    },
}

/// Weights that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// They cannot be read or understood.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The settings that follow from them cannot be had.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file of ours cannot be written, or read again.
    #[error(transparent)]
    File(#[from] CheckpointError),
    /// The network is not one that is built here.
    #[error("the network in {file} {problem}, which this program does not build")]
    Unsupported {
        /// The file.
        file: String,
        /// What it has, as the rest of a sentence.
        problem: String,
    },
    /// The file's tensors and the network's do not match.
    #[error("the weights in {file} do not fit {network}: {reason}")]
    Mismatch {
        /// The file.
        file: String,
        /// The network, in words.
        network: String,
        /// The first tensor that does not fit, and how, or the mend.
        reason: String,
    },
    /// The view does not make images that the network sees.
    #[error("the view `{view}` does not suit the weights: {reason}")]
    View {
        /// The view.
        view: String,
        /// Why, and the mend.
        reason: String,
    },
}

/// The architecture of the weights' backbone; of a pair, that of the first.
///
/// # Errors
/// [`ImportError::Unsupported`].
pub fn first_network(weights: &Weights) -> Result<Architecture, ImportError> {
    match convert::network(weights)? {
        Network::Single(architecture) | Network::Split { luma: architecture, .. } => {
            Ok(architecture)
        }
    }
}

impl Pretrained {
    /// The network of `weights` on the plain `device`. Without a `view`, images are resized, cut and
    /// normalised as is usual for weights of this layout.
    ///
    /// # Errors
    /// [`ImportError`], for a network that is not built here, a view of the wrong size, or sizes that
    /// do not fit into memory.
    pub fn new(
        weights: &Weights,
        source: &str,
        view: Option<&View>,
        device: &Device,
    ) -> Result<Self, ImportError> {
        let network = convert::network(weights)?;
        let view = match (view, &weights.view) {
            (Some(view), _) => view.to_string(),
            (None, Some(own)) => own.clone(),
            (None, None) => settings::usual_view(weights),
        };
        let licence = weights.licence.clone();
        let imported = Imported {
            network,
            view,
            layout: weights.layout.name().to_owned(),
            part: weights.part.clone(),
            source: source.to_owned(),
            licence,
        };
        let mut pretrained = Self::empty(imported, device)?;
        bare::fill(pretrained.frozen.encoder.as_mut(), weights, device)?;
        Ok(pretrained)
    }

    /// A network of which only the description is known; its weights are drawn at random.
    ///
    /// # Errors
    /// As [`Pretrained::new`].
    pub(crate) fn empty(imported: Imported, device: &Device) -> Result<Self, ImportError> {
        let config = settings::stand_in(&imported)?;
        config.check_encoder_memory()?;
        settings::check_view(&imported)?;
        let encoder = bare::network(&imported.network, device);
        let frozen = FrozenEncoder::new(encoder, config.eval_view().clone(), device);
        Ok(Self { frozen, config, imported })
    }
}
