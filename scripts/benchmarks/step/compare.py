"""The engine's training step beside PyTorch DDP's, in alternation. Started by `scripts/bench step`.

Every visit of a variant is a job of its own, with warm-up; rounds go over all variants in turn, so that what else the
machine does falls on all alike. Figures are medians over all counted steps of rank 0.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
RANKS = 2
PRECISIONS = ["fp32", "bf16"]
MEMORY = ["contiguous", "channels_last"]
# As defusion-launch starts its workers on CPUs.
TUNABLES = HERE.parents[2] / "launcher" / "src" / "malloc-tunables.txt"
MALLOC = {"GLIBC_TUNABLES": ":".join(TUNABLES.read_text().split())}
WORKER = {"OMPI_MCA_mpi_yield_when_idle": "1", "OMP_NUM_THREADS": "1", **MALLOC}


def free_port() -> str:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return str(s.getsockname()[1])


def report(text: str) -> dict:
    lines = [line for line in text.splitlines() if line.startswith("{")]
    if not lines:
        sys.exit(f"no figures in:\n{text}")
    return json.loads(lines[-1])


def peer(ranks: int, *args: str, tuned: bool = False) -> dict:
    env = {**os.environ, **(MALLOC if tuned else {}), "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    # Python brings its own libtorch, which is the same one.
    env.pop("LD_LIBRARY_PATH", None)
    command = [sys.executable, str(HERE / "peer.py"), *args]
    jobs = [
        subprocess.Popen(command, env={**env, "RANK": str(r), "WORLD_SIZE": str(ranks)}, stdout=subprocess.PIPE, text=True)
        for r in range(ranks)
    ]
    outputs = [job.communicate()[0] for job in jobs]
    if any(job.returncode for job in jobs):
        sys.exit(f"failed: {' '.join(command)}")
    return report(outputs[0])


def engine(binary: str, ranks: int, *args: str) -> dict:
    start = ["mpirun", "-n", str(ranks), "--host", f"localhost:{ranks}", "--bind-to", "none"] if ranks > 1 else []
    command = [*start, binary, "--ranks", str(ranks), *args]
    done = subprocess.run(command, env={**os.environ, **WORKER}, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"failed: {' '.join(command)}")
    return report(done.stdout)


def check(binary: str) -> None:
    """Both must compute the same thing before their times are worth comparing."""
    steps = ["--warm-up", "0", "--steps", "3"]
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/start.safetensors"
        ours = engine(binary, 1, "--precision", "fp32", "--weights", file, *steps)
        for style in ["sdpa", "einsum"]:
            theirs = peer(1, "--style", style, "--weights", file, *steps)
            if theirs["parameters"] != ours["parameters"]:
                sys.exit(f"{style}: {theirs['parameters']} parameters, the engine has {ours['parameters']}")
            pairs = list(zip(ours["losses"], theirs["losses"]))
            # guided-diffusion does not clip: only its first loss is the same.
            worst = max(abs(a - b) / abs(b) for a, b in (pairs if style == "sdpa" else pairs[:1]))
            print(f"{style}: {ours['parameters']:,} parameters, losses as the engine's to {worst:.1e}", flush=True)
            if worst > 1e-4:
                sys.exit(f"{style}: losses differ: {pairs}")


def measure(binary: str, rounds: int, steps: int, tuned: bool) -> dict[str, list[dict]]:
    count = ["--steps", str(steps)]
    variants = {}
    for p in PRECISIONS:
        for ranks in [1, RANKS]:
            variants[f"engine {p}, ranks {ranks}"] = lambda p=p, n=ranks: engine(binary, n, "--precision", p, *count)
        for m in MEMORY:
            args = ("--memory", m, "--precision", p, *count)
            variants[f"DDP {p} {m}, ranks {RANKS}"] = lambda args=args: peer(RANKS, *args, tuned=tuned)
    variants[f"guided-diffusion's defaults, ranks {RANKS}"] = lambda: peer(RANKS, "--style", "einsum", *count, tuned=tuned)
    reports = {name: [] for name in variants}
    for _ in range(rounds):
        for name, run in variants.items():
            reports[name].append(run())
    return reports


def figures(reports: dict[str, list[dict]]) -> dict:
    seconds = {name: statistics.median(s for r in found for s in r["step_s"]) for name, found in reports.items()}

    def part(name: str, key: str) -> float:
        return statistics.median(value for r in reports[name] for value in r[key])

    result = {"step_s": seconds}
    for p in PRECISIONS:
        ours, alone = f"engine {p}, ranks {RANKS}", f"engine {p}, ranks 1"
        best = min(seconds[f"DDP {p} {m}, ranks {RANKS}"] for m in MEMORY)
        gd = seconds[f"guided-diffusion's defaults, ranks {RANKS}"]
        result[f"ratio_vs_best_ddp_{p}"] = seconds[ours] / best
        result[f"ratio_vs_guided_diffusion_default_{p}"] = seconds[ours] / gd
        result[f"scaling_1_to_{RANKS}_{p}"] = seconds[alone] / seconds[ours]
        result[f"exposed_all_reduce_share_{p}"] = part(ours, "exposed_all_reduce_s") / part(ours, "all_reduce_s")
        for key in ["forward_s", "backward_s", "exposed_all_reduce_s", "all_reduce_s", "optimizer_s"]:
            result[f"engine_{key}_{p}"] = part(ours, key)
    # The less favourable precision; and the engine as it is configured by default, which is bf16.
    result["ratio_vs_best_ddp_equal_precision"] = max(result[f"ratio_vs_best_ddp_{p}"] for p in PRECISIONS)
    result["ratio_vs_guided_diffusion_default"] = result["ratio_vs_guided_diffusion_default_bf16"]
    return result


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--peers-malloc", action="store_true", help="give PyTorch the engine's malloc settings too")
    parser.add_argument("--json", help="write the figures here")
    args = parser.parse_args()
    check(args.binary)
    result = figures(measure(args.binary, args.rounds, args.steps, args.peers_malloc))
    machine = json.loads(subprocess.check_output([sys.executable, str(HERE / "peak.py")], text=True))
    for p in PRECISIONS:
        rate = machine["operations"] / result["step_s"][f"engine {p}, ranks 1"]
        result[f"peak_convolution_gflops_{p}"] = machine["peak"][p] / 1e9
        result[f"share_of_peak_{p}"] = rate / machine["peak"][p]
    for name, seconds in result["step_s"].items():
        print(f"{name:<46}{1000 * seconds:10.1f} ms a step")
    for name, value in result.items():
        if name != "step_s":
            print(f"{name:<46}{value:10.3f}")
    if args.json:
        Path(args.json).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


main()
