//! From the command line to what the library works with: configuration, images, device, encoder.

use crate::args::{MachineArgs, RunArgs};
use crate::data;
use crate::failure;
use anyhow::{Context, anyhow, ensure};
use moco::checkpoint::CheckpointError;
use moco::config::{
    self, DataFacts, Difference, RunConfig, differences, load_recipe, parse_run, resolve, set_value,
};
use moco::device::Device;
use moco::eval::FrozenEncoder;
use moco::export::{Origin, read_origin};
use moco::files::shell_word;
use moco::methods;
use moco::train::{RunDir, TrainerOptions};
use moco_data::Dataset;
use std::fs;
use std::io::ErrorKind;
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

/// The encoder that the run in `dir` left, with the run's configuration.
pub fn load_encoder(dir: &Path, device: &Device) -> anyhow::Result<(FrozenEncoder, RunConfig)> {
    let run = RunDir::at(dir);
    let config = encoder_config(&run)?;
    ensure!(
        fs::exists(run.encoder()).unwrap_or(true),
        "no encoder in {}: it is written at the end of the first epoch",
        dir.display()
    );
    methods::check_encoder_memory(&config)?;
    let mut frozen = untrained(&config, device);
    frozen.load(&run.encoder()).map_err(|error| match error {
        CheckpointError::Malformed { path, .. } => anyhow!(
            "{} is damaged: delete it and run `moco pretrain --resume {}`, which writes it anew",
            path.display(),
            shell_word(dir)
        ),
        other => other.into(),
    })?;
    Ok((frozen, config))
}

/// The configuration that made a run's encoder, which its file holds, with what `config.toml` says of
/// settings that change no weight. Whatever else `config.toml` says otherwise is told.
fn encoder_config(run: &RunDir) -> anyhow::Result<RunConfig> {
    // Whatever is wrong with the file is told when its weights are loaded.
    let origin = read_origin(&run.encoder()).ok().flatten();
    let Some(Origin { config, .. }) = origin else { return load_config(run) };
    let path = run.encoder();
    let made = parse_run(&config).with_context(|| format!("in {}", path.display()))?;
    let written = match load_config(run) {
        Ok(written) => written,
        Err(error) => {
            eprintln!("warning: {error:#}; the configuration in {} is used", path.display());
            return Ok(made);
        }
    };
    let (taken, refused): (Vec<_>, Vec<_>) =
        differences(&made, &written)?.into_iter().partition(Difference::may_change);
    for Difference { key, first, second } in &refused {
        let value = |value: &Option<Value>| match value {
            Some(value) => format!("{key} = {value}"),
            None => format!("no {key}"),
        };
        eprintln!(
            "warning: {} says {}, but the encoder was made with {}, which is used",
            run.config().display(),
            value(second),
            value(first)
        );
    }
    Ok(made.with_second(&taken)?)
}

/// The encoder that a run of this configuration starts with.
pub fn untrained(config: &RunConfig, device: &Device) -> FrozenEncoder {
    FrozenEncoder::new(methods::encoder(config, device), config, device)
}

/// The configuration of the run in a folder.
pub fn load_config(run: &RunDir) -> anyhow::Result<RunConfig> {
    let path = run.config();
    let text = fs::read_to_string(&path).map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => anyhow!(
            "{} holds no run (it has no config.toml): give the folder that `moco pretrain --out` \
             wrote",
            run.path().display()
        ),
        _ => anyhow!("cannot read {}: {error}", path.display()),
    })?;
    parse_run(&text).with_context(|| format!("in {}", path.display()))
}
