//! What a convolution reads: maps as they are, or as BatchNorm and ReLU leave them.
//!
//! Between two convolutions of a residual block nothing but the second one reads the normalised
//! maps. They are therefore never written: who loads a pixel of the first one's output applies
//! `relu(y * scale + shift)` to it. The value is the one that [`crate::norm::Normalise`] would have
//! written, bit for bit.

use crate::simd::{Simd, load_n};

/// NHWC maps, and what is done to a pixel when it is read. What lies beyond the maps is zero all
/// the same.
#[derive(Clone, Copy)]
pub(crate) struct Input<'a> {
    pub data: &'a [f32],
    pub activation: Option<Activation<'a>>,
}

impl<'a> From<&'a [f32]> for Input<'a> {
    fn from(data: &'a [f32]) -> Self {
        Input { data, activation: None }
    }
}

/// `relu(y * scale + shift)`, with values per BatchNorm group and channel.
#[derive(Clone, Copy)]
pub(crate) struct Activation<'a> {
    /// `[groups, channels]`
    pub scale: &'a [f32],
    /// `[groups, channels]`
    pub shift: &'a [f32],
    /// Image `i` belongs to group `i % groups`.
    pub groups: usize,
}

impl<'a> Activation<'a> {
    /// What is applied to the pixels of one image.
    #[inline(always)]
    pub(crate) fn of_image(&self, image: usize) -> ImageActivation<'a> {
        let channels = self.scale.len() / self.groups;
        let at = image % self.groups * channels;
        ImageActivation {
            scale: &self.scale[at..][..channels],
            shift: &self.shift[at..][..channels],
        }
    }
}

/// The activation of one image, with values per channel.
#[derive(Clone, Copy)]
pub(crate) struct ImageActivation<'a> {
    scale: &'a [f32],
    shift: &'a [f32],
}

impl ImageActivation<'_> {
    /// Scale and shift of `lanes` channels from `first` on.
    #[inline(always)]
    pub(crate) fn load<S: Simd>(&self, s: S, first: usize, lanes: usize) -> [S::V; 2] {
        let (scale, shift) = (&self.scale[first..][..lanes], &self.shift[first..][..lanes]);
        // SAFETY: both slices hold `lanes` floats.
        unsafe { [load_n(s, scale.as_ptr(), lanes), load_n(s, shift.as_ptr(), lanes)] }
    }

    #[inline(always)]
    pub(crate) fn apply<S: Simd>(s: S, y: S::V, [scale, shift]: [S::V; 2]) -> S::V {
        s.relu(s.fma(y, scale, shift))
    }
}
