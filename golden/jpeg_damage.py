"""Writes `golden/jpeg_damage.safetensors`: damage to the files of `jpeg.safetensors`, and whether Pillow reads
what is left.

    pip install pillow==13.0.0 numpy==2.4.6 safetensors==0.8.0
    python3 golden/jpeg_damage.py

Each damage replaces bytes of a file: `file` (its row), `at`, `removed` (how many bytes), and what comes
in their place, a range of `inserted` that ends at `inserted_end`. `read` is 1 where Pillow makes an image of it.
"""

import io
import json
import random
from importlib.metadata import version
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import load_file, save_file

pick = random.Random(21)


def damages(data: bytes):
    """(at, removed, inserted): what disks, cables and torn downloads do."""
    size = len(data)
    anywhere = lambda: pick.randrange(2, size)
    late = lambda: pick.randrange(size // 2, size)
    run = pick.randrange(8, 64)
    yield anywhere(), 1, bytes([pick.randrange(256)])
    yield late(), 1, b"\xff"
    yield late(), 2, bytes([0xFF, pick.randrange(1, 256)])
    yield late(), run, pick.randbytes(run)
    yield late(), run, bytes(run)
    yield late(), run, b""
    yield late(), size, b""


def is_read(data: bytes) -> bool:
    try:
        Image.open(io.BytesIO(data)).convert("RGB")
    except (OSError, SyntaxError, ValueError):
        return False
    return True


def main() -> None:
    root = Path(__file__).parent
    base = load_file(root / "jpeg.safetensors")
    starts = [0, *base["file_ends"][:-1]]
    rows, inserted, ends, read = [], b"", [], []
    for file, (start, end) in enumerate(zip(starts, base["file_ends"])):
        data = base["files"][start:end].tobytes()
        if not is_read(data):
            continue
        for at, removed, bytes_in in damages(data):
            rows.append((file, at, removed))
            inserted += bytes_in
            ends.append(len(inserted))
            read.append(is_read(data[:at] + bytes_in + data[at + removed :]))
    columns = np.array(rows, np.uint32).T
    tensors = {
        **{name: np.ascontiguousarray(column) for name, column in zip(["file", "at", "removed"], columns)},
        "inserted": np.frombuffer(inserted, np.uint8),
        "inserted_end": np.array(ends, np.uint32),
        "read": np.array(read, np.uint8),
    }
    versions = {package: version(package) for package in ["pillow", "numpy", "safetensors"]}
    path = root / "jpeg_damage.safetensors"
    save_file(tensors, path, {"versions": json.dumps(versions)})
    print(f"{len(read)} files, {sum(read)} that Pillow reads, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
