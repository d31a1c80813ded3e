//! What is changed about a pre-trained network before it is fine-tuned.

use crate::config::{FeatureKind, Readout, Refit};
use crate::models::Encode;

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
