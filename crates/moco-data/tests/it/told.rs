//! A data set that another process has listed.

use moco_data::synthetic::{shapes, write_folder};
use moco_data::{Dataset, OpenOptions};
use std::fs;
use std::path::Path;

fn pixels(data: &Dataset) -> Vec<Vec<u8>> {
    (0..data.len()).map(|i| data.load(i).unwrap().pixels).collect()
}

fn from_told(text: &[u8]) -> Option<Dataset> {
    Dataset::from_told(text, &OpenOptions::default())
}

/// Opens `path`, tells of it, and holds what is made of that against it.
#[track_caller]
fn comes_back(path: &Path) {
    let data = Dataset::open(path).unwrap();
    let back = from_told(&data.told().expect("told")).expect("found");
    let names = |data: &Dataset| -> Vec<_> {
        (0..data.len()).map(|i| (data.name(i).to_owned(), data.label(i), data.file(i))).collect()
    };
    assert_eq!(names(&back), names(&data));
    assert_eq!(back.fingerprint(), data.fingerprint());
    assert_eq!(back.class_names(), data.class_names());
    assert_eq!((back.holdings(), back.skipped()), (data.holdings(), data.skipped()));
    assert_eq!(pixels(&back), pixels(&data));
}

#[test]
fn folders_lists_tars_and_parts_come_back() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path();
    for part in ["train", "val"] {
        write_folder(&shapes(6, 8, 1), &path.join("images").join(part)).unwrap();
    }
    fs::write(path.join("images/train/note.txt"), "of no image").unwrap();
    comes_back(&path.join("images"));
    comes_back(Path::new(&format!("{}/images:val", path.display())));

    let folder = Dataset::open(&path.join("images/train")).unwrap();
    let lines: Vec<String> =
        (0..3).map(|i| format!("images/train/{}\tshape\n", folder.name(i))).collect();
    fs::write(path.join("list.txt"), lines.concat()).unwrap();
    comes_back(&path.join("list.txt"));

    let tars = [path.join("shards-000.tar"), path.join("shards-001.tar")];
    for (part, tar) in ["train", "val"].iter().zip(&tars) {
        let mut builder = tar::Builder::new(fs::File::create(tar).unwrap());
        builder.append_dir_all(".", path.join("images").join(part)).unwrap();
        builder.finish().unwrap();
    }
    comes_back(&tars[0]);
    let both = path.join("shards-{000..001}.tar");
    comes_back(&both);

    let told = Dataset::open(&both).unwrap().told().unwrap();
    fs::write(&tars[1], "another").unwrap();
    assert!(from_told(&told).is_none(), "another archive than the one that was told of");
    let told = folder.told().unwrap();
    assert!(from_told(&told).is_some());
    fs::write(folder.file(0).unwrap(), "another").unwrap();
    assert!(from_told(&told).is_none(), "another file than the one that was told of");
    fs::remove_dir_all(path.join("images")).unwrap();
    assert!(from_told(&told).is_none(), "a folder that is not here");
    assert!(from_told(&told[1..]).is_none());
}

#[test]
fn images_in_memory_are_not_told() {
    let images = shapes(2, 8, 0).into_iter().map(|(name, _, image)| (name, None, image)).collect();
    assert!(Dataset::from_images(images, Vec::new()).told().is_none());
}

/// What another process went through on a server is not gone through again: one request for each
/// archive says whether it is still the same.
#[cfg(feature = "remote")]
#[test]
fn tars_on_a_server_come_back_by_one_request_each() {
    use crate::formats::golden;
    use crate::remote::{assert_as_on_disk, files};
    use crate::server::{Failings, Server};
    let shards = ["wds-000.tar", "wds-001.tar", "wds-002.tar"];
    let server = Server::start(files(&shards), Failings { tags: true, ..Failings::default() });
    let address = format!("http://{}/data/wds-{{000..002}}.tar", server.address);
    let options = OpenOptions { cache: None, ..OpenOptions::default() };
    let told = options.open(Path::new(&address)).unwrap().told().expect("told");

    let before = server.log().len();
    let back = Dataset::from_told(&told, &options).expect("found");
    let asked = server.log()[before..].to_vec();
    assert_eq!(asked.len(), 3, "{asked:?}");
    assert_as_on_disk(&back, &Dataset::open(&golden("wds-{000..002}.tar")).unwrap());

    server.replace("/data/wds-001.tar", std::fs::read(golden("wds-000.tar")).unwrap());
    assert!(Dataset::from_told(&told, &options).is_none(), "another archive than was told of");
}
