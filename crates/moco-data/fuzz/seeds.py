"""Writes first inputs for the fuzzer: small files of every kind that is read, those of the golden tests too.

    python3 seeds.py [FOLDER]...    # with Pillow; into corpus/TARGET/, files in FOLDERs too
"""

import gzip
import io
import json
import random
import shutil
import struct
import sys
import tomllib
from pathlib import Path

from PIL import Image

HERE = Path(__file__).resolve().parent
GOLDEN = HERE.parents[2] / "golden"
SOURCES = GOLDEN / "sources"
RECIPES = HERE.parents[2] / "configs"
FILES = {
    "tar": ["*.tar"],
    "parquet": ["*.parquet"],
    "idx": ["*ubyte*"],
    "cifar": ["test*.bin"],
}
KINDS = {
    "tar": [".tar"],
    "parquet": [".parquet"],
    "decode": [".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"],
    "list": [".txt", ".csv", ".tsv", ".lst"],
}


def encoded(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def images():
    """Small images of every format, of those that its decoder treats apart."""
    noise = random.Random(0).randbytes(37 * 29 * 4)
    rgb = Image.frombytes("RGB", (37, 29), noise[: 37 * 29 * 3])
    exif = Image.Exif()
    exif[0x0112] = 6
    for sampling in (0, 1, 2):
        for progressive in (False, True):
            yield encoded(rgb, "JPEG", subsampling=sampling, progressive=progressive)
    yield encoded(rgb, "JPEG", exif=exif, restart_marker_blocks=2)
    yield encoded(rgb.convert("L"), "JPEG")
    yield encoded(Image.frombytes("CMYK", (37, 29), noise), "JPEG")
    for mode in ("RGB", "RGBA", "L", "LA", "P", "1"):
        yield encoded(rgb.convert(mode), "PNG")
    yield encoded(Image.frombytes("I;16", (37, 29), noise[: 37 * 29 * 2]), "PNG")
    yield encoded(rgb, "WEBP", lossless=True)
    yield encoded(rgb, "WEBP")
    yield encoded(rgb, "BMP")
    yield encoded(rgb.convert("P"), "BMP")
    yield encoded(rgb, "GIF", save_all=True, append_images=[rgb.rotate(180)])
    for compression in (None, "tiff_lzw", "tiff_deflate", "packbits", "jpeg"):
        yield encoded(rgb, "TIFF", compression=compression)


def tensors(name):
    """Bytes of each tensor of a golden file."""
    data = (GOLDEN / name).read_bytes()
    start = 8 + struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:start])
    header.pop("__metadata__", None)
    places = {name: tensor["data_offsets"] for name, tensor in header.items()}
    return {name: data[start + begin : start + end] for name, (begin, end) in places.items()}


def golden():
    """Names and bytes of the image files that the golden tests decode."""
    for name, data in tensors("decode.safetensors").items():
        if name.endswith(".file"):
            yield name, data
    jpeg, begin = tensors("jpeg.safetensors"), 0
    for i, (end,) in enumerate(struct.iter_unpack("<I", jpeg["file_ends"])):
        yield f"jpeg-{i:03}", jpeg["files"][begin:end]
        begin = end


def views():
    """The texts of all recipes' views, each once, and of steps that no recipe has."""
    texts = {
        "range(0..4095) crop(64x48, 0.2..1; aspect=1/2..2) jitter(0.4,0.4,0.4,0.1; order=fixed) ycbcr normalize(ycbcr)",
        "range(percentile 1..99) crop(64, 0.08..1) randaugment(9, 0.5) normalize(imagenet) erase(p=0.25)",
    }
    for path in RECIPES.glob("*.toml"):
        data = tomllib.loads(path.read_text())["data"]
        texts.update([*data["views"], data["eval_view"]])
    return sorted(texts)


def given(corpus, folder):
    """Files of a folder that is given, each named after its whole path."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        for target, extensions in KINDS.items():
            if path.suffix.lower() in extensions:
                kind = bytes([extensions.index(path.suffix.lower())]) if target == "list" else b""
                name = "-".join(path.relative_to(folder).parts)
                (corpus / target).mkdir(parents=True, exist_ok=True)
                (corpus / target / name).write_bytes(kind + path.read_bytes())


def main():
    corpus = HERE / "corpus"
    for target, patterns in FILES.items():
        (corpus / target).mkdir(parents=True, exist_ok=True)
        for pattern in patterns:
            for path in SOURCES.glob(pattern):
                shutil.copy(path, corpus / target)
    (corpus / "decode").mkdir(parents=True, exist_ok=True)
    for i, data in enumerate(images()):
        (corpus / "decode" / f"seed-{i:02}").write_bytes(data)
    for name, data in golden():
        (corpus / "decode" / name).write_bytes(data)
    for path in SOURCES.glob("*.tar.gz"):
        (corpus / "tar" / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
    (corpus / "view").mkdir(parents=True, exist_ok=True)
    for i, text in enumerate(views()):
        (corpus / "view" / f"seed-{i}").write_text(text)
    (corpus / "list").mkdir(parents=True, exist_ok=True)
    (corpus / "list" / "seed").write_bytes(b"\1path,label\n1.png,a\n")
    for folder in sys.argv[1:]:
        given(corpus, Path(folder))


if __name__ == "__main__":
    main()
