//! Compiles the few C++ functions that reach what `tch` does not, against the same LibTorch.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=src/shim.cpp");
    #[cfg(feature = "libtorch")]
    compile();
}

#[cfg(feature = "libtorch")]
fn compile() {
    use std::env::var;
    use std::path::PathBuf;
    println!("cargo:rerun-if-env-changed=LIBTORCH_CXX11_ABI");
    // Told by torch-sys, which looks for LibTorch.
    let libraries = var("DEP_TCH_LIBTORCH_LIB").expect("torch-sys tells where LibTorch is");
    let root = PathBuf::from(libraries).parent().expect("LibTorch's folder `lib`").to_owned();
    let include = root.join("include");
    let abi = var("LIBTORCH_CXX11_ABI").unwrap_or_else(|_| "1".to_owned());
    cc::Build::new()
        .cpp(true)
        .pic(true)
        .warnings(false)
        .include(&include)
        .include(include.join("torch/csrc/api/include"))
        .flag("-std=c++17")
        .flag(format!("-D_GLIBCXX_USE_CXX11_ABI={abi}"))
        .file("src/shim.cpp")
        .compile("moco_torch_shim");
}
