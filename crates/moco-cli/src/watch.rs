//! How a run is watched: on the screen, by programs, by servers.

use crate::args::{EventFormat, WatchArgs};
use crate::console::Console;
use crate::dashboard::Dashboard;
use crate::events::{self, EventStream};
#[cfg(feature = "remote")]
use crate::track::{Status, Tracker};
use moco::plan::Plan;
use moco::run::RunDir;
use moco::train::{Event, Finished, Observer};
use std::io::{IsTerminal, stderr, stdin};
use std::sync::atomic::AtomicBool;

/// All that watches a run besides its own files.
pub struct Watch {
    screen: Screen,
    stream: Option<EventStream>,
    #[cfg(feature = "remote")]
    trackers: Vec<Tracker>,
}

enum Screen {
    Lines(Console),
    Dashboard(Dashboard),
}

impl Watch {
    /// Begins to watch; what the screen cannot show comes as lines.
    pub fn begin(
        args: &WatchArgs,
        dir: &RunDir,
        config: &Plan,
        first_step: usize,
        stop: &'static AtomicBool,
    ) -> anyhow::Result<Watch> {
        #[cfg(feature = "remote")]
        let trackers = args.track.iter().map(|at| Tracker::begin(at, dir, config, first_step));
        #[cfg(feature = "remote")]
        let trackers = trackers.collect::<anyhow::Result<_>>()?;
        #[cfg(not(feature = "remote"))]
        let _ = (dir, config, first_step);
        Ok(Watch {
            stream: (args.events == Some(EventFormat::Json)).then(EventStream::default),
            #[cfg(feature = "remote")]
            trackers,
            screen: Screen::open(args.dashboard, stop),
        })
    }

    /// The run has ended, well or not.
    pub fn end(self, outcome: Result<&Finished, &anyhow::Error>) {
        drop(self.screen);
        if self.stream.is_some() {
            match outcome {
                Ok(finished) => events::end(finished),
                Err(error) => events::failed(error),
            }
        }
        #[cfg(feature = "remote")]
        for tracker in self.trackers {
            tracker.end(match outcome {
                Ok(finished) if finished.stopped => Status::Killed,
                Ok(_) => Status::Finished,
                Err(_) => Status::Failed,
            });
        }
    }
}

impl Screen {
    fn open(dashboard: bool, stop: &'static AtomicBool) -> Screen {
        if dashboard {
            if stderr().is_terminal() && stdin().is_terminal() {
                match Dashboard::open(stop) {
                    Ok(dashboard) => return Screen::Dashboard(dashboard),
                    Err(error) => eprintln!("note: no dashboard ({error}): plain lines instead"),
                }
            } else {
                eprintln!("note: no terminal to draw a dashboard on: plain lines instead");
            }
        }
        Screen::Lines(Console::new())
    }
}

impl Observer for Watch {
    fn event(&mut self, event: &Event) {
        match &mut self.screen {
            Screen::Lines(console) => console.event(event),
            Screen::Dashboard(dashboard) => dashboard.event(event),
        }
        if let Some(stream) = &mut self.stream {
            stream.event(event);
        }
        #[cfg(feature = "remote")]
        self.trackers.iter_mut().for_each(|tracker| tracker.event(event));
    }

    fn asks_to_save(&mut self) -> bool {
        match &mut self.screen {
            Screen::Lines(_) => false,
            Screen::Dashboard(dashboard) => dashboard.asks_to_save(),
        }
    }
}
