"""Writes the golden vectors that the tests compare with, and a manifest of them.

    python3 golden/make_golden.py [--out FOLDER] [--only MODULE ...]

Never needed to build or test: what it writes is committed. See README.md beside this file.
"""

import argparse
import json
import platform
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors.torch import save

import distill
import layers
import loss
import mix
import optim
import probe
import quality
import resnet
import simclr_v2
import trajectory
import vit
from common import SEED, GoldenFile
from methods import (
    byol,
    cmc,
    cpc,
    dino,
    instdisc,
    invaspread,
    mae,
    moco_v3,
    simclr,
    simsiam,
    swav,
)

PACKAGES = ["torch", "torchvision", "timm", "lightly", "numpy", "scikit-learn", "safetensors"]
METHODS = [instdisc, invaspread, cpc, cmc, moco_v3, simclr, byol, simsiam, swav, dino, mae]
MODULES = [layers, loss, optim, resnet, simclr_v2, trajectory, probe, quality, mix, distill, vit, *METHODS]
LARGEST_FILE = 900_000


def main() -> None:
    here = Path(__file__).parent
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=here, help="for vectors/ and MANIFEST.json")
    parser.add_argument("--only", nargs="*", help="modules to write again, e.g. vit methods.mae")
    args = parser.parse_args()
    out = args.out
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(2)

    (out / "vectors").mkdir(parents=True, exist_ok=True)
    entries = {}
    if args.only:
        entries = json.loads((out / "MANIFEST.json").read_text())["files"]
    for module in MODULES:
        if args.only and module.__name__ not in args.only:
            continue
        for golden in module.make():
            entries[f"{golden.name}.safetensors"] = write(golden, out / "vectors")
    manifest = {
        "command": "python3 golden/make_golden.py",
        "seed": SEED,
        "versions": {"python": platform.python_version()} | {p: version(p) for p in PACKAGES},
        "difference": "max |f32 - f64| / max |f64| over a tensor, torch against itself; the "
        "worst tensor of each group is named",
        "files": dict(sorted(entries.items())),
    }
    (out / "MANIFEST.json").write_text(json.dumps(manifest, indent=1) + "\n")
    print(f"{len(entries)} files, {sum(e['bytes'] for e in entries.values()) / 1e6:.2f} MB")


def write(golden: GoldenFile, folder: Path) -> dict:
    """Saves one file and returns its entry in the manifest."""
    content = save(golden.tensors)
    if len(content) > LARGEST_FILE:
        raise SystemExit(f"{golden.name} has {len(content)} bytes, limit {LARGEST_FILE}")
    for name, tensor in golden.tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise SystemExit(f"{golden.name}: {name} holds a value that is not finite")
    (folder / f"{golden.name}.safetensors").write_bytes(content)
    entry = {"holds": golden.holds, "bytes": len(content), "sha256": sha256(content).hexdigest()}
    if golden.agreement:
        entry["measured"] = golden.agreement
    return entry


if __name__ == "__main__":
    main()
