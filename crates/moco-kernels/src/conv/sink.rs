//! Where a convolution's sums go: what is done to them while they are still in registers.
//!
//! A job walks its channels one vector at a time and, within a vector, its pixels; a sink therefore
//! keeps per-channel values in registers from `begin` to `end`.

use crate::simd::{Simd, load_n, store_n};
use crate::threads::Disjoint;

/// One vector of channels: its first channel and how many of its lanes are channels.
#[derive(Clone, Copy)]
pub(crate) struct Channels {
    pub first: usize,
    pub lanes: usize,
}

/// Receives a job's output vectors.
pub(crate) trait Sink: Sync {
    /// What is kept in registers while the pixels of one vector of channels go by.
    type State<S: Simd>: Copy;
    /// Whether sums are added to what is there, so that those of no products need not be put.
    const ADDS: bool = false;

    /// Called before the pixels of `at`; `first` is the first pixel's value.
    fn begin<S: Simd>(&self, s: S, at: Channels, first: S::V) -> Self::State<S>;

    /// Told some time before `put`, so that the memory can be fetched meanwhile.
    fn expect<S: Simd>(&self, s: S, pixel: usize, at: Channels);

    /// Takes channels `at` of output pixel `pixel` (an index into `[n, h, w]`).
    ///
    /// # Safety
    /// `pixel` and `at` lie in the output, and no other thread puts this pixel and channel.
    unsafe fn put<S: Simd>(
        &self,
        s: S,
        state: &mut Self::State<S>,
        pixel: usize,
        at: Channels,
        value: S::V,
    );

    /// Takes `N` vectors of each of some pixels.
    ///
    /// # Safety
    /// As for `put`, of each of them.
    #[inline(always)]
    unsafe fn put_rows<S: Simd, const R: usize, const N: usize>(
        &self,
        s: S,
        states: &mut [Self::State<S>; 2],
        pixels: &[usize],
        at: &[Channels; 2],
        sums: &[[S::V; N]; R],
    ) {
        for (r, &pixel) in pixels[..R].iter().enumerate() {
            for j in 0..N {
                // SAFETY: the caller says of each of these pixels and channels what `put` asks.
                unsafe { self.put(s, &mut states[j], pixel, at[j], sums[r][j]) };
            }
        }
    }

    /// Called after the pixels of `at` by job `job`.
    ///
    /// # Safety
    /// No other thread ends this job and channel.
    unsafe fn end<S: Simd>(&self, s: S, state: Self::State<S>, job: usize, at: Channels);
}

/// [`Sink::put_rows`], with the cheap instructions where every lane is a channel: asked once for a
/// tile, not for each of its vectors.
///
/// # Safety
/// As for [`Sink::put_rows`].
#[inline(always)]
pub(crate) unsafe fn put_tile<S: Simd, K: Sink, const R: usize, const N: usize>(
    s: S,
    sink: &K,
    states: &mut [K::State<S>; 2],
    pixels: &[usize],
    at: &[Channels; 2],
    sums: &[[S::V; N]; R],
) {
    let whole = at.map(|at| Channels { lanes: S::LANES, ..at });
    let all = at[..N].iter().all(|at| at.lanes == S::LANES);
    // SAFETY: the caller says of these pixels and channels what `put_rows` asks; `whole` differs from
    // `at` nowhere in the first arm.
    unsafe {
        if all {
            sink.put_rows(s, states, pixels, &whole, sums);
        } else {
            sink.put_rows(s, states, pixels, at, sums);
        }
    }
}

/// The output map `[pixels, channels]`, perhaps not yet initialised.
pub(crate) struct Target<'a> {
    start: *mut f32,
    channels: usize,
    len: usize,
    _memory: std::marker::PhantomData<&'a mut f32>,
}

// SAFETY: writes go through `Sink::put`, whose callers promise that threads write different
// elements.
unsafe impl Sync for Target<'_> {}

impl<'a> Target<'a> {
    pub(crate) fn new(memory: &'a mut [std::mem::MaybeUninit<f32>], channels: usize) -> Self {
        let (start, len) = (memory.as_mut_ptr().cast(), memory.len());
        Target { start, channels, len, _memory: std::marker::PhantomData }
    }

    /// A map that holds values already.
    pub(crate) fn over(memory: &'a mut [f32], channels: usize) -> Self {
        let (start, len) = (memory.as_mut_ptr(), memory.len());
        Target { start, channels, len, _memory: std::marker::PhantomData }
    }

    /// Pixels close to each other the hardware fetches by itself, and asking twice costs a tenth of
    /// the time; with a quarter of a page to each, asking gains some hundredths (measured on Zen 3).
    #[inline(always)]
    fn expect<S: Simd>(&self, s: S, pixel: usize, at: Channels) {
        if self.channels < 256 {
            return;
        }
        s.prefetch(self.start.wrapping_add(pixel * self.channels + at.first));
    }

    /// # Safety
    /// As for [`Sink::put`].
    #[inline(always)]
    unsafe fn put<S: Simd>(&self, s: S, pixel: usize, at: Channels, value: S::V) {
        let offset = pixel * self.channels + at.first;
        debug_assert!(offset + at.lanes <= self.len);
        // SAFETY: the caller's pixel and channels lie in the output.
        unsafe { store_n(s, self.start.add(offset), value, at.lanes) }
    }
}

/// Stores the sums as they are.
pub(crate) struct Plain<'a>(pub Target<'a>);

impl Sink for Plain<'_> {
    type State<S: Simd> = ();

    #[inline(always)]
    fn begin<S: Simd>(&self, _: S, _: Channels, _: S::V) {}

    #[inline(always)]
    fn expect<S: Simd>(&self, s: S, pixel: usize, at: Channels) {
        self.0.expect(s, pixel, at);
    }

    #[inline(always)]
    unsafe fn put<S: Simd>(&self, s: S, _: &mut (), pixel: usize, at: Channels, value: S::V) {
        // SAFETY: the caller says that the pixel is its own and that the channels exist, as the target asks.
        unsafe { self.0.put(s, pixel, at, value) }
    }

    #[inline(always)]
    unsafe fn end<S: Simd>(&self, _: S, _: (), _: usize, _: Channels) {}
}

/// Adds the sums to what the map, whole already, holds.
pub(crate) struct Added<'a>(pub Target<'a>);

impl Sink for Added<'_> {
    type State<S: Simd> = ();
    const ADDS: bool = true;

    #[inline(always)]
    fn begin<S: Simd>(&self, _: S, _: Channels, _: S::V) {}

    #[inline(always)]
    fn expect<S: Simd>(&self, s: S, pixel: usize, at: Channels) {
        self.0.expect(s, pixel, at);
    }

    #[inline(always)]
    unsafe fn put<S: Simd>(&self, s: S, _: &mut (), pixel: usize, at: Channels, value: S::V) {
        let offset = pixel * self.0.channels + at.first;
        debug_assert!(offset + at.lanes <= self.0.len);
        // SAFETY: the caller's pixel and channels lie in the output, which is initialised.
        unsafe {
            let before = load_n(s, self.0.start.add(offset), at.lanes);
            self.0.put(s, pixel, at, s.add(value, before));
        }
    }

    #[inline(always)]
    unsafe fn end<S: Simd>(&self, _: S, _: (), _: usize, _: Channels) {}
}

/// Stores the sums and gathers each channel's statistics: per job a shift `x_0` (the first pixel),
/// `Σ (x - x_0)` and `Σ (x - x_0)^2`, from which the mean and the variance follow without
/// cancellation even where the mean is far from zero.
pub(crate) struct Stats<'a> {
    pub target: Target<'a>,
    /// `[jobs, 3, channels]`
    pub partial: Disjoint<'a, f32>,
}

impl Sink for Stats<'_> {
    type State<S: Simd> = [S::V; 3];

    #[inline(always)]
    fn begin<S: Simd>(&self, s: S, _: Channels, first: S::V) -> [S::V; 3] {
        [first, s.splat(0.0), s.splat(0.0)]
    }

    #[inline(always)]
    fn expect<S: Simd>(&self, s: S, pixel: usize, at: Channels) {
        self.target.expect(s, pixel, at);
    }

    #[inline(always)]
    unsafe fn put<S: Simd>(
        &self,
        s: S,
        state: &mut [S::V; 3],
        pixel: usize,
        at: Channels,
        value: S::V,
    ) {
        // SAFETY: the caller says that the pixel is its own and that the channels exist, as the target asks.
        unsafe { self.target.put(s, pixel, at, value) };
        let shifted = s.sub(value, state[0]);
        state[1] = s.add(state[1], shifted);
        state[2] = s.fma(shifted, shifted, state[2]);
    }

    #[inline(always)]
    unsafe fn end<S: Simd>(&self, s: S, state: [S::V; 3], job: usize, at: Channels) {
        let channels = self.target.channels;
        for (row, value) in state.into_iter().enumerate() {
            let start = (job * 3 + row) * channels + at.first;
            // SAFETY: this job's rows and these channels are nobody else's, by the caller's
            // promise.
            unsafe {
                let slot = self.partial.slice(start..start + at.lanes);
                store_n(s, slot.as_mut_ptr(), value, at.lanes);
            }
        }
    }
}

/// Stores `relu?(x * scale + shift + skip?)`: BatchNorm with known statistics, or a bias.
pub(crate) struct Affine<'a> {
    pub target: Target<'a>,
    /// `[channels]`
    pub scale: &'a [f32],
    /// `[channels]`
    pub shift: &'a [f32],
    /// Of the output's shape.
    pub skip: Option<&'a [f32]>,
    pub relu: bool,
}

impl Sink for Affine<'_> {
    type State<S: Simd> = [S::V; 2];

    #[inline(always)]
    fn begin<S: Simd>(&self, s: S, at: Channels, _: S::V) -> [S::V; 2] {
        let (scale, shift) =
            (&self.scale[at.first..][..at.lanes], &self.shift[at.first..][..at.lanes]);
        // SAFETY: both slices hold `lanes` floats.
        unsafe { [load_n(s, scale.as_ptr(), at.lanes), load_n(s, shift.as_ptr(), at.lanes)] }
    }

    #[inline(always)]
    fn expect<S: Simd>(&self, s: S, pixel: usize, at: Channels) {
        self.target.expect(s, pixel, at);
        if let Some(skip) = self.skip {
            s.prefetch(skip.as_ptr().wrapping_add(pixel * self.target.channels + at.first));
        }
    }

    #[inline(always)]
    unsafe fn put<S: Simd>(
        &self,
        s: S,
        state: &mut [S::V; 2],
        pixel: usize,
        at: Channels,
        value: S::V,
    ) {
        // SAFETY: the caller says of this pixel and these channels what `put_rows` asks of each.
        unsafe { self.put_rows(s, &mut [*state; 2], &[pixel], &[at; 2], &[[value]]) }
    }

    /// What is the same for all rows is asked once, not for each vector.
    #[inline(always)]
    unsafe fn put_rows<S: Simd, const R: usize, const N: usize>(
        &self,
        s: S,
        states: &mut [[S::V; 2]; 2],
        pixels: &[usize],
        at: &[Channels; 2],
        sums: &[[S::V; N]; R],
    ) {
        let Affine { target, skip, relu, .. } = self;
        let floor = s.splat(if *relu { 0.0 } else { f32::NEG_INFINITY });
        // SAFETY: the caller says that the pixels are its own and that the channels exist in the output, of
        // which `skip` has the shape.
        unsafe {
            if let Some(skip) = skip {
                for (r, &pixel) in pixels[..R].iter().enumerate() {
                    for j in 0..N {
                        let from = skip.as_ptr().add(pixel * target.channels + at[j].first);
                        let z = s.fma(sums[r][j], states[j][0], states[j][1]);
                        let z = s.add(z, load_n(s, from, at[j].lanes));
                        target.put(s, pixel, at[j], s.max(floor, z));
                    }
                }
            } else {
                for (r, &pixel) in pixels[..R].iter().enumerate() {
                    for j in 0..N {
                        let z = s.fma(sums[r][j], states[j][0], states[j][1]);
                        target.put(s, pixel, at[j], s.max(floor, z));
                    }
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn end<S: Simd>(&self, _: S, _: [S::V; 2], _: usize, _: Channels) {}
}
