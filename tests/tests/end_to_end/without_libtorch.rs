//! Data is prepared, and a job planned, on machines that have no libtorch.

use std::process::Command;

use defusion_tests::{Sandbox, assert_success, binary, defusion_data, transcript, write_images};

/// The shared libraries that a program loads when it starts, as the dynamic linker resolves them.
fn libraries(program: &str) -> String {
    let output = Command::new("ldd").arg(binary(program)).output().expect("ldd runs");
    assert_success(&output);
    transcript(&output)
}

#[test]
fn only_defusion_itself_loads_libtorch() {
    assert!(libraries("defusion").contains("libtorch"), "this test would notice");
    for program in ["defusion-data", "defusion-launch"] {
        let loaded = libraries(program);
        assert!(!loaded.contains("torch") && !loaded.contains("libc10"), "{program}: {loaded}");
    }
}

#[test]
fn images_are_prepared_where_no_libtorch_is() {
    let sandbox = Sandbox::new();
    write_images(&sandbox.path("images"), 2, 0);
    // Alone in a folder: the run path to the checkout's libtorch leads nowhere from here.
    let program = sandbox.path("bin/defusion-data");
    std::fs::create_dir_all(sandbox.path("bin")).expect("folder");
    std::fs::copy(binary("defusion-data"), &program).expect("program copied");
    let mut command = Command::new(program);
    command.env_clear().env("LD_LIBRARY_PATH", "");
    command.args(["prepare", "--dataset", "photos", "--layout", "folder", "--from"]).arg(sandbox.path("images"));
    assert_success(&command.arg("--to").arg(sandbox.path("shards")).output().expect("defusion-data runs"));
    let verify = defusion_data().arg("verify").arg(sandbox.path("shards/photos")).output().expect("defusion-data runs");
    assert_success(&verify);
}
