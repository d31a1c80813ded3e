"""Exports, read by the programs that they are for, against our own features.

    cargo build --release
    pip install numpy pillow safetensors onnx onnxruntime torch torchvision timm transformers scikit-image
    python3 bench/check_exports.py [--only resnet18] [--keep DIR]

For each network it trains a few steps, so that no BatchNorm is as it began, writes features of a
dozen images with `moco embed`, exports the run in every form that it has, and computes the features
of the same images with onnxruntime, timm, torchvision and transformers. The loading lines are those
that `moco export` prints; of facebookresearch/dino and /mae the rules by which their evaluation loads
a file. Every graph goes through `onnx.checker` with type and shape inference, and every file and folder
back through `moco import --check`. The largest difference of each is printed beside the largest feature; beyond 5e-5 of it, about five hundred
roundings in single precision, the script ends with exit code 1. Lab is computed by scikit-image.
"""

import argparse
import contextlib
import functools
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import timm
import torch
import torchvision
import transformers
from PIL import Image
from safetensors.numpy import load_file
from safetensors.torch import load_file as load_torch

import safetensors.torch  # the printed lines name it so
import safetensors.numpy

ROOT = Path(__file__).resolve().parent.parent
LARGEST = 5e-5
IMAGES = 12
STEPS = "--max-steps 3 --batch-size 8 --epochs 4 --set monitor.knn_epochs=0 --set optim.warmup_epochs=0 --threads 2".split()
RESNET = "--recipe moco-v2-imagenet --set method.queue=64 --set model.bn_groups=1".split()
VIT = ["--recipe", "moco-v3-vit-imagenet", "--backbone", "vit-tiny"]


SETS = [word for setting in ["mlp=swiglu", "mlp_hidden=96", "registers=3", "layer_scale=0.1",
                             "qkv_bias=false"] for word in ["--set", f"model.{setting}"]]


def sized(side: int) -> list[str]:
    """Views of so many pixels, for networks that would take minutes at 224."""
    normalize = "normalize(imagenet)"
    view = f'"crop({side}, 0.2..1) flip {normalize}"'
    return [
        "--set", f"data.views=[{view},{view}]",
        "--set", f'data.eval_view="resize({side}) center({side}) {normalize}"',
    ]


def one_view(side: int, size: int) -> list[str]:
    """MAE's view, and an evaluation view of another size: positions are interpolated."""
    normalize = "normalize(mean=0.4,0.5,0.6 std=0.2,0.25,0.3)"
    return [
        "--set", f'data.views=["crop({side}, 0.2..1) flip {normalize}"]',
        "--set", f'data.eval_view="resize({size}, bicubic) center({size}) {normalize}"',
    ]


# Name: arguments of `moco pretrain`, size of the evaluation view, what the run can be exported as.
CASES = {
    "resnet18-cifar": (["--recipe", "moco-v2-cifar10", "--set", "method.queue=64",
                        "--set", "model.bn_groups=1"], 32,
                       ["onnx", "head", "torchvision", "timm-file"]),
    "resnet18-imagenet": ([*RESNET, "--backbone", "resnet18"], 224,
                          ["onnx", "head", "torchvision", "timm-file", "timm", "huggingface",
                           "detectron2"]),
    "resnet50-imagenet": (RESNET, 224,
                          ["onnx", "head", "torchvision", "timm", "huggingface", "detectron2"]),
    "resnet34-narrow": ([*RESNET, *sized(96), "--backbone", "resnet34", "--set", "model.width=24"],
                        96, ["onnx", "huggingface"]),
    "vit-tiny-moco-v3": ([*VIT, *sized(112)], 112,
                         ["onnx", "head", "torchvision", "timm-file", "timm", "huggingface"]),
    "vit-tiny-conv-stem": ([*VIT, *sized(96), "--set", "model.patch_stem=convolutions", "--set", "model.freeze_patch=false"], 96,
                           ["onnx", "head", "torchvision"]),
    "vit-dino": (["--method", "dino"], 32,
                 ["onnx", "head", "timm-file", "timm", "huggingface", "dino"]),
    "vit-dinov2-parts": (["--method", "dino", *SETS], 32, ["onnx", "head", "timm-file", "timm"]),
    "mae-mean": (["--recipe", "mae-small", *one_view(32, 48), "--set", "model.pool=mean"], 48,
                 ["onnx", "timm", "huggingface"]),
    "mae-imagenet": (["--recipe", "mae-imagenet", "--backbone", "vit-tiny", *one_view(96, 96)], 96,
                     ["onnx", "timm-file", "timm", "huggingface", "mae"]),
    "cmc": (["--recipe", "cmc-small"], 32, ["onnx", "head"]),
    "cpc": (["--recipe", "cpc-small"], 32, ["onnx"]),
    "byol": (["--recipe", "byol-small"], 32, ["onnx", "head"]),
    "simsiam": (["--recipe", "simsiam-small"], 32, ["onnx", "head"]),
    "swav": (["--recipe", "swav-small", "--set", "method.prototypes=64"], 32, ["onnx", "head"]),
}


class Run:
    """A trained run, and its images as each program wants them."""

    def __init__(self, moco: Path, place: Path, name: str):
        arguments, self.size, self.forms = CASES[name]
        self.moco, self.place, self.name = moco, place / name, name
        self.place.mkdir(parents=True)
        self.images = self.draw()
        self.call("pretrain", "--data", self.place / "images", "--out", self.run, *arguments, *STEPS)
        card = self.card(self.run / "encoder.safetensors")
        self.mean, self.std = (np.array(card[f"moco.{key}"].split(", "), np.float32)
                               for key in ["mean", "std"])
        self.method, self.view = card["moco.method"], card["moco.view"]

    @property
    def run(self) -> Path:
        return self.place / "run"

    def draw(self) -> np.ndarray:
        """Smooth images, `[N, S, S, 3]`, larger than the view where it cuts out the centre."""
        side = 256 if self.size == 224 else self.size
        rng = np.random.default_rng(len(self.name))
        folder = self.place / "images"
        folder.mkdir()
        images = []
        for i in range(IMAGES):
            small = rng.integers(0, 256, [8, 8, 3], np.uint8)
            image = Image.fromarray(small).resize([side, side], Image.Resampling.BICUBIC)
            image.save(folder / f"{i:02}.png")
            images.append(np.asarray(image))
        cut = (side - self.size) // 2
        return np.stack(images)[:, cut:cut + self.size, cut:cut + self.size]

    def call(self, *arguments: object) -> str:
        command = [str(self.moco), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"{' '.join(command)}\n{done.stderr}")
        return done.stdout

    def card(self, path: Path) -> dict:
        with safetensors.safe_open(path, "numpy") as file:
            return file.metadata()

    def embed(self, feature: str) -> np.ndarray:
        out = self.place / f"{feature}.npy"
        self.call("embed", "--run", self.run, "--data", self.place / "images", "--out", out,
                  "--feature", feature)
        return np.load(out)

    def export(self, name: str, *arguments: object) -> tuple[Path, list[str]]:
        """What was written, and the lines that say how to load it."""
        out = self.place / name
        told = self.call("export", "--run", self.run, "--out", out, *arguments)
        return out, [line.strip() for line in told.splitlines() if line.startswith("    ")]

    def come_back(self, path: Path, backbone: np.ndarray) -> None:
        """Reads an export as `moco import` does and compares its features with the run's."""
        features = self.place / "features.safetensors"
        images = np.ascontiguousarray(self.floats(), np.float32)
        safetensors.numpy.save_file({"input": images, "pooled": backbone}, features)
        told = self.call("import", path, "--check", features)
        assert "all within rounding" in told, told

    def bytes(self) -> np.ndarray:
        """The images as bytes, `[N, 3, H, W]`, or for CPC `[N, P, 3, H, W]`."""
        if self.method == "cpc":
            patches = [self.images[:, i:i + 8, j:j + 8] for i in range(0, 25, 4)
                       for j in range(0, 25, 4)]
            return np.stack(patches, 1).transpose(0, 1, 4, 2, 3).copy()
        return self.images.transpose(0, 3, 1, 2).copy()

    def floats(self) -> np.ndarray:
        """The same as the evaluation view makes them."""
        shape = [3, 1, 1]
        mean, std = self.mean.reshape(shape), self.std.reshape(shape)
        if self.method == "cmc":
            from skimage.color import rgb2lab
            lab = rgb2lab(self.images).astype(np.float32).transpose(0, 3, 1, 2)
            return (lab - mean) / std
        return (self.bytes().astype(np.float32) / np.float32(255) - mean) / std


def onnx_features(path: Path, images: np.ndarray) -> np.ndarray:
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    assert inferred.graph.output[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    session = onnxruntime.InferenceSession(path)
    whole, = session.run(["features"], {"images": images})
    alone, = session.run(["features"], {"images": images[:1]})
    assert np.abs(whole[:1] - alone).max() <= LARGEST * np.abs(whole).max(), "the batch size counts"
    return whole


def built(lines: list[str]) -> dict:
    """The names that printed lines define."""
    names = {"torch": torch, "torchvision": torchvision, "timm": timm, "safetensors": safetensors,
             "transformers": transformers, "functools": functools}
    exec("\n".join(lines), names)
    return names


def torch_features(net: torch.nn.Module, images: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return net.eval()(torch.from_numpy(images)).numpy()


def hugging_face_features(run: Run, lines: list[str]) -> np.ndarray:
    *build, features = lines
    names = built(build)
    names["net"].eval()
    names["images"] = torch.from_numpy(run.floats())
    with torch.no_grad():
        exec(features, names)
    return names["features"].numpy()


def converted(state: dict) -> dict:
    """The rules of facebookresearch/moco's `convert-pretrain-to-detectron2.py`."""
    new = {}
    for key, value in state.items():
        key = key if "layer" in key else "stem." + key
        for stage in [1, 2, 3, 4]:
            key = key.replace(f"layer{stage}", f"res{stage + 1}")
        for layer in [1, 2, 3]:
            key = key.replace(f"bn{layer}", f"conv{layer}.norm")
        new[key.replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm")] = value
    return new


def loaded_by_dino(net: torch.nn.Module, path: Path) -> None:
    """`utils.load_pretrained_weights` of facebookresearch/dino, which prints what does not match."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    state = state.get("teacher", state)
    state = {name.replace("module.", "").replace("backbone.", ""): value
             for name, value in state.items()}
    message = net.load_state_dict(state, strict=False)
    assert not message.missing_keys and not message.unexpected_keys, message


def loaded_by_mae(net: torch.nn.Module, path: Path) -> None:
    """`main_finetune.py --finetune` of facebookresearch/mae, which asserts that the head alone is missing."""
    state = torch.load(path, map_location="cpu", weights_only=True)["model"]
    assert "head.weight" not in state and state["pos_embed"].shape == net.pos_embed.shape
    message = net.load_state_dict(state, strict=False)
    assert not message.missing_keys and not message.unexpected_keys, message


def published_code(run: Run, code: str) -> torch.nn.Module:
    """The network of the printed lines for timm, whose names are the code's, with the code's weights."""
    path, lines = run.export(f"{code}.safetensors", "--names", code)
    with contextlib.chdir(run.place):
        built(["import safetensors.torch", *lines])
    *build, _ = run.export("for-net.safetensors", "--names", "timm")[1]
    net = built(build)["net"]
    {"dino": loaded_by_dino, "mae": loaded_by_mae}[code](net, run.place / f"{code}.pth")
    run.come_back(path, run.embed("backbone"))
    return net


def timm_settings(path: Path, run: Run) -> None:
    net = timm.create_model(f"local-dir:{path}", pretrained=True)
    config = timm.data.resolve_model_data_config(net)
    assert np.allclose(config["mean"], run.mean) and np.allclose(config["std"], run.std), config
    assert tuple(config["input_size"]) == (3, run.size, run.size), config
    # timm's own preprocessing of the files gives what our view gives.
    transform = timm.data.create_transform(**config, is_training=False)
    files = sorted((run.place / "images").iterdir())
    images = np.stack([transform(Image.open(file)).numpy() for file in files])
    assert np.abs(images - run.floats()).max() < 1e-5, config


def hugging_face_settings(path: Path, run: Run) -> None:
    processor = transformers.AutoImageProcessor.from_pretrained(path)
    files = sorted((run.place / "images").iterdir())
    images = processor([Image.open(file) for file in files], return_tensors="np")["pixel_values"]
    assert np.abs(images - run.floats()).max() < 1e-5, processor


def check(run: Run, form: str) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """What was compared, found and expected."""
    backbone = run.embed("backbone")
    unit = backbone / np.linalg.norm(backbone, axis=1, keepdims=True)
    if form == "onnx":
        found = [("onnx", onnx_features(run.export("e.onnx")[0], run.floats()), backbone)]
        flags = ["--unit-length"] if run.method == "cmc" else ["--unit-length", "--preprocess"]
        images = run.floats() if run.method == "cmc" else run.bytes()
        path = run.export("u.onnx", *flags)[0]
        return [*found, (f"onnx {' '.join(flags)}", onnx_features(path, images), unit)]
    if form == "head":
        path = run.export("h.onnx", "--part", "encoder+head")[0]
        return [("onnx head", onnx_features(path, run.floats()), run.embed("head"))]
    if form in ["torchvision", "timm-file"]:
        path, lines = run.export(f"{form}.safetensors", "--names", form.removesuffix("-file"))
        run.come_back(path, backbone)
        return [(form, torch_features(built(lines)["net"], run.floats()), backbone)]
    if form == "timm":
        path, lines = run.export("timm", "--format", "timm")
        timm_settings(path, run)
        run.come_back(path, backbone)
        return [("timm folder", torch_features(built(lines)["net"], run.floats()), backbone)]
    if form == "huggingface":
        path, lines = run.export("hf", "--format", "huggingface")
        hugging_face_settings(path, run)
        run.come_back(path, backbone)
        return [("huggingface folder", hugging_face_features(run, lines), backbone)]
    if form in ["dino", "mae"]:
        return [(f"{form} names", torch_features(published_code(run, form), run.floats()), backbone)]
    path, lines = run.export("d.safetensors", "--names", "detectron2")
    run.come_back(path, backbone)
    state = built(lines)["whole"]["model"]
    expected = converted(load_file(run.export("t.safetensors", "--names", "torchvision")[0]))
    assert state.keys() == expected.keys(), state.keys() ^ expected.keys()
    return [("detectron2 names", state[key].ravel(), expected[key].ravel()) for key in expected][:1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--moco", type=Path, default=ROOT / "target/release/moco")
    parser.add_argument("--only", default="", help="cases whose names begin so")
    parser.add_argument("--keep", type=Path, help="folder for runs and exports, new")
    args = parser.parse_args()
    torch.set_num_threads(2)
    modules = [np, onnx, onnxruntime, torch, torchvision, timm, transformers]
    print(", ".join(f"{module.__name__} {module.__version__}" for module in modules))
    print(f"{'run':20} {'read by':34} {'largest difference':>18} {'feature':>9} {'share':>8}")
    failed = False
    with tempfile.TemporaryDirectory() as temporary:
        place = args.keep or Path(temporary)
        for name in [name for name in CASES if name.startswith(args.only)]:
            run = Run(args.moco, place, name)
            for form in run.forms:
                for what, found, expected in check(run, form):
                    assert found.shape == expected.shape, (found.shape, expected.shape)
                    difference, largest = np.abs(found - expected).max(), np.abs(expected).max()
                    failed |= not difference <= LARGEST * largest
                    share = difference / largest
                    print(f"{name:20} {what:34} {difference:18.2e} {largest:9.3g} {share:8.1e}",
                          flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
