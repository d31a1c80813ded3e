"""Our data path against torchvision's, in turn on the same machine.

    cargo build --release -p moco-data --example bench_data
    python3 bench/compare_data.py --imagenet imagenet-sample.tar --cifar cifar10-train.tar \\
        --out results/data

Runs ours and `bench/peers/torch_data.py` in pairs: ours, one torchvision variant, ours, the next,
and so on, so that a machine whose speed drifts is unfair to nobody. Writes the raw runs to
OUT.jsonl and to OUT.md the rates, their ratios, and what each operation costs.

Ratios are given in wall time and in processor time: on a machine that others use as well, the
first is what was seen, the second is what the work takes.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VARIANTS = ["pillow", "v2"]
MOCO_V2 = (
    "2x crop(224, 0.2..1) jitter(0.4,0.4,0.4,0.1; p=0.8) gray(p=0.2) blur(0.1..2; p=0.5) flip "
    "normalize(imagenet)"
)
CIFAR = (
    "2x crop(32, 0.08..1) flip jitter(0.4,0.4,0.4,0.1; p=0.8) gray(p=0.2) normalize(cifar10)"
)
RECIPES = {"moco-v2": MOCO_V2, "cifar": CIFAR}


def last_json(command):
    """Runs a command and reads the JSON object on the last line that it prints."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def measure(recipe, side, data, args):
    """One process of ours, which is `moco` or another build of it, or of a torchvision variant."""
    if side in args.ours:
        options = [str(args.threads), str(args.seconds), str(args.cache_mb), RECIPES[recipe]]
        report = last_json([args.ours[side], str(data), *options])
    else:
        peer = str(ROOT / "bench/peers/torch_data.py")
        options = ["--recipe", recipe, "--variant", side, "--workers", str(args.threads)]
        options += ["--seconds", str(args.seconds), "--data", str(data)]
        report = last_json([sys.executable, peer, *options])
    return {"recipe": recipe, "side": side} | report


def median(runs, recipe, side, *keys):
    """Median of a value, which lies below `keys` in the reports."""
    values = []
    for run in runs:
        if (run["recipe"], run["side"]) == (recipe, side):
            value = run
            for key in keys:
                value = value[key]
            values.append(value)
    return statistics.median(values)


def rates(runs, recipe, args):
    """A table of the whole pipeline and of decoding, ours above the peers and the ratios."""
    lines = ["| | images/s | images/CPU-s | decode, images/CPU-s |", "|---|---|---|---|"]
    mine = {}
    for side in args.ours:
        for name, key in ((side, "pipeline"), (f"{side}, cached", "cached")):
            wall = median(runs, recipe, side, key, "images_per_second")
            cpu = median(runs, recipe, side, key, "images_per_cpu_second")
            decode = median(runs, recipe, side, "decode", "images_per_cpu_second")
            mine[name] = (wall, cpu)
            text = f"{decode:.0f}" if key == "pipeline" else "-"
            lines.append(f"| {name} | {wall:.0f} | {cpu:.0f} | {text} |")
    for side in args.variants:
        wall = median(runs, recipe, side, "images_per_second")
        cpu = median(runs, recipe, side, "images_per_cpu_second")
        decode = median(runs, recipe, side, "decode_images_per_cpu_second")
        lines.append(f"| torchvision, {side} | {wall:.0f} | {cpu:.0f} | {decode:.0f} |")
        for name, (our_wall, our_cpu) in mine.items():
            ratios = f"**{our_wall / wall:.1f}** | **{our_cpu / cpu:.1f}**"
            lines.append(f"| ratio of {name} to {side} | {ratios} | |")
    share = median(runs, recipe, next(iter(args.ours)), "share_of_decoding")
    views = median(runs, recipe, next(iter(args.ours)), "views", "images_per_cpu_second")
    listing = median(runs, recipe, next(iter(args.ours)), "listing_seconds")
    lines += [
        "",
        f"Listing {1e3 * listing:.1f} ms; the views alone {views:.0f} images/CPU-s; without a "
        f"cache the pipeline keeps {100 * share:.0f} % of the speed of decoding.",
    ]
    return lines


def costs(runs, recipe, args):
    """A table of the mean microseconds of each operation per view."""
    side = next(iter(args.ours))
    ours = {}
    for run in runs:
        if (run["recipe"], run["side"]) == (recipe, side):
            for item in run["operations"]:
                name = item["operation"].split("(")[0]
                ours.setdefault(name, []).append(item["microseconds"])
    head = ["operation", side, *args.variants]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name, values in ours.items():
        cells = [name, f"{statistics.median(values):.1f}"]
        cells += [f"{median(runs, recipe, v, 'operations', name):.1f}" for v in args.variants]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def processor():
    """Name of the processor and number of cores."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if sys.platform == "linux" else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{os.cpu_count()} cores of {names[0] if names else platform.machine()}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--imagenet", type=Path, help="tar of photos")
    parser.add_argument("--cifar", type=Path, help="tar of CIFAR images")
    parser.add_argument("--out", type=Path, required=True, help="names OUT.jsonl and OUT.md")
    parser.add_argument(
        "--moco",
        type=Path,
        default=ROOT / "target/release/examples/bench_data",
        help="our program: the example bench_data",
    )
    parser.add_argument("--turbo", type=Path, help="the same, built with the feature turbojpeg")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=VARIANTS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cache-mb", type=int, default=1024)
    args = parser.parse_args()
    args.ours = {"moco": str(args.moco)}
    if args.turbo:
        args.ours["moco, turbojpeg"] = str(args.turbo)
    data = {"moco-v2": args.imagenet, "cifar": args.cifar}
    recipes = [recipe for recipe, path in data.items() if path]

    runs, load = [], os.getloadavg()[0]
    with args.out.with_suffix(".jsonl").open("w") as raw:
        for recipe in recipes:
            for _ in range(args.rounds):
                for variant in args.variants:
                    for side in (*args.ours, variant):
                        runs.append(measure(recipe, side, data[recipe], args))
                        print(json.dumps(runs[-1]), file=raw, flush=True)
    versions = next(run for run in runs if "torch" in run)
    decoders = sorted({run["decoder"] for run in runs if "decoder" in run})
    lines = [
        "# The data path against torchvision's",
        "",
        f"`bench/compare_data.py`; raw runs in `{args.out.with_suffix('.jsonl').name}`. Two views per "
        f"image; {args.threads} threads against as many workers; medians of {args.rounds} rounds of "
        f"{args.seconds:g} s; {processor()}, load {load:.1f} before the first run; {date.today()}; "
        f"{' and '.join(decoders)}; torch {versions['torch']}, torchvision "
        f"{versions['torchvision']}, Pillow {versions['pillow']}.",
        "",
        "Ratios of images per second are of wall time, those of images/CPU-s of processor time; on a "
        "machine at rest they agree but for what moving batches between processes costs the peer.",
    ]
    for recipe in recipes:
        lines += ["", f"## {data[recipe].name}", "", f"`{RECIPES[recipe]}`", ""]
        lines += rates(runs, recipe, args)
        lines += ["", "Microseconds per view of each operation, on one thread:", ""]
        lines += costs(runs, recipe, args)
    args.out.with_suffix(".md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
