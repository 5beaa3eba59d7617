//! On a terminal rank 0 shows a bar, although mpirun puts pipes between; elsewhere lines.

use std::process::{Command, Output, Stdio};

use defusion_tests::{Sandbox, assert_success, launch, mpirun, transcript};

const SETS: [&str; 3] = ["tokenizer.iterations=1", "diffusion.iterations=2", "monitor.log_every=1"];

/// Runs a command on a terminal of its own; what it showed is on standard output.
fn on_a_terminal(command: &Command) -> Output {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let quoted: Vec<String> = words.map(|word| format!("'{}'", word.to_string_lossy())).collect();
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command"]).arg(format!("stty cols 120; {}", quoted.join(" ")));
    script.arg("/dev/null").stdin(Stdio::null());
    script.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    script.output().expect("script, of Debian's bsdutils, runs")
}

#[test]
fn a_terminal_gets_a_bar_and_a_file_gets_lines() {
    let sandbox = Sandbox::with_shards();
    let mut bare = mpirun(2);
    bare.args(sandbox.config_args("bare", &SETS));
    // The launcher outside MPI reads mpirun's words through one pipe more.
    let mut launched = launch();
    launched.args(sandbox.config_args("launched", &SETS));
    for command in [&bare, &launched] {
        let shown = on_a_terminal(command);
        assert_success(&shown);
        let text = transcript(&shown);
        assert!(text.contains("==> ") || text.contains("===="), "no bar:\n{text}");
        assert!(text.contains("2/2  loss ") && !text.contains("diffusion step 1/2"), "lines instead of a bar:\n{text}");
    }

    let mut piped = mpirun(2);
    let piped = piped.args(sandbox.config_args("piped", &SETS)).output().expect("mpirun runs");
    assert_success(&piped);
    let text = transcript(&piped);
    assert!(text.contains("diffusion step 1/2  loss ") && !text.contains("===="), "a bar in a file:\n{text}");
}
