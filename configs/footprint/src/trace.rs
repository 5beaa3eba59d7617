//! A walk through a network that notes what each layer registers and keeps.

/// One parameter: its name, as the reference implementation has it, and its shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Name, such as `input_blocks.0.0.weight`.
    pub name: String,
    /// Shape, such as `[256, 3, 3, 3]`.
    pub shape: Vec<u64>,
}

/// Values that a forward pass keeps for backward, for one sample.
///
/// Counted from what libtorch saves: a convolution its input; GroupNorm its input, which autocast makes a float32 copy
/// of; SiLU its float32 input; attention q, k, v and its output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Number of values in the precision that the layers compute in.
    pub low: u64,
    /// Number of values in float32 whatever that precision is.
    pub high: u64,
}

impl Kept {
    fn add(&mut self, other: Self) {
        self.low += other.low;
        self.high += other.high;
    }

    /// Returns the bytes, at `low` bytes for a value of the layers' precision.
    pub fn bytes(&self, low: u64) -> u64 {
        self.low * low + self.high * 4
    }
}

/// A block that can be recomputed: a ResBlock or an attention block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Number of channels of its input.
    pub width: u64,
    /// Its input, which is kept if the block is recomputed.
    pub input: Kept,
    /// What the block keeps otherwise, and while it is recomputed.
    pub kept: Kept,
}

/// A network's size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// Parameters in the order of registration.
    pub parameters: Vec<Parameter>,
    /// Everything that is kept for backward.
    pub kept: Kept,
    /// The part of it that lies outside blocks.
    pub kept_outside_blocks: Kept,
    /// The blocks, in the order in which they run.
    pub blocks: Vec<Block>,
    /// Number of values of the largest map that a convolution reads, for one sample.
    pub largest_map: u64,
    in_block: Option<Kept>,
}

impl Network {
    /// Returns the number of parameters.
    pub fn count(&self) -> u64 {
        self.count_under("")
    }

    /// Returns the number of parameters whose names start with `prefix`.
    pub fn count_under(&self, prefix: &str) -> u64 {
        let under = self.parameters.iter().filter(|p| p.name.starts_with(prefix));
        under.map(|p| p.shape.iter().product::<u64>()).sum()
    }

    pub(crate) fn parameter(&mut self, name: String, shape: &[u64]) {
        self.parameters.push(Parameter { name, shape: shape.to_vec() });
    }

    /// Notes `channels` x `area` values kept in the layers' precision.
    pub(crate) fn keep(&mut self, channels: u64, area: u64) {
        self.note(Kept { low: channels * area, high: 0 });
    }

    /// Notes `channels` x `area` values kept in float32.
    pub(crate) fn keep_high(&mut self, channels: u64, area: u64) {
        self.note(Kept { low: 0, high: channels * area });
    }

    fn note(&mut self, kept: Kept) {
        self.kept.add(kept);
        self.in_block.as_mut().unwrap_or(&mut self.kept_outside_blocks).add(kept);
    }

    /// Counts what `walk` notes as one block with an input of `channels` x `area`.
    pub(crate) fn block(&mut self, channels: u64, area: u64, walk: impl FnOnce(&mut Self)) {
        self.in_block = Some(Kept::default());
        walk(self);
        let kept = self.in_block.take().unwrap_or_default();
        self.blocks.push(Block { width: channels, input: Kept { low: channels * area, high: 0 }, kept });
    }

    /// Notes a convolution with bias, over an input of `area` pixels.
    pub(crate) fn conv(&mut self, name: &str, [cin, cout]: [u64; 2], kernel: u64, area: u64) {
        self.conv_without_bias(name, [cin, cout], kernel, area);
        self.parameter(format!("{name}.bias"), &[cout]);
    }

    pub(crate) fn conv_without_bias(&mut self, name: &str, [cin, cout]: [u64; 2], kernel: u64, area: u64) {
        self.parameter(format!("{name}.weight"), &[cout, cin, kernel, kernel]);
        self.keep(cin, area);
        self.largest_map = self.largest_map.max(cin * area);
    }

    /// Notes a GroupNorm or BatchNorm.
    pub(crate) fn norm(&mut self, name: &str, channels: u64, area: u64) {
        self.parameter(format!("{name}.weight"), &[channels]);
        self.parameter(format!("{name}.bias"), &[channels]);
        self.keep_high(channels, area);
    }

    /// Notes a GroupNorm and a SiLU.
    pub(crate) fn norm_silu(&mut self, name: &str, channels: u64, area: u64) {
        self.norm(name, channels, area);
        self.keep_high(channels, area);
    }

    /// Notes a linear layer with bias, over `rows` rows.
    pub(crate) fn linear(&mut self, name: &str, [cin, cout]: [u64; 2], rows: u64) {
        self.linear_without_bias(name, [cin, cout], rows);
        self.parameter(format!("{name}.bias"), &[cout]);
    }

    pub(crate) fn linear_without_bias(&mut self, name: &str, [cin, cout]: [u64; 2], rows: u64) {
        self.parameter(format!("{name}.weight"), &[cout, cin]);
        self.keep(cin, rows);
    }
}

/// Converts a width or count of the config, which validation keeps positive.
pub(crate) fn n(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
