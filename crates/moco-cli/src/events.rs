//! `--events json`: what happens, one JSON object a line on stdout, for programs that follow a run.

use moco::report::object;
use moco::train::{Event, Finished, Observer};
use serde_json::json;
use std::time::{Duration, Instant};

/// Time between two lines of progress within a stage; the last one always comes.
const INTERVAL: Duration = Duration::from_millis(500);

/// Writes the stream.
#[derive(Default)]
pub struct EventStream {
    last_progress: Option<Instant>,
}

impl Observer for EventStream {
    fn event(&mut self, event: &Event) {
        if let Event::Progress { done, total, .. } = event {
            let recent = self.last_progress.is_some_and(|last| last.elapsed() < INTERVAL);
            if recent && done < total {
                return;
            }
            self.last_progress = Some(Instant::now());
        }
        println!("{}", object(event));
        crate::terminal::flush();
    }
}

/// The last line of a run that ended by itself or was asked to stop.
pub fn end(finished: &Finished) {
    println!(
        "{}",
        json!({"kind": "end", "steps": finished.steps, "stopped": finished.stopped,
               "knn": finished.last_knn})
    );
}

/// The last line of a run that failed.
pub fn failed(error: &anyhow::Error) {
    println!("{}", json!({"kind": "failed", "reason": format!("{error:#}")}));
}
