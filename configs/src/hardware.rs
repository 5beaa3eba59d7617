//! What a device multiplies natively: what `precision: auto` follows.

/// Variable by which oneDNN, which computes libtorch's convolutions and products on CPUs, is kept to an older instruction
/// set. It is honoured here, so that slow machines can be tried on fast ones.
pub const ENV_MAX_CPU_ISA: &str = "ONEDNN_MAX_CPU_ISA";

/// What computing in bfloat16 costs without instructions for it: measured with `configs/cpu-demo.yaml`.
const COST: &str = "float32 was six times as fast on a CPU with AVX2 alone (AMD Zen 1)";

/// CUDA compute capability, major and minor, from which on GPUs multiply bfloat16.
const FIRST_CAPABILITY: (u32, u32) = (8, 0);

/// Whether a device multiplies bfloat16 natively.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NativeBfloat16 {
    /// Whether it does.
    pub is_native: bool,
    /// How that is known, a clause for messages: `this CPU has AVX512_BF16`.
    pub why: String,
}

impl NativeBfloat16 {
    /// Asks the CPU of this host.
    pub fn of_cpu() -> Self {
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let mut flags = flags(&cpuinfo);
        // Where a sandbox hides the file.
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx512bf16") {
            flags.push("avx512_bf16");
        }
        Self::of_flags(&flags, std::env::var(ENV_MAX_CPU_ISA).ok().as_deref())
    }

    /// Judges a CPU by its flags as Linux names them, and by the instruction set that oneDNN is kept to.
    pub fn of_flags(flags: &[&str], max_isa: Option<&str>) -> Self {
        let known = [("avx512_bf16", "AVX512_BF16"), ("amx_bf16", "AMX-BF16")];
        let found = known.iter().find(|(flag, _)| flags.contains(flag));
        let (is_native, why) = match (found, max_isa.filter(|isa| is_below_bfloat16(isa))) {
            (Some(_), Some(isa)) => (false, format!("this CPU has no native bfloat16 with {ENV_MAX_CPU_ISA}={isa}")),
            (Some((_, name)), None) => (true, format!("this CPU has {name}")),
            (None, _) => (false, "this CPU has no native bfloat16, neither AVX512_BF16 nor AMX-BF16".to_owned()),
        };
        Self { is_native, why }
    }

    /// Judges a GPU by its compute capability, major and minor.
    pub fn of_gpu(capability: (u32, u32)) -> Self {
        let is_native = capability >= FIRST_CAPABILITY;
        let has = if is_native { "has" } else { "has no native bfloat16 with" };
        let (major, minor) = capability;
        Self { is_native, why: format!("this GPU {has} compute capability {major}.{minor}") }
    }
}

impl NativeBfloat16 {
    /// Returns what there is to say against bfloat16 on this device, a clause with the measured factor; `None` if nothing.
    pub fn objection(&self) -> Option<String> {
        (!self.is_native).then(|| format!("{}: {COST}", self.why))
    }
}

/// Returns the flags of the first CPU in the text of `/proc/cpuinfo`, and none if this is no x86.
fn flags(cpuinfo: &str) -> Vec<&str> {
    let line = cpuinfo.lines().find_map(|line| line.strip_prefix("flags")?.trim_start().strip_prefix(':'));
    line.unwrap_or_default().split_whitespace().collect()
}

/// Whether a value of [`ENV_MAX_CPU_ISA`] keeps oneDNN from bfloat16 products. What it does not know it ignores.
fn is_below_bfloat16(isa: &str) -> bool {
    const BELOW: [&str; 7] = ["SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI"];
    BELOW.iter().any(|below| isa.eq_ignore_ascii_case(below))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GENOA: &str = "processor\t: 0\nmodel name\t: AMD EPYC 9354\nflags\t\t: fpu avx2 avx512f avx512_bf16 avx512vbmi\n\
        \nprocessor\t: 1\nflags\t\t: fpu\n";
    const SAPPHIRE_RAPIDS: &str = "flags\t\t: fpu avx2 avx512f amx_bf16 amx_tile amx_int8\n";
    const ZEN_1: &str = "flags\t\t: fpu avx avx2 fma sha_ni\nvmx flags\t: vnmi\n";
    const GRAVITON_3: &str = "processor\t: 0\nFeatures\t: fp asimd sve bf16 i8mm\n";

    fn of(cpuinfo: &str, max_isa: Option<&str>) -> NativeBfloat16 {
        NativeBfloat16::of_flags(&flags(cpuinfo), max_isa)
    }

    #[test]
    fn cpus_are_known_by_their_flags() {
        for (cpuinfo, is_native, why) in [
            (GENOA, true, "this CPU has AVX512_BF16"),
            (SAPPHIRE_RAPIDS, true, "this CPU has AMX-BF16"),
            (ZEN_1, false, "this CPU has no native bfloat16, neither AVX512_BF16 nor AMX-BF16"),
            (GRAVITON_3, false, "this CPU has no native bfloat16, neither AVX512_BF16 nor AMX-BF16"),
            ("", false, "this CPU has no native bfloat16, neither AVX512_BF16 nor AMX-BF16"),
        ] {
            assert_eq!(of(cpuinfo, None), NativeBfloat16 { is_native, why: why.into() });
        }
    }

    #[test]
    fn an_older_instruction_set_may_be_asked_for() {
        for isa in ["AVX2", "avx2", "AVX512_CORE", "AVX512_CORE_VNNI"] {
            let found = of(GENOA, Some(isa));
            let why = format!("this CPU has no native bfloat16 with ONEDNN_MAX_CPU_ISA={isa}");
            assert_eq!(found, NativeBfloat16 { is_native: false, why });
        }
        for isa in ["AVX512_CORE_BF16", "AVX10_1_512_AMX", "DEFAULT", "ALL", "", "a word of nobody's"] {
            assert!(of(GENOA, Some(isa)).is_native, "{isa}");
            assert!(!of(ZEN_1, Some(isa)).is_native, "{isa}");
        }
    }

    #[test]
    fn gpus_are_known_by_their_compute_capability() {
        for (capability, is_native) in [((7, 5), false), ((8, 0), true), ((8, 9), true), ((12, 0), true)] {
            assert_eq!(NativeBfloat16::of_gpu(capability).is_native, is_native, "{capability:?}");
        }
        assert_eq!(NativeBfloat16::of_gpu((9, 0)).why, "this GPU has compute capability 9.0");
    }
}
