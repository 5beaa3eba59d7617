"""What the machine can do: the highest rate that oneDNN reaches on one thread, forward, over convolutions of 3x3, and how
many operations a training step has. One line of JSON."""

import json
import time

import torch
from torch.nn.functional import conv2d
from torch.utils.flop_counter import FlopCounterMode

from adm import Adm

SHAPES = [(256, 8), (256, 16), (512, 16), (256, 32), (512, 32), (128, 64)]


def rate(kind: torch.dtype, channels: int, side: int) -> float:
    """Operations a second, the best of 0.4 s of runs."""
    x = torch.randn(4, channels, side, side, dtype=kind).to(memory_format=torch.channels_last)
    w = torch.randn(channels, channels, 3, 3, dtype=kind).to(memory_format=torch.channels_last)
    best, until = float("inf"), time.perf_counter() + 0.4
    while time.perf_counter() < until:
        begun = time.perf_counter()
        conv2d(x, w, padding=1)
        best = min(best, time.perf_counter() - begun)
    return 2 * 9 * channels * channels * 4 * side * side / best


def operations() -> int:
    model = Adm("sdpa")
    with FlopCounterMode(display=False) as counter:
        model(torch.randn(4, 3, 64, 64), torch.arange(4)).square().mean().backward()
    return counter.get_total_flops()


torch.set_num_threads(1)
with torch.no_grad():
    peaks = {name: max(rate(kind, *s) for s in SHAPES) for name, kind in [("fp32", torch.float32), ("bf16", torch.bfloat16)]}
print(json.dumps({"operations": operations(), "peak": peaks}))
