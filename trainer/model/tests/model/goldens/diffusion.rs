//! guided-diffusion's schedules, q_sample and DDIM.

use defusion_config::BetaSchedule;
use defusion_model::diffusion::objective::{eps_from_y0, q_sample, y0_from_eps};
use defusion_model::diffusion::sampler::{Clip, ddim};
use defusion_model::diffusion::schedule::Schedule;
use tch::Tensor;

use super::golden::{Golden, assert_agrees};

const SCHEDULES: [(&str, BetaSchedule); 2] = [("linear", BetaSchedule::Linear), ("cosine", BetaSchedule::Cosine)];

#[test]
fn schedules() {
    let golden = Golden::open("diffusion.safetensors");
    for (name, kind) in SCHEDULES {
        let schedule = Schedule::new(kind, 1000);
        assert_eq!(schedule.timesteps(), 1000);
        for (table, values) in [("betas", schedule.betas()), ("alphas_cumprod", schedule.alphas_cumprod())] {
            let expected = golden.f64s(&format!("{name}.{table}"));
            let worst = values.iter().zip(&expected).map(|(a, e)| (a - e).abs() / e).fold(0.0, f64::max);
            println!("{name} {table}: {worst:.1e}");
            assert!(worst < 1e-12, "{name} {table} is off by {worst:.1e}");
        }
    }
}

#[test]
fn q_sample_and_back() {
    let golden = Golden::open("diffusion.safetensors");
    for (name, kind) in SCHEDULES {
        let schedule = Schedule::new(kind, 1000);
        let get = |part: &str| golden.get(&format!("{name}.{part}"));
        let t = Vec::<i64>::try_from(get("t")).unwrap();
        let x_t = q_sample(&schedule, get("x0"), &t, get("noise"));
        assert_agrees(&format!("{name} q_sample"), &x_t, get("x_t"));
        // Away from the end of the schedule, at which almost nothing of y_0 is left to find.
        let t = [10, 250, 500, 750];
        let x_t = q_sample(&schedule, get("x0"), &t, get("noise"));
        assert_agrees("y0", &y0_from_eps(&schedule, &x_t, &t, get("noise")), get("x0"));
        assert_agrees("eps", &eps_from_y0(&schedule, &x_t, &t, get("x0")), get("noise"));
    }
}

#[test]
fn ddim_with_and_without_clipping() {
    let golden = Golden::open("diffusion.safetensors");
    for (name, kind) in SCHEDULES {
        let schedule = Schedule::new(kind, 1000);
        for spacing in ["ddim4", "even4"] {
            let get = |part: &str| golden.get(&format!("{name}.{spacing}.{part}"));
            let mut timesteps = Vec::<i64>::try_from(get("timesteps")).unwrap();
            timesteps.sort_by_key(|t| -t);
            let cond = get("cond");
            let eps = |x: &Tensor, t: i64| x * 0.1 + 0.001 * t as f64 - cond * 0.3;
            for (out, clip) in [("out", Clip::None), ("out_clip1", Clip::Symmetric(1.0))] {
                let no_noise = |_| unreachable!("eta is 0");
                let y0 = ddim(&schedule, &timesteps, 0.0, get("x_T").copy(), &clip, no_noise, eps);
                assert_agrees(&format!("{name} {spacing} {out}"), &y0, get(out));
            }
        }
    }
}
