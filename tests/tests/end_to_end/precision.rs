//! `precision: auto` follows the machine on which a run begins, and the run keeps what came of it. A machine without
//! bfloat16 is emulated by keeping oneDNN to AVX2, which this machine may or may not be without it.

use std::process::Command;

use defusion_tests::{Sandbox, assert_success, defusion, mpirun, transcript};

const OLD_CPU: (&str, &str) = ("ONEDNN_MAX_CPU_ISA", "AVX2");
const SHORT: [&str; 2] = ["tokenizer.iterations=2", "diffusion.iterations=2"];

fn sets(precision: &str) -> Vec<String> {
    let of = |stage: &str| format!("{stage}.step.precision={precision}");
    SHORT.iter().map(|set| (*set).to_owned()).chain([of("tokenizer"), of("diffusion")]).collect()
}

/// Trains with a precision; returns what was said, and the run's config.yaml.
fn train(sandbox: &Sandbox, run: &str, precision: &str, old_cpu: bool) -> (String, String) {
    let sets = sets(precision);
    let mut command = mpirun(2);
    command.args(sandbox.config_args(run, &sets.iter().map(String::as_str).collect::<Vec<_>>()));
    let output = on(&mut command, old_cpu).output().expect("mpirun runs");
    assert_success(&output);
    let config = std::fs::read_to_string(sandbox.path(run).join("config.yaml")).expect("config.yaml");
    (transcript(&output), config)
}

fn on(command: &mut Command, old_cpu: bool) -> &mut Command {
    match old_cpu {
        true => command.env(OLD_CPU.0, OLD_CPU.1),
        false => command.env_remove(OLD_CPU.0),
    }
}

fn recorded(config: &str, precision: &str) -> usize {
    config.lines().filter(|line| line.trim() == format!("precision: {precision}")).count()
}

/// Lets the second stage be trained again.
fn forget_second_stage(sandbox: &Sandbox, run: &str) {
    for entry in std::fs::read_dir(sandbox.path(run).join("checkpoints")).expect("checkpoints") {
        let path = entry.expect("entry read").path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("2-diffusion")) {
            std::fs::remove_dir_all(path).expect("checkpoint removed");
        }
    }
}

#[test]
fn a_run_keeps_the_arithmetic_of_the_machine_it_began_on() {
    let sandbox = Sandbox::with_shards();
    let (said, config) = train(&sandbox, "run", "auto", true);
    assert!(said.contains("stage tokenizer computes in float32 (this CPU has no native bfloat16"), "{said}");
    assert_eq!((recorded(&config, "fp32"), recorded(&config, "bf16")), (2, 0), "{config}");

    forget_second_stage(&sandbox, "run");
    let (said, again) = train(&sandbox, "run", "auto", false);
    assert!(said.contains("resuming from 1-tokenizer"), "{said}");
    assert!(said.contains("stage diffusion computes in float32 (the run folder records it)"), "{said}");
    assert_eq!(again, config);
}

#[test]
fn bfloat16_by_name_is_warned_of_where_it_is_slow_and_kept() {
    let sandbox = Sandbox::with_shards();
    let (said, config) = train(&sandbox, "run", "bf16", true);
    let warning = "warning: stage diffusion computes in bfloat16, but this CPU has no native bfloat16";
    assert!(said.contains(warning) && said.contains("float32 was six times as fast"), "{said}");
    assert_eq!((recorded(&config, "fp32"), recorded(&config, "bf16")), (0, 2), "{config}");

    // As from before there was `auto`: a recipe that names no precision goes on in bfloat16, and is told so.
    forget_second_stage(&sandbox, "run");
    let (said, again) = train(&sandbox, "run", "auto", true);
    assert!(said.contains("stage diffusion computes in bfloat16 (the run folder records it)"), "{said}");
    assert!(said.contains(warning), "{said}");
    assert_eq!(again, config);

    let weights = sandbox.path("weights.safetensors");
    let export = defusion().arg("export").arg("--run").arg(sandbox.path("run")).arg("--to").arg(&weights).output();
    assert_success(&export.expect("defusion runs"));
    let restore = |precision: &str| {
        let out = sandbox.path(&format!("{precision}.png"));
        let mut command = defusion();
        command.arg("restore").arg("--weights").arg(&weights).args(["--degradation", "gaussian_noise"]);
        command.arg(sandbox.path("images/photos-test/100.png")).arg("--out").arg(&out).args(["--precision", precision]);
        let output = on(&mut command, true).output().expect("defusion runs");
        assert_success(&output);
        (std::fs::read(out).expect("restored"), transcript(&output).contains("float32 was six times as fast"))
    };
    let [auto, fp32, bf16] = ["auto", "fp32", "bf16"].map(restore);
    assert!(auto == fp32, "auto is float32 here");
    assert!(bf16.0 != fp32.0, "bfloat16 was not used");
    assert_eq!([auto.1, fp32.1, bf16.1], [false, false, true], "who is warned");

    for (precision, used) in [("auto", "fp32"), ("bf16", "bf16")] {
        let out = sandbox.path("scores");
        let mut command = defusion();
        command.arg("evaluate").args(sandbox.config_args("run", &SHORT)).arg("--weights").arg(&weights);
        command.args(["--images", "1", "--precision", precision]).arg("--out").arg(&out);
        assert_success(&on(&mut command, true).output().expect("defusion runs"));
        let report = std::fs::read_to_string(out.join("report.json")).expect("report.json");
        let report: serde_json::Value = serde_json::from_str(&report).expect("report is JSON");
        assert_eq!(report["precision"], used);
    }
}
