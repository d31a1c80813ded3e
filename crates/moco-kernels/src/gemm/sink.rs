//! Where a product's sums go: what is done to them while they are still in registers.
//!
//! The output is a matrix `[rows, channels]`: of a convolution one row for each pixel, of a linear layer
//! one for each vector. A job walks its channels one vector at a time and, within a vector, its rows; a
//! sink therefore keeps per-channel values in registers from `begin` to `end`.

use crate::simd::{Simd, load_n, store_n};

/// One vector of channels: its first channel and how many of its lanes are channels.
#[derive(Clone, Copy)]
pub(crate) struct Channels {
    pub first: usize,
    pub lanes: usize,
}

/// Receives a job's output vectors.
pub(crate) trait Sink: Sync {
    /// What is kept in registers while the rows of one vector of channels go by.
    type State<S: Simd>: Copy;
    /// Whether sums are added to what is there, so that those of no products need not be put.
    const ADDS: bool = false;

    /// Called before the rows of `at`; `first` is the first row's value.
    fn begin<S: Simd>(&self, s: S, at: Channels, first: S::V) -> Self::State<S>;

    /// Told some time before `put`, so that the memory can be fetched meanwhile.
    #[inline(always)]
    fn expect<S: Simd>(&self, _: S, _row: usize, _at: Channels) {}

    /// Takes channels `at` of row `row`; the rows of a map are its pixels, `[n, h, w]`.
    ///
    /// # Safety
    /// `row` and `at` lie in the output, and no other thread puts this row and channel.
    unsafe fn put<S: Simd>(
        &self,
        s: S,
        state: &mut Self::State<S>,
        row: usize,
        at: Channels,
        value: S::V,
    );

    /// Takes `N` vectors of each of some rows.
    ///
    /// # Safety
    /// As for `put`, of each of them.
    #[inline(always)]
    unsafe fn put_rows<S: Simd, const R: usize, const N: usize>(
        &self,
        s: S,
        states: &mut [Self::State<S>; 2],
        rows: &[usize; R],
        at: &[Channels; 2],
        sums: &[[S::V; N]; R],
    ) {
        for (r, &row) in rows.iter().enumerate() {
            for j in 0..N {
                // SAFETY: the caller says of each of these rows and channels what `put` asks.
                unsafe { self.put(s, &mut states[j], row, at[j], sums[r][j]) };
            }
        }
    }

    /// Called after the rows of `at` by job `job`.
    ///
    /// # Safety
    /// No other thread ends this job and channel.
    #[inline(always)]
    unsafe fn end<S: Simd>(&self, _: S, _: Self::State<S>, _job: usize, _at: Channels) {}
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
    rows: &[usize; R],
    at: &[Channels; 2],
    sums: &[[S::V; N]; R],
) {
    let whole = at.map(|at| Channels { lanes: S::LANES, ..at });
    let all = at[..N].iter().all(|at| at.lanes == S::LANES);
    // SAFETY: the caller says of these rows and channels what `put_rows` asks; `whole` differs from
    // `at` nowhere in the first arm.
    unsafe {
        if all {
            sink.put_rows(s, states, rows, &whole, sums);
        } else {
            sink.put_rows(s, states, rows, at, sums);
        }
    }
}

/// The output `[rows, channels]`, perhaps not yet initialised.
pub(crate) struct Target<'a> {
    start: *mut f32,
    pub channels: usize,
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

    /// An output that holds values already.
    pub(crate) fn over(memory: &'a mut [f32], channels: usize) -> Self {
        let (start, len) = (memory.as_mut_ptr(), memory.len());
        Target { start, channels, len, _memory: std::marker::PhantomData }
    }

    /// Rows close to each other the hardware fetches by itself, and asking twice costs a tenth of
    /// the time; with a quarter of a page to each, asking gains some hundredths (measured on Zen 3).
    #[inline(always)]
    pub(crate) fn expect<S: Simd>(&self, s: S, row: usize, at: Channels) {
        if self.channels < 256 {
            return;
        }
        s.prefetch(self.start.wrapping_add(row * self.channels + at.first));
    }

    /// # Safety
    /// As for [`Sink::put`].
    #[inline(always)]
    pub(crate) unsafe fn put<S: Simd>(&self, s: S, row: usize, at: Channels, value: S::V) {
        let offset = row * self.channels + at.first;
        debug_assert!(offset + at.lanes <= self.len);
        // SAFETY: the caller's row and channels lie in the output.
        unsafe { store_n(s, self.start.add(offset), value, at.lanes) }
    }
}

/// Stores the sums, or with `ADDS` adds them to what the output, whole already, holds.
pub(crate) struct Stored<'a, const ADDS: bool>(Target<'a>);

/// Stores the sums as they are.
pub(crate) fn plain(target: Target<'_>) -> Stored<'_, false> {
    Stored(target)
}

/// Adds the sums to what the output, whole already, holds.
pub(crate) fn added(target: Target<'_>) -> Stored<'_, true> {
    Stored(target)
}

impl<const ADDS: bool> Sink for Stored<'_, ADDS> {
    type State<S: Simd> = ();
    const ADDS: bool = ADDS;

    #[inline(always)]
    fn begin<S: Simd>(&self, _: S, _: Channels, _: S::V) {}

    #[inline(always)]
    fn expect<S: Simd>(&self, s: S, row: usize, at: Channels) {
        self.0.expect(s, row, at);
    }

    #[inline(always)]
    unsafe fn put<S: Simd>(&self, s: S, _: &mut (), row: usize, at: Channels, value: S::V) {
        let target = &self.0;
        let offset = row * target.channels + at.first;
        debug_assert!(offset + at.lanes <= target.len);
        // SAFETY: the caller says that the row is its own and that the channels exist; an output that is
        // added to is initialised.
        unsafe {
            let value = match ADDS {
                true => s.add(value, load_n(s, target.start.add(offset), at.lanes)),
                false => value,
            };
            target.put(s, row, at, value);
        }
    }
}
