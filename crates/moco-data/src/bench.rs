//! How fast images are listed, decoded and augmented on this machine.
//!
//! Every stage is measured on its own and then the whole, so that a report says which stage is the
//! limit: decoding alone on all threads, the views alone, each operation of the views on one
//! thread, and the [`Loader`] from file to batch with and without its cache.

use crate::augment::{Scratch, View};
use crate::error::DataError;
use crate::image::Image;
use crate::loader::{Loader, LoaderConfig, share_out};
use crate::random::ViewKey;
use crate::source::Dataset;
use serde::Serialize;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Decoded images that views are measured on; photos of 500x400 pixels take 150 MB.
const SAMPLE: usize = 256;

/// What is measured.
#[derive(Clone, Debug)]
pub struct BenchConfig {
    /// The views of each image.
    pub views: Vec<View>,
    /// Threads that decode and augment.
    pub threads: usize,
    /// Images per batch; at most the data set's.
    pub batch_size: usize,
    /// How long each stage is measured, in seconds.
    pub seconds: f64,
    /// Memory for decoded images of the run with a cache, in MiB; that run is left out if 0.
    pub cache_mb: usize,
}

/// What was measured. A rate counts source images, each with all its views.
#[derive(Clone, Debug, Serialize)]
pub struct BenchReport {
    /// Images in the data set.
    pub images: usize,
    /// Threads of every rate.
    pub threads: usize,
    /// Version of the library, and how it decodes JPEG.
    pub decoder: &'static str,
    /// Seconds to open the data set.
    pub listing_seconds: f64,
    /// Reading and decoding alone.
    pub decode: Rate,
    /// The views of decoded images alone.
    pub views: Rate,
    /// Each operation of each view, in the order written.
    pub operations: Vec<OperationTime>,
    /// The loader, from file to batch, without a cache.
    pub pipeline: Rate,
    /// The loader with all images that fit the cache in it.
    pub cached: Option<Rate>,
    /// Images per second of the whole pipeline: that with the cache, if there is one.
    pub images_per_second: f64,
    /// Speed of the pipeline without a cache in units of decoding alone, in processor time if that
    /// is known.
    pub share_of_decoding: f64,
}

/// How fast something went.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Rate {
    /// Images per second of wall time.
    pub images_per_second: f64,
    /// Images per second of one core's time, which other programs on the machine disturb less;
    /// known on Linux.
    pub images_per_cpu_second: Option<f64>,
}

/// The cost of an operation.
#[derive(Clone, Debug, Serialize)]
pub struct OperationTime {
    /// Which view of the configuration.
    pub view: usize,
    /// The operation as text.
    pub operation: String,
    /// Mean time per image on one thread; an operation that happens only sometimes costs that
    /// much less.
    pub microseconds: f64,
}

/// Opens a data set and measures it.
///
/// # Errors
/// If it cannot be opened, or the loader fails.
pub fn measure(path: &Path, config: &BenchConfig) -> Result<BenchReport, DataError> {
    let start = Instant::now();
    let dataset = Arc::new(Dataset::open(path)?);
    let listing_seconds = start.elapsed().as_secs_f64();

    let decode = decoding(&dataset, config)?;
    let sample = sample(&dataset);
    let views = augmenting(&sample, config)?;
    let operations = operations(&sample, config);
    drop(sample);
    let pipeline = loading(&dataset, config, 0)?;
    let cached = match config.cache_mb {
        0 => None,
        cache_mb => Some(loading(&dataset, config, cache_mb)?),
    };
    let share_of_decoding = match (pipeline.images_per_cpu_second, decode.images_per_cpu_second) {
        (Some(pipeline), Some(decode)) => pipeline / decode,
        _ => pipeline.images_per_second / decode.images_per_second,
    };
    Ok(BenchReport {
        images: dataset.len(),
        threads: config.threads,
        decoder: if cfg!(feature = "turbojpeg") { "libjpeg-turbo" } else { "zune-jpeg" },
        listing_seconds,
        decode,
        views,
        operations,
        pipeline,
        cached,
        images_per_second: cached.unwrap_or(pipeline).images_per_second,
        share_of_decoding,
    })
}

/// Reads and decodes images in turn, for so long, and drops them.
fn decoding(dataset: &Dataset, config: &BenchConfig) -> Result<Rate, DataError> {
    let mut workers = vec![(); config.threads];
    on_all_threads(dataset.len(), config, &mut workers, |i, ()| {
        // An image that cannot be read takes its time as well.
        let _ = dataset.fetch(i, None);
    })
}

fn augmenting(sample: &[Image], config: &BenchConfig) -> Result<Rate, DataError> {
    let mut workers: Vec<(Scratch, Vec<f32>)> = Vec::new();
    workers.resize_with(config.threads, Default::default);
    on_all_threads(sample.len(), config, &mut workers, |i, (scratch, out)| {
        for (number, view) in config.views.iter().enumerate() {
            out.resize(view.value_count(), 0.0);
            view.apply_with(scratch, &sample[i], key(i, number), out, &mut |_| {});
        }
    })
}

/// Calls `work` with `0..len` over and over, on a thread per worker, until the time is up.
fn on_all_threads<W: Send>(
    len: usize,
    config: &BenchConfig,
    workers: &mut [W],
    work: impl Fn(usize, &mut W) + Sync,
) -> Result<Rate, DataError> {
    let stopwatch = Stopwatch::start();
    let end = Instant::now() + Duration::from_secs_f64(config.seconds);
    let mut done = 0;
    let numbers = (0..len).cycle().take_while(|_| Instant::now() < end).inspect(|_| done += 1);
    share_out(numbers, workers, work)?;
    Ok(stopwatch.rate(done))
}

/// Repetitions of each view of which the fastest counts.
const REPEATS: usize = 5;

/// Times each operation on one thread, for all images. A view draws the same numbers each time, so
/// the fastest of several times is what it takes when no other program disturbs it.
fn operations(sample: &[Image], config: &BenchConfig) -> Vec<OperationTime> {
    let mut scratch = Scratch::default();
    let mut out = Vec::new();
    let mut report = Vec::new();
    for (number, view) in config.views.iter().enumerate() {
        let steps = view.steps();
        let mut total = vec![Duration::ZERO; steps.len()];
        out.resize(view.value_count(), 0.0);
        for (i, image) in sample.iter().enumerate() {
            let mut best = vec![Duration::MAX; steps.len()];
            for _ in 0..REPEATS {
                let mut times = vec![Duration::ZERO; steps.len()];
                let mut last = Instant::now();
                view.apply_with(&mut scratch, image, key(i, number), &mut out, &mut |step| {
                    let now = Instant::now();
                    times[step] += now - last;
                    last = now;
                });
                best.iter_mut().zip(times).for_each(|(best, time)| *best = time.min(*best));
            }
            total.iter_mut().zip(best).for_each(|(total, best)| *total += best);
        }
        let microseconds = |time: Duration| time.as_secs_f64() * 1e6 / sample.len() as f64;
        report.extend(steps.into_iter().zip(total).map(|(operation, time)| OperationTime {
            view: number,
            operation,
            microseconds: microseconds(time),
        }));
    }
    report
}

/// The loader from file to batch, as training runs it. The time starts once it is warm: after the
/// first batch, or with a cache after the first epoch, if that is all in it.
fn loading(
    dataset: &Arc<Dataset>,
    config: &BenchConfig,
    cache_mb: usize,
) -> Result<Rate, DataError> {
    let batch_size = config.batch_size.min(dataset.len());
    let settings = LoaderConfig {
        batch_size,
        views: config.views.clone(),
        seed: 0,
        threads: config.threads,
        prefetch: 2,
        max_bad_share: 1.0,
        cache_mb,
    };
    let mut loader = Loader::start(Arc::clone(dataset), settings, 0)?;
    let warm_up = if cache_mb == 0 { 1 } else { loader.steps_per_epoch() + 1 };
    for _ in 0..warm_up {
        loader.next_batch()?;
    }
    let stopwatch = Stopwatch::start();
    let mut images = 0;
    while images == 0 || stopwatch.wall.elapsed().as_secs_f64() < config.seconds {
        images += loader.next_batch()?.indices.len();
    }
    Ok(stopwatch.rate(images))
}

/// The first images that can be read.
fn sample(dataset: &Dataset) -> Vec<Image> {
    (0..dataset.len()).filter_map(|i| dataset.load(i).ok()).take(SAMPLE).collect()
}

fn key(image: usize, view: usize) -> ViewKey {
    ViewKey { seed: 0, epoch: 0, image: image as u64, view: view as u64 }
}

struct Stopwatch {
    wall: Instant,
    cpu: Option<f64>,
}

impl Stopwatch {
    fn start() -> Stopwatch {
        Stopwatch { wall: Instant::now(), cpu: cpu_seconds() }
    }

    fn rate(&self, images: usize) -> Rate {
        let cpu = self.cpu.zip(cpu_seconds()).map(|(start, end)| end - start);
        Rate {
            images_per_second: images as f64 / self.wall.elapsed().as_secs_f64(),
            images_per_cpu_second: cpu.filter(|&cpu| cpu > 0.0).map(|cpu| images as f64 / cpu),
        }
    }
}

/// Processor time that this process has taken, user's and system's.
fn cpu_seconds() -> Option<f64> {
    // In ticks, of which Linux has 100 a second on every architecture; the program's name, which
    // may hold spaces, ends in a parenthesis.
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |i: usize| fields.get(i)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / 100.0)
}
