//! A quick look at the beginning of every file: enough to tell most of what cannot be read, at a
//! fraction of the time that decoding takes.

use super::{BadFile, bad_files};
use crate::caught::caught;
use crate::source::{Dataset, Raw};
use image::ImageReader;
use std::collections::BTreeMap;
use std::io::Cursor;
use std::ops::ControlFlow;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes of a file that are read first. The size of a photo stands behind its thumbnail, which takes
/// up to 64 KiB; few have one.
const HEAD: usize = 32 << 10;
/// Distance between two images that are looked at one after the other, so that a scan that runs out
/// of time has seen something of every part of the data set.
const STRIDE: usize = 64;

/// What a look at the headers found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderScan {
    /// Images that were looked at.
    pub seen: usize,
    /// Images in the data set.
    pub images: usize,
    /// The images seen that cannot be read, sorted by name.
    pub bad: Vec<BadFile>,
}

/// Looks at the header of every image on `threads` threads, for at most `limit`; `progress` hears
/// (images seen, images), on the calling thread, and may end the scan.
///
/// A file whose header is not understood at once is decoded, so that whatever is reported cannot be
/// read. A file that is damaged behind its header is not found.
pub fn scan_headers(
    dataset: &Dataset,
    threads: usize,
    limit: Duration,
    progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
) -> HeaderScan {
    let images = dataset.len();
    let (begin, next, seen) = (Instant::now(), AtomicUsize::new(0), AtomicUsize::new(0));
    let bad = Mutex::new(BTreeMap::new());
    let end = || next.fetch_max(images, Ordering::Relaxed);
    let look = || {
        while begin.elapsed() < limit {
            let Some(index) = strided(next.fetch_add(1, Ordering::Relaxed), images) else { return };
            if let Some(reason) = fault(dataset, index)
                && let Ok(mut bad) = bad.lock()
            {
                bad.insert(index, reason);
            }
            seen.fetch_add(1, Ordering::Relaxed);
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(look)).collect();
        while !workers.iter().all(thread::ScopedJoinHandle::is_finished) {
            thread::sleep(Duration::from_millis(2));
            if progress(seen.load(Ordering::Relaxed), images).is_break() {
                end();
            }
        }
    });
    let bad = bad.into_inner().unwrap_or_default();
    let bad = bad_files(dataset, bad.into_iter());
    HeaderScan { seen: seen.into_inner(), images, bad }
}

/// The `n`-th image in an order that takes every 64th image first.
fn strided(n: usize, images: usize) -> Option<usize> {
    if n >= images {
        return None;
    }
    let (whole, rest) = (images / STRIDE, images % STRIDE);
    // The first `rest` columns are one longer.
    let long = rest * (whole + 1);
    let (column, row) = match n < long {
        true => (n / (whole + 1), n % (whole + 1)),
        false => (rest + (n - long) / whole, (n - long) % whole),
    };
    Some(row * STRIDE + column)
}

/// Why an image cannot be read, as far as its header tells.
fn fault(dataset: &Dataset, index: usize) -> Option<String> {
    match dataset.head(index, HEAD) {
        Ok(Raw::Image(_)) => None,
        Ok(Raw::File(head)) if has_size(&head, dataset.decoding().max_pixels) => None,
        Ok(Raw::File(_)) => dataset.load(index).err().map(|error| error.to_string()),
        Err(error) => Some(error.to_string()),
    }
}

/// Whether a file's beginning names its size in pixels, and a sensible one.
fn has_size(head: &[u8], max_pixels: u64) -> bool {
    let size = caught(|| {
        let reader = ImageReader::new(Cursor::new(head)).with_guessed_format().ok()?;
        reader.into_dimensions().ok()
    });
    let sensible = |(width, height): (u32, u32)| {
        (1..=max_pixels).contains(&(u64::from(width) * u64::from(height)))
    };
    size.ok().flatten().is_some_and(sensible)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_image_is_looked_at_once() {
        for images in [0, 1, 5, 63, 64, 65, 200, 1000] {
            let all: Vec<_> = (0..).map_while(|n| strided(n, images)).collect();
            assert_eq!(all.len(), images);
            let set: BTreeSet<_> = all.iter().copied().collect();
            assert_eq!(set, (0..images).collect(), "{images} images");
        }
        assert_eq!(strided(1, 1000), Some(64));
    }
}
