"""Writes first inputs for the fuzzer: small files of every kind that is read.

    python3 seeds.py          # with Pillow; into corpus/TARGET/
"""

import io
import random
import shutil
from pathlib import Path

from PIL import Image

HERE = Path(__file__).resolve().parent
SOURCES = HERE.parents[2] / "golden/sources"
FILES = {
    "tar": ["*.tar"],
    "parquet": ["*.parquet"],
    "idx": ["*ubyte*"],
    "cifar": ["test*.bin"],
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


if __name__ == "__main__":
    main()
