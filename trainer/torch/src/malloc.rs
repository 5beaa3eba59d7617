//! The allocator's settings.

use std::ffi::c_int;

/// The settings that the launcher gives to workers, in the form of glibc's `GLIBC_TUNABLES`.
const TUNABLES: &str = include_str!("../../../launcher/src/malloc-tunables.txt");

/// Keeps large tensors' memory in the process, instead of returning it to the kernel and faulting it in again at every
/// step (about 10% of a CPU step). Call it once, before the first tensor; returns whether the allocator agreed.
///
/// It is for processes that the launcher has not started. If `GLIBC_TUNABLES` has settings of malloc, as in the
/// launcher's workers, those stay as they are.
pub fn tune_malloc() -> bool {
    if std::env::var("GLIBC_TUNABLES").is_ok_and(|set| set.contains("glibc.malloc.")) {
        return true;
    }
    let mut agreed = true;
    for (parameter, value) in settings() {
        // SAFETY: plain integers, and mallopt may be called at any time.
        agreed &= unsafe { libc::mallopt(parameter, value) } != 0;
    }
    agreed
}

/// Returns those of the launcher's settings that a process can give itself: the thresholds, which mallopt takes as a
/// `c_int`.
fn settings() -> impl Iterator<Item = (c_int, c_int)> {
    TUNABLES.split([':', '\n']).filter_map(|tunable| {
        let (name, value) = tunable.split_once('=')?;
        let parameter = match name {
            "glibc.malloc.mmap_threshold" => libc::M_MMAP_THRESHOLD,
            "glibc.malloc.trim_threshold" => libc::M_TRIM_THRESHOLD,
            _ => return None,
        };
        let bytes: u64 = value.trim().parse().ok()?;
        Some((parameter, c_int::try_from(bytes).unwrap_or(c_int::MAX)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thresholds_come_from_the_launchers_settings() {
        let (mmap, trim) = (libc::M_MMAP_THRESHOLD, libc::M_TRIM_THRESHOLD);
        assert_eq!(settings().collect::<Vec<_>>(), [(mmap, c_int::MAX), (trim, c_int::MAX)]);
        assert!(tune_malloc());
    }
}
