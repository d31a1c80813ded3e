//! What a list says of its images beside their class: every further column is one that the map can be
//! coloured by.

use moco_data::Dataset;
use moco_page::page::Column;
use std::fs::File;
use std::path::Path;

/// Columns that are taken at most.
const COLUMNS: usize = 12;

/// The columns of a `.csv` or `.tsv` with heads, for the images `chosen` of `whole`, which was opened
/// from it. A column that cannot be read as labels of the same images is left out; so is one without
/// any value.
pub fn of_list(path: &Path, whole: &Dataset, chosen: &[usize]) -> Vec<Column> {
    let own = heads(path);
    own.iter().filter_map(|head| column(path, head, whole, chosen)).take(COLUMNS).collect()
}

/// The heads of a table's columns; none of any other file.
fn heads(path: &Path) -> Vec<String> {
    let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
    let delimiter = match extension.to_str() {
        Some("csv") => b',',
        Some("tsv") => b'\t',
        _ => return Vec::new(),
    };
    let Ok(file) = File::open(path) else { return Vec::new() };
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).from_reader(file);
    let heads = reader.headers().map(|heads| heads.iter().map(str::to_owned).collect());
    heads.unwrap_or_default()
}

fn column(path: &Path, head: &str, whole: &Dataset, chosen: &[usize]) -> Option<Column> {
    let mut asked = path.as_os_str().to_owned();
    asked.push(format!(":labels={head}"));
    let labelled = Dataset::open(Path::new(&asked)).ok()?;
    let (values, classes) = (labelled.class_names(), whole.class_names());
    // The class itself is there already, and a column in which every image has a value of its own, as
    // that of the paths, tells nothing.
    let same = (0..whole.len())
        .all(|i| labelled.len() == whole.len() && labelled.name(i) == whole.name(i));
    let told = values.len() > 1 && values != classes;
    let alone = values.len() == labelled.len() && !numeric(values);
    (same && told && !alone).then(|| Column {
        name: head.to_owned(),
        values: values.to_vec(),
        of: chosen.iter().map(|i| labelled.label(*i)).collect(),
    })
}

fn numeric(values: &[String]) -> bool {
    values.iter().all(|value| value.parse::<f64>().is_ok_and(f64::is_finite))
}

#[cfg(test)]
mod tests {
    use super::*;
    use moco_data::{Image, save_png};
    use std::fs;

    #[test]
    fn all_columns_but_path_and_class_can_colour() {
        let place = tempfile::tempdir().unwrap();
        let mut table = "path,label,camera,weight\n".to_owned();
        for i in 0..6 {
            let name = format!("{i}.png");
            save_png(&Image::filled(4, 4, [i; 3]), &place.path().join(&name)).unwrap();
            table += &format!("{name},{},{},{}.5\n", i % 2, ["a", "b", "c"][usize::from(i) % 3], i);
        }
        let path = place.path().join("list.csv");
        fs::write(&path, table).unwrap();
        let whole = Dataset::open(&path).unwrap();
        let columns = of_list(&path, &whole, &[0, 4, 5]);
        let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        assert_eq!(names, ["camera", "weight"]);
        let value = |i: usize| columns[0].values[columns[0].of[i].unwrap() as usize].as_str();
        assert_eq!([value(0), value(1), value(2)], ["a", "b", "c"]);
        assert!(of_list(place.path(), &whole, &[0]).is_empty());
    }
}
