//! The image restoration bridge's pyramid, and the parts of bridge and adapter within the U-Net's blocks.

use defusion_config::{BridgeArch, Model};

use crate::trace::{Network, n};

/// Walks the pyramid over x_LQ; `area` gives the pixels of each level.
pub(crate) fn pyramid(net: &mut Network, arch: &BridgeArch, area: impl Fn(usize) -> u64) {
    let mut cin = 3;
    for (level, channels) in arch.channels.iter().map(|c| n(*c)).enumerate() {
        match level {
            0 => net.conv("bridge.stem", [cin, channels], 3, area(0)),
            _ => net.conv(&format!("bridge.down.{level}"), [cin, channels], 3, area(level - 1)),
        }
        for i in 0..n(arch.num_res_blocks) {
            let at = format!("bridge.levels.{level}.{i}");
            net.conv(&format!("{at}.block1"), [channels, channels], 3, area(level));
            // SiLU.
            net.keep(channels, area(level));
            net.conv(&format!("{at}.block2"), [channels, channels], 1, area(level));
        }
        // SiLU, and the level's features, which all blocks share.
        net.keep(2 * channels, area(level));
        cin = channels;
    }
}

/// Hands out the numbers of the blocks' parts, in the order that the trainer registers them.
#[derive(Default)]
pub(crate) struct Heads {
    bridge: u64,
    adapter: u64,
}

impl Heads {
    /// Notes the bridge's part of a ResBlock of `channels` channels at `level`.
    pub(crate) fn bridge(&mut self, net: &mut Network, arch: &BridgeArch, level: usize, channels: u64, area: u64) {
        let at = format!("bridge.heads.{}", self.bridge);
        self.bridge += 1;
        net.parameter(format!("{at}.weight"), &[3 * channels, n(arch.channels[level]), 1, 1]);
        net.parameter(format!("{at}.bias"), &[3 * channels]);
        // (scale, shift, gate), 1 + scale, the branch before its gate; and the float32 map that is modulated.
        net.keep(5 * channels, area);
        net.keep_high(channels, area);
    }

    /// Notes the adapter's part of an attention block of `channels` channels over `area` positions.
    pub(crate) fn adapter(&mut self, net: &mut Network, model: &Model, channels: u64, area: u64, tokens: u64) {
        let at = format!("adapter.attn.{}", self.adapter);
        self.adapter += 1;
        let width = n(model.adapter.context_dim);
        for part in ["to_k_ip", "to_v_ip"] {
            net.parameter(format!("{at}.{part}.weight"), &[channels, width]);
            net.keep(channels, tokens);
        }
        net.keep(channels, area);
    }
}

/// Notes what the adapter's attention blocks share.
pub(crate) fn adapter(net: &mut Network, model: &Model, tokens: u64) {
    let width = n(model.adapter.context_dim);
    net.linear_without_bias("adapter.proj", [n(model.tokenizer.embed_dim), width], tokens);
    if model.adapter.key_positions {
        net.parameter("adapter.positions".into(), &[tokens, width]);
    }
    // Keys and values, which all blocks share.
    net.keep(2 * width, tokens);
}
