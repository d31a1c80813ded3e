//! A selection of another data set's images.

use super::listing::{Labels, Listing};
use super::{Dataset, Raw, Store};
use crate::error::ImageError;
use crate::random::ViewKey;
use std::path::PathBuf;
use std::sync::Arc;

/// Takes the place of epoch and view in a [`ViewKey`] of a choice of labels; no run has so many.
const LABELS: u64 = u64::MAX - 1;

/// The chosen images of a data set, read through it.
struct Subset {
    whole: Arc<Dataset>,
    chosen: Vec<usize>,
}

impl Store for Subset {
    fn read(&self, i: usize, _: &str) -> Result<Raw<'_>, ImageError> {
        self.whole.raw(self.chosen[i])
    }

    fn file(&self, i: usize, _: &str) -> Option<PathBuf> {
        self.whole.file(self.chosen[i])
    }

    fn head(&self, i: usize, name: &str, bytes: usize) -> Result<Raw<'_>, ImageError> {
        self.whole.store.head(self.chosen[i], name, bytes)
    }
}

impl Dataset {
    /// The images at `chosen`, in that order, with the classes of the whole.
    ///
    /// # Panics
    /// When asked for an image that the whole has not.
    pub fn subset(self: &Arc<Self>, chosen: Vec<usize>) -> Dataset {
        let mut listing = Listing { content: self.content, ..Listing::default() };
        for &i in &chosen {
            listing.entries.push(self.name(i), self.entries.bytes(i));
        }
        listing.labels = match &self.labels {
            Some(labels) => {
                let labels = chosen.iter().map(|&i| labels[i]).collect();
                Labels::Given(labels, self.class_names.clone())
            }
            None => Labels::Absent,
        };
        let store = Subset { whole: self.clone(), chosen };
        Dataset::new(listing, Box::new(store)).with_decoding(self.decoding)
    }

    /// Without the images that have no label.
    pub fn only_labelled(self) -> Dataset {
        let labelled = self.labelled();
        if labelled.len() == self.len() { self } else { Arc::new(self).subset(labelled) }
    }

    /// The images that have a label, if not all have one.
    pub fn labelled_part(self: &Arc<Self>) -> Option<Dataset> {
        let labelled = self.labelled();
        (labelled.len() < self.len()).then(|| self.subset(labelled))
    }

    fn labelled(&self) -> Vec<usize> {
        (0..self.len()).filter(|&i| self.label(i).is_some()).collect()
    }

    /// About `share` of the images of each class, one at least, chosen by `seed`.
    pub fn label_share(self: &Arc<Self>, share: f64, seed: u64) -> Dataset {
        let mut by_class = vec![Vec::new(); self.class_names.len()];
        for i in 0..self.len() {
            if let Some(class) = self.label(i) {
                by_class[class as usize].push(i);
            }
        }
        let mut chosen = Vec::new();
        for (class, mut images) in by_class.into_iter().enumerate() {
            let wanted = ((images.len() as f64 * share).round() as usize).max(1);
            let key = ViewKey { seed, epoch: LABELS, image: class as u64, view: LABELS };
            key.random().shuffle(&mut images);
            chosen.extend(images.into_iter().take(wanted));
        }
        chosen.sort_unstable();
        self.subset(chosen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Image;

    fn whole() -> Arc<Dataset> {
        let image = |i: usize| {
            let label = u32::from(i >= 40);
            (format!("{i}"), Some(label), Image::new(1, 1, vec![i as u8; 3]))
        };
        let names = vec!["many".to_owned(), "few".to_owned()];
        Arc::new(Dataset::from_images((0..44).map(image).collect(), names))
    }

    #[test]
    fn a_subset_keeps_names_labels_and_pixels() {
        let part = whole().subset(vec![43, 7]);
        assert_eq!((part.len(), part.name(0), part.name(1)), (2, "43", "7"));
        assert_eq!((part.label(0), part.label(1)), (Some(1), Some(0)));
        assert_eq!(part.class_names(), ["many", "few"]);
        assert_eq!(part.load(0).unwrap().pixels, [43; 3]);
        assert_ne!(part.fingerprint(), whole().fingerprint());
    }

    #[test]
    fn the_part_that_has_labels_keeps_its_classes() {
        assert!(whole().labelled_part().is_none());
        let image =
            |i: u32| (format!("{i}"), (i != 1).then_some(i / 2), Image::new(1, 1, vec![0; 3]));
        let names = vec!["a".to_owned(), "b".to_owned()];
        let some = Arc::new(Dataset::from_images((0..4).map(image).collect(), names));
        assert_eq!((some.label(0), some.label(1)), (Some(0), None));
        assert_eq!(some.holdings().notes, ["1 of 4 images has no label, such as `1`"]);
        let part = some.labelled_part().unwrap();
        let labels: Vec<_> = (0..part.len()).map(|i| part.label(i)).collect();
        assert_eq!(labels, [Some(0), Some(1), Some(1)]);
        assert_eq!(some.label_share(1.0, 0).len(), 3);
    }

    #[test]
    fn a_share_of_the_labels_is_taken_class_by_class() {
        let count = |part: &Dataset, class| {
            (0..part.len()).filter(|&i| part.label(i) == Some(class)).count()
        };
        let part = whole().label_share(0.1, 3);
        assert_eq!((count(&part, 0), count(&part, 1)), (4, 1), "one of each class at least");
        let names =
            |part: Dataset| (0..part.len()).map(|i| part.name(i).to_owned()).collect::<Vec<_>>();
        assert_eq!(names(whole().label_share(0.1, 3)), names(part));
        assert_ne!(names(whole().label_share(0.1, 4)), names(whole().label_share(0.1, 3)));
        assert_eq!(whole().label_share(1.0, 0).len(), 44);
    }
}
