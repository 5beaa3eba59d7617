"""Weights and batch out of the safetensors file that the engine's example `step` writes."""

import json
import struct

import torch

KINDS = {"F32": torch.float32, "I64": torch.int64}


def read(path: str) -> dict[str, torch.Tensor]:
    with open(path, "rb") as file:
        data = bytearray(file.read())
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    start, tensors = 8 + length, {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        kind = KINDS[entry["dtype"]]
        count = (end - begin) // kind.itemsize
        tensors[name] = torch.frombuffer(data, dtype=kind, count=count, offset=start + begin).view(entry["shape"])
    return tensors


def load(path: str, model: torch.nn.Module):
    """Gives the model its weights, by name, and returns x, t and eps."""
    tensors = read(path)
    given = [tensors.pop(f"batch.{name}") for name in ("x", "t", "eps")]
    model.load_state_dict(tensors)
    return given
