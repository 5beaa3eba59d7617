//! Finds the terminal that a run is watched on.
//!
//! mpirun puts pipes between the ranks and the terminal, and the launcher one more, so rank 0's worker cannot see the
//! terminal by itself: it is told which device it is, and draws its progress bar there.

use std::path::{Path, PathBuf};

use defusion_config::protocol::ENV_TERMINAL;

use crate::topology::host_name;

/// Returns the terminal that this process' standard error ends on.
pub fn own() -> Option<PathBuf> {
    device_behind("self")
}

/// Returns the same as the value of [`ENV_TERMINAL`] that travels through mpirun: with the host, since rank 0 may be on another,
/// where a device of this name is somebody else's.
pub fn announced() -> Option<String> {
    own().map(|device| format!("{}:{}", host_name(), device.display()))
}

/// Returns the terminal of a rank: the one that the launcher above mpirun announced, or else the one of its parent, which is
/// mpirun itself if there is no launcher above it and the host is the same.
pub fn of_rank() -> Option<PathBuf> {
    match std::env::var(ENV_TERMINAL) {
        Ok(announced) => on_host(&announced, &host_name()),
        Err(_) => own().or_else(|| device_behind(&nix::unistd::getppid().to_string())),
    }
}

/// Returns the device in `HOST:DEVICE` if the host is this one.
fn on_host(announced: &str, host: &str) -> Option<PathBuf> {
    let (of, device) = announced.split_once(':')?;
    (of == host).then(|| PathBuf::from(device))
}

/// Returns what standard error of a process is connected to, if that is a terminal.
fn device_behind(process: &str) -> Option<PathBuf> {
    let device = std::fs::read_link(Path::new("/proc").join(process).join("fd/2")).ok()?;
    (device.starts_with("/dev/pts") || device.starts_with("/dev/tty")).then_some(device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_counts_on_its_own_host_only() {
        assert_eq!(on_host("a:/dev/pts/3", "a"), Some("/dev/pts/3".into()));
        assert_eq!(on_host("a:/dev/pts/3", "b"), None);
        assert_eq!(on_host("1", "a"), None);
    }
}
