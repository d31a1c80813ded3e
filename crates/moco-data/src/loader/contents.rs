//! What every image is made of, without decoding it: a digest of its bytes, and its size.

use super::{BadFile, bad_files};
use crate::caught::caught;
use crate::error::{DataError, ImageError};
use crate::source::{Dataset, Raw};
use image::ImageReader;
use md5::{Digest, Md5};
use std::io::Cursor;
use std::panic::resume_unwind;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// One image, as it is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// MD5 of the file's bytes, or of width, height and pixels where a source holds pixels.
    pub digest: u128,
    /// Bytes.
    pub bytes: u64,
    /// Width times height as the file's header has them; 0 where it does not tell at once.
    pub pixels: u64,
}

/// What the images of a data set are made of.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    /// Number of each image that can be read, rising, and what it is.
    pub images: Vec<(usize, Content)>,
    /// Those that cannot.
    pub bad: Vec<BadFile>,
}

/// Reads every image, without decoding it, on `threads` threads. `progress` hears (images read,
/// images), on the calling thread.
///
/// # Errors
/// If a server does not give the images.
pub fn contents(
    dataset: &Dataset,
    threads: usize,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Contents, DataError> {
    let images = dataset.len();
    let (next, lost) = (AtomicUsize::new(0), OnceLock::new());
    let read = || {
        let mut read = Vec::new();
        while lost.get().is_none() {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= images {
                break;
            }
            match dataset.raw(index) {
                Ok(raw) => read.push((index, Ok(content(&raw)))),
                Err(ImageError::Unreachable { reason }) => drop(lost.set(reason)),
                Err(error) => read.push((index, Err(error.to_string()))),
            }
        }
        read
    };
    let mut all = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(read)).collect();
        while !workers.iter().all(thread::ScopedJoinHandle::is_finished) {
            thread::sleep(Duration::from_millis(2));
            progress(next.load(Ordering::Relaxed).min(images), images);
        }
        // A panic of a worker goes on here.
        let join = |worker: thread::ScopedJoinHandle<'_, Vec<_>>| {
            worker.join().unwrap_or_else(|panic| resume_unwind(panic))
        };
        workers.into_iter().flat_map(join).collect::<Vec<_>>()
    });
    if let Some(reason) = lost.into_inner() {
        return Err(DataError::Unreachable { reason });
    }
    all.sort_by_key(|(index, _)| *index);
    let (mut images, mut bad) = (Vec::new(), Vec::new());
    for (index, content) in all {
        match content {
            Ok(content) => images.push((index, content)),
            Err(reason) => bad.push((index, reason)),
        }
    }
    Ok(Contents { images, bad: bad_files(dataset, bad.into_iter()) })
}

fn content(raw: &Raw) -> Content {
    match raw {
        Raw::File(bytes) => Content {
            digest: u128::from_be_bytes(Md5::digest(bytes).into()),
            bytes: bytes.len() as u64,
            pixels: pixels(bytes),
        },
        Raw::Image(image) => {
            let mut md5 = Md5::new();
            md5.update((image.width as u64).to_le_bytes());
            md5.update((image.height as u64).to_le_bytes());
            md5.update(&image.pixels);
            Content {
                digest: u128::from_be_bytes(md5.finalize().into()),
                bytes: image.pixels.len() as u64,
                pixels: (image.width * image.height) as u64,
            }
        }
    }
}

fn pixels(bytes: &[u8]) -> u64 {
    let size = caught(|| {
        let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().ok()?;
        reader.into_dimensions().ok()
    });
    size.ok().flatten().map_or(0, |(width, height)| u64::from(width) * u64::from(height))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Image;

    #[test]
    fn equal_bytes_of_another_shape_are_another_image() {
        let image = |width, height, level| {
            (format!("{width}x{height}-{level}"), None, Image::filled(width, height, [level; 3]))
        };
        let images = vec![image(2, 8, 1), image(4, 4, 1), image(2, 8, 1), image(2, 8, 2)];
        let dataset = Dataset::from_images(images, Vec::new());
        let mut heard = 0;
        let found = contents(&dataset, 2, &mut |done, _| heard = done).unwrap();
        let digests: Vec<u128> = found.images.iter().map(|(_, content)| content.digest).collect();
        assert_eq!(found.images.iter().map(|(i, _)| *i).collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert!(digests[0] == digests[2] && digests[0] != digests[1] && digests[0] != digests[3]);
        assert_eq!((found.images[1].1.pixels, found.images[1].1.bytes), (16, 48));
        assert!(found.bad.is_empty() && heard <= 4);
    }
}
