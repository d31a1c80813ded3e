//! From the command line to what the library works with: configuration, images, device, encoder.

use crate::args::{EncoderArgs, MachineArgs, RunArgs};
use crate::data;
use crate::failure;
use anyhow::anyhow;
use moco::config::{self, DataFacts, RunConfig, load_recipe, resolve, set_value};
use moco::device::Device;
use moco::eval::FrozenEncoder;
use moco::methods;
use moco::train::{self, TrainerOptions};
use moco_data::Dataset;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use toml::{Table, Value};

/// A run that could begin.
pub struct Session {
    pub config: RunConfig,
    /// What there is to say about the configuration.
    pub notes: Vec<String>,
    pub dataset: Arc<Dataset>,
    pub machine: Machine,
}

/// Where and with how much to compute.
pub struct Machine {
    pub device: Device,
    pub options: TrainerOptions,
}

impl Session {
    /// Lays recipe, flags and `--set` over one another, looks at the images and resolves the rest.
    pub fn prepare(args: &RunArgs) -> anyhow::Result<Session> {
        let mut tree = tree(args)?;
        let machine = Machine::open(&args.machine)?;
        let path = path_at(&tree, "data", "path").ok_or_else(|| {
            anyhow!("no images given: pass --data with a folder or .tar of images, or cifar10")
        })?;
        let dataset = Arc::new(data::open(path)?);
        // A run can be resumed from any folder.
        for (section, key) in [("data", "path"), ("monitor", "knn_test")] {
            if let Some(path) = path_at(&tree, section, key) {
                let path = lasting_path(path)?;
                config::set(&mut tree, &format!("{section}.{key}"), path.into())?;
            }
        }
        let resolved = resolve(&tree, &DataFacts::of(&dataset)?)?;
        Ok(Session { config: resolved.config, notes: resolved.notes, dataset, machine })
    }
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
            config::set(&mut tree, key, value)?;
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
        moco::device::cpu_kernel_name()?;
        let threads = match args.threads {
            Some(threads) => usize::from(threads),
            None => thread::available_parallelism().map_or(1, usize::from),
        };
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build_global()
            .map_err(|_| anyhow!(failure::NO_THREADS))?;
        let cache_mb = args.cache_mb as usize;
        Ok(Machine { device, options: TrainerOptions { threads, cache_mb } })
    }
}

/// The encoder that a command line names, with the configuration of the run that made it.
pub fn chosen_encoder(
    args: &EncoderArgs,
    device: &Device,
) -> anyhow::Result<(FrozenEncoder, RunConfig)> {
    load_encoder(&args.run, device)
}

/// The encoder that the run in `dir` left, with the run's configuration. What is odd about its files
/// is told.
pub fn load_encoder(dir: &Path, device: &Device) -> anyhow::Result<(FrozenEncoder, RunConfig)> {
    let trained = train::load_encoder(dir, device)?;
    trained.notes.iter().for_each(|note| eprintln!("warning: {note}"));
    Ok((trained.encoder, trained.config))
}

/// The encoder that a run of this configuration starts with.
pub fn untrained(config: &RunConfig, device: &Device) -> FrozenEncoder {
    FrozenEncoder::new(methods::encoder(config, device), config, device)
}
