//! Servers that say nothing, or next to nothing: waiting ends, and is told.

use crate::formats::golden;
use crate::remote::{assert_as_on_disk, files};
use crate::server::{Failings, Server};
use crate::support::options;
use moco_data::{
    Batch, DataError, Dataset, ImageError, Loader, LoaderConfig, OpenOptions, Patience,
    for_each_batch,
};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::{TempDir, tempdir};

/// Longer than any wait of the tests on a busy machine, shorter than one without a bound.
const BOUND: Duration = Duration::from_secs(20);

/// What was said to the person.
type Said = Arc<Mutex<Vec<String>>>;

/// Options whose waits are over in moments.
fn hasty(cache: &TempDir) -> (OpenOptions, Said) {
    let patience = Patience {
        silence: Duration::from_millis(300),
        pause: Duration::from_millis(1),
        tell_after: Duration::from_millis(100),
        ..Patience::default()
    };
    let said = Said::default();
    let ear = Arc::clone(&said);
    let notice = move |text: &str| ear.lock().unwrap().push(text.to_string());
    (OpenOptions { patience, notice: Some(Arc::new(notice)), ..options(cache.path()) }, said)
}

fn shard(failings: Failings) -> (Server, String) {
    let server = Server::start(files(&["wds-000.tar"]), failings);
    let address = format!("http://{}/data/wds-000.tar", server.address);
    (server, address)
}

fn silent(server: &Server) -> String {
    format!(
        "`{}` sent nothing for 0.3 s, five times: check the connection, or copy the data here",
        server.address
    )
}

#[test]
fn a_server_that_says_nothing_is_given_up() {
    let (server, address) = shard(Failings { silent_after: Some(0), ..Failings::default() });
    let cache = tempdir().unwrap();
    let (options, said) = hasty(&cache);
    let start = Instant::now();
    let error = options.open(Path::new(&address)).err().unwrap();
    assert!(matches!(error, DataError::Unreachable { .. }), "{error:?}");
    assert_eq!(error.to_string(), silent(&server));
    assert!(start.elapsed() > Duration::from_millis(1500) && start.elapsed() < BOUND);
    let waiting = |n| format!("waiting for {} (attempt {n} of 5)", server.address);
    let said = said.lock().unwrap();
    let mut told: Vec<&String> = said.iter().collect();
    told.dedup();
    assert_eq!(told, [1, 2, 3, 4, 5].map(waiting).iter().collect::<Vec<_>>());
}

#[test]
fn one_that_sends_a_byte_now_and_then_is_given_up() {
    for no_ranges in [false, true] {
        let drips_after = Some((0, Duration::from_millis(20)));
        let (server, address) = shard(Failings { drips_after, no_ranges, ..Failings::default() });
        let cache = tempdir().unwrap();
        let start = Instant::now();
        let error = hasty(&cache).0.open(Path::new(&address)).err().unwrap();
        assert_eq!(
            error.to_string(),
            format!(
                "`{}` sent less than 1 KB in 0.3 s, five times: check the connection, or copy the \
                 data here",
                server.address
            )
        );
        assert!(start.elapsed() < BOUND);
    }
}

#[test]
fn silence_while_looking_through_an_archive_is_no_damage() {
    for file in ["wds-000.tar", "hf.parquet"] {
        for no_ranges in [false, true] {
            let failings = Failings { silent_after: Some(1), no_ranges, ..Failings::default() };
            let server = Server::start(files(&[file]), failings);
            let address = format!("http://{}/data/{file}", server.address);
            let cache = tempdir().unwrap();
            let error = hasty(&cache).0.open(Path::new(&address)).err().unwrap();
            assert!(matches!(error, DataError::Unreachable { .. }), "{error:?}");
            assert_eq!(error.to_string(), silent(&server));
            let partial = cache.path().join("downloads");
            assert!(!no_ranges || std::fs::read_dir(partial).unwrap().next().is_none());
        }
    }
}

#[test]
fn a_connection_that_always_breaks_is_given_up() {
    for no_ranges in [false, true] {
        let failings = Failings { drops: 100, no_ranges, ..Failings::default() };
        let (server, address) = shard(failings);
        let cache = tempdir().unwrap();
        assert_eq!(
            hasty(&cache).0.open(Path::new(&address)).err().unwrap().to_string(),
            format!(
                "the connection to `{}` broke off, five times: check the connection, or copy the data \
                 here",
                server.address
            )
        );
    }
}

/// Two silences, and then an answer.
#[test]
fn a_server_that_comes_back_is_used_again() {
    let (server, address) = shard(Failings { silent_after: Some(0), ..Failings::default() });
    let cache = tempdir().unwrap();
    let (mut options, said) = hasty(&cache);
    options.patience.silence = Duration::from_secs(2);
    let dataset = thread::scope(|scope| {
        let opening = scope.spawn(|| options.open(Path::new(&address)));
        while server.log().len() < 2 {
            thread::sleep(Duration::from_millis(10));
        }
        server.change(Failings::default());
        opening.join().unwrap().unwrap()
    });
    assert_as_on_disk(&dataset, &Dataset::open(&golden("wds-000.tar")).unwrap());
    let answers = format!("{} answers again", server.address);
    assert!(said.lock().unwrap().contains(&answers), "{said:?}");
}

fn opened(file: &str, cache: &TempDir) -> (Server, Arc<Dataset>, Said) {
    let server = Server::start(files(&[file]), Failings::default());
    let address = format!("http://{}/data/{file}", server.address);
    let (options, said) = hasty(cache);
    (server, Arc::new(options.open(Path::new(&address)).unwrap()), said)
}

fn loader(dataset: &Arc<Dataset>) -> Loader {
    let config = LoaderConfig {
        batch_size: 4,
        views: vec!["resize(20) center(16) normalize(imagenet)".parse().unwrap()],
        seed: 1,
        threads: 2,
        prefetch: 1,
        max_bad_share: 1.0,
        cache_mb: 0,
    };
    Loader::start(Arc::clone(dataset), config, 0).unwrap()
}

/// Even where every image may be bad, a server that is gone ends the run.
#[test]
fn a_server_that_falls_silent_ends_a_run_with_an_error_of_its_own() {
    let cache = tempdir().unwrap();
    let (server, dataset, said) = opened("wds-000.tar", &cache);
    let mut loader = loader(&dataset);
    let _: Batch = loader.next_batch().unwrap();
    server.change(Failings { silent_after: Some(0), ..Failings::default() });
    let start = Instant::now();
    let error = (0..100).find_map(|_| loader.next_batch().err()).unwrap();
    assert!(matches!(error, DataError::Unreachable { .. }), "{error:?}");
    assert_eq!(error.to_string(), silent(&server));
    assert!(start.elapsed() < BOUND, "{:?}", start.elapsed());
    assert_eq!(loader.bad_file_count(), 0);
    assert!(said.lock().unwrap()[0].starts_with("waiting for 127.0.0.1:"));
}

#[test]
fn an_image_of_a_silent_server_is_no_bad_image() {
    for file in ["wds-000.tar", "hf.parquet"] {
        let cache = tempdir().unwrap();
        let (server, dataset, _) = opened(file, &cache);
        server.change(Failings { silent_after: Some(0), ..Failings::default() });
        let error = dataset.load(0).unwrap_err();
        assert!(matches!(error, ImageError::Unreachable { .. }), "{error:?}");
        assert_eq!(error.to_string(), silent(&server));
    }
}

/// Not evaluation, not the statistics.
#[test]
fn nobody_waits_again_for_what_was_just_given_up() {
    let cache = tempdir().unwrap();
    let (server, dataset, _) = opened("wds-000.tar", &cache);
    server.change(Failings { silent_after: Some(0), ..Failings::default() });
    let start = Instant::now();
    let all: Vec<usize> = (0..dataset.len()).collect();
    let view = "resize(20) center(16) normalize(imagenet)".parse().unwrap();
    let asked = server.log().len();
    let outcome = for_each_batch(&dataset, &all, &view, 4, 2, &mut |_| ControlFlow::Continue(()));
    assert_eq!(outcome.unwrap_err().to_string(), silent(&server));
    assert!(start.elapsed() < BOUND);
    assert!(server.log().len() <= asked + 10, "{:?}", server.log());

    // After a while, it is asked again.
    server.change(Failings::default());
    thread::sleep(Duration::from_millis(700));
    dataset.load(0).unwrap();
}

#[test]
fn waiting_for_a_server_ends_when_asked_to() {
    let cache = tempdir().unwrap();
    let server = Server::start(files(&["wds-000.tar"]), Failings::default());
    let address = format!("http://{}/data/wds-000.tar", server.address);
    let (mut options, _) = hasty(&cache);
    options.patience.silence = Duration::from_secs(60);
    let dataset = Arc::new(options.open(Path::new(&address)).unwrap());
    server.change(Failings { silent_after: Some(0), ..Failings::default() });
    let mut loader = loader(&dataset);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(200));
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        let start = Instant::now();
        assert!(loader.next_batch_until(&stop).unwrap().is_none());
        drop(loader);
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    });
}
