//! Choosing where tensors live, and what computes on a CPU.

pub use burn::tensor::Device;

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

/// GPU backends, and whether this build has them.
const BACKENDS: [(&str, bool); 4] = [
    ("cuda", cfg!(feature = "cuda")),
    ("metal", cfg!(feature = "metal")),
    ("rocm", cfg!(feature = "rocm")),
    ("vulkan", cfg!(feature = "vulkan")),
];

fn built_in_examples() -> String {
    BACKENDS.iter().filter(|(_, built)| *built).map(|(name, _)| format!(" or `{name}:0`")).collect()
}

/// Names that [`parse`] accepts in this build.
pub fn names() -> Vec<&'static str> {
    let gpus = BACKENDS.iter().filter(|(_, built)| *built).map(|(name, _)| *name);
    std::iter::once("cpu").chain(gpus).collect()
}

/// The device that a name stands for: `cpu`, or a GPU backend with an optional index, `cuda:1`.
///
/// # Errors
/// [`DeviceError`] when the name is unknown or its backend was not built in.
pub fn parse(name: &str) -> Result<Device, DeviceError> {
    let unknown = || DeviceError::Unknown { name: name.to_string() };
    let (backend, index) = match name.split_once(':') {
        Some((backend, index)) => (backend, index.parse::<usize>().map_err(|_| unknown())?),
        None => (name, 0),
    };
    match backend {
        "cpu" if index == 0 => Ok(Device::flex()),
        #[cfg(feature = "cuda")]
        "cuda" => Ok(Device::cuda(index)),
        #[cfg(feature = "rocm")]
        "rocm" => Ok(Device::rocm(index)),
        #[cfg(feature = "vulkan")]
        "vulkan" => Ok(Device::vulkan(burn::tensor::DeviceKind::DiscreteGpu(index))),
        #[cfg(feature = "metal")]
        "metal" => Ok(Device::metal(burn::tensor::DeviceKind::DefaultDevice)),
        _ if BACKENDS.iter().any(|(known, _)| *known == backend) => {
            Err(DeviceError::NotBuilt { name: backend.to_string() })
        }
        _ => Err(unknown()),
    }
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
