//! Pretraining from Python.

use crate::encoder::fetch;
use crate::error::{Fault, Result};
use moco::config::DataFacts;
use moco::device::Device;
use moco::plan::{self, Difference, differences, load_recipe, resolve};
use moco::pretrained::{first_network, model_settings, start_from};
use moco::report::{RunFiles, Tee, duration, percent};
use moco::run::RunDir;
use moco::train::{Changed, Event, Finished, Observer, Resume, Trainer, TrainerOptions};
use moco_data::{Dataset, absolute_path};
use moco_weights::Weights;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};
use toml::{Table, Value};

/// How often the caller looks for news and for Ctrl-C.
const LOOK: Duration = Duration::from_millis(100);
/// Time between two lines of progress within an epoch.
const BETWEEN_LINES: Duration = Duration::from_secs(10);

/// What was asked for.
struct Asked {
    data: PathBuf,
    out: PathBuf,
    recipe: Option<String>,
    init: Option<PathBuf>,
    /// Settings by their names, as TOML.
    settings: Vec<(String, Value)>,
    device: String,
    threads: usize,
}

/// Trains an encoder on the images of `data`, a path or name as `moco pretrain` takes it, and leaves
/// a run in the folder `out`.
///
/// What is not named is derived from the images. `recipe` is the name of a recipe or a TOML file,
/// `init` weights to start from, as `load_encoder` takes them; `settings` names any others, such as
/// `{"optim.lr": 0.03}`. Lines of progress are printed unless `progress` is False.
///
/// A run in `out` goes on from its newest checkpoint. Ctrl-C saves the run, after which
/// KeyboardInterrupt is raised. Returns a dictionary: `steps`, whether it was `stopped`, and the last
/// `knn` accuracy, or None.
///
/// Raises MocoError for what cannot be trained.
#[pyfunction]
#[pyo3(signature = (
    data, out, *, method=None, recipe=None, backbone=None, epochs=None, batch_size=None, seed=None,
    init=None, settings=None, device="cpu", threads=None, progress=true
))]
pub fn pretrain(
    py: Python<'_>,
    data: PathBuf,
    out: PathBuf,
    method: Option<String>,
    recipe: Option<String>,
    backbone: Option<String>,
    epochs: Option<i64>,
    batch_size: Option<i64>,
    seed: Option<i64>,
    init: Option<PathBuf>,
    settings: Option<&Bound<'_, PyDict>>,
    device: &str,
    threads: Option<usize>,
    progress: bool,
) -> PyResult<Py<PyDict>> {
    let named = [
        ("method.name", method.map(Value::from)),
        ("model.backbone", backbone.map(Value::from)),
        ("train.epochs", epochs.map(Value::from)),
        ("train.batch_size", batch_size.map(Value::from)),
        ("train.seed", seed.map(Value::from)),
    ];
    let named = named.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
    let mut all: Vec<_> = named.collect();
    for (key, value) in settings.into_iter().flatten() {
        all.push((key.extract()?, to_toml(&value)?));
    }
    let asked = Asked {
        data,
        out,
        recipe,
        init,
        settings: all,
        device: device.to_owned(),
        threads: threads.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from)),
    };
    follow(py, asked, progress)
}

fn to_toml(value: &Bound<'_, PyAny>) -> PyResult<Value> {
    // A truth value is a whole number too in Python, so it is asked for first.
    if let Ok(value) = value.extract::<bool>() {
        return Ok(Value::Boolean(value));
    }
    if let Ok(value) = value.extract::<i64>() {
        return Ok(Value::Integer(value));
    }
    if let Ok(value) = value.extract::<f64>() {
        return Ok(Value::Float(value));
    }
    if let Ok(value) = value.extract::<String>() {
        return Ok(Value::String(value));
    }
    let other = || Fault::new("a setting is a truth value, a number, a text, or a list of them");
    if value.is_instance_of::<PyDict>() {
        return Err(other().into());
    }
    let items = value.try_iter().map_err(|_| other())?;
    Ok(Value::Array(items.map(|item| to_toml(&item?)).collect::<PyResult<_>>()?))
}

/// Runs on a thread of its own, prints what happens and passes Ctrl-C on.
fn follow(py: Python<'_>, asked: Asked, progress: bool) -> PyResult<Py<PyDict>> {
    let stop = Arc::new(AtomicBool::new(false));
    let (send, news) = mpsc::channel();
    let inner = Arc::clone(&stop);
    let run = thread::Builder::new()
        .name("moco".into())
        .spawn(move || train(&asked, &inner, send))
        .map_err(Fault::from)?;
    let mut interrupted = None;
    while !run.is_finished() {
        py.detach(|| thread::sleep(LOOK));
        tell(py, &news, progress)?;
        if let Err(interrupt) = py.check_signals() {
            stop.store(true, Ordering::Relaxed);
            interrupted.get_or_insert(interrupt);
        }
    }
    tell(py, &news, progress)?;
    let done = run.join().map_err(|_| Fault::new("a fault in moco ended the run"))??;
    if let Some(interrupt) = interrupted {
        return Err(interrupt);
    }
    let result = PyDict::new(py);
    result.set_item("steps", done.steps)?;
    result.set_item("stopped", done.stopped)?;
    result.set_item("knn", done.last_knn)?;
    Ok(result.unbind())
}

/// Prints through Python, so that notebooks show it.
fn tell(py: Python<'_>, news: &Receiver<String>, progress: bool) -> PyResult<()> {
    for line in news.try_iter().filter(|_| progress) {
        py.import("builtins")?.call_method1("print", (line,))?;
    }
    Ok(())
}

fn train(asked: &Asked, stop: &AtomicBool, news: Sender<String>) -> Result<Finished> {
    let device = moco::device::parse(&asked.device)?;
    let options = TrainerOptions { threads: asked.threads.max(1), cache_mb: 1024 };
    let going_on = RunDir::at(&asked.out).has_checkpoint().unwrap_or(false);
    let (dir, mut trainer) = if going_on {
        go_on(asked, &device, options, &news)?
    } else {
        RunDir::check_new(&asked.out)?;
        begin(asked, &device, options, &news)?
    };
    let (first, log_steps) = (trainer.facts().first_step, trainer.config().train.log_steps);
    let mut files = RunFiles::open(dir.path(), first, log_steps)?;
    let mut lines = Lines { news, total: trainer.total_steps(), last: Instant::now() };
    let finished = trainer.run(&dir, &mut Tee(vec![&mut files, &mut lines]), stop)?;
    for failed in files.failed() {
        lines.say(format!("warning: {failed}; that file ends early, the run does not"));
    }
    Ok(finished)
}

/// The run that `out` holds, as its newest checkpoint left it. What is asked for must be the run's
/// own, but for settings that may change.
fn go_on(
    asked: &Asked,
    device: &Device,
    options: TrainerOptions,
    news: &Sender<String>,
) -> Result<(RunDir, Trainer)> {
    let dir = RunDir::resume(&asked.out)?;
    let images = Arc::new(Dataset::open(&asked.data)?);
    let (tree, _) = asked_tree(asked)?;
    let wanted = resolve(&tree, &DataFacts::of(&images)?)?.config;
    let own = Resume::open(&dir, Changed::default())?;
    let differ = differences(own.config(), &wanted)?.into_iter();
    let settings = differ.filter(|differ| is_given(&tree, &differ.key));
    let settings = settings.map(|differ| changed(differ, asked)).collect::<Result<_>>()?;
    let resume = Resume::open(&dir, Changed { settings, ..Changed::default() })?;
    let mut trainer = resume.trainer(&dir, images, device, options)?;
    let (first, total) = (trainer.facts().first_step, trainer.total_steps());
    let _ = news.send(format!("going on after step {first} of {total}"));
    Ok((dir, trainer))
}

/// Whether a setting was given a value, by its dotted name.
fn is_given(tree: &Table, key: &str) -> bool {
    let (section, rest) = key.split_once('.').map_or((key, None), |(key, rest)| (key, Some(rest)));
    match (tree.get(section), rest) {
        (Some(Value::Table(table)), Some(rest)) => is_given(table, rest),
        (Some(value), _) => value.as_str() != Some("auto"),
        (None, _) => false,
    }
}

/// A setting with another value than the run's, as an override.
fn changed(differ: Difference, asked: &Asked) -> Result<String> {
    let may_change = differ.may_change();
    let Difference { key, first, second } = differ;
    match second {
        Some(value) if may_change => Ok(format!("{key}={value}")),
        second => {
            let shown =
                |value: Option<Value>| value.map_or("nothing".into(), |value| value.to_string());
            Err(Fault::new(format!(
                "{key} is {} in the run at {} and {} is asked for: leave it out to go on, or give \
                 another `out`",
                shown(first),
                asked.out.display(),
                shown(second)
            )))
        }
    }
}

/// A new run, resolved as on the command line: recipe, named settings, the others, the data.
fn begin(
    asked: &Asked,
    device: &Device,
    options: TrainerOptions,
    news: &Sender<String>,
) -> Result<(RunDir, Trainer)> {
    let (tree, start) = asked_tree(asked)?;
    let images = Arc::new(Dataset::open(&asked.data)?);
    let resolved = resolve(&tree, &DataFacts::of(&images)?)?;
    for note in resolved.notes {
        let _ = news.send(note);
    }
    let dir = RunDir::create(&asked.out)?;
    let mut trainer = Trainer::new(&resolved.config, images, device, options)?;
    if let Some(weights) = start {
        let network = resolved.config.network();
        let started = start_from(&weights, trainer.method(), network, device)?;
        let _ = news.send(started.to_string());
    }
    Ok((dir, trainer))
}

/// What was asked for, as a tree of settings, and the weights to start from.
fn asked_tree(asked: &Asked) -> Result<(Table, Option<Weights>)> {
    let mut tree = match &asked.recipe {
        Some(recipe) => load_recipe(recipe)?,
        None => Table::new(),
    };
    plan::set(&mut tree, "data.path", lasting(&asked.data)?.into())?;
    for (key, value) in &asked.settings {
        plan::set(&mut tree, key, value.clone())?;
    }
    let start = asked.init.as_ref().map(|file| start_weights(file, &mut tree)).transpose()?;
    Ok((tree, start))
}

/// A path or address as it is understood from any folder.
fn lasting(path: &Path) -> Result<String> {
    let given = path
        .to_str()
        .ok_or_else(|| Fault::new(format!("{} is not UTF-8: rename it", path.display())))?;
    if given.contains("://") {
        return Ok(given.to_owned());
    }
    let absolute = absolute_path(path)?;
    Ok(absolute.to_str().unwrap_or(given).to_owned())
}

/// The weights that a run starts from; without a backbone of its own it has the file's.
fn start_weights(file: &Path, tree: &mut Table) -> Result<Weights> {
    let weights = moco_weights::open(&fetch(file)?, &moco_weights::Options::default())?;
    plan::set(tree, "init.source", lasting(file)?.into())?;
    let named = tree.get("model").and_then(Value::as_table);
    if !named.is_some_and(|model| model.contains_key("backbone")) {
        for (key, value) in model_settings(&first_network(&weights)?) {
            plan::set(tree, &key, value)?;
        }
    }
    Ok(weights)
}

/// What happens, as lines.
struct Lines {
    news: Sender<String>,
    total: usize,
    last: Instant,
}

impl Lines {
    fn say(&self, line: String) {
        // Whoever listened may be gone; the run goes on.
        let _ = self.news.send(line);
    }
}

impl Observer for Lines {
    fn event(&mut self, event: &Event) {
        match event {
            Event::Note(text) => self.say(text.clone()),
            Event::Warning(text) => self.say(format!("warning: {text}")),
            Event::BadFile { name, reason } => self.say(format!("left out {name}: {reason}")),
            Event::Step(step) if self.last.elapsed() >= BETWEEN_LINES => {
                self.last = Instant::now();
                self.say(format!("step {} of {}, loss {:.4}", step.step, self.total, step.loss));
            }
            Event::Epoch(epoch) => {
                let steps_left = self.total.saturating_sub(epoch.step) as f64;
                let per_step = epoch.seconds * epoch.epoch as f64 / epoch.step.max(1) as f64;
                let knn = epoch
                    .knn
                    .map_or_else(String::new, |knn| format!(", kNN top-1 {}", percent(knn, 1)));
                self.say(format!(
                    "epoch {}: loss {:.4}{knn}, {:.0} images/s, {} left",
                    epoch.epoch,
                    epoch.loss,
                    epoch.images_per_second,
                    duration(steps_left * per_step)
                ));
            }
            _ => {}
        }
    }
}
