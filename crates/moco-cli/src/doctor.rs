//! `moco doctor`: what is wrong with a data set, and what it is like.

use crate::args::DoctorArgs;
use crate::console::Stage;
use crate::data;
use anyhow::Context;
use moco_data::doctor::{self, DoctorConfig};
use std::fs;

/// Examines the data set and prints the report; with `--out`, writes it as a page too.
pub fn run(args: &DoctorArgs) -> anyhow::Result<()> {
    let dataset = data::open(&args.data)?;
    let mut config = DoctorConfig {
        tiny_below: args.tiny_below as usize,
        near_distance: args.near,
        ..DoctorConfig::default()
    };
    if let Some(threads) = args.threads {
        config.threads = usize::from(threads);
    }
    let total = dataset.len();
    let mut stage = Stage::new("examining");
    let mut progress = |done| stage.advance("examining", done, total);
    let report = doctor::examine(&dataset, &config, &mut progress);
    drop(stage);
    if let Some(out) = &args.out {
        let page = doctor::html(&report, &dataset, &args.data.display().to_string());
        fs::write(out, page).with_context(|| format!("cannot write {}", out.display()))?;
        eprintln!("wrote {}", out.display());
    }
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print!("{}", report.to_text());
    }
    Ok(())
}
