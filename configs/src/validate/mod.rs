//! Values that parse but cannot work. Bounds are wide; they keep arithmetic on sizes and times from overflowing.

mod cluster;
mod data;
mod model;
mod stages;

use crate::Config;

/// A dotted key, and what is wrong with its value and what to do.
type Problem = (&'static str, String);

macro_rules! ensure {
    ($ok:expr, $key:expr, $($message:tt)*) => {
        let ok: bool = $ok;
        if !ok {
            return Err(($key, format!($($message)*)));
        }
    };
}
use ensure;

/// The first problem found.
pub(crate) fn validate(c: &Config) -> Result<(), Problem> {
    ensure!(!c.name.trim().is_empty(), "name", "must not be empty");
    ensure!(!c.run.trim().is_empty(), "run", "must name the run folder: a path or an object_store URL");
    cluster::validate(&c.cluster)?;
    model::validate(&c.model)?;
    data::validate(c)?;
    stages::validate(c)
}

/// Fails unless `value` is finite and at least 0.
fn not_negative(key: &'static str, value: f64) -> Result<(), Problem> {
    ensure!(value.is_finite() && value >= 0.0, key, "is {value}; it must be finite and not negative");
    Ok(())
}

/// Fails unless `value` is finite and above 0.
fn positive(key: &'static str, value: f64) -> Result<(), Problem> {
    ensure!(value.is_finite() && value > 0.0, key, "is {value}; it must be finite and above 0");
    Ok(())
}

/// Fails unless `low <= value <= high`.
fn within<T: PartialOrd + std::fmt::Display>(key: &'static str, value: T, low: T, high: T) -> Result<(), Problem> {
    ensure!(value >= low && value <= high, key, "is {value}; it must be from {low} to {high}");
    Ok(())
}
