"""One rank of the rival's training step: PyTorch DDP over gloo. Rank 0 prints one line of JSON, as the engine's example
`step` does. Started by compare.py, which sets RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT.

    peer.py --style sdpa --memory channels_last --precision bf16
    peer.py --style einsum                                        guided-diffusion's defaults
"""

import argparse
import json
import os
import time

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from adm import Adm
from weights import load

LR, BETAS, DECAY, CLIP = 1e-4, (0.9, 0.99), 0.9999, 1.0


def batch(rank: int):
    torch.manual_seed(100 + rank)
    return torch.randn(4, 3, 64, 64), torch.randint(1000, (4,)), torch.randn(4, 3, 64, 64)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--style", choices=["sdpa", "einsum"], default="sdpa")
    parser.add_argument("--memory", choices=["contiguous", "channels_last"], default="contiguous")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--warm-up", type=int, default=3)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--weights", help="weights and batch to start from, written by the example `step`")
    args = parser.parse_args()

    torch.set_num_threads(1)
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    torch.manual_seed(1)
    model = Adm(args.style)
    x, t, eps = batch(rank)
    if args.weights:
        x, t, eps = load(args.weights, model)
    else:
        for p in model.parameters():
            if p.dim() > 1 and not p.any():
                torch.nn.init.kaiming_uniform_(p, a=5**0.5)
    ours = args.style == "sdpa"
    if args.memory == "channels_last":
        model, x = model.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    params = list(model.parameters())
    average = [p.detach().clone() for p in params]
    optimizer = torch.optim.AdamW(params, lr=LR, betas=BETAS, weight_decay=0.0, fused=True if ours else None)
    network = model
    if world > 1:
        dist.init_process_group("gloo")
        # guided-diffusion's own arguments are the defaults but for the bucket size.
        extra = {"gradient_as_bucket_view": True, "static_graph": True} if ours else {"bucket_cap_mb": 128}
        network = DistributedDataParallel(model, **extra)

    losses, seconds = [], []
    for i in range(args.warm_up + args.steps):
        begun = time.perf_counter()
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=args.precision == "bf16"):
            predicted = network(x, t)
        loss = (eps - predicted.float()).square().mean()
        loss.backward()
        if ours:
            norm = torch.nn.utils.clip_grad_norm_(params, CLIP, foreach=True)
            if torch.isfinite(norm) and torch.isfinite(loss):
                optimizer.step()
            torch._foreach_lerp_(average, params, 1 - DECAY)
        else:
            # guided-diffusion's train loop: the gradient's norm for the log, the optimizer, the average by parameter.
            sum((p.grad**2).sum().item() for p in params)
            optimizer.step()
            for source, target in zip(params, average):
                target.detach().mul_(DECAY).add_(source.detach(), alpha=1 - DECAY)
        losses.append(loss.item())
        if i >= args.warm_up:
            seconds.append(time.perf_counter() - begun)
    if rank == 0:
        report = {"parameters": sum(p.numel() for p in params), "losses": losses, "step_s": seconds}
        print(json.dumps(report), flush=True)
    if world > 1:
        dist.destroy_process_group()


main()
