//! The functions and constants of MPI that are used, in the three binary interfaces that there are.
//!
//! | interface | libraries | handles |
//! |---|---|---|
//! | Open MPI 4, 5 | `libmpi.so.40` | addresses of exported objects |
//! | MPICH 4, 5 and its kin | `libmpi.so.12`, `libmpich.so.12` | 32-bit numbers |
//! | the standard's own (MPI 5.0, App. A) | `libmpi_abi.so` | small numbers in a pointer |
//!
//! The numbers of MPICH and of the standard are those of their `mpi.h`.

use super::MpiError;
use libloading::os::unix::Library;
use std::ffi::{c_char, c_int, c_void};

/// A handle as it travels in a register or an 8-byte slot; MPICH's numbers sit in the lower half.
pub type Handle = usize;
type Out = *mut c_void;
type In = *const c_void;
type Counts = *const c_int;

/// Which binary interface a library has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abi {
    /// Open MPI.
    OpenMpi,
    /// MPICH, Intel MPI, MVAPICH2, Cray MPICH.
    Mpich,
    /// The ABI of the MPI 5 standard.
    Standard,
}

macro_rules! functions {
    ($($name:ident: $symbol:literal ( $($arg:ty),* );)*) => {
        /// The functions, as the library has them.
        #[derive(Debug)]
        pub struct Functions { $(pub $name: unsafe extern "C" fn($($arg),*) -> c_int,)* }

        impl Functions {
            /// Looks all functions up.
            ///
            /// # Safety
            /// `library` must be an MPI library, whose functions have these signatures.
            pub unsafe fn load(library: &Library, path: &str) -> Result<Self, MpiError> {
                Ok(Self { $($name: {
                    // SAFETY: the caller says that this is MPI, which fixes the type of the symbol.
                    let found = unsafe { library.get(concat!($symbol, "\0").as_bytes()) };
                    *found.map_err(|_| MpiError::Symbol { path: path.into(), symbol: $symbol })?
                },)* })
            }
        }
    };
}

functions! {
    init_thread: "MPI_Init_thread"(Out, Out, c_int, *mut c_int);
    initialized: "MPI_Initialized"(*mut c_int);
    finalize: "MPI_Finalize"();
    rank: "MPI_Comm_rank"(Handle, *mut c_int);
    size: "MPI_Comm_size"(Handle, *mut c_int);
    duplicate: "MPI_Comm_dup"(Handle, *mut Handle);
    all_reduce: "MPI_Allreduce"(In, Out, c_int, Handle, Handle, Handle);
    all_gather: "MPI_Allgather"(In, c_int, Handle, Out, c_int, Handle, Handle);
    all_to_all: "MPI_Alltoallv"(In, Counts, Counts, Handle, Out, Counts, Counts, Handle, Handle);
    reduce_scatter: "MPI_Reduce_scatter_block"(In, Out, c_int, Handle, Handle, Handle);
    broadcast: "MPI_Bcast"(Out, c_int, Handle, c_int, Handle);
    barrier: "MPI_Barrier"(Handle);
    send: "MPI_Isend"(In, c_int, Handle, c_int, c_int, Handle, *mut Handle);
    receive: "MPI_Irecv"(Out, c_int, Handle, c_int, c_int, Handle, *mut Handle);
    test: "MPI_Test"(*mut Handle, *mut c_int, Out);
    abort: "MPI_Abort"(Handle, c_int);
    set_error_handler: "MPI_Comm_set_errhandler"(Handle, Handle);
    error_string: "MPI_Error_string"(c_int, *mut c_char, *mut c_int);
    library_version: "MPI_Get_library_version"(*mut c_char, *mut c_int);
    processor_name: "MPI_Get_processor_name"(*mut c_char, *mut c_int);
}

/// The constants; pointers as numbers.
#[derive(Clone, Copy, Debug)]
pub struct Constants {
    pub world: Handle,
    pub float: Handle,
    pub double: Handle,
    pub byte: Handle,
    pub sum: Handle,
    pub max: Handle,
    pub errors_return: Handle,
    pub in_place: usize,
    pub status_ignore: usize,
    pub thread_multiple: c_int,
}

impl Constants {
    /// The constants of `abi`. `address` finds an object that the library exports.
    pub fn of(
        abi: Abi,
        address: impl Fn(&'static str) -> Result<Handle, MpiError>,
    ) -> Result<Self, MpiError> {
        Ok(match abi {
            Abi::OpenMpi => Self {
                world: address("ompi_mpi_comm_world")?,
                float: address("ompi_mpi_float")?,
                double: address("ompi_mpi_double")?,
                byte: address("ompi_mpi_byte")?,
                sum: address("ompi_mpi_op_sum")?,
                max: address("ompi_mpi_op_max")?,
                errors_return: address("ompi_mpi_errors_return")?,
                in_place: 1,
                status_ignore: 0,
                thread_multiple: 3,
            },
            Abi::Mpich => Self {
                world: 0x4400_0000,
                float: 0x4c00_040a,
                double: 0x4c00_080b,
                byte: 0x4c00_010d,
                sum: 0x5800_0003,
                max: 0x5800_0001,
                errors_return: 0x5400_0001,
                in_place: usize::MAX,
                status_ignore: 1,
                thread_multiple: 3,
            },
            Abi::Standard => Self {
                world: 0x101,
                float: 0x210,
                double: 0x214,
                byte: 0x247,
                sum: 0x21,
                max: 0x23,
                errors_return: 0x143,
                in_place: 1,
                status_ignore: 0,
                thread_multiple: 4096,
            },
        })
    }
}
