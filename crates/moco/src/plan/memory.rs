//! What a run takes of memory, from its configuration alone and before anything is allocated.
//!
//! Counted is what every run of the configuration must hold at once: weights, gradients, the
//! optimiser's state, queues and banks, and two batches of views. The maps between the layers come
//! on top, so what is refused here fits in no case.

use super::Plan;
use crate::config::{ConfigError, RuleConfig};
use crate::files::Size;
use crate::machine;
use crate::methods::{Sees, Weights, Width};
use std::collections::BTreeMap;

/// Bytes of a value.
const VALUE: f64 = 4.0;
/// What weights are, as a message says it.
const LAYERS: &str = "its layers take";

impl Plan {
    /// Refuses a run that does not fit into this machine's memory. `images` is the size of the data set.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`], which names the setting that takes most, with the numbers.
    pub fn check_memory(&self, images: usize) -> Result<(), ConfigError> {
        machine::memory().map_or(Ok(()), |limit| Needs::of_training(self, images).within(limit))
    }

    /// As [`Plan::check_memory`], for evaluating an encoder.
    ///
    /// # Errors
    /// As [`Plan::check_memory`].
    pub fn check_encoder_memory(&self) -> Result<(), ConfigError> {
        machine::memory().map_or(Ok(()), |limit| Needs::of_encoder(self).within(limit))
    }
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

impl Needs {
    fn of_training(plan: &Plan, images: usize) -> Needs {
        let mut needs = Needs::default();
        let moments = match plan.optim.rule {
            RuleConfig::Adam { .. } | RuleConfig::AdamW { .. } => 2.0,
            _ => 1.0,
        };
        // Weights and gradients, and what the optimiser remembers.
        let trained = 2.0 + moments;
        let holds = plan.settings().holds(features(plan), plan.network(), images);
        needs.add_encoder(plan, &holds.head, trained + if holds.teacher { 1.0 } else { 0.0 });
        needs.add_weights(holds.trained, trained);
        for rows in holds.rows {
            needs.add(rows.key, rows.value.to_string(), rows.what, rows.count);
        }
        needs.add_batches(plan);
        needs
    }

    fn of_encoder(plan: &Plan) -> Needs {
        let mut needs = Needs::default();
        let holds = plan.settings().holds(features(plan), plan.network(), 0);
        needs.add_encoder(plan, &holds.head, 1.0);
        needs
    }

    /// Backbone and head.
    fn add_encoder(&mut self, plan: &Plan, head: &[Width], copies: f64) {
        let one = |channels| plan.network().architecture.weights(channels);
        let (weights, heads) = match plan.spec().profile().sees {
            Sees::Split => (one(1) + one(2), 2.0),
            Sees::Whole | Sees::Patches => (one(3), 1.0),
        };
        let (key, value) = (features(plan).1, backbone_value(plan));
        self.add(key, value, LAYERS.to_owned(), weights * copies);
        self.add_weights(Weights::layers(head), copies * heads);
    }

    fn add_weights(&mut self, all: impl IntoIterator<Item = Weights>, copies: f64) {
        for Weights { key, value, count } in all {
            self.add(key, value.to_string(), LAYERS.to_owned(), count * copies);
        }
    }

    /// The batch that is trained on and the one that is made meanwhile.
    fn add_batches(&mut self, plan: &Plan) {
        let views = plan.views();
        let pixels: f64 = views.iter().map(|view| view.value_count() as f64).sum();
        let batch = plan.train.batch_size;
        let what = format!("two batches of {batch} images in {} views take", views.len());
        self.add("train.batch_size", batch.to_string(), what, 2.0 * batch as f64 * pixels);
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

/// Width of the backbone's features, and the setting that its size comes from.
fn features(plan: &Plan) -> Width {
    let key = if plan.model.resnet().is_some() { "model.width" } else { "model.backbone" };
    (plan.network().architecture.features(), key)
}

fn backbone_value(plan: &Plan) -> String {
    let width = plan.model.resnet().map(|resnet| resnet.width.to_string());
    width.unwrap_or_else(|| plan.model.backbone.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{DataFacts, Recipe};
    use crate::methods;
    use crate::nn::{Leaf, count_params, for_each_leaf};
    use crate::plan::{resolve, set};
    use burn::tensor::Device;

    const IMAGES: usize = 500;

    fn config(recipe: &str, changes: &[(&str, i64)]) -> Plan {
        let mut tree = Recipe::named(recipe).unwrap().tree().unwrap();
        set(&mut tree, "data.path", "images".into()).unwrap();
        for (key, value) in changes {
            set(&mut tree, key, (*value).into()).unwrap();
        }
        let facts = DataFacts { images: IMAGES, width: 32, height: 32, labelled: false };
        resolve(&tree, &facts).unwrap().config
    }

    /// Bytes of the method's tensors, and of a gradient and an optimiser's state for what it trains.
    fn allocated(config: &Plan) -> f64 {
        let mut method = config.method(IMAGES, &Device::flex());
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
        for method in methods::REGISTRY.map(|spec| spec.card().name) {
            let config = config(&format!("{method}-small"), &[]);
            let mut needs = Needs::of_training(&config, IMAGES);
            needs.0.remove("train.batch_size");
            let estimate: f64 = needs.0.values().map(|need| need.bytes).sum();
            let share = estimate / allocated(&config);
            assert!((0.9..=1.0).contains(&share), "{method}: {share}");
        }
    }

    #[track_caller]
    fn refused(config: &Plan, words: &[&str]) {
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
        // Allowed one by one, and more together than any machine has.
        let keys = [("prototypes", "swav-small", 1 << 21), ("outputs", "dino-small", 1 << 21)];
        for (key, recipe, width) in keys {
            let key = format!("method.{key}");
            let narrower = if recipe == "swav-small" { "method.dim" } else { "method.bottleneck" };
            let mut changes = vec![(key.as_str(), 1 << 23), (narrower, width >> 2)];
            if recipe == "swav-small" {
                changes.push(("method.queue", 1 << 20));
            }
            refused(&config(recipe, &changes), &[&key, "its layers take"]);
        }
        let batch = config("simclr-small", &[]).for_timing(1 << 24, 1);
        refused(&batch, &["train.batch_size = 16777216: two batches of 16777216 images"]);
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
