//! Values that parse but cannot work.
//!
//! Bounds on single numbers stand at their fields and are checked against the [`schema`](crate::schema); they are wide, and
//! keep arithmetic on sizes and times from overflowing. What several keys have to agree on is checked here.

mod cluster;
mod data;
mod model;
mod stages;

use crate::schema::Problem;
use crate::{Config, schema};

macro_rules! ensure {
    ($ok:expr, $key:expr, $($message:tt)*) => {
        let ok: bool = $ok;
        if !ok {
            return Err(($key.into(), format!($($message)*)));
        }
    };
}
use ensure;

/// Finds the first problem.
pub(crate) fn validate(c: &Config) -> Result<(), Problem> {
    ensure!(!c.name.trim().is_empty(), "name", "must not be empty");
    ensure!(!c.run.trim().is_empty(), "run", "must name the run folder: a path or an object_store URL");
    schema::check("", c)?;
    cluster::validate(&c.cluster)?;
    model::validate(&c.model)?;
    data::validate(c)?;
    stages::validate(c)
}
