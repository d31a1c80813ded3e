"""Everything there is to measure of `moco` on a GPU, within ten minutes, against PyTorch on the same one.

    python3 bench/gpu/measure.py --moco target/release/moco --tests target/release/deps/it-0123456789abcdef \\
        --out results/log/gpu-new.jsonl

    python3 bench/gpu/measure.py --moco target/release/moco --device libtorch-cpu --tiny --out /tmp/dry.jsonl

The second line, tiny networks on LibTorch's CPU, tries the script itself out without a GPU.

Builds nothing: it wants the program and the integration tests of a build with `--features libtorch`,
LibTorch's libraries in LD_LIBRARY_PATH, and a Python with torch, torchvision and timm. The tests read
golden files from the place where they were built, so that the sources must lie there.

Five parts, each with its share of the time, the most important first; what does not fit is left out
and said so:

    devices  `moco devices`
    golden   the integration tests on the GPU: networks, gradients, trajectories, resumes
    steps    ResNet-18 at 32 px and 512 images, ResNet-50 and ViT-S at 224 px and 256, in f32, tf32 and
             bf16: moco, PyTorch eager (channels-last), PyTorch compiled; in turns, as one GPU does not
             keep one speed
    data     images/s of the views of `moco-v2-imagenet` alone, from `--images`, beside what the GPU takes
    run      `moco-v1-cifar10` for as many epochs as fit, with kNN every epoch

Writes one JSON object a line, and a table of the ratios at the end.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
PEER = HERE.parent / "peers" / "torch_step.py"
# Backbone, image size, batch, stem, work.
CASES = [
    ("resnet18", 32, 512, "cifar", "method"),
    ("resnet50", 224, 256, "imagenet", "train"),
    ("vit-small", 224, 256, "imagenet", "train"),
]
PRECISIONS = ["bf16", "tf32", "f32"]
TINY = [("resnet18", 32, 4, "cifar", "method"), ("vit-tiny", 32, 2, "imagenet", "train")]
TINY_RUN = ["train.batch_size=16", "model.width=4", "method.queue=64", "train.max_steps=2"]
# Integration tests that compute nothing on a device, or take minutes on a GPU that waits for a CPU; and
# those of what only CPUs have: several ranks, bits of our kernels, an address in the host's memory.
SKIPPED = ["layers::", "recipes::", "export::", "mutations::", "pinned::", "ranks::", "ranks_eval::"]
SKIPPED += ["ranks_tuning::"]
SKIPPED += ["moco_v1_v2::two_ranks_are_two_ranks", "each_rank_has_its_published", "bank_in_place"]


class Clock:
    """What is left of the time."""

    def __init__(self, minutes: float):
        self.end = time.monotonic() + 60 * minutes

    def left(self) -> float:
        return self.end - time.monotonic()


def run(command: list[str], seconds: float, env: dict | None = None) -> tuple[int | None, str, str]:
    """Exit code, None if the time ended, and what it said."""
    if seconds < 1:
        return None, "", "no time left"
    print("+", " ".join(command), file=sys.stderr)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, env=env)
    except subprocess.TimeoutExpired as ended:
        text = lambda part: part.decode() if isinstance(part, bytes) else part or ""  # noqa: E731
        return None, text(ended.stdout), text(ended.stderr)
    return done.returncode, done.stdout, done.stderr


def last_json(text: str) -> dict | None:
    for line in reversed(text.splitlines()):
        if line.startswith("{"):
            return json.loads(line)
    return None


def golden(args: argparse.Namespace, seconds: float) -> dict:
    env = os.environ | {"MOCO_TEST_DEVICE": args.device}
    command = [args.tests, "--test-threads", "4"]
    for name in SKIPPED:
        command += ["--skip", name]
    code, out, err = run(command, seconds, env)
    lines = out.splitlines()
    failed = sorted(line.split()[1] for line in lines if line.endswith("... FAILED"))
    passed = sum(line.endswith("... ok") for line in lines)
    reasons = [line for line in (out + err).splitlines() if "off by" in line or "panicked" in line]
    return {"part": "golden", "exit": code, "passed": passed, "failed": failed, "said": reasons[:60]}


def moco_step(args: argparse.Namespace, case: tuple, precision: str, seconds: float) -> dict:
    backbone, size, batch, stem, work = case
    command = [args.moco, "bench", "step", "--json", "--device", args.device]
    command += ["--work", work, "--backbone", backbone, "--size", str(size)]
    command += ["--batch-size", str(batch), "--steps", str(args.steps), "--precision", precision]
    if backbone.startswith("resnet"):
        command += ["--stem", stem]
    code, out, err = run(command, seconds)
    return last_json(out) or {"exit": code, "error": err.strip()[-300:]}


def torch_step(args: argparse.Namespace, case: tuple, precision: str, variant: str, seconds: float) -> dict:
    backbone, size, batch, stem, work = case
    device = "cpu" if args.device == "libtorch-cpu" else args.device
    command = [args.python, str(PEER), "--device", device, "--work", work, "--backbone", backbone]
    command += ["--size", str(size), "--batch-size", str(batch), "--stem", stem]
    command += ["--steps", str(args.steps)]
    command += ["--variant", variant, "--precision", precision]
    code, out, err = run(command, seconds)
    return last_json(out) or {"exit": code, "error": err.strip()[-300:]}


def precisions(args: argparse.Namespace) -> list[str]:
    """A CPU has no TF32."""
    return [p for p in PRECISIONS if p != "tf32" or args.device != "libtorch-cpu"]


def steps(args: argparse.Namespace, clock: Clock, keep: float, write) -> list[dict]:
    """All cases in turns; compiled ones last, as compiling takes the most time."""
    rows = []
    sides = [("moco", moco_step)]
    sides += [("eager", lambda a, c, p, s: torch_step(a, c, p, "channels-last", s))]
    compiled = [("compiled", lambda a, c, p, s: torch_step(a, c, p, "compiled", s))]
    for round_, group in (("a", sides), ("b", list(reversed(sides))), ("c", compiled)):
        for case in TINY if args.tiny else CASES:
            for precision in precisions(args):
                for side, measure in group:
                    seconds = min(clock.left() - keep, 60)
                    row = {"part": "steps", "case": "-".join(map(str, case)), "asked": precision}
                    row |= {"side": side, "round": round_} | measure(args, case, precision, seconds)
                    write(row)
                    rows.append(row)
    return rows


def data(args: argparse.Namespace, rows: list[dict], seconds: float) -> dict:
    """Images/s that the processor makes ready for two views, and how many times those that the GPU takes."""
    command = [args.moco, "bench", "data", "--json", "--recipe", "moco-v2-imagenet"]
    code, out, err = run(command + ["--data", args.images], seconds)
    found = last_json(out)
    if found is None:
        return {"part": "data", "exit": code, "error": err.strip()[-300:]}
    row = {"part": "data", "images_per_second": found["pipeline"]["images_per_second"]}
    taken = [r["images_per_second"] for r in rows if r["side"] == "moco" and "resnet50" in r["case"]]
    if taken:
        row |= {"gpu_takes": max(taken), "times": row["images_per_second"] / max(taken)}
    return row


def pretrain(args: argparse.Namespace, seconds: float) -> dict:
    """As many epochs of the official demo's setting as fit; a stop at the limit is no failure."""
    out = Path(args.work) / "moco-v1-cifar10"
    command = [args.moco, "pretrain", "--recipe", "moco-v1-cifar10", "--data", args.data]
    command += ["--out", str(out), "--device", args.device, "--set", "train.precision=bf16"]
    command += ["--set", "monitor.knn_epochs=1", "--no-report"]
    for assignment in TINY_RUN if args.tiny else []:
        command += ["--set", assignment]
    begin = time.monotonic()
    code, said, err = run(command, seconds)
    metrics = out / "metrics.jsonl"
    lines = metrics.read_text().splitlines() if metrics.exists() else []
    epochs = [json.loads(line) for line in lines if '"epoch"' in line and '"knn"' in line]
    return {
        "part": "run",
        "exit": code,
        "seconds": time.monotonic() - begin,
        "epochs": epochs[-40:],
        "said": (said + err).strip()[-600:],
    }


def table(rows: list[dict]) -> str:
    """Fastest of each side, and moco's part of PyTorch's time."""
    best: dict = {}
    for row in rows:
        if "seconds_per_step" in row:
            key = row["case"], row["asked"], row["side"]
            best[key] = min(best.get(key, float("inf")), row["seconds_per_step"])
    lines = ["| case | precision | moco | eager | compiled | moco / eager |", "|---|---|---|---|---|---|"]
    for case, precision in dict.fromkeys((c, p) for c, p, _ in best):
        of = [best.get((case, precision, side)) for side in ("moco", "eager", "compiled")]
        cells = [f"{1e3 * s:.1f} ms" if s else "" for s in of]
        ratio = f"{of[0] / of[1]:.2f}" if of[0] and of[1] else ""
        lines.append("| " + " | ".join([case, precision, *cells, ratio]) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--moco", required=True, help="the program")
    parser.add_argument("--tests", help="the integration tests' program; without it they are left out")
    parser.add_argument("--data", help="CIFAR-10 as moco takes it; without it nothing is trained")
    parser.add_argument("--images", help="JPEGs of ImageNet's kind; without them no views are measured")
    parser.add_argument("--tiny", action="store_true", help="tiny networks, to try this script out")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--minutes", type=float, default=9.5)
    parser.add_argument("--work", default="/tmp/moco-gpu", help="folder for the run")
    parser.add_argument("--out", required=True, help="file to append to")
    args = parser.parse_args()
    args.steps = 2 if args.tiny else 20
    clock = Clock(args.minutes)
    Path(args.out).parent.mkdir(parents=True, exist_ok=True)
    with open(args.out, "a") as file:

        def write(row: dict) -> None:
            file.write(json.dumps(row) + "\n")
            file.flush()

        code, out, err = run([args.moco, "devices"], 30)
        write({"part": "devices", "exit": code, "said": out + err})
        print(out, file=sys.stderr)
        train = 100 if args.data else 0
        if args.tests:
            write(golden(args, min(150, clock.left() - train)))
        rows = steps(args, clock, train, write)
        if args.images:
            write(data(args, rows, clock.left() - train))
        if args.data:
            write(pretrain(args, clock.left()))
    print(table(rows))


if __name__ == "__main__":
    main()
