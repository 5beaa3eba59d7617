//! The progress of a stage: a bar on the terminal that the run is watched on, plain lines on stderr otherwise.

use std::fs::OpenOptions;
use std::io::IsTerminal;
use std::os::unix::fs::OpenOptionsExt;
use std::time::Instant;

use console::Term;
use defusion_config::Stage;
use defusion_config::protocol::ENV_TERMINAL;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// As often as a reader can follow, and seldom enough to cost nothing.
const REDRAWS_PER_SECOND: u8 = 4;
/// Weight of the newest interval in the rate that the remaining time is estimated from.
const SMOOTHING: f64 = 0.3;

pub(super) struct Progress {
    stage: Stage,
    total: u64,
    bar: Option<ProgressBar>,
    rate: Rate,
    start: Instant,
}

impl Progress {
    pub fn start(stage: Stage, resume_step: u64, total: u64) -> Self {
        let bar = terminal().map(|terminal| {
            let target = ProgressDrawTarget::term(terminal, REDRAWS_PER_SECOND);
            let bar = ProgressBar::with_draw_target(Some(total), target);
            let bar = bar.with_prefix(stage.name()).with_position(resume_step);
            // The template is a constant that parses (tested below).
            bar.set_style(style().unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        Self { stage, total, bar, rate: Rate::new(resume_step), start: Instant::now() }
    }

    /// Moves the bar.
    pub fn step(&mut self, step: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(step);
        }
    }

    /// Shows a line, above the bar if there is one.
    pub fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => eprintln!("{text}"),
        }
    }

    /// Shows figures: beside the bar, or as a line.
    pub fn log(&mut self, step: u64, values: &[(&str, f64)]) {
        self.rate.update(step, self.start.elapsed().as_secs_f64());
        let figures = figures(values, self.rate.seconds_left(step, self.total));
        match &self.bar {
            Some(bar) => {
                bar.set_position(step);
                bar.set_message(figures);
            }
            None => eprintln!("{} step {step}/{}  {figures}", self.stage, self.total),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.abandon();
        }
    }
}

/// The terminal to draw on. Under mpirun standard error is a pipe, and the launcher says which terminal is behind it.
fn terminal() -> Option<Term> {
    if std::io::stderr().is_terminal() {
        return Some(Term::buffered_stderr());
    }
    let device = std::env::var_os(ENV_TERMINAL)?;
    // It must not become this process' controlling terminal.
    let open = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOCTTY).open(device);
    let device = open.ok().filter(IsTerminal::is_terminal)?;
    Some(Term::read_write_pair(device.try_clone().ok()?, device))
}

fn style() -> Result<ProgressStyle, indicatif::style::TemplateError> {
    Ok(ProgressStyle::with_template("{prefix} {bar:30} {pos}/{len}  {msg}")?.progress_chars("=> "))
}

/// `loss 0.0123  lr 1.0e-4  312 samples/s  data 0.4%  grad 0.71  eta 2d 3h`.
fn figures(values: &[(&str, f64)], seconds_left: Option<f64>) -> String {
    let value = |name: &str| values.iter().find(|(n, _)| *n == name).map(|(_, v)| *v);
    let parts = [
        value("loss").map(|v| format!("loss {v:.4}")),
        value("lr").map(|v| format!("lr {v:.1e}")),
        value("samples_per_s")
            .map(|v| if v < 10.0 { format!("{v:.2} samples/s") } else { format!("{v:.0} samples/s") }),
        value("data_wait").map(|v| format!("data {:.1}%", 100.0 * v)),
        value("grad_norm").map(|v| format!("grad {v:.2}")),
        seconds_left.map(|s| format!("eta {}", duration(s))),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join("  ")
}

/// The two largest units: `2d 3h`, `5h 12m`, `3m 20s`, `45s`.
fn duration(seconds: f64) -> String {
    let s = seconds.round() as u64;
    let units = [(s / 86_400, 'd'), (s / 3_600 % 24, 'h'), (s / 60 % 60, 'm'), (s % 60, 's')];
    let first = units.iter().position(|(n, _)| *n > 0).unwrap_or(3);
    let shown: Vec<String> = units[first..].iter().take(2).map(|(n, unit)| format!("{n}{unit}")).collect();
    shown.join(" ")
}

/// Steps per second, smoothed over log lines.
struct Rate {
    step: u64,
    seconds: f64,
    rate: Option<f64>,
}

impl Rate {
    fn new(step: u64) -> Self {
        Self { step, seconds: 0.0, rate: None }
    }

    fn update(&mut self, step: u64, seconds: f64) {
        if step <= self.step || seconds <= self.seconds {
            return;
        }
        let newest = (step - self.step) as f64 / (seconds - self.seconds);
        self.rate = Some(self.rate.map_or(newest, |old| old + SMOOTHING * (newest - old)));
        (self.step, self.seconds) = (step, seconds);
    }

    fn seconds_left(&self, step: u64, total: u64) -> Option<f64> {
        self.rate.map(|rate| total.saturating_sub(step) as f64 / rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_reads_well() {
        let values = [
            ("vq", 1.0),
            ("loss", 0.01234),
            ("lr", 1e-4),
            ("samples_per_s", 311.7),
            ("data_wait", 0.004),
            ("grad_norm", 0.713),
        ];
        let want = "loss 0.0123  lr 1.0e-4  312 samples/s  data 0.4%  grad 0.71  eta 2d 3h";
        assert_eq!(figures(&values, Some(183_700.0)), want);
        assert_eq!(figures(&[("samples_per_s", 0.456)], None), "0.46 samples/s");
        style().unwrap();
    }

    #[test]
    fn durations_have_two_units() {
        for (seconds, want) in [(0.2, "0s"), (59.7, "1m 0s"), (3_600.0, "1h 0m"), (90_000.0, "1d 1h"), (45.0, "45s")] {
            assert_eq!(duration(seconds), want);
        }
    }

    #[test]
    fn the_remaining_time_follows_the_rate_since_the_resume() {
        let mut rate = Rate::new(1_000);
        assert_eq!(rate.seconds_left(1_000, 2_000), None);
        rate.update(1_010, 5.0);
        assert_eq!(rate.seconds_left(1_010, 2_010), Some(500.0));
        rate.update(1_010, 6.0);
        rate.update(1_020, 7.5);
        let rate_now = 2.0 + SMOOTHING * (4.0 - 2.0);
        assert_eq!(rate.seconds_left(1_020, 1_020), Some(0.0));
        assert!((rate.seconds_left(1_020, 2_020).unwrap() - 1_000.0 / rate_now).abs() < 1e-9);
    }
}
