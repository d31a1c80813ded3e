//! What is changed about a pre-trained network before it is fine-tuned.

use crate::config::FeatureKind;
use crate::models::Encode;

/// From a pre-trained network to what the new layer sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readout {
    /// The backbone's feature, as it was pre-trained.
    Own,
    /// The mean of a transformer's patch tokens, through a new LayerNorm in place of the final one.
    PatchMean,
    /// The first layer of the projection head, which is trained too.
    Projector,
}

/// The changes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Refit {
    /// What the new layer sees.
    pub readout: Readout,
    /// Probability that drop-path leaves out a residual branch of a transformer's last block, in
    /// [0, 1); earlier blocks in proportion. Another network takes no notice of it.
    pub drop_path: f64,
}

impl Readout {
    const ALL: [(Readout, &str); 3] =
        [(Readout::Own, "own"), (Readout::PatchMean, "mean"), (Readout::Projector, "projector")];

    /// The word for it, on the command line and in a file.
    pub fn name(self) -> &'static str {
        Readout::ALL.iter().find(|(readout, _)| *readout == self).map_or("own", |(_, name)| name)
    }

    /// The readout of a word.
    pub fn of_name(name: &str) -> Option<Readout> {
        Readout::ALL.iter().find(|(_, known)| *known == name).map(|(readout, _)| *readout)
    }
}

impl Refit {
    /// An encoder as its network is.
    pub const NONE: Self = Self { readout: Readout::Own, drop_path: 0.0 };

    /// Changes an encoder that has its pre-trained weights; `seed` is drop-path's.
    ///
    /// # Panics
    /// If the encoder lacks what is to be read, a transformer or a projection head.
    pub(super) fn apply(&self, encoder: &mut dyn Encode, seed: u64) {
        match self.readout {
            Readout::Own => (),
            Readout::PatchMean => encoder.vit().expect("a transformer").pool_patches_anew(),
            Readout::Projector => {
                encoder.projector().expect("a projection head").keep_first_layer();
            }
        }
        if let Some(vit) = encoder.vit() {
            vit.set_drop_path(self.drop_path, seed);
        }
    }

    /// The output of the changed encoder that the new layer sees.
    pub(super) fn feature(&self) -> FeatureKind {
        match self.readout {
            Readout::Own | Readout::PatchMean => FeatureKind::Backbone,
            Readout::Projector => FeatureKind::Head,
        }
    }
}
