//! Choosing where tensors live, and what computes on a CPU.

mod arithmetic;
#[cfg(feature = "libtorch")]
#[expect(deprecated, reason = "Burn's only backend that calls cuDNN, behind `ops/*/torch.rs`")]
mod torch;
#[cfg(not(feature = "libtorch"))]
#[path = "device/no_torch.rs"]
mod torch;

pub use arithmetic::Arithmetic;
pub use burn::tensor::Device;
#[cfg(any(feature = "cuda", feature = "metal", feature = "rocm", feature = "vulkan"))]
use burn::tensor::DeviceType;

use burn::backend::DispatchDevice;
use burn::tensor::{Tensor, TensorData};
use moco_kernels::Isa;
use std::sync::OnceLock;

/// A device name that cannot be used.
#[derive(Debug, thiserror::Error, PartialEq)]
#[non_exhaustive]
pub enum DeviceError {
    /// Not a device name.
    #[error("unknown device `{name}`: use `cpu`{}", built_in_examples())]
    Unknown {
        /// What was given.
        name: String,
    },
    /// A real device that this build has no backend for.
    #[error(
        "this build has no `{name}` backend: rebuild with `--features {}`, or use `cpu`",
        feature(name)
    )]
    NotBuilt {
        /// The backend.
        name: String,
    },
    /// A backend of this build that finds fewer devices.
    #[error(
        "`{name}` is not here: its backend finds {found} devices; `moco devices` lists them all"
    )]
    Absent {
        /// What was given.
        name: String,
        /// Devices of its backend on this machine.
        found: usize,
    },
    /// A precision that the device lacks.
    #[error("train.precision = {precision} is not possible here: {why}, or leave it out for f32")]
    Precision {
        /// What was asked for.
        precision: &'static str,
        /// Why not, and what would help.
        why: String,
    },
    /// `MOCO_KERNELS` names no instruction set of this machine.
    #[error("MOCO_KERNELS={name} is not possible here: unset it, or use {}", kernel_names().join(", "))]
    Kernels {
        /// The variable's value.
        name: String,
    },
}

/// The environment variable that forces kernels, and its value for Burn's own operations.
const KERNELS: &str = "MOCO_KERNELS";
const STOCK: &str = "stock";

fn kernel_names() -> Vec<&'static str> {
    let supported = Isa::ALL.into_iter().filter(|isa| isa.is_supported());
    supported.map(Isa::name).chain([STOCK]).collect()
}

/// The instruction set of our fused CPU kernels: the best of this machine, or the one that
/// `MOCO_KERNELS` names; `None` where it says `stock`, for Burn's own operations. Read once.
pub fn cpu_kernels() -> Option<Isa> {
    static CHOSEN: OnceLock<Option<Isa>> = OnceLock::new();
    *CHOSEN.get_or_init(|| (!asks_for_stock()).then(Isa::best))
}

/// Whether `MOCO_KERNELS` asks for Burn's own operations.
pub(crate) fn asks_for_stock() -> bool {
    std::env::var(KERNELS).is_ok_and(|name| name == STOCK)
}

/// The name of what [`cpu_kernels`] chose.
///
/// # Errors
/// [`DeviceError::Kernels`] when `MOCO_KERNELS` names nothing that this machine can run.
pub fn cpu_kernel_name() -> Result<&'static str, DeviceError> {
    match std::env::var(KERNELS) {
        Ok(name) if !kernel_names().contains(&name.as_str()) => Err(DeviceError::Kernels { name }),
        _ => Ok(cpu_kernels().map_or(STOCK, Isa::name)),
    }
}

/// LibTorch on the CPU, with which everything of its engine can be tried without a GPU.
const LIBTORCH_CPU: &str = "libtorch-cpu";

/// The feature of this crate that brings the engine of a device name.
fn feature(backend: &str) -> &str {
    match backend {
        "cuda" | LIBTORCH_CPU => "libtorch",
        other => other,
    }
}

/// Lists the devices of a GPU backend on this machine, software ones last.
type List = fn() -> Vec<Device>;

/// A GPU backend's name, and what lists its devices if this build has it.
macro_rules! backend {
    ($name:literal, $kind:ident) => {{
        #[cfg(feature = $name)]
        let list: Option<List> =
            Some(|| Device::enumerate(DeviceType::$kind).into_iter().collect());
        #[cfg(not(feature = $name))]
        let list: Option<List> = None;
        ($name, list)
    }};
}

fn backends() -> [(&'static str, Option<List>); 4] {
    // Where LibTorch is built in, its GPUs have this name, and Burn's own backend has none.
    let cuda = match cfg!(feature = "libtorch") {
        true => ("cuda", Some(torch::gpus as List)),
        false => backend!("cuda", Cuda),
    };
    [cuda, backend!("metal", Metal), backend!("rocm", Rocm), backend!("vulkan", Vulkan)]
}

fn built_in_examples() -> String {
    let built = backends().into_iter().filter(|(_, list)| list.is_some());
    let mut examples: String = built.map(|(name, _)| format!(" or `{name}:0`")).collect();
    if cfg!(feature = "libtorch") {
        examples += &format!(" or `{LIBTORCH_CPU}`");
    }
    examples
}

/// Why there is no `cuda:0`, and how to get it.
pub fn no_cuda() -> &'static str {
    match (cfg!(feature = "libtorch"), cfg!(feature = "cuda")) {
        (true, _) => "LibTorch finds no GPU here, or was itself built without CUDA",
        (false, true) => "CubeCL finds no GPU here",
        (false, false) => "not in this build: build with --features libtorch, see docs/GPU.md",
    }
}

/// Whether a device computes beside the host, which waits for it where it reads a value.
pub fn is_apart(device: &Device) -> bool {
    if torch::is_of(device) {
        return torch::gpu(device).is_some();
    }
    !matches!(device.clone().without_autodiff().as_dispatch(), DispatchDevice::Flex(_))
}

/// Pixels `[N, H, W, C]` on a device. A GPU of LibTorch fetches them from pinned memory in the order of what it
/// was asked for, and the host does not wait for it.
pub(crate) fn upload(pixels: Vec<f32>, shape: [usize; 4], device: &Device) -> Tensor<4> {
    let sent = torch::upload(pixels, shape, device);
    sent.unwrap_or_else(|pixels| Tensor::from_data(TensorData::new(pixels, shape), device))
}

/// Bytes of a device's own memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Free for anybody.
    pub free: u64,
    /// In all.
    pub total: u64,
}

/// The memory of a GPU, where its engine tells.
pub fn memory(device: &Device) -> Option<Memory> {
    torch::memory(device)
}

/// Bytes that tensors of this process take of a GPU's memory, where its engine tells.
pub fn used_memory(device: &Device) -> Option<u64> {
    torch::usage(device).map(|[now, _]| now)
}

/// The most of [`used_memory`] since the last [`reset_peak_memory`].
pub fn peak_memory(device: &Device) -> Option<u64> {
    torch::usage(device).map(|[_, peak]| peak)
}

/// Has [`peak_memory`] count from now on.
pub fn reset_peak_memory(device: &Device) {
    torch::reset_peak(device);
}

/// What to tell of a panic that a device's full memory caused, from its message; `None` for others.
pub fn out_of_memory(message: &str) -> Option<String> {
    if !moco_torch::ran_out(message) {
        return None;
    }
    let which = if message.contains(moco_torch::SYSTEM_RAN_OUT) { "system" } else { "GPU" };
    Some(format!(
        "the {which} has no memory left: lower --batch-size, or compute it in parts with --set \
         optim.accumulate=2 (or more); `moco check` with the same arguments estimates the batch that fits"
    ))
}

/// GPUs that this build can use here: the name that [`parse`] accepts, and what each calls itself.
/// Opens them.
pub fn gpus() -> Vec<(String, String)> {
    let of = |(backend, list): (&'static str, Option<List>)| {
        let devices = list.map_or_else(Vec::new, |list| list());
        let named = move |(i, device)| (format!("{backend}:{i}"), title(&device));
        devices.into_iter().enumerate().map(named)
    };
    backends().into_iter().flat_map(of).collect()
}

/// Other devices than `cpu` and GPUs that this build can use: their names, and what they are.
pub fn others() -> Vec<(&'static str, String)> {
    torch::version().into_iter().map(|version| (LIBTORCH_CPU, version)).collect()
}

/// What a GPU calls itself.
fn title(device: &Device) -> String {
    torch::title(device).or_else(|| identity(device)).unwrap_or_default()
}

#[cfg(any(feature = "cuda", feature = "metal", feature = "rocm", feature = "vulkan"))]
fn identity(device: &Device) -> Option<String> {
    device.identity().map(|identity| identity.name)
}

#[cfg(not(any(feature = "cuda", feature = "metal", feature = "rocm", feature = "vulkan")))]
fn identity(_: &Device) -> Option<String> {
    None
}

/// The device that a name stands for: `cpu`, or a GPU backend with an optional index, `cuda:1`, or
/// `libtorch-cpu`; or `auto`, for [`best`].
///
/// # Errors
/// [`DeviceError`] when the name is unknown, its backend was not built in, or it finds no such
/// device here.
pub fn parse(name: &str) -> Result<Device, DeviceError> {
    let unknown = || DeviceError::Unknown { name: name.to_string() };
    let (backend, index) = match name.split_once(':') {
        Some((backend, index)) => (backend, index.parse::<usize>().map_err(|_| unknown())?),
        None => (name, 0),
    };
    let not_built = || DeviceError::NotBuilt { name: backend.to_string() };
    match (backend, index) {
        ("cpu", 0) => return Ok(Device::flex()),
        (LIBTORCH_CPU, 0) => return torch::cpu().ok_or_else(not_built),
        ("auto", 0) => return parse(&best()),
        _ => {}
    }
    let known = backends().into_iter().find(|(known, _)| *known == backend);
    let (_, list) = known.ok_or_else(unknown)?;
    let mut found = list.ok_or_else(not_built)?();
    if index >= found.len() {
        return Err(DeviceError::Absent { name: name.to_string(), found: found.len() });
    }
    Ok(found.swap_remove(index))
}

/// The name of the device that `auto` stands for: the first GPU that LibTorch can use, else the CPU, whose
/// kernels are faster than other engines' software devices.
pub fn best() -> String {
    let first = if cfg!(feature = "libtorch") { gpus().into_iter().next() } else { None };
    first.map_or_else(|| "cpu".to_owned(), |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_their_errors() {
        assert!(parse("cpu").is_ok());
        assert_eq!(parse("tpu"), Err(DeviceError::Unknown { name: "tpu".into() }));
        assert_eq!(parse("cpu:x"), Err(DeviceError::Unknown { name: "cpu:x".into() }));
        if !cfg!(any(feature = "cuda", feature = "libtorch")) {
            assert_eq!(parse("cuda:0"), Err(DeviceError::NotBuilt { name: "cuda".into() }));
        }
        let libtorch = parse("libtorch-cpu");
        assert_eq!(libtorch.is_ok(), cfg!(feature = "libtorch"));
        if let Err(error) = libtorch {
            assert!(error.to_string().contains("--features libtorch"), "{error}");
        }
        assert!(parse(&best()).is_ok() && parse("auto").is_ok());
    }

    #[test]
    fn a_full_memory_is_told_as_that_alone() {
        let of = |message| out_of_memory(message).unwrap_or_default();
        assert!(
            of("Torch(\"CUDA out of memory. Tried to allocate 2 GiB\")").contains("the GPU has no")
        );
        assert!(of("DefaultCPUAllocator: can't allocate memory").contains("the system has no"));
        assert_eq!(out_of_memory("index out of bounds"), None);
    }
}
