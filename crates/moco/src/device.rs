//! Choosing where tensors live, and what computes on a CPU.

pub use burn::tensor::Device;
#[cfg(any(feature = "cuda", feature = "metal", feature = "rocm", feature = "vulkan"))]
use burn::tensor::DeviceType;

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
    #[error("this build has no `{name}` backend: rebuild with `--features {name}`, or use `cpu`")]
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
    *CHOSEN.get_or_init(|| {
        let stock = std::env::var(KERNELS).is_ok_and(|name| name == STOCK);
        (!stock).then(Isa::best)
    })
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
    [
        backend!("cuda", Cuda),
        backend!("metal", Metal),
        backend!("rocm", Rocm),
        backend!("vulkan", Vulkan),
    ]
}

fn built_in_examples() -> String {
    let built = backends().into_iter().filter(|(_, list)| list.is_some());
    built.map(|(name, _)| format!(" or `{name}:0`")).collect()
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

/// What a GPU calls itself.
#[cfg(any(feature = "cuda", feature = "metal", feature = "rocm", feature = "vulkan"))]
fn title(device: &Device) -> String {
    device.identity().map_or_else(String::new, |identity| identity.name)
}

#[cfg(not(any(feature = "cuda", feature = "metal", feature = "rocm", feature = "vulkan")))]
fn title(_: &Device) -> String {
    String::new()
}

/// The device that a name stands for: `cpu`, or a GPU backend with an optional index, `cuda:1`.
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
    if backend == "cpu" && index == 0 {
        return Ok(Device::flex());
    }
    let known = backends().into_iter().find(|(known, _)| *known == backend);
    let (_, list) = known.ok_or_else(unknown)?;
    let list = list.ok_or_else(|| DeviceError::NotBuilt { name: backend.to_string() })?;
    let mut found = list();
    if index >= found.len() {
        return Err(DeviceError::Absent { name: name.to_string(), found: found.len() });
    }
    Ok(found.swap_remove(index))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_their_errors() {
        assert!(parse("cpu").is_ok());
        assert_eq!(parse("tpu"), Err(DeviceError::Unknown { name: "tpu".into() }));
        assert_eq!(parse("cpu:x"), Err(DeviceError::Unknown { name: "cpu:x".into() }));
        if !cfg!(feature = "cuda") {
            assert_eq!(parse("cuda:0"), Err(DeviceError::NotBuilt { name: "cuda".into() }));
        }
    }
}
