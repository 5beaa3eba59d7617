"""ADM, guided-diffusion's U-Net, in PyTorch: the rival of `scripts/bench step`.

Two ways of writing the same network, with the same parameters under guided-diffusion's names:

  sdpa     as one would write it today: torch's group norm in the precision that autocast chooses, and
           scaled_dot_product_attention over tokens, nothing recomputed.
  einsum   as guided-diffusion has it: group norm in float32, attention as two einsums with a softmax between them,
           recomputed in backward always, as its AttentionBlock does.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

ARCH = {"channels": 64, "multipliers": [1, 2, 3, 4], "blocks": 2, "attention": [4, 8], "head": 32}


class Norm(nn.GroupNorm):
    """guided-diffusion's GroupNorm32."""

    def __init__(self, channels: int, style: str):
        super().__init__(32, channels)
        self.style = style

    def forward(self, x):
        if self.style == "einsum":
            return super().forward(x.float()).type(x.dtype)
        return super().forward(x)


def zeroed(module):
    for p in module.parameters():
        p.detach().zero_()
    return module


class ResBlock(nn.Module):
    """A block with scale and shift from the time; `resample`: "up", "down" or None."""

    def __init__(self, cin: int, cout: int, time: int, style: str, resample=None):
        super().__init__()
        self.in_layers = nn.Sequential(Norm(cin, style), nn.SiLU(), nn.Conv2d(cin, cout, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(time, 2 * cout))
        self.out_layers = nn.Sequential(
            Norm(cout, style), nn.SiLU(), nn.Dropout(0.0), zeroed(nn.Conv2d(cout, cout, 3, padding=1))
        )
        self.skip_connection = nn.Identity() if cin == cout else nn.Conv2d(cin, cout, 1)
        self.resample = resample

    def resize(self, x):
        if self.resample == "up":
            return F.interpolate(x, scale_factor=2, mode="nearest")
        return F.avg_pool2d(x, 2) if self.resample == "down" else x

    def forward(self, x, emb):
        h = self.in_layers[2](self.resize(self.in_layers[1](self.in_layers[0](x))))
        scale, shift = self.emb_layers(emb).type(h.dtype)[..., None, None].chunk(2, dim=1)
        h = self.out_layers[0](h) * (1 + scale) + shift
        return self.skip_connection(self.resize(x)) + self.out_layers[1:](h)


class Attention(nn.Module):
    def __init__(self, channels: int, head: int, style: str):
        super().__init__()
        self.heads, self.style = channels // head, style
        self.norm = Norm(channels, style)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = zeroed(nn.Conv1d(channels, channels, 1))

    def forward(self, x, _emb):
        if self.style == "einsum":
            return checkpoint(self.einsum, x, use_reentrant=False)
        return self.sdpa(x)

    def sdpa(self, x):
        b, c, height, width = x.shape
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        qkv = F.linear(tokens, self.qkv.weight.squeeze(-1), self.qkv.bias)
        q, k, v = qkv.unflatten(2, (self.heads, 3, -1)).permute(3, 0, 2, 1, 4)
        h = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        h = F.linear(h, self.proj_out.weight.squeeze(-1), self.proj_out.bias)
        return x + h.transpose(1, 2).unflatten(2, (height, width))

    def einsum(self, x):
        b, c, *spatial = x.shape
        x = x.reshape(b, c, -1)
        qkv = self.qkv(self.norm(x))
        length, width = qkv.shape[2], c // self.heads
        q, k, v = qkv.reshape(b * self.heads, 3 * width, length).split(width, dim=1)
        scale = 1 / math.sqrt(math.sqrt(width))
        weight = torch.einsum("bct,bcs->bts", q * scale, k * scale)
        weight = torch.softmax(weight.float(), dim=-1).type(weight.dtype)
        h = torch.einsum("bts,bcs->bct", weight, v).reshape(b, -1, length)
        return (x + self.proj_out(h)).reshape(b, c, *spatial)


class Blocks(nn.Sequential):
    def forward(self, x, emb):
        for layer in self:
            x = layer(x) if isinstance(layer, nn.Conv2d) else layer(x, emb)
        return x


class Adm(nn.Module):
    """Pictures `[B, 3, H, W]` and timesteps `[B]` to the predicted noise `[B, 3, H, W]`."""

    def __init__(self, style: str):
        super().__init__()
        base, time = ARCH["channels"], 4 * ARCH["channels"]
        widths = [base * m for m in ARCH["multipliers"]]
        self.base = base
        self.time_embed = nn.Sequential(nn.Linear(base, time), nn.SiLU(), nn.Linear(time, time))

        def layers(cin, width, level, resample=None):
            found = [ResBlock(cin, width, time, style)]
            if 2**level in ARCH["attention"]:
                found.append(Attention(width, ARCH["head"], style))
            if resample:
                found.append(ResBlock(width, width, time, style, resample))
            return found

        ch, skips = widths[0], [widths[0]]
        self.input_blocks = nn.ModuleList([Blocks(nn.Conv2d(3, ch, 3, padding=1))])
        for level, width in enumerate(widths):
            for _ in range(ARCH["blocks"]):
                self.input_blocks.append(Blocks(*layers(ch, width, level)))
                ch = width
                skips.append(ch)
            if level + 1 < len(widths):
                self.input_blocks.append(Blocks(ResBlock(ch, ch, time, style, "down")))
                skips.append(ch)
        self.middle_block = Blocks(
            ResBlock(ch, ch, time, style), Attention(ch, ARCH["head"], style), ResBlock(ch, ch, time, style)
        )
        self.output_blocks = nn.ModuleList()
        for level, width in reversed(list(enumerate(widths))):
            for i in range(ARCH["blocks"] + 1):
                up = "up" if level > 0 and i == ARCH["blocks"] else None
                self.output_blocks.append(Blocks(*layers(ch + skips.pop(), width, level, up)))
                ch = width
        self.out = nn.Sequential(Norm(ch, style), nn.SiLU(), zeroed(nn.Conv2d(ch, 3, 3, padding=1)))

    def forward(self, x, t):
        half = self.base // 2
        frequencies = torch.exp(torch.arange(half, dtype=torch.float32) * (-math.log(10000) / half))
        angles = t[:, None].float() * frequencies
        emb = self.time_embed(torch.cat([angles.cos(), angles.sin()], dim=1))
        skips = []
        for block in self.input_blocks:
            x = block(x, emb)
            skips.append(x)
        x = self.middle_block(x, emb)
        for block in self.output_blocks:
            x = block(torch.cat([x, skips.pop()], dim=1), emb)
        return self.out(x)
