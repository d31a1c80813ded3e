//! Parts of data sets, and the classes of folders whose folders are parts.

use crate::formats::golden;
use crate::support::{folder, names, options, tar_of};
use moco_data::Dataset;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use tempfile::tempdir;

/// A data set under the words behind a `:`.
fn open(place: &Path, words: &str) -> Result<Dataset, String> {
    Dataset::open(Path::new(&format!("{}{words}", place.display())))
        .map_err(|error| error.to_string().replace(&place.display().to_string(), "PLACE"))
}

fn part(place: &Path, words: &str) -> Dataset {
    open(place, words).unwrap_or_else(|error| panic!("{words}: {error}"))
}

fn refused(place: &Path, words: &str) -> String {
    open(place, words).err().unwrap_or_else(|| panic!("{words} was opened"))
}

/// The class of each image, by its name.
fn classes(dataset: &Dataset) -> BTreeMap<&str, &str> {
    let class = |i| dataset.label(i).map(|label| &*dataset.class_names()[label as usize]);
    (0..dataset.len()).map(|i| (dataset.name(i), class(i).unwrap_or("none"))).collect()
}

fn assert_same(a: &Dataset, b: &Dataset) {
    assert_eq!(classes(a), classes(b));
    assert_eq!((names(a), a.class_names()), (names(b), b.class_names()));
    assert_eq!(a.fingerprint(), b.fingerprint());
    (0..a.len()).for_each(|i| assert_eq!(a.load(i).unwrap(), b.load(i).unwrap()));
}

const SPLIT: [&str; 6] = [
    "train/cat/0.png",
    "train/cat/1.png",
    "train/dog/0.png",
    "val/cat/0.png",
    "val/dog/0.png",
    "val/dog/1.png",
];

#[test]
fn a_part_of_a_folder_is_the_folder_of_that_name() {
    let root = folder(&SPLIT);
    let (train, val) = (part(root.path(), ":train"), part(root.path(), ":val"));
    assert_same(&train, &Dataset::open(&root.path().join("train")).unwrap());
    assert_same(&val, &Dataset::open(&root.path().join("val")).unwrap());
    assert_eq!(names(&val), ["cat/0.png", "dog/0.png", "dog/1.png"]);
    for word in [":valid", ":validation"] {
        assert_same(&part(root.path(), word), &val);
    }
    assert!(val.holdings().to_string().contains("this is the part val of train and val"));
    assert_eq!(refused(root.path(), ":test"), "`PLACE` has no part `test`; it has train and val");
}

/// `images` holds everything; the part's folder has a year in its name.
#[test]
fn parts_lie_below_common_folders() {
    let files = ["all/images/val2017/a/1.png", "all/images/Training/b/2.png", "all/images/c/3.png"];
    let root = folder(&files);
    assert_eq!(classes(&part(root.path(), ":val")), BTreeMap::from([("a/1.png", "a")]));
    assert_eq!(names(&part(root.path(), ":train")), ["b/2.png"]);
    let error = "`PLACE` has no part `test`; it has train and val";
    assert_eq!(refused(root.path(), ":test"), error);

    let both = folder(&["train1/a/1.png", "train2/b/2.png", "test/a/3.png"]);
    let train = part(both.path(), ":train");
    let expected = BTreeMap::from([("train1/a/1.png", "a"), ("train2/b/2.png", "b")]);
    assert_eq!(classes(&train), expected);
    assert_eq!(train.load(1).unwrap().width, 18);
}

/// People call their scratch folders so.
#[test]
fn a_folder_around_all_is_not_in_the_way() {
    let root = folder(&["test/train/a/1.png", "test/train/b/2.png", "test/val/a/3.png"]);
    assert_eq!(Dataset::open(root.path()).unwrap().class_names(), ["a", "b"]);
    let tar = root.path().join("test.tar");
    tar_of(root.path(), &["test/train/a/1.png", "test/val/a/3.png"], "", &tar);
    assert_eq!(names(&part(&tar, ":val")), ["a/3.png"]);
    assert_eq!(part(root.path(), ":test").len(), 3);
    let lone = folder(&["train/test/1.png", "train/dog/2.png"]);
    assert_eq!(names(&part(lone.path(), ":train")), ["dog/2.png", "test/1.png"]);
}

#[test]
fn what_has_no_parts_says_so() {
    let root = folder(&["cat/1.png", "dog/2.png"]);
    let error = "`PLACE` has no parts; give the place of the test images by itself";
    assert_eq!(refused(root.path(), ":test"), error);
    let tar = root.path().join("pets.tar");
    tar_of(root.path(), &["cat/1.png", "dog/2.png"], "pets/", &tar);
    assert_eq!(refused(&tar, ":test"), error);
    fs::write(root.path().join("l.csv"), "cat/1.png\n").unwrap();
    assert_eq!(refused(&root.path().join("l.csv"), ":test"), error);
    let several = root.path().join("pets-{0..1}.tar");
    fs::copy(&tar, root.path().join("pets-0.tar")).unwrap();
    fs::copy(&tar, root.path().join("pets-1.tar")).unwrap();
    assert_eq!(refused(&several, ":test"), error);
    fs::copy(golden("hf.parquet"), root.path().join("hf.parquet")).unwrap();
    assert_eq!(refused(&root.path().join("hf.parquet"), ":test"), error);
}

#[test]
fn a_name_says_which_part_a_single_thing_is() {
    let root = folder(&["cat/1.png", "test/dog/2.png"]);
    tar_of(root.path(), &["cat/1.png"], "", &root.path().join("my-val.tar"));
    fs::write(root.path().join("test.csv"), "cat/1.png\n").unwrap();
    fs::create_dir(root.path().join("data")).unwrap();
    fs::copy(golden("hf.parquet"), root.path().join("data/train-00000-of-00001.parquet")).unwrap();
    for (name, own, other, has) in [
        ("my-val.tar", ":validation", ":test", "val"),
        ("test.csv", ":test", ":train", "test"),
        ("data/train-00000-of-00001.parquet", ":train", ":val", "train"),
        ("test", ":test", ":train", "test"),
    ] {
        let place = root.path().join(name);
        assert_eq!(part(&place, own).len(), Dataset::open(&place).unwrap().len(), "{name}");
        let expected = format!("`PLACE` has no part `{}`; it has {has}", &other[1..]);
        assert_eq!(refused(&place, other), expected, "{name}");
    }
}

#[test]
fn words_that_are_not_known_are_named() {
    let root = folder(&["train/cat/1.png"]);
    let known = "known are train, val, test, source=images, source=tar, source=parquet, source=list, \
                 column=NAME and labels=NAME";
    let expected = format!("`tset` is not known behind `PLACE:`; {known}");
    assert_eq!(refused(root.path(), ":tset"), expected);
    assert_eq!(refused(root.path(), ":tset:source=images"), expected);
    assert!(refused(Path::new("cifar10"), ":dev").starts_with("`dev` is not known"));
    assert!(refused(root.path(), ":source=zip").starts_with("`source=zip` is not known"));
    assert!(refused(root.path(), "/none:tset").contains("does not exist"));
    let columns = "`PLACE` holds no columns to choose among; leave `:column=` and `:labels=` out";
    assert_eq!(refused(root.path(), ":column=photo"), columns);
    let tars = "`PLACE` holds no tars; leave `:source=tar` out";
    assert_eq!(refused(root.path(), ":source=tar"), tars);
}

/// With the top folder that tars usually have, and without.
#[test]
fn parts_of_a_tar_are_those_of_its_folder() {
    let root = folder(&SPLIT);
    let tar = root.path().join("set.tar");
    for prefix in ["", "set/"] {
        tar_of(root.path(), &SPLIT, prefix, &tar);
        for word in [":train", ":val"] {
            assert_same(&part(&tar, word), &part(root.path(), word));
        }
        assert_eq!(refused(&tar, ":test"), "`PLACE` has no part `test`; it has train and val");
    }
    let packed = root.path().join("set.tar.gz");
    let mut gzip =
        flate2::write::GzEncoder::new(File::create(&packed).unwrap(), Default::default());
    std::io::copy(&mut File::open(&tar).unwrap(), &mut gzip).unwrap();
    gzip.finish().unwrap();
    let cache = tempdir().unwrap();
    let place = format!("{}:val", packed.display());
    let val = options(cache.path()).open(Path::new(&place)).unwrap();
    assert_same(&val, &part(root.path(), ":val"));
}

/// The names stay, since they are where the images lie.
#[test]
fn parts_of_a_list_are_told_by_its_paths() {
    let root = folder(&SPLIT);
    let absolute = |name: &str| format!("{}\n", root.path().join(name).display());
    for (file, text) in [
        ("relative.txt", SPLIT.map(|name| format!("{name}\n")).concat()),
        ("absolute.txt", SPLIT.map(absolute).concat()),
    ] {
        let list = root.path().join(file);
        fs::write(&list, text).unwrap();
        let val = part(&list, ":val");
        assert_eq!(val.len(), 3);
        assert!(names(&val).iter().all(|name| name.contains("val/")), "{:?}", names(&val));
        assert_eq!(val.load(2).unwrap(), part(root.path(), ":val").load(2).unwrap());
        assert_eq!(refused(&list, ":test"), "`PLACE` has no part `test`; it has train and val");
    }
    // The folder of a whole list is no part of it, whatever its name.
    fs::write(root.path().join("one.csv"), "train/cat/0.png,3\ntrain/dog/0.png,4\n").unwrap();
    assert!(refused(&root.path().join("one.csv"), ":train").contains("has no parts"));
}

/// Of a folder's lists, by the words of their names or of the one list's paths.
#[test]
fn lists_of_a_folder_are_taken_if_asked_for() {
    let root = folder(&SPLIT);
    let write = |name: &str, text: String| fs::write(root.path().join(name), text).unwrap();
    write("README.txt", "about the images".into());
    write("all.csv", SPLIT.map(|name| format!("{name},{}\n", name.len())).concat());
    assert_eq!(part(root.path(), ":source=list").len(), 6);
    assert_eq!(part(root.path(), ":source=list:val").len(), 3);
    write("more.csv", "train/cat/0.png,1\n".into());
    let expected = "`PLACE` holds no single list of paths but several; give one by its name, such as \
                    `PLACE/all.csv`";
    assert_eq!(refused(root.path(), ":source=list"), expected);
    write("train.csv", "train/cat/0.png,1\n".into());
    assert_eq!(part(root.path(), ":source=list").len(), 1);
    assert_eq!(
        refused(root.path(), ":source=list:test"),
        "`PLACE` has no part `test`; it has train"
    );
}

#[test]
fn files_of_a_part_are_told_by_name_or_folder() {
    let root = folder(&["1.png"]);
    let at = |name: &str| root.path().join(name);
    for name in ["sub/train", "sub/val", "sub/test"] {
        fs::create_dir_all(at(name)).unwrap();
    }
    for name in [
        "set-train-000.tar",
        "set-train-001.tar",
        "set-val-000.tar",
        "sub/train/0.tar",
        "sub/train/1.tar",
        "sub/val/0.tar",
    ] {
        tar_of(root.path(), &["1.png"], "", &at(name));
    }
    for (place, train, val) in
        [("set-*.tar", 2, 1), ("set-{train,val}-000.tar", 1, 1), ("sub", 2, 1)]
    {
        assert_eq!(part(&at(place), ":train").len(), train, "{place}");
        assert_eq!(part(&at(place), ":val").len(), val, "{place}");
        let error = "`PLACE` has no part `test`; it has train and val";
        // An empty folder is a part all the same.
        let expected = if place == "sub" { "`PLACE:test` holds no files" } else { error };
        assert!(refused(&at(place), ":test").starts_with(expected), "{place}");
    }
    let usual = Dataset::open(&at("sub")).unwrap();
    assert_eq!(usual.len(), 2);
    assert!(usual.holdings().to_string().contains("this is the part train of train and val"));
    let all = Dataset::open(&at("set-*.tar")).unwrap();
    assert_eq!(all.len(), 3);
    assert!(all.holdings().to_string().contains("the parts train and val together"));
}

/// The three layouts that Hugging Face has, and a card and a picture beside them.
#[test]
fn repositories_of_hugging_face_open_as_parquet() {
    for [train, test] in [
        ["data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"],
        ["plain_text/train-00000-of-00001.parquet", "plain_text/test-00000-of-00001.parquet"],
        ["default/train/0000.parquet", "default/test/0000.parquet"],
        ["train.parquet", "test.parquet"],
    ] {
        let root = folder(&["assets/preview.png"]);
        fs::write(root.path().join("README.md"), "a card").unwrap();
        for name in [train, test] {
            fs::create_dir_all(root.path().join(name).parent().unwrap()).unwrap();
        }
        fs::copy(golden("hf.parquet"), root.path().join(train)).unwrap();
        fs::copy(golden("pages.parquet"), root.path().join(test)).unwrap();
        let usual = Dataset::open(root.path()).unwrap();
        assert_eq!(
            usual.fingerprint(),
            Dataset::open(&root.path().join(train)).unwrap().fingerprint()
        );
        let held = usual.holdings();
        assert_eq!(held.counts(), "1 image, 1 text", "{train}");
        assert!(held.to_string().contains("this is the part train of train and test"), "{held}");
        assert!(held.to_string().contains("`:source=images` takes the images"), "{held}");
        assert_same(&part(root.path(), ":test"), &Dataset::open(&root.path().join(test)).unwrap());
        assert_eq!(
            refused(root.path(), ":val"),
            "`PLACE` has no part `val`; it has train and test"
        );
        assert_eq!(names(&part(root.path(), ":source=images")), ["assets/preview.png"]);
    }
}

#[test]
fn record_files_have_two_parts() {
    let error = "`cifar10` has no part `val`; it has train and test";
    assert_eq!(Dataset::open(Path::new("cifar10:val")).err().unwrap().to_string(), error);
    let root = tempdir().unwrap();
    fs::copy(golden("test.bin"), root.path().join("test.bin")).unwrap();
    assert_eq!(refused(root.path(), ":train"), "`PLACE` has no part `train`; it has test");
    let file = root.path().join("test.bin");
    assert_eq!(part(&file, ":test").len(), part(root.path(), ":test").len());
    assert_eq!(refused(&file, ":train"), "`PLACE` has no part `train`; it has test");

    let root = tempdir().unwrap();
    fs::copy(golden("train-images-idx3-ubyte.gz"), root.path().join("train-images-idx3-ubyte.gz"))
        .unwrap();
    assert_eq!(refused(root.path(), ":test"), "`PLACE` has no part `test`; it has train");
    assert_eq!(refused(root.path(), ":val"), "`PLACE` has no part `val`; it has train");
}

/// The tree of a tar, as that of a folder, whatever holds everything above the classes.
#[test]
fn classes_lie_below_what_holds_everything() {
    let files = ["images/cat/0.png", "images/cat/1.png", "images/dog/0.png"];
    let root = folder(&files);
    let whole = Dataset::open(root.path()).unwrap();
    assert_eq!(whole.class_names(), ["cat", "dog"]);
    assert_eq!(names(&whole), files);
    let tar = root.path().join("x.tar");
    let inner = Dataset::open(&root.path().join("images")).unwrap();
    for prefix in ["", "top/", "top/photos/"] {
        tar_of(root.path(), &files, prefix, &tar);
        let packed = Dataset::open(&tar).unwrap();
        let of = |dataset: &Dataset| (0..3).map(|i| dataset.label(i).unwrap()).collect::<Vec<_>>();
        assert_eq!((packed.class_names(), of(&packed)), (inner.class_names(), of(&inner)));
        if prefix.is_empty() {
            assert_same(&packed, &inner);
        }
        if prefix == "top/" {
            assert_same(&packed, &whole);
        }
    }
}

/// In the folders that hold everything, a single class stays one, and a stray image ends them.
#[test]
fn a_single_folder_of_images_is_one_class_unless_it_is_a_part() {
    let class_names =
        |files: &[&str]| Dataset::open(folder(files).path()).unwrap().class_names().to_vec();
    assert_eq!(class_names(&["photos/1.png", "photos/2.png"]), ["photos"]);
    assert_eq!(class_names(&["a/b/1.png", "a/b/2.png"]), ["b"]);
    assert_eq!(class_names(&["a/1.png", "a/b/2.png", "a/c/3.png"]), ["a"]);
    assert_eq!(class_names(&["train/1.png", "train/2.png"]), [""; 0]);
    assert_eq!(class_names(&["train/1.png", "val/2.png"]), [""; 0]);
}

#[test]
fn parts_are_no_classes() {
    let root = folder(&SPLIT);
    let tar = root.path().join("set.tar");
    tar_of(root.path(), &SPLIT, "set/", &tar);
    let expected = SPLIT.map(|name| (name, if name.contains("cat") { "cat" } else { "dog" }));
    for place in [root.path(), &tar] {
        let whole = Dataset::open(place).unwrap();
        assert_eq!(whole.class_names(), ["cat", "dog"]);
        assert_eq!(classes(&whole), BTreeMap::from(expected));
        let held = whole.holdings().to_string().replace(&place.display().to_string(), "PLACE");
        let or = if place.is_dir() { " or `PLACE/train`" } else { "" };
        let note =
            format!("`train` and `val` are parts, here together: give `PLACE:train`{or} for one");
        assert!(held.contains(&note), "{held}");
    }
}
