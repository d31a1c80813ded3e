//! Images that two data sets share, told by hashes of what was read of them anyway.

use super::{Dataset, Raw};
use md5::{Digest, Md5};
use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};

/// A hash of each image that was read, by its number; 0 for those that were not. At 64 bits, two of
/// a million images by a million are taken for one another once in ten million times.
pub(super) struct Contents(Vec<AtomicU64>);

impl Contents {
    /// Notes what image `i` is.
    pub(super) fn note(&self, i: usize, raw: &Raw) {
        let sum = match raw {
            Raw::File(bytes) => Md5::digest(bytes),
            Raw::Image(image) => Md5::digest(&image.pixels),
        };
        let hash = sum[..8].iter().fold(0, |hash, &byte| hash << 8 | u64::from(byte));
        self.0[i].store(hash.max(1), Ordering::Relaxed);
    }

    fn get(&self, i: usize) -> Option<u64> {
        Some(self.0[i].load(Ordering::Relaxed)).filter(|&hash| hash != 0)
    }
}

impl Dataset {
    /// This data set, keeping a hash of every image that is read from now on, for
    /// [`shared_with`](Self::shared_with). It takes a few percent of what decoding takes, and reads
    /// nothing by itself.
    pub fn with_content_hashes(self) -> Dataset {
        let contents = (0..self.len()).map(|_| AtomicU64::new(0)).collect();
        Dataset { contents: Some(Contents(contents)), ..self }
    }

    /// The images that were read so far and the hash of each, of a data set that keeps hashes.
    pub fn content_hashes(&self) -> Vec<(usize, u64)> {
        let hash = |i| Some((i, self.content_hash(i)?));
        (0..self.len()).filter_map(hash).collect()
    }

    /// Takes over hashes of images that another process has read of the same data set, if this one
    /// keeps hashes.
    ///
    /// # Panics
    /// If there is no such image.
    pub fn note_content_hashes(&self, hashes: impl IntoIterator<Item = (usize, u64)>) {
        if let Some(Contents(known)) = &self.contents {
            hashes.into_iter().for_each(|(i, hash)| known[i].store(hash, Ordering::Relaxed));
        }
    }

    /// The images that are in `other` too, byte for byte, in any place and under any name. Only
    /// those count that were read of both, which keep hashes.
    pub fn shared_with(&self, other: &Dataset) -> Vec<usize> {
        let known: HashSet<u64> = (0..other.len()).filter_map(|i| other.content_hash(i)).collect();
        let shared = |&i: &usize| self.content_hash(i).is_some_and(|hash| known.contains(&hash));
        (0..self.len()).filter(shared).collect()
    }

    fn content_hash(&self, i: usize) -> Option<u64> {
        self.contents.as_ref()?.get(i)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Image;

    fn dataset(levels: &[u8]) -> Dataset {
        let image = |&level: &u8| (format!("{level}"), None, Image::filled(2, 2, [level; 3]));
        Dataset::from_images(levels.iter().map(image).collect(), Vec::new()).with_content_hashes()
    }

    #[test]
    fn images_that_were_read_of_both_are_shared() {
        let (train, test) = (dataset(&[1, 2, 3, 4]), dataset(&[9, 3, 4, 1]));
        assert!(test.shared_with(&train).is_empty(), "nothing was read");
        (0..3).for_each(|i| drop(train.load(i)));
        (0..4).for_each(|i| drop(test.load(i)));
        assert_eq!(test.shared_with(&train), [1, 3]);
        assert_eq!(train.shared_with(&test), [0, 2]);
    }

    #[test]
    fn hashes_are_taken_over_from_another_reader() {
        let levels = [1, 2, 3, 4];
        let (train, test) = (dataset(&levels), dataset(&[9, 3]));
        let other = dataset(&levels);
        other.load(2).unwrap();
        (0..2).for_each(|i| drop(test.load(i)));
        assert!(test.shared_with(&train).is_empty());
        train.note_content_hashes(other.content_hashes());
        assert_eq!((test.shared_with(&train), train.content_hashes().len()), (vec![1], 1));
    }

    #[test]
    fn what_is_read_of_a_subset_is_read_of_the_whole() {
        let whole = std::sync::Arc::new(dataset(&[1, 2]));
        whole.subset(vec![1]).load(0).unwrap();
        let test = dataset(&[2, 1]);
        (0..2).for_each(|i| drop(test.load(i)));
        assert_eq!(test.shared_with(&whole), [0]);
    }
}
