//! A walk through a network that notes what each layer registers and keeps.

/// One parameter: its name, as the reference implementation has it, and its shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Such as `input_blocks.0.0.weight`.
    pub name: String,
    /// Such as `[256, 3, 3, 3]`.
    pub shape: Vec<u64>,
}

/// Values that a forward pass keeps for backward, for one sample.
///
/// Counted from what libtorch saves: a convolution its input; GroupNorm its input, which autocast makes a float32 copy
/// of; SiLU its float32 input; attention q, k, v and its output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Values in the precision that the layers compute in.
    pub low: u64,
    /// Values in float32 whatever that is.
    pub high: u64,
}

impl Kept {
    fn add(&mut self, other: Self) {
        self.low += other.low;
        self.high += other.high;
    }

    /// Bytes, at `low` bytes for a value of the layers' precision.
    pub fn bytes(&self, low: u64) -> u64 {
        self.low * low + self.high * 4
    }
}

/// A block that can be recomputed: a ResBlock or an attention block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Channels of its input.
    pub width: u64,
    /// Its input, which is kept where it is recomputed.
    pub input: Kept,
    /// What it keeps otherwise, and while it is recomputed.
    pub kept: Kept,
}

/// A network's size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// Parameters in the order of registration.
    pub parameters: Vec<Parameter>,
    /// What backward keeps, everything.
    pub kept: Kept,
    /// What backward keeps of what lies outside blocks.
    pub kept_outside_blocks: Kept,
    /// The blocks, in the order in which they run.
    pub blocks: Vec<Block>,
    /// Values of the largest map that a convolution reads, for one sample.
    pub largest_map: u64,
    in_block: Option<Kept>,
}

impl Network {
    /// Number of parameters.
    pub fn count(&self) -> u64 {
        self.count_under("")
    }

    /// Number of parameters whose names start with `prefix`.
    pub fn count_under(&self, prefix: &str) -> u64 {
        let under = self.parameters.iter().filter(|p| p.name.starts_with(prefix));
        under.map(|p| p.shape.iter().product::<u64>()).sum()
    }

    pub(super) fn parameter(&mut self, name: String, shape: &[u64]) {
        self.parameters.push(Parameter { name, shape: shape.to_vec() });
    }

    /// Notes `channels` x `area` values kept in the layers' precision.
    pub(super) fn keep(&mut self, channels: u64, area: u64) {
        self.note(Kept { low: channels * area, high: 0 });
    }

    /// Notes `channels` x `area` values kept in float32.
    pub(super) fn keep_high(&mut self, channels: u64, area: u64) {
        self.note(Kept { low: 0, high: channels * area });
    }

    fn note(&mut self, kept: Kept) {
        self.kept.add(kept);
        self.in_block.as_mut().unwrap_or(&mut self.kept_outside_blocks).add(kept);
    }

    /// What `walk` notes belongs to one block with an input of `channels` x `area`.
    pub(super) fn block(&mut self, channels: u64, area: u64, walk: impl FnOnce(&mut Self)) {
        self.in_block = Some(Kept::default());
        walk(self);
        let kept = self.in_block.take().unwrap_or_default();
        self.blocks.push(Block { width: channels, input: Kept { low: channels * area, high: 0 }, kept });
    }

    /// A convolution with bias, over an input of `area` pixels.
    pub(super) fn conv(&mut self, name: &str, [cin, cout]: [u64; 2], kernel: u64, area: u64) {
        self.conv_without_bias(name, [cin, cout], kernel, area);
        self.parameter(format!("{name}.bias"), &[cout]);
    }

    pub(super) fn conv_without_bias(&mut self, name: &str, [cin, cout]: [u64; 2], kernel: u64, area: u64) {
        self.parameter(format!("{name}.weight"), &[cout, cin, kernel, kernel]);
        self.keep(cin, area);
        self.largest_map = self.largest_map.max(cin * area);
    }

    /// GroupNorm or BatchNorm.
    pub(super) fn norm(&mut self, name: &str, channels: u64, area: u64) {
        self.parameter(format!("{name}.weight"), &[channels]);
        self.parameter(format!("{name}.bias"), &[channels]);
        self.keep_high(channels, area);
    }

    /// GroupNorm and SiLU.
    pub(super) fn norm_silu(&mut self, name: &str, channels: u64, area: u64) {
        self.norm(name, channels, area);
        self.keep_high(channels, area);
    }

    /// A linear layer with bias, over `rows` rows.
    pub(super) fn linear(&mut self, name: &str, [cin, cout]: [u64; 2], rows: u64) {
        self.linear_without_bias(name, [cin, cout], rows);
        self.parameter(format!("{name}.bias"), &[cout]);
    }

    pub(super) fn linear_without_bias(&mut self, name: &str, [cin, cout]: [u64; 2], rows: u64) {
        self.parameter(format!("{name}.weight"), &[cout, cin]);
        self.keep(cin, rows);
    }
}

/// A width or count of the config, which validation keeps positive.
pub(super) fn n(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
