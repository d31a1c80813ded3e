//! What each row of a group holds: an image, the path of one, or nothing.

use super::columns;
use super::pages::Pages;
use super::{File, Group};
use ::parquet::errors::ParquetError;

/// The rows of a group that stand for an image.
#[derive(Default)]
pub(super) struct Rows {
    /// Their numbers in the group; `None` if it is all of them.
    pub kept: Option<Vec<u32>>,
    /// The path in each row of the group; empty if the file has none.
    pub paths: Vec<Option<String>>,
    /// The first row that holds only a path.
    pub first_named: Option<usize>,
    /// Number of such rows.
    pub named: usize,
    /// Number of rows that hold neither.
    pub empty: usize,
}

impl Rows {
    /// Looks at the paths, and at the images only where some are known to be missing: the file
    /// counts its nulls, and those of whole structs show in the paths.
    pub(super) fn read(file: &File, group: usize) -> Result<Rows, ParquetError> {
        let count = file.rows(group);
        let (paths, absent) = columns::read_paths(file, group)?;
        let nulls = match file.columns.image {
            None => vec![true; count],
            Some(image) => {
                let structs = absent.iter().filter(|&&absent| absent).count();
                let chunk = file.metadata.row_group(group).column(image);
                let known = chunk.statistics().and_then(|statistics| statistics.null_count_opt());
                match known {
                    Some(nulls) if nulls > structs as u64 => null_images(file, group)?,
                    _ => absent,
                }
            }
        };
        let mut rows = Rows { paths, ..Rows::default() };
        rows.sort_out(count, &nulls);
        Ok(rows)
    }

    /// Calls with each row that stands for an image, and its path; `count` is that of all rows.
    pub(super) fn for_each(&self, count: usize, mut work: impl FnMut(usize, Option<&str>)) {
        let mut each = |row: usize| work(row, self.paths.get(row).and_then(Option::as_deref));
        match &self.kept {
            None => (0..count).for_each(each),
            Some(kept) => kept.iter().for_each(|&row| each(row as usize)),
        }
    }

    fn sort_out(&mut self, count: usize, nulls: &[bool]) {
        let is_null = |row: usize| nulls.get(row).copied().unwrap_or(false);
        let has_path = |row: usize| self.paths.get(row).is_some_and(Option::is_some);
        let is_empty = |row: usize| is_null(row) && !has_path(row);
        let named = |row: &usize| is_null(*row) && has_path(*row);
        self.named = (0..count).filter(named).count();
        self.first_named = (0..count).find(named);
        self.empty = (0..count).filter(|&row| is_empty(row)).count();
        if self.empty > 0 {
            let kept = (0..count).filter(|&row| !is_empty(row)).map(|row| row as u32).collect();
            self.kept = Some(kept);
        }
    }
}

/// Whether each image of a group is null.
fn null_images(file: &File, group: usize) -> Result<Vec<bool>, ParquetError> {
    let pages = Pages::find(file, group)?;
    let mut nulls = Vec::with_capacity(file.rows(group));
    for page in 0..pages.len() {
        nulls.extend(pages.read(file, group, page)?.nulls());
    }
    Ok(nulls)
}

impl Group {
    /// The row of the group that image `i` of the data set is.
    pub(super) fn row(&self, i: usize) -> usize {
        let at = i - self.first;
        self.kept.as_ref().map_or(at, |kept| kept[at] as usize)
    }
}
