//! What a run is going to do, before it does it.

use defusion_config::Resolved;

use crate::error::LaunchError;

/// The plan of a run.
#[derive(Debug, serde::Serialize)]
pub struct Plan {
    /// Worker processes in all.
    pub world_size: u32,
}

impl Plan {
    /// Of a valid config.
    ///
    /// # Errors
    /// A config that cannot work on these devices.
    pub fn new(config: &Resolved) -> Result<Self, LaunchError> {
        Ok(Self { world_size: config.config.cluster.world_size() })
    }

    /// Prints it to standard output.
    ///
    /// # Errors
    /// It cannot be written as JSON.
    pub fn print(&self, json: bool) -> Result<(), LaunchError> {
        let text = serde_json::to_string_pretty(self).map_err(|e| LaunchError::usage(e.to_string()))?;
        if json {
            println!("{text}");
        } else {
            println!("{} workers", self.world_size);
        }
        Ok(())
    }
}
