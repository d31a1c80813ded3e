"""The data path in torchvision: the peer of our loader.

    python3 bench/peers/torch_data.py --data imagenet-sample.tar --recipe moco-v2 --variant pillow

`pillow` is the pipeline of the MoCo repository: Pillow images, its Gaussian blur, `ToTensor`.
`v2` is the same in torchvision's v2 transforms on tensors, decoded by `torchvision.io`. Both run in
a `DataLoader` of so many worker processes; encoded files are held in memory, which spares the peer
the disk. The last line printed is a JSON object of images per second, of wall time and of processor
time of all workers, and of the mean microseconds of each operation in one process.
"""

import argparse
import io
import json
import os
import random
import tarfile
import time
from pathlib import Path

import PIL
import torch
import torchvision
from PIL import Image, ImageFilter
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms import v2

STATISTICS = {
    "moco-v2": ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    "cifar": ([0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010]),
}
EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


class PillowBlur:
    """The blur of the MoCo repository."""

    def __call__(self, image):
        return image.filter(ImageFilter.GaussianBlur(radius=random.uniform(0.1, 2.0)))


class Timed:
    """A transform that adds up its time."""

    def __init__(self, transform):
        self.transform, self.seconds = transform, 0.0

    def __call__(self, image):
        start = time.perf_counter()
        image = self.transform(image)
        self.seconds += time.perf_counter() - start
        return image


def operations(recipe, variant):
    """The operations of a view by name, in order."""
    kit = transforms if variant == "pillow" else v2
    size, area = (224, (0.2, 1.0)) if recipe == "moco-v2" else (32, (0.08, 1.0))
    crop = kit.RandomResizedCrop(size, scale=area)
    jitter = kit.RandomApply([kit.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8)
    gray, flip = kit.RandomGrayscale(p=0.2), kit.RandomHorizontalFlip()
    gaussian = PillowBlur() if variant == "pillow" else v2.GaussianBlur(23, (0.1, 2.0))
    blur = kit.RandomApply([gaussian], p=0.5)
    to_float = transforms.ToTensor() if variant == "pillow" else v2.ToDtype(torch.float32, scale=True)
    normalize = transforms.Compose([to_float, kit.Normalize(*STATISTICS[recipe])])
    if recipe == "moco-v2":
        return {
            "crop": crop,
            "jitter": jitter,
            "gray": gray,
            "blur": blur,
            "flip": flip,
            "normalize": normalize,
        }
    return {"crop": crop, "flip": flip, "jitter": jitter, "gray": gray, "normalize": normalize}


class TwoViews(Dataset):
    """Two views of each of the encoded files, which are taken over and over."""

    def __init__(self, files, variant, view):
        self.files, self.variant, self.view = files, variant, view

    def __len__(self):
        return 10**9

    def decode(self, i):
        data = self.files[i % len(self.files)]
        if self.variant == "pillow":
            return Image.open(io.BytesIO(data)).convert("RGB")
        return decode_image(torch.frombuffer(bytearray(data), dtype=torch.uint8), ImageReadMode.RGB)

    def __getitem__(self, i):
        image = self.decode(i)
        return self.view(image), self.view(image)


def read_tar(path):
    with tarfile.open(path) as tar:
        members = [m for m in tar if m.isfile() and m.name.lower().endswith(EXTENSIONS)]
        return [tar.extractfile(member).read() for member in members]


def cpu_seconds(pids):
    """Processor time of processes, user's and system's."""
    total = 0.0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def pipeline(dataset, args):
    """Images per second of the loader, once it is warm."""
    loader = DataLoader(dataset, batch_size=args.batch_size, num_workers=args.workers)
    batches = iter(loader)
    for _ in range(2 * args.workers):
        next(batches)
    pids = [worker.pid for worker in batches._workers] + [os.getpid()]
    cpu, start, images = cpu_seconds(pids), time.perf_counter(), 0
    while time.perf_counter() - start < args.seconds:
        images += len(next(batches)[0])
    wall = time.perf_counter() - start
    return {
        "images_per_second": images / wall,
        "images_per_cpu_second": images / (cpu_seconds(pids) - cpu),
    }


def stages(dataset, named, args):
    """One process: decoding alone, and the mean time of each operation per image and view."""
    count = min(len(dataset.files), 256)
    start = time.process_time()
    images = [dataset.decode(i) for i in range(count)]
    decode = (time.process_time() - start) / count
    timed = {name: Timed(operation) for name, operation in named.items()}
    views, start = 0, time.perf_counter()
    while views < count or time.perf_counter() - start < args.seconds:
        image = images[views % count]
        for operation in timed.values():
            image = operation(image)
        views += 1
    return {
        "decode_images_per_cpu_second": 1 / decode,
        "operations": {name: 1e6 * each.seconds / views for name, each in timed.items()},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--recipe", choices=list(STATISTICS), required=True)
    parser.add_argument("--variant", choices=["pillow", "v2"], default="pillow")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=10)
    args = parser.parse_args()

    torch.set_num_threads(1)
    named = operations(args.recipe, args.variant)
    kit = transforms if args.variant == "pillow" else v2
    dataset = TwoViews(read_tar(args.data), args.variant, kit.Compose(list(named.values())))
    report = pipeline(dataset, args) | stages(dataset, named, args)
    report |= {
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "pillow": PIL.__version__,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
