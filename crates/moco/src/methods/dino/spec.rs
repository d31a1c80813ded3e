//! What DINO says of itself.

use super::Dino;
use crate::config::field::{FLAG, MANY, POSITIVE, SHARE, WIDE, count};
use crate::config::{
    BackboneDefaults, ConfigError, Draft, FeatureKind, Field, OptimDefaults, Protocol, Scale,
    power_of_two_up_to,
};
use crate::layout::Layout;
use crate::methods::usual::{bicubic_eval_view, blur, fill_hidden, local, multi_crop, normalize};
use crate::methods::{Card, Holds, Method, MethodSettings, Profile, Settled, Site, Spec, Width};
use crate::models::{DinoEncoder, DinoHeadShape, Encode, NetworkSpec, VitForm};
use crate::settings;
use serde::{Deserialize, Serialize};
use toml::Table;

settings! {
    /// Settings of DINO.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct DinoConfig {
        /// Outputs of the head, K.
        pub outputs: usize => WIDE,
        /// Width of the head's hidden layers.
        pub hidden: usize => WIDE,
        /// Width of the normalised bottleneck before the last layer.
        pub bottleneck: usize => WIDE,
        /// BatchNorm in the head; the paper has it for convolutional networks at most.
        pub head_norm: bool => FLAG,
        /// Keep the last layer's rows at unit length.
        pub norm_last_layer: bool => FLAG,
        /// Temperature of the student, above 0.
        pub student_temperature: f64 => POSITIVE,
        /// Temperature of the teacher at the start, above 0.
        pub teacher_temperature_start: f64 => POSITIVE,
        /// Temperature of the teacher after its warm-up, above 0.
        pub teacher_temperature: f64 => POSITIVE,
        /// Epochs over which the teacher's temperature rises.
        pub teacher_temperature_epochs: usize => count(0, MANY),
        /// Momentum of the teacher at the start; it rises to 1 along a cosine.
        pub momentum: f64 => SHARE,
        /// Subtract the running mean of the teacher's outputs; without it the network collapses.
        pub center: bool => FLAG,
        /// Momentum of the centre, 0..=1.
        pub center_momentum: f64 => SHARE,
        /// Epochs for which the last layer stays as it was drawn.
        pub freeze_last_layer_epochs: usize => count(0, MANY),
    }
}

impl DinoConfig {
    /// The head's layers.
    pub fn head(&self) -> DinoHeadShape {
        DinoHeadShape {
            hidden: self.hidden,
            bottleneck: self.bottleneck,
            outputs: self.outputs,
            head_norm: self.head_norm,
            norm_last_layer: self.norm_last_layer,
        }
    }
}

/// Self-distillation with no labels.
pub struct DinoSpec;

/// Width of ViT-B, from which on the probe sees another feature.
const BASE_WIDTH: usize = 768;

impl Spec for DinoSpec {
    fn card(&self) -> Card {
        Card {
            name: "dino",
            paper: "Caron et al. 2021, arXiv 2104.14294",
            idea: "a student sees small crops and matches what its moving average says of large ones",
            state: "a teacher and the centre of its outputs",
            batch: "any; 1024 as published",
        }
    }

    fn profile(&self) -> Profile {
        Profile { ranks: true, ..Profile::MULTI_CROP }
    }

    fn fields(&self) -> &'static [Field] {
        DinoConfig::FIELDS
    }

    fn fill(&self, draft: &mut Draft, scale: &Scale<'_>) {
        let images = scale.facts.images;
        let outputs = power_of_two_up_to(images / 16).clamp(64, 65_536);
        let why = format!("one for 16 of the {images} images; 65536 for ImageNet");
        draft.fill("method.outputs", outputs as i64, Some(why));
        fill_hidden(draft, 2048, scale);
        draft.fill("method.bottleneck", if scale.small() { 64 } else { 256 }, None);
        draft.fill("method.head_norm", false, None);
        draft.fill("method.norm_last_layer", true, None);
        draft.fill("method.student_temperature", 0.1, None);
        draft.fill("method.teacher_temperature_start", 0.04, None);
        draft.fill("method.teacher_temperature", 0.04, None);
        draft.fill("method.teacher_temperature_epochs", 0, None);
        draft.fill("method.momentum", 0.996, None);
        draft.fill("method.center", true, None);
        draft.fill("method.center_momentum", 0.9, None);
        draft.fill("method.freeze_last_layer_epochs", 1, None);
    }

    fn read(&self, settings: Table) -> Result<Settled, ConfigError> {
        Settled::read::<DinoConfig>(settings)
    }

    fn backbone(&self, _: &Scale<'_>) -> BackboneDefaults {
        BackboneDefaults {
            transformer: true,
            positions: "learned",
            drop_path: 0.1,
            ..BackboneDefaults::PLAIN
        }
    }

    fn optim(&self, scale: &Scale<'_>) -> OptimDefaults {
        let schedule_end = 1e-6;
        match scale.vit {
            true => OptimDefaults {
                lr: 5e-4,
                weight_decay: 0.04,
                weight_decay_end: Some(0.4),
                clip: Some(3.0),
                warmup: (0.1, 10.0),
                schedule_end,
                ..OptimDefaults::ADAMW
            },
            false => OptimDefaults { schedule_end, ..OptimDefaults::SGD },
        }
    }

    fn views(&self, size: usize) -> Vec<String> {
        let end = normalize(size);
        let crop = |side: usize, area: &str, rest: &str| {
            format!(
                "crop({side}, {area}, bicubic) flip jitter(0.4,0.4,0.2,0.1; p=0.8) gray(p=0.2) \
                 {rest}{end}"
            )
        };
        let solarized = format!("{}solarize(128; p=0.2) ", blur(size, "0.1"));
        let large = [crop(size, "0.4..1", &blur(size, "1")), crop(size, "0.4..1", &solarized)];
        multi_crop(large, crop(local(size), "0.05..0.4", &blur(size, "0.5")), 8)
    }

    fn eval_view(&self, size: usize) -> String {
        bicubic_eval_view(size)
    }

    /// github.com/facebookresearch/dino, eval_linear.py; the feature by a transformer's width
    /// (arXiv 2104.14294, App. F.2).
    fn probe(&self, network: &NetworkSpec) -> Protocol {
        let feature = match network.vit().map(|vit| vit.width) {
            Some(BASE_WIDTH..) => FeatureKind::ClassAndPatches,
            Some(_) => FeatureKind::LastBlocks,
            None => FeatureKind::Backbone,
        };
        Protocol { lr: 0.001, feature, ..Protocol::cosine() }
    }

    fn transformer(&self) -> VitForm {
        VitForm { position_nudge: 0.1, ..VitForm::PLAIN }
    }
}

impl MethodSettings for DinoConfig {
    fn has_batch_norm(&self) -> bool {
        self.head_norm
    }

    fn build(&self, site: &Site<'_>) -> Box<dyn Method> {
        Box::new(Dino::new(self, site.network, site.device))
    }

    fn encoder(&self, site: &Site<'_>) -> Box<dyn Encode> {
        Box::new(DinoEncoder::new(&self.head(), site.network, site.device))
    }

    fn holds(&self, features: Width, _: &NetworkSpec, _: usize) -> Holds {
        let hidden = (self.hidden, "method.hidden");
        let bottleneck = (self.bottleneck, "method.bottleneck");
        let head = vec![features, hidden, hidden, bottleneck, (self.outputs, "method.outputs")];
        Holds { head, teacher: true, ..Holds::default() }
    }

    fn layout(&self) -> Option<Layout> {
        Some(Layout::Dino { head_norm: self.head_norm })
    }
}
