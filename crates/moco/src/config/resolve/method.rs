//! Each method's own settings: as published, or in proportion to the data.

use super::{Draft, LONG_RUN, SMALL, power_of_two_up_to};
use crate::config::DataFacts;

/// Sizes that the defaults of a method follow.
pub(super) struct Sizes {
    /// Side of the first view in pixels.
    pub pixels: usize,
    /// Images per step.
    pub batch: usize,
}

impl Sizes {
    fn small(&self) -> bool {
        self.pixels <= SMALL
    }
}

impl Draft {
    /// Completes `[method]`.
    pub(super) fn method(&mut self, facts: &DataFacts, method: &str, sizes: &Sizes) {
        match method {
            "instdisc" => self.instdisc(facts, sizes),
            "invaspread" => self.invaspread(),
            "cpc" => self.cpc(),
            "cmc" => self.cmc(facts),
            "moco-v3" => self.moco_v3(sizes),
            "simclr" => self.simclr(2, sizes),
            "simclr-v2" => self.simclr(3, sizes),
            "byol" => self.byol(sizes),
            "simsiam" => self.simsiam(sizes),
            "swav" => self.swav(facts, sizes),
            "dino" => self.dino(facts, sizes),
            "mae" => self.mae(sizes),
            _ => self.moco(facts, method, sizes),
        }
    }

    /// Queue length, momentum and temperature follow the sizes at which they were published.
    fn moco(&mut self, facts: &DataFacts, method: &str, sizes: &Sizes) {
        let v2 = method == "moco-v2";
        let batch = sizes.batch;
        let symmetric = self.fill_flag("method.symmetric", false);
        let at_least = if symmetric { 2 * batch } else { batch };
        let quarter = facts.images / 4;
        let queue = power_of_two_up_to(quarter).min(65_536).max(at_least);
        let why = format!(
            "a quarter of the {} images at most, but no less than a step's keys",
            facts.images
        );
        self.fill("method.queue", queue as i64, Some(why));
        self.fill("method.mask_own_keys", false, None);
        if self.count("method.queue") > quarter.max(at_least) {
            self.notes.push(format!(
                "method.queue = {} is more than a quarter of the {} images, so that a query often \
                 meets a key of its own image among the negatives: --set method.queue=auto takes \
                 {queue}, --set method.mask_own_keys=true leaves such keys out",
                self.count("method.queue"),
                facts.images
            ));
        }

        let steps = self.count("train.epochs") * (facts.images / batch.max(1));
        let (momentum, why) = if steps >= LONG_RUN {
            (0.999, format!("as published for ImageNet, the run has {steps} steps"))
        } else {
            (0.99, format!("as published for CIFAR-10, the run has only {steps} steps"))
        };
        self.fill("method.momentum", momentum, Some(why));
        let temperature = match (v2, sizes.small()) {
            (true, _) => 0.2,
            (false, false) => 0.07,
            (false, true) => 0.1,
        };
        self.fill("method.temperature", temperature, None);
        self.fill("method.dim", 128, None);
        self.fill("method.head", if v2 { "mlp" } else { "linear" }, None);
        self.fill("method.shuffle_keys", true, None);
    }

    fn instdisc(&mut self, facts: &DataFacts, sizes: &Sizes) {
        self.fill("method.dim", 128, None);
        self.fill("method.temperature", if sizes.small() { 0.1 } else { 0.07 }, None);
        self.fill("method.bank_momentum", 0.5, None);
        let many = facts.images > 200_000;
        let why = if many {
            format!(
                "a softmax over {} rows at every step would cost more than the network",
                facts.images
            )
        } else {
            format!("{} rows are few enough for the full softmax", facts.images)
        };
        self.fill("method.loss", if many { "nce" } else { "softmax" }, Some(why));
        self.negatives(facts, 4096);
        self.fill("method.proximal", 0.0, None);
    }

    /// Rows drawn from a bank: as published, but a quarter of the images at most.
    fn negatives(&mut self, facts: &DataFacts, published: usize) {
        let fitting = power_of_two_up_to(facts.images / 4).min(published);
        let why = (fitting < published).then(|| {
            format!("a quarter of the {} images at most; {published} as published", facts.images)
        });
        self.fill("method.negatives", fitting as i64, why);
    }

    fn invaspread(&mut self) {
        self.fill("method.dim", 128, None);
        self.fill("method.temperature", 0.1, None);
        self.fill("method.gradient", "row", None);
        self.fill("method.negative_weight", 1.0, None);
    }

    fn cpc(&mut self) {
        self.fill("method.dim", 64, None);
        self.fill("method.context_width", 256, None);
        self.fill("method.context_blocks", 5, None);
        self.fill("method.context_padding", "zeros", None);
        self.fill("method.steps", 3, None);
        self.fill("method.first_offset", 2, None);
        self.fill("method.directions", 1, None);
        self.fill("method.prediction_scale", 0.1, None);
    }

    fn cmc(&mut self, facts: &DataFacts) {
        self.fill("method.dim", 128, None);
        self.fill("method.temperature", 0.07, None);
        self.fill("method.bank_momentum", 0.5, None);
        self.fill("method.loss", "softmax", None);
        self.negatives(facts, 16_384);
    }

    fn moco_v3(&mut self, sizes: &Sizes) {
        self.fill("method.dim", 256, None);
        self.hidden(4096, sizes);
        let vit = self.backbone().starts_with("vit");
        self.fill("method.temperature", if vit || sizes.small() { 0.2 } else { 1.0 }, None);
        self.fill("method.momentum", 0.99, None);
        self.fill("method.momentum_cosine", true, None);
    }

    /// Hidden layers of a head as published for ImageNet, a quarter of it for small images.
    fn hidden(&mut self, published: usize, sizes: &Sizes) {
        let fitting = if sizes.small() { published / 4 } else { published };
        let why = format!("{published} as published for 224 pixels, a quarter for small images");
        self.fill("method.hidden", fitting as i64, sizes.small().then_some(why));
    }

    fn simclr(&mut self, layers: i64, sizes: &Sizes) {
        self.fill("method.dim", 128, None);
        self.fill("method.projector_layers", layers, None);
        self.fill("method.temperature", if sizes.small() { 0.5 } else { 0.1 }, None);
        self.fill("method.reduction", "sum", None);
        self.fill("method.memory", 0, None);
        self.fill("method.momentum", 0.999, None);
    }

    fn byol(&mut self, sizes: &Sizes) {
        self.fill("method.dim", 256, None);
        self.hidden(4096, sizes);
        self.fill("method.momentum", 0.99, None);
        self.fill("method.momentum_cosine", true, None);
    }

    fn simsiam(&mut self, sizes: &Sizes) {
        let small = sizes.small();
        let why = "2048 as published, a quarter for small images".to_owned();
        self.fill("method.dim", if small { 512 } else { 2048 }, small.then_some(why));
        self.fill("method.hidden", (self.count("method.dim") / 4).max(1) as i64, None);
        self.fill("method.projector_hidden", self.count("method.dim") as i64, None);
        self.fill("method.projector_layers", if small { 2 } else { 3 }, None);
        self.fill("method.fixed_predictor_lr", true, None);
        self.fill("method.stop_gradient", true, None);
    }

    fn swav(&mut self, facts: &DataFacts, sizes: &Sizes) {
        self.fill("method.dim", 128, None);
        self.hidden(2048, sizes);
        let prototypes = power_of_two_up_to(facts.images / 64).clamp(8, 3000);
        let why = format!("about 64 of the {} images each; 3000 for ImageNet", facts.images);
        self.fill("method.prototypes", prototypes as i64, Some(why));
        self.fill("method.temperature", 0.1, None);
        self.fill("method.epsilon", 0.05, None);
        self.fill("method.sinkhorn_iterations", 3, None);
        // As many vectors are assigned at a time as there are prototypes, in whole batches.
        let wanted = self.count("method.prototypes");
        let queue =
            if sizes.batch >= wanted { 0 } else { wanted.div_ceil(sizes.batch) * sizes.batch };
        let why = format!("fills a batch of {} up to the number of prototypes", sizes.batch);
        self.fill("method.queue", queue as i64, (queue > 0).then_some(why));
        self.fill("method.queue_from_epoch", (self.count("train.epochs") / 13) as i64, None);
        let one_epoch = facts.images / sizes.batch.max(1);
        self.fill("method.freeze_prototypes_steps", one_epoch as i64, Some("one epoch".to_owned()));
    }

    fn dino(&mut self, facts: &DataFacts, sizes: &Sizes) {
        let outputs = power_of_two_up_to(facts.images / 16).clamp(64, 65_536);
        let why = format!("one for 16 of the {} images; 65536 for ImageNet", facts.images);
        self.fill("method.outputs", outputs as i64, Some(why));
        self.hidden(2048, sizes);
        self.fill("method.bottleneck", if sizes.small() { 64 } else { 256 }, None);
        self.fill("method.head_norm", false, None);
        self.fill("method.norm_last_layer", true, None);
        self.fill("method.student_temperature", 0.1, None);
        self.fill("method.teacher_temperature_start", 0.04, None);
        self.fill("method.teacher_temperature", 0.04, None);
        self.fill("method.teacher_temperature_epochs", 0, None);
        self.fill("method.momentum", 0.996, None);
        self.fill("method.center", true, None);
        self.fill("method.center_momentum", 0.9, None);
        self.fill("method.freeze_last_layer_epochs", 1, None);
    }

    fn mae(&mut self, sizes: &Sizes) {
        self.fill("method.mask_ratio", 0.75, None);
        self.fill("method.norm_pixels", true, None);
        let (width, depth, heads) = if sizes.small() { (128, 2, 4) } else { (512, 8, 16) };
        self.fill("method.decoder_width", width, None);
        self.fill("method.decoder_depth", depth, None);
        self.fill("method.decoder_heads", heads, None);
    }
}
