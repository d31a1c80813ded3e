//! Archives on a server, which stumbles.

use crate::formats::golden;
use crate::server::{Failings, Server};
use crate::support::{names, options};
use moco_data::{DataError, Dataset};
use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use tempfile::tempdir;

fn files(all: &[&str]) -> HashMap<String, Vec<u8>> {
    let file = |name: &&str| (format!("/data/{name}"), fs::read(golden(name)).unwrap());
    all.iter().map(file).collect()
}

fn open(text: &str, cache: &Path) -> Result<Dataset, DataError> {
    options(cache).open(Path::new(text))
}

/// Names, classes and pixels are those of the same data set on disk.
fn assert_as_on_disk(distant: &Dataset, local: &Dataset) {
    assert_eq!(names(distant), names(local));
    assert_eq!(distant.class_names(), local.class_names());
    assert_eq!(distant.fingerprint(), local.fingerprint());
    for i in (0..local.len()).rev() {
        assert_eq!(distant.label(i), local.label(i));
        assert_eq!(distant.load(i).unwrap(), local.load(i).unwrap(), "{}", local.name(i));
    }
}

#[test]
fn tars_are_read_by_ranges_and_indexed_once() {
    let shards = ["wds-000.tar", "wds-001.tar", "wds-002.tar"];
    let failings = Failings { tags: true, ..Failings::default() };
    let server = Server::start(files(&shards), failings);
    let cache = tempdir().unwrap();
    let address = format!("http://{}/data/wds-{{000..002}}.tar", server.address);
    let local = Dataset::open(&golden("wds-{000..002}.tar")).unwrap();
    assert_as_on_disk(&open(&address, cache.path()).unwrap(), &local);

    // The index is in the cache now: what is left to ask for is the size.
    let before = server.log().len();
    let again = open(&address, cache.path()).unwrap();
    let asked = &server.log()[before..];
    assert_eq!(asked.len(), 3, "{asked:?}");
    assert!(asked.iter().all(|request| request.starts_with("HEAD ")), "{asked:?}");
    assert_eq!(again.fingerprint(), local.fingerprint());

    // One image is one request, for its bytes alone.
    let before = server.log().len();
    again.load(5).unwrap();
    let asked = &server.log()[before..];
    assert!(asked.len() == 1 && asked[0].starts_with("GET /data/wds-001.tar bytes="), "{asked:?}");
}

#[test]
fn parquet_is_read_by_ranges() {
    let shards = ["hf.parquet", "pages.parquet"];
    let server = Server::start(files(&shards), Failings::default());
    let cache = tempdir().unwrap();
    for shard in shards {
        let address = format!("http://{}/data/{shard}", server.address);
        let local = Dataset::open(&golden(shard)).unwrap();
        assert_as_on_disk(&open(&address, cache.path()).unwrap(), &local);
    }
    assert!(server.log().iter().all(|r| r.starts_with("HEAD ") || r.contains("bytes=")));
}

#[test]
fn a_server_may_drop_connections_and_be_busy() {
    let local = Dataset::open(&golden("wds-000.tar")).unwrap();
    for tags in [false, true] {
        let failings = Failings { drops: 2, busy: 2, tags, ..Failings::default() };
        let server = Server::start(files(&["wds-000.tar"]), failings);
        let cache = tempdir().unwrap();
        let address = format!("http://{}/data/wds-000.tar", server.address);
        assert_as_on_disk(&open(&address, cache.path()).unwrap(), &local);
    }
}

#[test]
fn what_a_server_cannot_do_is_said() {
    let cache = tempdir().unwrap();
    let message = |text: &str| open(text, cache.path()).err().unwrap().to_string();
    let server = Server::start(files(&["wds-000.tar"]), Failings::default());
    let missing = format!("http://{}/data/none.tar", server.address);
    assert!(message(&missing).contains("(it is not there)"), "{}", message(&missing));
    let page = format!("http://{}/data/wds-000.tar.html", server.address);
    server.replace("/data/wds-000.tar.html", b"<html>".to_vec());
    assert!(message(&page).contains("neither a folder nor a .tar"), "{}", message(&page));

    let whole = Failings { no_ranges: true, ..Failings::default() };
    let server = Server::start(files(&["wds-000.tar"]), whole);
    let address = format!("http://{}/data/wds-000.tar", server.address);
    assert!(message(&address).contains("range of bytes"), "{}", message(&address));
}

#[test]
fn an_object_that_changes_is_an_error_and_not_another_image() {
    let failings = Failings { tags: true, ..Failings::default() };
    let server = Server::start(files(&["wds-000.tar"]), failings);
    let cache = tempdir().unwrap();
    let address = format!("http://{}/data/wds-000.tar", server.address);
    let dataset = open(&address, cache.path()).unwrap();
    server.replace("/data/wds-000.tar", fs::read(golden("wds-001.tar")).unwrap());
    let error = dataset.load(0).unwrap_err().to_string();
    assert_eq!(error, "cannot be read: it has changed since it was opened");
}

/// The variables that name an S3 endpoint are those of a process, so the test runs itself in one.
#[test]
fn s3_objects_through_an_endpoint() {
    const MARK: &str = "MOCO_TEST_S3_CACHE";
    if let Some(cache) = std::env::var_os(MARK) {
        let local = Dataset::open(&golden("wds-000.tar")).unwrap();
        let distant = open("s3://data/wds-000.tar", Path::new(&cache)).unwrap();
        return assert_as_on_disk(&distant, &local);
    }
    let server =
        Server::start(files(&["wds-000.tar"]), Failings { tags: true, ..Failings::default() });
    let cache = tempdir().unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "remote::s3_objects_through_an_endpoint"])
        .env(MARK, cache.path())
        .env("AWS_ENDPOINT", format!("http://{}", server.address))
        .env("AWS_ALLOW_HTTP", "true")
        .env("AWS_ACCESS_KEY_ID", "key")
        .env("AWS_SECRET_ACCESS_KEY", "secret")
        .env("AWS_REGION", "local")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(server.log().iter().any(|request| request.starts_with("GET /data/wds-000.tar bytes=")));
}

#[test]
fn fetching_a_wrong_file_fails_and_says_where_to_put_the_right_one() {
    let cache = tempdir().unwrap();
    let file = "/train-labels-idx1-ubyte.gz".to_string();
    let server =
        Server::start(HashMap::from([(file.clone(), vec![0; 29_515])]), Failings::default());
    let mirror = Some(format!("http://{}/", server.address));
    let options = moco_data::OpenOptions { mirror, ..options(cache.path()) };
    let message = || match options.open(Path::new("fashion-mnist")) {
        Err(error) => error.to_string(),
        Ok(dataset) => panic!("{} images", dataset.len()),
    };
    let place = cache.path().join("datasets/fashion-mnist/train-labels-idx1-ubyte.gz");
    let wrong = message();
    assert!(wrong.contains("does not have the published checksum"), "{wrong}");
    assert!(wrong.ends_with(&format!("put it at `{}`", place.display())), "{wrong}");
    assert_eq!(fs::read_dir(place.parent().unwrap()).unwrap().count(), 0);
    server.replace(&file, vec![0; 10]);
    assert!(message().contains("the server's file has 10 bytes and not 29515"), "{}", message());
}
