//! A selection of another data set's images.

use super::listing::{Labels, Listing};
use super::{Dataset, Raw, Store};
use crate::error::ImageError;
use crate::random::ViewKey;
use std::collections::HashMap;
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

    /// The images that `names` name, in the order of this data set, and the names of none. A name is an
    /// image's, or the end of one behind a `/`; one without a suffix stands for the same with any.
    pub fn named<'a>(self: &Arc<Self>, names: &[&'a str]) -> (Dataset, Vec<&'a str>) {
        let mut found: HashMap<&str, bool> = names.iter().map(|name| (*name, false)).collect();
        let mut chosen = Vec::new();
        for i in 0..self.len() {
            let name = self.name(i).to_owned();
            let ends = std::iter::once(name.as_str())
                .chain(name.match_indices('/').map(|(at, _)| &name[at + 1..]));
            let stems = ends.clone().filter_map(|end| end.rsplit_once('.').map(|(stem, _)| stem));
            let mut hit = false;
            for end in ends.chain(stems) {
                if let Some(seen) = found.get_mut(end) {
                    (*seen, hit) = (true, true);
                }
            }
            if hit {
                chosen.push(i);
            }
        }
        let missing = names.iter().filter(|name| !found[**name]).copied().collect();
        (self.subset(chosen), missing)
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
    fn a_list_of_names_chooses_by_the_end_of_a_path() {
        let image = |name: &str| (name.to_owned(), Some(0), Image::new(1, 1, vec![0; 3]));
        let names = ["train/n01/n01_5.JPEG", "train/n01/n01_50.JPEG", "train/n02/n02_5.JPEG"];
        let images = names.map(image).to_vec();
        let all = Arc::new(Dataset::from_images(images, vec!["n01".to_owned()]));
        let (part, missing) = all.named(&["n01_5.JPEG", "n02/n02_5", "n03_1.JPEG", "5.JPEG"]);
        let chosen: Vec<&str> = (0..part.len()).map(|i| part.name(i)).collect();
        assert_eq!((chosen, missing), (vec![names[0], names[2]], vec!["n03_1.JPEG", "5.JPEG"]));
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
