//! `defusion restore` over many images, as people run it: broken files, closed pipes, runs repeated.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use defusion_tests::{Sandbox, assert_success, defusion, mpirun, transcript, write_images};

/// Weights of a run of two steps.
fn weights(sandbox: &Sandbox) -> PathBuf {
    let sets = ["tokenizer.iterations=1", "diffusion.iterations=1"];
    assert_success(&mpirun(2).args(sandbox.config_args("run", &sets)).output().expect("mpirun runs"));
    let weights = sandbox.path("w.safetensors");
    let mut export = defusion();
    export.args(["export", "--run"]).arg(sandbox.path("run")).arg("--to").arg(&weights);
    assert_success(&export.output().expect("defusion runs"));
    weights
}

fn restore(weights: &Path, images: &[PathBuf], out: &Path) -> Command {
    let mut command = defusion();
    command.args(["restore", "--blind", "--device", "cpu", "--timesteps", "400"]);
    command.arg("--weights").arg(weights).args(images).arg("--out").arg(out);
    command
}

#[test]
fn many_images_are_restored_whatever_befalls_one() {
    let sandbox = Sandbox::with_shards();
    let weights = weights(&sandbox);
    let from = sandbox.path("in");
    write_images(&from.join("below"), 2, 0);
    write_images(&from, 2, 7);
    let whole = std::fs::read(from.join("007.png")).expect("read");
    std::fs::write(from.join("cut.png"), &whole[..whole.len() / 2]).expect("written");

    // A folder, mirrored; what failed is named at the end, and the code is that of a person's turn.
    let out = sandbox.path("out");
    let output = restore(&weights, std::slice::from_ref(&from), &out).output().expect("defusion runs");
    let said = transcript(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("1 of 5 failed") && said.contains("cut.png"), "{said}");
    let restored = ["007.png", "008.png", "below/000.png", "below/001.png"];
    assert!(restored.iter().all(|name| out.join(name).is_file()) && !out.join("cut.png").exists(), "{said}");

    // Once more: nothing is done again.
    std::fs::remove_file(from.join("cut.png")).expect("removed");
    let output = restore(&weights, std::slice::from_ref(&from), &out).output().expect("defusion runs");
    assert_success(&output);
    assert!(output.stdout.is_empty(), "{}", transcript(&output));
    assert!(transcript(&output).contains("4 images are restored already"), "{}", transcript(&output));

    // Nobody reads on after the first line: the images are restored all the same, without a word.
    let out = sandbox.path("piped");
    let mut child =
        restore(&weights, &[from], &out).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("defusion runs");
    let mut first = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut first).expect("a line");
    assert!(first.trim().ends_with("007.png"), "{first}");
    let status = child.wait().expect("ended");
    let mut said = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut said).expect("text");
    assert!(status.success() && !said.contains("panicked"), "{status}: {said}");
    assert!(restored.iter().all(|name| out.join(name).is_file()), "{said}");
}
