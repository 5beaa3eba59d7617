//! Logical CPUs in the kernel's list form.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use defusion_config::protocol::EXIT_USAGE;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// Logical CPUs, in the kernel's list form: `0-3,8`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuList(pub BTreeSet<usize>);

/// A text that is no list of CPUs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CpuListError {
    /// A part is no number and no range of numbers. Holds the part.
    #[error("`{0}` is no CPU or range of CPUs")]
    Number(String),
    /// A range is reversed, or beyond what the kernel can number. Holds the part.
    #[error("`{0}` is no range of CPUs")]
    Range(String),
}

impl CpuListError {
    /// Whether starting again can help: never.
    pub fn is_transient(&self) -> bool {
        false
    }

    /// Exit code of a program that ends because of it.
    pub fn exit_code(&self) -> i32 {
        EXIT_USAGE
    }
}

impl FromStr for CpuList {
    type Err = CpuListError;

    fn from_str(text: &str) -> Result<Self, CpuListError> {
        let mut cpus = BTreeSet::new();
        for part in text.trim().split(',').filter(|p| !p.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number = |s: &str| s.trim().parse::<usize>().map_err(|_| CpuListError::Number(part.to_owned()));
            let (first, last) = (number(first)?, number(last)?);
            if first > last || last >= CpuSet::count() {
                return Err(CpuListError::Range(part.to_owned()));
            }
            cpus.extend(first..=last);
        }
        Ok(Self(cpus))
    }
}

impl fmt::Display for CpuList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut cpus = self.0.iter().copied().peekable();
        let mut separator = "";
        while let Some(first) = cpus.next() {
            let mut last = first;
            while cpus.next_if_eq(&(last + 1)).is_some() {
                last += 1;
            }
            write!(f, "{separator}{first}")?;
            if last > first {
                write!(f, "-{last}")?;
            }
            separator = ",";
        }
        Ok(())
    }
}

impl CpuList {
    /// Makes this process, and the programs that it becomes or starts, run on these CPUs only.
    ///
    /// # Errors
    /// The kernel's refusal, such as CPUs outside the container's set.
    pub fn apply(&self) -> nix::Result<()> {
        let mut set = CpuSet::new();
        for cpu in &self.0 {
            set.set(*cpu)?;
        }
        sched_setaffinity(Pid::from_raw(0), &set)
    }

    /// Returns the CPUs that this process may run on.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn current() -> nix::Result<Self> {
        let set = sched_getaffinity(Pid::from_raw(0))?;
        Ok(Self((0..CpuSet::count()).filter(|cpu| set.is_set(*cpu) == Ok(true)).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> CpuList {
        text.parse().unwrap()
    }

    #[test]
    fn lists_read_and_write_the_kernels_form() {
        assert_eq!(list("0-3,8,10-11").to_string(), "0-3,8,10-11");
        assert_eq!(list("").to_string(), "");
        assert_eq!(list("3,1,2\n").to_string(), "1-3");
        assert!("3-1".parse::<CpuList>().is_err() && "x".parse::<CpuList>().is_err());
        assert!("0-99999999999".parse::<CpuList>().is_err());
    }
}
