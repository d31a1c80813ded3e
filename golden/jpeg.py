"""Writes `golden/jpeg.safetensors`: JPEGs of every legal layout, and what Pillow makes of them.

    pip install pillow==13.0.0 numpy==2.4.6 safetensors==0.8.0
    apt-get install libjpeg-turbo-progs                      # cjpeg and jpegtran
    python3 golden/jpeg.py

`names` (one a line), `files` (all bytes, one file after the other, with `file_ends`), `digests` (of
each file the MD5 of Pillow's RGB pixels, or zeros if Pillow refuses it), `sizes` (width and height)
and, for files of the ordinary layouts, which may be decoded by another decoder than libjpeg with
other rounding, `pixels` with `pixel_ends` (empty ranges for the others).
"""

import io
import json
import random
import struct
import subprocess
import tempfile
from hashlib import md5
from importlib.metadata import version
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

SIZES = [(20, 13), (33, 17), (17, 26), (16, 16), (9, 30)]
ORDINARY = {"1x1,1x1,1x1", "2x1,1x1,1x1", "2x2,1x1,1x1"}
rng = np.random.default_rng(20)
pick = random.Random(20)


def picture(width: int, height: int) -> Image.Image:
    """Slopes, an edge and noise: something in every band."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    planes = [128 + 100 * np.sin(x / 5 + c) * np.cos(y / (4 + c)) for c in range(3)]
    planes[0] += 90 * (x > width / 2)
    planes[2] += 90 * (x + y > height)
    noise = rng.normal(0, 12, (height, width, 3))
    return Image.fromarray(np.clip(np.stack(planes, 2) + noise, 0, 255).astype(np.uint8))


def run(command: list[str], stdin: bytes) -> bytes | None:
    done = subprocess.run(command, input=stdin, capture_output=True)
    return done.stdout if done.returncode == 0 else None


def cjpeg(image: Image.Image, *flags: str) -> bytes | None:
    out = io.BytesIO()
    image.save(out, "PPM")
    return run(["cjpeg", "-quality", "60", *flags], out.getvalue())


def jpegtran(data: bytes, *flags: str) -> bytes | None:
    return run(["jpegtran", "-copy", "all", *flags], data)


def scans(text: str) -> str:
    file = tempfile.NamedTemporaryFile("w", suffix=".txt", delete=False)
    file.write(text)
    file.close()
    return file.name


EACH = {1: scans("0;"), 3: scans("0;\n1;\n2;\n"), 4: scans("0;\n1;\n2;\n3;\n")}
PAIR = {3: scans("0;\n1 2;\n"), 4: scans("0 3;\n1 2;\n")}
# Progressive without any interleaved scan.
APART = {
    1: scans("0: 0-0, 0, 1;\n0: 1-63, 0, 0;\n0: 0-0, 1, 0;\n"),
    3: scans("".join(f"{c}: 0-0, 0, 0;\n{c}: 1-63, 0, 1;\n{c}: 1-63, 1, 0;\n" for c in range(3))),
    4: scans("".join(f"{c}: 0-0, 0, 0;\n{c}: 1-63, 0, 0;\n" for c in range(4))),
}


def codings(channels: int) -> dict[str, list[str]]:
    """How jpegtran writes the same coefficients."""
    return {
        "baseline": ["-optimize"],
        "restarts": ["-optimize", "-restart", "1B" if channels == 1 else "2B"],
        "each": ["-optimize", "-scans", EACH[channels]],
        "each-restarts": ["-optimize", "-restart", "1B", "-scans", EACH[channels]],
        "progressive": ["-progressive"],
        "progressive-restarts": ["-progressive", "-restart", "3B"],
        "apart": ["-progressive", "-scans", APART[channels]],
        "arithmetic": ["-arithmetic"],
        "arithmetic-progressive": ["-arithmetic", "-progressive"],
    } | ({"pair": ["-optimize", "-scans", PAIR[channels]]} if channels > 1 else {})


def segments(data: bytes) -> list[tuple[int, bytes]]:
    """(marker, segment with its marker) up to the first scan, then (-1, the rest)."""
    found, at = [], 2
    while data[at + 1] != 0xDA:
        end = at + 2 + struct.unpack(">H", data[at + 2 : at + 4])[0]
        found.append((data[at + 1], data[at:end]))
        at = end
    return found + [(-1, data[at:])]


def adobe(transform: int) -> bytes:
    return b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + bytes([transform])


JFIF = b"\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"


def with_markers(data: bytes, *markers: bytes) -> bytes:
    kept = [part for marker, part in segments(data) if marker not in (0xE0, 0xEE)]
    return b"\xff\xd8" + b"".join(markers) + b"".join(kept)


def with_ids(data: bytes, ids: bytes) -> bytes:
    """Other numbers for the components, in the frame and in every scan."""
    out = bytearray(data)
    frame = next(i for i in range(len(out)) if out[i] == 0xFF and out[i + 1] in (0xC0, 0xC1, 0xC2, 0xC9, 0xCA))
    old = [out[frame + 10 + 3 * c] for c in range(out[frame + 9])]
    for c in range(len(old)):
        out[frame + 10 + 3 * c] = ids[c]
    at = 0
    while (at := out.find(b"\xff\xda", at)) >= 0:
        for c in range(out[at + 4]):
            out[at + 5 + 2 * c] = ids[old.index(out[at + 5 + 2 * c])]
        at += 2
    return bytes(out)


def pillow(data: bytes) -> np.ndarray | None:
    try:
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    except Exception:
        return None


def layouts():
    """Samplings of three components: luma first, then the two of chroma."""
    for h in range(1, 5):
        for v in range(1, 5):
            yield f"{h}x{v},1x1,1x1"
    yield from ["1x1,2x2,2x2", "1x1,2x1,1x2", "1x1,2x1,2x1", "2x2,2x1,1x2", "2x2,2x2,1x1"]
    yield from ["2x2,2x1,2x1", "2x2,1x2,1x2", "2x2,1x1,2x2", "2x1,1x2,1x2", "1x2,2x1,2x1"]
    yield from ["3x1,2x1,1x1", "2x2,3x1,1x1", "4x1,2x1,1x1", "4x2,1x1,1x1", "1x1,4x1,1x4"]
    yield from ["2x2,2x2,2x2", "3x3,3x3,3x3", "3x2,3x1,1x2", "1x4,1x2,1x1", "4x1,1x1,2x1"]


def make():
    ordinary = ("baseline", "restarts", "progressive", "progressive-restarts", "apart")
    for sampling in layouts():
        for coding, flags in codings(3).items():
            image = picture(*SIZES[pick.randrange(len(SIZES))])
            data = cjpeg(image, "-sample", sampling)
            if data is None:  # more than ten blocks in an interleaved scan
                data = cjpeg(image, "-sample", sampling, "-scans", EACH[3])
                if data is None or coding not in ("each", "each-restarts", "apart"):
                    continue
            if (data := jpegtran(data, *flags)) is not None:
                yield f"ycc {sampling} {coding}", data, sampling in ORDINARY and coding in ordinary

    for sampling in ["1x1", "2x1", "2x2", "1x2", "4x4", "3x1"]:
        for coding, flags in codings(1).items():
            data = cjpeg(picture(*SIZES[pick.randrange(3, 5)]).convert("L"), "-grayscale", "-sample", sampling)
            yield f"grey {sampling} {coding}", jpegtran(data, *flags), "arithmetic" not in coding

    markers = {
        "jfif": [JFIF], "none": [], "adobe0": [adobe(0)], "adobe1": [adobe(1)], "adobe2": [adobe(2)],
        "jfif adobe0": [JFIF, adobe(0)], "adobe0 jfif": [adobe(0), JFIF], "jfif adobe1": [JFIF, adobe(1)],
    }
    ids = {"123": bytes([1, 2, 3]), "RGB": b"RGB", "012": bytes([0, 1, 2]), "rgb": b"rgb"}
    for sampling in ["1x1,1x1,1x1", "2x2,1x1,1x1"]:
        for marker, parts in markers.items():
            for id_name, numbers in ids.items():
                for coding in ["baseline", "progressive"]:
                    if coding == "progressive" and id_name not in ("123", "RGB"):
                        continue
                    data = cjpeg(picture(15, 11), "-sample", sampling)
                    data = with_markers(jpegtran(data, *codings(3)[coding]), *parts)
                    name = f"marked {sampling} {marker} {id_name} {coding}"
                    yield name, with_ids(data, numbers), adobe(0) not in parts and id_name != "RGB"

    for subsampling, sampling in [(0, "1x1"), (1, "2x1"), (2, "2x2")]:
        for coding, flags in codings(4).items():
            out = io.BytesIO()
            cmyk = picture(*SIZES[pick.randrange(3)]).convert("CMYK")
            cmyk.save(out, "JPEG", quality=70, subsampling=subsampling)
            data = jpegtran(out.getvalue(), *flags)
            for marker, parts in [("adobe0", [adobe(0)]), ("adobe2", [adobe(2)]), ("none", [])]:
                if coding in ("baseline", "progressive", "each") or marker == "adobe2":
                    yield f"cmyk {sampling} {marker} {coding}", with_markers(data, *parts), False

    for text in ["3x1 2x1 1x1", "3x3 2x2 1x1", "4x4 3x3 3x3", "2x3 1x2 1x1", "4x4 2x1 1x4", "4x4 4x4 4x4"]:
        samplings = [tuple(map(int, part.split("x"))) for part in text.split()]
        yield f"apart {text}", apart(samplings, 21, 22), False

    data = jpegtran(cjpeg(picture(33, 35)), "-optimize")
    yield "quirk app1 thumbnail", data[:2] + b"\xff\xe1\x00\x08\xff\xd8\xff\xd9  " + data[2:], True
    yield "quirk fill bytes", data[:2] + b"\xff\xff\xff" + data[3:], True
    yield "quirk trailing bytes", data + bytes(100), True
    standard = cjpeg(picture(20, 13))
    bare = b"\xff\xd8" + b"".join(part for marker, part in segments(standard) if marker != 0xC4)
    yield "quirk without tables", bare, False
    yield "quirk extended sequential", data.replace(b"\xff\xc0", b"\xff\xc1", 1), False
    yield "quirk two components", two_components(standard), False
    twelve = bytearray(standard)
    twelve[standard.index(b"\xff\xc0") + 4] = 12
    yield "quirk 12 bits", bytes(twelve), False
    lossless = bytearray(standard)
    lossless[standard.index(b"\xff\xc0") + 1] = 0xC3
    yield "quirk lossless", bytes(lossless), False


def apart(samplings: list[tuple[int, int]], width: int, height: int) -> bytes:
    """Components of any sampling, each in a scan of its own: a scan of one component is laid out
    as that of a grey image of its size."""
    highest = [max(sampling[axis] for sampling in samplings) for axis in (0, 1)]
    frame, body = b"", b""
    for number, (h, v) in enumerate(samplings, 1):
        size = -(-width * h // highest[0]), -(-height * v // highest[1])
        grey = cjpeg(picture(*size).convert("L"), "-grayscale")
        parts = dict(segments(grey)[:-1])
        tables = b"".join(part for marker, part in segments(grey)[:-1] if marker in (0xDB, 0xC4))
        frame += bytes([number, h << 4 | v, 0])
        scan = segments(grey)[-1][1]
        body += tables + scan[:5] + bytes([number]) + scan[6:-2]
        assert 0xC0 in parts
    head = b"\xff\xc0" + struct.pack(">HBHHB", 17, 8, height, width, 3) + frame
    return b"\xff\xd8" + JFIF + head + body + b"\xff\xd9"


def two_components(data: bytes) -> bytes:
    """The frame and the scan without their last component; Pillow refuses it before any pixel."""
    frame = data.index(b"\xff\xc0")
    scan = data.index(b"\xff\xda")
    part = data[frame : frame + 19]
    part = part[:2] + b"\x00\x0e" + part[4:9] + b"\x02" + part[10:16]
    start = data[scan : scan + 14]
    start = start[:2] + b"\x00\x0a\x02" + start[5:9] + start[11:14]
    return data[:frame] + part + data[frame + 19 : scan] + start + data[scan + 14 :]


def main() -> None:
    names, files, ends, digests, sizes, pixels, pixel_ends = [], b"", [], [], [], b"", []
    refused = 0
    for name, data, is_ordinary in make():
        rgb = pillow(data)
        names.append(name)
        files += data
        ends.append(len(files))
        digest = bytes(16) if rgb is None else md5(rgb.tobytes()).digest()
        digests.append(np.frombuffer(digest, np.uint8))
        sizes.append((0, 0) if rgb is None else (rgb.shape[1], rgb.shape[0]))
        refused += rgb is None
        if is_ordinary and rgb is not None:
            pixels += rgb.tobytes()
        pixel_ends.append(len(pixels))
    tensors = {
        "names": np.frombuffer("\n".join(names).encode(), np.uint8),
        "files": np.frombuffer(files, np.uint8),
        "file_ends": np.array(ends, np.uint32),
        "digests": np.stack(digests),
        "sizes": np.array(sizes, np.uint32),
        "pixels": np.frombuffer(pixels, np.uint8),
        "pixel_ends": np.array(pixel_ends, np.uint32),
    }
    versions = {package: version(package) for package in ["pillow", "numpy", "safetensors"]}
    versions["cjpeg"] = subprocess.run(["cjpeg", "-version"], capture_output=True, text=True).stderr.split("\n")[0]
    path = Path(__file__).parent / "jpeg.safetensors"
    save_file(tensors, path, {"versions": json.dumps(versions)})
    print(f"{len(names)} files, {refused} that Pillow refuses, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
