//! How a run is watched: events, trackers, completions and manual pages.

use crate::training::{Running, SMALL, command, place};
use crate::{moco, moco_line};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

const TRAIN: &str = "pretrain --data {}/images --out {}/run --epochs 2";

fn objects(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .collect()
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

#[test]
fn events_are_objects_on_stdout_and_words_go_to_stderr() {
    let (_place, path) = place();
    let outcome = moco_line(&format!("{TRAIN} {SMALL} --events json"), &path);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let objects = objects(&outcome.stdout);
    let steps = of_kind(&objects, "step");
    assert_eq!(steps.len(), 12, "every step");
    assert!(steps.iter().zip(1u64..).all(|(step, n)| step["step"] == n && step["loss"].is_f64()));
    assert_eq!(of_kind(&objects, "start")[0]["total_steps"], 12);
    let epochs = of_kind(&objects, "epoch");
    assert_eq!(epochs.len(), 2);
    assert!(epochs.iter().all(|epoch| epoch["rank_me"].is_f64() && epoch["lidar"].is_f64()));
    assert_eq!(of_kind(&objects, "saved").len(), 2);
    let end = objects.last().unwrap();
    assert_eq!((&end["kind"], &end["stopped"]), (&"end".into(), &false.into()));
    assert!(outcome.stderr.contains("finished 12 steps"), "{}", outcome.stderr);

    let again = moco_line(&format!("{TRAIN} {SMALL} --events json"), &path);
    assert_eq!((again.code, again.stdout.as_str()), (Some(1), ""), "a run that cannot begin");
    let outcome = moco_line(&format!("{TRAIN} {SMALL} --events xml"), &path);
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.contains("json"), "{}", outcome.stderr);
}

#[test]
fn a_dashboard_without_a_terminal_is_plain_lines() {
    let (_place, path) = place();
    let outcome = moco_line(&format!("{TRAIN} {SMALL} --dashboard"), &path);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("no terminal to draw a dashboard on"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("epoch 2/2") && !outcome.stderr.contains('\u{1b}'));
}

#[test]
fn completions_and_manual_pages_know_every_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let outcome = moco(["completions", shell]);
        assert_eq!(outcome.code, Some(0), "{shell}");
        assert!(outcome.stdout.contains("split-check"), "{shell}");
    }
    let outcome = moco(["completions", "tcsh"]);
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.contains("bash"), "{}", outcome.stderr);

    let place = tempfile::tempdir().unwrap();
    let outcome = moco_line("man --out {}/pages", place.path());
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    for (page, words) in [
        ("moco.1", "moco\\-pretrain(1)"),
        ("moco-pretrain.1", "dashboard"),
        ("moco-eval-linear.1", "solver"),
    ] {
        let text = fs::read_to_string(place.path().join("pages").join(page)).unwrap();
        assert!(text.contains(".TH") && text.contains(words), "{page}:\n{text}");
    }
    fs::write(place.path().join("file"), "").unwrap();
    let outcome = moco_line("man --out {}/file", place.path());
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.contains("cannot write"), "{}", outcome.stderr);
}

/// A server that speaks what MLflow's REST interface speaks, as far as a tracker asks.
struct Mlflow {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    experiments: Vec<String>,
    runs: Vec<Value>,
    metrics: Vec<Value>,
    parameters: Vec<Value>,
    updates: Vec<Value>,
    authorizations: Vec<String>,
    /// Requests that are answered with 503.
    busy: usize,
}

impl Mlflow {
    fn start(busy: usize) -> Mlflow {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State { busy, ..State::default() }));
        let theirs = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&theirs);
                thread::spawn(move || while answer(&stream, &state).is_some() {});
            }
        });
        Mlflow { address, state }
    }

    fn place(&self) -> String {
        format!("mlflow:http://{}/birds of prey", self.address)
    }
}

/// Reads a request and answers it; none when the connection ends.
fn answer(mut stream: &TcpStream, state: &Mutex<State>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let (mut length, mut authorization) = (0, String::new());
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().ok()?,
            "authorization" => authorization = value.to_owned(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let (status, text) = told(&method, &path, &body, authorization, &mut state.lock().unwrap());
    let head = format!("HTTP/1.1 {status} .\r\nContent-Length: {}\r\n\r\n", text.len());
    stream.write_all(format!("{head}{text}").as_bytes()).ok()
}

fn told(method: &str, path: &str, body: &Value, who: String, state: &mut State) -> (u16, String) {
    if state.busy > 0 {
        state.busy -= 1;
        return (503, String::new());
    }
    state.authorizations.push(who);
    let path = path.strip_prefix("/api/2.0/mlflow/").unwrap_or("");
    match (method, path) {
        ("GET", "experiments/get-by-name?experiment_name=birds%20of%20prey") => {
            match state.experiments.is_empty() {
                true => (404, r#"{"error_code": "RESOURCE_DOES_NOT_EXIST"}"#.to_owned()),
                false => (200, r#"{"experiment": {"experiment_id": "7"}}"#.to_owned()),
            }
        }
        ("POST", "experiments/create") => {
            state.experiments.push(body["name"].as_str().unwrap().to_owned());
            (200, r#"{"experiment_id": "7"}"#.to_owned())
        }
        ("POST", "runs/create") if body["experiment_id"] == "7" => {
            state.runs.push(body.clone());
            (200, format!(r#"{{"run": {{"info": {{"run_id": "r{}"}}}}}}"#, state.runs.len()))
        }
        ("POST", "runs/log-batch") if body["run_id"] == format!("r{}", state.runs.len()) => {
            let list = |name: &str| body[name].as_array().cloned().unwrap_or_default();
            let (metrics, parameters) = (list("metrics"), list("params"));
            if metrics.len() > 1000 || parameters.len() > 100 {
                return (400, "too many".to_owned());
            }
            state.metrics.extend(metrics);
            state.parameters.extend(parameters);
            (200, "{}".to_owned())
        }
        ("POST", "runs/update") => {
            state.updates.push(body.clone());
            (200, "{}".to_owned())
        }
        _ => (404, format!("no {method} {path}")),
    }
}

fn tracked(at: &str, path: &Path) -> std::process::Command {
    let mut command = command(&format!("{TRAIN} {SMALL} --set train.log_steps=1"), path);
    command.args(["--track", at]);
    command
}

fn steps_of(state: &State, key: &str) -> Vec<u64> {
    let of_key = state.metrics.iter().filter(|metric| metric["key"] == key);
    of_key.map(|metric| metric["step"].as_u64().unwrap()).collect()
}

#[test]
fn mlflow_has_the_settings_the_values_and_the_end_of_a_run() {
    let (_place, path) = place();
    let server = Mlflow::start(0);
    let mut command = tracked(&server.place(), &path);
    command.env("MLFLOW_TRACKING_USERNAME", "ann").env("MLFLOW_TRACKING_PASSWORD", "pw");
    let outcome = crate::outcome(&mut command);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert!(!outcome.stderr.contains("warning"), "{}", outcome.stderr);
    {
        let state = server.state.lock().unwrap();
        assert_eq!(state.experiments, ["birds of prey"]);
        assert_eq!((state.runs.len(), &state.runs[0]["run_name"]), (1, &"run".into()));
        assert_eq!(steps_of(&state, "train/loss"), (1..=12).collect::<Vec<_>>());
        assert_eq!(steps_of(&state, "epoch/rank_me"), [6, 12]);
        let lr = state.parameters.iter().find(|one| one["key"] == "optim.lr").unwrap();
        assert!(lr["value"].as_str().unwrap().parse::<f64>().is_ok());
        assert_eq!(state.updates.last().unwrap()["status"], "FINISHED");
        assert!(state.authorizations.iter().all(|who| who == "Basic YW5uOnB3"));
    }
    // A longer run goes on with the same run there.
    let line = "pretrain --resume {}/run --set train.max_steps=12";
    let mut command = crate::training::command(line, &path);
    let outcome = crate::outcome(command.args(["--track", &server.place()]));
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let state = server.state.lock().unwrap();
    assert_eq!(state.runs.len(), 1);
    let words: Vec<_> = state.updates.iter().map(|update| update["status"].clone()).collect();
    assert_eq!(words, ["FINISHED", "RUNNING", "FINISHED"]);
}

#[test]
fn a_busy_server_gets_everything_later() {
    let (_place, path) = place();
    let server = Mlflow::start(1);
    let mut command = tracked(&server.place(), &path);
    // Long enough for a second attempt.
    command.args(["--set", "train.epochs=40"]);
    let outcome = crate::outcome(&mut command);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert_eq!(outcome.stderr.matches("too busy").count(), 1, "said once: {}", outcome.stderr);
    let state = server.state.lock().unwrap();
    assert_eq!(steps_of(&state, "train/loss").len(), 240, "{}", outcome.stderr);
}

#[test]
fn a_server_that_is_away_stops_nothing_and_is_told_once() {
    let (_place, path) = place();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let begin = Instant::now();
    let outcome = crate::outcome(&mut tracked(&format!("mlflow:http://{nobody}"), &path));
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert!(outcome.stdout.contains("finished 12 steps"), "{}", outcome.stdout);
    assert_eq!(outcome.stderr.matches("refuses connections").count(), 1, "{}", outcome.stderr);
    assert!(outcome.stderr.contains("did not take"), "{}", outcome.stderr);
    assert!(begin.elapsed() < Duration::from_secs(60));
}

#[test]
fn a_stopped_run_is_killed_there_too() {
    let (_place, path) = place();
    let server = Mlflow::start(0);
    let mut command = tracked(&server.place(), &path);
    command.args(["--set", "train.epochs=100000"]);
    let running = Running::start(command);
    let begin = Instant::now();
    while server.state.lock().unwrap().metrics.is_empty() {
        assert!(begin.elapsed() < Duration::from_secs(60));
        thread::sleep(Duration::from_millis(20));
    }
    running.signal("INT");
    while server.state.lock().unwrap().updates.is_empty() {
        assert!(begin.elapsed() < Duration::from_secs(90));
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(server.state.lock().unwrap().updates[0]["status"], "KILLED");
}

#[test]
fn a_place_that_makes_no_sense_is_refused() {
    let (_place, path) = place();
    for at in ["wandb:x", "mlflow:localhost", "mlflow:http://"] {
        let outcome = crate::outcome(&mut tracked(at, &path));
        assert_eq!(outcome.code, Some(1), "{at}");
        assert!(outcome.stderr.contains("--track"), "{at}: {}", outcome.stderr);
    }
    assert!(!path.join("run").exists());
}
