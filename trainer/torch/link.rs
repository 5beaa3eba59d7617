// The build script of every crate whose binaries or tests link libtorch: gives the linker the arguments that
// defusion-torch's own build script worked out and handed down. Such a crate depends on defusion-torch directly.
fn main() {
    let args = std::env::var("DEP_DEFUSION_TORCH_LINK_ARGS").expect("defusion-torch is a direct dependency");
    for arg in args.split('\t') {
        println!("cargo:rustc-link-arg={arg}");
    }
    println!("cargo:rerun-if-changed=build.rs");
}
