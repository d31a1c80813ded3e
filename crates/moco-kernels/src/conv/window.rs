//! Which input lies under an output point: the rows of the gathered matrix (im2col), made a few
//! columns at a time.
//!
//! A row's columns run over (kernel row, kernel column, channel). In NHWC neighbouring taps of a
//! kernel row are neighbours in memory, so a row is a few runs of contiguous floats.

use std::ops::Range;

use super::shape::ConvShape;
use super::source::{ImageActivation, Input};
use crate::simd::{Simd, load_n, store_n};

/// The gathered matrix of a batch of NHWC maps.
#[derive(Clone)]
pub(crate) struct Window<'a> {
    pub src: Input<'a>,
    /// Rows, columns and channels of the source maps.
    pub src_dims: [usize; 3],
    /// Distance in the source between neighbouring points.
    pub step: usize,
    /// Runs of taps that are neighbours in a source row, in the order of the packed weights.
    pub runs: Vec<Run>,
}

/// `taps` neighbouring source pixels, the first at offset `(y, x)` from a point's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub y: isize,
    pub x: isize,
    pub taps: usize,
}

/// Part of a run: floats `floats` of it are columns `column..` of the piece list.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    run: Run,
    floats: Range<usize>,
    column: usize,
}

/// Where a gathered row lies: its columns in panels of `width`, `panel_stride` floats apart. The
/// width is a multiple of every vector length, or at least the number of columns: what is left of it
/// may be written to.
#[derive(Clone, Copy)]
pub(crate) struct Panels {
    pub width: usize,
    pub panel_stride: usize,
}

impl<'a> Window<'a> {
    /// What the convolution itself reads.
    pub(crate) fn forward(shape: &ConvShape, x: Input<'a>) -> Self {
        let (k, pad) = (shape.k, shape.pad as isize);
        Window {
            src: x,
            src_dims: [shape.h, shape.w, shape.cin],
            step: shape.stride,
            runs: (0..k).map(|ky| Run { y: ky as isize - pad, x: -pad, taps: k }).collect(),
        }
    }

    /// Columns of the gathered matrix.
    pub(crate) fn depth(&self) -> usize {
        self.runs.iter().map(|run| run.taps).sum::<usize>() * self.src_dims[2]
    }

    /// The pieces that make up some columns.
    pub(crate) fn pieces(&self, columns: Range<usize>) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut start = 0;
        for &run in &self.runs {
            let end = start + run.taps * self.src_dims[2];
            let (from, to) = (start.max(columns.start), end.min(columns.end));
            if from < to {
                let floats = from - start..to - start;
                pieces.push(Piece { run, floats, column: from - columns.start });
            }
            start = end;
        }
        pieces
    }

    /// Copies the source under the points `(y, x..x + count)` of `image` to rows `pitch` apart, of which
    /// the first begins at `rows`; zeros where a tap lies beyond the map. Pieces are given in the order
    /// of their columns.
    ///
    /// # Safety
    /// `src` holds `image`, and each row has all the columns of `pieces` in the layout of `panels`.
    #[inline(always)]
    pub(crate) unsafe fn copy_rows<S: Simd>(
        &self,
        s: S,
        ([image, y, x], count): ([usize; 3], usize),
        pieces: &[Piece],
        (rows, pitch): (*mut f32, usize),
        panels: Panels,
    ) {
        let [h, w, c] = self.src_dims;
        let activation = self.src.activation.map(|activation| activation.of_image(image));
        for Piece { run, floats, column } in pieces {
            let src_y = (y * self.step) as isize + run.y;
            let in_map = src_y >= 0 && src_y < h as isize;
            let line = ((image * h) as isize + src_y) * w as isize;
            let start = Cursor::new(rows, *column, panels);
            for i in 0..count {
                let first = ((x + i) * self.step) as isize + run.x;
                let inside = run.inside(first, self.src_dims);
                let [from, to] = match in_map {
                    true => inside.map(|at| at.clamp(floats.start, floats.end)),
                    false => [floats.end; 2],
                };
                let offset = (line + first) * c as isize;
                let mut out = start.in_row(i * pitch);
                // SAFETY: where `from < to`, image, row and columns are in the map; the rest of the
                // piece is zeros. The caller's row has room for all of the piece.
                unsafe {
                    out.zeros(s, from - floats.start);
                    let source = self.src.data.as_ptr().wrapping_offset(offset);
                    let ahead = self.step * c;
                    match activation {
                        None => {
                            let start = offset.wrapping_add_unsigned(from) as usize;
                            let readable = self.src.data.len().saturating_sub(start);
                            out.copy(s, source.wrapping_add(from), [to - from, readable], ahead);
                        }
                        Some(activation) => {
                            for (channels, at) in pixels(from..to, c) {
                                let from = source.wrapping_add(at);
                                out.copy_active(s, from, channels, ahead, activation);
                            }
                        }
                    }
                    out.zeros(s, floats.end - to);
                }
            }
        }
    }
}

impl Run {
    /// The floats of it that lie in a row of the map, where its first tap is pixel `first`.
    #[inline(always)]
    fn inside(&self, first: isize, [_, w, c]: [usize; 3]) -> [usize; 2] {
        let last = first + self.taps as isize;
        if first >= 0 && last <= w as isize {
            return [0, self.taps * c];
        }
        [0, w as isize].map(|edge| (edge.clamp(first, last) - first) as usize * c)
    }
}

/// The floats of a run, pixel by pixel: which channels, and where they begin.
#[inline(always)]
fn pixels(floats: Range<usize>, channels: usize) -> impl Iterator<Item = (Range<usize>, usize)> {
    let mut at = floats.start;
    std::iter::from_fn(move || {
        let first = at % channels;
        let here = at;
        at += (channels - first).min(floats.end - at);
        (here < at).then(|| (first..first + at - here, here))
    })
}

/// Writes columns one after another, panel by panel.
#[derive(Clone, Copy)]
struct Cursor {
    to: *mut f32,
    left_in_panel: usize,
    panels: Panels,
}

impl Cursor {
    #[inline(always)]
    fn new(row: *mut f32, column: usize, panels: Panels) -> Cursor {
        let (panel, within) = (column / panels.width, column % panels.width);
        let to = row.wrapping_add(panel * panels.panel_stride + within);
        Cursor { to, left_in_panel: panels.width - within, panels }
    }

    /// This place in another row.
    #[inline(always)]
    fn in_row(self, offset: usize) -> Cursor {
        Cursor { to: self.to.wrapping_add(offset), ..self }
    }

    /// Asks for the floats `ahead`, which are the next row's.
    ///
    /// # Safety
    /// `len` more columns are the row's, and as many floats are readable at `from`, or more where
    /// `readable` says so.
    #[inline(always)]
    unsafe fn copy<S: Simd>(
        &mut self,
        s: S,
        mut from: *const f32,
        [mut len, readable]: [usize; 2],
        ahead: usize,
    ) {
        // By whole vectors, where what comes next is written over the surplus.
        let whole = len.next_multiple_of(S::LANES);
        if whole <= readable.min(self.left_in_panel) {
            for at in (0..whole).step_by(S::LANES) {
                s.prefetch(from.wrapping_add(at + ahead));
                // SAFETY: `at + LANES <= whole`, which is readable and within the panel's row.
                unsafe { s.store(self.to.add(at), s.load(from.add(at))) };
            }
            self.advance(len);
            return;
        }
        while len > 0 {
            s.prefetch(from.wrapping_add(ahead));
            let lanes = S::LANES.min(len).min(self.left_in_panel);
            // SAFETY: `lanes <= len`, the caller's promise.
            unsafe { store_n(s, self.to, load_n(s, from, lanes), lanes) };
            from = from.wrapping_add(lanes);
            len -= lanes;
            self.advance(lanes);
        }
    }

    /// As `copy`, for some channels of one pixel, with the activation applied.
    ///
    /// # Safety
    /// As for `copy`, of as many floats as there are channels.
    #[inline(always)]
    unsafe fn copy_active<S: Simd>(
        &mut self,
        s: S,
        mut from: *const f32,
        channels: Range<usize>,
        ahead: usize,
        activation: ImageActivation,
    ) {
        let mut channel = channels.start;
        while channel < channels.end {
            s.prefetch(from.wrapping_add(ahead));
            let lanes = S::LANES.min(channels.end - channel).min(self.left_in_panel);
            let affine = activation.load(s, channel, lanes);
            // SAFETY: as many lanes as there are channels left, the caller's promise.
            unsafe {
                let value = ImageActivation::apply(s, load_n(s, from, lanes), affine);
                store_n(s, self.to, value, lanes);
            }
            from = from.wrapping_add(lanes);
            channel += lanes;
            self.advance(lanes);
        }
    }

    /// # Safety
    /// `len` more columns are the row's.
    #[inline(always)]
    unsafe fn zeros<S: Simd>(&mut self, s: S, mut len: usize) {
        while len > 0 {
            let lanes = S::LANES.min(len).min(self.left_in_panel);
            // SAFETY: `lanes <= len`, the caller's promise.
            unsafe { store_n(s, self.to, s.splat(0.0), lanes) };
            len -= lanes;
            self.advance(lanes);
        }
    }

    #[inline(always)]
    fn advance(&mut self, lanes: usize) {
        self.to = self.to.wrapping_add(lanes);
        self.left_in_panel -= lanes;
        if self.left_in_panel == 0 {
            let skip = self.panels.panel_stride.wrapping_sub(self.panels.width);
            self.to = self.to.wrapping_add(skip);
            self.left_in_panel = self.panels.width;
        }
    }
}
