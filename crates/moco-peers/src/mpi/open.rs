//! Finding MPI's library and starting it.

use super::abi::{Abi, Constants, Functions};
use super::{Mpi, MpiError, Raw};
use crate::launch::{Launcher, launched};
use crate::watch::Watch;
use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
use std::ffi::{c_int, c_void};
use std::ptr::null_mut;
use std::time::Duration;

/// Names the library.
const VARIABLE: &str = "MOCO_MPI";

#[cfg(not(target_os = "macos"))]
const OPEN_MPI: &[&str] = &["libmpi.so.40", "libmpi.so"];
#[cfg(not(target_os = "macos"))]
const MPICH: &[&str] =
    &["libmpi_abi.so.1", "libmpi_abi.so.0", "libmpi.so.12", "libmpich.so.12", "libmpich.so"];
#[cfg(target_os = "macos")]
const OPEN_MPI: &[&str] = &["libmpi.40.dylib", "libmpi.dylib"];
#[cfg(target_os = "macos")]
const MPICH: &[&str] = &["libmpi_abi.0.dylib", "libmpi.12.dylib", "libmpich.dylib"];

/// Libraries to try, those of the launcher's kind first.
fn candidates() -> Vec<String> {
    if let Ok(path) = std::env::var(VARIABLE) {
        return vec![path];
    }
    let pmi = launched().is_some_and(|launch| launch.launcher == Launcher::Pmi);
    let [first, second] = if pmi { [MPICH, OPEN_MPI] } else { [OPEN_MPI, MPICH] };
    first.iter().chain(second).map(|name| (*name).to_owned()).collect()
}

/// The first library that can be opened, with its name.
fn library() -> Result<(Library, String), MpiError> {
    let mut tried = Vec::new();
    for path in candidates() {
        // SAFETY: the initialisers of an MPI library, or of what the user named as one, may run here;
        // no other thread is in the loader. Global, since Open MPI's plugins look its symbols up.
        match unsafe { Library::open(Some(&path), RTLD_NOW | RTLD_GLOBAL) } {
            Ok(library) => return Ok((library, path)),
            Err(_) => tried.push(path),
        }
    }
    Err(MpiError::NoLibrary { tried: tried.join(", "), who: who() })
}

fn who() -> String {
    match launched() {
        Some(launch) => format!("this process was started by {}, but", launch.launcher.name()),
        None => "nothing says that there are other ranks, and".to_owned(),
    }
}

/// Which MPI there is, without beginning.
///
/// # Errors
/// [`MpiError`] if there is none.
pub fn found() -> Result<String, MpiError> {
    Ok(load()?.version())
}

/// Opens the library and begins: the first thing that a rank does.
pub(super) fn open(limit: Duration) -> Result<Mpi, MpiError> {
    let raw = load()?;
    let (threads, version) = (raw.start()?, raw.version());
    let (rank, size) = raw.place()?;
    check_count(&raw, size)?;
    let watch = Watch::new(limit, rank, size, raw, threads)?;
    Ok(Mpi::new(watch, rank, size, version))
}

/// The library with its functions and constants.
fn load() -> Result<Raw, MpiError> {
    let (library, path) = library()?;
    let address = |symbol: &'static str| {
        // SAFETY: only the address of the symbol is taken, nothing is read through it.
        let found = unsafe { library.get::<*mut c_void>(format!("{symbol}\0").as_bytes()) };
        let missing = |_| MpiError::Symbol { path: path.clone(), symbol };
        Ok(found.map_err(missing)?.into_raw() as usize)
    };
    let abi = match address("ompi_mpi_comm_world") {
        Ok(_) => Abi::OpenMpi,
        Err(_) if path.contains("mpi_abi") => Abi::Standard,
        Err(_) => Abi::Mpich,
    };
    let c = Constants::of(abi, address)?;
    // SAFETY: a library of the name of MPI, or one that the user named as MPI; one that lacks any of
    // the functions is refused.
    let f = unsafe { Functions::load(&library, &path) }?;
    Ok(Raw { f, c, path, _library: library })
}

/// Refuses a library that does not see the ranks that were started.
fn check_count(raw: &Raw, size: usize) -> Result<(), MpiError> {
    match launched() {
        Some(launch) if launch.ranks.is_some_and(|ranks| ranks != size) => Err(MpiError::Count {
            launcher: launch.launcher.name(),
            ranks: launch.ranks.unwrap_or_default(),
            path: raw.path.clone(),
            size,
        }),
        _ => Ok(()),
    }
}

impl Raw {
    /// Begins, and says whether several threads may call.
    fn start(&self) -> Result<bool, MpiError> {
        let (mut already, mut provided): (c_int, c_int) = (0, 0);
        // SAFETY: may be called at any time; `already` outlives the call.
        self.checked("MPI_Initialized", unsafe { (self.f.initialized)(&raw mut already) })?;
        if already != 0 {
            return Err(MpiError::Twice);
        }
        let wanted = self.c.thread_multiple;
        // SAFETY: called once, as was just asked; the arguments of main may be null since MPI 2.
        let code =
            unsafe { (self.f.init_thread)(null_mut(), null_mut(), wanted, &raw mut provided) };
        self.checked("MPI_Init_thread", code)?;
        // SAFETY: between init and finalize; both handles are the library's own constants.
        let code = unsafe { (self.f.set_error_handler)(self.c.world, self.c.errors_return) };
        self.checked("MPI_Comm_set_errhandler", code)?;
        Ok(provided >= wanted)
    }

    /// The own number and how many ranks there are.
    fn place(&self) -> Result<(usize, usize), MpiError> {
        let (mut rank, mut size): (c_int, c_int) = (0, 0);
        // SAFETY: between init and finalize; `rank` outlives the call.
        self.checked("MPI_Comm_rank", unsafe { (self.f.rank)(self.c.world, &raw mut rank) })?;
        // SAFETY: between init and finalize; `size` outlives the call.
        self.checked("MPI_Comm_size", unsafe { (self.f.size)(self.c.world, &raw mut size) })?;
        Ok((rank as usize, size as usize))
    }
}
