//! What a person sees on stderr: a bar on a terminal, plain lines elsewhere.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use moco::report::{Story, percent};
use moco::train::{Event, Observer, Start, StepReport};
use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

/// Time between two plain lines about steps or progress.
const PLAIN_INTERVAL: Duration = Duration::from_secs(10);
/// Unreadable images that are named; all of them are in `bad_files.csv`.
const BAD_FILES_NAMED: usize = 5;
/// Weight of the latest step in the running means of the bar.
const SMOOTHING: f64 = 0.1;

const STEP_STYLE: &str = "{wide_bar} {pos}/{len} steps  {msg}  {eta} left";
const STAGE_STYLE: &str = "{msg} {wide_bar} {pos}/{len}  {eta} left";

/// Shows a run.
pub struct Console {
    story: Story,
    bar: Option<ProgressBar>,
    stage: Option<Stage>,
    last_line: Instant,
    speed: Option<Speed>,
    batch_size: usize,
    bad_files: usize,
}

impl Console {
    pub fn new() -> Console {
        Console {
            story: Story::default(),
            bar: None,
            stage: None,
            last_line: Instant::now(),
            speed: None,
            batch_size: 0,
            bad_files: 0,
        }
    }

    fn start(&mut self, start: &Start) {
        self.batch_size = start.batch_size;
        if stderr().is_terminal() {
            let bar = bar(start.total_steps, STEP_STYLE);
            bar.set_position(start.first_step as u64);
            bar.reset_eta();
            self.bar = Some(bar);
        }
    }

    fn step(&mut self, report: &StepReport, line: &str) {
        let speed = Speed::after(self.speed, report);
        self.speed = Some(speed);
        match &self.bar {
            Some(bar) => {
                bar.set_position(report.step as u64);
                bar.set_message(format!(
                    "loss {:.3}  {:.0} images/s  data wait {}",
                    report.loss,
                    self.batch_size as f64 / speed.seconds,
                    percent(speed.waited / speed.seconds, 0)
                ));
            }
            None if self.last_line.elapsed() >= PLAIN_INTERVAL => self.line(line),
            None => {}
        }
    }

    fn bad_file(&mut self, line: &str) {
        self.bad_files += 1;
        match self.bad_files {
            ..=BAD_FILES_NAMED => self.line(line),
            n if n == BAD_FILES_NAMED + 1 => {
                self.line("more images cannot be read; bad_files.csv lists them all");
            }
            _ => {}
        }
    }

    /// A line that stays.
    fn line(&mut self, text: &str) {
        self.last_line = Instant::now();
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }
}

impl Observer for Console {
    fn event(&mut self, event: &Event) {
        if let Event::Progress { stage, done, total } = event {
            self.stage.get_or_insert_with(|| Stage::new(stage)).advance(stage, *done, *total);
            return;
        }
        // Whatever else happens, the stage is over.
        self.stage = None;
        let Some(line) = self.story.tell(event) else { return };
        match event {
            Event::Start(start) => {
                self.line(&line);
                self.start(start);
            }
            Event::Step(report) => self.step(report, &line),
            Event::BadFile { .. } => self.bad_file(&line),
            Event::Saved(_) => {}
            _ => self.line(&line),
        }
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Running means of a step's time.
#[derive(Clone, Copy)]
struct Speed {
    seconds: f64,
    waited: f64,
}

impl Speed {
    fn after(before: Option<Speed>, report: &StepReport) -> Speed {
        let now = Speed { seconds: report.seconds.max(1e-9), waited: report.data_wait };
        let Some(before) = before else { return now };
        let mean = |old: f64, new: f64| old + SMOOTHING * (new - old);
        Speed {
            seconds: mean(before.seconds, now.seconds),
            waited: mean(before.waited, now.waited),
        }
    }
}

/// Shows how far a stage has come; its name says what is counted.
pub struct Stage {
    name: String,
    bar: Option<ProgressBar>,
    last_line: Instant,
}

impl Stage {
    pub fn new(name: &str) -> Stage {
        Stage { name: name.to_owned(), bar: None, last_line: Instant::now() }
    }

    /// `done` of `total`, in the stage called `name`.
    pub fn advance(&mut self, name: &str, done: usize, total: usize) {
        if self.name != name {
            *self = Stage::new(name);
        }
        if stderr().is_terminal() && !crate::terminal::is_quiet() {
            let bar = self.bar.get_or_insert_with(|| bar(total, STAGE_STYLE));
            bar.set_message(self.name.clone());
            bar.set_position(done as u64);
        } else if self.last_line.elapsed() >= PLAIN_INTERVAL {
            self.last_line = Instant::now();
            eprintln!("{name}: {done}/{total}");
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn bar(length: usize, style: &str) -> ProgressBar {
    let style =
        ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(Some(length as u64), ProgressDrawTarget::stderr())
        .with_style(style)
}
