//! How a run is watched, as asked for.

// Help texts: brackets stand for what may be left out, and are no links.
#![allow(rustdoc::broken_intra_doc_links)]

use clap::{Args, ValueEnum};

/// What watches a run besides its own files.
#[derive(Clone, Debug, Default, Args)]
pub struct WatchArgs {
    /// Curves, progress and health on the whole terminal, with keys to pause, save and stop
    #[arg(long)]
    pub dashboard: bool,
    /// Events on stdout, one JSON object a line, for programs; all other lines go to stderr
    #[arg(long, value_name = "FORMAT")]
    pub events: Option<EventFormat>,
    /// Also write to an MLflow server, mlflow:http://host[:port][/experiment]; repeatable
    #[cfg(feature = "remote")]
    #[arg(long, value_name = "mlflow:URL")]
    pub track: Vec<crate::track::Place>,
}

/// How events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EventFormat {
    /// One object a line
    Json,
}
