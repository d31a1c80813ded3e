//! What is known of a layout.

use super::LayoutName;
use super::keys::Keys;
use super::naming::Naming;
use crate::architecture::Interpolation;
use crate::read::Checkpoint;
use crate::weights::{Input, Section};

/// A layout: how it is recognised, where its networks are, and what its files do not say.
pub(crate) struct Rule {
    pub layout: LayoutName,
    /// Whether a file is of it.
    pub detect: fn(&Checkpoint, &Keys<'_>) -> bool,
    /// Its networks; the first that a file has is taken.
    pub parts: &'static [Part],
    /// How the tensors of a network may be named.
    pub namings: &'static [Naming],
    /// Heads that fit ours.
    pub heads: &'static [Head],
    /// What the networks take for an image of natural size, and of CIFAR's.
    pub input: Input,
    pub small_input: Input,
    /// Licence of the weights that its authors publish, where it is known.
    pub licence: Option<&'static str>,
    /// How positions are fitted to another grid.
    pub interpolation: Interpolation,
    /// Epsilon of LayerNorms, where no configuration says it.
    pub norm_eps: f64,
    /// Heads by width that differ from the usual ones.
    pub attention: &'static [(usize, usize)],
    /// Zeros around the image in a CIFAR stem.
    pub cifar_padding: usize,
}

/// A network of a file.
pub(crate) struct Part {
    /// The name that a caller gives; empty where the layout has one network only.
    pub name: &'static str,
    /// Where its backbone may begin.
    pub prefixes: &'static [&'static str],
    /// Where the second of a pair begins.
    pub second: &'static [&'static str],
}

/// A head of a file.
pub(crate) struct Head {
    pub section: Section,
    /// Where it begins: behind the backbone's prefix, or in the file.
    pub at: At,
    pub style: Style,
}

/// Where a head begins.
#[derive(Clone, Copy)]
pub(crate) enum At {
    /// Within the part's backbone, such as `fc.` of `encoder_q.`.
    Within(&'static str),
    /// Beside the part's backbone: the second is for the second part and so on.
    Beside(&'static [&'static str]),
}

/// How a head's tensors are named.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// One layer, or a `Sequential` whose numbers count other layers too.
    Sequential,
    /// DINO's: `mlp.N` and `last_layer`.
    Dino,
    /// Just `weight`.
    Bare,
    /// MAE's decoder: `decoder_*` and `mask_token`.
    Decoder,
    /// Ours already.
    Ours,
}

/// A layout's one network.
pub(crate) const fn only(prefixes: &'static [&'static str]) -> Part {
    Part { name: "", prefixes, second: &[] }
}

/// A named network of several.
pub(crate) const fn part(name: &'static str, prefixes: &'static [&'static str]) -> Part {
    Part { name, prefixes, second: &[] }
}

/// The projection head within a backbone.
pub(crate) const fn head(within: &'static str) -> Head {
    Head { section: Section::Head, at: At::Within(within), style: Style::Sequential }
}

/// A head beside the backbones.
pub(crate) const fn beside(section: Section, at: &'static [&'static str]) -> Head {
    Head { section, at: At::Beside(at), style: Style::Sequential }
}

/// Statistics of CIFAR-10 as MoCo's demo, InstDisc and InvaSpread have them.
pub(crate) const CIFAR: Input =
    Input::Rgb { mean: [0.4914, 0.4822, 0.4465], std: [0.2023, 0.1994, 0.2010] };

/// Non-commercial.
pub(crate) const CC_BY_NC: Option<&str> = Some("CC BY-NC 4.0");

/// What most layouts have in common.
pub(crate) const USUAL: Rule = Rule {
    layout: LayoutName::TorchvisionResNet,
    detect: |_, _| false,
    parts: &[only(&[""])],
    namings: &[Naming::Torchvision],
    heads: &[],
    input: crate::weights::IMAGENET,
    small_input: CIFAR,
    licence: None,
    interpolation: Interpolation::Bicubic,
    norm_eps: 1e-6,
    attention: &[],
    cifar_padding: 1,
};

impl Rule {
    /// The naming of the backbone that begins at one of a part's prefixes, and that prefix.
    pub fn find(&self, keys: &Keys<'_>, part: &Part) -> Option<(Naming, &'static str)> {
        part.prefixes.iter().find_map(|&prefix| {
            let naming = self.namings.iter().find(|naming| naming.is_at(keys, prefix))?;
            Some((*naming, prefix))
        })
    }

    /// Whether any part of it is in the file.
    pub fn has_backbone(&self, keys: &Keys<'_>) -> bool {
        self.parts.iter().any(|part| self.find(keys, part).is_some())
    }
}
