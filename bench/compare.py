"""Ours against PyTorch, step for step, in turn on the same machine.

    cargo build --release && python3 bench/compare.py --out results/steps

Runs `moco bench step` and `bench/peers/torch_step.py` in pairs: ours, one PyTorch variant, ours,
the next, and so on, so that a machine whose speed drifts is unfair to nobody. For each piece of
work it writes the median of our times over the median of each variant's, and the spread. Raw runs
go to OUT.jsonl, the table to OUT.md.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VARIANTS = ["eager", "channels-last", "compiled"]
WORK = {
    "resnet18-cifar-32-b64": ["resnet18", "cifar", 32, 64],
    "resnet18-cifar-32-b512": ["resnet18", "cifar", 32, 512],
    "resnet50-imagenet-224-b16": ["resnet50", "imagenet", 224, 16],
}


def last_json(command: list[str]) -> dict:
    """Runs a command and reads the JSON object on the last line that it prints."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def shape(work: str) -> list[str]:
    backbone, stem, size, batch = WORK[work]
    flags = {"backbone": backbone, "stem": stem, "size": size, "batch-size": batch}
    return [word for key, value in flags.items() for word in (f"--{key}", str(value))]


def measure(work: str, side: str, args: argparse.Namespace) -> dict:
    """One process of ours (`moco`) or of a PyTorch variant."""
    common = [*shape(work), "--threads", str(args.threads), "--steps", str(args.steps)]
    if side == "moco":
        report = last_json([str(args.moco), "bench", "step", "--json", *common])
    else:
        peer = str(ROOT / "bench/peers/torch_step.py")
        report = last_json([sys.executable, peer, "--variant", side, *common])
    return {"work": work, "side": side} | report


def row(work: str, runs: list[dict], variants: list[str]) -> str:
    """A table row: our seconds, each variant's, ratio to the best variant, ratio of memory."""
    def of(side: str, key: str) -> list[float]:
        return [r[key] for r in runs if r["work"] == work and r["side"] == side]

    def median(side: str) -> float:
        return statistics.median(of(side, "seconds_per_step"))

    def text(side: str) -> str:
        times = of(side, "seconds_per_step")
        return f"{median(side):.3f} ({min(times):.3f}-{max(times):.3f})"

    best = min(variants, key=median)
    memory = [statistics.median(of(side, "peak_memory_bytes")) for side in ("moco", best)]
    cells = [work, text("moco"), *(text(v) for v in variants)]
    cells += [f"**{median('moco') / median(best):.2f}**", f"{memory[0] / memory[1]:.2f}"]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="names OUT.jsonl and OUT.md")
    parser.add_argument("--moco", type=Path, default=ROOT / "target/release/moco")
    parser.add_argument("--work", nargs="+", choices=list(WORK), default=list(WORK))
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=VARIANTS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()

    runs = []
    with args.out.with_suffix(".jsonl").open("w") as raw:
        for work in args.work:
            for _ in range(args.rounds):
                for variant in args.variants:
                    for side in ("moco", variant):
                        runs.append(measure(work, side, args))
                        print(json.dumps(runs[-1]), file=raw, flush=True)
    columns = ["work", "moco", *args.variants, "moco / best", "memory / best"]
    lines = [
        f"Seconds per step, median (fastest-slowest process) of {args.rounds} rounds, "
        f"{args.threads} threads, {platform.processor() or platform.machine()}, "
        f"torch {next(r['torch'] for r in runs if 'torch' in r)}, "
        f"kernels {next(r['kernels'] for r in runs if 'kernels' in r)}.",
        "",
        "| " + " | ".join(columns) + " |",
        "|" + "---|" * len(columns),
        *(row(work, runs, args.variants) for work in args.work),
    ]
    args.out.with_suffix(".md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
