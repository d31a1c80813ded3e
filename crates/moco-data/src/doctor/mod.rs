//! A data set, examined: what cannot be read, what is odd, what is there twice, and what it is like.
//!
//! [`examine`] reads every image once, on all threads, and returns a [`Report`], which is data, can
//! be printed as a table ([`Report::to_text`]) and as a page with thumbnails ([`html`]). It changes
//! nothing and fails on nothing: what is wrong with an image is a finding.

mod html;
mod near;
mod phash;
mod probe;
mod report;
mod stats;
mod text;

pub use html::html;
pub use report::{Bin, Class, Finding, Groups, Kind, Left, Member, Range, Report};

use crate::source::Dataset;
use probe::{Probe, Prober};
use stats::Moments;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;

/// Images that a thread looks at between two messages.
const CHUNK: usize = 16;

/// What to look for.
#[derive(Clone, Debug)]
pub struct DoctorConfig {
    /// Threads that read and decode.
    pub threads: usize,
    /// Images with a side below this many pixels are tiny.
    pub tiny_below: usize,
    /// Images of more pixels than this are very large.
    pub huge_above: usize,
    /// Images are near-duplicates whose perceptual hashes, of 64 bits, differ in at most this many;
    /// at most 5.
    pub near_distance: u32,
    /// Findings of each kind, and groups of duplicates, that are listed; all are counted.
    pub listed: usize,
}

impl Default for DoctorConfig {
    fn default() -> DoctorConfig {
        DoctorConfig {
            threads: thread::available_parallelism().map_or(1, usize::from),
            tiny_below: 16,
            huge_above: 50_000_000,
            near_distance: 4,
            listed: 1000,
        }
    }
}

/// Reads and judges every image. `progress` is called now and then with the number of images done.
///
/// The report does not depend on the number of threads.
pub fn examine(
    dataset: &Dataset,
    config: &DoctorConfig,
    progress: &mut dyn FnMut(usize),
) -> Report {
    let mut patient = Patient::new(dataset);
    let next = AtomicUsize::new(0);
    let threads = config.threads.max(1);
    let (sender, receiver) = sync_channel::<Vec<Probe>>(2 * threads);
    thread::scope(|scope| {
        for _ in 0..threads {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                let mut prober = Prober::new(dataset, config);
                loop {
                    let start = next.fetch_add(CHUNK, Ordering::Relaxed);
                    let chunk = start..dataset.len().min(start + CHUNK);
                    let empty = chunk.is_empty();
                    if empty || sender.send(chunk.map(|i| prober.probe(i)).collect()).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let mut done = 0;
        for probes in receiver {
            done += probes.len();
            probes.into_iter().for_each(|probe| patient.note(probe));
            progress(done);
        }
    });
    patient.report(config)
}

/// What is known so far.
struct Patient<'a> {
    dataset: &'a Dataset,
    report: Report,
    findings: Vec<(Kind, usize, String)>,
    moments: Moments,
    sizes: Vec<(u32, u32)>,
    contents: Vec<([u8; 16], usize)>,
    looks: HashMap<usize, u64>,
}

impl<'a> Patient<'a> {
    fn new(dataset: &'a Dataset) -> Patient<'a> {
        let left = |skipped: &crate::Skipped| Left {
            name: skipped.name.clone(),
            reason: skipped.reason.clone(),
        };
        Patient {
            dataset,
            report: Report {
                holdings: dataset.holdings().clone(),
                images: dataset.len(),
                skipped: dataset.skipped().iter().map(left).collect(),
                classes: classes(dataset),
                ..Report::default()
            },
            findings: Vec::new(),
            moments: Moments::default(),
            sizes: Vec::new(),
            contents: Vec::new(),
            looks: HashMap::new(),
        }
    }

    fn note(&mut self, probe: Probe) {
        let Probe { index, bytes, size, format, moments, content, look, findings } = probe;
        self.report.bytes += bytes;
        self.findings.extend(findings.into_iter().map(|(kind, detail)| (kind, index, detail)));
        self.contents.extend(content.map(|content| (content, index)));
        self.looks.extend(look.map(|look| (index, look)));
        if let Some(size) = size {
            self.report.readable += 1;
            self.sizes.push(size);
            self.moments.add(&moments);
            *self.report.formats.entry(format.to_string()).or_default() += 1;
        }
    }

    fn report(mut self, config: &DoctorConfig) -> Report {
        self.findings.sort();
        for (kind, index, detail) in std::mem::take(&mut self.findings) {
            let count = self.report.counts.entry(kind).or_default();
            *count += 1;
            if *count <= config.listed {
                let name = self.dataset.name(index).to_string();
                self.report.findings.push(Finding { kind, index, name, detail });
            }
        }
        let (mut widths, mut heights): (Vec<u32>, Vec<u32>) = self.sizes.iter().copied().unzip();
        self.report.sizes =
            stats::bins(self.sizes.iter().map(|(width, height)| *width.min(height)));
        self.report.widths = stats::range(&mut widths);
        self.report.heights = stats::range(&mut heights);
        (self.report.mean, self.report.std) = self.moments.mean_and_std();
        let (duplicates, firsts) = self.duplicates();
        self.report.duplicates = self.groups(&duplicates, config.listed);
        let near = self.near_duplicates(&firsts, config.near_distance);
        self.report.near_duplicates = self.groups(&near, config.listed);
        self.report
    }

    /// Groups of equal bytes, and the first of each distinct content.
    fn duplicates(&mut self) -> (Vec<Vec<usize>>, Vec<usize>) {
        self.contents.sort_unstable();
        let equal = self.contents.chunk_by(|(a, _), (b, _)| a == b);
        let groups: Vec<Vec<usize>> =
            equal.map(|group| group.iter().map(|(_, index)| *index).collect()).collect();
        let mut firsts: Vec<usize> = groups.iter().map(|group| group[0]).collect();
        firsts.sort_unstable();
        let mut several: Vec<_> = groups.into_iter().filter(|group| group.len() > 1).collect();
        several.sort();
        (several, firsts)
    }

    fn near_duplicates(&self, firsts: &[usize], distance: u32) -> Vec<Vec<usize>> {
        let look = |&index: &usize| Some((index, *self.looks.get(&index)?));
        let (indices, looks): (Vec<usize>, Vec<u64>) = firsts.iter().filter_map(look).unzip();
        let groups = near::groups(&looks, distance);
        groups.iter().map(|group| group.iter().map(|&i| indices[i]).collect()).collect()
    }

    fn groups(&self, groups: &[Vec<usize>], listed: usize) -> Groups {
        let mixed = |group: &&Vec<usize>| {
            let mut labels = group.iter().filter_map(|&i| self.dataset.label(i));
            let first = labels.next();
            labels.any(|label| Some(label) != first)
        };
        let member = |&index: &usize| Member { index, name: self.dataset.name(index).to_string() };
        Groups {
            groups: groups.len(),
            surplus: groups.iter().map(|group| group.len() - 1).sum(),
            across_classes: groups.iter().filter(mixed).count(),
            listed: groups.iter().take(listed).map(|g| g.iter().map(member).collect()).collect(),
        }
    }
}

fn classes(dataset: &Dataset) -> Vec<Class> {
    let mut counts = vec![0; dataset.class_names().len()];
    for label in (0..dataset.len()).filter_map(|i| dataset.label(i)) {
        counts[label as usize] += 1;
    }
    let class = |(name, images): (&String, usize)| Class { name: name.clone(), images };
    dataset.class_names().iter().zip(counts).map(class).collect()
}
