//! Finds a worker's GPU.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use defusion_config::Device;

use crate::error::LaunchError;

/// Counts the GPUs that a process on this host sees; `None` if that cannot be known without CUDA.
pub fn visible(cuda_visible_devices: Option<&str>, dev: &Path) -> Option<usize> {
    if let Some(list) = cuda_visible_devices {
        // CUDA takes the list up to the first entry that is no device.
        let devices = list.split(',').map(str::trim).take_while(|entry| !entry.is_empty() && *entry != "-1");
        return Some(devices.count());
    }
    let name_of_gpu = |name: &str| name.strip_prefix("nvidia").is_some_and(|n| n.parse::<u32>().is_ok());
    let entries = std::fs::read_dir(dev).ok()?;
    let names: Vec<_> = entries.filter_map(|e| Some(e.ok()?.file_name().to_string_lossy().into_owned())).collect();
    // Under WSL, GPUs have no nodes of their own.
    if names.iter().any(|name| name == "dxg") {
        return None;
    }
    Some(names.iter().filter(|name| name_of_gpu(name)).count())
}

/// Returns the worker's device as `DEFUSION_DEVICE` names it: `cpu` or `cuda:N`.
///
/// # Errors
/// [`LaunchError::Usage`] if there are fewer GPUs than workers, or none.
pub fn device(kind: Device, local_rank: u32, workers: u32, visible: Option<usize>) -> Result<String, LaunchError> {
    match (kind, visible) {
        (Device::Cpu, _) => Ok("cpu".into()),
        (Device::Cuda, Some(0)) => Err(LaunchError::usage(
            "cluster.device is cuda, but this host shows no NVIDIA GPU (/dev/nvidia*, CUDA_VISIBLE_DEVICES): \
             use a host with GPUs or set cluster.device=cpu",
        )),
        // Slurm with --gpus-per-task shows every task its own GPU only.
        (Device::Cuda, Some(1)) if workers > 1 && std::env::var_os("CUDA_VISIBLE_DEVICES").is_some() => {
            Ok("cuda:0".into())
        }
        (Device::Cuda, Some(n)) if n < workers as usize => Err(LaunchError::usage(format!(
            "this host shows {n} GPUs, but cluster.workers_per_node is {workers}: set it to {n}"
        ))),
        (Device::Cuda, _) => Ok(format!("cuda:{local_rank}")),
    }
}

/// Time after which an `nvidia-smi` that has said nothing is given up: a broken driver lets it hang.
const ASK: Duration = Duration::from_secs(10);

/// Asks the program `nvidia-smi` for the compute capability, major and minor, of the first GPU that a process of this host
/// sees. `None` if there is no such program, no GPU, or a driver too old to tell.
pub fn compute_capability(mut nvidia_smi: Command, cuda_visible_devices: Option<&str>) -> Option<(u32, u32)> {
    let mut asked = nvidia_smi
        .args(["--query-gpu=compute_cap", "--format=csv,noheader"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let since = Instant::now();
    let ended = loop {
        match asked.try_wait() {
            Ok(Some(status)) => break status.success(),
            Ok(None) if since.elapsed() < ASK => std::thread::sleep(Duration::from_millis(10)),
            _ => {
                let _ = asked.kill();
                let _ = asked.wait();
                break false;
            }
        }
    };
    // A line a GPU: it fits the pipe.
    let said = ended.then(|| std::io::read_to_string(asked.stdout.take()?).ok()).flatten()?;
    first_capability(&said, cuda_visible_devices)
}

/// Reads `8.0`, a line for each GPU of the host, and takes the one that the environment names first; the lowest if it names
/// it by something else than a number.
fn first_capability(said: &str, cuda_visible_devices: Option<&str>) -> Option<(u32, u32)> {
    let read = |line: &str| {
        let (major, minor) = line.trim().split_once('.')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    };
    let all: Vec<(u32, u32)> = said.lines().map(read).collect::<Option<_>>()?;
    let first = cuda_visible_devices.map_or("0", |list| list.split(',').next().unwrap_or_default().trim());
    match first.parse::<usize>() {
        Ok(index) => all.get(index).copied(),
        Err(_) => all.into_iter().min(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_visible_gpu_counts() {
        let said = "7.5\n8.0\n9.0\n";
        assert_eq!(first_capability(said, None), Some((7, 5)));
        assert_eq!(first_capability(said, Some("1,2")), Some((8, 0)));
        assert_eq!(first_capability(said, Some("GPU-8932f937")), Some((7, 5)));
        assert_eq!(first_capability(said, Some("3")), None);
        assert_eq!(first_capability("", None), None);
        assert_eq!(first_capability("[N/A]\n", None), None);
    }

    #[test]
    fn nvidia_smi_is_asked() {
        let program = |script: &str| {
            let mut shell = Command::new("sh");
            shell.args(["-c", script, "nvidia-smi"]);
            shell
        };
        let asked = r#"[ "$*" = "--query-gpu=compute_cap --format=csv,noheader" ] && echo 12.0"#;
        assert_eq!(compute_capability(program(asked), None), Some((12, 0)));
        assert_eq!(compute_capability(program("echo 8.0; exit 9"), None), None);
        assert_eq!(compute_capability(Command::new("/nowhere/nvidia-smi"), None), None);
    }

    #[test]
    fn gpus_are_counted_from_the_environment_or_the_device_nodes() {
        let dev = tempfile::tempdir().unwrap();
        for name in ["nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "null"] {
            std::fs::write(dev.path().join(name), "").unwrap();
        }
        assert_eq!(visible(None, dev.path()), Some(2));
        assert_eq!(visible(Some("0,3,5"), dev.path()), Some(3));
        assert_eq!(visible(Some("MIG-1234"), dev.path()), Some(1));
        assert_eq!(visible(Some("0,-1,2"), dev.path()), Some(1));
        assert_eq!(visible(Some(""), dev.path()), Some(0));
        std::fs::write(dev.path().join("dxg"), "").unwrap();
        assert_eq!(visible(None, dev.path()), None);
    }

    #[test]
    fn each_worker_gets_its_own_gpu_or_a_clear_error() {
        assert_eq!(device(Device::Cpu, 3, 8, Some(0)).unwrap(), "cpu");
        assert_eq!(device(Device::Cuda, 3, 8, Some(8)).unwrap(), "cuda:3");
        assert_eq!(device(Device::Cuda, 3, 8, None).unwrap(), "cuda:3");
        assert!(device(Device::Cuda, 0, 8, Some(0)).unwrap_err().to_string().contains("cluster.device=cpu"));
        assert!(device(Device::Cuda, 0, 8, Some(4)).unwrap_err().to_string().contains("workers_per_node is 8"));
    }
}
