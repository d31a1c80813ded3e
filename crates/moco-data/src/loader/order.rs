//! The order of images in an epoch, and who stands in for an unreadable one.

use crate::random::ViewKey;

/// Takes the place of image and view in a [`ViewKey`]; no view has this number.
const NO_VIEW: u64 = u64::MAX;

/// The images `0..len` in the order of one epoch: a uniform permutation (Fisher-Yates on ChaCha8)
/// that depends on the arguments alone.
///
/// # Panics
/// If `len` does not fit 32 bits.
pub fn epoch_order(seed: u64, epoch: u64, len: usize) -> Vec<u32> {
    let len = u32::try_from(len).expect("at most 2^32 - 1 images");
    let mut order: Vec<u32> = (0..len).collect();
    ViewKey { seed, epoch, image: NO_VIEW, view: NO_VIEW }.random().shuffle(&mut order);
    order
}

/// Images to try in the place of an unreadable one, in turn; endless.
pub(super) fn stand_ins(
    seed: u64,
    epoch: u64,
    image: u64,
    len: usize,
) -> impl Iterator<Item = usize> {
    let mut random = ViewKey { seed, epoch, image, view: NO_VIEW }.random();
    std::iter::repeat_with(move || random.below(len))
}
