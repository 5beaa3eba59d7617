"""Crop pairs per second of one Python loader: `python peers.py NAME FOLDER SET SECONDS` prints a line of JSON.

Every loader gives the same: batches of 32 random 256 px crops of LQ and HQ with random flips, float32 in [0, 1]. All
have two worker processes, which hand over bytes; the main process makes floats of them, which costs it less than
receiving floats would.
"""

import json
import os
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

CROP, BATCH, WORKERS = 256, 32, 2
EPOCH = 1 << 20


def crop_and_flip(lq, hq):
    y, x = (np.random.randint(size - CROP + 1) for size in lq.shape[:2])
    flips = tuple(slice(None, None, -1 if np.random.rand() < 0.5 else 1) for _ in range(2))
    return tuple(
        torch.from_numpy(np.ascontiguousarray(side[y : y + CROP, x : x + CROP][flips])) for side in (lq, hq)
    )


def from_png(data):
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


def read_pil(path):
    return np.asarray(Image.open(path))


def read_opencv(path):
    return cv2.imread(path)


class Files(Dataset):
    """Pairs of PNG files, decoded whole. As long as it is needed to be: an epoch never ends within a measurement."""

    def __init__(self, folder, read):
        self.pairs = [(str(lq), str(folder / "target" / lq.name)) for lq in sorted((folder / "input").iterdir())]
        self.read = read

    def __len__(self):
        return EPOCH

    def __getitem__(self, index):
        lq, hq = self.pairs[index % len(self.pairs)]
        return crop_and_flip(self.read(lq), self.read(hq))


def files(folder, read):
    return DataLoader(Files(folder, read), BATCH, shuffle=True, num_workers=WORKERS, worker_init_fn=start_worker)


def start_worker(_):
    cv2.setNumThreads(0)


def mds(folder, decode):
    from streaming import StreamingDataset
    from streaming.base.util import clean_stale_shared_memory

    class Pairs(StreamingDataset):
        def __getitem__(self, index):
            sample = super().__getitem__(index)
            return crop_and_flip(decode(sample["lq"]), decode(sample["hq"]))

    clean_stale_shared_memory()
    # As long as with `Files`: an epoch never ends within a measurement.
    dataset = Pairs(local=str(folder), shuffle=True, batch_size=BATCH, num_canonical_nodes=1, epoch_size=EPOCH)
    # Its workers live through all epochs, as they would in training.
    return DataLoader(dataset, BATCH, num_workers=WORKERS, worker_init_fn=start_worker, persistent_workers=True)


def tars(folder):
    import webdataset

    urls = sorted(str(path) for path in folder.glob("*.tar"))
    dataset = webdataset.WebDataset(urls, resampled=True, shardshuffle=True).shuffle(200)
    dataset = dataset.map(lambda sample: crop_and_flip(from_png(sample["lq.png"]), from_png(sample["hq.png"])))
    return DataLoader(dataset, BATCH, num_workers=WORKERS, worker_init_fn=start_worker)


LOADERS = {
    "whole files, PIL": lambda out, name: files(out / name, read_pil),
    "whole files, OpenCV": lambda out, name: files(out / name, read_opencv),
    "sub-images, OpenCV": lambda out, name: files(out / f"{name}-cut", read_opencv),
    "mosaicml-streaming": lambda out, name: mds(out / f"{name}-mds", from_png),
    "mosaicml-streaming, raw": lambda out, name: mds(out / f"{name}-mds-raw", lambda pixels: pixels),
    "webdataset": lambda out, name: tars(out / f"{name}-wds"),
}


def epochs(loader):
    while True:
        yield from loader


def main():
    name, folder, seconds = sys.argv[1], Path(sys.argv[2]), float(sys.argv[4])
    torch.set_num_threads(1)
    batches = epochs(LOADERS[name](folder, sys.argv[3]))
    # Workers are started and their queues full.
    for _ in range(2 * WORKERS):
        next(batches)
    pairs, total, start = 0, 0.0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        lq, hq = (side.permute(0, 3, 1, 2).to(torch.float32).div_(255) for side in next(batches))
        total += float(lq[0, 0, 0, 0] + hq[0, 0, 0, 0])
        pairs += len(lq)
    print(json.dumps({"pairs": pairs, "seconds": time.perf_counter() - start, "checksum": total}), flush=True)
    # Without waiting for what the workers have begun.
    os._exit(0)


if __name__ == "__main__":
    main()
