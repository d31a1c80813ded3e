//! The collectives against loops, by threads and by real processes under `mpirun`.

// What was skipped is said to whoever runs the tests; the ranks say that they have done.
#![allow(clippy::print_stderr)]

use moco_peers::{BUCKET_BYTES, Comm, Failure, Mpi, Peers, Threads, launched};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A value that tells rank and position, and whose sums over few ranks are exact in f32.
fn value(rank: usize, i: usize) -> f32 {
    ((rank * 31 + i * 7) % 101) as f32 - 50.0
}

fn values(rank: usize, n: usize) -> Vec<f32> {
    (0..n).map(|i| value(rank, i)).collect()
}

/// What every rank checks for itself, whatever carries the messages.
fn check_all(peers: Peers) {
    let (r, size) = (peers.rank(), peers.size());
    // More than one bucket.
    for n in [0, 1, 5, BUCKET_BYTES / 4 + 3] {
        let mut sum = values(r, n);
        peers.sum_f32(&mut sum, "numbers");
        let expected = |i| (0..size).map(|rank| value(rank, i)).sum::<f32>();
        assert!(sum.iter().enumerate().all(|(i, x)| *x == expected(i)), "sum of {n}");
    }
    let mut sum = [f64::from(value(r, 3)), 1.0];
    peers.sum_f64(&mut sum, "numbers");
    let expected: f64 = (0..size).map(|rank| f64::from(value(rank, 3))).sum();
    assert_eq!(sum, [expected, size as f64]);
    let mut max = [f64::from(value(r, 3)), -(r as f64)];
    peers.max_f64(&mut max, "numbers");
    let expected = (0..size).map(|rank| f64::from(value(rank, 3))).fold(f64::MIN, f64::max);
    assert_eq!(max, [expected, 0.0]);

    let all = peers.gather(&[r as u8; 3], "bytes");
    let expected: Vec<u8> = (0..size).flat_map(|rank| [rank as u8; 3]).collect();
    assert_eq!(all, expected);
    let each = peers.gather_each(&vec![7u8; r], "bytes");
    assert_eq!(each, (0..size).map(|rank| vec![7u8; rank]).collect::<Vec<_>>());

    // Row i is number i / R of rank i mod R.
    let rows = peers.gather_rows(&values(r, 6), 2, "rows");
    for i in 0..3 * size {
        let of = |k| value(i % size, i / size * 2 + k);
        assert_eq!(rows[2 * i..2 * i + 2], [of(0), of(1)], "row {i}");
    }
    // The gradient of a gather: sum over ranks of what each says of the own rows.
    let own = peers.scatter_sum(&values(r, 6 * size), 2, "rows");
    for (j, x) in own.iter().enumerate() {
        let at = (j / 2 * size + r) * 2 + j % 2;
        assert_eq!(*x, (0..size).map(|rank| value(rank, at)).sum::<f32>(), "gradient {j}");
    }

    // Rank a sends a + b + 1 values to rank b.
    let sent: Vec<usize> = (0..size).map(|to| r + to + 1).collect();
    let came = peers.all_to_all(&values(r, sent.iter().sum()), &sent, &sent, "shares");
    let mut expected = Vec::new();
    for from in 0..size {
        let start: usize = (0..r).map(|to| from + to + 1).sum();
        expected.extend((start..start + from + r + 1).map(|i| value(from, i)));
    }
    assert_eq!(came, expected);

    let mut told = [r as u8; 4];
    peers.broadcast(&mut told, size - 1, "word");
    assert_eq!(told, [size as u8 - 1; 4]);
    assert!(peers.any(r == size - 1, "question") && !peers.any(false, "question"));
    assert_eq!(peers.tell(vec![r as u8 + 1; 5 - r], "word"), [1; 5], "rank 0's, of its length");
    assert!(peers.tell(Vec::new(), "word").is_empty());
    assert_eq!(peers.together(Ok::<_, String>(r), "work"), Ok(r));
    let failed = peers.together(if r > 0 { Err(format!("no {r}")) } else { Ok(()) }, "work");
    let host = peers.hosts().get(1).cloned().unwrap_or_default();
    match (r, size) {
        (_, 1) => assert_eq!(failed, Ok(())),
        (1, _) => assert_eq!(failed, Err(Failure::Own("no 1".to_owned())), "the first that failed"),
        _ => {
            let reason = "no 1".to_owned();
            assert_eq!(failed, Err(Failure::Other { rank: 1, host, reason }));
        }
    }
    assert_eq!(peers.share(2 * size + 1).count(), if r == 0 { 3 } else { 2 });
    assert_eq!(peers.hosts().len(), size);
    peers.barrier("end of the test");
}

#[test]
fn threads_do_what_loops_say() {
    for size in [1, 2, 3, 5] {
        std::thread::scope(|scope| {
            for comm in Threads::all(size) {
                scope.spawn(move || check_all(Peers::new(comm)));
            }
        });
    }
    check_all(Peers::SOLO);
}

#[test]
#[should_panic(expected = "different exchanges")]
fn ranks_that_call_for_different_exchanges_are_told() {
    let [a, b] = <[Threads; 2]>::try_from(Threads::all(2)).expect("two");
    let other = std::thread::spawn(move || a.barrier("one"));
    b.barrier("another");
    let _ = other.join();
}

/// What a child of the tests below is to do.
const ROLE: &str = "MOCO_PEERS_TEST_ROLE";

/// Not a test by itself: the ranks, when this program is run by `mpirun`.
#[test]
fn rank() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let limit = Duration::from_millis(if role == "stop" { 1500 } else { 60_000 });
    let peers = match Mpi::open(limit) {
        Ok(peers) => peers,
        Err(error) => {
            eprintln!("error: {error}");
            std::process::exit(1);
        }
    };
    match role.as_str() {
        "check" => check_all(peers),
        "die" if peers.rank() == 1 => std::process::abort(),
        "leave" if peers.rank() == 1 => std::process::exit(0),
        // A rank that is stuck, whose watch still answers.
        "stop" if peers.rank() == 1 => std::thread::sleep(Duration::from_secs(120)),
        _ => peers.barrier("the test"),
    }
    peers.finish();
    // Made first, so that it is said in one write and the lines of the ranks do not mix.
    let line = format!("done {} of {}, {}\n", peers.rank(), peers.size(), peers.about());
    eprint!("{line}");
}

/// Whether `mpirun` is there; says so if not.
fn mpirun() -> bool {
    let there = Command::new("mpirun").arg("--version").output().is_ok();
    if !there {
        eprintln!("skipped: there is no mpirun here (openmpi-bin has one)");
    }
    there
}

/// The exit code and the errors of `n` ranks in `role`.
fn ranks(n: usize, role: &str, more: &[(&str, &str)]) -> (Option<i32>, String) {
    let program = std::env::current_exe().expect("this program");
    let output = Command::new("mpirun")
        .args(["-n", &n.to_string()])
        .args(more.iter().flat_map(|(key, _)| ["-x", key]))
        .args(["-x", ROLE, "--oversubscribe", "--bind-to", "none"])
        .arg(program)
        .args(["--exact", "rank", "--nocapture", "--test-threads", "1"])
        .env(ROLE, role)
        .envs(more.iter().copied())
        .env("OMPI_ALLOW_RUN_AS_ROOT", "1")
        .env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")
        .stdin(Stdio::null())
        .output()
        .expect("mpirun starts");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn processes_do_what_loops_say() {
    if !mpirun() {
        return;
    }
    for n in [2, 4] {
        let (code, errors) = ranks(n, "check", &[]);
        assert_eq!((code, errors.matches("done ").count()), (Some(0), n), "{errors}");
    }
}

#[test]
fn a_dead_or_missing_rank_ends_all_in_bounded_time() {
    if !mpirun() {
        return;
    }
    for role in ["die", "leave"] {
        let begin = Instant::now();
        let (code, errors) = ranks(3, role, &[]);
        assert_ne!(code, Some(0), "{role}: {errors}");
        assert!(begin.elapsed() < Duration::from_secs(60), "{role}: {:?}", begin.elapsed());
    }
    let (code, errors) = ranks(3, "stop", &[]);
    let named = errors.matches("rank 1 has not come to the exchange of the test").count();
    assert_eq!((code, named), (Some(2), 1), "{errors}");
}

#[test]
fn a_library_that_cannot_be_opened_is_one_sentence() {
    if !mpirun() {
        return;
    }
    let (code, errors) = ranks(2, "check", &[("MOCO_MPI", "/nowhere/libmpi.so")]);
    let sentence = "started by Open MPI's mpirun, but no MPI library can be opened \
                    (tried /nowhere/libmpi.so)";
    assert!(code == Some(1) && errors.contains(sentence), "{errors}");
    let (code, errors) = ranks(2, "check", &[("MOCO_MPI", "libm.so.6")]);
    assert!(code == Some(1) && errors.contains("libm.so.6 is no MPI library"), "{errors}");
}

#[test]
fn nobody_has_started_the_tests() {
    assert_eq!(launched(), None);
}
