//! The table of all settings.

use super::{Key, Kind, When};

/// Backbones by name, smallest first within a family.
pub const BACKBONES: [&str; 13] = [
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnet200",
    "vit-micro",
    "vit-tiny",
    "vit-small",
    "vit-small-moco",
    "vit-base",
    "vit-large",
    "vit-huge",
];

/// Methods by name, in order of publication.
pub const METHODS: [&str; 14] = [
    "instdisc",
    "cpc",
    "invaspread",
    "cmc",
    "moco-v1",
    "simclr",
    "moco-v2",
    "byol",
    "simclr-v2",
    "swav",
    "simsiam",
    "moco-v3",
    "dino",
    "mae",
];

/// A number of things that fits no machine we know of, but still multiplies without overflow.
const MANY: i64 = 1 << 40;
/// More channels, outputs or rows than any network here can use.
const WIDE: Kind = Kind::Count(1, 1 << 24);
const SHARE: Kind = Kind::Real(0.0, 1.0);

const MOCO: When = When::Method(&["moco-v1", "moco-v2"]);
const INSTDISC: When = When::Method(&["instdisc"]);
const BANK: When = When::Method(&["instdisc", "cmc"]);
const MOMENTUM: When =
    When::Method(&["moco-v1", "moco-v2", "moco-v3", "simclr", "simclr-v2", "byol", "dino"]);
const SIMCLR: When = When::Method(&["simclr", "simclr-v2"]);
const CPC: When = When::Method(&["cpc"]);
const INVASPREAD: When = When::Method(&["invaspread"]);
const SIMSIAM: When = When::Method(&["simsiam"]);
const SWAV: When = When::Method(&["swav"]);
const DINO: When = When::Method(&["dino"]);
const MAE: When = When::Method(&["mae"]);
/// Those that compare the images of a batch, and nothing else.
const COMPARE: When = When::Method(&["invaspread", "simclr", "simclr-v2", "byol", "moco-v3"]);
const RESNET: When = When::Backbone("resnet");
const VIT: When = When::Backbone("vit");
const MOMENTUM_RULES: When = When::Optimizer(&["sgd", "lars"]);
const LARS: When = When::Optimizer(&["lars"]);
const ADAM: When = When::Optimizer(&["adam", "adamw"]);

/// The sections and the settings in them, in the order of [`crate::config::RunConfig`].
pub(super) const KEYS: &[Key] = &[
    always("method.name", Kind::OneOf(&METHODS)),
    when(
        When::Method(&[
            "instdisc",
            "cpc",
            "invaspread",
            "cmc",
            "moco-v1",
            "moco-v2",
            "moco-v3",
            "simclr",
            "simclr-v2",
            "byol",
            "simsiam",
            "swav",
        ]),
        "method.dim",
        WIDE,
    ),
    when(
        When::Method(&[
            "instdisc",
            "invaspread",
            "cmc",
            "moco-v1",
            "moco-v2",
            "moco-v3",
            "simclr",
            "simclr-v2",
            "swav",
        ]),
        "method.temperature",
        Kind::Positive,
    ),
    when(MOMENTUM, "method.momentum", SHARE),
    when(When::Method(&["moco-v3", "byol", "simsiam", "swav", "dino"]), "method.hidden", WIDE),
    when(BANK, "method.bank_momentum", SHARE),
    when(BANK, "method.loss", Kind::OneOf(&["softmax", "sampled-softmax", "nce"])),
    when(BANK, "method.negatives", WIDE),
    when(INSTDISC, "method.proximal", Kind::Real(0.0, f64::MAX)),
    when(INVASPREAD, "method.gradient", Kind::OneOf(&["both", "row"])),
    when(INVASPREAD, "method.negative_weight", Kind::Positive),
    when(CPC, "method.context_width", WIDE),
    when(CPC, "method.context_blocks", Kind::Count(1, 100)),
    optional_when(CPC, "method.context_padding", Kind::OneOf(&["zeros", "bolts"])),
    when(CPC, "method.steps", Kind::Count(1, 100)),
    when(CPC, "method.first_offset", Kind::Count(1, 100)),
    when(CPC, "method.directions", Kind::Count(1, 4)),
    when(CPC, "method.prediction_scale", Kind::Positive),
    when(When::Method(&["moco-v1", "moco-v2"]), "method.head", Kind::OneOf(&["linear", "mlp"])),
    when(MOCO, "method.symmetric", Kind::Flag),
    when(MOCO, "method.shuffle_keys", Kind::Flag),
    when(MOCO, "method.mask_own_keys", Kind::Flag),
    when(When::Method(&["moco-v1", "moco-v2", "swav"]), "method.queue", Kind::Count(0, MANY)),
    optional_when(When::Method(&["moco-v3", "byol"]), "method.momentum_cosine", Kind::Flag),
    when(
        When::Method(&["simclr", "simclr-v2", "simsiam"]),
        "method.projector_layers",
        Kind::Count(1, 10),
    ),
    when(SIMCLR, "method.reduction", Kind::OneOf(&["mean", "sum"])),
    when(SIMCLR, "method.memory", Kind::Count(0, MANY)),
    when(SIMSIAM, "method.projector_hidden", WIDE),
    when(SIMSIAM, "method.fixed_predictor_lr", Kind::Flag),
    when(SIMSIAM, "method.stop_gradient", Kind::Flag),
    when(SWAV, "method.prototypes", WIDE),
    when(SWAV, "method.epsilon", Kind::Positive),
    when(SWAV, "method.sinkhorn_iterations", Kind::Count(1, 100)),
    when(SWAV, "method.queue_from_epoch", Kind::Count(0, MANY)),
    when(SWAV, "method.freeze_prototypes_steps", Kind::Count(0, MANY)),
    when(DINO, "method.outputs", WIDE),
    when(DINO, "method.bottleneck", WIDE),
    when(DINO, "method.head_norm", Kind::Flag),
    when(DINO, "method.norm_last_layer", Kind::Flag),
    when(DINO, "method.student_temperature", Kind::Positive),
    when(DINO, "method.teacher_temperature_start", Kind::Positive),
    when(DINO, "method.teacher_temperature", Kind::Positive),
    when(DINO, "method.teacher_temperature_epochs", Kind::Count(0, MANY)),
    when(DINO, "method.center", Kind::Flag),
    when(DINO, "method.center_momentum", SHARE),
    when(DINO, "method.freeze_last_layer_epochs", Kind::Count(0, MANY)),
    when(MAE, "method.mask_ratio", Kind::Real(0.0, 0.99)),
    when(MAE, "method.norm_pixels", Kind::Flag),
    when(MAE, "method.decoder_width", WIDE),
    when(MAE, "method.decoder_depth", Kind::Count(1, 100)),
    when(MAE, "method.decoder_heads", Kind::Count(1, 1024)),
    always("model.backbone", Kind::OneOf(&BACKBONES)),
    when(RESNET, "model.width", WIDE),
    when(RESNET, "model.stem", Kind::OneOf(&["imagenet", "cifar", "deep"])),
    when(RESNET, "model.stages", Kind::Count(1, 4)),
    when(RESNET, "model.norm", Kind::OneOf(&["batch", "layer", "nothing", "map"])),
    optional_when(RESNET, "model.init", Kind::OneOf(&["fan-out", "torch"])),
    when(RESNET, "model.zero_init_residual", Kind::Flag),
    when(RESNET, "model.bn_groups", Kind::Count(1, 1 << 16)),
    optional_when(RESNET, "model.stem_width", WIDE),
    optional_when(RESNET, "model.blocks", Kind::Counts),
    optional_when(RESNET, "model.first_projection", Kind::Flag),
    optional_when(RESNET, "model.average_skips", Kind::Flag),
    optional_when(RESNET, "model.sk_ratio", Kind::Positive),
    when(VIT, "model.patch", Kind::Count(1, 1024)),
    when(VIT, "model.positions", Kind::OneOf(&["learned", "sincos"])),
    when(VIT, "model.pool", Kind::OneOf(&["class", "mean"])),
    when(VIT, "model.patch_stem", Kind::OneOf(&["linear", "convolutions"])),
    when(VIT, "model.drop_path", Kind::Real(0.0, 0.99)),
    when(VIT, "model.freeze_patch", Kind::Flag),
    optional_when(VIT, "model.embed_dim", WIDE),
    optional_when(VIT, "model.depth", Kind::Count(1, 1000)),
    optional_when(VIT, "model.heads", Kind::Count(1, 1024)),
    optional_when(VIT, "model.mlp_hidden", WIDE),
    optional_when(VIT, "model.mlp", Kind::OneOf(&["gelu", "swiglu"])),
    optional_when(VIT, "model.registers", Kind::Count(0, 1024)),
    optional_when(VIT, "model.layer_scale", Kind::Positive),
    optional_when(VIT, "model.norm_epsilon", Kind::Positive),
    optional_when(VIT, "model.qkv_bias", Kind::Flag),
    optional_when(VIT, "model.class_token", Kind::Flag),
    optional_when(VIT, "model.class_position", Kind::Flag),
    optional("init.source", Kind::Text),
    optional("init.layout", Kind::Text),
    optional("init.network", Kind::Text),
    optional("init.heads", Kind::Count(1, 1024)),
    optional("init.licence", Kind::Text),
    always("data.path", Kind::Text),
    always("data.views", Kind::Texts),
    always("data.eval_view", Kind::Text),
    always("data.max_bad_share", SHARE),
    always("optim.optimizer", Kind::OneOf(&["sgd", "lars", "adam", "adamw"])),
    when(MOMENTUM_RULES, "optim.momentum", SHARE),
    when(LARS, "optim.trust", Kind::Positive),
    when(LARS, "optim.flavor", Kind::OneOf(&["outside", "inside", "larc", "solo-learn"])),
    when(ADAM, "optim.beta1", Kind::Real(0.0, 0.999_999)),
    when(ADAM, "optim.beta2", Kind::Real(0.0, 0.999_999)),
    when(ADAM, "optim.epsilon", Kind::Positive),
    always("optim.lr", Kind::Positive),
    always("optim.lr_batch", Kind::Count(1, 1 << 24)),
    optional("optim.lr_scaling", Kind::OneOf(&["linear", "square-root"])),
    always("optim.weight_decay", Kind::Real(0.0, f64::MAX)),
    optional("optim.weight_decay_end", Kind::Real(0.0, f64::MAX)),
    always("optim.decay", Kind::OneOf(&["all", "matrices"])),
    optional("optim.clip", Kind::Positive),
    always("optim.schedule.kind", Kind::OneOf(&["constant", "cosine", "step", "factors"])),
    optional("optim.schedule.end", Kind::Real(0.0, f64::MAX)),
    optional("optim.schedule.milestones", Kind::Counts),
    optional("optim.schedule.gamma", Kind::Positive),
    optional("optim.schedule.factors", Kind::Reals),
    always("optim.granularity", Kind::OneOf(&["epoch", "step"])),
    always("optim.warmup_epochs", Kind::Real(0.0, f64::MAX)),
    optional("optim.warmup_start", Kind::Real(0.0, f64::MAX)),
    optional("optim.warmup_inclusive", Kind::Flag),
    always("optim.accumulate", Kind::Count(1, 1 << 16)),
    optional_when(COMPARE, "optim.accumulate_exact", Kind::Flag),
    always("train.epochs", Kind::Count(1, 1 << 24)),
    always("train.batch_size", Kind::Count(1, 1 << 24)),
    optional("train.max_steps", Kind::Count(1, MANY)),
    optional("train.precision", Kind::OneOf(&["auto", "f32", "tf32", "bf16", "f16"])),
    always("train.seed", Kind::Count(0, i64::MAX)),
    always("train.checkpoint_steps", Kind::Count(0, MANY)),
    always("train.keep_checkpoints", Kind::Count(1, MANY)),
    always("train.log_steps", Kind::Count(1, MANY)),
    always("monitor.knn_epochs", Kind::Count(0, MANY)),
    always("monitor.knn_k", Kind::Count(1, MANY)),
    always("monitor.knn_temperature", Kind::Positive),
    always(
        "monitor.knn_feature",
        Kind::OneOf(&["backbone", "head", "last-blocks", "class-and-patches"]),
    ),
    optional("monitor.knn_test", Kind::Text),
    optional_when(BANK, "monitor.knn_bank", Kind::Flag),
    // Early versions had none of these.
    optional("monitor.probe", Kind::Flag),
    optional("monitor.quality_epochs", Kind::Count(0, MANY)),
    optional("monitor.quality_images", Kind::Count(2, 1 << 20)),
];

const fn always(path: &'static str, kind: Kind) -> Key {
    Key { path, kind, when: When::Always, optional: false }
}

const fn optional(path: &'static str, kind: Kind) -> Key {
    Key { path, kind, when: When::Always, optional: true }
}

/// A setting that a complete configuration may leave out, of the runs that `when` says.
const fn optional_when(when: When, path: &'static str, kind: Kind) -> Key {
    Key { path, kind, when, optional: true }
}

const fn when(when: When, path: &'static str, kind: Kind) -> Key {
    Key { path, kind, when, optional: false }
}
