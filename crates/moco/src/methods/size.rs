//! What a run takes of memory, from its configuration alone and before anything is allocated.
//!
//! Counted is what every run of the configuration must hold at once: weights, gradients, the
//! optimiser's state, queues and banks, and two batches of views. The maps between the layers come
//! on top, so what is refused here fits in no case.

use crate::config::{ConfigError, HeadKind, MethodConfig, RuleConfig, RunConfig};
use crate::files::Size;
use crate::machine;
use crate::models::vit::VitError;
use crate::models::{NetworkSpec, blocks_weights};
use std::collections::BTreeMap;

/// Bytes of a value.
const VALUE: f64 = 4.0;

/// Refuses a run that does not fit into this machine's memory, and a transformer whose sizes do not
/// go together. `images` is the size of the data set.
///
/// # Errors
/// [`ConfigError::Invalid`], which names the setting that takes most, with the numbers, or what
/// cannot be built.
pub fn check_memory(config: &RunConfig, images: usize) -> Result<(), ConfigError> {
    check_transformer(config)?;
    machine::memory().map_or(Ok(()), |limit| Needs::of_training(config, images).within(limit))
}

/// As [`check_memory`], for evaluating an encoder.
///
/// # Errors
/// As [`check_memory`].
pub fn check_encoder_memory(config: &RunConfig) -> Result<(), ConfigError> {
    check_transformer(config)?;
    machine::memory().map_or(Ok(()), |limit| Needs::of_encoder(config).within(limit))
}

/// Refuses a transformer whose sizes, given one by one, cannot be built.
fn check_transformer(config: &RunConfig) -> Result<(), ConfigError> {
    let network = NetworkSpec::of(config);
    let Some(vit) = network.vit() else { return Ok(()) };
    let problem = match (&config.method, vit.registers) {
        (MethodConfig::Mae(_), 1..) => Some(VitError::Registers),
        _ => vit.check().err(),
    };
    problem.map_or(Ok(()), |error| Err(ConfigError::Invalid(format!("[model]: {error}"))))
}

/// Bytes by the setting that they depend on most.
#[derive(Default)]
struct Needs(BTreeMap<&'static str, Need>);

struct Need {
    bytes: f64,
    /// The setting's value, and what takes the bytes.
    value: String,
    what: String,
}

/// A layer's width and the setting that it comes from.
type Width = (usize, &'static str);

impl Needs {
    fn of_training(config: &RunConfig, images: usize) -> Needs {
        let mut needs = Needs::default();
        let moments = match config.optim.rule {
            RuleConfig::Adam { .. } | RuleConfig::AdamW { .. } => 2.0,
            _ => 1.0,
        };
        // Weights and gradients, and what the optimiser remembers.
        let trained = 2.0 + moments;
        let teacher = match &config.method {
            MethodConfig::SimClr(simclr) | MethodConfig::SimClrV2(simclr) => simclr.memory > 0,
            MethodConfig::MocoV1(_)
            | MethodConfig::MocoV2(_)
            | MethodConfig::MocoV3(_)
            | MethodConfig::Byol(_)
            | MethodConfig::Dino(_) => true,
            _ => false,
        };
        needs.add_encoder(config, trained + if teacher { 1.0 } else { 0.0 });
        needs.add_beside_encoder(config, trained);
        needs.add_rows(config, images);
        needs.add_batches(config);
        needs
    }

    fn of_encoder(config: &RunConfig) -> Needs {
        let mut needs = Needs::default();
        needs.add_encoder(config, 1.0);
        needs
    }

    /// Backbone and head.
    fn add_encoder(&mut self, config: &RunConfig, copies: f64) {
        let network = NetworkSpec::of(config).architecture;
        let features = (network.features(), backbone_key(config));
        let one = |channels| network.weights(channels);
        let (weights, heads) = match config.method {
            MethodConfig::Cmc(_) => (one(1) + one(2), 2.0),
            _ => (one(3), 1.0),
        };
        self.add_weights(backbone_value(config), features.1, weights * copies);
        self.add_layers(&head(config, features), copies * heads);
    }

    /// What is trained besides the encoder.
    fn add_beside_encoder(&mut self, config: &RunConfig, copies: f64) {
        match &config.method {
            MethodConfig::Byol(byol) => self.add_predictor(byol.dim, byol.hidden, copies),
            MethodConfig::SimSiam(simsiam) => {
                self.add_predictor(simsiam.dim, simsiam.hidden, copies);
            }
            MethodConfig::MocoV3(moco) => self.add_predictor(moco.dim, moco.hidden, copies),
            MethodConfig::SwAv(swav) => {
                let layers = [(swav.dim, "method.dim"), (swav.prototypes, "method.prototypes")];
                self.add_layers(&layers, copies);
            }
            MethodConfig::Mae(mae) => {
                let (width, key) = (mae.decoder_width, "method.decoder_width");
                let weights = blocks_weights(width, mae.decoder_depth, 8 * width);
                self.add_weights(width.to_string(), key, weights * copies);
            }
            MethodConfig::Cpc(cpc) => {
                let (dim, context) = (cpc.dim as f64, cpc.context_width as f64);
                let block = 2.0 * dim * context + 5.0 * context * context;
                let directions = cpc.directions as f64 * copies;
                let context = directions * cpc.context_blocks as f64 * block;
                self.add_weights(cpc.context_width.to_string(), "method.context_width", context);
                let predictions = directions * cpc.steps as f64 * dim * dim;
                self.add_weights(cpc.dim.to_string(), "method.dim", predictions);
            }
            _ => {}
        }
    }

    fn add_predictor(&mut self, dim: usize, hidden: usize, copies: f64) {
        let dim = (dim, "method.dim");
        self.add_layers(&[dim, (hidden, "method.hidden"), dim], copies);
    }

    /// Queues and banks.
    fn add_rows(&mut self, config: &RunConfig, images: usize) {
        match &config.method {
            MethodConfig::MocoV1(moco) | MethodConfig::MocoV2(moco) => {
                self.add_queue("method.queue", moco.queue, moco.dim, 1.0);
            }
            MethodConfig::SimClr(simclr) | MethodConfig::SimClrV2(simclr) => {
                self.add_queue("method.memory", simclr.memory, simclr.dim, 1.0);
            }
            MethodConfig::SwAv(swav) => self.add_queue("method.queue", swav.queue, swav.dim, 2.0),
            MethodConfig::InstDisc(instdisc) => self.add_bank(images, instdisc.dim, 1.0),
            MethodConfig::Cmc(cmc) => self.add_bank(images, cmc.dim, 2.0),
            _ => {}
        }
    }

    fn add_queue(&mut self, key: &'static str, length: usize, dim: usize, copies: f64) {
        let what = format!("a queue of {length} keys of {dim} values takes");
        self.add(key, length.to_string(), what, copies * length as f64 * dim as f64);
    }

    fn add_bank(&mut self, images: usize, dim: usize, copies: f64) {
        let what = format!("a memory of {images} images with {dim} values each takes");
        self.add("method.dim", dim.to_string(), what, copies * images as f64 * dim as f64);
    }

    /// The batch that is trained on and the one that is made meanwhile.
    fn add_batches(&mut self, config: &RunConfig) {
        let views = config.data.parse_views().unwrap_or_default();
        let pixels: f64 = views.iter().map(|view| view.value_count() as f64).sum();
        let batch = config.train.batch_size;
        let what = format!("two batches of {batch} images in {} views take", views.len());
        self.add("train.batch_size", batch.to_string(), what, 2.0 * batch as f64 * pixels);
    }

    /// Matrices between layers; each counts for the wider of its two sides.
    fn add_layers(&mut self, layers: &[Width], copies: f64) {
        for pair in layers.windows(2) {
            let wider = if pair[0].0 > pair[1].0 { pair[0] } else { pair[1] };
            let weights = pair[0].0 as f64 * pair[1].0 as f64;
            self.add_weights(wider.0.to_string(), wider.1, weights * copies);
        }
    }

    fn add_weights(&mut self, value: String, key: &'static str, values: f64) {
        self.add(key, value, "its layers take".to_owned(), values);
    }

    fn add(&mut self, key: &'static str, value: String, what: String, values: f64) {
        let bytes = values * VALUE;
        let need = self.0.entry(key).or_insert(Need { bytes: 0.0, value, what: String::new() });
        // A setting may count for several things; one that is larger than all before it gives the
        // words.
        if bytes >= need.bytes {
            need.what = what;
        }
        need.bytes += bytes;
    }

    fn within(&self, limit: u64) -> Result<(), ConfigError> {
        let total: f64 = self.0.values().map(|need| need.bytes).sum();
        let largest = self.0.iter().max_by(|a, b| a.1.bytes.total_cmp(&b.1.bytes));
        let Some((key, need)) = largest.filter(|_| total > limit as f64) else { return Ok(()) };
        let size = |bytes: f64| Size(bytes as u64); // saturates
        let share = match need.bytes > limit as f64 {
            true => String::new(),
            false => format!(" of the {} that the run takes at least", size(total)),
        };
        Err(ConfigError::Invalid(format!(
            "{key} = {}: {} {}{share}, and this machine has {}, so lower it",
            need.value,
            need.what,
            size(need.bytes),
            Size(limit)
        )))
    }
}

/// The setting that a backbone's size comes from, and its value.
fn backbone_key(config: &RunConfig) -> &'static str {
    if config.model.resnet().is_some() { "model.width" } else { "model.backbone" }
}

fn backbone_value(config: &RunConfig) -> String {
    let width = config.model.resnet().map(|resnet| resnet.width.to_string());
    width.unwrap_or_else(|| config.model.backbone.clone())
}

/// Widths from the backbone's features to the space of the loss.
fn head(config: &RunConfig, features: Width) -> Vec<Width> {
    let dim = |dim| (dim, "method.dim");
    let hidden = |hidden| (hidden, "method.hidden");
    match &config.method {
        MethodConfig::InstDisc(method) => vec![features, dim(method.dim)],
        MethodConfig::InvaSpread(method) => vec![features, dim(method.dim)],
        MethodConfig::Cmc(method) => vec![features, dim(method.dim)],
        MethodConfig::Cpc(method) if method.dim == features.0 => Vec::new(),
        MethodConfig::Cpc(method) => vec![features, dim(method.dim)],
        MethodConfig::MocoV1(method) | MethodConfig::MocoV2(method) => match method.head {
            HeadKind::Linear => vec![features, dim(method.dim)],
            HeadKind::Mlp => vec![features, features, dim(method.dim)],
        },
        MethodConfig::SimClr(method) | MethodConfig::SimClrV2(method) => {
            let mut layers = vec![features; method.projector_layers];
            layers.push(dim(method.dim));
            layers
        }
        MethodConfig::Byol(method) => vec![features, hidden(method.hidden), dim(method.dim)],
        MethodConfig::SimSiam(method) => {
            let mut layers = vec![features];
            let projector = (method.projector_hidden, "method.projector_hidden");
            layers.resize(method.projector_layers, projector);
            layers.push(dim(method.dim));
            layers
        }
        MethodConfig::MocoV3(method) => {
            let depth = if config.model.vit().is_some() { 2 } else { 1 };
            let mut layers = vec![features];
            layers.resize(1 + depth, hidden(method.hidden));
            layers.push(dim(method.dim));
            layers
        }
        MethodConfig::SwAv(method) => vec![features, hidden(method.hidden), dim(method.dim)],
        MethodConfig::Dino(method) => vec![
            features,
            hidden(method.hidden),
            hidden(method.hidden),
            (method.bottleneck, "method.bottleneck"),
            (method.outputs, "method.outputs"),
        ],
        MethodConfig::Mae(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{DataFacts, METHODS, Recipe, resolve, set};
    use crate::methods;
    use crate::nn::{Leaf, count_params, for_each_leaf};
    use burn::tensor::Device;

    const IMAGES: usize = 500;

    fn config(recipe: &str, changes: &[(&str, i64)]) -> RunConfig {
        let mut tree = Recipe::named(recipe).unwrap().tree().unwrap();
        set(&mut tree, "data.path", "images".into()).unwrap();
        for (key, value) in changes {
            set(&mut tree, key, (*value).into()).unwrap();
        }
        let facts = DataFacts { images: IMAGES, width: 32, height: 32, labelled: false };
        resolve(&tree, &facts).unwrap().config
    }

    /// Bytes of the method's tensors, and of a gradient and an optimiser's state for what it trains.
    fn allocated(config: &RunConfig) -> f64 {
        let mut method = methods::build(config, IMAGES, &Device::flex());
        let beside = match config.optim.rule {
            RuleConfig::Adam { .. } | RuleConfig::AdamW { .. } => 3,
            _ => 2,
        };
        let mut values = beside * count_params(method.student());
        for_each_leaf(method.as_mut(), |_, leaf| {
            if let Leaf::Param(tensor) | Leaf::Buffer(tensor) = leaf {
                values += tensor.shape().iter().product::<usize>();
            }
        });
        values as f64 * VALUE
    }

    #[test]
    fn the_estimate_is_just_below_what_is_allocated() {
        for method in METHODS {
            let config = config(&format!("{method}-small"), &[]);
            let mut needs = Needs::of_training(&config, IMAGES);
            needs.0.remove("train.batch_size");
            let estimate: f64 = needs.0.values().map(|need| need.bytes).sum();
            let share = estimate / allocated(&config);
            assert!((0.9..=1.0).contains(&share), "{method}: {share}");
        }
    }

    #[track_caller]
    fn refused(config: &RunConfig, words: &[&str]) {
        let error = Needs::of_training(config, IMAGES).within(24 << 30).unwrap_err().to_string();
        for word in words {
            assert!(error.contains(word), "no `{word}` in: {error}");
        }
    }

    #[test]
    fn what_fits_on_no_machine_is_named() {
        let queue = config("moco-v2-small", &[("method.queue", 1 << 40)]);
        let words =
            "method.queue = 1099511627776: a queue of 1099511627776 keys of 128 values takes";
        refused(&queue, &[words, "563 TB, and this machine has 26 GB, so lower it"]);
        let wide = config("moco-v1-small", &[("model.width", 1 << 24)]);
        refused(&wide, &["model.width = 16777216: its layers take"]);
        let keys = [("prototypes", "swav-small"), ("outputs", "dino-small")];
        for (key, recipe) in keys {
            let key = format!("method.{key}");
            let mut config = config(recipe, &[]);
            match &mut config.method {
                MethodConfig::SwAv(swav) => swav.prototypes = 1 << 34,
                MethodConfig::Dino(dino) => dino.outputs = 1 << 34,
                _ => unreachable!(),
            }
            refused(&config, &[&key, "its layers take"]);
        }
        let mut batch = config("simclr-small", &[]);
        batch.train.batch_size = 1_000_000_000;
        refused(&batch, &["train.batch_size = 1000000000: two batches of 1000000000 images"]);
        let hidden = config("byol-small", &[("method.hidden", 1 << 24)]);
        refused(&hidden, &["method.hidden = 16777216"]);
    }

    #[test]
    fn the_largest_is_named_where_only_the_sum_is_too_much() {
        let config = config("moco-v2-small", &[("method.queue", 1 << 20)]);
        let needs = Needs::of_training(&config, IMAGES);
        let total: f64 = needs.0.values().map(|need| need.bytes).sum();
        assert!(needs.within(total as u64 + 1).is_ok());
        let error = needs.within(total as u64 - 1).unwrap_err().to_string();
        assert!(error.contains("that the run takes at least"), "{error}");
    }
}
