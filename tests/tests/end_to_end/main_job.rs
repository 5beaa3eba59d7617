//! The main job from shards to a restored image, in tiny, with more ranks than workers.

use defusion_tests::{Sandbox, assert_success, defusion, mpirun, transcript};

#[test]
fn train_evaluate_export_restore() {
    let sandbox = Sandbox::with_shards();
    let config =
        sandbox.config_args("run", &["tokenizer.iterations=3", "diffusion.iterations=3", "monitor.log_every=1"]);

    // Four ranks for two workers: the surplus ranks wait and end with the others.
    let trained = mpirun(4).args(&config).output().expect("mpirun runs");
    assert_success(&trained);
    let events = std::fs::read_dir(sandbox.path("run/tensorboard/diffusion"))
        .expect("folder of events")
        .filter_map(Result::ok)
        .filter(|e| e.file_name().to_string_lossy().starts_with("events.out.tfevents"))
        .count();
    assert!(events > 0, "no TensorBoard events:\n{}", transcript(&trained));
    assert!(sandbox.path("run/config.yaml").exists() && sandbox.path("run/latest.json").exists());

    let weights = sandbox.path("defusion.safetensors");
    let export = defusion().arg("export").arg("--run").arg(sandbox.path("run")).arg("--to").arg(&weights).output();
    assert_success(&export.expect("defusion runs"));

    let scores = sandbox.path("scores");
    let evaluate = defusion()
        .arg("evaluate")
        .args(&config)
        .arg("--weights")
        .arg(&weights)
        .arg("--out")
        .arg(&scores)
        .output()
        .expect("defusion runs");
    assert_success(&evaluate);
    let text = std::fs::read_to_string(scores.join("report.json")).expect("report.json");
    let report: serde_json::Value = serde_json::from_str(&text).expect("report is JSON");
    let noise = &report["degradations"]["gaussian_noise"];
    assert!(noise["psnr_before"].as_f64().is_some_and(|p| p > 5.0 && p < 60.0), "{report:#}");
    assert!(noise["psnr_after"].as_f64().is_some_and(f64::is_finite), "{report:#}");
    assert_eq!(noise["images"].as_u64(), Some(3), "{report:#}");
    let sheet = image::open(scores.join("contact_sheet.png")).expect("contact sheet");
    assert!(sheet.width() > 200 && sheet.height() > 60);

    let (degraded, restored) = (sandbox.path("images/photos-test/100.png"), sandbox.path("restored.png"));
    let restore = || {
        let mut command = defusion();
        command.arg("restore").arg("--weights").arg(&weights).args(["--degradation", "gaussian_noise"]);
        command.arg(&degraded).arg("--out").arg(&restored);
        command.output().expect("defusion runs")
    };
    assert_success(&restore());
    let (before, after) = (image::open(&degraded).expect("input"), image::open(&restored).expect("restored"));
    assert_eq!((before.width(), before.height()), (after.width(), after.height()));

    // A second time the image is there already, and stays.
    let again = restore();
    assert!(!again.status.success());
    assert!(transcript(&again).contains("restored.png"), "{}", transcript(&again));
}

#[test]
fn training_starts_from_exported_weights() {
    let sandbox = Sandbox::with_shards();
    let first = sandbox.config_args("first", &["tokenizer.iterations=2", "diffusion.iterations=2"]);
    assert_success(&mpirun(2).args(&first).output().expect("mpirun runs"));
    let exported = sandbox.path("first.safetensors");
    let export = |run: &str, to: &std::path::Path| {
        let mut command = defusion();
        command.arg("export").arg("--run").arg(sandbox.path(run)).arg("--to").arg(to);
        assert_success(&command.output().expect("defusion runs"));
    };
    export("first", &exported);

    // A rate that is nothing in float32: what comes out is what went in.
    let path = exported.display();
    let (tokenizer, diffusion) = (format!("tokenizer.pretrained={path}"), format!("diffusion.pretrained={path}"));
    let lr = "diffusion.lr={base: 1e-300}";
    let second = ["tokenizer.iterations=0", &tokenizer, "diffusion.iterations=1", &diffusion, lr];
    let trained = mpirun(2).args(sandbox.config_args("second", &second)).output().expect("mpirun runs");
    assert_success(&trained);
    let again = sandbox.path("second.safetensors");
    export("second", &again);
    let tensors = |file: &std::path::Path| {
        let bytes = std::fs::read(file).expect("weights");
        let header = u64::from_le_bytes(bytes[..8].try_into().expect("8 bytes")) as usize;
        bytes[8 + header..].to_vec()
    };
    assert!(tensors(&exported) == tensors(&again), "other weights came out than went in");

    // Without them stage 1 cannot be skipped.
    let bare = ["tokenizer.iterations=0", "diffusion.iterations=1"];
    let refused = mpirun(2).args(sandbox.config_args("third", &bare)).output().expect("mpirun runs");
    assert_eq!(refused.status.code(), Some(2), "{}", transcript(&refused));
    assert!(transcript(&refused).contains("tokenizer.pretrained"), "{}", transcript(&refused));
}
