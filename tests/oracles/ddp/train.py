"""Trains a small network with PyTorch's DistributedDataParallel over gloo, two processes, and writes the losses.

Run by trainer/tests/parallel/peer.rs: `train.py CASE LOSSES`. CASE is a safetensors file with the network's weights by name
and the batches: x [steps, rows, 3, 16, 16], y [steps, rows, 4]. LOSSES gets a JSON list: each step's mean loss over ranks,
before the step.
"""

import json
import os
import sys

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from safetensors.torch import load_file
from torch import nn
from torch.nn.functional import mse_loss, silu
from torch.nn.parallel import DistributedDataParallel

RANKS = 2


class Net(nn.Module):
    """The network of trainer/tests/parallel/networks.rs."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.norm = nn.GroupNorm(2, 8)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        h = silu(self.second(silu(self.first(x))))
        return self.head(self.norm(h).mean((2, 3)))


def train(rank, case, losses, port_file):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{port_file}", rank=rank, world_size=RANKS)
    tensors = load_file(case)
    x, y = tensors.pop("x"), tensors.pop("y")
    net = Net()
    net.load_state_dict(tensors)
    ddp = DistributedDataParallel(net, bucket_cap_mb=0.002)
    adam = torch.optim.AdamW(ddp.parameters(), lr=1e-3, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.0)
    told = []
    for step in range(len(x)):
        loss = mse_loss(ddp(x[step].chunk(RANKS)[rank]), y[step].chunk(RANKS)[rank])
        adam.zero_grad()
        loss.backward()
        adam.step()
        mean = loss.detach().clone()
        dist.all_reduce(mean)
        told.append(mean.item() / RANKS)
    if rank == 0:
        with open(losses, "w", encoding="utf-8") as file:
            json.dump(told, file)
    # gloo's threads abort the process now and then ("terminate called without an active exception") when they are taken
    # down in order. Everything is told by now.
    dist.barrier()
    os._exit(0)


if __name__ == "__main__":
    case, losses = sys.argv[1:]
    mp.spawn(train, (case, losses, os.path.abspath(losses) + ".meet"), RANKS)
