"""Ours against PyTorch, step for step, in turn on the same machine.

    cargo build --release && python3 bench/compare.py --out results/log/steps

Runs `moco bench step` and `bench/peers/torch_step.py` in pairs: ours, one PyTorch variant, ours,
the next, and so on, so that a machine whose speed drifts is unfair to nobody. For each piece of
work it writes the median of our times over the median of the best variant's, the same of the fastest
processes, and the spread; and which share of the multiply-adds that this machine can do at best our
median reaches, with the operations that the direct algorithm takes (Winograd takes fewer, and can
exceed the peak by that count). Raw runs go to OUT.jsonl, the table to OUT.md. `--device vulkan:0
--peer-device cuda` compares on a GPU, by time alone.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PEER = ROOT / "bench/peers/torch_step.py"
VARIANTS = ["eager", "channels-last", "compiled"]
ADAMW = ["--set", "optim.optimizer=adamw"]
# Name: kind, backbone, stem, size, batch size, and what only ours needs to be told.
WORK = {
    "resnet18-cifar-32-b64": ["method", "resnet18", "cifar", 32, 64, []],
    "resnet18-cifar-32-b512": ["method", "resnet18", "cifar", 32, 512, []],
    "resnet50-imagenet-224-b16": ["method", "resnet50", "imagenet", 224, 16, []],
    "vit-small-224-b8-train": ["train", "vit-small", None, 224, 8, ADAMW],
    "resnet50-imagenet-224-b16-forward": ["forward", "resnet50", "imagenet", 224, 16, []],
    "vit-small-224-b16-forward": ["forward", "vit-small", None, 224, 16, []],
}


def last_json(command: list[str]) -> dict:
    """Runs a command and reads the JSON object on the last line that it prints."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def shape(work: str) -> list[str]:
    kind, backbone, stem, size, batch, _ = WORK[work]
    flags = {"work": kind, "backbone": backbone, "size": size, "batch-size": batch}
    if stem:
        flags["stem"] = stem
    return [word for key, value in flags.items() for word in (f"--{key}", str(value))]


def peer(work: str, *flags: str) -> dict:
    return last_json([sys.executable, str(PEER), *shape(work), *flags])


def measure(work: str, side: str, args: argparse.Namespace) -> dict:
    """One process of ours (`moco`) or of a PyTorch variant."""
    common = ["--threads", str(args.threads), "--steps", str(args.steps)]
    if side == "moco":
        command = [str(args.moco), "bench", "step", "--json", *shape(work), *WORK[work][-1]]
        report = last_json([*command, *common, "--device", args.device])
    else:
        report = peer(work, "--variant", side, *common, "--device", args.peer_device)
    return report | {"work": work, "side": side}


def yardstick(args: argparse.Namespace) -> dict:
    """Peak and bandwidth of this machine at this moment."""
    command = [str(args.moco), "bench", "machine", "--json", "--threads", str(args.threads)]
    return last_json(command) | {"side": "machine"}


class Table:
    """What the runs of one comparison say."""

    def __init__(self, runs: list[dict], args: argparse.Namespace):
        self.runs, self.args = runs, args
        self.on_cpu = args.device == "cpu"

    def machine(self, key: str) -> float:
        """The best of all its measurements: a neighbour can only lower one."""
        return max(r[key] for r in self.runs if r["side"] == "machine")

    def first(self, key: str) -> str:
        return next(r[key] for r in self.runs if key in r)

    def of(self, work: str, side: str, key: str) -> list[float]:
        return [r[key] for r in self.runs if r.get("work") == work and r["side"] == side]

    def seconds(self, work: str, side: str) -> list[float]:
        return self.of(work, side, "seconds_per_step")

    def ratio(self, work: str, of: Callable[[list[float]], float]) -> float:
        """Ours over the best variant, as `of` sums up the processes of a side."""
        best = min(of(self.seconds(work, variant)) for variant in self.args.variants)
        return of(self.seconds(work, "moco")) / best

    def host_cells(self, work: str) -> list[str]:
        """What only a CPU has a yardstick for: memory over the best variant's, share of the peak."""
        best = min(self.args.variants, key=lambda v: statistics.median(self.seconds(work, v)))
        ours, theirs = (
            statistics.median(self.of(work, side, "peak_memory_bytes")) for side in ("moco", best)
        )
        speed = self.of(work, "operations", "flops")[0] / 1e9
        peak = self.machine("fma_gflop_per_second")
        share = speed / statistics.median(self.seconds(work, "moco")) / peak
        return [f"{ours / theirs:.2f}", f"{share:.0%}"]

    def row(self, work: str) -> str:
        def text(side: str) -> str:
            times = self.seconds(work, side)
            return f"{statistics.median(times):.3f} ({min(times):.3f}-{max(times):.3f})"

        cells = [work, text("moco"), *(text(variant) for variant in self.args.variants)]
        cells += [f"**{self.ratio(work, statistics.median):.2f}**", f"{self.ratio(work, min):.2f}"]
        cells += self.host_cells(work) if self.on_cpu else []
        return "| " + " | ".join(cells) + " |"

    def where(self) -> str:
        """What computed, and what it can do at best."""
        if not self.on_cpu:
            return f"ours on {self.args.device}, PyTorch's on {self.args.peer_device}."
        return (
            f"{self.args.threads} threads, {platform.processor() or platform.machine()}, "
            f"kernels {self.first('kernels')}. The machine does "
            f"{self.machine('fma_gflop_per_second'):.0f} GFLOP/s of multiply-adds from registers "
            f"and copies {self.machine('copy_gb_per_second'):.0f} GB/s; the last column counts the "
            "operations of the direct algorithm."
        )

    def text(self) -> str:
        columns = ["work", "moco", *self.args.variants, "moco / best", "fastest / fastest"]
        columns += ["memory / best", "of FMA peak"] if self.on_cpu else []
        lines = [
            f"Seconds per step, median (fastest-slowest process) of {self.args.rounds} rounds, "
            f"torch {self.first('torch')}, {self.where()}",
            "",
            "| " + " | ".join(columns) + " |",
            "|" + "---|" * len(columns),
            *(self.row(work) for work in self.args.work),
        ]
        return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="names OUT.jsonl and OUT.md")
    parser.add_argument("--moco", type=Path, default=ROOT / "target/release/moco")
    parser.add_argument("--work", nargs="+", choices=list(WORK), default=list(WORK))
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=VARIANTS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", help="ours: cpu, or one of `moco devices`")
    parser.add_argument("--peer-device", default="cpu", help="PyTorch's")
    args = parser.parse_args()

    runs = []
    with args.out.with_suffix(".jsonl").open("w") as raw:

        def note(run: dict) -> None:
            runs.append(run)
            print(json.dumps(run), file=raw, flush=True)

        for work in args.work:
            note(peer(work, "--count") | {"work": work, "side": "operations"})
            for _ in range(args.rounds):
                if args.device == "cpu":
                    note(yardstick(args))
                for variant in args.variants:
                    for side in ("moco", variant):
                        note(measure(work, side, args))
    text = Table(runs, args).text()
    args.out.with_suffix(".md").write_text(text)
    print(text, end="")


if __name__ == "__main__":
    main()
