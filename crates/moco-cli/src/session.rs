//! From the command line to what the library works with: configuration, images, device, encoder.

use crate::args::{EncoderArgs, MachineArgs, RunArgs};
use crate::data;
use crate::failure;
use crate::ranks::{self, peers};
use crate::weights;
use anyhow::{anyhow, bail};
use moco::config::{DataFacts, InitConfig};
use moco::device::Device;
use moco::eval::FrozenEncoder;
use moco::files::Size;
use moco::plan::{self, Plan, load_recipe, resolve, set_value};
use moco::pretrained::{self, model_settings, start_from};
use moco::run::{self, TrainedEncoder};
use moco::train::{Trainer, TrainerOptions};
use moco_data::Dataset;
use moco_weights::Weights;
use std::fs;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use toml::{Table, Value};

/// A run that could begin.
pub struct Session {
    pub config: Plan,
    /// What there is to say about the configuration.
    pub notes: Vec<String>,
    pub dataset: Arc<Dataset>,
    pub machine: Machine,
    /// The weights that the run starts from, if not from random ones.
    pub start: Option<Weights>,
}

/// Where and with how much to compute.
pub struct Machine {
    pub device: Device,
    pub options: TrainerOptions,
}

impl Machine {
    /// What it is, in words: processor, kernels, threads, memory.
    pub fn in_words(&self) -> String {
        let facts = [
            processor(),
            moco::device::cpu_kernel_name().ok().map(|name| format!("{name} kernels")),
            Some(format!("threads: {}", self.options.threads)),
            moco::machine::memory().map(|bytes| format!("{} of memory", Size(bytes))),
            Some(format!("{} {}", std::env::consts::OS, std::env::consts::ARCH)),
        ];
        facts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

/// The processor's name, where the system tells.
fn processor() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let name = text.lines().find_map(|line| line.strip_prefix("model name"))?;
    Some(name.trim_start_matches([' ', '\t', ':']).to_owned())
}

impl Session {
    /// Lays recipe, flags and `--set` over one another, looks at the images and resolves the rest.
    pub fn prepare(args: &RunArgs) -> anyhow::Result<Session> {
        let mut tree = tree(args)?;
        let machine = Machine::open(&args.machine)?;
        let path = path_at(&tree, "data", "path").ok_or_else(|| {
            anyhow!("no images given: pass --data with a folder or .tar of images, or cifar10")
        })?;
        let dataset = Arc::new(data::open_together(path)?);
        let start = start_weights(args, &mut tree)?;
        // A run can be resumed from any folder.
        for (section, key) in [("data", "path"), ("monitor", "knn_test")] {
            if let Some(path) = path_at(&tree, section, key) {
                let path = lasting_path(path)?;
                plan::set(&mut tree, &format!("{section}.{key}"), path.into())?;
            }
        }
        let resolved = resolve(&tree, &DataFacts::of(&dataset)?)?;
        let (config, notes) = (resolved.config, resolved.notes);
        Ok(Session { config, notes, dataset, machine, start })
    }

    /// A run at its first step, with the weights that it starts from.
    pub fn trainer(&self) -> anyhow::Result<Trainer> {
        new_trainer(&self.config, self.start.as_ref(), &self.dataset, &self.machine)
    }
}

/// A run at its first step. `start` holds the weights that it starts from if they were read before.
pub fn new_trainer(
    config: &Plan,
    start: Option<&Weights>,
    dataset: &Arc<Dataset>,
    machine: &Machine,
) -> anyhow::Result<Trainer> {
    let mut trainer = Trainer::new(config, Arc::clone(dataset), &machine.device, machine.options)?;
    let Some(init) = &config.init else { return Ok(trainer) };
    let read_now = match start {
        Some(_) => None,
        None => Some(weights::read_start(init)?),
    };
    if let Some(weights) = start.or(read_now.as_ref()) {
        let network = config.network();
        let started = start_from(weights, trainer.method(), network, &machine.device)?;
        eprintln!("start    {started}");
    }
    Ok(trainer)
}

/// Reads the weights that a run starts from, if any, and settles what of the network follows from
/// them: without a backbone in the recipe or on the command line it is the file's.
fn start_weights(args: &RunArgs, tree: &mut Table) -> anyhow::Result<Option<Weights>> {
    if let Some(source) = &args.init {
        let source = weights::lasting_source(source)?;
        plan::set(tree, "init.source", source.into())?;
        let words = [("init.layout", &args.init_as), ("init.network", &args.init_network)];
        for (key, word) in words {
            if let Some(word) = word {
                plan::set(tree, key, word.as_str().into())?;
            }
        }
        if let Some(heads) = args.init_heads {
            plan::set(tree, "init.heads", i64::from(heads).into())?;
        }
    }
    let Some(init) = tree.get("init") else { return Ok(None) };
    let init: InitConfig = init.clone().try_into().map_err(|_| {
        anyhow!("[init] lacks `source`: name the weights to start from, or leave the section out")
    })?;
    let weights = weights::read_start(&init)?;
    if let Some(licence) = &weights.licence {
        plan::set(tree, "init.licence", licence.as_str().into())?;
    }
    let named = tree.get("model").and_then(Value::as_table);
    if !named.is_some_and(|model| model.contains_key("backbone")) {
        for (key, value) in model_settings(&pretrained::first_network(&weights)?) {
            plan::set(tree, &key, value)?;
        }
    }
    Ok(Some(weights))
}

/// Recipe, then flags, then `--set`.
fn tree(args: &RunArgs) -> anyhow::Result<Table> {
    let mut tree = match &args.recipe {
        Some(recipe) => load_recipe(recipe)?,
        None => Table::new(),
    };
    let flags = [
        ("data.path", args.data.as_deref().map(text).transpose()?.map(Value::from)),
        ("method.name", args.method.clone().map(Value::from)),
        ("model.backbone", args.backbone.clone().map(Value::from)),
        ("train.epochs", args.epochs.map(Value::from)),
        ("train.batch_size", args.batch_size.map(Value::from)),
        ("train.max_steps", args.max_steps.map(Value::from)),
        ("train.seed", args.seed.map(Value::from)),
    ];
    for (key, value) in flags {
        if let Some(value) = value {
            plan::set(&mut tree, key, value)?;
        }
    }
    for assignment in &args.set {
        set_value(&mut tree, assignment)?;
    }
    Ok(tree)
}

fn path_at<'a>(tree: &'a Table, section: &str, key: &str) -> Option<&'a Path> {
    tree.get(section)?.get(key)?.as_str().map(Path::new)
}

/// A path to images as it is understood from any folder.
pub fn lasting_path(path: &Path) -> anyhow::Result<String> {
    Ok(text(&moco_data::absolute_path(path)?)?.to_owned())
}

fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str()
        .ok_or_else(|| anyhow!("{} is not valid UTF-8: rename it for --data", path.display()))
}

impl Machine {
    /// Finds the device and sets the number of threads of this process.
    pub fn open(args: &MachineArgs) -> anyhow::Result<Machine> {
        let device = moco::device::parse(&args.device)?;
        if args.device == "auto" {
            eprintln!("device   {}", moco::device::best());
        }
        moco::device::cpu_kernel_name()?;
        let threads = match args.threads {
            Some(threads) => usize::from(threads),
            None => ranks::threads(),
        };
        // Ranks that compare methods open their machine for each of them.
        static STARTED: OnceLock<usize> = OnceLock::new();
        if STARTED.get() != Some(&threads) {
            rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build_global()
                .map_err(|_| anyhow!(failure::NO_THREADS))?;
            let _ = STARTED.set(threads);
        }
        let cache_mb = args.cache_mb as usize;
        Ok(Machine { device, options: TrainerOptions { threads, cache_mb } })
    }
}

/// The encoder that a command line names, with the configuration of the run that made it.
pub fn chosen_encoder(
    args: &EncoderArgs,
    device: &Device,
) -> anyhow::Result<(FrozenEncoder, Plan)> {
    let opened = open_encoder(args, device)?;
    Ok((opened.encoder, opened.config))
}

/// The encoder that the command line names, which all ranks share the work of, and on stderr what there
/// is to say about it.
pub fn open_encoder(args: &EncoderArgs, device: &Device) -> anyhow::Result<TrainedEncoder> {
    let mut opened = match (&args.run, &args.encoder) {
        (_, Some(source)) => weights::open(source, &args.reading, device)?,
        (Some(dir), None) => {
            let mut trained = run::load_encoder(dir, device)?;
            if let Some(view) = &args.reading.eval_view {
                trained.encoder.view = view.clone();
            }
            trained
        }
        (None, None) => bail!("no encoder given: pass --run DIR, or --encoder with weights"),
    };
    tell(&opened);
    opened.encoder = opened.encoder.among(peers());
    Ok(opened)
}

/// Says what there is to say about an encoder's files.
fn tell(opened: &TrainedEncoder) {
    let warns = opened.imported.is_none();
    for note in &opened.notes {
        eprintln!("{}{note}", if warns { "warning: " } else { "" });
    }
}

/// The encoder that the run in `dir` left, with the run's configuration. What is odd about its files
/// is told.
pub fn load_encoder(dir: &Path, device: &Device) -> anyhow::Result<(FrozenEncoder, Plan)> {
    let trained = run::load_encoder(dir, device)?;
    tell(&trained);
    Ok((trained.encoder, trained.config))
}

/// The encoder that a run of this configuration starts with.
pub fn untrained(config: &Plan, device: &Device) -> FrozenEncoder {
    FrozenEncoder::new(config.encoder(device), config.eval_view().clone(), device)
}
