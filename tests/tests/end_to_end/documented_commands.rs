//! Every command that a document shows runs: as it stands, or as a dry run or `--help` where it needs a cluster, a GPU, an
//! object store or hours. A command that no rule below knows fails the test.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use defusion_tests::{binary, transcript};

/// What is done with a command that begins so.
enum Rule {
    /// It runs as it stands.
    Run,
    /// It runs with `--dry-run`: it needs what is named.
    DryRun(&'static str),
    /// `--help` of its program and subcommand knows all its flags: it needs what is named.
    Help(&'static str),
    /// The crate that it names with `-p` is in the workspace, and is built by others.
    Cargo,
    /// Not run: why.
    No(&'static str),
}
use Rule::{Cargo, DryRun, Help, No, Run};

/// The longest beginning that fits decides.
const RULES: &[(&str, Rule)] = &[
    ("scripts/demo", Help("twelve minutes")),
    ("scripts/test", Help("these tests")),
    ("scripts/setup", Help("downloads")),
    ("scripts/bench", Help("minutes")),
    ("scripts/gpu-check", Help("a GPU")),
    ("scripts/lpips-weights", Help("a download")),
    ("source scripts/env.sh", Run),
    ("export ", Run),
    ("mkdir ", Run),
    ("cp ", Run),
    ("for ", Run),
    ("cat ", Run),
    ("cargo ", Cargo),
    ("defusion-data list", Run),
    ("defusion-data verify", Run),
    ("defusion-data prepare --dataset foggy", Run),
    ("defusion-data prepare", Help("a published dataset")),
    ("defusion-data preview", Help("the demo's photographs, or to overwrite the document's picture")),
    ("defusion-data preview --config configs/a100x8.yaml --image tests/", Run),
    ("defusion-launch --config configs/a100x8.yaml", DryRun("eight GPUs")),
    ("defusion-launch --config configs/tiny-test.yaml", DryRun("to hang")),
    ("defusion-launch --config tests/fixtures/", Run),
    ("exec defusion-launch", DryRun("a cluster")),
    ("mpirun defusion-launch", DryRun("eight GPUs")),
    ("sbatch ", No("the script that it submits is run below")),
    ("defusion export --run /tmp/", Run),
    ("defusion export", Help("an object store")),
    ("defusion evaluate", Help("an object store")),
    ("defusion restore", Help("trained weights")),
    ("tensorboard ", No("another project's program")),
    ("sleep ", No("hang.rs stops a worker, and looks at what is said")),
    ("kill ", No("hang.rs stops a worker, and looks at what is said")),
    ("wait", No("hang.rs stops a worker, and looks at what is said")),
    ("pgrep ", No("looks for a process that hangs")),
    ("gdb ", No("looks into a process that hangs")),
];

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the repository")
}

/// A folder that looks like the repository's root, with weights where scripts/lpips-weights puts them, and without its runs.
fn stand_in() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for entry in std::fs::read_dir(repository()).expect("the repository").filter_map(Result::ok) {
        let name = entry.file_name();
        if name != "weights" && name != "runs" && name != "target" {
            std::os::unix::fs::symlink(entry.path(), folder.path().join(name)).expect("a link");
        }
    }
    let programs = binary("defusion").parent().expect("its folder").to_owned();
    std::fs::create_dir_all(folder.path().join("target")).expect("folder");
    std::os::unix::fs::symlink(programs, folder.path().join("target/release")).expect("a link");
    std::fs::create_dir_all(folder.path().join("weights")).expect("folder");
    std::fs::write(folder.path().join("weights/lpips-vgg16.safetensors"), "").expect("weights");
    std::fs::create_dir_all(folder.path().join("tmp")).expect("folder");
    folder
}

fn documents() -> Vec<PathBuf> {
    let root = repository();
    let mut found: Vec<PathBuf> = ["README.md", "CONTRIBUTING.md"].map(|name| root.join(name)).into();
    let mut how_to: Vec<PathBuf> =
        std::fs::read_dir(root.join("docs/how-to")).expect("how-to").filter_map(|e| Some(e.ok()?.path())).collect();
    how_to.sort();
    found.extend(how_to);
    found
}

/// The commands of a document: of its indented blocks and those fenced as bash, each with what continues it.
fn commands(text: &str) -> Vec<String> {
    let (mut lines, mut fence, mut block, mut before) = (Vec::new(), None, 0, "");
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        if let Some(language) = line.trim_start().strip_prefix("```") {
            fence = if fence.is_some() { None } else { Some(language) };
        } else if fence == Some("bash") {
            lines.push(line.to_owned());
        } else if fence.is_none() && indent >= 4 && (before.trim().is_empty() || before.starts_with("    ")) {
            // Four columns make a block; eight, one within a list.
            if before.trim().is_empty() {
                block = indent;
            }
            lines.push(line[block.min(indent)..].to_owned());
        }
        before = line;
    }
    let mut found: Vec<String> = Vec::new();
    for line in lines {
        match found.last_mut().filter(|command| open(command)) {
            Some(command) => *command = format!("{command}\n{line}"),
            None => found.push(line),
        }
    }
    found.retain(|command| !command.trim().is_empty());
    found
}

/// Whether a command goes on in the next line.
fn open(command: &str) -> bool {
    let last = command.lines().last().unwrap_or_default();
    let here = command.split_once("<<'").and_then(|(_, rest)| rest.split_once('\'')).map(|(word, _)| word);
    last.ends_with('\\') || here.is_some_and(|word| last != word) || (command.starts_with("for ") && last != "done")
}

/// Without the variables set before it, and what stands behind it.
fn bare(command: &str) -> &str {
    let mut rest = command.trim();
    while let Some((first, after)) = rest.split_once(char::is_whitespace) {
        let name = first.split_once('=').map_or("", |(name, _)| name);
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_uppercase() || c == '_') {
            break;
        }
        rest = after.trim_start_matches(['\\', '\n', ' ']);
    }
    rest.trim_end_matches('&').trim_end()
}

fn bash(folder: &Path, command: &str) -> Output {
    let own = format!("{}/tmp/", folder.display());
    let text = format!("set -eo pipefail; source scripts/env.sh\n{}", command.replace("/tmp/", &own));
    let mut bash = Command::new("bash");
    bash.args(["-c", &text]).current_dir(folder).stdin(Stdio::null());
    bash.env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
    bash.env_remove("DEFUSION_ROOT").env_remove("LIBTORCH").output().expect("bash runs")
}

/// What is wrong with a command, if anything is.
fn fault(folder: &Path, command: &str) -> Option<String> {
    let plain = bare(command);
    let rule = RULES.iter().filter(|(begin, _)| plain.starts_with(begin)).max_by_key(|(begin, _)| begin.len());
    let Some((_, rule)) = rule else { return Some("no rule of this test knows it".into()) };
    let failed = |output: &Output| (!output.status.success()).then(|| transcript(output));
    if let DryRun(needs) | Help(needs) | No(needs) = rule {
        println!("{plain}: not run as it stands: {needs}");
    }
    match rule {
        Run => failed(&bash(folder, command)),
        DryRun(_) if plain.contains("--dry-run") => failed(&bash(folder, plain)),
        DryRun(_) => failed(&bash(folder, &format!("{plain} --dry-run"))),
        Help(_) => {
            let mut words = plain.split_whitespace();
            let program: Vec<&str> = words.by_ref().take(if plain.starts_with("defusion") { 2 } else { 1 }).collect();
            let help = bash(folder, &format!("{} --help", program.join(" ")));
            let text = transcript(&help);
            let unknown = words.filter(|word| word.starts_with("--")).find(|flag| !text.contains(flag));
            failed(&help).or(unknown.map(|flag| format!("--help knows no {flag}:\n{text}")))
        }
        Cargo => {
            let mut words = plain.split_whitespace();
            let package = words.by_ref().find(|word| *word == "-p").and_then(|_| words.next());
            let lock = std::fs::read_to_string(folder.join("Cargo.lock")).expect("Cargo.lock");
            let unknown = package.filter(|name| !lock.contains(&format!("name = \"{name}\"\n")));
            unknown.map(|name| format!("there is no crate {name}"))
        }
        No(_) => None,
    }
}

#[test]
fn every_command_that_a_document_shows_runs() {
    let folder = stand_in();
    let (mut seen, mut faults) = (0, Vec::new());
    for document in documents() {
        let text = std::fs::read_to_string(&document).expect("the document");
        for command in commands(&text) {
            seen += 1;
            let at = document.file_name().unwrap_or_default().to_string_lossy().into_owned();
            faults.extend(fault(folder.path(), &command).map(|why| format!("{at}: {command}\n{why}")));
        }
    }
    assert!(seen > 30, "only {seen} commands were found");
    assert!(faults.is_empty(), "{}", faults.join("\n\n"));
}

#[test]
fn the_readme_says_where_the_recipes_weights_come_from() {
    let readme = std::fs::read_to_string(repository().join("README.md")).expect("README.md");
    assert!(commands(&readme).iter().any(|command| command.starts_with("scripts/lpips-weights")));
}

#[test]
fn the_cluster_templates_start_two_nodes() {
    let folder = stand_in();
    let job = std::fs::read_to_string(repository().join("scripts/cluster/mpijob.yaml")).expect("mpijob.yaml");
    let command = job.lines().find_map(|line| line.trim().strip_prefix("- source ")).expect("its command");
    let output = bash(folder.path(), &format!("source {command} --dry-run"));
    assert!(output.status.success(), "{}", transcript(&output));
    assert!(transcript(&output).contains("16 = 2 nodes x 8"), "{}", transcript(&output));

    let slurm = "SLURM_SUBMIT_DIR=$PWD SLURM_NNODES=2 bash scripts/cluster/slurm.sbatch configs/a100x8.yaml --dry-run";
    let output = bash(folder.path(), slurm);
    assert!(output.status.success(), "{}", transcript(&output));
    assert!(transcript(&output).contains("16 = 2 nodes x 8"), "{}", transcript(&output));
}

#[test]
fn an_unknown_command_is_a_fault() {
    let folder = stand_in();
    assert!(fault(folder.path(), "defusion-launch --no-such-flag").is_some());
    assert!(fault(folder.path(), "defusion export --to x --nonsense y").is_some_and(|why| why.contains("--nonsense")));
    assert!(fault(folder.path(), "cargo test --release -p defusion-nothing").is_some());
    let text = "Do:\n\n    defusion a \\\n      --b c\n    for n in 1; do\n      d\n    done\n\ntext\n\n```bash\ne f\n```\n```text\nno\n```\n";
    assert_eq!(commands(text), ["defusion a \\\n  --b c", "for n in 1; do\n  d\ndone", "e f"]);
}
