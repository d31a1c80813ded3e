"""Small data sets in every format that moco-data reads, written by the programs people write them with.

    pip install datasets==5.2.0 pyarrow==26.0.1 pandas==3.1.1 webdataset==1.0.2 numpy==2.4.6 pillow==13.0.0 \
                safetensors==0.8.0 imagehash==4.3.2
    python3 golden/sources/make_sources.py

Hugging Face's `datasets` and pyarrow write Parquet, pandas CSV, `webdataset` and Python's tarfile write tars, numpy the
record files. `expected.safetensors` holds the pixels that Pillow decodes, [N, H, W, 3], and the labels; and
the perceptual hashes that `imagehash` gives, as 8 bytes each.
"""

import gzip
import io
import json
import struct
import tarfile
from pathlib import Path

import datasets
import imagehash
import numpy as np
import pandas as pd
import PIL
import pyarrow as pa
import pyarrow.parquet as pq
import safetensors.numpy
import webdataset
from PIL import Image

HERE = Path(__file__).resolve().parent
SEED = 20
CLASSES = ["cat", "dog", "newt"]


def picture(rng, width, height):
    """Smooth colours with a little noise, so that files are small and hashes are not random."""
    y, x = np.mgrid[0:height, 0:width]
    wave = [np.sin(x * rng.uniform(0.1, 0.5) + y * rng.uniform(0.1, 0.5) + rng.uniform(0, 6)) for _ in range(3)]
    pixels = np.stack(wave, -1) * 90 + 128 + rng.uniform(-4, 4, (height, width, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def encoded(image, kind="PNG", **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def hf(images, labels):
    """As `push_to_hub` and `to_parquet` publish it: by the library itself."""
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=CLASSES)})
    rows = {
        "image": [{"bytes": encoded(image), "path": f"{i}.png"} for i, image in enumerate(images)],
        "label": labels,
    }
    return datasets.Dataset.from_dict(rows, features=features)


def arrow_table(images, labels, null_at=None):
    structs = [{"bytes": encoded(image), "path": None} for image in images]
    if null_at is not None:
        structs[null_at] = {"bytes": None, "path": "lost.png"}
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    return pa.table({"text": [f"row {i}" for i in range(len(images))], "img": pa.array(structs, kind), "label": labels})


def write_parquet(images, labels):
    hf(images, labels).to_parquet(HERE / "hf.parquet")
    # Several row groups of several pages; no index of pages; no dictionary.
    pq.write_table(arrow_table(images, pa.array([c * 10 for c in labels], pa.int32())), HERE / "pages.parquet",
                   row_group_size=7, data_page_size=1500, write_batch_size=1, use_dictionary=False,
                   compression="zstd", write_page_index=False)
    # Repeated images through a dictionary, labels as text, an index, pages of the second version, a missing image.
    again = [images[i % 3] for i in range(len(images))]
    pq.write_table(arrow_table(again, pa.array([CLASSES[c] for c in labels]), null_at=4), HERE / "dictionary.parquet",
                   row_group_size=20, data_page_size=20, write_batch_size=2, data_page_version="2.0",
                   compression="snappy", write_page_index=True)


def hf_struct(image, path=None):
    return {"bytes": encoded(image), "path": path}


def write_columns(images):
    """Tables with several columns that could be the images' or the labels'; images are those of the other tables."""
    image, classes = datasets.Image(), datasets.ClassLabel(names=CLASSES)

    def publish(name, columns):
        features = datasets.Features({column: kind for column, (kind, _) in columns.items()})
        rows = {column: values for column, (_, values) in columns.items()}
        datasets.Dataset.from_dict(rows, features=features).to_parquet(HERE / name)

    def structs(*which):
        return [hf_struct(images[i]) for i in which]

    # A mask comes first; the labels are of two kinds.
    publish("masks.parquet", {"annotation": (image, structs(5, 6)), "depth": (image, structs(6, 5)),
                              "image": (image, structs(0, 1)), "coarse": (classes, [2, 1]), "label": (classes, [0, 2])})
    # The order of the features is neither that of the alphabet nor one of usual names.
    publish("order.parquet", {"photo": (image, structs(0, 1)), "close_up": (image, structs(2, 3))})
    # Rows without an image, with a path only, and without a label.
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = [None, hf_struct(images[0]), {"bytes": None, "path": "one.png"}, {"bytes": None, "path": None}, hf_struct(images[1]), None]
    table = pa.table({"image": pa.array(rows, kind), "label": pa.array([0, 1, 1, 0, None, 2])})
    pq.write_table(table, HERE / "nulls.parquet", row_group_size=4)

    # Every kind of column that pyarrow writes; `data` holds the images.
    raw = [encoded(images[0]), encoded(images[1])]
    pq.write_table(pa.table({
        "id": [7, 8], "data": pa.array(raw, pa.large_binary()), "view": pa.array(raw, pa.binary_view()),
        "dictionary": pa.array(raw).dictionary_encode(), "fixed": pa.array([b"ab", b"cd"], pa.binary(2)),
        "time": pa.array([1, 2], pa.timestamp("ns")), "decimal": pa.array([1, 2], pa.decimal128(5, 2)),
        "half": pa.array(np.array([1, 2], np.float16)), "list": [[1, 2], []], "nothing": pa.nulls(2),
        "several": [[hf_struct(images[0])], []], "inner": [{"left": hf_struct(images[1])}, {"left": hf_struct(images[0])}],
        "flag": [True, False], "float": [2.0, 10.0], "nan": [1.0, float("nan")], "part": [0.5, 0.25],
        "byte": pa.array([200, 1], pa.uint8()), "wide": pa.array([3, 2**63 - 1], pa.uint64()), "signs": [-1, 1],
        "category": pa.array(["b", "a"]).dictionary_encode(),
    }), HERE / "kinds.parquet", use_deprecated_int96_timestamps=True)


def write_csv():
    """As pandas writes it, with its index: a comma, quotes and a line break in the fields, and a missing label."""
    frame = pd.DataFrame({"label": ["red, big", 'the "cat"', None, "two\nlines"], "filename": ["a,1.png", 'b"2.png', "c 3.png", "d.png"]})
    frame.to_csv(HERE / "pandas.csv")
    frame.to_csv(HERE / "semicolons.csv", sep=";", index=False, encoding="utf-8-sig", lineterminator="\r\n")


def write_tars(images, labels):
    for shard in range(3):
        with webdataset.TarWriter(str(HERE / f"wds-{shard:03d}.tar"), mtime=0) as writer:
            for i in range(shard * 4, shard * 4 + 4):
                writer.write({"__key__": f"{i:06d}", "png": encoded(images[i]), "cls": labels[i]})
    with tarfile.open(HERE / "json.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        def add(name, data):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        for i in range(4):
            add(f"deep/é{i}.x.png", encoded(images[i]))
            add(f"deep/é{i}.json", json.dumps({"label": CLASSES[labels[i]], "caption": "a picture"}).encode())
    with open(HERE / "json.tar", "rb") as plain, open(HERE / "json.tar.gz", "wb") as packed:
        packed.write(gzip.compress(plain.read(), mtime=0))


def idx(array):
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_records(rng):
    grey = rng.integers(0, 256, (5, 4, 3), dtype=np.uint8)
    grey_labels = np.array([3, 0, 9, 1, 3], np.uint8)
    (HERE / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(grey), mtime=0))
    (HERE / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(grey_labels), mtime=0))
    (HERE / "color.idx4-ubyte").write_bytes(idx(rng.integers(0, 256, (2, 3, 5, 4), dtype=np.uint8)))

    ten = rng.integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    ten_labels = np.array([9, 0, 4, 4, 1, 2], np.uint8)
    planes = ten.transpose(0, 3, 1, 2).reshape(6, 3072)
    records = np.concatenate([ten_labels[:, None], planes], 1)
    hundred = np.concatenate([np.full((6, 1), 7, np.uint8), (ten_labels * 11)[:, None], planes], 1)
    (HERE / "test_batch.bin").write_bytes(records.tobytes())
    (HERE / "test.bin").write_bytes(hundred.tobytes())
    color = np.frombuffer((HERE / "color.idx4-ubyte").read_bytes()[20:], np.uint8).reshape(2, 3, 5, 4)
    return {
        "idx.images": np.repeat(grey[..., None], 3, -1), "idx.labels": grey_labels.astype(np.int64),
        "color.images": np.ascontiguousarray(color.transpose(0, 2, 3, 1)),
        "cifar.images": ten, "cifar.labels": ten_labels.astype(np.int64),
    }


def hashes(rng):
    """Perceptual hashes of images, and of the same images stored as worse JPEGs and at other sizes.

    The images are coarse random fields: all low frequencies are strong, so that a hash is not a matter of rounding.
    """
    def field(width, height):
        coarse = Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8))
        return coarse.resize((width, height), Image.Resampling.BICUBIC)

    images = [field(60 + 7 * i, 80 - 5 * i) for i in range(6)]
    variants = [Image.open(io.BytesIO(encoded(image, "JPEG", quality=40))).convert("RGB") for image in images]
    variants += [image.resize((50, 40), Image.Resampling.BICUBIC) for image in images]
    out = {}
    for i, image in enumerate(images + variants):
        bits = imagehash.phash(image).hash.flatten()
        out[f"phash.{i:02d}.image"] = np.asarray(image)
        out[f"phash.{i:02d}.hash"] = np.packbits(bits)
    return out


def main():
    rng = np.random.default_rng(SEED)
    images = [picture(rng, 12, 10) for _ in range(23)]
    labels = [int(c) for c in rng.integers(0, 3, 23)]
    write_parquet(images, labels)
    write_columns(images)
    write_csv()
    write_tars(images, labels)
    expected = {"images": np.stack([np.asarray(image) for image in images]), "labels": np.array(labels)}
    expected |= write_records(rng)
    expected |= hashes(rng)
    versions = {m.__name__: m.__version__ for m in (datasets, pa, webdataset, np, PIL, imagehash)}
    metadata = {"seed": str(SEED), "versions": json.dumps(versions)}
    safetensors.numpy.save_file(expected, HERE / "expected.safetensors", metadata)


if __name__ == "__main__":
    main()
