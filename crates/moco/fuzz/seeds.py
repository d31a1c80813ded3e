"""First inputs of both targets: the recipes with a setting behind each, and a checkpoint of early versions.

    python3 fuzz/seeds.py [FILE]...    # small checkpoints or exports too
"""

import json
import shutil
import struct
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SETTINGS = [
    "optim.lr=0.03",
    "optim.schedule.kind=step",
    "model.backbone=vit-micro",
    "method.queue=4096",
    'data.views=["crop(32, 0.2..1) flip normalize(cifar10)"]',
    "train.max_steps=auto",
    "train.batch_size=1e9",
    "method.temperature=-1",
    "model.width=9223372036854775807",
    "train.epochs=0",
]


def checkpoint() -> bytes:
    """A checkpoint without a checksum, which would stop the reader at every change."""
    state = {
        "format": 2,
        "step": 3,
        "epoch_loss": 1.5,
        "config": "x = 1",
        "data_fingerprint": 5,
        "counters": {"part.counter": 4},
    }
    tensors = {
        "__metadata__": {"moco": json.dumps(state)},
        "part.empty": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]},
        "part.matrix": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
    }
    header = json.dumps(tensors).encode()
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header + struct.pack("<6f", 1, -2, 0.5, 3e-8, 0, 7)


def main() -> None:
    config, weights = [HERE / "corpus" / name for name in ("config", "checkpoint")]
    for folder in (config, weights):
        folder.mkdir(parents=True, exist_ok=True)
    recipes = sorted((HERE.parents[2] / "configs").glob("*.toml"))
    for i, recipe in enumerate(recipes):
        text = recipe.read_text().rstrip("\n")
        (config / recipe.name).write_text(f"{text}\n{SETTINGS[i % len(SETTINGS)]}")
    (weights / "early").write_bytes(checkpoint())
    for given in sys.argv[1:]:
        shutil.copy(given, weights)
    print(f"{len(recipes)} configurations, {1 + len(sys.argv[1:])} checkpoints")


if __name__ == "__main__":
    main()
