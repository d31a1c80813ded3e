//! What a block product fetches into the caches while it computes, for itself and the next one.
//!
//! None of it changes a result, and the places need not exist. Rows of maps the hardware does not
//! foresee: they are short, and far apart. Packed weights it does foresee, but the first tile of a
//! panel asks for them faster than memory delivers, where they were not packed just before.

use crate::threads::LINE;

/// What a product fetches.
#[derive(Clone, Copy)]
pub(crate) struct Fetch<'a> {
    /// Tile `i` fetches column `i` into the second-level cache.
    pub columns: &'a [Column],
    /// Each tile fetches the rows of the next into the first-level cache, and the last one those that
    /// lie so many floats behind the first row. For an `A` whose rows are contiguous.
    pub rows: Option<usize>,
}

impl Fetch<'_> {
    /// Nothing.
    pub const NONE: Self = Fetch { columns: &[], rows: None };
}

/// Cache lines `stride` floats apart, one for every `k`.
#[derive(Clone, Copy)]
pub(crate) struct Column {
    pub start: *const f32,
    pub stride: usize,
}

/// A list of columns.
pub(crate) struct Columns {
    columns: [Column; Self::MOST],
    count: usize,
}

impl Columns {
    const MOST: usize = 8;

    #[inline(always)]
    pub(crate) fn new() -> Columns {
        Columns { columns: [Column { start: std::ptr::null(), stride: 0 }; Self::MOST], count: 0 }
    }

    /// The panel at `start`, `depth` rows of `width` floats, shared out among `tiles` tiles of the same
    /// depth; each fetches one line per `k`, so that a single tile fetches half of a panel of two lines.
    #[inline(always)]
    pub(crate) fn panel(start: *const f32, [depth, width]: [usize; 2], tiles: usize) -> Columns {
        let mut columns = Self::new();
        let tiles = tiles.clamp(1, Self::MOST);
        let stride = width.div_ceil(tiles);
        for i in 0..tiles {
            columns.add(start.wrapping_add(i * depth * stride), stride, 1);
        }
        columns
    }

    /// Adds rows of `lines` lines that begin at `start`, as many as there is room for.
    #[inline(always)]
    pub(crate) fn add(&mut self, start: *const f32, stride: usize, lines: usize) {
        for i in 0..lines.min(Self::MOST - self.count) {
            self.columns[self.count] = Column { start: start.wrapping_add(i * LINE), stride };
            self.count += 1;
        }
    }

    /// All of them, and no rows.
    #[inline(always)]
    pub(crate) fn fetch(&self) -> Fetch<'_> {
        Fetch { columns: &self.columns[..self.count], rows: None }
    }

    /// Column `i` alone, if there is one, and no rows.
    #[inline(always)]
    pub(crate) fn one(&self, i: usize) -> Fetch<'_> {
        let columns = self.columns[..self.count].get(i..=i).unwrap_or_default();
        Fetch { columns, rows: None }
    }
}
