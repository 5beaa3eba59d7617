//! Where the workers run.

use defusion_config::{Config, Device};
use serde::Serialize;

use crate::cpus::{Binding, Node};
use crate::topology::host_name;

/// Where the workers run.
#[derive(Clone, Debug, Serialize)]
pub struct Placement {
    /// Hosts that are known: those of the config, or this one for a single node. Empty: those of the surrounding job.
    pub hosts: Vec<String>,
    /// Number of nodes.
    pub nodes: u32,
    /// Workers on each node.
    pub per_node: u32,
    /// Workers in all.
    pub world_size: u32,
    /// What they compute on.
    pub device: Device,
    /// Devices of each node.
    pub devices: Vec<String>,
    /// Threads of a worker; `None`: each node's cores divided by its workers.
    pub threads: Option<u32>,
    /// Memory of one device, bytes, as the config says; `None` on CPUs.
    pub device_bytes: Option<u64>,
}

impl Placement {
    /// Works out where the workers of a valid config run.
    pub fn new(config: &Config) -> Self {
        let cluster = &config.cluster;
        let hosts = match cluster.hosts.as_slice() {
            [] if cluster.nodes == 1 => vec![host_name()],
            hosts => hosts.iter().map(|host| host.name.clone()).collect(),
        };
        let n = cluster.workers_per_node;
        let cuda = cluster.device == Device::Cuda;
        Self {
            hosts,
            nodes: cluster.nodes,
            per_node: n,
            world_size: cluster.world_size(),
            device: cluster.device,
            devices: (0..n).map(|i| if cuda { format!("cuda:{i}") } else { "cpu".into() }).collect(),
            threads: (cluster.threads_per_worker > 0).then_some(cluster.threads_per_worker),
            device_bytes: cuda.then_some((cluster.device_memory_gib * f64::from(1 << 30)) as u64),
        }
    }
    /// Returns the threads that a worker on this host computes with.
    pub fn threads_here(&self) -> usize {
        let node = Node::look(Binding::Shared, None);
        node.share(self.per_node as usize, 0, self.threads.unwrap_or(0) as usize).threads
    }
}
