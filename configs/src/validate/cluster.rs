//! `cluster`.

use super::{Problem, ensure};
use crate::Cluster;

pub(super) fn validate(k: &Cluster) -> Result<(), Problem> {
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
    ensure!(
        k.first_step_timeout_s >= k.hang_timeout_s,
        "cluster.first_step_timeout_s",
        "must be at least cluster.hang_timeout_s"
    );
    Ok(())
}
