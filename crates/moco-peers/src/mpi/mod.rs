//! MPI, without its headers: the library is opened at run time.

mod abi;
mod open;

pub use open::found;

use crate::comm::{BUCKET_BYTES, Comm};
use crate::peers::Peers;
use crate::watch::{END, Watch};
use abi::{Constants, Functions, Handle};
use libloading::os::unix::Library;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::time::Duration;

/// Bytes of one message of a gather: MPI counts in 32 bits.
const MESSAGE: usize = 1 << 30;

/// Exit code of a run that failed.
const FAILED: i32 = 2;

/// Why there are no ranks.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MpiError {
    /// No library.
    #[error(
        "{who} no MPI library can be opened (tried {tried}): install the one that the launcher belongs to, or name its file in MOCO_MPI"
    )]
    NoLibrary {
        /// Names that were tried.
        tried: String,
        /// Half a sentence on who started the process.
        who: String,
    },
    /// A library that is no MPI.
    #[error("{path} is no MPI library, since it has no {symbol}: name another in MOCO_MPI")]
    Symbol {
        /// The library.
        path: String,
        /// What it lacks.
        symbol: &'static str,
    },
    /// Two kinds of MPI.
    #[error(
        "{launcher} has started {ranks} ranks, but {path} is another MPI than the launcher's and sees {size}: name the launcher's own library in MOCO_MPI"
    )]
    Count {
        /// Who started the ranks.
        launcher: &'static str,
        /// How many.
        ranks: usize,
        /// The library.
        path: String,
        /// How many it sees.
        size: usize,
    },
    /// A call that failed.
    #[error("{name} failed: {why}")]
    Call {
        /// The function.
        name: &'static str,
        /// What the library says.
        why: String,
    },
    /// Opened before.
    #[error("MPI was started before in this process, which it allows once")]
    Twice,
    /// No thread for the watch.
    #[error("the thread that watches over the other ranks cannot be started: {0}")]
    NoThread(std::io::Error),
}

/// The library: its functions and constants, between init and finalize.
#[derive(Debug)]
pub(crate) struct Raw {
    f: Functions,
    c: Constants,
    path: String,
    /// Keeps the functions where they are.
    _library: Library,
}

impl Raw {
    fn checked(&self, name: &'static str, code: c_int) -> Result<(), MpiError> {
        match code {
            0 => Ok(()),
            code => Err(MpiError::Call { name, why: self.error(code) }),
        }
    }

    /// What the library says of an error.
    fn error(&self, code: c_int) -> String {
        // SAFETY: writes at most MPI_MAX_ERROR_STRING (512 at most) bytes, and `text` has more.
        self.text(|text, length| unsafe { (self.f.error_string)(code, text, length) })
    }

    /// One line on which MPI this is.
    fn version(&self) -> String {
        // SAFETY: at most MPI_MAX_LIBRARY_VERSION_STRING (8192 at most) bytes.
        let text = self.text(|text, length| unsafe { (self.f.library_version)(text, length) });
        let line = text.lines().next().unwrap_or_default();
        let words: Vec<&str> = line.split([',', '\t']).map(str::trim).collect();
        format!("{} ({})", words.iter().take(2).copied().collect::<Vec<_>>().join(" "), self.path)
            .replace("  ", " ")
    }

    /// The name of this machine.
    fn host(&self) -> String {
        // SAFETY: at most MPI_MAX_PROCESSOR_NAME (512 at most) bytes.
        self.text(|text, length| unsafe { (self.f.processor_name)(text, length) })
    }

    fn text(&self, write: impl Fn(*mut c_char, *mut c_int) -> c_int) -> String {
        let mut text = vec![0 as c_char; 16384];
        let mut length = 0;
        write(text.as_mut_ptr(), &raw mut length);
        // SAFETY: the buffer began as zeros and is longer than whatever was written, so it ends in 0.
        unsafe { CStr::from_ptr(text.as_ptr()) }.to_string_lossy().trim().to_owned()
    }

    /// A communicator of its own, for the watch. Collective.
    pub(crate) fn duplicate(&self) -> Result<Handle, MpiError> {
        let mut handle: Handle = 0;
        // SAFETY: `handle` has room for a pointer and for MPICH's 4 bytes, which land in its lower half
        // since all machines that are built for are little-endian.
        let code = unsafe { (self.f.duplicate)(self.c.world, &raw mut handle) };
        self.checked("MPI_Comm_dup", code).map(|()| handle)
    }

    /// Begins to send one number to `rank` over `comm`; `value` must stay until [`Raw::done`].
    pub(crate) fn send(&self, value: &'static f64, rank: usize, comm: Handle) -> Handle {
        let mut request: Handle = 0;
        let at = std::ptr::from_ref(value).cast();
        // SAFETY: one f64, which lives for ever; `request` as in `duplicate`.
        unsafe { (self.f.send)(at, 1, self.c.double, rank as c_int, 0, comm, &raw mut request) };
        request
    }

    /// Begins to receive one number of `rank`.
    pub(crate) fn receive(&self, value: *mut f64, rank: usize, comm: Handle) -> Handle {
        let mut request: Handle = 0;
        let (to, rank) = (value.cast(), rank as c_int);
        // SAFETY: the only callers pass the address of one f64 that is never freed.
        unsafe { (self.f.receive)(to, 1, self.c.double, rank, 0, comm, &raw mut request) };
        request
    }

    /// Whether a message has been sent or has come.
    pub(crate) fn done(&self, request: &mut Handle) -> bool {
        let mut flag: c_int = 0;
        let status = self.c.status_ignore as *mut c_void;
        // SAFETY: a request of `send` or `receive`; one that is over has become the null request, of
        // which the test is true again.
        unsafe { (self.f.test)(request, &raw mut flag, status) };
        flag != 0
    }

    pub(crate) fn abort(&self, code: i32) {
        // SAFETY: may be called at any time after init; it ends all processes.
        unsafe { (self.f.abort)(self.c.world, code) };
    }
}

/// The ranks of an MPI job, this process one of them.
#[derive(Debug)]
pub struct Mpi {
    watch: Watch,
    rank: usize,
    size: usize,
    version: String,
    hosts: Vec<String>,
}

impl Mpi {
    /// Opens MPI's library, begins, and watches from then on that no exchange takes longer than
    /// `limit`. The first thing that a rank does, and once.
    ///
    /// # Errors
    /// [`MpiError`] if there is no library, or it is not that of the launcher.
    pub fn open(limit: Duration) -> Result<Peers, MpiError> {
        open::open(limit).map(Peers::new)
    }

    fn new(watch: Watch, rank: usize, size: usize, version: String) -> Self {
        let mut mpi = Self { watch, rank, size, version, hosts: Vec::new() };
        let mut name = mpi.raw().host().into_bytes();
        name.resize(256, 0);
        let all = mpi.gather(&name, "names of the machines");
        let text = |name: &[u8]| String::from_utf8_lossy(name).trim_end_matches('\0').to_owned();
        mpi.hosts = all.chunks_exact(256).map(text).collect();
        mpi
    }

    fn raw(&self) -> &Raw {
        self.watch.raw()
    }

    /// Makes one call, under the watch; ends the run if it fails.
    fn call(&self, what: &'static str, f: impl FnOnce(&Functions, &Constants) -> c_int) {
        let raw = self.raw();
        let code = self.watch.during(what, || f(&raw.f, &raw.c));
        if code != 0 {
            let why = raw.error(code);
            crate::watch::say(&format!("rank {}: the exchange of {what} failed: {why}", self.rank));
            self.abort(FAILED);
        }
    }

    /// Reduces `part` in place.
    fn reduce<T>(&self, part: &mut [T], kind: fn(&Constants) -> [Handle; 2], what: &'static str) {
        let (at, count) = (part.as_mut_ptr().cast(), part.len() as c_int);
        self.call(what, |f, c| {
            let [kind, op] = kind(c);
            // SAFETY: `at` is `count` numbers of the type that `kind` says, borrowed for the call.
            unsafe { (f.all_reduce)(c.in_place as *const c_void, at, count, kind, op, c.world) }
        });
    }
}

impl Comm for Mpi {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn hosts(&self) -> Vec<String> {
        self.hosts.clone()
    }

    fn about(&self) -> String {
        self.version.clone()
    }

    fn sum_f32(&self, x: &mut [f32], what: &'static str) {
        for part in x.chunks_mut(BUCKET_BYTES / size_of::<f32>()) {
            self.reduce(part, |c| [c.float, c.sum], what);
        }
    }

    fn sum_f64(&self, x: &mut [f64], what: &'static str) {
        for part in x.chunks_mut(BUCKET_BYTES / size_of::<f64>()) {
            self.reduce(part, |c| [c.double, c.sum], what);
        }
    }

    fn max_f64(&self, x: &mut [f64], what: &'static str) {
        self.reduce(x, |c| [c.double, c.max], what);
    }

    fn gather(&self, x: &[u8], what: &'static str) -> Vec<u8> {
        let mut all = vec![0u8; x.len() * self.size];
        for (number, part) in x.chunks(MESSAGE).enumerate() {
            let mut came = vec![0u8; part.len() * self.size];
            let (from, to, n) =
                (part.as_ptr().cast(), came.as_mut_ptr().cast(), part.len() as c_int);
            self.call(what, |f, c| {
                // SAFETY: n bytes go out, n come from each rank, and `came` has room for them.
                unsafe { (f.all_gather)(from, n, c.byte, to, n, c.byte, c.world) }
            });
            if part.len() == x.len() {
                return came;
            }
            for (rank, block) in came.chunks_exact(part.len()).enumerate() {
                all[rank * x.len() + number * MESSAGE..][..part.len()].copy_from_slice(block);
            }
        }
        all
    }

    fn reduce_scatter(&self, x: &[f32], what: &'static str) -> Vec<f32> {
        assert!(x.len().is_multiple_of(self.size), "{} values in {} blocks", x.len(), self.size);
        let mut own = vec![0.0f32; x.len() / self.size];
        let (from, to, n) = (x.as_ptr().cast(), own.as_mut_ptr().cast(), own.len() as c_int);
        self.call(what, |f, c| {
            // SAFETY: `size` blocks of n numbers go out, and one comes back.
            unsafe { (f.reduce_scatter)(from, to, n, c.float, c.sum, c.world) }
        });
        own
    }

    fn all_to_all(
        &self,
        x: &[f32],
        sent: &[usize],
        received: &[usize],
        what: &'static str,
    ) -> Vec<f32> {
        assert_eq!(x.len(), sent.iter().sum::<usize>(), "all of `{what}` is sent");
        assert_eq!([sent.len(), received.len()], [self.size; 2], "a count for each rank");
        let mut came = vec![0.0f32; received.iter().sum()];
        let (sent, sent_at) = places(sent);
        let (received, received_at) = places(received);
        let (from, to) = (x.as_ptr().cast(), came.as_mut_ptr().cast());
        self.call(what, |f, c| {
            // SAFETY: the counts add up to the lengths of `x` and `came`, as was asserted and made so,
            // and what a rank receives is what the other sends, since all know the same permutation.
            unsafe {
                (f.all_to_all)(
                    from,
                    sent.as_ptr(),
                    sent_at.as_ptr(),
                    c.float,
                    to,
                    received.as_ptr(),
                    received_at.as_ptr(),
                    c.float,
                    c.world,
                )
            }
        });
        came
    }

    fn broadcast(&self, x: &mut [u8], root: usize, what: &'static str) {
        for part in x.chunks_mut(MESSAGE) {
            let (at, n) = (part.as_mut_ptr().cast(), part.len() as c_int);
            self.call(what, |f, c| {
                // SAFETY: n bytes, borrowed for the call.
                unsafe { (f.broadcast)(at, n, c.byte, root as c_int, c.world) }
            });
        }
    }

    fn barrier(&self, what: &'static str) {
        // SAFETY: between init and finalize.
        self.call(what, |f, c| unsafe { (f.barrier)(c.world) });
    }

    fn waited(&self) -> Duration {
        self.watch.waited()
    }

    fn abort(&self, code: i32) -> ! {
        self.raw().abort(code);
        std::process::exit(code)
    }

    fn finish(&self) {
        self.barrier(END);
        self.watch.end();
        // SAFETY: the last call of all; no message is on its way, and the watch has ended.
        unsafe { (self.raw().f.finalize)() };
    }
}

/// Counts and offsets as MPI takes them.
///
/// # Panics
/// If they do not fit 32 bits: an exchange of more than 8 GB.
fn places(counts: &[usize]) -> (Vec<c_int>, Vec<c_int>) {
    let int = |n: usize| c_int::try_from(n).expect("an exchange of at most 2^31 - 1 numbers");
    let mut at = 0;
    let starts = counts.iter().map(|n| {
        at += n;
        int(at - n)
    });
    let starts = starts.collect();
    (counts.iter().map(|n| int(*n)).collect(), starts)
}
