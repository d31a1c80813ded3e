//! How exported tensors are named, and which networks and parts have names.

use super::{ExportError, Part};
use crate::config::{MlpKind, NormKind, StemKind};
use crate::layout::Layout;
use crate::methods::Sees;
use crate::models::vit::{PatchStem, Pool};
use crate::models::{Architecture, ResNetShape, VitConfig};
use crate::plan::Plan;

/// Whose names the tensors of a file have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// Ours: `backbone.layer1.0.conv1.weight` and `head.0.weight`.
    Moco,
    /// `torchvision.models`: its ResNets and its `VisionTransformer`.
    Torchvision,
    /// timm's `resnet18` and its like, and its `VisionTransformer`.
    Timm,
    /// `ResNetModel` and `ViTModel` of Hugging Face's transformers.
    HuggingFace,
    /// detectron2's `ResNet`.
    Detectron2,
    /// facebookresearch/dino.
    Dino,
    /// facebookresearch/mae.
    Mae,
}

impl Names {
    const ALL: [(Names, &str); 7] = [
        (Names::Moco, "moco"),
        (Names::Torchvision, "torchvision"),
        (Names::Timm, "timm"),
        (Names::HuggingFace, "huggingface"),
        (Names::Detectron2, "detectron2"),
        (Names::Dino, "dino"),
        (Names::Mae, "mae"),
    ];

    /// The word for these names, on the command line and in a file's card.
    pub fn name(self) -> &'static str {
        Names::ALL.iter().find(|(names, _)| *names == self).map_or("moco", |(_, name)| name)
    }

    pub(super) fn of_name(name: &str) -> Option<Names> {
        Names::ALL.iter().find(|(_, known)| *known == name).map(|(names, _)| *names)
    }

    /// Whether there are names for this part of what the run `config` trains, if it is one of ours.
    ///
    /// # Errors
    /// [`ExportError::Unsupported`], with what to use instead.
    pub fn check(
        self,
        part: Part,
        config: Option<&Plan>,
        architecture: &Architecture,
    ) -> Result<(), ExportError> {
        if self == Names::Moco {
            return Ok(());
        }
        if config.is_some_and(|config| config.spec().profile().sees == Sees::Split) {
            let name = self.name();
            return unsupported(
                format!("CMC has two encoders, of luminance and of colour, and {name} one"),
                USE_MOCO,
            );
        }
        self.check_part(part, config)?;
        match architecture {
            Architecture::ResNet(resnet) => self.check_resnet(resnet),
            Architecture::Vit(vit) => self.check_vit(vit),
        }
    }

    fn check_part(self, part: Part, config: Option<&Plan>) -> Result<(), ExportError> {
        let layout = config.and_then(|config| config.settings().layout());
        let own = match self {
            Names::Dino => matches!(layout, Some(Layout::Dino { .. })),
            Names::Mae => layout == Some(Layout::Mae),
            _ => false,
        };
        match part {
            Part::Encoder => Ok(()),
            Part::EncoderAndHead if self == Names::Mae => unsupported(
                "facebookresearch/mae has no name for a head",
                "pass --part encoder, or for the decoder of an MAE --part all",
            ),
            _ if own => Ok(()),
            _ => unsupported(
                format!("{} has no names for more of this run than its encoder", self.name()),
                "pass --part encoder, or --names moco",
            ),
        }
    }

    fn check_resnet(self, resnet: &ResNetShape) -> Result<(), ExportError> {
        let name = self.name();
        if resnet.norm != NormKind::Batch {
            return unsupported(
                format!("{name} has no residual network without BatchNorm"),
                USE_MOCO,
            );
        }
        if let Some(other) = other_than_published(resnet) {
            return unsupported(format!("{name}'s residual networks have no {other}"), USE_MOCO);
        }
        match self {
            Names::Torchvision | Names::HuggingFace | Names::Detectron2 | Names::Dino
                if resnet.stem == StemKind::Deep =>
            {
                unsupported(
                    format!(
                        "{name}'s residual networks begin with one convolution, this one with three \
                         convolutions (model.stem = \"deep\")"
                    ),
                    "pass --names timm or write an .onnx",
                )
            }
            Names::Mae => unsupported(
                "facebookresearch/mae has no residual networks",
                "pass --names torchvision",
            ),
            Names::HuggingFace | Names::Detectron2 => match other_than_usual(resnet) {
                Some(other) => unsupported(
                    format!("{name}'s residual networks {other}"),
                    "pass --names torchvision or write an .onnx",
                ),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn check_vit(self, vit: &VitConfig) -> Result<(), ExportError> {
        let name = self.name();
        if self == Names::Detectron2 {
            return unsupported(
                "these names are of detectron2's residual networks, not of a transformer",
                "pass --names timm",
            );
        }
        if self == Names::Torchvision && vit.pool != Pool::Class {
            return unsupported(
                "torchvision's transformers read the class token, this one the mean of the patch \
                 tokens",
                "pass --names timm or write an .onnx",
            );
        }
        if vit.stem == PatchStem::Conv && self != Names::Torchvision {
            return unsupported(
                format!(
                    "{name}'s transformers begin with one linear projection, this one with \
                     convolutions"
                ),
                "pass --names torchvision or write an .onnx",
            );
        }
        match addition(vit) {
            Some(addition) if self != Names::Timm => unsupported(
                format!("{name}'s transformers have no {addition}, which this one has"),
                "pass --names timm or write an .onnx",
            ),
            _ => Ok(()),
        }
    }
}

/// What SimCLR v2's residual networks have and nobody else's under names of ours.
fn other_than_published(resnet: &ResNetShape) -> Option<&'static str> {
    if resnet.sk_ratio.is_some() {
        return Some("selective kernels (model.sk_ratio) of this form");
    }
    // timm's ResNet-D has none in the first stage.
    resnet.average_skips.then_some(
        "an average in skip connections (model.average_skips) from the first stage on, as SimCLR's",
    )
}

/// What a residual network has that others do not build, as the end of a sentence about theirs.
pub(super) fn other_than_usual(resnet: &ResNetShape) -> Option<&'static str> {
    if resnet.stem == StemKind::Cifar {
        return Some(
            "begin with a 7x7 convolution and a pool, this one with a 3x3 convolution \
             (model.stem = \"cifar\")",
        );
    }
    if resnet.stem == StemKind::Deep {
        return Some(
            "of these names begin with one convolution, this one with three (model.stem = \"deep\")",
        );
    }
    if resnet.stem_padding > 0 {
        return Some("pad the first layer's input by 3, this one by more");
    }
    has_added_projection(resnet).then_some(
        "have no projection in the first skip connection, this one has (model.first_projection)",
    )
}

/// Whether the first skip connection is projected though no shape changes.
pub(super) fn has_added_projection(resnet: &ResNetShape) -> bool {
    let outputs = if resnet.bottleneck { 4 * resnet.width } else { resnet.width };
    resnet.first_projection && resnet.stem_width == outputs
}

/// What a transformer has besides the published network of 2020.
fn addition(vit: &VitConfig) -> Option<&'static str> {
    match vit {
        VitConfig { registers: 1.., .. } => Some("register tokens"),
        VitConfig { layer_scale: Some(_), .. } => Some("LayerScale"),
        VitConfig { mlp: MlpKind::Swiglu, .. } => Some("SwiGLU"),
        VitConfig { class_token: false, .. } => Some("form without a class token"),
        VitConfig { class_position: false, .. } => Some("class token without a position"),
        VitConfig { qkv_bias: false, .. } => Some("attention without biases"),
        _ => None,
    }
}

fn unsupported(reason: impl Into<String>, mend: &'static str) -> Result<(), ExportError> {
    Err(ExportError::unsupported(reason, mend))
}

const USE_MOCO: &str = "pass --names moco or write an .onnx";
