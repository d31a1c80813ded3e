//! What is gathered from all files while they are read, and said of it in the end.

use super::choose::Choice;
use super::columns;
use super::labels::LabelValues;
use super::rows::Rows;
use super::schema::{Column, Kind};
use super::{File, Parquet};
use crate::error::DataError;
use crate::source::listing::{Labels, Listing};
use crate::source::{named_files, table};

/// Labels of all rows, and how many rows hold no image themselves.
#[derive(Default)]
pub(super) struct Gathered {
    pub labels: LabelValues,
    rows: usize,
    /// Rows that hold only a path.
    named: usize,
    /// The first of them: number of its file, and the path.
    first_named: Option<(usize, String)>,
    /// Rows that hold neither.
    empty: usize,
}

impl Gathered {
    /// Takes note of a row group; [`Parquet::add`] gives the groups file by file.
    pub(super) fn count(&mut self, file: usize, rows: &Rows, total: usize) {
        self.rows += total;
        self.named += rows.named;
        self.empty += rows.empty;
        let first = rows.first_named.and_then(|row| rows.paths.get(row).cloned().flatten());
        if self.first_named.is_none() {
            self.first_named = first.map(|path| (file, path));
        }
    }

    /// Labels, and what there is to say of the columns and rows.
    pub(super) fn finish(
        self,
        parquet: &Parquet,
        choice: &Choice,
        listing: &mut Listing,
    ) -> Result<(), DataError> {
        let path = &parquet.files[0].path;
        if listing.entries.is_empty() {
            let problem = match self.rows {
                0 => "holds no rows".to_string(),
                rows => format!("holds no image in its column `{}` of {rows} rows", choice.image),
            };
            let mend = "choose another column with `:column=NAME`, or write the table again";
            return Err(table::fault(path, problem, mend));
        }
        self.check_named(parquet, choice, listing)?;
        listing.holdings.pass_over("rows without an image", self.empty);
        let mut label = choice.label.clone();
        if choice.label_is_guess
            && self.labels.has_fractions
            && let Some(name) = label.take()
        {
            let note =
                format!("the column `{name}` holds numbers with fractions, not read as labels");
            listing.holdings.note(note);
        }
        listing.holdings.chosen = self.chosen(parquet.files.len(), choice, label.as_deref());
        if label.is_some() {
            let given = |file: &File| file.columns.label.clone()?.class_names;
            let class_names = parquet.files.iter().find_map(given);
            let place = |i: usize| format!("`{}`", listing.entries.name(i));
            listing.labels = self.labels.into_labels(class_names, place, &mut listing.holdings);
        } else {
            listing.labels = Labels::Absent;
        }
        Ok(())
    }

    fn chosen(&self, files: usize, choice: &Choice, label: Option<&str>) -> String {
        let count = if files == 1 { String::new() } else { format!(", {files} files") };
        let what = if choice.is_paths { "paths of images" } else { "images" };
        let labels = label.map_or("no labels".into(), |name| format!("labels in column `{name}`"));
        format!("Parquet{count}, {what} in column `{}`, {labels}", choice.image)
    }

    /// Says that rows hold only paths, and whether these lead to files: one of them must, if there
    /// is nothing else.
    fn check_named(
        &self,
        parquet: &Parquet,
        choice: &Choice,
        listing: &mut Listing,
    ) -> Result<(), DataError> {
        let Some((file, path)) = &self.first_named else { return Ok(()) };
        let file = &parquet.files[*file];
        let leads = |file: &File, path: &str| {
            let folder = file.folder().filter(|_| !named_files::is_address(path));
            folder.is_some_and(|folder| named_files::path_of(folder, path).is_file())
        };
        let is_all = self.named == listing.entries.len();
        if is_all && !choice.is_paths {
            listing.holdings.note("all rows hold only a path, whose file is read");
        } else if !is_all {
            let rows = match self.named {
                1 => "1 row holds".to_string(),
                named => format!("{named} rows hold"),
            };
            listing.holdings.note(format!("{rows} only a path, whose file is read"));
        }
        if leads(file, path) {
            return Ok(());
        }
        let any = |i: usize| {
            let file = &parquet.files[parquet.group_of(i).file];
            file.path_in(listing.entries.name(i)).is_some_and(|path| leads(file, path))
        };
        if !is_all || (file.folder().is_some() && (0..listing.entries.len()).any(any)) {
            listing.holdings.note(format!("the first such file, `{path}`, does not exist"));
            return Ok(());
        }
        let problem = format!("holds no images but their paths, such as `{path}`");
        Err(match file.folder() {
            Some(folder) => {
                let problem = format!("{problem}, none of which leads to a file");
                table::fault(&file.path, problem, named_files::mend(folder, path))
            }
            None => table::fault(&file.path, problem, "copy the table to the folder of its images"),
        })
    }
}

impl Parquet {
    /// Refuses a file whose labels do not mean what those of the files before it mean.
    pub(super) fn check_alike(&self, file: &File, choice: &Choice) -> Result<(), DataError> {
        let given = |file: &File| file.columns.label.clone().filter(|l| !l.is_nothing());
        let first = self.files.iter().find_map(|file| Some((file, given(file)?)));
        let (Some((first, known)), Some(label)) = (first, given(file)) else { return Ok(()) };
        let name = choice.label.clone().unwrap_or_default();
        if !are_alike(&known.kind, &label.kind) {
            let column = Column { name, kind: label.kind };
            return Err(columns::differs(&file.path, &column, &first.path));
        }
        if known.class_names != label.class_names {
            let problem =
                format!("names the classes of its column `{name}` not as `{}` does", first.name);
            return Err(table::fault(&file.path, problem, "give only files of one kind"));
        }
        Ok(())
    }
}

/// Whether labels of two kinds count the same; pandas writes whole numbers as floats where some
/// are missing.
fn are_alike(a: &Kind, b: &Kind) -> bool {
    let is_number = |kind: &Kind| matches!(kind, Kind::Integers { .. } | Kind::Floats(_));
    (is_number(a) && is_number(b)) || std::mem::discriminant(a) == std::mem::discriminant(b)
}
