//! How the published training codes name the tensors that we have under other names.
//!
//! One table for whoever compares with, reads or writes their files. Backbones need no table: their
//! names are torchvision's and timm's in all of them, but for what [`Layout::official_name`] says.

/// The code of a published repository, as far as it decides the names of its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// facebookresearch/moco, `MoCo`; whether its head is v2's of two layers.
    Moco {
        /// Two layers instead of one.
        mlp: bool,
    },
    /// facebookresearch/moco-v3, `MoCo_ResNet` or `MoCo_ViT`.
    MocoV3 {
        /// Whether the backbone is a transformer, whose head has another name.
        vit: bool,
    },
    /// facebookresearch/simsiam, `SimSiam`.
    SimSiam,
    /// facebookresearch/swav, `ResNet` with projection head and prototypes.
    SwAv,
    /// facebookresearch/dino, `MultiCropWrapper` of student and teacher.
    Dino {
        /// BatchNorm in the head, which shifts the numbers of its layers.
        head_norm: bool,
    },
    /// facebookresearch/mae, `MaskedAutoencoderViT`.
    Mae,
    /// HobbitLong/CMC, `MyResNetsCMC` and `NCEAverage`.
    Cmc,
    /// zhirongw/lemniscate.pytorch, `ResNet` and `NCEAverage` or `LinearAverage`.
    InstDisc,
    /// mangye16/Unsupervised_Embedding_Learning, its CIFAR `ResNet`.
    InvaSpread,
}

/// Beginnings of names: ours, and the published one.
type Prefixes = &'static [(&'static str, &'static str)];

const MOCO: Prefixes = &[
    ("query.backbone.", "encoder_q."),
    ("query.head.", "encoder_q.fc."),
    ("key.backbone.", "encoder_k."),
    ("key.head.", "encoder_k.fc."),
    ("queue.keys", "queue"),
    ("queue.pointer", "queue_ptr"),
];
const MOCO_V3: Prefixes = &[
    ("query.encoder.backbone.", "base_encoder."),
    ("query.encoder.head.", "base_encoder.fc."),
    ("query.predictor.", "predictor."),
    ("key.backbone.", "momentum_encoder."),
    ("key.head.", "momentum_encoder.fc."),
];
const MOCO_V3_VIT: Prefixes = &[
    ("query.encoder.backbone.", "base_encoder."),
    ("query.encoder.head.", "base_encoder.head."),
    ("query.predictor.", "predictor."),
    ("key.backbone.", "momentum_encoder."),
    ("key.head.", "momentum_encoder.head."),
];
const SIMSIAM: Prefixes = &[
    ("online.encoder.backbone.", "encoder."),
    ("online.encoder.head.", "encoder.fc."),
    ("online.predictor.", "predictor."),
];
const SWAV: Prefixes = &[
    ("student.encoder.backbone.", ""),
    ("student.encoder.head.", "projection_head."),
    ("student.prototypes.", "prototypes."),
];
const DINO: Prefixes = &[
    ("student.backbone.", "student.backbone."),
    ("student.head.", "student.head."),
    ("teacher.backbone.", "teacher.backbone."),
    ("teacher.head.", "teacher.head."),
    ("center", "center"),
];
const MAE: Prefixes = &[
    ("network.encoder.", ""),
    ("network.decoder.mask_token", "mask_token"),
    ("network.decoder.", "decoder_"),
];
const CMC: Prefixes = &[
    ("encoder.backbone.luma.", "model.encoder.module.l_to_ab."),
    ("encoder.head.luma.", "model.encoder.module.l_to_ab.fc."),
    ("encoder.backbone.chroma.", "model.encoder.module.ab_to_l."),
    ("encoder.head.chroma.", "model.encoder.module.ab_to_l.fc."),
    ("banks.0.rows", "contrast.memory_l"),
    ("banks.1.rows", "contrast.memory_ab"),
];
const INSTDISC: Prefixes = &[
    ("encoder.backbone.", "model."),
    ("encoder.head.", "model.fc."),
    ("bank.rows", "lemniscate.memory"),
];
const INVASPREAD: Prefixes = &[("encoder.backbone.", ""), ("encoder.head.", "linear.")];

/// How a head's layers are numbered in the published `Sequential`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Head {
    /// It is one layer and has no number.
    Single,
    /// Linear, ReLU, Linear: every second number.
    Plain,
    /// Linear, BatchNorm, ReLU, Linear: every third number, the norm one behind.
    Normed,
}

impl Layout {
    /// The published name of one of a method's tensors; `None` for what the published code does not
    /// keep under a name.
    pub fn official_name(self, ours: &str) -> Option<String> {
        let (start, theirs) = self.prefixes().iter().find(|(start, _)| ours.starts_with(start))?;
        let rest = &ours[start.len()..];
        let is_head = start.contains("head.") || start.contains("predictor.");
        let rest = if is_head { self.in_head(rest) } else { rest.to_owned() };
        let name = match rest.is_empty() {
            true => (*theirs).to_owned(),
            false => format!("{theirs}{rest}"),
        };
        Some(match self {
            Layout::InvaSpread => name.replace(".downsample.", ".shortcut."),
            _ => name,
        })
    }

    fn prefixes(self) -> Prefixes {
        match self {
            Layout::Moco { .. } => MOCO,
            Layout::MocoV3 { vit: false } => MOCO_V3,
            Layout::MocoV3 { vit: true } => MOCO_V3_VIT,
            Layout::SimSiam => SIMSIAM,
            Layout::SwAv => SWAV,
            Layout::Dino { .. } => DINO,
            Layout::Mae => MAE,
            Layout::Cmc => CMC,
            Layout::InstDisc => INSTDISC,
            Layout::InvaSpread => INVASPREAD,
        }
    }

    fn head(self) -> Head {
        match self {
            Layout::Moco { mlp: true } => Head::Plain,
            Layout::MocoV3 { .. } | Layout::SimSiam | Layout::SwAv => Head::Normed,
            Layout::Dino { head_norm: true } => Head::Normed,
            Layout::Dino { head_norm: false } => Head::Plain,
            Layout::Moco { mlp: false } | Layout::Mae | Layout::Cmc => Head::Single,
            Layout::InstDisc | Layout::InvaSpread => Head::Single,
        }
    }

    /// A name within a head: `1.norm.weight` is `4.weight`, and DINO's `layers.1.weight` is
    /// `mlp.2.weight`.
    fn in_head(self, name: &str) -> String {
        let (group, name) = match (self, name.split_once('.')) {
            (Layout::Dino { .. }, Some(("layers", rest))) => ("mlp.", rest.to_owned()),
            (Layout::Dino { .. }, Some(("norms", rest))) => {
                let (number, tensor) = rest.split_once('.').unwrap_or((rest, ""));
                ("mlp.", format!("{number}.norm.{tensor}"))
            }
            (Layout::Dino { .. }, _) => return name.to_owned(),
            _ => ("", name.to_owned()),
        };
        let Some((number, tensor)) = name.split_once('.') else { return name };
        let Ok(number) = number.parse::<usize>() else { return name };
        let (number, tensor) = match (self.head(), tensor.strip_prefix("norm.")) {
            (Head::Single, _) => return tensor.to_owned(),
            (Head::Plain, _) => (2 * number, tensor),
            (Head::Normed, Some(tensor)) => (3 * number + 1, tensor),
            (Head::Normed, None) => (3 * number, tensor),
        };
        format!("{group}{number}.{tensor}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_published_modules() {
        let cases = [
            (Layout::Moco { mlp: false }, "query.head.0.weight", "encoder_q.fc.weight"),
            (Layout::Moco { mlp: true }, "key.head.1.bias", "encoder_k.fc.2.bias"),
            (Layout::Moco { mlp: true }, "queue.keys", "queue"),
            (
                Layout::MocoV3 { vit: false },
                "query.encoder.head.1.norm.running_var",
                "base_encoder.fc.4.running_var",
            ),
            (Layout::MocoV3 { vit: true }, "key.head.2.weight", "momentum_encoder.head.6.weight"),
            (Layout::SimSiam, "online.predictor.1.bias", "predictor.3.bias"),
            (Layout::SwAv, "student.encoder.backbone.conv1.weight", "conv1.weight"),
            (
                Layout::Dino { head_norm: false },
                "student.head.layers.2.weight",
                "student.head.mlp.4.weight",
            ),
            (
                Layout::Dino { head_norm: true },
                "teacher.head.norms.1.bias",
                "teacher.head.mlp.4.bias",
            ),
            (
                Layout::Dino { head_norm: true },
                "student.head.last_layer.weight_v",
                "student.head.last_layer.weight_v",
            ),
            (Layout::Mae, "network.decoder.blocks.0.norm1.bias", "decoder_blocks.0.norm1.bias"),
            (Layout::Cmc, "encoder.head.luma.0.bias", "model.encoder.module.l_to_ab.fc.bias"),
            (Layout::InstDisc, "encoder.head.0.weight", "model.fc.weight"),
            (
                Layout::InvaSpread,
                "encoder.backbone.layer2.0.downsample.0.weight",
                "layer2.0.shortcut.0.weight",
            ),
        ];
        for (layout, ours, theirs) in cases {
            assert_eq!(layout.official_name(ours).as_deref(), Some(theirs), "{layout:?}");
        }
        assert_eq!(Layout::Moco { mlp: true }.official_name("queue.owners"), None);
    }
}
