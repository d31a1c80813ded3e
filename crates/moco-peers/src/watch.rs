//! Ends a run whose ranks wait for one that does not answer.
//!
//! A collective call returns when all ranks have come, so a rank that was stopped, hangs or swaps
//! makes all others wait, silently and for ever. A thread of each rank looks up how long the present
//! exchange takes. Beyond the limit, rank 0's asks the threads of all ranks, over a communicator of
//! their own, where their ranks are; it names those that are not in the exchange, or do not answer,
//! and ends the run. Rank 0 itself is named by the others, after a little more than
//! twice the time.

use crate::mpi::{MpiError, Raw};
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How often the thread looks.
const TICK: Duration = Duration::from_millis(100);
/// How long rank 0 waits for the answers.
const ANSWER: Duration = Duration::from_secs(10);
/// How long a process may take to end once it has said why.
const LAST_BREATH: Duration = Duration::from_secs(5);
/// Exit code of a run that failed.
const FAILED: i32 = 2;

/// The exchange with which ranks say goodbye. Rank 0, which alone writes what came of all, may come to
/// it long after the others, and they wait.
pub(crate) const END: &str = "the end";

/// Rank 0 asks where a rank is.
static QUESTION: f64 = 1.0;
/// Rank 0 has done its work.
static GOODBYE: f64 = 0.0;
/// The answer: in the exchange, or at work elsewhere.
static WAITING: f64 = 1.0;
static ELSEWHERE: f64 = 0.0;

/// Looks over the exchanges of one rank.
#[derive(Debug)]
pub struct Watch {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    raw: Raw,
    rank: usize,
    size: usize,
    limit: Duration,
    /// The communicator of the watch, if several threads may call.
    comm: Option<usize>,
    /// The present exchange.
    present: Mutex<Option<(Instant, &'static str)>>,
    /// Whether rank 0 has done its work.
    over: Mutex<bool>,
    /// Nanoseconds spent in exchanges.
    waited: AtomicU64,
}

impl Watch {
    /// Watches with a patience of `limit`. `threads` says whether several threads may call MPI.
    pub(crate) fn new(
        limit: Duration,
        rank: usize,
        size: usize,
        raw: Raw,
        threads: bool,
    ) -> Result<Self, MpiError> {
        let comm = threads.then(|| raw.duplicate()).transpose()?;
        let (present, over) = (Mutex::new(None), Mutex::new(false));
        let waited = AtomicU64::new(0);
        let shared = Arc::new(Shared { raw, rank, size, limit, comm, present, over, waited });
        let theirs = Arc::clone(&shared);
        let thread = thread::Builder::new().name("watch".into()).spawn(move || theirs.look());
        let thread = Mutex::new(Some(thread.map_err(MpiError::NoThread)?));
        Ok(Self { shared, thread })
    }

    pub(crate) fn raw(&self) -> &Raw {
        &self.shared.raw
    }

    /// Runs an exchange.
    pub(crate) fn during<T>(&self, what: &'static str, f: impl FnOnce() -> T) -> T {
        let begin = Instant::now();
        self.shared.set(Some((begin, what)));
        let done = f();
        self.shared.set(None);
        self.shared.waited.fetch_add(begin.elapsed().as_nanos() as u64, Ordering::Relaxed);
        done
    }

    /// Time spent in exchanges so far.
    pub(crate) fn waited(&self) -> Duration {
        Duration::from_nanos(self.shared.waited.load(Ordering::Relaxed))
    }

    /// Ends the thread of this rank. Rank 0 tells the others' threads.
    pub(crate) fn end(&self) {
        let Shared { raw, rank, size, comm, over, .. } = &*self.shared;
        if let (0, Some(comm)) = (*rank, comm) {
            let mut sent: Vec<_> = (1..*size).map(|to| raw.send(&GOODBYE, to, *comm)).collect();
            while !sent.iter_mut().all(|request| raw.done(request)) {
                thread::sleep(Duration::from_millis(1));
            }
        }
        if *rank == 0 || comm.is_none() {
            *over.lock().unwrap_or_else(PoisonError::into_inner) = true;
        }
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // Its panic would have been a message already.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn set(&self, present: Option<(Instant, &'static str)>) {
        *self.present.lock().unwrap_or_else(PoisonError::into_inner) = present;
    }

    fn present(&self) -> Option<(Instant, &'static str)> {
        *self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread's work.
    fn look(&self) {
        // Never freed: the library may write there until the process ends.
        let asked: *mut f64 = Box::into_raw(Box::new(0.0));
        let listens = self.comm.filter(|_| self.rank != 0);
        let listen = |comm| self.raw.receive(asked, 0, comm);
        let mut question = listens.map(listen);
        // Long enough for rank 0 to have found out and said who is missing.
        let others = 2 * self.limit + 2 * ANSWER;
        let patience = if self.rank == 0 { self.limit } else { others };
        while !*self.over.lock().unwrap_or_else(PoisonError::into_inner) {
            if let (Some(comm), Some(request)) = (listens, &mut question)
                && self.raw.done(request)
            {
                // SAFETY: the message has come, so nobody writes there now.
                if unsafe { asked.read_volatile() } == GOODBYE {
                    return;
                }
                let answer = if self.present().is_some() { &WAITING } else { &ELSEWHERE };
                self.raw.send(answer, 0, comm);
                question = Some(listen(comm));
            }
            if let Some((since, what)) = self.present()
                && since.elapsed() > patience
                && (self.rank == 0 || what != END)
            {
                self.give_up(what, since.elapsed());
            }
            thread::sleep(TICK);
        }
    }

    /// Names the rank that does not come, and ends the run.
    fn give_up(&self, what: &'static str, waited: Duration) {
        let seconds = waited.as_secs();
        let who = if self.rank != 0 {
            format!("rank {}: rank 0 has", self.rank)
        } else {
            match self.missing().as_deref() {
                None | Some([]) => "one rank has".to_owned(),
                Some([rank]) => format!("rank {rank} has"),
                Some(ranks) => {
                    let ranks: Vec<String> = ranks.iter().map(usize::to_string).collect();
                    format!("ranks {} have", ranks.join(", "))
                }
            }
        };
        say(&format!(
            "{who} not come to the exchange of {what} for {seconds} s, stopped, stuck or very slow: \
             the run ends, and goes on from its last checkpoint with --resume; \
             MOCO_PEERS_TIMEOUT is the time in seconds that ranks wait for each other"
        ));
        // Ending needs the library, which may be what hangs.
        thread::spawn(|| {
            thread::sleep(LAST_BREATH);
            std::process::abort();
        });
        if self.comm.is_some() {
            self.raw.abort(FAILED);
        }
        std::process::exit(FAILED);
    }

    /// The ranks that do not wait in the present exchange, by their own word or by their silence.
    fn missing(&self) -> Option<Vec<usize>> {
        let comm = self.comm?;
        let ask = |rank| {
            self.raw.send(&QUESTION, rank, comm);
            // Never freed, as above.
            let answer: *mut f64 = Box::into_raw(Box::new(ELSEWHERE));
            (rank, answer, self.raw.receive(answer, rank, comm))
        };
        let mut asked: Vec<_> = (1..self.size).map(ask).collect();
        let (begin, mut elsewhere) = (Instant::now(), Vec::new());
        while !asked.is_empty() && begin.elapsed() < ANSWER {
            asked.retain_mut(|(rank, answer, request)| {
                let came = self.raw.done(request);
                // SAFETY: the message has come, so nobody writes there now.
                if came && unsafe { answer.read_volatile() } == ELSEWHERE {
                    elsewhere.push(*rank);
                }
                !came
            });
            thread::sleep(TICK);
        }
        // Who is silent has been stopped; only if all answer is it one that is at work elsewhere.
        let silent: Vec<usize> = asked.iter().map(|(rank, ..)| *rank).collect();
        Some(if silent.is_empty() { elsewhere } else { silent })
    }
}

/// Says a sentence to whoever reads the errors; a closed stream is no reason to hang.
pub(crate) fn say(sentence: &str) {
    let _ = writeln!(std::io::stderr(), "error: {sentence}");
}
