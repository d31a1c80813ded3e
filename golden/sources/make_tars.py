"""Archives as GNU tar writes them, and keys as webdataset cuts them.

    python3 make_tars.py      # with GNU tar and webdataset; writes beside itself

`sparse-*.tar.gz` hold `holes.bmp` as a file with holes in each of GNU tar's formats, and a second
image behind it. `links.tar.gz` holds links of every kind. The images are `bmp(rows)` below, which
the test makes again. `webdataset-keys.json` has names with what webdataset's `base_plus_ext` says.

Made with GNU tar 1.34 and webdataset 1.0.2.
"""

import gzip
import json
import os
import struct
import subprocess
import tempfile
from pathlib import Path

from webdataset.tariterators import base_plus_ext

HERE = Path(__file__).resolve().parent
WIDTH = 170


def bmp(rows):
    """24 bits, top down, from byte 512 on rows of 512 bytes. Every other is black, and from 60 all."""
    head = struct.pack("<2sIHHI", b"BM", 512 * (rows + 1), 0, 0, 512)
    head += struct.pack("<IiiHHIIiiII", 40, WIDTH, -rows, 1, 24, 0, 512 * rows, 0, 0, 0, 0)
    row = lambda r: bytes((1 + r * 7 + x * 3) % 256 for x in range(3 * WIDTH)) + b"\0\0"
    return head.ljust(512, b"\0") + b"".join(
        bytes(512) if r % 2 or r >= 60 else row(r) for r in range(rows)
    )


def tar(name, folder, *options):
    command = ["tar", "-C", folder, "-b", "1", "--owner=0", "--group=0", "--mtime=@0", "-c"]
    data = subprocess.run([*command, *options], check=True, capture_output=True).stdout
    (HERE / name).write_bytes(gzip.compress(data, 9, mtime=0))


def main():
    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder)
        # The system must know of a hole for tar to look for others.
        with open(at / "holes.bmp", "wb") as file:
            file.write(bmp(60))
            file.truncate(len(bmp(100)))
            file.seek(0)
            file.write(bmp(100)[:512])
        (at / "small.bmp").write_bytes(bmp(3))
        files = ["holes.bmp", "small.bmp"]
        sparse = ["-S", "--hole-detection=raw"]
        tar("sparse-gnu.tar.gz", folder, "--format=gnu", *sparse, *files)
        for version in ("0.0", "0.1", "1.0"):
            how = ["--format=pax", f"--sparse-version={version}"]
            tar(f"sparse-pax-{version}.tar.gz", folder, *how, *sparse, *files)
    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder)
        for name in ("a", "b", "c"):
            (at / name).mkdir()
        (at / "a/1.bmp").write_bytes(bmp(3))
        os.link(at / "a/1.bmp", at / "b/hard.bmp")
        (at / "b/soft.bmp").symlink_to("../a/1.bmp")
        (at / "b/chain.bmp").symlink_to("soft.bmp")
        (at / "b/lost.bmp").symlink_to("none.bmp")
        (at / "b/out.bmp").symlink_to("/etc/image.bmp")
        (at / "b/circle.bmp").symlink_to("circle.bmp")
        (at / "c/all").symlink_to("../a")
        (at / "c/back").symlink_to("..")
        os.mkfifo(at / "c/pipe.bmp")
        tar("links.tar.gz", folder, "--format=gnu", "--sort=name", "a", "b", "c")
    names = [
        "000.jpg", "000.seg.png", "a.b/c.left.jpg", "a/b/c.d.e", "photo v1.0.jpg", "A.JPG",
        "./a/1.jpg", "a.d/1.tar.gz", "no", "d.d/no", "é.x.png", "a b/c d.jpg", "x..jpg",
    ]  # fmt: skip
    keys = [[name, *base_plus_ext(name)] for name in names]
    text = ",\n".join(json.dumps(row, ensure_ascii=False) for row in keys)
    (HERE / "webdataset-keys.json").write_text(f"[\n{text}\n]\n")


if __name__ == "__main__":
    main()
