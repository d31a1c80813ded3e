//! One process at a time writes a run.

use crate::moco_line;
use crate::training::{ENDLESS, Running, SMALL, command, next_checkpoint, place, text, wait_for};
use std::fs::File;

#[test]
fn a_run_in_use_is_refused_and_free_when_its_process_dies() {
    let (_place, path) = place();
    let begin = format!("pretrain --data {{}}/images --out {{}}/run {SMALL} {ENDLESS}");
    let running = Running::start(command(&begin, &path));
    next_checkpoint(&path.join("run"), None);
    wait_for("an encoder", || path.join("run/encoder.safetensors").exists());

    let by = format!("/run` is in use by process {} on host ", running.id());
    for line in [begin.as_str(), "pretrain --resume {}/run"] {
        let outcome = moco_line(line, &path);
        assert_eq!(outcome.code, Some(1), "{line}: {}", outcome.stderr);
        let message = outcome.stderr.lines().last().unwrap();
        assert!(message.contains(&by) && message.contains(" since 20"), "{message}");
        assert!(message.ends_with("; stop it, or give another folder"), "{message}");
    }
    // Reading needs no lock.
    let embedded = moco_line("embed --run {}/run --data {}/images --out {}/f.npy", &path);
    assert_eq!(embedded.code, Some(0), "{}", embedded.stderr);

    running.signal("KILL");
    running.end();
    let resumed = Running::start(command("pretrain --resume {}/run", &path));
    let seen = next_checkpoint(&path.join("run"), None);
    next_checkpoint(&path.join("run"), Some(&seen));
    resumed.signal("TERM");
    let output = resumed.end();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

/// However a comparison ends, the run that it has started saves and ends too.
#[cfg(unix)]
#[test]
fn a_comparison_is_one_and_takes_its_run_with_it() {
    let (_place, path) = place();
    let line = "compare --data {}/images --out {}/out --methods simsiam --epochs 100000 \
                --set train.batch_size=16 --set model.width=4 --threads 1";
    let running = Running::start(command(line, &path));
    let run = path.join("out/simsiam");
    next_checkpoint(&run, None);
    let second = moco_line(line, &path);
    assert_eq!(second.code, Some(1), "{}", second.stderr);
    assert!(second.stderr.contains(&format!("in use by process {}", running.id())));

    running.signal("KILL");
    let lock = File::open(run.join(".lock")).unwrap();
    wait_for("the run to end", || lock.try_lock().is_ok());
}
