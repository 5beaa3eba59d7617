//! Links libtorch into the benchmark programs; the tests drive binaries and need none.

fn main() {
    let args = std::env::var("DEP_DEFUSION_TORCH_LINK_ARGS").expect("defusion-torch is a direct dependency");
    for arg in args.split('\t') {
        println!("cargo:rustc-link-arg-benches={arg}");
    }
    println!("cargo:rerun-if-changed=build.rs");
}
