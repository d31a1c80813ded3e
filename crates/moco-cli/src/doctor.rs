//! `moco doctor`: what is wrong with a data set, and what it is like.

use crate::args::DoctorArgs;
use crate::console::Stage;
use crate::data;
use crate::output::Output;
use moco_data::doctor::{self, DoctorConfig};
use moco_data::without_secrets;
use std::io::Write;

/// Examines the data set and prints the report; with `--out`, writes it as a page too.
pub fn run(args: &DoctorArgs) -> anyhow::Result<()> {
    let page = args.out.as_deref().map(Output::page).transpose()?;
    let dataset = data::open_unsaid(&args.data)?;
    let mut config = DoctorConfig {
        tiny_below: args.tiny_below as usize,
        near_distance: args.near,
        ..DoctorConfig::default()
    };
    if let Some(threads) = args.threads {
        config.threads = usize::from(threads);
    }
    // A table and a page name a few of each kind and say how many there are; a program wants all.
    if args.json {
        config.listed = usize::MAX;
    }
    let total = dataset.len();
    let mut stage = Stage::new("examining");
    let mut progress = |done| stage.advance("examining", done, total);
    let report = doctor::examine(&dataset, &config, &mut progress);
    drop(stage);
    if let (Some(page), Some(path)) = (page, &args.out) {
        let text =
            doctor::html(&report, &dataset, &without_secrets(&args.data).display().to_string());
        page.write(|file| Ok(file.write_all(text.as_bytes())?))?;
        eprintln!("wrote {}", path.display());
    }
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print!("{}", report.to_text());
    }
    Ok(())
}
