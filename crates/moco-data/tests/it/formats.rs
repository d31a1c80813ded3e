//! Every archive format against what its usual writer wrote: `golden/sources/make_sources.py`.

use crate::support::{names, options, write_images};
use moco_data::{DataError, Dataset, Image, OpenOptions};
use safetensors::SafeTensors;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::tempdir;

const CLASSES: [&str; 3] = ["cat", "dog", "newt"];

pub fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/sources").join(name)
}

/// What the writer's side says the images and labels are.
pub struct Expected(Vec<u8>);

impl Expected {
    pub fn read() -> Expected {
        Expected(fs::read(golden("expected.safetensors")).unwrap())
    }

    pub fn images(&self, name: &str) -> Vec<Image> {
        let tensors = SafeTensors::deserialize(&self.0).unwrap();
        let tensor = tensors.tensor(name).unwrap();
        let &[_, height, width, 3] = tensor.shape() else { panic!("{:?}", tensor.shape()) };
        let image = |pixels: &[u8]| Image::new(width, height, pixels.to_vec());
        tensor.data().chunks_exact(height * width * 3).map(image).collect()
    }

    fn labels(&self, name: &str) -> Vec<u32> {
        let tensors = SafeTensors::deserialize(&self.0).unwrap();
        let data = tensors.tensor(name).unwrap().data().to_vec();
        data.chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()) as u32).collect()
    }
}

fn labels(dataset: &Dataset) -> Vec<u32> {
    (0..dataset.len()).map(|i| dataset.label(i).unwrap()).collect()
}

/// In an order that jumps between pages, groups and shards.
fn assert_images(dataset: &Dataset, expected: &[Image]) {
    assert_eq!(dataset.len(), expected.len());
    for i in (0..dataset.len()).map(|i| i * 7 % dataset.len()).chain(0..dataset.len()) {
        assert_eq!(&dataset.load(i).unwrap(), &expected[i], "{}", dataset.name(i));
    }
}

#[test]
fn parquet_of_hugging_face() {
    let expected = Expected::read();
    let dataset = Dataset::open(&golden("hf.parquet")).unwrap();
    assert_images(&dataset, &expected.images("images"));
    assert_eq!(labels(&dataset), expected.labels("labels"));
    assert_eq!(dataset.class_names(), CLASSES);
    assert_eq!(dataset.name(3), "hf.parquet/000003/3.png");
}

/// Row groups of several pages each, with no index of pages in the file.
#[test]
fn parquet_pages_are_found_without_an_index() {
    let expected = Expected::read();
    let dataset = Dataset::open(&golden("pages.parquet")).unwrap();
    assert_images(&dataset, &expected.images("images"));
    assert_eq!(labels(&dataset), expected.labels("labels"));
    assert_eq!(dataset.class_names(), ["0", "10", "20"]);
    assert_eq!(dataset.name(22), "pages.parquet/000022");
}

#[test]
fn parquet_dictionaries_texts_and_nulls() {
    let expected = Expected::read();
    let dataset = Dataset::open(&golden("dictionary.parquet")).unwrap();
    let images = expected.images("images");
    for i in (0..23).rev().filter(|&i| i != 4) {
        assert_eq!(dataset.load(i).unwrap(), images[i % 3], "{i}");
    }
    let missing = dataset.load(4).unwrap_err().to_string();
    assert!(missing.ends_with("lost.png` does not exist"), "{missing}");
    assert_eq!(dataset.name(4), "dictionary.parquet/000004/lost.png");
    assert_eq!(labels(&dataset), expected.labels("labels"));
    assert_eq!(dataset.class_names(), CLASSES);
}

/// The layout of a data set's repository.
#[test]
fn parquet_in_a_folder_has_splits() {
    let root = tempdir().unwrap();
    fs::create_dir(root.path().join("data")).unwrap();
    for name in ["train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001"] {
        let to = root.path().join(format!("data/{name}.parquet"));
        fs::copy(golden("hf.parquet"), to).unwrap();
    }
    fs::write(root.path().join("README.md"), "a card").unwrap();
    let train = Dataset::open(root.path()).unwrap();
    assert_eq!(train.len(), 46);
    assert_eq!(train.label(45), train.label(22));
    assert_eq!(train.name(23), "train-00001-of-00002.parquet/000000/0.png");
    let part = |split: &str| {
        let path = format!("{}:{split}", root.path().display());
        Dataset::open(Path::new(&path)).unwrap().len()
    };
    assert_eq!((part("train"), part("test")), (46, 23));
    let all = root.path().join("data/*.parquet");
    assert_eq!(Dataset::open(&all).unwrap().len(), 69);
}

#[test]
fn parquet_without_images_says_so() {
    let message = match Dataset::from_bytes("x.parquet", b"PAR1 and no more".to_vec()) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("opened"),
    };
    assert!(message.starts_with("`x.parquet` is damaged ("), "{message}");
}

#[test]
fn webdataset_shards_by_braces_stars_and_folder() {
    let expected = Expected::read();
    let folder = tempdir().unwrap();
    for i in 0..3 {
        let name = format!("wds-{i:03}.tar");
        fs::copy(golden(&name), folder.path().join(&name)).unwrap();
    }
    let images = &expected.images("images")[..12];
    let patterns = [golden("wds-{000..002}.tar"), golden("wds-*.tar"), folder.path().into()];
    for pattern in patterns {
        let dataset = Dataset::open(&pattern).unwrap();
        assert_images(&dataset, images);
        assert_eq!(labels(&dataset), expected.labels("labels")[..12]);
        assert_eq!(dataset.class_names(), ["0", "1", "2"]);
        assert_eq!(dataset.name(5), "wds-001.tar/000005.png");
    }
    let error = Dataset::open(&golden("wds-{000..003}.tar")).err().unwrap();
    assert!(error.to_string().contains("wds-003.tar` does not exist"), "{error}");
    assert!(matches!(Dataset::open(&golden("none-*.tar")), Err(DataError::Missing { .. })));
    assert!(matches!(Dataset::open(&golden("wds-{2..1}.tar")), Err(DataError::Pattern { .. })));
}

#[test]
fn labels_in_json_and_gzip_tars() {
    let expected = Expected::read();
    let cache = tempdir().unwrap();
    let plain = Dataset::open(&golden("json.tar")).unwrap();
    let packed = options(cache.path()).open(&golden("json.tar.gz")).unwrap();
    for dataset in [&plain, &packed] {
        assert_images(dataset, &expected.images("images")[..4]);
        assert_eq!(names(dataset)[1], "é1.x.png");
        let names: Vec<_> =
            (0..4).map(|i| &dataset.class_names()[labels(dataset)[i] as usize]).collect();
        let classes: Vec<_> =
            expected.labels("labels")[..4].iter().map(|&c| CLASSES[c as usize]).collect();
        assert_eq!(names, classes);
    }
}

/// A key with a dot belongs to the folder part only; `é0.x.png` and `é0.json` share a key.
#[test]
fn a_sample_without_a_label_leaves_the_others_theirs() {
    let root = tempdir().unwrap();
    write_images(root.path(), &["1.png", "2.png"]);
    let path = root.path().join("s-0.tar");
    let mut tar = tar::Builder::new(fs::File::create(&path).unwrap());
    crate::support::append(&mut tar, "1.png", &fs::read(root.path().join("1.png")).unwrap());
    crate::support::append(&mut tar, "1.cls", b"4");
    crate::support::append(&mut tar, "2.png", &fs::read(root.path().join("2.png")).unwrap());
    tar.finish().unwrap();
    let dataset = Dataset::open(&path).unwrap();
    assert_eq!((dataset.len(), dataset.label(0), dataset.label(1)), (2, Some(0), None));
    assert_eq!(dataset.holdings().notes, ["1 of 2 images has no label, such as `2.png`"]);
}

#[test]
fn gzip_is_unpacked_once_and_announced() {
    let cache = tempdir().unwrap();
    let said = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let notes = said.clone();
    let notice =
        std::sync::Arc::new(move |text: &str| notes.lock().unwrap().push(text.to_string()));
    let options = OpenOptions { notice: Some(notice), ..options(cache.path()) };
    for _ in 0..2 {
        options.open(&golden("json.tar.gz")).unwrap();
    }
    let said = said.lock().unwrap();
    assert_eq!(said.len(), 1);
    assert!(said[0].starts_with("unpacking ") && said[0].ends_with(".tar, once"), "{}", said[0]);

    let none = OpenOptions { cache: None, ..OpenOptions::default() };
    let error = none.open(&golden("json.tar.gz")).err().unwrap();
    assert!(error.to_string().contains("set MOCO_CACHE to a folder"), "{error}");
}

#[test]
fn a_damaged_gzip_leaves_nothing_behind() {
    let (root, cache) = (tempdir().unwrap(), tempdir().unwrap());
    let path = root.path().join("x.tar.gz");
    let bytes = fs::read(golden("json.tar.gz")).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let error = options(cache.path()).open(&path).err().unwrap();
    assert!(matches!(error, DataError::Damaged { .. }), "{error}");
    assert_eq!(fs::read_dir(cache.path().join("unpacked")).unwrap().count(), 0);
}

#[test]
fn idx_grey_with_labels_packed_and_plain() {
    let expected = Expected::read();
    let cache = tempdir().unwrap();
    let dataset = options(cache.path()).open(&golden("train-images-idx3-ubyte.gz")).unwrap();
    assert_images(&dataset, &expected.images("idx.images"));
    assert_eq!(labels(&dataset), expected.labels("idx.labels"));
    assert_eq!(dataset.class_names().len(), 10);
    assert_eq!(dataset.name(2), "train-images/00002");

    let folder = tempdir().unwrap();
    for name in ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"] {
        fs::copy(golden(name), folder.path().join(name)).unwrap();
    }
    let same = options(cache.path()).open(folder.path()).unwrap();
    assert_images(&same, &expected.images("idx.images"));
    assert_eq!(same.fingerprint(), dataset.fingerprint());
}

#[test]
fn idx_in_colour() {
    let dataset = Dataset::open(&golden("color.idx4-ubyte")).unwrap();
    assert_images(&dataset, &Expected::read().images("color.images"));
    assert_eq!(dataset.label(0), None);
}

#[test]
fn cifar_10_and_100() {
    let expected = Expected::read();
    let ten = Dataset::open(&golden("test_batch.bin")).unwrap();
    assert_images(&ten, &expected.images("cifar.images"));
    assert_eq!(labels(&ten), expected.labels("cifar.labels"));
    assert_eq!(ten.class_names()[9], "9");
    assert_eq!(ten.name(0), "test_batch/00000");

    let folder = tempdir().unwrap();
    fs::copy(golden("test.bin"), folder.path().join("test.bin")).unwrap();
    let words: Vec<String> = (0..100).map(|i| format!("class{i}")).collect();
    fs::write(folder.path().join("fine_label_names.txt"), words.join("\n")).unwrap();
    let path = format!("{}:test", folder.path().display());
    let hundred = Dataset::open(Path::new(&path)).unwrap();
    assert_images(&hundred, &expected.images("cifar.images"));
    let fine: Vec<u32> = expected.labels("cifar.labels").iter().map(|label| label * 11).collect();
    assert_eq!(labels(&hundred), fine);
    assert_eq!(hundred.class_names()[99], "class99");
}

/// As the archive of its page is laid out.
#[test]
fn cifar_in_its_archive() {
    let root = tempdir().unwrap();
    let records = fs::read(golden("test_batch.bin")).unwrap();
    let path = root.path().join("cifar-10-binary.tar.gz");
    pack_cifar(&records, &path);
    let open = |text: String| options(root.path()).open(Path::new(&text)).unwrap();
    let train = open(path.display().to_string());
    let test = open(format!("{}:test", path.display()));
    assert_eq!((train.len(), test.len()), (30, 6));
    assert_eq!(train.class_names()[1], "automobile");
    assert_images(&test, &Expected::read().images("cifar.images"));
    assert_eq!(train.name(29), "data_batch_5/00005");
    assert_eq!(train.load(29).unwrap(), test.load(5).unwrap());
}

/// An archive of six batches of the same records.
pub fn pack_cifar(records: &[u8], path: &Path) {
    let packer = flate2::write::GzEncoder::new(fs::File::create(path).unwrap(), Default::default());
    let mut tar = tar::Builder::new(packer);
    let mut add = |name: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, format!("cifar-10-batches-bin/{name}"), bytes).unwrap();
    };
    let classes = "airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n";
    add("batches.meta.txt", classes.as_bytes());
    for i in 1..=5 {
        add(&format!("data_batch_{i}.bin"), records);
    }
    add("test_batch.bin", records);
    tar.into_inner().unwrap().finish().unwrap();
}

#[test]
fn record_files_that_do_not_add_up_say_so() {
    let message = |name: &str, bytes: &[u8]| match Dataset::from_bytes(name, bytes.to_vec()) {
        Err(error) => error.to_string(),
        Ok(dataset) => panic!("opened {} images", dataset.len()),
    };
    assert_eq!(
        message("test_batch.bin", &[0; 3000]),
        "`test_batch.bin` is damaged (its 3000 bytes are not a number of 3073-byte records); copy \
         or download it again"
    );
    let labelled = [vec![10], vec![0; 3072]].concat();
    assert!(message("test_batch.bin", &labelled).contains("the label 10 of its record 0"));
    let idx = |dims: &[u32], values: usize| {
        let mut bytes = vec![0, 0, 8, dims.len() as u8];
        bytes.extend(dims.iter().flat_map(|dim| dim.to_be_bytes()));
        bytes.extend(vec![0; values]);
        message("x-idx3-ubyte", &bytes)
    };
    assert!(
        idx(&[2, 3, 4], 23).contains("the dimensions")
            || idx(&[2, 3, 4], 23).contains("do not fit")
    );
    assert!(idx(&[u32::MAX, u32::MAX, u32::MAX], 8).contains("do not fit its 24 bytes"));
    assert!(idx(&[1, 0, 4], 0).contains("are not those of images"));
    assert!(message("x-idx3-ubyte", b"no").contains("shorter than its own header"));
    assert!(message("x-idx3-ubyte", b"nonsense").contains("does not begin as IDX"));
}

#[test]
fn lists_of_paths_keep_their_order() {
    let root = tempdir().unwrap();
    write_images(root.path(), &["b/2.png", "a/1.png", "a/my cat.png"]);
    let list = |name: &str, text: &str| {
        let path = root.path().join(name);
        fs::write(&path, text).unwrap();
        Dataset::open(&path).unwrap()
    };
    let plain = list("l.txt", "# two\r\nb/2.png\r\n\r\na/1.png\nnone.png\n");
    assert_eq!(names(&plain), ["b/2.png", "a/1.png", "none.png"]);
    assert_eq!((plain.label(0), plain.class_names().len()), (None, 0));
    assert_eq!(plain.load(1).unwrap().width, 18);
    assert!(plain.load(2).unwrap_err().to_string().starts_with("cannot be read: "));

    let labelled = list("l.tsv", "path\tlabel\nb/2.png\tzebra\na/my cat.png\tred cat\n");
    assert_eq!(labels(&labelled), [1, 0]);
    assert_eq!(labelled.class_names(), ["red cat", "zebra"]);
    assert_eq!(labelled.load(1).unwrap().width, 19);

    let numbered = list("l.lst", "b/2.png 10\na/1.png 9\n");
    assert_eq!(labels(&numbered), [1, 0]);
    assert_eq!(numbered.class_names(), ["9", "10"]);

    let absolute = root.path().join("a/1.png").display().to_string();
    let commas = list("l.csv", &format!("filename,label\n{absolute},x\n"));
    assert_eq!(names(&commas), [absolute.as_str()]);
    assert!(commas.load(0).is_ok());
    assert_ne!(commas.fingerprint(), plain.fingerprint());
}

#[test]
fn prose_is_no_list() {
    let root = tempdir().unwrap();
    let path = root.path().join("notes.txt");
    fs::write(&path, "Dear diary,\n1.png").unwrap();
    assert!(matches!(Dataset::open(&path), Err(DataError::NotADataset { .. })));
    fs::write(&path, "# nothing\n").unwrap();
    assert!(matches!(Dataset::open(&path), Err(DataError::Empty { .. })));
}

#[test]
fn names_and_addresses_are_understood_from_anywhere() {
    let absolute = |text: &str| moco_data::absolute_path(Path::new(text)).unwrap();
    for text in ["cifar10", "cifar10:test", "s3://bucket/x-{0..9}.tar"] {
        assert_eq!(absolute(text), Path::new(text));
    }
    assert!(absolute("some/folder").is_absolute());
}

#[cfg(unix)]
#[test]
fn lists_may_hold_names_that_are_not_utf8() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let root = tempdir().unwrap();
    write_images(root.path(), &["1.png"]);
    fs::rename(root.path().join("1.png"), root.path().join(OsStr::from_bytes(b"\xe9.png")))
        .unwrap();
    fs::write(root.path().join("l.txt"), b"\xe9.png\t3\n").unwrap();
    let dataset = Dataset::open(&root.path().join("l.txt")).unwrap();
    assert_eq!(names(&dataset), ["%E9.png"]);
    assert!(dataset.load(0).is_ok());
    assert_eq!(dataset.class_names(), ["3"]);
}

#[test]
fn an_image_in_memory_is_a_data_set_of_one() {
    let root = tempdir().unwrap();
    write_images(root.path(), &["1.png"]);
    let bytes = fs::read(root.path().join("1.png")).unwrap();
    let dataset = Dataset::from_bytes("1.png", bytes).unwrap();
    let file = Dataset::open(root.path()).unwrap();
    assert_eq!(dataset.load(0).unwrap(), file.load(0).unwrap());
    assert_eq!(dataset.fingerprint(), file.fingerprint());
    assert!(matches!(Dataset::from_bytes("x.zip", vec![1]), Err(DataError::NotADataset { .. })));
}
