//! Archives on a server, which stumbles.

use crate::formats::golden;
use crate::server::{Failings, Server};
use crate::support::{names, options};
use moco_data::{DataError, Dataset, OpenOptions, Patience};
use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;
use tempfile::tempdir;

pub fn files(all: &[&str]) -> HashMap<String, Vec<u8>> {
    let file = |name: &&str| (format!("/data/{name}"), fs::read(golden(name)).unwrap());
    all.iter().map(file).collect()
}

/// Asks again at once, and waits as long as a busy machine may need.
fn open(text: &str, cache: &Path) -> Result<Dataset, DataError> {
    let patience = Patience { pause: Duration::from_millis(1), ..Patience::default() };
    OpenOptions { patience, ..options(cache) }.open(Path::new(text))
}

fn message(text: &str, cache: &Path) -> String {
    open(text, cache).err().unwrap().to_string()
}

/// Names, classes and pixels are those of the same data set on disk.
pub fn assert_as_on_disk(distant: &Dataset, local: &Dataset) {
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

    // The index is in the cache now: what is left to ask for is the size, with the first bytes.
    let before = server.log().len();
    let again = open(&address, cache.path()).unwrap();
    let asked = &server.log()[before..];
    assert_eq!(asked.len(), 3, "{asked:?}");
    assert!(asked.iter().all(|request| request.ends_with(" bytes=0-511")), "{asked:?}");
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
    assert!(server.log().iter().all(|request| request.contains("bytes=")));
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

/// Every habit that still gives the data gives the right data.
#[test]
fn habits_of_servers_do_not_matter() {
    let plain = Failings::default();
    let habits = [
        ("no HEAD", "", Failings { no_head: true, ..plain }),
        ("no ranges", "", Failings { no_ranges: true, ..plain }),
        ("no ranges, tags", "", Failings { no_ranges: true, tags: true, ..plain }),
        ("no length", "", Failings { no_length: true, ..plain }),
        ("no ranges, drops", "", Failings { no_ranges: true, drops: 2, tags: true, ..plain }),
        ("no length, drops", "", Failings { no_length: true, drops: 2, ..plain }),
        ("packed on the way", "", Failings { gzip: true, ..plain }),
        ("no dates", "", Failings { no_dates: true, ..plain }),
        ("no dates, no ranges", "", Failings { no_dates: true, no_ranges: true, ..plain }),
        ("sent on", "", Failings { moved: Some("http://HOST/moved/"), ..plain }),
        ("sent on, relative", "", Failings { moved: Some("../moved/"), ..plain }),
        (
            "signed",
            "?X-Amz-Signature=a%2Fb&x=1",
            Failings { query: Some("X-Amz-Signature=a%2Fb&x=1"), ..plain },
        ),
        (
            "a name of its own",
            "",
            Failings { disposition: Some("attachment; filename=a.bin"), ..plain },
        ),
    ];
    for file in ["wds-000.tar", "hf.parquet"] {
        let local = Dataset::open(&golden(file)).unwrap();
        let bytes = fs::read(golden(file)).unwrap();
        for (habit, query, failings) in habits {
            let places = [format!("/data/{file}"), format!("/moved/{file}")];
            let files = places.map(|place| (place, bytes.clone()));
            let server = Server::start(HashMap::from(files), failings);
            let cache = tempdir().unwrap();
            let address = format!("http://{}/data/{file}{query}", server.address);
            let distant = open(&address, cache.path());
            let distant = distant.unwrap_or_else(|error| panic!("{habit}: {error}"));
            assert_as_on_disk(&distant, &local);
            if failings.moved.is_some() {
                let log = server.log();
                let ranges = log.iter().filter(|r| r.starts_with("GET /moved/"));
                assert!(ranges.clone().count() > 1 && ranges.clone().all(|r| r.contains("bytes=")));
            }
        }
    }
}

#[test]
fn addresses_stay_as_they_are_given() {
    let bytes = fs::read(golden("wds-000.tar")).unwrap();
    let local = Dataset::open(&golden("wds-000.tar")).unwrap();
    let cache = tempdir().unwrap();
    for path in [
        "/a%2Fb/wds-000%20x.tar",
        "/a+b/%E4%BD%A0.tar",
        "/a=b&c;d,e/~(x)@y!.tar",
        "/a%5Bb%5D//c.tar",
    ] {
        let server =
            Server::start(HashMap::from([(path.into(), bytes.clone())]), Failings::default());
        let address = format!("http://{}{path}", server.address);
        assert_as_on_disk(&open(&address, cache.path()).unwrap(), &local);
        assert!(
            server.log().iter().all(|r| r.split(' ').nth(1) == Some(path)),
            "{:?}",
            server.log()
        );
    }
}

#[test]
fn what_it_is_shows_in_its_name_or_its_bytes() {
    let cache = tempdir().unwrap();
    for file in ["wds-000.tar", "hf.parquet", "folder.tar.gz"] {
        let packed = file.ends_with(".gz");
        let bytes = if packed { packed_tar() } else { fs::read(golden(file)).unwrap() };
        let local = if packed { "wds-000.tar" } else { file };
        let local = Dataset::open(&golden(local)).unwrap();
        let given = format!("attachment; filename=\"{file}\"").leak();
        for (path, disposition) in [("/get", None), ("/get", Some(&*given)), ("/x.bin", None)] {
            let failings = Failings { disposition, ..Failings::default() };
            let server = Server::start(HashMap::from([(path.into(), bytes.clone())]), failings);
            let address = format!("http://{}{path}?download=true", server.address);
            let distant = open(&address, cache.path()).unwrap();
            assert_eq!(distant.len(), local.len());
            assert_eq!(distant.load(1).unwrap(), local.load(1).unwrap());
        }
    }
}

fn packed_tar() -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(&fs::read(golden("wds-000.tar")).unwrap()).unwrap();
    packer.finish().unwrap()
}

#[test]
fn packed_tars_are_fetched_once_and_unpacked() {
    let local = Dataset::open(&golden("wds-000.tar")).unwrap();
    for failings in [
        Failings::default(),
        Failings { no_ranges: true, ..Failings::default() },
        Failings { drops: 1, tags: true, ..Failings::default() },
        Failings { gzip: true, ..Failings::default() },
    ] {
        let files = ["/a.tar.gz", "/a.tgz"].map(|path| (path.to_string(), packed_tar()));
        let server = Server::start(HashMap::from(files), failings);
        for file in ["a.tar.gz", "a.tgz"] {
            let cache = tempdir().unwrap();
            let address = format!("http://{}/{file}", server.address);
            // A server that packs what is packed already is not undone twice.
            if failings.gzip {
                assert!(open(&address, cache.path()).is_err());
                continue;
            }
            assert_as_on_disk(&open(&address, cache.path()).unwrap(), &local);
            let before = server.log().len();
            assert_as_on_disk(&open(&address, cache.path()).unwrap(), &local);
            assert_eq!(server.log().len(), before + 1, "{:?}", server.log());
        }
    }
}

#[test]
fn copies_are_used_again_until_the_object_changes() {
    let failings = Failings { no_ranges: true, tags: true, ..Failings::default() };
    let server = Server::start(files(&["wds-000.tar"]), failings);
    let cache = tempdir().unwrap();
    let notices = Arc::new(Mutex::new(Vec::new()));
    let said = Arc::clone(&notices);
    let notice = move |text: &str| said.lock().unwrap().push(text.to_string());
    let options = OpenOptions { notice: Some(Arc::new(notice)), ..options(cache.path()) };
    let open = |query: &str| {
        let address = format!("http://{}/data/wds-000.tar?{query}", server.address);
        options.open(Path::new(&address)).unwrap()
    };
    let first = open("Signature=secret1&Expires=1");
    assert_eq!(server.log().len(), 2);
    let again = open("Signature=secret2&Expires=2");
    assert_eq!(server.log().len(), 3);
    assert_eq!(first.fingerprint(), again.fingerprint());
    server.replace("/data/wds-000.tar", fs::read(golden("wds-001.tar")).unwrap());
    let changed = open("Signature=secret3");
    assert_eq!(server.log().len(), 5);
    let other = Dataset::open(&golden("wds-001.tar")).unwrap();
    assert_eq!(names(&changed), names(&other));

    // One copy for each content, none of which is called after a secret; nothing half done.
    let kept = fs::read_dir(cache.path().join("downloads")).unwrap();
    let kept: Vec<String> =
        kept.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(kept.len(), 2, "{kept:?}");
    assert!(kept.iter().all(|name| name.ends_with("-wds-000.tar")), "{kept:?}");
    let notices = notices.lock().unwrap();
    assert_eq!(notices.len(), 2, "{notices:?}");
    let start = format!("fetching http://{}/data/wds-000.tar (", server.address);
    assert!(notices[0].starts_with(&start) && notices[0].ends_with(", once"), "{notices:?}");
}

/// A server that tells no length may stop in the middle, and look as if it had ended.
#[test]
fn damaged_copies_are_fetched_anew() {
    let good = [fs::read(golden("wds-000.tar")).unwrap(), packed_tar()];
    for (path, bytes) in ["/a.tar", "/a.tar.gz"].into_iter().zip(good) {
        let failings = Failings { no_length: true, ..Failings::default() };
        // Within an image: between two, a tar would merely lack its end mark.
        let cut = if path == "/a.tar" { 1700 } else { bytes.len() / 2 };
        let half = bytes[..cut].to_vec();
        let server = Server::start(HashMap::from([(path.into(), half)]), failings);
        let cache = tempdir().unwrap();
        let address = format!("http://{}{path}", server.address);
        let damaged = open(&address, cache.path()).err().unwrap();
        assert!(matches!(damaged, DataError::Damaged { .. } | DataError::DamagedTar { .. }));
        server.replace(path, bytes);
        let local = Dataset::open(&golden("wds-000.tar")).unwrap();
        assert_as_on_disk(&open(&address, cache.path()).unwrap(), &local);
    }
}

#[test]
fn each_refusal_names_its_mend_and_no_secret() {
    let cache = tempdir().unwrap();
    let server = Server::start(files(&["wds-000.tar"]), Failings::default());
    let host = server.address;
    let link = format!("http://me:secret@{host}/data/wds-000.tar?Signature=secret");
    let shown = format!("http://{host}/data/wds-000.tar");
    let with = |failings: Failings| {
        server.change(failings);
        let message = message(&link, cache.path());
        assert!(!message.contains("secret"), "{message}");
        message
    };
    let status = |status| with(Failings { status: Some(status), ..Failings::default() });
    for denied in [401, 403] {
        assert_eq!(
            status(denied),
            format!(
                "`{shown}` is not given to us (status {denied}): make a new link if it is a signed one \
                 that has expired, or check that you may read it"
            )
        );
    }
    assert_eq!(
        status(404),
        format!("`{shown}` is not on the server (status 404): check the address")
    );
    assert_eq!(
        status(400),
        format!("`{host}` answers the request for `{shown}` with status 400: check the address")
    );
    for busy in [429, 500, 503] {
        let before = server.log().len();
        assert_eq!(
            status(busy),
            format!(
                "`{host}` is too busy to answer (status {busy}, five times): try again later, or copy \
                 the data here"
            )
        );
        assert_eq!(server.log().len() - before, 5);
    }
    let loops = Failings { moved: Some("/data/"), ..Failings::default() };
    assert_eq!(
        with(loops),
        format!("`{shown}` is redirected more than ten times or to nowhere: check the address")
    );
    server.replace("/data/wds-000.tar", b"<html>sign in</html>".to_vec());
    assert_eq!(
        with(Failings { kind: Some("text/html; charset=utf-8"), ..Failings::default() }),
        format!("`{shown}` is a web page and not a data set: give the address of the file itself")
    );
    server.replace("/data/wds-000.tar", Vec::new());
    with(Failings::default());
    server.replace("/data/list.txt", b"a.jpg".to_vec());
    let text = message(&format!("http://{host}/data/list.txt?token=secret"), cache.path());
    assert!(
        text.starts_with(&format!("`http://{host}/data/list.txt` is neither a folder nor")),
        "{text}"
    );
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let cache = tempdir().unwrap();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_eq!(
        message(&format!("http://{closed}/a.tar"), cache.path()),
        format!("`{closed}` refuses connections: check the address, and that the server runs")
    );
    // A name that no resolver may know, by RFC 2606; without a network there is no resolver.
    assert_eq!(
        message("http://a.invalid/a.tar", cache.path()),
        "no server called `a.invalid` is known: check the address and the connection"
    );
    let plain = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let host = plain.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in plain.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
            let _ = stream.read(&mut [0; 4096]);
        }
    });
    assert_eq!(
        message(&format!("https://{host}/a.tar"), cache.path()),
        format!("`{host}` does not speak TLS: check the port, or write the address with http://")
    );
    let broken = message("http://127.0.0.1:99999/a.tar", cache.path());
    assert!(broken.ends_with("is not a valid address: check its spelling"), "{broken}");
}

#[test]
fn users_and_passwords_are_sent() {
    let basic = Some("Basic bWU6cC93");
    let failings = Failings { authorization: basic, ..Failings::default() };
    let server = Server::start(files(&["wds-000.tar"]), failings);
    let cache = tempdir().unwrap();
    let address = format!("http://me:p%2Fw@{}/data/wds-000.tar", server.address);
    let local = Dataset::open(&golden("wds-000.tar")).unwrap();
    assert_as_on_disk(&open(&address, cache.path()).unwrap(), &local);
}

#[test]
fn a_cache_that_cannot_be_written_is_named() {
    let failings = Failings { no_ranges: true, ..Failings::default() };
    let server = Server::start(files(&["wds-000.tar"]), failings);
    let cache = tempdir().unwrap();
    let file = cache.path().join("file");
    fs::write(&file, "").unwrap();
    let text = message(&format!("http://{}/data/wds-000.tar", server.address), &file);
    assert!(text.contains("make room or set MOCO_CACHE to another folder"), "{text}");
    assert!(text.starts_with(&format!("`{}/downloads/", file.display())), "{text}");
}

#[test]
fn an_object_that_changes_is_an_error_and_not_another_image() {
    for tags in [true, false] {
        let failings = Failings { tags, ..Failings::default() };
        let server = Server::start(files(&["wds-000.tar"]), failings);
        let cache = tempdir().unwrap();
        let address = format!("http://{}/data/wds-000.tar", server.address);
        let dataset = open(&address, cache.path()).unwrap();
        server.replace("/data/wds-000.tar", fs::read(golden("hf.parquet")).unwrap());
        assert_eq!(
            dataset.load(0).unwrap_err().to_string(),
            format!(
                "`{address}` has changed on the server since it was opened: open it again, and see \
                 that it stays as it is"
            )
        );
    }
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
