//! `moco bench data`: how fast images become views.

use crate::args::BenchDataArgs;
use crate::data;
use crate::session::Machine;
use moco::config::DataFacts;
use moco::plan::{self, load_recipe, resolve};
use moco_data::View;
use moco_data::bench::{BenchConfig, BenchReport, Rate, measure};
use toml::Table;

/// Images per batch of the loader.
const BATCH: usize = 64;

/// Measures each stage and prints a table, or one line of JSON.
pub fn run(args: &BenchDataArgs) -> anyhow::Result<()> {
    let machine = Machine::open(&args.machine)?;
    let config = BenchConfig {
        views: views(args)?,
        threads: machine.options.threads,
        batch_size: BATCH,
        seconds: args.seconds,
        cache_mb: machine.options.cache_mb,
    };
    let report = measure(&args.data, &config)?;
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print(&report, &config.views);
    }
    Ok(())
}

/// The views of the recipe, or those that `pretrain` would choose for these images.
fn views(args: &BenchDataArgs) -> anyhow::Result<Vec<View>> {
    let mut tree = match &args.recipe {
        Some(recipe) => load_recipe(recipe)?,
        None => Table::new(),
    };
    plan::set(&mut tree, "data.path", "images".into())?;
    let facts = DataFacts::of(&data::open(&args.data)?)?;
    // The length of a run has no part in it, so that small data sets can be measured too.
    let facts = DataFacts { images: facts.images.max(1 << 20), ..facts };
    Ok(resolve(&tree, &facts)?.config.views().to_vec())
}

fn print(report: &BenchReport, views: &[View]) {
    println!(
        "{} images listed in {:.2} s; {} threads; JPEG by {}",
        report.images, report.listing_seconds, report.threads, report.decoder
    );
    row("reading and decoding", &report.decode);
    row("views of decoded images", &report.views);
    row("whole pipeline, no cache", &report.pipeline);
    if let Some(cached) = &report.cached {
        row("whole pipeline, with cache", cached);
    }
    println!(
        "the pipeline keeps {:.0} % of the speed of decoding",
        100.0 * report.share_of_decoding
    );
    for (number, view) in views.iter().enumerate() {
        println!("\nview {}: {view}", number + 1);
        for operation in report.operations.iter().filter(|operation| operation.view == number) {
            println!("{:>10.1} us  {}", operation.microseconds, operation.operation);
        }
    }
}

fn row(name: &str, rate: &Rate) {
    let cpu = rate
        .images_per_cpu_second
        .map_or_else(String::new, |rate| format!("  ({rate:.0} per second of one core)"));
    println!("{name:<28}{:>10.0} images/s{cpu}", rate.images_per_second);
}
