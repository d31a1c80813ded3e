//! The images of a data set as a run began with them, so that the run can go on when files are gone,
//! repaired or added meanwhile: image `i` stays image `i`.

use super::entries::Entries;
use super::listing::{self, Labels, Listing};
use super::{Dataset, Raw, Store};
use crate::error::ImageError;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use std::cmp::Ordering;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::sync::Arc;

/// First word of a list; the number is the format's.
const MAGIC: &str = "moco-images-1";

/// In the place of an image that is gone.
const GONE: u32 = u32::MAX;

/// The names and sizes of a data set's images, in their order.
#[derive(Debug)]
pub struct FileList {
    entries: Entries,
    content: u64,
}

/// What has changed between a [`FileList`] and a data set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Numbers of the images that are gone, rising.
    pub gone: Vec<usize>,
    /// Number of images whose files have another size, and one of them.
    pub resized: (usize, Option<String>),
    /// Number of images that the list has not, and one of them.
    pub added: (usize, Option<String>),
}

impl FileList {
    /// Reads what [`Dataset::write_list`] wrote.
    ///
    /// # Errors
    /// If it cannot be read, or is not whole.
    pub fn read(file: impl Read) -> io::Result<FileList> {
        let broken = || io::Error::new(io::ErrorKind::InvalidData, "it is damaged");
        let mut input = BufReader::new(GzDecoder::new(file));
        let mut line = String::new();
        input.read_line(&mut line)?;
        let head = line.trim_end().split_once(' ').filter(|(magic, _)| *magic == MAGIC);
        let content = head.and_then(|(_, content)| u64::from_str_radix(content, 16).ok());
        let content = content.ok_or_else(broken)?;
        let mut entries = Entries::default();
        loop {
            line.clear();
            if input.read_line(&mut line)? == 0 {
                return Ok(FileList { entries, content });
            }
            let parts = line.strip_suffix('\n').and_then(|line| line.split_once('\t'));
            let (bytes, name) = parts.ok_or_else(broken)?;
            entries.push(&unescaped(name), bytes.parse().map_err(|_| broken())?);
        }
    }

    /// As [`Dataset::fingerprint`], of the data set that the list was made of.
    pub fn fingerprint(&self) -> u64 {
        listing::fingerprint(&self.entries, self.content)
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Where each image of the list is in `dataset`, by its name, and what has changed. Of equal
    /// names, the first stands for the first.
    fn places(&self, dataset: &Dataset) -> (Vec<u32>, Changes) {
        let (old, new) = (by_name(&self.entries), by_name(&dataset.entries));
        let (mut old, mut new) = (old.into_iter().peekable(), new.into_iter().peekable());
        let mut places = vec![GONE; self.len()];
        let mut changes = Changes::default();
        loop {
            let order = match (old.peek(), new.peek()) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(&i), Some(&j)) => self.entries.name(i as usize).cmp(dataset.name(j as usize)),
            };
            let i = if order == Ordering::Greater { None } else { old.next() };
            let j = if order == Ordering::Less { None } else { new.next() };
            match (i.map(|i| i as usize), j.map(|j| j as usize)) {
                (Some(i), Some(j)) => {
                    places[i] = j as u32;
                    if self.entries.bytes(i) != dataset.entries.bytes(j) {
                        count(&mut changes.resized, dataset.name(j));
                    }
                }
                (Some(i), None) => changes.gone.push(i),
                (None, Some(j)) => count(&mut changes.added, dataset.name(j)),
                (None, None) => {}
            }
        }
        changes.gone.sort_unstable();
        (places, changes)
    }
}

fn count((number, example): &mut (usize, Option<String>), name: &str) {
    *number += 1;
    example.get_or_insert_with(|| name.to_owned());
}

/// The numbers of all entries in the order of their names.
fn by_name(entries: &Entries) -> Vec<u32> {
    let mut order: Vec<u32> = (0..entries.len() as u32).collect();
    order.sort_by(|&a, &b| entries.name(a as usize).cmp(entries.name(b as usize)));
    order
}

impl Dataset {
    /// Writes the names and sizes of all images: gzipped text, one line for each.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write_list(&self, out: impl Write) -> io::Result<()> {
        let mut out = BufWriter::new(GzEncoder::new(out, Compression::fast()));
        writeln!(out, "{MAGIC} {:016x}", self.content)?;
        for (name, bytes) in self.entries.iter() {
            writeln!(out, "{bytes}\t{}", escaped(name))?;
        }
        out.into_inner().map_err(io::IntoInnerError::into_error)?.finish()?;
        Ok(())
    }

    /// This data set as `list` has it: the same number of images in the same order, each found by
    /// its name. Images that are gone cannot be read, and images that the list has not are left
    /// out. `None` if what the images are is not told by their names, as in record files.
    pub fn in_order_of(self: &Arc<Self>, list: FileList) -> Option<(Dataset, Changes)> {
        if self.content != list.content && !self.store.reads_by_name() {
            return None;
        }
        let (places, changes) = list.places(self);
        let FileList { entries, content } = list;
        let labels = match &self.labels {
            // An image that is gone is never asked for its label.
            Some(labels) => {
                let label = |&place: &u32| labels.get(place as usize).copied().unwrap_or(0);
                Labels::Given(places.iter().map(label).collect(), self.class_names.clone())
            }
            None => Labels::Absent,
        };
        let (skipped, holdings) = (self.skipped.clone(), self.holdings.clone());
        let listing = Listing { entries, labels, skipped, holdings, content, ..Listing::default() };
        let store = Box::new(Remembered { now: self.clone(), places });
        let gone = changes.gone.clone();
        let dataset = Dataset { gone, ..Dataset::new(listing, store) };
        Some((dataset.with_decoding(self.decoding), changes))
    }

    /// Whether image `i` was there when a list was made that this data set follows, and is gone.
    pub(crate) fn is_gone(&self, i: usize) -> bool {
        self.gone.binary_search(&i).is_ok()
    }

    /// Number of images that are not gone.
    pub(crate) fn present(&self) -> usize {
        self.len() - self.gone.len()
    }
}

/// A data set read in the order of a list.
struct Remembered {
    now: Arc<Dataset>,
    places: Vec<u32>,
}

impl Remembered {
    fn place(&self, i: usize) -> Result<usize, ImageError> {
        match self.places[i] {
            GONE => {
                let reason = "it is gone since the run began";
                Err(io::Error::new(io::ErrorKind::NotFound, reason).into())
            }
            place => Ok(place as usize),
        }
    }
}

impl Store for Remembered {
    fn read(&self, i: usize, _: &str) -> Result<Raw<'_>, ImageError> {
        self.now.raw(self.place(i)?)
    }

    fn head(&self, i: usize, _: &str, bytes: usize) -> Result<Raw<'_>, ImageError> {
        let place = self.place(i)?;
        self.now.store.head(place, self.now.name(place), bytes)
    }
}

/// A name without the characters that end a line.
fn escaped(name: &str) -> String {
    name.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r")
}

fn unescaped(text: &str) -> String {
    let mut name = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        name.push(match character {
            '\\' => match characters.next() {
                Some('n') => '\n',
                Some('r') => '\r',
                other => other.unwrap_or('\\'),
            },
            other => other,
        });
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Image;

    fn dataset(images: &[(&str, u8)]) -> Arc<Dataset> {
        let image = |&(name, value): &(&str, u8)| {
            let image = Image::new(
                1,
                usize::from(value % 3) + 1,
                vec![value; 3 * (usize::from(value % 3) + 1)],
            );
            (name.to_owned(), Some(u32::from(value > 9)), image)
        };
        let names = vec!["low".to_owned(), "high".to_owned()];
        Arc::new(Dataset::from_images(images.iter().map(image).collect(), names))
    }

    fn list_of(dataset: &Dataset) -> FileList {
        let mut bytes = Vec::new();
        dataset.write_list(&mut bytes).unwrap();
        FileList::read(bytes.as_slice()).unwrap()
    }

    #[test]
    fn a_list_comes_back_whole_and_a_damaged_one_is_told() {
        let odd = dataset(&[("a\nb", 1), ("a\\nb", 2), ("\r", 3), ("é", 4)]);
        let list = list_of(&odd);
        assert_eq!(list.fingerprint(), odd.fingerprint());
        assert_eq!((list.entries.name(0), list.entries.name(1)), ("a\nb", "a\\nb"));
        let mut bytes = Vec::new();
        odd.write_list(&mut bytes).unwrap();
        for i in 0..bytes.len() {
            assert!(FileList::read(&bytes[..i]).is_err(), "cut at {i}");
        }
        let at = bytes.len() / 2;
        bytes[at] ^= 1;
        assert!(FileList::read(bytes.as_slice()).is_err());
    }

    #[test]
    fn images_keep_their_numbers_when_others_go_and_come() {
        let old = dataset(&[("b", 10), ("a", 1), ("d", 12), ("c", 3)]);
        let new = dataset(&[("0", 7), ("a", 1), ("b", 11), ("c", 3), ("e", 8)]);
        let (now, changes) = new.in_order_of(list_of(&old)).unwrap();
        let added = (2, Some("0".to_owned()));
        let resized = (1, Some("b".to_owned()));
        assert_eq!(changes, Changes { gone: vec![2], resized, added });
        assert_eq!(now.fingerprint(), old.fingerprint());
        assert_eq!((now.len(), now.present()), (4, 3));
        let pixel = |i: usize| now.load(i).map(|image| image.pixels[0]);
        assert_eq!([pixel(0), pixel(1), pixel(3)].map(Result::unwrap), [11, 1, 3]);
        let told = pixel(2).unwrap_err().to_string();
        assert!(told.contains("gone since the run began"), "{told}");
        assert_eq!((now.label(0), now.label(1)), (Some(1), Some(0)));
        assert!(now.is_gone(2) && !now.is_gone(0));
    }

    #[test]
    fn of_equal_names_the_first_is_the_first() {
        let old = dataset(&[("a", 1), ("a", 4), ("a", 7)]);
        let new = dataset(&[("a", 1), ("a", 4)]);
        let (now, changes) = new.in_order_of(list_of(&old)).unwrap();
        assert_eq!(changes.gone, [2]);
        assert_eq!(now.load(1).unwrap().pixels[0], 4);
    }
}
