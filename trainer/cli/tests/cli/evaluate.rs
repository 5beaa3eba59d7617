//! `defusion evaluate` on prepared datasets, with tiny random networks.

use std::ops::ControlFlow;
use std::path::Path;

use clap::Parser;
use defusion::evaluate::{EvaluateArgs, run_evaluate};
use defusion_config::{Arithmetic, Degradation, Resolved, Stage};
use defusion_dataloader::prepare::{self, list_source};
use defusion_imaging::image_file::{read_image, write_image};
use defusion_restore::evaluate::{EvaluateOptions, EvaluationPlan, Pass, Slice, run};
use defusion_restore::{Networks, Restorer, metrics};
use serde_json::Value;
use tch::Device;

use crate::tiny;

/// Six clean images of two sizes as dataset `clean`, and four pairs as dataset `gopro`, prepared below `root/shards`.
fn prepare(root: &Path) {
    let images = root.join("clean");
    std::fs::create_dir_all(&images).unwrap();
    for i in 0..6 {
        let image = tiny::image(if i < 4 { 24 } else { 30 }, 20, i);
        write_image(&images.join(format!("{i}.png")), &image, false).unwrap();
    }
    shards(root, &images, "folder", "clean", &[]);
    let pairs = root.join("pairs");
    for i in 0..4 {
        for (side, seed) in [("lq", 50 + i), ("gt", i)] {
            std::fs::create_dir_all(pairs.join(side)).unwrap();
            write_image(&pairs.join(side).join(format!("{i}.png")), &tiny::image(18, 18, seed), false).unwrap();
        }
    }
    shards(root, &pairs, "pairs", "gopro", &[Degradation::MotionBlur]);
}

fn shards(root: &Path, from: &Path, layout: &str, name: &str, degradations: &[Degradation]) {
    let descriptor = defusion_datasets::find(layout).unwrap();
    let listing = list_source(&descriptor, from, Some("test"), degradations).unwrap();
    let to = root.join("shards");
    prepare::prepare(listing, &prepare::PrepareOptions::new(name, to.to_str().unwrap()), &|_| {}).unwrap();
}

const EVALUATION: &str = "
evaluation:
  datasets:
    - {name: clean, synthesize: [[gaussian_noise], [rain, gaussian_noise]]}
    - {name: gopro}
";

fn config(root: &Path, more: &str) -> Resolved {
    tiny::config(root, &format!("{EVALUATION}{more}"))
}

struct Fixture {
    config: Resolved,
    networks: Networks,
    _root: tempfile::TempDir,
}

impl Fixture {
    fn new(more: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        prepare(root.path());
        let config = config(root.path(), more);
        Self { networks: tiny::networks(&config, 1), config, _root: root }
    }

    fn restorer(&self) -> Restorer<'_> {
        let (tokenizer, unet) = (self.networks.tokenizer(), self.networks.unet());
        Restorer::new(tokenizer, unet, &self.config.config, Device::Cpu, Arithmetic::Fp32, 3).unwrap()
    }
}

#[test]
fn two_workers_make_what_one_makes() {
    let fixture = Fixture::new("");
    let plan = EvaluationPlan::open(&fixture.config.config, 0).unwrap();
    let restorer = fixture.restorer();
    let cases: Vec<(&str, &str, u64)> =
        vec![("clean", "gaussian_noise", 6), ("clean", "rain+gaussian_noise", 6), ("gopro", "motion_blur", 4)];
    assert_eq!(plan.len(), 16);
    let options = EvaluateOptions { blind: true, sheet_rows: 1, ..EvaluateOptions::default() };
    let part = |rank, world| {
        let mut calls = 0;
        let outcome = run(&plan, &restorer, &options, Slice { rank, world }, |_| {
            calls += 1;
            ControlFlow::Continue(())
        });
        (outcome.unwrap().unwrap(), calls)
    };
    let (whole, _) = part(0, 1);
    assert_eq!(whole.sheet.len(), 3);
    for (c, (dataset, degradation, images)) in cases.into_iter().enumerate() {
        assert_eq!((plan.cases()[c].dataset.as_str(), plan.cases()[c].degradation.as_str()), (dataset, degradation));
        assert_eq!(whole.totals.images(c), images);
        let [before, after, blind] =
            [Pass::Before, Pass::After, Pass::Blind].map(|pass| whole.totals.means(c, pass)[0]);
        assert!(before > 5.0 && after > 0.0 && blind > 0.0 && after != before && blind != after);
    }
    // Five workers have 4, 3, 3, 3, 3 images, and all call back equally often.
    let parts: Vec<_> = (0..5).map(|rank| part(rank, 5)).collect();
    assert!(parts.iter().all(|(_, calls)| *calls == parts[0].1));
    let mut sum = vec![0.0; whole.totals.clone().values_mut().len()];
    for (mut outcome, _) in parts {
        sum.iter_mut().zip(outcome.totals.values_mut()).for_each(|(a, b)| *a += *b);
    }
    for (got, want) in sum.iter().zip(whole.totals.clone().values_mut()) {
        assert!((got - *want).abs() < 1e-3, "{got} is not {want}");
    }
    // Whoever is asked to stop stops.
    let stopped = run(&plan, &restorer, &options, Slice::ALL, |_| ControlFlow::Break(())).unwrap();
    assert!(stopped.is_none());
}

#[test]
fn pairs_are_scored_as_the_files_are() {
    let fixture = Fixture::new("  crop: 0\n");
    let plan = EvaluationPlan::open(&fixture.config.config, 0).unwrap();
    let outcome =
        run(&plan, &fixture.restorer(), &EvaluateOptions::default(), Slice::ALL, |_| ControlFlow::Continue(()));
    let got = outcome.unwrap().unwrap().totals.means(2, Pass::Before);
    let pairs = fixture._root.path().join("pairs");
    let mut want = [0.0; 4];
    for i in 0..4 {
        let read = |side: &str| read_image(&pairs.join(side).join(format!("{i}.png"))).unwrap();
        let scores = metrics::score(&read("lq"), &read("gt")).unwrap();
        let scores = [scores.psnr_rgb, scores.ssim_rgb, scores.psnr_y, scores.ssim_y];
        want.iter_mut().zip(scores).for_each(|(sum, v)| *sum += v / 4.0);
    }
    for (got, want) in got.iter().zip(want) {
        assert!((got - want).abs() < 1e-9, "{got} is not {want}");
    }
}

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    evaluate: EvaluateArgs,
}

/// Runs `defusion evaluate` below `root`, and reads its report.
fn evaluate(root: &Path, more: &[&str]) -> Result<Value, String> {
    let file = root.join("config.yaml");
    if !file.exists() {
        prepare(root);
        let config = config(&root.join("run"), "");
        tiny::save(&config, &[tiny::snapshot(&tiny::networks(&config, 1), Stage::Diffusion, 5)]);
        let yaml = config
            .to_yaml()
            .unwrap()
            .replace(&format!("{}/shards", root.join("run").display()), &root.join("shards").display().to_string());
        std::fs::write(&file, yaml).unwrap();
    }
    let out = root.join("out");
    let fixed = ["defusion", "--config", file.to_str().unwrap(), "--out", out.to_str().unwrap(), "--device", "cpu"];
    let cli = Cli::try_parse_from(fixed.iter().chain(more)).map_err(|e| e.to_string())?;
    run_evaluate(&cli.evaluate).map_err(|e| e.to_string())?;
    Ok(serde_json::from_slice(&std::fs::read(out.join("report.json")).unwrap()).unwrap())
}

#[test]
fn the_report_says_what_was_measured() {
    let root = tempfile::tempdir().unwrap();
    let report = evaluate(root.path(), &["--repeats", "2", "--blind"]).unwrap();
    let names: Vec<&String> = report["degradations"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["gaussian_noise", "motion_blur", "rain+gaussian_noise"]);
    let (mut before, mut after) = (0.0, 0.0);
    for row in report["degradations"].as_object().unwrap().values() {
        before += row["psnr_before"].as_f64().unwrap() / 3.0;
        after += row["psnr_after"].as_f64().unwrap() / 3.0;
        for key in ["ssim_before", "ssim_after", "ssim_blind", "psnr_y_after", "ssim_y_before", "psnr_blind"] {
            assert!(row[key].is_f64(), "{key}");
        }
        assert!(row["psnr_after_spread"].as_f64().unwrap() > 0.0);
        assert!(row.get("lpips_after").is_none());
    }
    assert_eq!(report["degradations"]["gaussian_noise"]["images"], 6);
    assert!((report["mean_psnr_before"].as_f64().unwrap() - before).abs() < 1e-9);
    assert!((report["mean_psnr_after"].as_f64().unwrap() - after).abs() < 1e-9);
    assert_eq!(report["weights"], "2-diffusion-000000005-a0001");
    assert!(report["run_url"].as_str().unwrap().ends_with("run"));
    // `gopro` is one of the paper's datasets.
    assert_eq!(report["rows"][2]["paper"][0]["psnr"], 34.53);
    assert!(report["rows"][0].get("paper").is_none());
    let sheet = read_image(&root.path().join("out").join(report["contact_sheet"].as_str().unwrap())).unwrap();
    assert!(sheet.width() > 4 * 18 && sheet.height() > 6 * 32);

    // Another seed: the degraded images stay, the restored ones change.
    let other = evaluate(root.path(), &["--seed", "9", "--images", "2", "--crop", "16"]).unwrap();
    assert_eq!(other["degradations"]["motion_blur"]["images"], 2);
    let first = evaluate(root.path(), &["--images", "2", "--crop", "16"]).unwrap();
    assert_eq!(first["mean_psnr_before"], other["mean_psnr_before"]);
    assert_ne!(first["mean_psnr_after"], other["mean_psnr_after"]);
    assert_ne!(first["mean_psnr_before"], report["mean_psnr_before"]);
}

#[test]
fn what_cannot_be_evaluated_is_named() {
    let root = tempfile::tempdir().unwrap();
    let mut errors = Vec::new();
    for set in [
        "evaluation.datasets=[]",
        "evaluation.datasets=[{name: absent, synthesize: [[rain]]}]",
        "evaluation.datasets=[{name: clean}]",
        "run=/nonexistent/run",
        "diffusion.sampler.tile=15",
    ] {
        errors.push(evaluate(root.path(), &["--set", set]).unwrap_err());
    }
    for (error, want) in errors.iter().zip([
        "evaluation.datasets is empty",
        "dataset absent",
        "clean holds clean images only",
        "config.yaml",
        "sampler.tile",
    ]) {
        assert!(error.contains(want), "`{error}` lacks `{want}`");
    }
    assert!(!root.path().join("out/report.json").exists());
}
