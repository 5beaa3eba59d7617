//! Compiles the C++ shim over libtorch (`cpp`) and makes every binary and test that links it find libtorch when it
//! runs.
//!
//! libtorch is the one that `torch-sys` found (`LIBTORCH`, or `LIBTORCH_USE_PYTORCH=1`): its build script hands the
//! library folder down as `DEP_TCH_LIBTORCH_LIB`, so the shim can never be compiled against another version.

use std::env;
use std::path::{Path, PathBuf};

const FOLDER: &str = "cpp";
/// Includes all the others but the kernels.
const SOURCE: &str = "all.cpp";
/// Compiled once for each instruction set.
const KERNELS: [&str; 2] = ["norm_kernels.cpp", "attention_kernels.cpp"];

fn main() {
    let lib = PathBuf::from(
        env::var_os("DEP_TCH_LIBTORCH_LIB")
            .expect("torch-sys hands its libtorch folder down (DEP_TCH_LIBTORCH_LIB); is it still a dependency?"),
    );
    let lib = lib.canonicalize().unwrap_or_else(|e| panic!("libtorch's library folder {}: {e}", lib.display()));
    compile(&lib);
    link(&lib);
    println!("cargo:rerun-if-changed=build.rs");
}

fn compile(lib: &Path) {
    println!("cargo:rerun-if-env-changed=LIBTORCH_INCLUDE");
    println!("cargo:rerun-if-env-changed=LIBTORCH_CXX11_ABI");
    // The same two variables that torch-sys reads, with the same defaults.
    let home = env::var_os("LIBTORCH_INCLUDE").map(PathBuf::from).unwrap_or_else(|| lib.join(".."));
    let abi = env::var("LIBTORCH_CXX11_ABI").unwrap_or_else(|_| "1".to_owned());
    println!("cargo:rerun-if-changed={FOLDER}");
    let x86 = env::var("CARGO_CFG_TARGET_ARCH").as_deref() == Ok("x86_64");
    let mut build = cc::Build::new();
    if x86 {
        build.define("DFX_X86", None);
    }
    build
        .cpp(true)
        .pic(true)
        .std("c++20")
        .include(home.join("include"))
        .include(home.join("include/torch/csrc/api/include"))
        .define("_GLIBCXX_USE_CXX11_ABI", abi.as_str())
        .define("GLOG_USE_GLOG_EXPORT", None)
        // libtorch's own headers are full of them.
        .warnings(false)
        .file(format!("{FOLDER}/{SOURCE}"))
        .compile("defusion_shim");
    // After what calls them: the linker resolves names in this order.
    kernels(x86);
}

/// The vectorized loops, once for each instruction set; `isa.h` chooses when the program runs.
fn kernels(x86: bool) {
    const AVX2: [&str; 2] = ["-mavx2", "-mfma"];
    const AVX512: [&str; 6] =
        ["-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mfma", "-mprefer-vector-width=512"];
    let sets: [(&str, &[&str]); 3] = [("baseline", &[]), ("avx2", &AVX2), ("avx512", &AVX512)];
    for (name, flags) in sets.into_iter().take(if x86 { 3 } else { 1 }) {
        let mut build = cc::Build::new();
        build.cpp(true).pic(true).std("c++20").opt_level(3).define("DFX_ISA", name);
        build.files(KERNELS.map(|file| format!("{FOLDER}/{file}")));
        for flag in ["-fno-math-errno", "-fno-trapping-math"].iter().chain(flags) {
            build.flag(flag);
        }
        build.compile(&format!("defusion_kernels_{name}"));
    }
}

/// Hands the linker's arguments to this crate's tests, and down to every crate that links libtorch (see `link.rs`), as
/// arguments for the linker do not reach dependants by themselves.
fn link(lib: &Path) {
    println!("cargo:rustc-link-search=native={}", lib.display());
    let args = link_args(lib);
    for arg in &args {
        println!("cargo:rustc-link-arg={arg}");
    }
    println!("cargo:lib={}", lib.display());
    println!("cargo:link_args={}", args.join("\t"));
}

fn link_args(lib: &Path) -> Vec<String> {
    // Installed beside the binaries, then the checkout's own copy, then where it was when this was built.
    let mut args = ["$ORIGIN/../lib", "$ORIGIN/../../.deps/libtorch/lib", &lib.display().to_string()]
        .map(|rpath| format!("-Wl,-rpath,{rpath}"))
        .to_vec();
    // The CUDA half registers its kernels from static initializers and no symbol of it is named here: without
    // --no-as-needed the linker would drop it, and libtorch would say that it was built without CUDA.
    args.push("-Wl,--push-state,--no-as-needed".to_owned());
    for name in ["torch_cuda", "c10_cuda", "torch_cpu", "torch", "c10"] {
        if lib.join(format!("lib{name}.so")).exists() {
            args.push(format!("-l{name}"));
        }
    }
    args.push("-Wl,--pop-state".to_owned());
    args
}
