//! The layouts that are known.

use crate::error::WeightsError;
use std::fmt;
use std::str::FromStr;

/// A way to name and nest the tensors of a network: a published code, or a library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LayoutName {
    /// facebookresearch/moco, versions 1 and 2.
    Moco,
    /// facebookresearch/moco-v3.
    MocoV3,
    /// facebookresearch/simsiam.
    SimSiam,
    /// facebookresearch/swav.
    SwAv,
    /// facebookresearch/dino.
    Dino,
    /// facebookresearch/mae.
    Mae,
    /// HobbitLong/CMC.
    Cmc,
    /// zhirongw/lemniscate.pytorch.
    InstDisc,
    /// mangye16/Unsupervised_Embedding_Learning.
    InvaSpread,
    /// google-research/simclr, as converted to PyTorch.
    SimClr,
    /// deepmind/deepmind-research BYOL, as converted to PyTorch, and codes that save two networks.
    Byol,
    /// lightly: a `Sequential` with numbers for names.
    Lightly,
    /// solo-learn.
    Solo,
    /// torchvision's ResNets.
    TorchvisionResNet,
    /// torchvision's vision transformers.
    TorchvisionVit,
    /// timm's ResNets.
    TimmResNet,
    /// timm's vision transformers.
    TimmVit,
    /// Hugging Face transformers' ViT, and its kin of the same names.
    HfVit,
    /// Hugging Face transformers' DINOv2.
    HfDinoV2,
    /// Hugging Face transformers' ResNets.
    HfResNet,
    /// detectron2's ResNets.
    Detectron2,
    /// facebookresearch/dinov2.
    DinoV2,
    /// An encoder that this program wrote.
    Ours,
}

/// Layouts with the names that a caller gives, and those that a person reads.
const NAMES: [(LayoutName, &str, &str); 23] = [
    (LayoutName::Moco, "moco", "facebookresearch/moco (MoCo v1 and v2)"),
    (LayoutName::MocoV3, "moco-v3", "facebookresearch/moco-v3"),
    (LayoutName::SimSiam, "simsiam", "facebookresearch/simsiam"),
    (LayoutName::SwAv, "swav", "facebookresearch/swav"),
    (LayoutName::Dino, "dino", "facebookresearch/dino"),
    (LayoutName::Mae, "mae", "facebookresearch/mae"),
    (LayoutName::Cmc, "cmc", "HobbitLong/CMC"),
    (LayoutName::InstDisc, "instdisc", "zhirongw/lemniscate.pytorch (InstDisc)"),
    (LayoutName::InvaSpread, "invaspread", "mangye16/Unsupervised_Embedding_Learning (InvaSpread)"),
    (LayoutName::SimClr, "simclr", "google-research/simclr, converted to PyTorch"),
    (LayoutName::Byol, "byol", "BYOL, converted to PyTorch"),
    (LayoutName::Lightly, "lightly", "lightly (numbered Sequential)"),
    (LayoutName::Solo, "solo", "solo-learn"),
    (LayoutName::TorchvisionResNet, "torchvision-resnet", "torchvision ResNet"),
    (LayoutName::TorchvisionVit, "torchvision-vit", "torchvision VisionTransformer"),
    (LayoutName::TimmResNet, "timm-resnet", "timm ResNet"),
    (LayoutName::TimmVit, "timm-vit", "timm VisionTransformer"),
    (LayoutName::HfVit, "huggingface-vit", "Hugging Face ViT"),
    (LayoutName::HfDinoV2, "huggingface-dinov2", "Hugging Face DINOv2"),
    (LayoutName::HfResNet, "huggingface-resnet", "Hugging Face ResNet"),
    (LayoutName::Detectron2, "detectron2", "detectron2 ResNet"),
    (LayoutName::DinoV2, "dinov2", "facebookresearch/dinov2"),
    (LayoutName::Ours, "ours", "an encoder of moco"),
];

impl LayoutName {
    /// All of them.
    pub fn all() -> impl Iterator<Item = LayoutName> {
        NAMES.iter().map(|(layout, ..)| *layout)
    }

    /// The name that [`LayoutName::from_str`] takes.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// The code or library, in words.
    pub fn title(self) -> &'static str {
        self.row().2
    }

    fn row(self) -> &'static (LayoutName, &'static str, &'static str) {
        NAMES.iter().find(|(layout, ..)| *layout == self).expect("every layout has a row")
    }
}

impl fmt::Display for LayoutName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.title())
    }
}

impl FromStr for LayoutName {
    type Err = WeightsError;

    /// # Errors
    /// [`WeightsError::NoSuchLayout`], which lists those that there are.
    fn from_str(name: &str) -> Result<Self, WeightsError> {
        let found = NAMES.iter().find(|(_, known, _)| *known == name);
        found.map(|(layout, ..)| *layout).ok_or_else(|| WeightsError::NoSuchLayout {
            name: name.to_owned(),
            known: NAMES.map(|(_, name, _)| name).join(", "),
        })
    }
}
