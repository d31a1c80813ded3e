//! `--track mlflow:http://host[/experiment]`: a run as an MLflow server has it.
//!
//! A thread of its own talks to the server; the run never waits for it. While the server is away,
//! that is said once and values are kept, the oldest of too many being dropped; what could not be
//! delivered at the end is counted.

mod mlflow;

use anyhow::{anyhow, bail};
use mlflow::{MOST_METRICS, Mlflow, Point};
use moco::checkpoint::write_atomically;
use moco::plan::Plan;
use moco::run::RunDir;
use moco::train::{Event, Observer};
use moco_data::{Patience, Service, ServiceError, without_secrets};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::env;
use std::fs;
use std::path::Path;
use std::str::FromStr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub use mlflow::Status;

/// Values that are kept while the server is away; some ten thousand steps.
const MOST_KEPT: usize = 50_000;
/// Values are sent together, after this time.
const GATHER: Duration = Duration::from_secs(2);
/// Pause before a server that was away is asked again; twice as long each time, up to a minute.
const PAUSE: Duration = Duration::from_secs(2);
/// Longest time that the end of a run waits for the server.
const FAREWELL: Duration = Duration::from_secs(10);
/// Where a run keeps which run of which server it is.
const RECORD: &str = "mlflow.json";

/// Where to track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// `http://` or `https://`, without the experiment.
    server: String,
    experiment: String,
}

impl FromStr for Place {
    type Err = String;

    /// `mlflow:http://host[:port][/experiment]`.
    fn from_str(text: &str) -> Result<Place, String> {
        let address = text.strip_prefix("mlflow:").ok_or("must begin with mlflow:")?;
        let host = ["http://", "https://"].iter().find_map(|scheme| address.strip_prefix(scheme));
        let host = host.filter(|host| !host.is_empty() && !host.starts_with('/'));
        let host = host.ok_or("must be mlflow:http://host or mlflow:https://host")?;
        let scheme = &address[..address.len() - host.len()];
        let (host, experiment) = host.split_once('/').unwrap_or((host, ""));
        let experiment = experiment.trim_matches('/');
        let experiment = if experiment.is_empty() { "moco" } else { experiment };
        Ok(Place { server: format!("{scheme}{host}"), experiment: experiment.to_owned() })
    }
}

/// The observer.
pub struct Tracker {
    shared: Arc<Shared>,
    sender: Option<JoinHandle<()>>,
    log_steps: usize,
    shown: String,
}

#[derive(Default)]
struct Shared {
    outbox: Mutex<Outbox>,
    news: Condvar,
}

#[derive(Default)]
struct Outbox {
    points: VecDeque<Point>,
    /// Number of the first of them, counted from the beginning.
    first: usize,
    dropped: usize,
    end: Option<Status>,
    /// Everything was delivered, the end too.
    done: bool,
    /// The server was away at the end.
    gave_up: bool,
}

impl Outbox {
    fn is_settled(&self) -> bool {
        self.done || self.gave_up
    }
}

impl Shared {
    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the sending thread works with.
struct Sender {
    shared: Arc<Shared>,
    place: Place,
    record: std::path::PathBuf,
    name: String,
    parameters: Vec<(String, String)>,
    /// The run on the server of which `record` speaks.
    known: Option<String>,
    authorization: Option<String>,
    shown: String,
}

impl Tracker {
    /// Tracks the run in `dir`; one that goes on after `first_step` steps goes on there too.
    ///
    /// # Errors
    /// An address that makes no sense. That the server is away is no error.
    pub fn begin(
        place: &Place,
        dir: &RunDir,
        config: &Plan,
        first_step: usize,
    ) -> anyhow::Result<Tracker> {
        let authorization = authorization();
        // Looked at now, so that a mistyped address ends the command.
        service(place, &authorization).map_err(|error| anyhow!("--track: {error}"))?;
        let record = dir.path().join(RECORD);
        let known = (first_step > 0).then(|| known_run(&record, place)).flatten();
        let shown = without_secrets(Path::new(&place.server)).display().to_string();
        let name = dir.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
        let shared = Arc::new(Shared::default());
        let sender = Sender {
            shared: Arc::clone(&shared),
            place: place.clone(),
            record,
            name,
            parameters: parameters(config)?,
            known,
            authorization,
            shown: shown.clone(),
        };
        let thread = thread::Builder::new().name("tracker".into()).spawn(move || sender.run())?;
        let log_steps = config.train.log_steps;
        Ok(Tracker { shared, sender: Some(thread), log_steps, shown })
    }

    /// Says how the run ended and waits a moment for the server.
    pub fn end(mut self, status: Status) {
        self.shared.outbox().end = Some(status);
        self.shared.news.notify_all();
        let begin = Instant::now();
        while begin.elapsed() < FAREWELL && !self.shared.outbox().is_settled() {
            thread::sleep(Duration::from_millis(10));
        }
        let outbox = self.shared.outbox();
        let lost = outbox.points.len() + outbox.dropped;
        if lost > 0 || !outbox.done {
            eprintln!(
                "warning: {} did not take {lost} values of this run, nor maybe its end; \
                 metrics.jsonl has all",
                self.shown
            );
        }
        // A thread that still waits for the server is not waited for.
        drop(self.sender.take());
    }

    fn push(&self, step: usize, values: impl Iterator<Item = (String, f64)>) {
        let timestamp = now();
        let mut outbox = self.shared.outbox();
        // The interface has no infinities and no NaN.
        for (key, value) in values.filter(|(_, value)| value.is_finite()) {
            if outbox.points.len() == MOST_KEPT {
                outbox.points.pop_front();
                outbox.first += 1;
                outbox.dropped += 1;
            }
            outbox.points.push_back(Point { key, value, timestamp, step });
        }
    }
}

impl Observer for Tracker {
    fn event(&mut self, event: &Event) {
        let section = match event {
            Event::Step(step) if step.step == 1 || step.step.is_multiple_of(self.log_steps) => {
                "train"
            }
            Event::Epoch(_) => "epoch",
            _ => return,
        };
        let Value::Object(object) = moco::report::object(event) else { return };
        let step = object.get("step").and_then(Value::as_u64).unwrap_or(0) as usize;
        let numbers = object.into_iter().filter(|(name, _)| name != "step");
        let numbers = numbers.filter_map(|(name, value)| Some((name, value.as_f64()?)));
        self.push(step, numbers.map(|(name, value)| (format!("{section}/{name}"), value)));
    }
}

impl Sender {
    fn run(self) {
        let (mut server, mut pause, mut told) = (None, PAUSE, false);
        loop {
            let (first, points, end) = self.gather();
            let outcome = self.deliver(&mut server, &points, end);
            let mut outbox = self.shared.outbox();
            match outcome {
                Ok(()) => {
                    pause = PAUSE;
                    // Some of them may have been dropped meanwhile.
                    let sent = (first + points.len()).saturating_sub(outbox.first);
                    outbox.points.drain(..sent);
                    outbox.first += sent;
                    if told {
                        told = false;
                        eprintln!("{} takes values again", self.shown);
                    }
                    if end.is_some() && outbox.points.is_empty() {
                        outbox.done = true;
                        return;
                    }
                }
                Err(error) => {
                    if !told {
                        told = true;
                        eprintln!(
                            "warning: {error}; the run goes on, and up to {MOST_KEPT} values are kept \
                             for when it does answer"
                        );
                    }
                    if outbox.end.is_some() {
                        outbox.gave_up = true;
                        return;
                    }
                    drop(self.shared.news.wait_timeout(outbox, pause));
                    pause = (2 * pause).min(Duration::from_secs(60));
                }
            }
        }
    }

    /// The next values to send, once there are some or the run has ended.
    fn gather(&self) -> (usize, Vec<Point>, Option<Status>) {
        let mut outbox = self.shared.outbox();
        if outbox.end.is_none() {
            let waited = self.shared.news.wait_timeout(outbox, GATHER);
            outbox = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let points: Vec<Point> = outbox.points.iter().take(MOST_METRICS).cloned().collect();
        let last = points.len() == outbox.points.len();
        (outbox.first, points, outbox.end.filter(|_| last))
    }

    fn deliver(
        &self,
        server: &mut Option<Mlflow>,
        points: &[Point],
        end: Option<Status>,
    ) -> Result<(), ServiceError> {
        let server = match server {
            Some(server) => server,
            None => server.insert(self.connect()?),
        };
        if !points.is_empty() {
            server.metrics(points)?;
        }
        end.map_or(Ok(()), |status| server.end(status, now()))
    }

    /// Finds or makes the run on the server, and writes its settings.
    fn connect(&self) -> Result<Mlflow, ServiceError> {
        let service = || service(&self.place, &self.authorization);
        if let Some(known) = &self.known {
            match Mlflow::resume(service()?, known) {
                // It was deleted there: a new one.
                Err(ServiceError::Refused { .. }) => {}
                other => return other,
            }
        }
        let server = Mlflow::begin(service()?, &self.place.experiment, &self.name, now())?;
        let record = json!({"server": self.shown, "run": server.run});
        if let Err(error) = write_atomically(&self.record, format!("{record}\n").as_bytes()) {
            eprintln!("warning: {error}; a resumed run will be a new one on {}", self.shown);
        }
        server.parameters(&self.parameters)?;
        Ok(server)
    }
}

fn service(place: &Place, authorization: &Option<String>) -> Result<Service, ServiceError> {
    let patience = Patience {
        connect: Duration::from_secs(5),
        silence: Duration::from_secs(10),
        attempts: 1,
        ..Patience::default()
    };
    Service::at(&place.server, authorization.clone(), patience)
}

/// As MLflow's own client has it: a token, else a name and a password.
fn authorization() -> Option<String> {
    let variable = |name| env::var(name).ok().filter(|value| !value.is_empty());
    if let Some(token) = variable("MLFLOW_TRACKING_TOKEN") {
        return Some(format!("Bearer {token}"));
    }
    let name = variable("MLFLOW_TRACKING_USERNAME")?;
    let password = variable("MLFLOW_TRACKING_PASSWORD").unwrap_or_default();
    Some(moco_data::basic_authorization(&name, &password))
}

/// The run on the server that a folder's run went to before.
fn known_run(record: &Path, place: &Place) -> Option<String> {
    let record: Value = serde_json::from_str(&fs::read_to_string(record).ok()?).ok()?;
    let shown = without_secrets(Path::new(&place.server)).display().to_string();
    (record["server"] == shown).then(|| record["run"].as_str().map(str::to_owned)).flatten()
}

/// Every setting by its dotted name.
fn parameters(config: &Plan) -> anyhow::Result<Vec<(String, String)>> {
    let table: toml::Table = config.to_toml()?.parse()?;
    let mut all = Vec::new();
    flatten("", &toml::Value::Table(table), &mut all);
    if all.is_empty() {
        bail!("a configuration without settings");
    }
    Ok(all)
}

fn flatten(name: &str, value: &toml::Value, out: &mut Vec<(String, String)>) {
    match value {
        toml::Value::Table(table) => {
            for (key, value) in table {
                let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                flatten(&name, value, out);
            }
        }
        toml::Value::String(text) => out.push((name.to_owned(), text.clone())),
        other => out.push((name.to_owned(), other.to_string())),
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_and_others_refused() {
        let place = |text: &str| text.parse::<Place>();
        let expected = |server: &str, experiment: &str| {
            Ok(Place { server: server.to_owned(), experiment: experiment.to_owned() })
        };
        assert_eq!(place("mlflow:http://host"), expected("http://host", "moco"));
        assert_eq!(place("mlflow:http://h:5000/birds/"), expected("http://h:5000", "birds"));
        assert_eq!(place("mlflow:https://h/a/b"), expected("https://h", "a/b"));
        for wrong in ["wandb:http://h", "mlflow:h:5000", "mlflow:http://", "mlflow:http:///x", ""] {
            assert!(place(wrong).is_err(), "{wrong}");
        }
    }
}
