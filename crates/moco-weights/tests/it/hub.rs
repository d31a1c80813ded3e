//! Sources: caches first, then a server on loopback.

use moco_weights::WeightsError;
use moco_weights::hub::{Places, Source, fetch};
use std::fs;
use std::path::Path;

fn places(root: &Path, endpoint: &str) -> Places {
    Places {
        hub: Some(root.join("hf")),
        endpoint: endpoint.into(),
        token: Some("secret".into()),
        offline: false,
        cache: Some(root.join("own")),
        notice: None,
    }
}

fn source(text: &str) -> Source {
    Source::parse(text).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn the_cache_of_hugging_face_comes_first() {
    let root = tempfile::tempdir().expect("a folder");
    let repository = root.path().join("hf/models--org--name");
    let commit = repository.join("snapshots/abc123");
    fs::create_dir_all(&commit).expect("folders");
    fs::create_dir_all(repository.join("refs")).expect("folders");
    fs::write(repository.join("refs/main"), "abc123").expect("a file");
    fs::write(commit.join("config.json"), "{}").expect("a file");
    // No server listens there: whatever is asked of it fails.
    let places = places(root.path(), "http://127.0.0.1:9");
    let offline = Places { offline: true, ..places.clone() };
    let error = fetch(&source("hf://org/name"), &offline).expect_err("no weights yet");
    assert!(matches!(error, WeightsError::Offline { .. }), "{error}");
    fs::write(commit.join("model.safetensors"), "weights").expect("a file");
    let expected = commit.join("model.safetensors");
    for text in ["hf://org/name", "hf://org/name@abc123", "hf://org/name/model.safetensors"] {
        assert_eq!(fetch(&source(text), &places).ok(), Some(expected.clone()), "{text}");
        assert_eq!(fetch(&source(text), &offline).ok(), Some(expected.clone()), "{text}");
    }
}

#[test]
fn an_index_without_its_shards_is_not_whole() {
    let root = tempfile::tempdir().expect("a folder");
    let commit = root.path().join("hf/models--org--name/snapshots/abc");
    fs::create_dir_all(&commit).expect("folders");
    let index = r#"{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}"#;
    fs::write(commit.join("model.safetensors.index.json"), index).expect("a file");
    fs::write(commit.join("model-1.safetensors"), "1").expect("a file");
    let places = Places { offline: true, ..places(root.path(), "http://127.0.0.1:9") };
    assert!(fetch(&source("hf://org/name@abc"), &places).is_err());
    fs::write(commit.join("model-2.safetensors"), "2").expect("a file");
    assert!(fetch(&source("hf://org/name@abc"), &places).is_ok());
}

#[test]
fn a_path_stays_what_it_is() {
    let root = tempfile::tempdir().expect("a folder");
    let places = places(root.path(), "http://127.0.0.1:9");
    let path = root.path().join("x.pth");
    let text = path.to_string_lossy().into_owned();
    let error = fetch(&source(&text), &places).expect_err("no file");
    assert!(matches!(error, WeightsError::Missing { .. }), "{error}");
    fs::write(&path, "x").expect("a file");
    assert_eq!(fetch(&source(&text), &places).ok(), Some(path));
}

#[test]
fn places_are_those_of_the_tools_of_hugging_face() {
    let root = tempfile::tempdir().expect("a folder");
    let token = root.path().join("token");
    fs::write(&token, "left by the login\n").expect("a file");
    let home = root.path().to_string_lossy().into_owned();
    let places = |set: &[(&str, &str)]| {
        let variable =
            |name: &str| set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).into());
        Places::from_variables(&variable, None, None)
    };
    let hub = |set: &[(&str, &str)]| places(set).hub.expect("a folder").display().to_string();
    assert_eq!(hub(&[("HOME", "/h")]), "/h/.cache/huggingface/hub");
    assert_eq!(hub(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/c")]), "/c/huggingface/hub");
    assert_eq!(hub(&[("HOME", "/h"), ("HF_HOME", "/hf")]), "/hf/hub");
    assert_eq!(hub(&[("HF_HOME", "/hf"), ("HF_HUB_CACHE", "/hub")]), "/hub");
    assert_eq!(hub(&[("HF_HOME", " "), ("HUGGINGFACE_HUB_CACHE", "/old")]), "/old");
    assert!(places(&[]).hub.is_none());

    assert_eq!(places(&[("HF_HOME", &home)]).token.as_deref(), Some("left by the login"));
    let given = places(&[("HF_HOME", &home), ("HF_TOKEN", " given\n")]);
    assert_eq!(given.token.as_deref(), Some("given"));
    assert_eq!(places(&[("HF_TOKEN_PATH", "/none")]).token, None);

    assert_eq!(places(&[]).endpoint, "https://huggingface.co");
    assert_eq!(places(&[("HF_ENDPOINT", "http://mirror/")]).endpoint, "http://mirror");
    for (value, offline) in [("1", true), ("on", true), ("True", true), ("0", false), ("", false)] {
        assert_eq!(places(&[("HF_HUB_OFFLINE", value)]).offline, offline, "{value}");
    }
}

#[cfg(feature = "remote")]
mod server {
    use super::*;
    use std::collections::HashMap;
    use std::io::{BufRead, BufReader, Write};
    use std::net::{TcpListener, TcpStream};
    use std::sync::{Arc, Mutex};
    use std::thread;

    /// Answers whole files by path to those who know the token, and writes down what is asked.
    struct Server {
        address: String,
        log: Arc<Mutex<Vec<String>>>,
    }

    impl Server {
        fn start(files: &[(&str, &[u8])]) -> Server {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            let address = format!("http://{}", listener.local_addr().expect("an address"));
            let files = files.iter().map(|(path, bytes)| ((*path).to_owned(), bytes.to_vec()));
            let files: Arc<HashMap<String, Vec<u8>>> = Arc::new(files.collect());
            let log = Arc::new(Mutex::new(Vec::new()));
            let server = Server { address, log: Arc::clone(&log) };
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let (log, files) = (Arc::clone(&log), Arc::clone(&files));
                    thread::spawn(move || while serve(&stream, &log, &files).is_some() {});
                }
            });
            server
        }

        fn asked(&self, path: &str) -> usize {
            self.log.lock().unwrap().iter().filter(|line| line.contains(path)).count()
        }
    }

    fn serve(
        stream: &TcpStream,
        log: &Mutex<Vec<String>>,
        files: &HashMap<String, Vec<u8>>,
    ) -> Option<()> {
        let mut lines = BufReader::new(stream).lines();
        let first = lines.next()?.ok()?;
        let path = first.split(' ').nth(1)?.to_owned();
        let (mut known, mut range) = (path.starts_with("/open"), None);
        for line in lines {
            let line = line.ok()?.to_lowercase();
            if line.is_empty() {
                break;
            }
            known |= line == "authorization: bearer secret";
            if let Some(span) = line.strip_prefix("range: bytes=") {
                let (from, to) = span.split_once('-')?;
                range = Some((from.parse::<usize>().ok()?, to.parse::<usize>().ok()?));
            }
        }
        log.lock().unwrap().push(path.clone());
        let body = files.get(&path).cloned();
        let mut out = stream;
        let (status, body, more) = match (known, body) {
            (false, _) => ("401 Unauthorized", Vec::new(), String::new()),
            (_, None) => ("404 Not Found", Vec::new(), String::new()),
            (_, Some(body)) => match range.filter(|(from, _)| *from < body.len()) {
                Some((from, to)) => {
                    let end = (to + 1).min(body.len());
                    let span =
                        format!("Content-Range: bytes {from}-{}/{}\r\n", end - 1, body.len());
                    ("206 Partial Content", body[from..end].to_vec(), span)
                }
                None => ("200 OK", body, String::new()),
            },
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nETag: \"1\"\r\n{more}Content-Length: {}\r\n\r\n",
            body.len()
        );
        out.write_all(head.as_bytes()).ok()?;
        out.write_all(&body).ok()
    }

    const API: &str = "/api/models/org/name/revision/main";

    #[test]
    fn a_repository_is_fetched_once_and_found_without_the_server_after() {
        let list = br#"{"sha": "abc", "siblings": [{"rfilename": "README.md"},
            {"rfilename": "config.json"}, {"rfilename": "model.safetensors"}]}"#;
        let server = Server::start(&[
            (API, list),
            ("/org/name/resolve/abc/config.json", b"{}"),
            ("/org/name/resolve/abc/model.safetensors", &[7; 3000]),
        ]);
        let root = tempfile::tempdir().expect("a folder");
        let places = places(root.path(), &server.address);
        let path = fetch(&source("hf://org/name"), &places).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(fs::read(&path).expect("a copy"), vec![7; 3000]);
        assert!(path.with_file_name("config.json").is_file());
        let asked = server.asked("model.safetensors");
        assert_eq!(fetch(&source("hf://org/name"), &places).ok(), Some(path.clone()));
        assert_eq!(server.asked("model.safetensors"), asked, "it was fetched again");
        let offline = Places { offline: true, ..places.clone() };
        assert_eq!(fetch(&source("hf://org/name"), &offline).ok(), Some(path));
    }

    /// A branch that has moved on is fetched anew; one of which the server says nothing is what it was.
    #[test]
    fn a_branch_is_asked_for_again_and_stays_while_nobody_answers() {
        let list = |sha: &str| {
            format!(r#"{{"sha": "{sha}", "siblings": [{{"rfilename": "model.safetensors"}}]}}"#)
        };
        let api = "/api/models/org/name/revision/next";
        let [old, new] = ["abc", "def"].map(|sha| {
            let file = format!("/org/name/resolve/{sha}/model.safetensors");
            Server::start(&[(api, list(sha).as_bytes()), (&file, sha.as_bytes())])
        });
        let root = tempfile::tempdir().expect("a folder");
        let told = Arc::new(Mutex::new(Vec::new()));
        let hears = Arc::clone(&told);
        let at = |endpoint: &str| Places {
            notice: Some(Arc::new({
                let hears = Arc::clone(&hears);
                move |text: &str| hears.lock().unwrap().push(text.to_owned())
            })),
            ..places(root.path(), endpoint)
        };
        let read = |endpoint: &str, text: &str| {
            let path =
                fetch(&source(text), &at(endpoint)).unwrap_or_else(|error| panic!("{error}"));
            fs::read_to_string(path).expect("a copy")
        };
        assert_eq!(read(&old.address, "hf://org/name@next"), "abc");
        assert_eq!(read(&new.address, "hf://org/name@next"), "def");
        // Nobody listens there.
        let away = "http://127.0.0.1:9";
        told.lock().unwrap().clear();
        assert_eq!(read(away, "hf://org/name@next"), "def");
        let said = told.lock().unwrap().join("\n");
        assert!(said.contains("127.0.0.1") && said.contains("copy of commit def"), "{said}");
        // A commit does not move: it is taken without a word.
        told.lock().unwrap().clear();
        assert_eq!(read(away, "hf://org/name@abc"), "abc");
        assert!(told.lock().unwrap().is_empty());
        // What was never fetched cannot be had, and one sentence says why.
        let error = fetch(&source("hf://org/name"), &at(away)).expect_err("never fetched");
        let sentence = error.to_string();
        assert!(sentence.contains("127.0.0.1") && sentence.contains("check"), "{sentence}");
        assert!(!sentence.contains('\n'), "{sentence}");
    }

    #[test]
    fn shards_come_with_their_index() {
        let list = br#"{"sha": "abc", "siblings": [{"rfilename": "model.safetensors.index.json"},
            {"rfilename": "a.safetensors"}, {"rfilename": "b.safetensors"}]}"#;
        let index = br#"{"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}"#;
        let server = Server::start(&[
            (API, list),
            ("/org/name/resolve/abc/model.safetensors.index.json", index),
            ("/org/name/resolve/abc/a.safetensors", b"aaa"),
            ("/org/name/resolve/abc/b.safetensors", b"bbb"),
        ]);
        let root = tempfile::tempdir().expect("a folder");
        let path = fetch(&source("hf://org/name"), &places(root.path(), &server.address));
        let path = path.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(fs::read(path.with_file_name("b.safetensors")).expect("a shard"), b"bbb");
    }

    #[test]
    fn a_repository_without_weights_lists_its_files() {
        let list = br#"{"sha": "abc", "siblings": [{"rfilename": "README.md"}]}"#;
        let server = Server::start(&[(API, list)]);
        let root = tempfile::tempdir().expect("a folder");
        let places = places(root.path(), &server.address);
        let error = fetch(&source("hf://org/name"), &places).expect_err("no weights");
        assert!(error.to_string().contains("README.md"), "{error}");
        let error = fetch(&source("hf://org/name/x.pth"), &places).expect_err("no file");
        assert!(error.to_string().contains("`x.pth`"), "{error}");
        let error = fetch(&source("hf://org/other"), &places).expect_err("no repository");
        assert!(matches!(error, WeightsError::Server { .. }), "{error}");
    }

    #[test]
    fn a_wrong_token_is_told() {
        let server = Server::start(&[(API, b"{}")]);
        let root = tempfile::tempdir().expect("a folder");
        let places = Places { token: None, ..places(root.path(), &server.address) };
        let error = fetch(&source("hf://org/name"), &places).expect_err("401");
        assert!(error.to_string().contains("401"), "{error}");
    }

    #[test]
    fn an_address_is_copied_once() {
        let server = Server::start(&[("/open/w.pth", &[1; 5000])]);
        let root = tempfile::tempdir().expect("a folder");
        let places = places(root.path(), "http://127.0.0.1:9");
        let text = format!("{}/open/w.pth", server.address);
        let path = fetch(&source(&text), &places).unwrap_or_else(|error| panic!("{error}"));
        assert!(path.ends_with("w.pth"));
        assert_eq!(fs::read(&path).expect("a copy"), vec![1; 5000]);
        let asked = server.asked("w.pth");
        assert!(fetch(&source(&text), &places).is_ok());
        assert_eq!(server.asked("w.pth"), asked);
        let left = fs::read_dir(path.parent().unwrap()).expect("a folder").count();
        assert_eq!(left, 1, "something lies beside the copy");
        let offline = Places { offline: true, ..places };
        let text = format!("{}/open/other.pth", server.address);
        let error = fetch(&source(&text), &offline).expect_err("offline");
        assert!(error.to_string().contains("HF_HUB_OFFLINE"), "{error}");
    }
}
