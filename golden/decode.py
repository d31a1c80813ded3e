"""Writes `golden/decode.safetensors`: files of every kind that is decoded, with Pillow's pixels.

    pip install pillow==13.0.0 numpy==2.4.6 safetensors==0.8.0 tifffile==2026.3.3 imagecodecs==2026.3.6
    python3 golden/decode.py

`<name>.file` is a file, `<name>.rgb` its pixels `[H, W, 3]` as `Image.open(...).convert("RGB")` has
them. Where Pillow has no such conversion (it clips values beyond 8 bits at 255, and refuses a wrong
checksum of an ancillary chunk) numpy computes what our documentation says. JPEGs of other layouts
are in `jpeg.py`.
"""

import io
import struct
import zlib
from importlib.metadata import version
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image
from safetensors.numpy import save_file

rng = np.random.default_rng(7)
W, H = 21, 13
y, x = np.mgrid[0:H, 0:W]
RGB = np.stack([x * 12, y * 19, (x * y) % 256], 2).astype(np.uint8)
RGB[:, :, 1] ^= rng.integers(0, 4, (H, W), np.uint8)
GREY = RGB[:, :, 0] // 2 + RGB[:, :, 1] // 2
PAINTED = Image.fromarray(RGB).quantize(23)
tensors: dict[str, np.ndarray] = {}


def add(name: str, data: bytes, rgb: np.ndarray | None = None) -> None:
    if rgb is None:
        rgb = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    if rgb.ndim == 2:
        rgb = np.repeat(rgb[:, :, None], 3, 2)
    tensors[f"{name}.file"] = np.frombuffer(data, np.uint8).copy()
    tensors[f"{name}.rgb"] = np.ascontiguousarray(rgb).astype(np.uint8)


def saved(image: Image.Image, form: str, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def tiff(array: np.ndarray, **options) -> bytes:
    out = io.BytesIO()
    tifffile.imwrite(out, array, metadata=None, **options)
    return out.getvalue()


def chunks(png: bytes) -> list[bytes]:
    at, found = 8, []
    while at < len(png):
        end = at + 12 + struct.unpack(">I", png[at : at + 4])[0]
        found.append(png[at:end])
        at = end
    return found


def chunk(kind: bytes, body: bytes, wrong: int = 0) -> bytes:
    crc = zlib.crc32(kind + body) ^ wrong
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc)


def pngs() -> None:
    whole = saved(Image.fromarray(RGB), "PNG")
    head, *data, end = chunks(whole)
    start = whole[:8] + head
    gamma = chunk(b"gAMA", struct.pack(">I", 45455), wrong=1)
    add("png_ancillary_checksum", start + gamma + b"".join(data) + end, RGB)
    broken = b"".join(part[:-1] + bytes([part[-1] ^ 1]) for part in data)
    add("png_pixels_checksum", start + broken + end)
    add("png_without_end", start + b"".join(data))
    add("png_garbage_behind", whole + b"garbage")
    half = len(data[0]) // 2
    parts = data[0][8:half], data[0][half:-4]
    add("png_two_chunks", start + b"".join(chunk(b"IDAT", part) for part in parts) + end)
    for name, image in [
        ("palette", PAINTED), ("grey", Image.fromarray(GREY)), ("bits", Image.fromarray(GREY).convert("1")),
        ("alpha", Image.fromarray(np.dstack([RGB, GREY]))), ("palette4", Image.fromarray(RGB).quantize(9)),
    ]:
        add(f"png_{name}", saved(image, "PNG"))
    deep = np.linspace(0, 4095, W * H).reshape(H, W).astype(np.uint16)
    # 8 bits keep the high byte; a range spreads the values.
    add("png_12_in_16", saved(Image.fromarray(deep), "PNG"), deep >> 8)
    add("png_12_in_16_range", saved(Image.fromarray(deep), "PNG"), np.rint(deep / 4095 * 255))
    low, high = np.percentile(deep.astype(np.float64), [1, 99])
    spread = np.clip(np.rint((deep - low) / (high - low) * 255), 0, 255)
    add("png_12_in_16_percentile", saved(Image.fromarray(deep), "PNG"), spread)


def tiffs() -> None:
    for name, image, options in [
        ("palette", PAINTED, {}), ("palette_lzw", PAINTED, {"compression": "tiff_lzw"}),
        ("bits", Image.fromarray(GREY).convert("1"), {}),
        ("bits_fax4", Image.fromarray(GREY).convert("1"), {"compression": "group4"}),
        ("rgb", Image.fromarray(RGB), {}), ("rgb_deflate", Image.fromarray(RGB), {"compression": "tiff_adobe_deflate"}),
        ("rgb_packbits", Image.fromarray(RGB), {"compression": "packbits"}),
        ("alpha", Image.fromarray(np.dstack([RGB, GREY])), {}), ("cmyk", Image.fromarray(RGB).convert("CMYK"), {}),
        ("grey_alpha", Image.fromarray(RGB).convert("LA"), {}), ("big", Image.fromarray(RGB), {"big_tiff": True}),
        ("jpeg_grey", Image.fromarray(GREY), {"compression": "jpeg", "quality": 90}),
        ("jpeg_ycbcr", Image.fromarray(RGB), {"compression": "jpeg", "quality": 90}),
    ]:
        add(f"tiff_{name}", saved(image, "TIFF", **options))
    add("tiff_planes", tiff(np.moveaxis(RGB, 2, 0), planarconfig="separate", photometric="rgb"), RGB)
    add("tiff_tiles", tiff(RGB, tile=(16, 16), photometric="rgb"))
    add("tiff_big_tiles_lzw", tiff(RGB, tile=(16, 16), photometric="rgb", bigtiff=True, compression="lzw", predictor=True))
    add("tiff_big_endian", tiff(RGB, byteorder=">", photometric="rgb"))
    add("tiff_white_is_zero", tiff(GREY, photometric="miniswhite"))
    premultiplied = np.dstack([(RGB.astype(int) * GREY[:, :, None] // 255).astype(np.uint8), GREY])
    add("tiff_premultiplied", tiff(premultiplied, photometric="rgb", extrasamples=["assocalpha"]))
    for byteorder in "<>":
        table = np.zeros((3, 16), np.uint16)
        table[:, :9] = rng.integers(0, 65536, (3, 9))
        name = f"tiff_palette4_{'little' if byteorder == '<' else 'big'}"
        add(name, palette4(GREY % 9, table, byteorder), (table >> 8)[:, GREY % 9].transpose(1, 2, 0))
    deep = np.linspace(0, 65535, W * H * 3).reshape(H, W, 3).astype(np.uint16)
    add("tiff_rgb16", tiff(deep, photometric="rgb"), deep >> 8)
    signed = np.linspace(-1000, 3000, W * H).reshape(H, W).astype(np.int16)
    levels = lambda values, low, high: np.clip(np.rint((values.astype(np.float64) - low) / (high - low) * 255), 0, 255)
    add("tiff_int16", tiff(signed), levels(signed, 0, 32767))
    add("tiff_int16_range", tiff(signed), levels(signed, -1000, 400))
    real = np.linspace(-0.5, 2, W * H).reshape(H, W).astype(np.float32)
    add("tiff_float", tiff(real), levels(real, 0, 1))
    add("tiff_float_range", tiff(real), levels(real, -0.5, 2))
    add("tiff_double_deflate", tiff(real.astype(np.float64), compression="deflate"), levels(real, 0, 1))
    add("tiff_half", tiff(real.astype(np.float16)), levels(real.astype(np.float16), 0, 1))
    long = np.linspace(0, 2**32 - 1, W * H).reshape(H, W).astype(np.uint32)
    add("tiff_uint32", tiff(long), levels(long.astype(np.float32), 0, np.float32(2**32 - 1)))


def palette4(indices: np.ndarray, table: np.ndarray, byteorder: str) -> bytes:
    """A TIFF of two indices a byte, which neither Pillow nor tifffile writes."""
    padded = np.pad(indices, ((0, 0), (0, W % 2)))
    pixels = (padded[:, 0::2] << 4 | padded[:, 1::2]).astype(np.uint8).tobytes()
    colors = table.astype(byteorder + "u2").tobytes()
    entries = [
        (256, 3, 1, W), (257, 3, 1, H), (258, 3, 1, 4), (259, 3, 1, 1), (262, 3, 1, 3), (273, 4, 1, 8),
        (277, 3, 1, 1), (278, 3, 1, H), (279, 4, 1, len(pixels)), (320, 3, 48, 8 + len(pixels)),
    ]
    directory = struct.pack(byteorder + "H", len(entries))
    for tag, kind, count, value in entries:
        packed = struct.pack(byteorder + ("HH" if kind == 3 and count == 1 else "I"), *([value, 0] if kind == 3 and count == 1 else [value]))
        directory += struct.pack(byteorder + "HHI", tag, kind, count) + packed
    mark = b"II*\0" if byteorder == "<" else b"MM\0*"
    start = struct.pack(byteorder + "I", 8 + len(pixels) + len(colors))
    return mark + start + pixels + colors + directory + bytes(4)


def gif(screen: tuple[int, int], frame: tuple[int, int, int, int], transparent: int | None, local: bool, colors: int) -> bytes:
    """One frame at an offset of a canvas."""
    left, top, width, height = frame
    picture = Image.fromarray(RGB[:height, :width]).quantize(colors)
    plain = saved(picture, "GIF", optimize=False)
    table = bytearray(np.asarray(picture.getpalette()[: 3 * colors], np.uint8).tobytes())
    table += bytes(3 * (32 - colors))
    data = plain[plain.index(b"\x2c") + 10 :]
    if plain[plain.index(b"\x2c") + 9] & 0x80:
        data = data[3 * 2 ** ((plain[plain.index(b"\x2c") + 9] & 7) + 1) :]
    control = b"" if transparent is None else b"\x21\xf9\x04\x01\0\0" + bytes([transparent, 0])
    head = b"GIF89a" + struct.pack("<HH", *screen) + bytes([0x84 if not local else 0, 3, 0])
    image = b"\x2c" + struct.pack("<HHHH", left, top, width, height) + bytes([0x84 if local else 0])
    return head + (b"" if local else bytes(table)) + control + image + (bytes(table) if local else b"") + data


def gifs() -> None:
    add("gif_whole", gif((W, H), (0, 0, W, H), None, False, 23))
    add("gif_offset", gif((30, 20), (5, 4, W, H), None, False, 23))
    add("gif_offset_local", gif((30, 20), (5, 4, W, H), None, True, 23))
    add("gif_offset_transparent", gif((30, 20), (5, 4, W, H), 7, False, 23))
    add("gif_transparent_inside", gif((W, H), (0, 0, W, H), 7, False, 23))
    add("gif_beyond_canvas", gif((10, 8), (3, 2, W, H), None, False, 23))
    add("gif_interlaced", saved(PAINTED, "GIF", interlace=True))
    frames = [PAINTED, PAINTED.rotate(180)]
    add("gif_animated", saved(frames[0], "GIF", save_all=True, append_images=frames[1:]))


def pnms() -> None:
    text = lambda values: " ".join(map(str, np.asarray(values).flatten())).encode()
    add("pnm_p1", b"P1\n# a comment\n%d %d\n" % (W, H) + text(GREY % 2))
    add("pnm_p1_dense", b"P1 %d %d " % (W, H) + text(GREY % 2).replace(b" ", b""))
    add("pnm_p2", b"P2 %d %d 255\n" % (W, H) + text(GREY))
    add("pnm_p2_small", b"P2 %d %d # white\n 100\n" % (W, H) + text(GREY % 101))
    add("pnm_p3", b"P3\n%d\n%d\n255\n" % (W, H) + text(RGB))
    add("pnm_p4", saved(Image.fromarray(GREY).convert("1"), "PPM"))
    add("pnm_p5", saved(Image.fromarray(GREY), "PPM"))
    add("pnm_p5_small", b"P5 %d %d 100\n" % (W, H) + (GREY % 101).tobytes())
    add("pnm_p6", saved(Image.fromarray(RGB), "PPM"))
    add("pnm_p6_small", b"P6 %d %d 77\n" % (W, H) + (RGB % 78).tobytes())
    deep = np.linspace(0, 4095, W * H * 3).reshape(H, W, 3).astype(np.uint16)
    add("pnm_p6_deep", b"P6 %d %d 4095\n" % (W, H) + deep.astype(">u2").tobytes())
    grey = deep[:, :, 1]
    add("pnm_p5_deep", b"P5 %d %d 4095\n" % (W, H) + grey.astype(">u2").tobytes(), np.rint(grey / 4095 * 255))
    pam = b"P7\nWIDTH %d\nHEIGHT %d\nDEPTH %d\nMAXVAL 255\nTUPLTYPE %s\nENDHDR\n"
    add("pam_rgb", pam % (W, H, 3, b"RGB") + RGB.tobytes(), RGB)
    add("pam_rgba", pam % (W, H, 4, b"RGB_ALPHA") + np.dstack([RGB, GREY]).tobytes(), RGB)
    add("pam_grey", pam % (W, H, 1, b"GRAYSCALE") + GREY.tobytes(), GREY)


def others() -> None:
    add("webp_lossless", saved(Image.fromarray(RGB), "WEBP", lossless=True))
    add("bmp", saved(Image.fromarray(RGB), "BMP"))
    add("bmp_palette", saved(PAINTED, "BMP"))


def main() -> None:
    for make in (pngs, tiffs, gifs, pnms, others):
        make()
    path = Path(__file__).parent / "decode.safetensors"
    packages = ["pillow", "numpy", "safetensors", "tifffile", "imagecodecs"]
    save_file(tensors, path, {package: version(package) for package in packages})
    print(f"{len(tensors) // 2} files, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
