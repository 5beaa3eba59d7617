//! Degradations beside public Python implementations. The script says what should agree and what should not.

use std::path::{Path, PathBuf};
use std::process::Command;

use defusion_config::{Degradation, Severity, Synthesis};
use defusion_imaging::degrade::{
    self, DefocusBlur, GaussianBlur, GaussianNoise, Illumination, Jpeg, LowLight, MotionBlur, Op, Params, Rain,
    RealNoise,
};
use defusion_imaging::ground::Element;
use defusion_imaging::{Image, Rng};
use serde_json::json;

/// Writes images as raw float32 planes and a list of what they are.
struct Cases {
    folder: PathBuf,
    list: Vec<serde_json::Value>,
}

impl Cases {
    fn add(&mut self, params: Params, clean: &Image, about: serde_json::Value) {
        self.add_seeded(self.list.len() as u64, params, clean, about);
    }

    /// Black and then white, degraded alike: what they differ by is the share of the scene that is left.
    fn add_black_and_white(&mut self, params: Params, about: serde_json::Value) {
        let seed = self.list.len() as u64;
        for v in [0.0, 1.0] {
            self.add_seeded(seed, params.clone(), &Image::filled(256, 256, v), about.clone());
        }
    }

    fn add_seeded(&mut self, seed: u64, params: Params, clean: &Image, about: serde_json::Value) {
        let op = Op { params, seed };
        let mut degraded = clean.clone();
        op.apply(&mut degraded);
        let write = |name: &str, image: &Image| {
            let file = format!("{}-{name}.f32", self.list.len());
            let bytes: Vec<u8> = image.data().iter().flat_map(|v| v.to_le_bytes()).collect();
            std::fs::write(self.folder.join(&file), bytes).unwrap();
            file
        };
        let (clean_file, degraded_file) = (write("clean", clean), write("degraded", &degraded));
        self.list.push(json!({
            "category": op.category().name(), "about": about, "clean": clean_file, "degraded": degraded_file,
            "width": clean.width(), "height": clean.height(),
        }));
    }
}

fn drawn(category: Degradation, seed: u64) -> Params {
    let rng = &mut Rng::new(seed, &[]);
    degrade::draw(&[category], &Synthesis::default(), Severity::Any, 1.0, rng).ops()[0].params.clone()
}

#[test]
#[ignore = "oracle: needs Python with tests/oracles/requirements.txt, named by DEFUSION_ORACLE_PYTHON"]
fn oracle_degrade() {
    let python = std::env::var("DEFUSION_ORACLE_PYTHON").expect("DEFUSION_ORACLE_PYTHON names the interpreter");
    let folder = tempfile::tempdir().unwrap();
    let mut cases = Cases { folder: folder.path().to_owned(), list: Vec::new() };

    // A scene with edges and texture, of a size that is no multiple of a JPEG block, and flats.
    let mut scene = Element::DeadLeaves.draw(256, &mut Rng::new(1, &[])).crop(0, 0, 250, 187).unwrap();
    let mut rng = Rng::new(2, &[]);
    scene.data_mut().iter_mut().for_each(|v| *v += 0.1 * (rng.f32() - 0.5));
    scene.quantize();
    let flat = |v: f32| Image::filled(256, 256, v);

    for (width, height) in [(250, 187), (64, 48), (17, 9), (5, 7), (2, 2), (1, 1)] {
        let part = scene.crop(3, 5, width, height).unwrap_or_else(|| scene.clone());
        for quality in [5, 10, 25, 50, 75, 90, 96] {
            cases.add(Params::Jpeg(Jpeg { quality }), &part, json!({"quality": quality}));
        }
    }
    for sigma in [0.3, 1.0, 2.2, 3.0] {
        cases.add(Params::GaussianBlur(GaussianBlur { sigma }), &scene, json!({"sigma": sigma}));
    }
    for (radius, softness) in [(1.5, 0.1), (3.0, 0.1), (6.0, 0.5), (8.0, 0.5)] {
        let about = json!({"radius": radius, "softness": softness});
        cases.add(Params::DefocusBlur(DefocusBlur { radius, softness }), &scene, about);
    }
    for (length, angle) in [(9.0, 0.0), (15.0, 37.0), (21.0, 90.0), (31.0, 140.0)] {
        let path = degrade::Path::Line { angle };
        cases.add(Params::MotionBlur(MotionBlur { length, path }), &scene, json!({"length": length, "angle": angle}));
    }
    for (sigma, grey) in [(15.0, false), (25.0, false), (40.0, true)] {
        let about = json!({"sigma": sigma, "grey": grey});
        cases.add(Params::GaussianNoise(GaussianNoise { sigma, grey }), &flat(0.5), about);
    }
    for (level, read) in [(0.4, 0.02), (0.6, 0.02), (0.8, 0.02), (0.5, 0.0), (0.7, 0.0)] {
        let shot = 0.08;
        cases.add(Params::RealNoise(RealNoise { shot, read }), &flat(level), json!({"shot": shot, "read": read}));
    }
    for gamma in [2.0, 2.7] {
        let low = |illumination| Params::LowLight(LowLight { gamma, noise: 0.0, illumination });
        cases.add(low(Illumination::Own), &scene, json!({"gamma": gamma, "radius": null}));
        cases.add(low(Illumination::Smooth { radius: 7 }), &scene, json!({"gamma": gamma, "radius": 7}));
    }
    let streaks = |rain: &Rain| {
        json!({
            "length": rain.length, "angle": rain.angle, "mean": rain.mean, "variance": rain.variance,
            "enlargement": rain.enlargement, "tau": rain.tau,
        })
    };
    for seed in 0..6 {
        let Params::Rain(rain) = drawn(Degradation::Rain, seed) else { panic!("not rain") };
        let about = streaks(&rain);
        cases.add(Params::Rain(rain), &flat(0.0), about);
        let Params::Snow(snow) = drawn(Degradation::Snow, seed) else { panic!("not snow") };
        let about = json!({"brightness": snow.brightness});
        cases.add_black_and_white(Params::Snow(snow), about);
        let Params::Haze(haze) = drawn(Degradation::Haze, seed) else { panic!("not haze") };
        let about = json!({"beta": haze.beta, "airlight": haze.airlight});
        cases.add_black_and_white(Params::Haze(haze), about);
        cases.add(drawn(Degradation::Raindrop, seed), &scene, json!({}));
        let Params::HeavyRain(heavy) = drawn(Degradation::HeavyRain, seed) else { panic!("not heavy rain") };
        let mut about = streaks(&heavy.streaks);
        about["beta"] = json!(heavy.veil.beta);
        about["airlight"] = json!(heavy.veil.airlight);
        cases.add_black_and_white(Params::HeavyRain(heavy), about);
        let Params::Underwater(water) = drawn(Degradation::Underwater, seed) else { panic!("not underwater") };
        let about = json!({"attenuation": water.attenuation, "scatter": water.scatter});
        cases.add_black_and_white(Params::Underwater(water), about);
    }

    let list = serde_json::to_string(&cases.list).unwrap();
    std::fs::write(folder.path().join("cases.json"), list).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/oracles/degrade/compare.py");
    let run = Command::new(python).arg(script).arg(folder.path()).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    println!("{out}");
    assert!(run.status.success(), "{out}\n{err}");
}
