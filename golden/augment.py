"""Golden vectors of decoding and augmentation, from Pillow, torchvision, scikit-image and timm.

    python3 golden/augment.py

writes `golden/augment/vectors.safetensors`, which the tests of `moco-data` compare with, and
`golden/augment/MANIFEST.json` with the versions and the seed. Neither build nor tests need Python.

Every case is a tensor `<operation>.<number>.params` (f64, in the order of the Rust function's
arguments) and a tensor `<operation>.<number>.out`: what torchvision makes of the image `source`.
`rand.*` are what timm makes of `rand.source`, with the magnitude, whether the sign is negative, and
the colour outside the image. `all.*` are checksums over all 2^24 colours. `decode.<name>.file` are
encoded images, with `decode.<name>.rgb` as Pillow decodes them.
"""

import io
import json
import platform
import struct
import zlib
from pathlib import Path
from unittest.mock import patch

import numpy as np
import PIL
import skimage
import timm
import torch
import torchvision
from PIL import Image, ImageFilter, ImageOps
from safetensors.numpy import save_file
from skimage.color import rgb2lab, rgb2ycbcr
from timm.data.auto_augment import LEVEL_TO_ARG, AugmentOp, rand_augment_transform
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

SEED = 20260801
OUT = Path(__file__).parent / "augment"
BILINEAR, BICUBIC = 0, 1
FILTERS = {BILINEAR: InterpolationMode.BILINEAR, BICUBIC: InterpolationMode.BICUBIC}

rng = np.random.default_rng(SEED)
tensors = {}


def photo(height, width):
    """Smooth colour gradients, hard edges and noise: exercises every part of the arithmetic."""
    y, x = np.mgrid[0:height, 0:width]
    phase = rng.uniform(0, 6, size=(3, 3))
    channels = [
        128 + 90 * np.sin(x / 9 + a) * np.cos(y / 7 + b) + 50 * np.sign(np.sin((x + y) / 11 + c))
        for a, b, c in phase
    ]
    image = np.stack(channels, axis=-1) + rng.normal(0, 14, size=(height, width, 3))
    image[: height // 6, : width // 5] = (0, 255, 127)
    image[-height // 6 :, : width // 5] = 77
    return Image.fromarray(np.clip(image, 0, 255).astype(np.uint8), "RGB")


def case(operation, params, out):
    number = sum(name.startswith(f"{operation}.") for name in tensors) // 2
    tensors[f"{operation}.{number}.params"] = np.asarray(params, dtype=np.float64)
    tensors[f"{operation}.{number}.out"] = np.asarray(out)


def sizes(source):
    whole = (0, 0, source.height, source.width)
    boxes = [
        (whole, (16, 16), BILINEAR),
        (whole, (45, 50), BILINEAR),
        (whole, (13, 21), BICUBIC),
        ((3, 5, 20, 24), (16, 16), BILINEAR),
        ((3, 5, 20, 24), (16, 16), BICUBIC),
        ((11, 17, 9, 7), (32, 32), BILINEAR),
        ((11, 17, 9, 7), (32, 32), BICUBIC),
        ((0, 0, 1, 1), (8, 8), BILINEAR),
        ((0, 4, 30, 30), (24, 28), BILINEAR),
        ((0, 4, 30, 30), (24, 28), BICUBIC),
        ((0, 9, 30, 20), (16, 24), BICUBIC),
        ((2, 1, 24, 32), (24, 32), BILINEAR),
        ((2, 1, 24, 32), (24, 16), BILINEAR),
    ]
    for box, size, kernel in boxes:
        case("crop", [*box, *size, kernel], F.resized_crop(source, *box, size, FILTERS[kernel]))
    for image in (source, source.transpose(Image.Transpose.ROTATE_90)):
        for side, kernel in ((17, BILINEAR), (24, BICUBIC)):
            out = F.resize(image, side, FILTERS[kernel])
            case("resize", [image is not source, side, kernel], out)
    for size in ((10, 13), (11, 14), (35, 44), (36, 9), (7, 47)):
        case("center", size, F.center_crop(source, size))


def colors(source):
    for factor in (0.0, 0.37, 1.0, 1.4, 2.9):
        case("brightness", [factor], F.adjust_brightness(source, factor))
        case("contrast", [factor], F.adjust_contrast(source, factor))
        case("saturation", [factor], F.adjust_saturation(source, factor))
    for turns in (-0.5, -0.1, -0.003, 0.0, 0.07, 0.5):
        case("hue", [turns], F.adjust_hue(source, turns))
    for number in range(4):
        order = rng.permutation(4)
        brightness, contrast, saturation = rng.uniform(0.6, 1.4, size=3)
        hue = rng.uniform(-0.1, 0.1)
        image = source
        for change in order:
            image = [
                lambda: F.adjust_brightness(image, brightness),
                lambda: F.adjust_contrast(image, contrast),
                lambda: F.adjust_saturation(image, saturation),
                lambda: F.adjust_hue(image, hue),
            ][change]()
        case("jitter", [*order, brightness, contrast, saturation, hue], image)
    case("gray", [], F.rgb_to_grayscale(source, 3))
    case("flip", [], F.hflip(source))
    for threshold in (0, 1, 128, 255):
        case("solarize", [threshold], F.solarize(source, threshold))
    for sigma in (0.0, 0.1, 0.43, 0.9, 1.37, 2.0, 4.4, 30.0):
        case("blur", [sigma], source.filter(ImageFilter.GaussianBlur(radius=sigma)))


def additive_brightness(source):
    """BYOL's and SimCLR v1's brightness: in 0..1, added and clipped; rounded to levels here."""
    levels = np.asarray(source, dtype=np.float64) / 255
    for amount in (-1.3, -0.4, -0.013, 0.0, 0.2, 0.77):
        out = np.clip(levels + amount, 0, 1)
        case("add", [amount], np.floor(out * 255 + 0.5).astype(np.uint8))


def convolved(source):
    """The blur of SimCLR and BYOL: a sampled Gaussian of unit sum, and zeros around the image."""
    pixels = torch.from_numpy(np.asarray(source, dtype=np.float64)).permute(2, 0, 1)[:, None]
    for sigma, radius in ((0.1, 11), (0.7, 11), (1.31, 1), (1.31, 4), (2.0, 11), (2.0, 40), (5.0, 0)):
        x = torch.arange(-radius, radius + 1, dtype=torch.float64)
        kernel = torch.exp(-(x**2) / (2 * sigma**2))
        kernel /= kernel.sum()
        out = torch.conv2d(pixels, kernel[None, None, None], padding=(0, radius))
        out = torch.conv2d(out, kernel[None, None, :, None], padding=(radius, 0))
        out = (out[:, 0].permute(1, 2, 0) + 0.5).floor().to(torch.uint8)
        case("gaussian", [sigma, radius], out.numpy())


def rand_augment(source):
    """Each operation of RandAugment that MAE's configuration has, on an image of low contrast."""
    dim = source.point(lambda level: 25 + 3 * level // 5)
    tensors["rand.source"] = np.asarray(dim)
    fill = (124, 116, 104)  # ImageNet's mean, as timm rounds it.
    hparams = {"img_mean": fill, "interpolation": Image.Resampling.BICUBIC}
    policy = rand_augment_transform("rand-m9-mstd0.5-inc1", dict(hparams))
    for name in (op.name for op in policy.ops):
        kind = name.removesuffix("Increasing").removesuffix("Rel")
        strengths = ((0, 0), (4.3, 0), (8.9, 0), (8.9, 1), (10, 1))
        for magnitude, negative in strengths if LEVEL_TO_ARG[name] else strengths[:1]:
            op = AugmentOp(name, prob=1, magnitude=magnitude, hparams=hparams)
            if kind == "Posterize" and magnitude == 10:
                # Pillow 13 refuses to keep 0 bits; before, it made the image black.
                out = np.zeros_like(dim)
            else:
                with patch("random.random", return_value=negative):
                    out = op(dim)
            case(f"rand.{kind}", [magnitude, negative, *fill], out)


def windows(source):
    pixels = np.asarray(source)
    height, width = pixels.shape[:2]
    for down, right in ((0, 0), (4, -3), (-2, 4), (29, -39), (-29, 39)):
        pad = max(abs(down), abs(right))
        wide = np.pad(pixels, ((pad, pad), (pad, pad), (0, 0)), mode="reflect")
        top, left = pad - down, pad - right
        case("translate", [down, right], wide[top : top + height, left : left + width])
    for h, w, stride_y, stride_x in ((8, 8, 4, 4), (16, 12, 7, 9), (30, 40, 1, 1), (5, 7, 25, 33)):
        views = np.lib.stride_tricks.sliding_window_view(pixels, (h, w), axis=(0, 1))
        grid = views[::stride_y, ::stride_x].transpose(0, 1, 3, 4, 2)
        case("patches", [h, w, stride_y, stride_x], grid.reshape(-1, w, 3))


def color_spaces():
    """All combinations of levels that are far apart, and of the darkest."""
    levels = np.array([0, 1, 2, 5, 10, 11, 12, 40, 77, 128, 200, 254, 255], dtype=np.uint8)
    colors = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(13, 169, 3)
    tensors["space.source"] = colors
    tensors["space.lab"] = rgb2lab(colors).astype(np.float32)
    tensors["space.ycbcr"] = rgb2ycbcr(colors).astype(np.float32)


def normalized(source):
    statistics = [
        ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
        ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
        ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    ]
    small = source.crop((0, 0, 20, 16))
    for mean, std in statistics:
        out = F.normalize(F.to_tensor(small), mean, std).permute(1, 2, 0).contiguous().numpy()
        case("normalize", [*mean, *std], out)


def checksum(image):
    """Position-dependent sum modulo 2^64 over the pixels as 24-bit numbers."""
    pixels = np.asarray(image).reshape(-1, 3).astype(np.uint64)
    words = pixels @ np.array([1, 256, 65536], dtype=np.uint64)
    weights = 2 * np.arange(len(words), dtype=np.uint64) + 1
    return np.asarray((words * weights).sum(dtype=np.uint64)).reshape(1)


def every_color():
    numbers = np.arange(1 << 24, dtype=np.uint32)
    pixels = np.stack([numbers & 255, numbers >> 8 & 255, numbers >> 16], axis=-1)
    image = Image.fromarray(pixels.astype(np.uint8).reshape(4096, 4096, 3), "RGB")
    for turns in (-0.31, 0.0, 0.1):
        case("all.hue", [turns], checksum(F.adjust_hue(image, turns)))
    for factor in (0.61, 1.39):
        case("all.saturation", [factor], checksum(F.adjust_saturation(image, factor)))
    case("all.gray", [], checksum(F.rgb_to_grayscale(image, 3)))


def encoded(image, form, **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def exif_of(orientation):
    """EXIF data that holds nothing but an orientation."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def png16(samples):
    """A 16-bit PNG of RGB or RGBA samples `[H, W, C]`, which Pillow reads but cannot write."""

    def chunk(kind, data):
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    height, width, channels = samples.shape
    header = struct.pack(">IIBBBBB", width, height, 16, {3: 2, 4: 6}[channels], 0, 0, 0)
    rows = samples.astype(">u2").tobytes()
    stride = len(rows) // height
    data = b"".join(b"\0" + rows[y * stride : (y + 1) * stride] for y in range(height))
    signature = b"\x89PNG\r\n\x1a\n"
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(data)), (b"IEND", b"")]
    return signature + b"".join(chunk(kind, body) for kind, body in chunks)


def decoding(source):
    small = source.crop((0, 0, 29, 23))
    alpha = Image.fromarray(rng.integers(0, 256, size=(23, 29), dtype=np.uint8), "L")
    rgba, la = small.copy(), small.convert("L")
    rgba.putalpha(alpha)
    la.putalpha(alpha)
    deep_gray = rng.integers(0, 65536, size=(23, 29), dtype=np.uint16)
    deep_rgb = rng.integers(0, 65536, size=(11, 13, 4), dtype=np.uint16)
    files = {
        "jpeg444": encoded(small, "JPEG", quality=90, subsampling=0),
        "jpeg422": encoded(small, "JPEG", quality=90, subsampling=1),
        "jpeg420": encoded(small, "JPEG", quality=90, subsampling=2),
        "jpeg_progressive": encoded(small, "JPEG", quality=80, progressive=True),
        "jpeg_gray": encoded(small.convert("L"), "JPEG", quality=90),
        "jpeg_cmyk": encoded(small.convert("CMYK"), "JPEG", quality=95),
        "png_rgb": encoded(small, "PNG"),
        "png_rgba": encoded(rgba, "PNG"),
        "png_gray": encoded(small.convert("L"), "PNG"),
        "png_gray_alpha": encoded(la, "PNG"),
        "png_gray16": encoded(Image.fromarray(deep_gray), "PNG"),
        "png_rgb16": png16(deep_rgb[..., :3]),
        "png_rgba16": png16(deep_rgb),
        "png_bilevel": encoded(small.convert("1"), "PNG"),
        "png_palette": encoded(small.quantize(50), "PNG"),
        "png_palette_transparent": encoded(small.quantize(9), "PNG", transparency=3),
        "webp_lossless": encoded(small, "WEBP", lossless=True),
        "webp_lossy": encoded(small, "WEBP", quality=90),
        "webp_alpha": encoded(rgba, "WEBP", lossless=True, exact=True),
        "bmp_rgb": encoded(small, "BMP"),
        "bmp_palette": encoded(small.quantize(50), "BMP"),
        "gif": encoded(small, "GIF"),
        "gif_transparent": encoded(small.quantize(9), "GIF", transparency=3),
        "gif_animated": encoded(
            small, "GIF", save_all=True, append_images=[small.rotate(180)], duration=50
        ),
        "tiff_rgb": encoded(small, "TIFF"),
        "tiff_rgba": encoded(rgba, "TIFF"),
        "tiff_gray": encoded(small.convert("L"), "TIFF"),
        "tiff_bilevel": encoded(small.convert("1"), "TIFF"),
        "tiff_lzw": encoded(small, "TIFF", compression="tiff_lzw"),
        "tiff_deflate": encoded(small, "TIFF", compression="tiff_adobe_deflate"),
    }
    for orientation in range(2, 9):
        data = encoded(small, "JPEG", quality=90, exif=exif_of(orientation))
        files[f"jpeg_turned{orientation}"] = data
    files["png_turned6"] = encoded(small, "PNG", exif=exif_of(6))
    files["webp_turned6"] = encoded(small, "WEBP", lossless=True, exif=exif_of(6))
    files["tiff_turned6"] = encoded(small, "TIFF", exif=exif_of(6))
    for name, data in files.items():
        tensors[f"decode.{name}.file"] = np.frombuffer(data, dtype=np.uint8)
        rgb = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
        if name == "png_gray16":
            # Pillow clips grey at 255 here, which turns the image white. We keep the high byte, as
            # Pillow itself does for 16-bit colour.
            rgb = np.repeat((deep_gray >> 8).astype(np.uint8)[..., None], 3, axis=-1)
        tensors[f"decode.{name}.rgb"] = rgb


def main():
    source = photo(30, 40)
    tensors["source"] = np.asarray(source)
    sizes(source)
    colors(source)
    normalized(source)
    additive_brightness(source)
    convolved(source)
    rand_augment(source)
    windows(source)
    color_spaces()
    every_color()
    decoding(source)
    OUT.mkdir(exist_ok=True)
    contiguous = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    save_file(contiguous, OUT / "vectors.safetensors")
    manifest = {
        "script": "golden/augment.py",
        "seed": SEED,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "pillow": PIL.__version__,
        "scikit-image": skimage.__version__,
        "timm": timm.__version__,
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
    }
    (OUT / "MANIFEST.json").write_text(json.dumps(manifest, indent=2) + "\n")


if __name__ == "__main__":
    main()
