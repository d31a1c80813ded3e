//! Which columns of Parquet are read, what their rows hold, and what is said of it.

use crate::formats::{Expected, golden};
use crate::support::{names, write_images};
use moco_data::{DataError, Dataset, Image, save_png};
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::tempdir;

fn expected() -> Vec<Image> {
    Expected::read().images("images")
}

fn open(path: &Path, asked: &str) -> Result<Dataset, DataError> {
    Dataset::open(Path::new(&format!("{}{asked}", path.display())))
}

fn message(opened: Result<Dataset, DataError>) -> String {
    match opened {
        Err(error) => error.to_string(),
        Ok(dataset) => panic!("opened: {}", dataset.holdings()),
    }
}

/// What is said of a data set; a single thing may be in the plural.
fn line(dataset: &Dataset) -> String {
    let said = dataset.holdings().to_string();
    said.replace("1 other columns", "1 other column").replace("1 rows w", "1 row w")
}

/// The images and the line that is said of a golden table.
fn check(name: &str, asked: &str, images: &[usize], said: &str) -> Dataset {
    let dataset = open(&golden(name), asked).unwrap();
    let all = expected();
    assert_eq!(dataset.len(), images.len(), "{name}{asked}");
    for (i, &image) in images.iter().enumerate() {
        assert_eq!(dataset.load(i).unwrap(), all[image], "{name}{asked} {i}");
    }
    assert_eq!(line(&dataset), said);
    dataset
}

fn classes(dataset: &Dataset) -> Vec<&str> {
    let class = |i| dataset.label(i).map_or("", |label| &dataset.class_names()[label as usize]);
    (0..dataset.len()).map(class).collect()
}

/// A value of each row.
enum Values<'a> {
    Texts(Vec<Option<&'a str>>),
    Bytes(Vec<Option<Vec<u8>>>),
    Numbers(Vec<Option<i64>>),
}

/// Writes a table of nullable columns.
fn write(path: &Path, columns: &[(&str, Values)], features: Option<&str>, packing: Compression) {
    let field = |(name, values): &(&str, Values)| match values {
        Values::Texts(_) => format!("optional binary {name} (UTF8);"),
        Values::Bytes(_) => format!("optional binary {name};"),
        Values::Numbers(_) => format!("optional int64 {name};"),
    };
    let fields: Vec<String> = columns.iter().map(field).collect();
    let schema = parse_message_type(&format!("message m {{ {} }}", fields.concat())).unwrap();
    let pair = |features: &str| {
        let info = format!(r#"{{"info": {{"features": {features}}}}}"#);
        vec![KeyValue::new("huggingface".into(), info)]
    };
    let properties = WriterProperties::builder()
        .set_key_value_metadata(features.map(pair))
        .set_compression(packing)
        .build();
    let file = fs::File::create(path).unwrap();
    let mut writer =
        SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties)).unwrap();
    let mut group = writer.next_row_group().unwrap();
    for (_, values) in columns {
        let mut column = group.next_column().unwrap().unwrap();
        let mut bytes = |values: Vec<Option<Vec<u8>>>| {
            let levels: Vec<i16> = values.iter().map(|v| i16::from(v.is_some())).collect();
            let values: Vec<_> = values.into_iter().flatten().map(ByteArray::from).collect();
            column.typed::<ByteArrayType>().write_batch(&values, Some(&levels), None).unwrap();
        };
        match values {
            Values::Texts(texts) => {
                bytes(texts.iter().map(|text| text.map(|text| text.into())).collect());
            }
            Values::Bytes(all) => bytes(all.clone()),
            Values::Numbers(numbers) => {
                let levels: Vec<i16> = numbers.iter().map(|v| i16::from(v.is_some())).collect();
                let numbers: Vec<i64> = numbers.iter().flatten().copied().collect();
                column.typed::<Int64Type>().write_batch(&numbers, Some(&levels), None).unwrap();
            }
        }
        column.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
}

fn png(root: &Path, seed: u64) -> Vec<u8> {
    let path = root.join("scratch.png");
    save_png(&crate::support::image(9, 8, seed), &path).unwrap();
    fs::read(path).unwrap()
}

/// The feature of the usual name, though masks come first; and what else there was.
#[test]
fn parquet_masks_are_passed_over() {
    let said = "Parquet, images in column `image`, labels in column `label`; passed over: 2 other \
                columns of images (`annotation`, `depth`); other labels are in `coarse` (choose \
                with `:labels=NAME`)";
    let dataset = check("masks.parquet", "", &[0, 1], said);
    assert_eq!(classes(&dataset), ["cat", "newt"]);
    let mask = check(
        "masks.parquet",
        ":column=annotation:labels=coarse",
        &[5, 6],
        "Parquet, images in column `annotation`, labels in column `coarse`",
    );
    assert_eq!(classes(&mask), ["newt", "dog"]);
    assert_ne!(mask.fingerprint(), dataset.fingerprint());
    let none = check(
        "masks.parquet",
        ":column=image:labels=none",
        &[0, 1],
        "Parquet, images in column `image`, no labels",
    );
    assert_eq!((none.label(0), none.fingerprint()), (None, dataset.fingerprint()));
}

/// As it is written, whether or not the program keeps the order of JSON.
#[test]
fn parquet_features_decide_in_their_own_order() {
    let said = "Parquet, images in column `photo`, no labels; passed over: 1 other column of \
                images (`close_up`)";
    check("order.parquet", "", &[0, 1], said);
}

#[test]
fn parquet_rows_without_an_image_are_passed_over_and_paths_followed() {
    let root = tempdir().unwrap();
    let path = root.path().join("t.parquet");
    fs::copy(golden("nulls.parquet"), &path).unwrap();
    save_png(&expected()[7], &root.path().join("one.png")).unwrap();
    let dataset = Dataset::open(&path).unwrap();
    assert_eq!(
        names(&dataset),
        ["t.parquet/000001", "t.parquet/000002/one.png", "t.parquet/000004"]
    );
    for (i, image) in [0, 7, 1].into_iter().enumerate() {
        assert_eq!(dataset.load(i).unwrap(), expected()[image]);
    }
    let said = dataset.holdings().to_string();
    assert!(said.contains("passed over: 3 rows without an image"), "{said}");
    assert!(said.contains("; 1 row holds only a path, whose file is read"), "{said}");
    assert!(said.contains("1 of 3 rows has no label, such as `t.parquet/000004`"), "{said}");

    fs::remove_file(root.path().join("one.png")).unwrap();
    let dataset = Dataset::open(&path).unwrap();
    let said = dataset.holdings().to_string();
    assert!(said.contains("the first such file, `one.png`, does not exist"), "{said}");
    let error = dataset.load(1).unwrap_err().to_string();
    assert!(error.ends_with("one.png` does not exist"), "{error}");

    let memory = Dataset::from_bytes("t.parquet", fs::read(&path).unwrap()).unwrap();
    let error = memory.load(1).unwrap_err().to_string();
    assert_eq!(error, "cannot be read: the table holds only its path, `one.png`");
}

#[test]
fn parquet_columns_of_every_kind_are_read_or_explained() {
    let table = golden("kinds.parquet");
    let label = |name: &str| {
        let dataset = open(&table, &format!(":column=data:labels={name}")).unwrap();
        assert_eq!(dataset.load(1).unwrap(), expected()[1]);
        classes(&dataset).join(" ")
    };
    assert_eq!(label("flag"), "true false");
    assert_eq!(label("float"), "2 10");
    assert_eq!(label("byte"), "200 1");
    assert_eq!(label("wide"), "3 9223372036854775807");
    assert_eq!(label("signs"), "-1 1");
    assert_eq!(label("category"), "b a");
    assert_eq!(label("part"), "0.5 0.25");
    assert_eq!(label("id"), "7 8");
    assert_eq!(open(&table, ":labels=float").unwrap().class_names(), ["2", "10"]);

    let said = |asked: &str| open(&table, asked).unwrap().holdings().to_string();
    assert!(said(":labels=nan").contains("1 of 2 rows has no label"), "{}", said(":labels=nan"));
    assert!(said(":labels=nothing").ends_with("; no row has a label"));
    for column in ["view", "dictionary"] {
        let dataset = open(&table, &format!(":column={column}")).unwrap();
        assert_eq!(dataset.load(1).unwrap(), expected()[1], "{column}");
    }
    let inner = open(&table, "").unwrap();
    assert_eq!(inner.load(0).unwrap(), expected()[1]);
    let chosen = "Parquet, images in column `inner.left`, labels in column `category`";
    assert_eq!(inner.holdings().chosen, chosen);

    for (column, words) in [
        ("fixed", "holds bytes of a fixed length in its column `fixed`, not images"),
        ("several", "holds a list of images per row in its column `several`"),
        ("time", "holds times in its column `time`, not images"),
        ("list", "holds lists in its column `list`, not images"),
        ("category", "holds text in its column `category`, neither images nor their paths"),
        ("nothing", "holds nothing in its column `nothing`, not images"),
        ("missing", "has no column `missing`; its columns are `id`, `data`, `view`"),
    ] {
        let error = message(open(&table, &format!(":column={column}")));
        assert!(error.contains(words) && !error.contains("damaged"), "{error}");
    }
    for (column, words) in [
        ("time", "holds times in its column `time`, not labels"),
        ("half", "holds 16-bit numbers"),
        ("decimal", "holds decimal numbers"),
        ("list", "holds lists"),
        ("missing", "has no column `missing`"),
    ] {
        let error = message(open(&table, &format!(":labels={column}")));
        assert!(error.contains(words) && !error.contains("damaged"), "{error}");
    }
}

#[test]
fn parquet_plain_bytes_are_known_by_what_they_are() {
    let root = tempdir().unwrap();
    let path = root.path().join("t.parquet");
    let images = || Values::Bytes(vec![None, Some(png(root.path(), 1)), Some(png(root.path(), 2))]);
    let other = || Values::Bytes(vec![Some(b"no".to_vec()); 3]);
    let numbers = |numbers: [i64; 3]| Values::Numbers(numbers.map(Some).to_vec());
    let columns = [("hash", other()), ("scan", images()), ("label", numbers([-1, 3, -1]))];
    write(&path, &columns, None, Compression::SNAPPY);
    let dataset = Dataset::open(&path).unwrap();
    assert_eq!(names(&dataset), ["t.parquet/000001", "t.parquet/000002"]);
    assert_eq!(dataset.load(0).unwrap().width, 9);
    let said = "Parquet, images in column `scan`, labels in column `label`; passed over: 1 row \
                without an image; 1 of 2 rows has no label, such as `t.parquet/000002`";
    assert!(line(&dataset).starts_with(said));

    write(&path, &[("hash", other())], None, Compression::SNAPPY);
    let error = message(Dataset::open(&path));
    assert!(error.contains("has no column of images among `hash (bytes)`;"), "{error}");
    write(&path, &[("mask", images())], None, Compression::SNAPPY);
    let error = message(Dataset::open(&path));
    assert!(error.contains("has no columns of images but `mask`"), "{error}");
    assert!(error.ends_with("if one is meant, add `:column=mask`"), "{error}");
    write(&path, &[("image", Values::Bytes(vec![None; 2]))], None, Compression::SNAPPY);
    let error = message(Dataset::open(&path));
    assert!(error.contains("holds no image in its column `image` of 2 rows"), "{error}");
}

/// As `moco embed --out f.parquet` writes it, and as people write tables beside their images.
#[test]
fn parquet_columns_of_paths_lead_to_files() {
    let root = tempdir().unwrap();
    write_images(root.path(), &["a/1.png", "b/2.png"]);
    let path = root.path().join("t.parquet");
    let paths = |paths: [&'static str; 3]| Values::Texts(paths.map(Some).to_vec());
    let class = || Values::Texts(vec![Some("x"), Some("y"), None]);
    let columns = [("path", paths(["a/1.png", "b/2.png", "c.png"])), ("class", class())];
    write(&path, &columns, None, Compression::SNAPPY);
    let dataset = Dataset::open(&path).unwrap();
    assert_eq!((dataset.len(), dataset.name(1)), (3, "t.parquet/000001/b/2.png"));
    assert_eq!(dataset.load(1).unwrap().width, 18);
    let said = dataset.holdings().to_string();
    let chosen = "Parquet, paths of images in column `path`, labels in column `class`";
    assert!(said.starts_with(chosen), "{said}");

    write(&path, &[("photo", paths(["x/1.png", "x/2.png", "x/3.png"]))], None, Compression::SNAPPY);
    let error = message(Dataset::open(&path));
    assert!(
        error.contains("holds no images but their paths, such as `x/1.png`, none of"),
        "{error}"
    );
    let error = message(Dataset::from_bytes("t.parquet", fs::read(&path).unwrap()));
    assert!(
        error.ends_with("such as `x/1.png`; copy the table to the folder of its images"),
        "{error}"
    );
    write(&path, &[("file", paths(["t/a/1.png", "t/b/2.png", ""]))], None, Compression::SNAPPY);
    let error = message(Dataset::open(&path));
    assert!(error.ends_with("it does exist without `t`, so leave that out"), "{error}");
    write(&path, &[("image", paths(["https://a/1.png", "", ""]))], None, Compression::SNAPPY);
    let error = message(Dataset::open(&path));
    assert!(error.ends_with("download the images and list their paths"), "{error}");
    write(&path, &[("image", paths(["a dog", "a cat", ""]))], None, Compression::SNAPPY);
    let error = message(Dataset::open(&path));
    assert!(error.contains("has no column of images among `image (text)`"), "{error}");
}

#[test]
fn parquet_files_that_differ_are_named() {
    let root = tempdir().unwrap();
    let file = |name: &str| root.path().join(name);
    let both = |a: &dyn Fn(&Path), b: &dyn Fn(&Path)| {
        a(&file("a.parquet"));
        b(&file("b.parquet"));
        Dataset::open(&root.path().join("*.parquet"))
    };
    let copy = |name: &'static str| move |to: &Path| assert!(fs::copy(golden(name), to).is_ok());
    let alike = both(&copy("hf.parquet"), &copy("masks.parquet")).unwrap();
    assert_eq!((alike.len(), alike.class_names().len()), (25, 3));
    let chosen = "Parquet, 2 files, images in column `image`, labels in column `label`";
    assert_eq!(alike.holdings().chosen, chosen);

    let error = message(both(&copy("hf.parquet"), &copy("order.parquet")));
    let words = "b.parquet` has no column `image`, in which `a.parquet` holds its images; give";
    assert!(error.contains(words), "{error}");
    let error = message(both(&copy("pages.parquet"), &copy("dictionary.parquet")));
    let words = "b.parquet` holds text in its column `label`, which is not so in `a.parquet`;";
    assert!(error.contains(words), "{error}");

    let image = png(root.path(), 1);
    let named = |names: &'static str| {
        let columns = [
            ("image", Values::Bytes(vec![Some(image.clone())])),
            ("label", Values::Numbers(vec![Some(0)])),
        ];
        let label = format!(r#"{{"label": {{"names": {names}, "_type": "ClassLabel"}}}}"#);
        move |path: &Path| write(path, &columns, Some(&label), Compression::SNAPPY)
    };
    let error = message(both(&named(r#"["x", "y"]"#), &named(r#"["y", "x"]"#)));
    let words = "b.parquet` names the classes of its column `label` not as `a.parquet` does";
    assert!(error.contains(words), "{error}");
}

/// Hugging Face writes -1 where a label is withheld; others stand for no class.
#[test]
fn parquet_labels_of_no_class_are_counted() {
    let root = tempdir().unwrap();
    let path = root.path().join("t.parquet");
    let feature = r#"{"label": {"names": ["x", "y"], "_type": "ClassLabel"}}"#;
    let opened = |labels: [i64; 4]| {
        let columns = [
            ("image", Values::Bytes(vec![Some(png(root.path(), 1)); 4])),
            ("label", Values::Numbers(labels.map(Some).to_vec())),
        ];
        write(&path, &columns, Some(feature), Compression::SNAPPY);
        Dataset::open(&path).unwrap()
    };
    let said = line(&opened([0, -1, 2, 1]));
    assert!(said.contains("2 of 4 rows have no label, such as `t.parquet/000001`"), "{said}");
    let withheld = opened([-1; 4]);
    assert!(line(&withheld).ends_with("; no row has a label"), "{}", line(&withheld));
    assert_eq!((withheld.label(0), withheld.class_names().len()), (None, 0));
    assert_eq!(classes(&opened([1, 0, 1, 1])), ["y", "x", "y", "y"]);
}

/// Damaged is only what is damaged.
#[test]
fn parquet_that_is_not_damaged_is_not_called_so() {
    let whole = fs::read(golden("hf.parquet")).unwrap();
    let error = |bytes: &[u8]| message(Dataset::from_bytes("t.parquet", bytes.to_vec()));
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n";
    let words = "`t.parquet` is only a pointer to a file that Git LFS keeps; fetch the file with \
                 `git lfs pull`";
    assert_eq!(error(pointer), words);
    let encrypted = [&whole[..whole.len() - 1], b"E"].concat();
    assert_eq!(error(&encrypted), "`t.parquet` is encrypted; write it without encryption");
    let cut = error(&whole[..whole.len() / 2]);
    assert!(cut.contains("is damaged (it does not end as Parquet does"), "{cut}");
    let other = error(b"<!DOCTYPE html><html>Not found</html>");
    assert!(other.contains("is damaged (it does not begin as Parquet does)"), "{other}");
    let mut footer = whole.clone();
    let at = whole.len() - 40;
    footer[at - 200..at].fill(0xff);
    let footer = error(&footer);
    assert!(footer.contains("is damaged (its footer cannot be made out)"), "{footer}");
}

#[test]
fn parquet_pages_that_are_damaged_are_bad_images() {
    let path = golden("hf.parquet");
    let mut bytes = fs::read(&path).unwrap();
    bytes[40..400].fill(0xff);
    let Ok(dataset) = Dataset::from_bytes("t.parquet", bytes) else { return };
    let error = dataset.load(0).unwrap_err().to_string();
    assert!(!error.to_lowercase().contains("parquet error"), "{error}");
}

#[test]
fn parquet_whose_index_of_pages_is_damaged_is_read_without_it() {
    let mut bytes = fs::read(golden("hf.parquet")).unwrap();
    let whole = Dataset::from_bytes("t.parquet", bytes.clone()).unwrap();
    let index_of_images = 9712;
    bytes[index_of_images] = 0x18;
    let dataset = Dataset::from_bytes("t.parquet", bytes).unwrap();
    let note = "the index of pages in `t.parquet` is damaged and not used";
    assert_eq!(dataset.holdings().notes, [note]);
    assert!(whole.holdings().notes.is_empty() && whole.len() == dataset.len());
    for i in 0..whole.len() {
        assert_eq!(dataset.load(i).unwrap(), whole.load(i).unwrap(), "{i}");
    }
}

#[test]
fn parquet_beside_nothing_is_opened_by_its_path() {
    assert!(matches!(
        Dataset::open(&PathBuf::from("none.parquet")),
        Err(DataError::Missing { .. })
    ));
}
