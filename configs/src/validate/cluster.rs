//! `cluster`.

use super::{Problem, ensure, not_negative, positive, within};
use crate::Cluster;

/// Thirty days.
const LONGEST: u64 = 30 * 24 * 3600;

pub(super) fn validate(k: &Cluster) -> Result<(), Problem> {
    within("cluster.nodes", k.nodes, 1, 65_536)?;
    within("cluster.workers_per_node", k.workers_per_node, 1, 1024)?;
    within("cluster.threads_per_worker", k.threads_per_worker, 0, 4096)?;
    ensure!(
        k.hosts.is_empty() || k.hosts.len() == k.nodes as usize,
        "cluster.hosts",
        "{} hosts are listed but cluster.nodes is {}",
        k.hosts.len(),
        k.nodes
    );
    for (i, host) in k.hosts.iter().enumerate() {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        ensure!(
            host.name.starts_with(|c: char| c.is_ascii_alphanumeric()) && host.name.chars().all(plain),
            "cluster.hosts.name",
            "`{}` is no host name or address",
            host.name
        );
        ensure!(
            k.hosts[..i].iter().all(|other| other.name != host.name),
            "cluster.hosts",
            "{} is listed twice; workers on one host are cluster.workers_per_node",
            host.name
        );
    }
    positive("cluster.device_memory_gib", k.device_memory_gib)?;
    within("cluster.hang_timeout_s", k.hang_timeout_s, 1, LONGEST)?;
    within("cluster.first_step_timeout_s", k.first_step_timeout_s, 1, LONGEST)?;
    ensure!(
        k.first_step_timeout_s >= k.hang_timeout_s,
        "cluster.first_step_timeout_s",
        "must be at least cluster.hang_timeout_s"
    );
    not_negative("cluster.restart_backoff_s", k.restart_backoff_s)?;
    within("cluster.stop_grace_s", k.stop_grace_s, 1, LONGEST)
}
