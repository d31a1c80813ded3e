//! Runs that other processes look at, stop or stand in the way of.

use moco_data::synthetic::{shapes, write_folder};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A network and batches small enough for a test.
pub const SMALL: &str = "--recipe moco-v1-small --batch-size 16 --set model.width=4 \
                         --set model.bn_groups=2 --set method.queue=48 --set method.dim=16 \
                         --set monitor.knn_epochs=0 --threads 1";
/// Ends after hours; a checkpoint at every fourth step.
pub const ENDLESS: &str = "--epochs 100000 --set train.checkpoint_steps=4 \
                           --set train.keep_checkpoints=2";

/// A temporary folder with labelled images in `images`.
pub fn place() -> (TempDir, PathBuf) {
    let place = tempfile::tempdir().unwrap();
    write_folder(&shapes(96, 32, 0), &place.path().join("images")).unwrap();
    let path = place.path().to_path_buf();
    (place, path)
}

/// `moco` with the words of `line`, in which `{}` stands for `path`.
pub fn command(line: &str, path: &Path) -> Command {
    in_place_of(env!("CARGO_BIN_EXE_moco"), line, path)
}

/// Another program with the words of `line`.
pub fn in_place_of(program: &str, line: &str, path: &Path) -> Command {
    let mut command = Command::new(program);
    let word = |word: &str| word.replace("{}", path.to_str().unwrap());
    command.args(line.split_whitespace().map(word));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A process that is killed at the end of a test that fails.
pub struct Running(pub Option<Child>);

impl Running {
    pub fn start(mut command: Command) -> Running {
        Running(Some(command.spawn().unwrap()))
    }

    pub fn id(&self) -> u32 {
        self.0.as_ref().unwrap().id()
    }

    pub fn is_running(&mut self) -> bool {
        self.0.as_mut().unwrap().try_wait().unwrap().is_none()
    }

    /// Sends a signal by its name, e.g. `TERM`.
    pub fn signal(&self, name: &str) {
        let done =
            Command::new("kill").args([&format!("-{name}"), &self.id().to_string()]).status();
        assert!(done.unwrap().success());
    }

    /// Waits for its end, a minute at most.
    pub fn end(mut self) -> Output {
        wait_for("the process to end", || !self.is_running());
        self.0.take().unwrap().wait_with_output().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[track_caller]
pub fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < Duration::from_secs(60), "waited a minute for {what}");
        sleep(Duration::from_millis(2));
    }
}

/// Names in a folder, sorted; none if there is no folder.
pub fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// The newest checkpoint of a run.
pub fn newest(run: &Path) -> Option<String> {
    names(&run.join("checkpoints")).into_iter().rfind(|name| name.ends_with(".safetensors"))
}

/// Waits for a checkpoint other than `seen`.
#[track_caller]
pub fn next_checkpoint(run: &Path, seen: Option<&String>) -> String {
    wait_for("a checkpoint", || newest(run).is_some_and(|name| Some(&name) != seen));
    newest(run).unwrap()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
