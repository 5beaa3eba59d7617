//! Memory that is free, and a word before it is too little.

use std::path::Path;

use defusion_restore::RestoreMemory;

/// Says so if restoring an image will hardly fit this computer's memory: the kernel ends programs that take too much, and
/// then nobody is left to say it.
pub(super) fn warn_if_short(image: &Path, [width, height]: [usize; 2], needed: RestoreMemory, batch: usize) {
    let Some(free) = free_bytes().filter(|free| needed.host > *free) else { return };
    let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
    let advice =
        if batch > 1 { "--batch 1 needs less; otherwise close other programs" } else { "close other programs" };
    tracing::warn!(
        "{}: {width}x{height} pixels need about {:.1} GiB, and {:.1} GiB are free: should the program be killed, {advice} \
         or cut the image into parts",
        image.display(),
        gib(needed.host),
        gib(free),
    );
}

/// What this process can have: of the computer's memory, and of its control group's.
fn free_bytes() -> Option<u64> {
    let computer = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| available(&text));
    let number = |file: &str| std::fs::read_to_string(Path::new("/sys/fs/cgroup").join(file)).ok()?.trim().parse().ok();
    let group = number("memory.max").and_then(|max: u64| Some(max.saturating_sub(number("memory.current")?)));
    computer.into_iter().chain(group).min()
}

fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table_is_read() {
        let text = "MemTotal:       24554832 kB\nMemFree:         8012345 kB\nMemAvailable:   22000000 kB\n";
        assert_eq!(available(text), Some(22_000_000 << 10));
        assert_eq!(available("MemTotal: 3 kB\n"), None);
    }
}
