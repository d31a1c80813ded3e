"""kNN curves of pretraining runs, ours and a peer's, as a table and a picture.

    python3 bench/report_runs.py --out results/log/moco-v1-small \\
        --run moco:0:runs/seed0/metrics.jsonl --run PyTorch:0:peer-seed0.jsonl

A run is SIDE:SEED:FILE, where FILE holds one JSON object per line with `epoch`, `loss`, `knn`,
`seconds` and `images_per_second` per epoch. Writes OUT/table.md, OUT/knn.svg and the epochs of every
run as OUT/SIDE-seedN.jsonl.
"""

import argparse
import json
import statistics
from pathlib import Path

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "moco"  # the same numbers give the same file
from matplotlib import pyplot as plt

KEYS = ["epoch", "loss", "lr", "knn", "seconds", "images_per_second"]
COLOURS = {"moco": "#c2410c", "PyTorch": "#1d4ed8"}


def read(path: Path) -> list[dict]:
    """The epochs of a run, by number."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    epochs = [line for line in lines if line.get("kind", "epoch") == "epoch"]
    return [{key: line[key] for key in KEYS} for line in epochs]


def table(runs: dict[tuple[str, str], list[dict]]) -> str:
    """A row per epoch, a column per run; then the spread between seeds and between sides."""
    names = [f"{side}, seed {seed}" for side, seed in runs]
    lines = ["| epoch | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for epoch in range(min(len(run) for run in runs.values())):
        scores = [f"{100 * run[epoch]['knn']:.2f}" for run in runs.values()]
        lines.append(f"| {epoch + 1} | " + " | ".join(scores) + " |")
    return "\n".join(lines)


def spread(runs: dict[tuple[str, str], list[dict]]) -> str:
    """How far the sides' means are apart, beside how far seeds of one side are apart."""
    sides = sorted({side for side, _ in runs})
    epochs = range(min(len(run) for run in runs.values()))
    def scores(side: str, epoch: int) -> list[float]:
        return [100 * run[epoch]["knn"] for (s, _), run in runs.items() if s == side]
    between_seeds = [abs(a - b) for e in epochs for s in sides for a, b in [scores(s, e)[:2]]]
    gaps = [statistics.mean(scores(sides[1], e)) - statistics.mean(scores(sides[0], e)) for e in epochs]
    return (
        f"Between seeds of one side the curves differ by {statistics.mean(between_seeds):.2f} "
        f"points on average and {max(between_seeds):.2f} at most. The sides' means differ by "
        f"{statistics.mean(map(abs, gaps)):.2f} points on average and {max(map(abs, gaps)):.2f} at "
        f"most; {sides[1]} minus {sides[0]} after the last epoch: {gaps[-1]:+.2f}."
    )


def draw(runs: dict[tuple[str, str], list[dict]], path: Path) -> None:
    """kNN over epochs, a line per run, a colour per side."""
    figure, axes = plt.subplots(figsize=(6.4, 4.0))
    for (side, seed), run in runs.items():
        style = "-" if seed == "0" else "--"
        epochs, knn = [e["epoch"] for e in run], [100 * e["knn"] for e in run]
        colour = COLOURS.get(side)
        axes.plot(epochs, knn, style, color=colour, marker="o", ms=3, label=f"{side}, seed {seed}")
    axes.set(xlabel="epoch", ylabel="kNN top-1, %")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--run", action="append", required=True, metavar="SIDE:SEED:FILE")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    runs = {}
    for run in args.run:
        side, seed, path = run.split(":", 2)
        runs[side, seed] = read(Path(path))
        lines = "".join(json.dumps(epoch) + "\n" for epoch in runs[side, seed])
        (args.out / f"{side.lower()}-seed{seed}.jsonl").write_text(lines)
    draw(runs, args.out / "knn.svg")
    text = f"{table(runs)}\n\n{spread(runs)}\n"
    (args.out / "table.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
