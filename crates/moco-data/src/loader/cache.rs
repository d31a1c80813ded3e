//! Decoded images kept in memory, so that small ones are decoded once and not in every epoch.

use crate::decode::ValueRange;
use crate::error::ImageError;
use crate::image::Image;
use crate::source::Dataset;
use std::borrow::Cow;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Keeps the images that come first, until the memory is used up.
pub(super) struct Cache {
    slots: Vec<OnceLock<Image>>,
    bytes_left: AtomicUsize,
}

impl Cache {
    /// A cache of `bytes` for a data set of `len` images.
    pub(super) fn new(len: usize, bytes: usize) -> Cache {
        let len = if bytes == 0 { 0 } else { len };
        Cache {
            slots: std::iter::repeat_with(OnceLock::new).take(len).collect(),
            bytes_left: AtomicUsize::new(bytes),
        }
    }

    /// Image `i` of the data set, from memory if it is there; the range is the same in every call.
    pub(super) fn fetch<'a>(
        &'a self,
        dataset: &'a Dataset,
        i: usize,
        range: Option<ValueRange>,
    ) -> Result<Cow<'a, Image>, ImageError> {
        if let Some(image) = self.slots.get(i).and_then(OnceLock::get) {
            return Ok(Cow::Borrowed(image));
        }
        let image = dataset.fetch(i, range)?;
        match (self.slots.get(i), image) {
            (Some(slot), Cow::Owned(image)) if self.reserve(image.pixels.len()) => {
                Ok(Cow::Borrowed(slot.get_or_init(|| image)))
            }
            (_, image) => Ok(image),
        }
    }

    fn reserve(&self, bytes: usize) -> bool {
        let take = |left: usize| left.checked_sub(bytes);
        self.bytes_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}
