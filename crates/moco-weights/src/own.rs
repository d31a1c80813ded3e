//! What a file that this program wrote says of itself, beside its tensors: whose names they have, and
//! what no tensor tells.

use crate::architecture::Interpolation;
use crate::layout::LayoutName;
use crate::read::Checkpoint;
use crate::weights::Input;
use serde::Deserialize;

/// The description in a file's texts.
#[derive(Default)]
pub(crate) struct Own {
    /// The layout of its tensors, if this is a file of ours.
    pub layout: Option<LayoutName>,
    pub vit: Option<OwnVit>,
    /// Zeros around the image in a CIFAR stem.
    pub stem_padding: Option<usize>,
    /// What is done to an image before it is encoded.
    pub view: Option<String>,
    pub input: Option<Input>,
    /// The licence of the weights that the training began with.
    pub licence: Option<String>,
}

/// What a transformer's tensors do not say.
#[derive(Deserialize)]
pub(crate) struct OwnVit {
    pub heads: usize,
    pub norm_epsilon: f64,
    pub image: [usize; 2],
    pub patch: usize,
    pool: String,
    antialias_positions: bool,
    position_nudge: f64,
}

/// The part of `moco.architecture` that is asked for; of the rest the tensors tell.
#[derive(Default, Deserialize)]
struct Network {
    vit: Option<OwnVit>,
    resnet: Option<OwnResNet>,
}

#[derive(Deserialize)]
struct OwnResNet {
    #[serde(default)]
    stem_padding: usize,
}

impl Own {
    /// What `checkpoint` says; nothing in files of other programs.
    pub fn of(checkpoint: &Checkpoint) -> Own {
        let text = |name: &str| checkpoint.metadata.get(&format!("moco.{name}"));
        if text("version").is_none() {
            return Own::default();
        }
        let network = text("architecture").and_then(|text| serde_json::from_str(text).ok());
        let Network { vit, resnet } = network.unwrap_or_default();
        let names = text("names").map_or("moco", String::as_str);
        let triple = |name: &str| -> Option<[f32; 3]> {
            let values = text(name)?.split(", ").map(|value| value.parse().ok());
            values.collect::<Option<Vec<f32>>>()?.try_into().ok()
        };
        let view = text("view").cloned();
        let input = triple("mean").zip(triple("std")).map(|(mean, std)| {
            let lab = view.as_ref().is_some_and(|view| view.contains("lab "));
            if lab { Input::Lab { mean, std } } else { Input::Rgb { mean, std } }
        });
        Own {
            layout: Some(layout(names, vit.is_some())),
            stem_padding: resnet.map(|resnet| resnet.stem_padding + 1),
            vit,
            view,
            input,
            licence: text("start_licence").cloned(),
        }
    }
}

/// The layout of an export under these names.
fn layout(names: &str, is_vit: bool) -> LayoutName {
    match (names, is_vit) {
        ("torchvision", true) => LayoutName::TorchvisionVit,
        ("torchvision", false) => LayoutName::TorchvisionResNet,
        ("timm", true) => LayoutName::TimmVit,
        ("timm", false) => LayoutName::TimmResNet,
        ("huggingface", true) => LayoutName::HfVit,
        ("huggingface", false) => LayoutName::HfResNet,
        ("detectron2", _) => LayoutName::Detectron2,
        ("dino", _) => LayoutName::Dino,
        ("mae", _) => LayoutName::Mae,
        _ => LayoutName::Ours,
    }
}

impl OwnVit {
    /// Whether the feature is the mean over the patches' tokens.
    pub fn is_mean(&self) -> bool {
        self.pool != "class"
    }

    /// How positions are fitted to another grid.
    pub fn interpolation(&self) -> Interpolation {
        match self.position_nudge {
            _ if self.antialias_positions => Interpolation::BicubicAntialias,
            0.0 => Interpolation::Bicubic,
            nudge => Interpolation::BicubicNudged { nudge },
        }
    }

    /// Rows and columns of patches, where the sizes make sense.
    pub fn grid(&self) -> Option<[usize; 2]> {
        let [height, width] = self.image;
        (self.patch > 0).then(|| [height / self.patch, width / self.patch])
    }
}
