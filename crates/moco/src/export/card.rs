//! What a file says of itself.
//!
//! The texts of a safetensors or ONNX file of ours name the method, the network and what is to be done
//! to an image, and hold the whole configuration: the network can be built again without the run.

use super::{ExportError, Names, Part, rename};
use crate::checkpoint::{CheckpointError, TensorFile, Texts, load_plain};
use crate::config::ConfigError;
use crate::eval::FrozenEncoder;
use crate::models::Architecture;
use crate::nn::{Module, Visitor, tensors};
use crate::plan::{Plan, parse_run};
use burn::tensor::Device;
use moco_data::View;
use std::path::Path;

const VERSION: &str = "moco.version";
const STEP: &str = "moco.step";
const CONFIG: &str = "moco.config";
const LICENCE: &str = "moco.start_licence";
const METHOD: &str = "moco.method";
const ARCHITECTURE: &str = "moco.architecture";
const VIEW: &str = "moco.view";
const NAMES: &str = "moco.names";
pub(crate) const PART: &str = "moco.part";
/// The part that a fine-tuned network's file holds.
pub(crate) const CLASSIFIER: &str = "classifier";

/// What made an encoder; it stands in the encoder's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Version of this program.
    pub version: String,
    /// Steps that the encoder was trained for.
    pub step: usize,
    /// The whole configuration of the run, as TOML; empty if no run of ours trained it.
    pub config: String,
    /// The licence of the weights that the training began with, if it did not begin with random ones
    /// and the licence is known.
    pub start_licence: Option<String>,
}

impl Origin {
    /// The origin of an encoder that this program trained for `step` steps as `config` says.
    ///
    /// # Errors
    /// As [`crate::config::RunConfig::to_toml`].
    pub fn new(config: &Plan, step: usize) -> Result<Origin, ConfigError> {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let start_licence = config.init.as_ref().and_then(|init| init.licence.clone());
        Ok(Origin { version, step, config: config.to_toml()?, start_licence })
    }

    /// The texts of a file that are of the training. An encoder from elsewhere has no configuration.
    pub(crate) fn texts(&self) -> Texts {
        let config = Some(self.config.clone()).filter(|config| !config.is_empty());
        let texts = [
            (VERSION, Some(self.version.clone())),
            (STEP, Some(self.step.to_string())),
            (CONFIG, config),
            (LICENCE, self.start_licence.clone()),
        ];
        texts.into_iter().filter_map(|(name, text)| Some((name.to_owned(), text?))).collect()
    }

    /// The texts of a file of a run: those of the training, and what the configuration says in them
    /// once more, for people.
    pub(super) fn described(&self) -> Texts {
        let mut texts = self.texts();
        if let Ok(config) = parse_run(&self.config) {
            let architecture = &config.network().architecture;
            texts.extend(facts(Some(&config), architecture, config.eval_view()));
        }
        texts
    }
}

/// What an encoder is, and what is to be done to an image before it is encoded.
pub(crate) fn facts(config: Option<&Plan>, architecture: &Architecture, view: &View) -> Texts {
    let (mean, std) = view.normalize().statistics();
    let listed = |values: [f32; 3]| Some(values.map(|value| value.to_string()).join(", "));
    let facts = [
        (METHOD, config.map(|config| config.method.name().to_owned())),
        (ARCHITECTURE, serde_json::to_string(architecture).ok()),
        (VIEW, Some(view.to_string())),
        ("moco.mean", listed(mean)),
        ("moco.std", listed(std)),
    ];
    facts.into_iter().filter_map(|(name, text)| Some((name.to_owned(), text?))).collect()
}

/// Says under whose names which part lies in a file; `format` is for other programs' loaders.
pub(super) fn add_format(texts: &mut Texts, names: Names, part: Part) {
    let format = if names == Names::Moco { "moco" } else { "pt" };
    for (name, text) in [("format", format), (NAMES, names.name()), (PART, part.name())] {
        texts.insert(name.to_owned(), text.to_owned());
    }
}

/// What made the encoder at `path`; `None` if the file does not tell, as those of early versions.
///
/// # Errors
/// [`CheckpointError`] when the file cannot be read or is damaged.
pub fn read_origin(path: &Path) -> Result<Option<Origin>, CheckpointError> {
    Ok(origin_of(&TensorFile::open(path)?))
}

fn origin_of(file: &TensorFile) -> Option<Origin> {
    let text = |name| file.text(name).map(str::to_owned);
    Some(Origin {
        version: text(VERSION)?,
        step: text(STEP)?.parse().ok()?,
        config: text(CONFIG)?,
        start_licence: text(LICENCE),
    })
}

/// All that a file of ours says of the encoder in it: enough to build the network again.
#[derive(Clone, Debug, PartialEq)]
pub struct EncoderCard {
    /// Version of the program that wrote the file.
    pub version: String,
    /// Steps that the encoder was trained for.
    pub step: usize,
    /// The backbone.
    pub architecture: Architecture,
    /// What is done to an image before it is encoded.
    pub view: View,
    /// The configuration of the run that trained it; an encoder from elsewhere has none.
    pub config: Option<Plan>,
    /// Whose names the tensors have.
    pub names: Names,
    /// How much of what was trained is there.
    pub part: Part,
    /// See [`Origin::start_licence`].
    pub start_licence: Option<String>,
}

impl EncoderCard {
    /// Whether the file holds the head that [`crate::config::FeatureKind::Head`] asks for.
    pub fn has_head(&self) -> bool {
        self.part != Part::Encoder
    }

    /// Whether the tensors are those of the network here, name by name, so that [`open_encoder`] reads
    /// them; `moco_weights` reads encoders under the names of others too.
    pub fn has_our_names(&self) -> bool {
        match (self.names, self.part) {
            (Names::Moco, part) => part != Part::All,
            (_, Part::EncoderAndHead | Part::All) => false,
            (Names::Timm, _) => !matches!(&self.architecture, Architecture::Vit(vit)
                if rename::folds_class_position(vit)),
            (Names::Mae | Names::Dino, _) => true,
            (Names::Torchvision, _) => matches!(self.architecture, Architecture::ResNet(_)),
            (Names::HuggingFace | Names::Detectron2, _) => false,
        }
    }
}

/// What the safetensors file at `path` says of the encoder in it; `None` if it says nothing, as files
/// of other programs and of early versions.
///
/// # Errors
/// [`ExportError::File`] when the file cannot be read or is damaged, [`ExportError::Settings`] when it
/// was written by a version with other settings.
pub fn describe(path: &Path) -> Result<Option<EncoderCard>, ExportError> {
    let file = TensorFile::open(path)?;
    let (Some(version), Some(step)) = (file.text(VERSION), file.text(STEP)) else {
        return Ok(None);
    };
    if file.text(PART) == Some(CLASSIFIER) {
        return Err(ExportError::unsupported(
            format!(
                "{} holds a classifier, a fine-tuned network with its last layer",
                path.display()
            ),
            "give it to `moco eval distill --teacher`, or name an encoder",
        ));
    }
    let settings = |reason: String| ExportError::Settings { path: path.into(), reason };
    let config = file.text(CONFIG).map(parse_run).transpose();
    let config = config.map_err(|error| settings(error.to_string()))?;
    let Some((architecture, view)) = network(&file, config.as_ref()).map_err(settings)? else {
        return Ok(None);
    };
    Ok(Some(EncoderCard {
        version: version.to_owned(),
        step: step.parse().unwrap_or(0),
        architecture,
        view,
        config,
        // Files of the version before have neither, and are a run's.
        names: file.text(NAMES).and_then(Names::of_name).unwrap_or(Names::Moco),
        part: file.text(PART).and_then(Part::of_name).unwrap_or(Part::EncoderAndHead),
        start_licence: file.text(LICENCE).map(str::to_owned),
    }))
}

/// The network and the view that a file names, or that its configuration does.
fn network(
    file: &TensorFile,
    config: Option<&Plan>,
) -> Result<Option<(Architecture, View)>, String> {
    let named = file.text(ARCHITECTURE).map(serde_json::from_str).transpose();
    let named = named.map_err(|error| format!("{ARCHITECTURE}: {error}"))?;
    let of_config = || config.map(|config| config.network().architecture.clone());
    let view = file.text(VIEW).or(config.map(|config| config.data.eval_view.as_str()));
    let (Some(architecture), Some(view)) = (named.or_else(of_config), view) else {
        return Ok(None);
    };
    Ok(Some((architecture, view.parse().map_err(|error| format!("{VIEW}: {error}"))?)))
}

/// The encoder in a safetensors file of ours, built from what the file says. A head that the file does
/// not hold keeps its first weights, see [`EncoderCard::has_head`].
///
/// # Errors
/// As [`describe`]; [`ExportError::Unknown`] when the file says nothing,
/// [`ExportError::Unsupported`] when its tensors have other names than the network here.
pub fn open_encoder(
    path: &Path,
    device: &Device,
) -> Result<(FrozenEncoder, EncoderCard), ExportError> {
    let unknown = || ExportError::Unknown { path: path.into() };
    let card = describe(path)?.ok_or_else(unknown)?;
    let config = card.config.as_ref().ok_or_else(unknown)?;
    let mut frozen = FrozenEncoder::new(config.encoder(device), config.eval_view().clone(), device);
    match (card.names, card.part) {
        (Names::Moco, Part::EncoderAndHead) => frozen.load(path)?,
        (Names::Moco, Part::Encoder) => load_encoder_part(path, &mut frozen)?,
        _ if card.has_our_names() => load_plain(path, frozen.encoder.backbone(), device)?,
        _ => {
            let reason = format!(
                "{} holds `--part {}` under the names of {}",
                path.display(),
                card.part.name(),
                card.names.name()
            );
            let mend = "export the run again with --names moco, or give the run's folder";
            return Err(ExportError::unsupported(reason, mend));
        }
    }
    Ok((frozen, card))
}

fn load_encoder_part(path: &Path, frozen: &mut FrozenEncoder) -> Result<(), CheckpointError> {
    let device = frozen.device().clone();
    let encoder = frozen.encoder.as_mut();
    if tensors(encoder).keys().any(|name| name.starts_with("backbone.")) {
        load_plain(path, &mut Backbone(encoder.backbone()), &device)
    } else {
        load_plain(path, encoder.backbone(), &device)
    }
}

/// The backbone under the name that it has within its encoder.
struct Backbone<'a>(&'a mut dyn Module);

impl Module for Backbone<'_> {
    fn visit(&mut self, visitor: &mut Visitor<'_>) {
        visitor.child("backbone", self.0);
    }
}
