"""Compares this loader with others on the same crops: `python run.py BENCH FOLDER [--json FILE] [--parts ...]`.

BENCH is the built example `bench` of the dataloader, FOLDER what data.py made. Each round runs every loader once, in an
order that turns; a figure is the median of the rounds, its spread the least and the most.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

# Folder of shards and codec of each.
OURS = "this loader"
OWN = {OURS: ("shards", "zstd"), "this loader, tiles not packed": ("shards-raw", "raw")}
PEERS = [
    "whole files, PIL",
    "whole files, OpenCV",
    "sub-images, OpenCV",
    "mosaicml-streaming",
    "mosaicml-streaming, raw",
    "webdataset",
]
SETS = {"pairs": "images of 720 px and more", "small": "images of 256 px"}
# glibc gives every large batch back to the kernel and takes it anew, page by page. The launcher's settings for workers
# keep it; all loaders get the first line of them here, ours and the others.
TUNABLES = Path(__file__).resolve().parents[3] / "launcher" / "src" / "malloc-tunables.txt"
MALLOC = TUNABLES.read_text().split()[0]
MEMORY_SAMPLES, MEMORY_CROP = 1_000_000, 64
MANY_IMAGES, MANY_SHARDS = 100_000, 1_000
STARTS = 5


def last_json(*command):
    # Loaders warn on standard error; what matters there is only seen when they fail.
    environment = os.environ | {"GLIBC_TUNABLES": MALLOC}
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stderr}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def speed(bench, folder, sets, rounds, seconds):
    peers = Path(__file__).with_name("peers.py")
    figures = {}
    for name in sets:
        # Images of 256 px are not cut any further.
        loaders = [*OWN, *(p for p in PEERS if name == "pairs" or not p.startswith("sub-images"))]
        rates = {loader: [] for loader in loaders}
        for n in range(rounds):
            for loader in loaders[n % len(loaders) :] + loaders[: n % len(loaders)]:
                if loader in OWN:
                    command = bench, "pairs", folder / OWN[loader][0], name, seconds, 2
                else:
                    command = sys.executable, peers, loader, folder, name, seconds
                run = last_json(*command)[-1]
                rates[loader].append(run["pairs"] / run["seconds"])
        figures[name] = {
            loader: {"median": statistics.median(r), "least": min(r), "most": max(r)} for loader, r in rates.items()
        }
    return figures


def print_speed(figures):
    for name, loaders in figures.items():
        ours = loaders[OURS]["median"]
        print(f"\n{'crop pairs per second, ' + SETS[name]:<52}{'median':>9}{'least':>9}{'most':>9}{'ours is':>9}")
        for loader, rate in loaders.items():
            print(f"{loader:<52}{rate['median']:9.0f}{rate['least']:9.0f}{rate['most']:9.0f}{ours / rate['median']:8.1f}x")


def start(bench, folder):
    if not (folder / "many" / "manifest.json").exists():
        subprocess.run([bench, "many", folder, "many", str(MANY_IMAGES), str(MANY_SHARDS)], check=True)
    return [last_json(bench, "start", folder, "many")[-1] for _ in range(STARTS)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", type=Path, help="file for the figures; parts not run now are kept")
    parser.add_argument("--parts", default="speed,start,synthesis,memory")
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3)
    options = parser.parse_args()
    bench, folder, parts = options.bench, options.folder, options.parts.split(",")
    figures = {}
    for name in SETS:
        for shards, codec in OWN.values():
            if not (folder / shards / name / "manifest.json").exists():
                subprocess.run([bench, "prepare", folder / name, folder / shards, name, codec], check=True)
    if "speed" in parts:
        figures["speed"] = speed(bench, folder, options.sets.split(","), options.rounds, options.seconds)
        print_speed(figures["speed"])
    if "start" in parts:
        figures["start"] = start(bench, folder)
        first = [run["first_batch_s"] for run in figures["start"]]
        print(f"\nfirst batch of {MANY_IMAGES} images in {MANY_SHARDS} shards: {statistics.median(first):.3f} s, most {max(first):.3f} s")
    if "synthesis" in parts:
        figures["synthesis"] = last_json(bench, "synthesis", folder / "shards", "pairs", options.seconds)
        print("\nwhole samples of 256 px per second and core, with instructions")
        for run in figures["synthesis"]:
            print(f"{run['category']:<20}{run['samples_per_s']:8.1f}")
    if "memory" in parts:
        start(bench, folder)
        figures["memory"] = last_json(bench, "memory", folder, "many", MEMORY_SAMPLES, MEMORY_CROP)[-1]
        resident = " ".join(f"{mib:.0f}" for mib in figures["memory"]["resident_mib"])
        print(f"\nresident memory after each tenth of {MEMORY_SAMPLES} crop pairs, MiB: {resident}")
    if options.json:
        before = json.loads(options.json.read_text()) if options.json.exists() else {}
        if "speed" in figures:
            figures["speed"] = before.get("speed", {}) | figures["speed"]
        options.json.write_text(json.dumps(before | figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
