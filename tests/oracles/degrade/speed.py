"""Milliseconds per 256 x 256 picture of the same chains of degradations: ours, albumentations (on OpenCV), kornia. One
thread each, in alternation; medians over the rounds. Then the loader's whole samples per second with one thread, and
every single degradation. Run by `scripts/bench degrade`, which has the benchmarks built:

    python tests/oracles/degrade/speed.py BENCHMARK [--json FILE] [--rounds N]
"""

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import argparse
import json
import statistics
import subprocess
import tempfile
import time
import warnings
from pathlib import Path

warnings.filterwarnings("ignore")
import albumentations as A
import cv2
import kornia.augmentation as K
import numpy as np
import torch

cv2.setNumThreads(1)
torch.set_num_threads(1)

# As near to our ranges as their options come; all draw new parameters for each picture, as ours do.
ALBUMENTATIONS = {
    "gaussian_blur": lambda: A.GaussianBlur(sigma_limit=(0.2, 3), p=1),
    "motion_blur": lambda: A.MotionBlur(blur_limit=(5, 31), p=1),
    "gaussian_noise": lambda: A.GaussNoise(std_range=(5 / 255, 50 / 255), p=1),
    "jpeg": lambda: A.ImageCompression(quality_range=(8, 96), p=1),
    "rain": lambda: A.RandomRain(p=1),
    "snow": lambda: A.RandomSnow(method="texture", p=1),
}
KORNIA = {
    "gaussian_blur": lambda: K.RandomGaussianBlur((25, 25), (0.2, 3.0), p=1.0),
    "motion_blur": lambda: K.RandomMotionBlur((5, 31), (0.0, 360.0), 0.0, p=1.0),
    "gaussian_noise": lambda: K.RandomGaussianNoise(std=0.1, p=1.0),
    "jpeg": lambda: K.RandomJPEG(jpeg_quality=(8.0, 96.0), p=1.0),
    "rain": lambda: K.RandomRain(p=1.0),
    "snow": lambda: K.RandomSnow(p=1.0),
}
CHAINS = [
    "gaussian_blur+jpeg",
    "motion_blur+gaussian_noise",
    "rain+jpeg",
    "snow+gaussian_noise",
    "rain+gaussian_noise+snow",
]
CATEGORIES = [
    "rain", "heavy_rain", "snow", "raindrop", "haze", "motion_blur", "defocus_blur", "gaussian_blur", "gaussian_noise",
    "real_noise", "jpeg", "low_light", "underwater",
]  # fmt: skip


def photograph() -> np.ndarray:
    """Discs and a little noise: edges, flats and texture."""
    rng = np.random.default_rng(1)
    picture = np.zeros((256, 256, 3), np.uint8)
    for _ in range(600):
        centre, radius = rng.integers(0, 256, 2).tolist(), int(2 + 38 * rng.random() ** 3)
        cv2.circle(picture, centre, radius, rng.integers(64, 192, 3).tolist(), -1)
    return np.clip(picture + rng.normal(0, 4, picture.shape), 0, 255).astype(np.uint8)


def timed(f, seconds: float = 1.5) -> float:
    """Mean milliseconds of a call, after a few to warm up."""
    for _ in range(3):
        f()
    calls, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        f()
        calls += 1
    return 1000 * (time.perf_counter() - start) / calls


def ours(benchmark: str, name: str, seconds: float = 1.5) -> float:
    """Mean milliseconds of an iteration by criterion."""
    with tempfile.TemporaryDirectory() as home:
        command = [benchmark, "--bench", "--noplot", "--exact", name, "--warm-up-time", "0.5"]
        command += ["--measurement-time", str(seconds)]
        run = subprocess.run(command, env=os.environ | {"CRITERION_HOME": home}, capture_output=True, text=True)
        estimates = list(Path(home).rglob("new/estimates.json"))
        if run.returncode != 0 or len(estimates) != 1:
            raise SystemExit(f"{' '.join(command)} measured {len(estimates)} benchmarks\n{run.stdout}{run.stderr}")
        return json.loads(estimates[0].read_text())["mean"]["point_estimate"] / 1e6


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("benchmark")
    arguments.add_argument("--json", type=Path)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments = arguments.parse_args()
    picture = photograph()
    tensor = torch.from_numpy(picture.transpose(2, 0, 1).copy())[None].float() / 255
    rows = {}
    for chain in CHAINS:
        steps = chain.split("+")
        compose = A.Compose([ALBUMENTATIONS[step]() for step in steps])
        sequence = torch.nn.Sequential(*[KORNIA[step]() for step in steps])
        libraries = {
            "ours": lambda: ours(arguments.benchmark, f"chain/{chain}"),
            "albumentations": lambda: timed(lambda: compose(image=picture)),
            "kornia": lambda: timed(lambda: sequence(tensor)),
        }
        found = {name: [] for name in libraries}
        with torch.inference_mode():
            for _ in range(arguments.rounds):
                for name, measure in libraries.items():
                    found[name].append(measure())
        rows[chain] = {name: statistics.median(times) for name, times in found.items()}
        print(f"{chain:<28}" + "".join(f"{name} {ms:8.2f} ms   " for name, ms in rows[chain].items()), flush=True)
    single = {}
    for category in CATEGORIES:
        single[category] = [ours(arguments.benchmark, f"{kind}/{category}", 1) for kind in ("photograph", "ground")]
        print(f"{category:<28}photograph {single[category][0]:8.2f} ms   ground {single[category][1]:8.2f} ms", flush=True)
    batches = [ours(arguments.benchmark, "sample/whole", 6) for _ in range(arguments.rounds)]
    rate = 8 * 1000 / statistics.median(batches)
    reading = ours(arguments.benchmark, "sample/reading a crop", 1)
    print(f"{'whole samples':<28}{rate:8.0f} per second and core; reading a crop takes {reading:.2f} ms of one")
    if arguments.json:
        figures = {"chains_ms": rows, "ops_ms": single, "samples_per_second": rate, "reading_ms": reading}
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


main()
