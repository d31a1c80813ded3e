use super::*;
use crate::config::tree::{get, remove};
use crate::config::{
    DataFacts, LarsFlavor, MlpKind, MonitorConfig, ResNetConfig, RuleConfig, ScheduleConfig,
    StemKind,
};
use crate::methods::{MocoConfig, REGISTRY};
use crate::models::Architecture;
use toml::{Table, Value};

fn facts(images: usize, side: usize) -> DataFacts {
    DataFacts { images, width: side, height: side, labelled: true }
}

/// The tree of `recipe` (or an empty one) with a data path and `sets` laid over it.
fn tree(recipe: &str, sets: &[&str]) -> Table {
    let mut tree = if recipe.is_empty() { Table::new() } else { load_recipe(recipe).unwrap() };
    set(&mut tree, "data.path", Value::from("images")).unwrap();
    for assignment in sets {
        set_value(&mut tree, assignment).unwrap();
    }
    tree
}

fn run(recipe: &str, sets: &[&str], facts: &DataFacts) -> Plan {
    resolve(&tree(recipe, sets), facts).unwrap().config
}

fn moco(config: &Plan) -> &MocoConfig {
    config.settings_as().expect("a run of MoCo")
}

/// The methods of the library by name: others may have been added by another test.
fn names() -> [&'static str; 14] {
    REGISTRY.map(|spec| spec.card().name)
}

fn resnet(config: &RunConfig) -> &ResNetConfig {
    config.model.resnet().expect("a residual network")
}

#[track_caller]
fn refused(recipe: &str, sets: &[&str], expected: &str) {
    let message = resolve(&tree(recipe, sets), &facts(50_000, 32)).unwrap_err().to_string();
    assert_eq!(message, expected);
}

#[track_caller]
fn unset(assignment: &str, expected: &str) {
    let message = set_value(&mut Table::new(), assignment).unwrap_err().to_string();
    assert_eq!(message, expected);
}

#[test]
fn every_recipe_resolves_and_survives_its_own_toml() {
    for recipe in recipes() {
        let config = run(recipe.name, &[], &facts(50_000, 32));
        assert_eq!(parse_run(&config.to_toml().unwrap()).unwrap(), config, "{}", recipe.name);
        assert!(recipe.name == "demo" || recipe.name.starts_with(config.method.name()));
    }
}

/// The settings that early versions did not have.
#[test]
fn a_configuration_of_an_early_version_is_read_and_has_its_monitors_off() {
    let config = run("moco-v2-small", &[], &facts(50_000, 32));
    let new = [
        ("monitor.probe", Value::from(true)),
        ("monitor.quality_epochs", Value::from(1)),
        ("monitor.quality_images", Value::from(2000)),
    ];
    let mut early = Table::try_from(config.config()).unwrap();
    for (key, value) in new {
        assert_eq!(get(&early, key), Some(&value), "{key}");
        remove(&mut early, key);
    }
    let read = parse_run(&early.to_string()).unwrap();
    let monitor = MonitorConfig { probe: false, quality_epochs: 0, ..config.monitor.clone() };
    assert_eq!(read, config.changed(|config| config.monitor = monitor).unwrap());
    let unlabelled = DataFacts { labelled: false, ..facts(600, 32) };
    let monitor = run("", &[], &unlabelled).monitor.clone();
    assert_eq!((monitor.probe, monitor.quality_epochs, monitor.quality_images), (false, 1, 500));
}

#[test]
fn every_method_has_its_three_recipes() {
    for method in names() {
        for setting in ["imagenet", "cifar10", "small"] {
            let config = run(&format!("{method}-{setting}"), &[], &facts(50_000, 32));
            assert_eq!(config.method.name(), method);
        }
    }
}

#[test]
fn every_recipe_has_a_header() {
    for recipe in recipes() {
        assert!(recipe.summary().ends_with('.'), "{}: the first line is a sentence", recipe.name);
        for line in ["Command:", "Hardware:", "Hours:", "Expected:"] {
            assert!(recipe.text.contains(&format!("\n# {line}")), "{}: {line}", recipe.name);
        }
        let source = ["\n# Paper:", "\n# Source:"];
        assert!(source.iter().any(|line| recipe.text.contains(line)), "{}: source", recipe.name);
    }
}

#[test]
fn configs_folder_and_embedded_recipes_are_the_same_set() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    files.sort_unstable();
    let mut names: Vec<_> = recipes().iter().map(|recipe| recipe.name).collect();
    names.sort_unstable();
    assert_eq!(files, names);
}

/// A configuration of every method, backbone family and optimiser has exactly the table's keys.
#[test]
fn the_table_of_keys_is_that_of_the_structs() {
    let optional = [
        "train.max_steps=7",
        "train.precision=auto",
        "monitor.knn_test=test",
        "optim.clip=3",
        "optim.weight_decay_end=0.1",
        "optim.warmup_epochs=1",
        "optim.warmup_start=0.01",
        "optim.warmup_inclusive=true",
        "init={source='weights.pth', layout='dino', network='teacher', heads=6, licence='MIT'}",
    ];
    let variants = [
        "optim.optimizer=sgd",
        "optim.optimizer=lars",
        "optim.optimizer=adam",
        "optim.optimizer=adamw",
    ];
    let schedules = [
        "optim.schedule.kind=step",
        "optim.schedule={kind='factors', milestones=[1], factors=[0.1]}",
        "optim.schedule.kind=cosine",
        "optim.schedule.kind=constant",
    ];
    let mut seen = std::collections::BTreeSet::new();
    for (i, method) in names().into_iter().enumerate() {
        let name = format!("method.name={method}");
        let mut sets = [&optional[..], &[&name, variants[i % 4], schedules[i / 4]]].concat();
        match method {
            "dino" => sets.extend(TRANSFORMER_SIZES),
            "moco-v2" => sets.extend(RESIDUAL_SIZES),
            _ => {}
        }
        let config = run("", &sets, &facts(50_000, 32));
        assert_eq!(config.method.name(), method);
        collect("", &Table::try_from(config.config()).unwrap(), &mut seen);
    }
    let known: std::collections::BTreeSet<_> = keys::paths();
    assert_eq!(seen, known);
}

const RESIDUAL_SIZES: [&str; 6] = [
    "model.backbone=resnet50",
    "model.stem_width=64",
    "model.blocks=[2, 1, 1, 3]",
    "model.first_projection=true",
    "model.average_skips=true",
    "model.sk_ratio=0.25",
];
const TRANSFORMER_SIZES: [&str; 11] = [
    "model.embed_dim=96",
    "model.depth=3",
    "model.heads=2",
    "model.mlp_hidden=128",
    "model.mlp=swiglu",
    "model.registers=4",
    "model.layer_scale=1e-5",
    "model.norm_epsilon=1e-5",
    "model.qkv_bias=false",
    "model.class_token=true",
    "model.class_position=false",
];

#[test]
fn sizes_that_no_name_has_make_the_network() {
    let config = run("", &RESIDUAL_SIZES, &facts(50_000, 32));
    let Architecture::ResNet(shape) = &config.network().architecture else { panic!() };
    assert_eq!((shape.stem_width, shape.blocks.as_slice()), (64, &[2, 1, 1, 3][..]));
    assert!(shape.first_projection && shape.average_skips);
    assert_eq!(shape.sk_ratio, Some(0.25));
    let sets = [&["method.name=dino"][..], &TRANSFORMER_SIZES].concat();
    let config = run("", &sets, &facts(50_000, 32));
    let Architecture::Vit(vit) = &config.network().architecture else { panic!() };
    assert_eq!((vit.width, vit.depth, vit.heads, vit.hidden), (96, 3, 2, 128));
    assert_eq!((vit.mlp, vit.registers, vit.layer_scale), (MlpKind::Swiglu, 4, Some(1e-5)));
    assert_eq!((vit.norm_epsilon, vit.qkv_bias, vit.class_position), (1e-5, false, false));

    refused(
        "",
        &["model.blocks=[2, 2]"],
        "model.blocks = [2, 2]: needs a number from 1 to 100 for each of the model.stages = 4",
    );
    refused(
        "",
        &["model.sk_ratio=0.0625"],
        "model.sk_ratio = 0.0625: resnet18 has no bottlenecks, whose kernels could be selected, so \
         choose resnet50 or larger",
    );
    refused(
        "",
        &["model.backbone=resnet50", "model.norm=layer", "model.sk_ratio=0.0625"],
        "model.sk_ratio = 0.0625: the layers that weigh the kernels have BatchNorm, so set model.norm \
         to batch",
    );
    refused(
        "",
        &["model.stem=deep", "model.stem_width=9"],
        "model.stem = deep: its first layers have half of the 9 channels, so make model.stem_width even",
    );
    let words =
        |sets: &[&str]| resolve(&tree("", sets), &facts(50_000, 32)).unwrap_err().to_string();
    let error = words(&["method.name=dino", "model.heads=5"]);
    assert!(error.contains("5 heads do not divide a width of 128"), "{error}");
    let error = words(&["method.name=mae", "model.registers=2"]);
    assert!(error.contains("no use for register tokens"), "{error}");
    let bare = ["model.class_token=false", "model.pool=mean"];
    let error = words(&[&["method.name=mae"], &bare[..]].concat());
    assert!(error.contains("a masked autoencoder needs the class token"), "{error}");
    for (feature, sets) in [
        ("last-blocks", &bare[..]),
        ("class-and-patches", &bare[..]),
        ("last-blocks", &["model.depth=3"][..]),
    ] {
        let feature = format!("monitor.knn_feature={feature}");
        let error = words(&[&["method.name=dino", &feature], sets].concat());
        let names = ["has no class token, so set it to", "takes 4 blocks, and the network has 3"];
        assert!(names.iter().any(|name| error.contains(name)), "{error}");
    }
}

fn collect(prefix: &str, table: &Table, leaves: &mut std::collections::BTreeSet<String>) {
    for (name, value) in table {
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            Value::Table(table) => collect(&path, table, leaves),
            _ => drop(leaves.insert(path)),
        }
    }
}

#[test]
fn bad_assignments_name_key_and_mend() {
    unset("train.epoch=3", "unknown key `train.epoch`: did you mean `train.epochs`?");
    unset("lr=0.1", "unknown key `lr`: did you mean `optim.lr`?");
    unset("batchsize=64", "unknown key `batchsize`: did you mean `train.batch_size`?");
    unset("quux=1", "unknown key `quux`");
    unset("train.batch_size=0", "train.batch_size = 0: must be at least 1");
    unset("train.batch_size=many", "train.batch_size = \"many\": must be a whole number");
    unset("train.batch_size=64.5", "train.batch_size = 64.5: must be a whole number");
    unset("method.momentum=1.5", "method.momentum = 1.5: must be between 0 and 1");
    unset("method.temperature=nan", "method.temperature = nan: must be above 0");
    unset("optim.weight_decay=-1", "optim.weight_decay = -1: must be at least 0");
    unset("method.symmetric=yes", "method.symmetric = \"yes\": must be true or false");
    unset(
        "model=resnet18",
        "model = \"resnet18\": must be a section, written [model] with its settings below",
    );
    unset(
        "model.backbone=resnet-18",
        "unknown model.backbone `resnet-18` (did you mean `resnet18`?): choose one of \
         resnet18, resnet34, resnet50, resnet101, resnet152, resnet200, vit-micro, vit-tiny, vit-small, \
         vit-small-moco, vit-base, vit-large, vit-huge",
    );
    unset(
        "train.epochs",
        "`train.epochs`: an override is written key=value, for example optim.lr=0.03",
    );
}

#[test]
fn values_may_go_without_quotes() {
    let config = run(
        "moco-v1-small",
        &[
            "data.path=2024",
            "model.backbone = resnet34",
            "monitor.knn_test=\"a b\"",
            "optim.lr=1",
            "data.views=['crop(32, 0.2..1)', 'crop(32, 0.2..1)']",
        ],
        &facts(50_000, 32),
    );
    assert_eq!(config.data.path.to_str(), Some("2024"));
    assert_eq!(config.model.backbone, "resnet34");
    assert_eq!(config.monitor.knn_test.as_deref().and_then(std::path::Path::to_str), Some("a b"));
    assert_eq!(config.optim.lr, 1.0);
    assert_eq!(config.data.views, ["crop(32, 0.2..1)"; 2]);
}

/// SwAV's warm-up begins above 0, which has a meaning only where there is one.
#[test]
fn a_warm_up_may_begin_above_0() {
    let sets = ["optim.warmup_start=0.3", "optim.warmup_epochs=10"];
    let config = run("swav-imagenet", &sets, &facts(1_281_167, 400));
    let rate = |step| config.rate().at(step, 100);
    assert!((rate(0) - 0.3).abs() < 1e-12 && (rate(500) - 0.45).abs() < 1e-12);
    assert!((rate(1000) - 0.6).abs() < 1e-12);
    refused(
        "swav-cifar10",
        &["optim.warmup_inclusive=true"],
        "optim.warmup_inclusive = true: there is no warm-up whose last step it could be, so leave it out \
         or set optim.warmup_epochs",
    );
    refused(
        "moco-v2-small",
        &["optim.warmup_start=0.3"],
        "optim.warmup_start = 0.3: there is no warm-up that could begin there, so leave it out or set \
         optim.warmup_epochs",
    );
}

/// Where a loss compares images, a batch in parts is compared as a whole unless that is turned off.
#[test]
fn parts_are_compared_as_a_whole_where_a_loss_compares() {
    let compared = |recipe: &str, sets: &[&str]| {
        let sets = [&["optim.accumulate=4", "train.batch_size=64"][..], sets].concat();
        run(recipe, &sets, &facts(50_000, 32)).compared_images()
    };
    for recipe in ["invaspread-small", "simclr-small", "simclr-v2-small", "moco-v3-vit-small"] {
        assert_eq!(compared(recipe, &[]), 64, "{recipe}");
        assert_eq!(compared(recipe, &["optim.accumulate_exact=false"]), 16, "{recipe}");
    }
    assert_eq!(compared("byol-small", &[]), 16);
    assert_eq!(compared("byol-small", &["optim.accumulate_exact=true"]), 64);
    let error =
        resolve(&tree("moco-v2-small", &["optim.accumulate_exact=true"]), &facts(50_000, 32));
    assert!(error.unwrap_err().to_string().starts_with("`optim.accumulate_exact` has no meaning"));
}

#[test]
fn neighbours_from_the_memory_bank_need_images_that_are_not_in_it() {
    refused(
        "instdisc-cifar10",
        &["monitor.knn_bank=true"],
        "monitor.knn_bank = true: every training image is in the memory, so set monitor.knn_test to \
         labelled images that are not",
    );
    let head = ["monitor.knn_bank=true", "monitor.knn_test=test", "monitor.knn_feature=backbone"];
    refused(
        "instdisc-cifar10",
        &head,
        "monitor.knn_bank = true: the memory holds outputs of the head, and monitor.knn_feature = \
         backbone is another, so set that to head",
    );
    refused(
        "cmc-cifar10",
        &["method.loss=sampled-softmax"],
        "method.loss = sampled-softmax: cmc's softmax is over sampled rows in any case, so set it to \
         softmax",
    );
}

#[test]
fn another_schedule_leaves_nothing_of_the_first() {
    let config = run("moco-v1-imagenet", &["optim.schedule.kind=cosine"], &facts(1_281_167, 400));
    assert_eq!(config.optim.schedule, ScheduleConfig::Cosine { end: 0.0 });

    let step = run("moco-v2-small", &["optim.schedule.kind=step"], &facts(50_000, 32));
    let milestones = vec![6, 8];
    assert_eq!(step.optim.schedule, ScheduleConfig::Step { milestones, gamma: 0.1 });
}

#[test]
fn another_method_than_the_recipes_is_refused() {
    let mut tree = load_recipe("moco-v1-small").unwrap();
    set_value(&mut tree, "method.name=moco-v1").unwrap();
    let message = set_value(&mut tree, "method.name=moco-v2").unwrap_err().to_string();
    assert!(message.starts_with("the recipe is for method \"moco-v1\", not \"moco-v2\""));
}

#[test]
fn keys_of_another_method_backbone_or_optimiser_are_refused() {
    refused(
        "",
        &["method.name=simsiam", "method.queue=100"],
        "`method.queue` has no meaning with method.name = simsiam: it has method.dim, \
         method.hidden, method.projector_hidden, method.projector_layers, \
         method.fixed_predictor_lr, method.stop_gradient",
    );
    refused(
        "",
        &["model.backbone=resnet18", "model.patch=4"],
        "`model.patch` has no meaning with model.backbone = resnet18: it has model.width, \
         model.stem, model.stages, model.norm, model.init, model.zero_init_residual, \
         model.bn_groups, model.stem_width, model.blocks, model.first_projection, \
         model.average_skips, model.sk_ratio",
    );
    refused(
        "moco-v1-small",
        &["optim.beta1=0.9"],
        "`optim.beta1` has no meaning with optim.optimizer = sgd: it has optim.momentum",
    );
    // Another choice of backbone or optimiser takes its own settings along.
    let config = run("moco-v1-small", &["optim.optimizer=adamw"], &facts(50_000, 32));
    assert_eq!(config.optim.rule, RuleConfig::AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 });
    let sets = ["optim.optimizer=lars", "optim.flavor=solo-learn"];
    let config = run("moco-v1-small", &sets, &facts(50_000, 32));
    let flavor = LarsFlavor::SoloLearn;
    assert_eq!(config.optim.rule, RuleConfig::Lars { momentum: 0.9, trust: 0.02, flavor });
    let config = run("moco-v1-small", &["model.backbone=vit-micro"], &facts(50_000, 32));
    assert_eq!(config.model.vit().unwrap().patch, 4);
}

#[test]
fn relations_between_settings() {
    refused(
        "moco-v1-small",
        &["method.queue=100"],
        "method.queue = 100: shorter than the 128 keys of one step, so set it to at least 128 or \
         lower train.batch_size",
    );
    refused(
        "moco-v1-small",
        &["method.queue=200", "method.symmetric=true"],
        "method.queue = 200: shorter than the 256 keys of one step, so set it to at least 256 or \
         lower train.batch_size",
    );
    refused(
        "invaspread-small",
        &["train.batch_size=8", "optim.accumulate=8", "optim.accumulate_exact=false"],
        "train.batch_size = 8: in 8 parts it leaves images alone, and invaspread compares each with \
         others, so raise it to at least 16",
    );
    refused(
        "simclr-small",
        &["train.batch_size=4", "optim.accumulate=4", "optim.accumulate_exact=false"],
        "train.batch_size = 4: in 4 parts it leaves images alone, and simclr compares each with \
         others, so raise it to at least 8",
    );
    refused(
        "moco-v1-small",
        &["train.batch_size=100"],
        "model.bn_groups = 8: does not divide train.batch_size = 100, so choose a divisor of it",
    );
    refused(
        "moco-v1-small",
        &["train.batch_size=8"],
        "model.bn_groups = 8: leaves 1 of 8 images in each group, and BatchNorm needs at least \
         2, so lower it or raise train.batch_size",
    );
    refused(
        "moco-v1-small",
        &["optim.warmup_epochs=11"],
        "optim.warmup_epochs = 11: longer than the 10 epochs of the run, so shorten it",
    );
    refused(
        "moco-v1-imagenet",
        &["optim.schedule.milestones=[160, 120]"],
        "optim.schedule.milestones = [160, 120]: must be in ascending order",
    );
    refused(
        "moco-v1-small",
        &["data.views=['crop(32, 0.2..1)']"],
        "data.views has 1 entries: moco-v1 needs exactly 2, one of the query and one of the key",
    );
    refused(
        "moco-v1-small",
        &["data.views=['crop(32, 0.2..1)', 'crop(64, 0.2..1)']"],
        "data.views are 32x32 and 64x64 pixels: moco-v1 needs both of one size",
    );
    let vit = ["model.backbone=vit-micro", "train.batch_size=1"];
    refused(
        "byol-cifar10",
        &vit,
        "train.batch_size = 1: in 1 parts it leaves images alone, and BatchNorm needs at least 2, so \
         raise it to at least 2",
    );
    refused(
        "swav-small",
        &["train.batch_size=16", "optim.accumulate=8", "method.queue=0", "method.prototypes=100"],
        "method.prototypes = 100: too many for 2 images that are assigned at a time (2 of a batch and \
         a queue of 0), so lower it to 16 or raise method.queue",
    );
    refused(
        "swav-small",
        &["method.queue=100", "train.batch_size=128"],
        "method.queue = 100: holds no whole batch, so set it to train.batch_size = 128 or more, or \
         to 0 for none",
    );
    refused(
        "mae-small",
        &["method.mask_ratio=0"],
        "method.mask_ratio = 0: leaves 64 of the 64 patches of a view visible, and mae needs some to \
         see and some to guess, so change it or model.patch",
    );
    refused(
        "mae-small",
        &["model.patch=32"],
        "method.mask_ratio = 0.75: leaves 0 of the 1 patches of a view visible, and mae needs some to \
         see and some to guess, so change it or model.patch",
    );
    refused(
        "moco-v1-small",
        &["data.views=['cut(64) flip', 'cut(64) flip']"],
        "`cut(64) flip normalize(none)` cuts 64x64 pixels out of 32x32, the typical size of an image \
         there, so make the cut smaller or put resize(64) before it",
    );
}

#[test]
fn features_that_an_encoder_lacks_are_refused() {
    refused(
        "cpc-small",
        &["monitor.knn_feature=head"],
        "monitor.knn_feature = head: cpc has no projection head, so set it to backbone",
    );
    refused(
        "moco-v2-small",
        &["monitor.knn_feature=last-blocks"],
        "monitor.knn_feature = last-blocks: a residual network has no class token, which is a \
         transformer's, so set it to backbone",
    );
}

#[test]
fn a_stem_of_convolutions_is_not_frozen() {
    let stem = "model.patch_stem=convolutions";
    let derived = ["method.name=moco-v3", "model.backbone=vit-micro"];
    let freezes = |sets: &[&str]| {
        run("", sets, &facts(50_000, 32)).model.vit().is_some_and(|vit| vit.freeze_patch)
    };
    assert!(freezes(&derived));
    assert!(!freezes(&[derived[0], derived[1], stem]));
    refused(
        "moco-v3-vit-small",
        &["model.freeze_patch=true", stem],
        "model.freeze_patch = true: a stem of convolutions has no patch projection to freeze, so \
         set it to false",
    );
}

#[test]
fn batch_norm_is_in_backbones_and_heads() {
    let has = |recipe, sets: &[&str]| run(recipe, sets, &facts(50_000, 32)).has_batch_norm();
    assert!(has("moco-v2-small", &[]));
    assert!(has("moco-v3-vit-small", &[]));
    assert!(!has("mae-small", &[]));
}

#[test]
fn files_name_themselves_and_the_line() {
    let message = parse_tree("[train]\nepochs = = 3\n").unwrap_err().to_string();
    assert!(message.starts_with("not valid TOML: line 2: "), "{message}");
    let message = parse_run("[train]\nepochs = 3\n").unwrap_err().to_string();
    assert!(message.starts_with("`method.name` is missing"), "{message}");
    let message = load_recipe("nowhere/mine.toml").unwrap_err().to_string();
    assert!(message.starts_with("cannot read nowhere/mine.toml: "), "{message}");
    let message = load_recipe("moco-v1-smal").unwrap_err().to_string();
    assert!(message.starts_with("unknown recipe `moco-v1-smal` (did you mean `moco-v1-small`?"));
}

#[test]
fn defaults_follow_the_data() {
    let cifar = resolve(&tree("", &[]), &facts(50_000, 32)).unwrap();
    assert_eq!(cifar.config.method.name(), "moco-v2");
    assert_eq!(moco(&cifar.config).queue, 8192);
    assert_eq!(moco(&cifar.config).momentum, 0.99);
    assert_eq!(resnet(&cifar.config).stem, StemKind::Cifar);
    assert_eq!((cifar.config.train.batch_size, cifar.config.train.epochs), (256, 20));
    assert!(cifar.notes.iter().any(|note| note.starts_with("method.queue = 8192: a quarter")));

    let imagenet = run("", &["method.name=moco-v1"], &facts(1_281_167, 400));
    assert_eq!(moco(&imagenet).queue, 65_536);
    assert_eq!(moco(&imagenet).temperature, 0.07);
    assert_eq!(resnet(&imagenet).stem, StemKind::Imagenet);
    let milestones = vec![6, 8];
    assert_eq!(imagenet.optim.schedule, ScheduleConfig::Step { milestones, gamma: 0.1 });
    assert!(imagenet.data.views[0].starts_with("crop(224, 0.2..1) gray"));
}

#[test]
fn runs_of_any_length_have_a_schedule() {
    for epochs in 1..12 {
        let sets = ["method.name=moco-v1".to_owned(), format!("train.epochs={epochs}")];
        run("", &[&sets[0], &sets[1]], &facts(50_000, 32));
    }
}

#[test]
fn small_data_sets_get_small_batches_and_queues() {
    for images in [2, 3, 7, 10, 50, 100, 1000, 1023, 5000] {
        let config = run("", &[], &facts(images, 500));
        let (batch, queue) = (config.train.batch_size, moco(&config).queue);
        assert!(batch <= images, "{images} images: batch {batch}");
        assert!(queue <= (images / 4).max(batch), "{images} images: queue {queue}");
    }
    assert_eq!(run("", &[], &facts(1000, 500)).train.batch_size, 128);
}

#[test]
fn what_is_given_stands_and_the_rest_follows_it() {
    let config = run("", &["train.batch_size=96", "method.symmetric=true"], &facts(300, 80));
    assert_eq!(config.train.batch_size, 96);
    assert_eq!(config.model.bn_groups(), 3);
    assert_eq!(moco(&config).queue, 192);

    let views = "data.views=['crop(128, 0.2..1)', 'crop(128, 0.2..1)']";
    let config = run("", &[views], &facts(50_000, 32));
    assert_eq!(resnet(&config).stem, StemKind::Imagenet);

    let config = run("moco-v1-small", &["method.queue=auto"], &facts(50_000, 32));
    assert_eq!(moco(&config).queue, 8192);
}

/// Evaluation reads the values of files as training does.
#[test]
fn a_range_of_values_is_the_same_in_all_views() {
    let ranged = "data.views=['range(0..4095) crop(32)', 'range(0..4095) crop(32)']";
    let config = run("", &[ranged], &facts(50_000, 32));
    assert!(config.data.eval_view.starts_with("range(0..4095) "), "{}", config.data.eval_view);
    refused(
        "moco-v1-small",
        &[ranged],
        "`resize(32) center(32) normalize(cifar10)` reads the values of files otherwise than the first \
         of data.views: begin each of data.views and data.eval_view with the same range(...), or none",
    );
    refused(
        "moco-v1-small",
        &["data.views=['crop(32)', 'range(percentile 1..99) crop(32)']"],
        "`range(percentile 1..99) crop(32, 0.08..1) normalize(none)` reads the values of files \
         otherwise than the first of data.views: begin each of data.views and data.eval_view with the \
         same range(...), or none",
    );
}

#[test]
fn recipes_that_fit_the_data_badly_are_refused_or_noted() {
    let message = resolve(&tree("moco-v1-small", &[]), &facts(104, 32)).unwrap_err().to_string();
    assert_eq!(
        message,
        "the data set has 104 images, fewer than one batch of train.batch_size = 128: pass \
         --batch-size 104 or less, or add images"
    );
    let notes = resolve(&tree("moco-v1-small", &[]), &facts(1000, 32)).unwrap().notes;
    assert!(notes.iter().any(|note| note.starts_with("method.queue = 4096 is more than")));

    let unlabelled = DataFacts { labelled: false, ..facts(50_000, 32) };
    let config = run("moco-v1-small", &[], &unlabelled);
    assert_eq!(config.monitor.knn_epochs, 0);
}

#[test]
fn a_run_that_goes_on_may_change_what_changes_no_weight() {
    let old = run("moco-v2-small", &[], &facts(50_000, 32));
    let changes = |list: &[&str]| {
        old.with_changes(&list.iter().map(|text| text.to_string()).collect::<Vec<_>>())
    };
    let new = changes(&[
        "data.max_bad_share=0.5",
        "monitor.knn_epochs = 7",
        "train.max_steps=90",
        "train.log_steps=3",
    ])
    .unwrap();
    assert_eq!((new.data.max_bad_share, new.monitor.knn_epochs), (0.5, 7));
    assert_eq!((new.train.max_steps, new.train.log_steps), (Some(90), 3));
    let found = differences(&old, &new).unwrap();
    let keys: Vec<_> = found.iter().map(|difference| difference.key.as_str()).collect();
    let expected =
        ["data.max_bad_share", "monitor.knn_epochs", "train.log_steps", "train.max_steps"];
    assert_eq!(keys, expected);
    assert!(found.iter().all(Difference::may_change));
    assert_eq!((&found[3].first, &found[3].second), (&None, &Some(90.into())));
    assert_eq!(old.with_second(&found).unwrap(), new);
    let back = differences(&new, &old).unwrap();
    assert_eq!(new.with_second(&back).unwrap(), old);
    assert_eq!(
        new.with_changes(&["train.max_steps=auto".to_owned()]).unwrap().train.max_steps,
        None
    );

    for fixed in ["optim.lr=0.1", "train.epochs=9", "train.seed=4", "model.width=8"] {
        let message = changes(&[fixed]).unwrap_err().to_string();
        let key = fixed.split_once('=').unwrap().0;
        assert!(message.starts_with(&format!("`{key}` cannot change")), "{message}");
        assert!(message.contains("data.max_bad_share") && message.contains("monitor.*"));
    }
    let unknown = changes(&["optim.lrr=0.1"]).unwrap_err().to_string();
    assert!(unknown.contains("did you mean `optim.lr`?"), "{unknown}");
    let wrong = changes(&["data.max_bad_share=2"]).unwrap_err().to_string();
    assert!(wrong.contains("between 0 and 1"), "{wrong}");
}
