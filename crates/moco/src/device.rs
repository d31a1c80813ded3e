//! Choosing where tensors live.

pub use burn::tensor::Device;

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
