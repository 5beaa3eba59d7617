//! The arithmetic of a stage: what a recipe asks for, and what is computed with.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::protocol::EXIT_USAGE;

/// What a recipe or a command line asks for. Weights, gradients and optimizer state are float32 always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// bfloat16 if the device multiplies it natively (CUDA compute capability 8.0 and up, x86 CPUs with AVX512_BF16 or
    /// AMX-BF16), float32 otherwise. Rank 0 decides when a run begins; its run folder records the choice, and the run keeps
    /// it wherever it is resumed.
    #[default]
    Auto,
    /// float32 throughout.
    Fp32,
    /// bfloat16 autocast.
    Bf16,
}

/// The arithmetic of forward passes, once it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Arithmetic {
    /// float32 throughout.
    Fp32,
    /// bfloat16 autocast.
    Bf16,
}

impl Precision {
    /// Returns what is computed with on a device that multiplies bfloat16 natively, or does not.
    pub fn resolve(self, native: bool) -> Arithmetic {
        match self {
            Self::Fp32 => Arithmetic::Fp32,
            Self::Bf16 => Arithmetic::Bf16,
            Self::Auto if native => Arithmetic::Bf16,
            Self::Auto => Arithmetic::Fp32,
        }
    }

    /// Returns what is asked for by name; `None` for `auto`.
    pub fn settled(self) -> Option<Arithmetic> {
        match self {
            Self::Auto => None,
            Self::Fp32 => Some(Arithmetic::Fp32),
            Self::Bf16 => Some(Arithmetic::Bf16),
        }
    }

    /// Returns `auto`, `fp32` or `bf16`.
    pub fn name(self) -> &'static str {
        self.settled().map_or("auto", Arithmetic::name)
    }
}

impl Arithmetic {
    /// Returns `fp32` or `bf16`, as recipes and command lines have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fp32 => "fp32",
            Self::Bf16 => "bf16",
        }
    }

    /// Returns `float32` or `bfloat16`.
    pub fn number_format(self) -> &'static str {
        match self {
            Self::Fp32 => "float32",
            Self::Bf16 => "bfloat16",
        }
    }
}

impl From<Arithmetic> for Precision {
    fn from(arithmetic: Arithmetic) -> Self {
        match arithmetic {
            Arithmetic::Fp32 => Self::Fp32,
            Arithmetic::Bf16 => Self::Bf16,
        }
    }
}

impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

impl std::fmt::Display for Arithmetic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// A name that is no precision.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is none of auto, fp32, bf16")]
pub struct ParsePrecisionError(pub String);

impl ParsePrecisionError {
    /// Whether starting again can help: never.
    pub fn is_transient(&self) -> bool {
        false
    }

    /// Exit code of a program that ends because of it.
    pub fn exit_code(&self) -> i32 {
        EXIT_USAGE
    }
}

impl std::str::FromStr for Precision {
    type Err = ParsePrecisionError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let known = [Self::Auto, Self::Fp32, Self::Bf16];
        known.into_iter().find(|p| p.name() == name).ok_or_else(|| ParsePrecisionError(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_auto_follows_the_device() {
        for native in [true, false] {
            assert_eq!(Precision::Fp32.resolve(native), Arithmetic::Fp32);
            assert_eq!(Precision::Bf16.resolve(native), Arithmetic::Bf16);
        }
        assert_eq!([true, false].map(|n| Precision::Auto.resolve(n)), [Arithmetic::Bf16, Arithmetic::Fp32]);
        assert_eq!(Precision::default().settled(), None);
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for precision in [Precision::Auto, Precision::Fp32, Precision::Bf16] {
            assert_eq!(precision.to_string().parse(), Ok(precision));
        }
        let error = "half".parse::<Precision>().unwrap_err();
        assert_eq!(error.to_string(), "`half` is none of auto, fp32, bf16");
    }
}
