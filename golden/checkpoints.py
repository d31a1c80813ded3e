"""Checkpoints in the layouts of the family, and what torch reads of each.

    python3 golden/checkpoints.py [SOURCE]

SOURCE is a folder of tiny checkpoints `NAME.EXT`, each with `NAME.json` (layout, architecture, which
code wrote it) and `NAME.features.safetensors` (an input and the features that this code gives for
it). Chosen ones are copied to `checkpoints/`; of those that torch wrote with an optimiser, its state
is emptied, which makes them half as large, and they are saved again by torch. `checkpoints/expected.json`
has for every file of SOURCE, and for every copy, how many tensors there are and a CRC-32 over all of
them as float32: over each tensor in the order of names, its name, a zero, its shape as text, a zero,
its values row by row.

`hf_resnet` is written here by transformers, with running statistics of a pass over random images;
without SOURCE it alone is made. `odd_*` are written here by torch: a whole module, a `defaultdict` with an entry, and a sparse
tensor, which is no state of a network and is left. All their values are 0.5.

Files named `hostile_*` are copied and never opened. Classes that are not installed (argparse's are;
those of the published codes are not) are replaced by empty ones while reading; their names are kept.

torch 2.15.0, safetensors 0.8.0, numpy 2.4.6, transformers 5.24.0. The same SOURCE gives the same numbers.
"""

import collections
import json
import pickle
import shutil
import sys
import types
import zlib
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

OUT = Path(__file__).parent / "checkpoints"

# File -> layout, as `--as` names it.
LAYOUTS = {
    "cmc": "cmc", "cmc_v2": "cmc", "dino_backbone": "dino", "dino_full": "dino",
    "dinov2_official": "dinov2", "hf_dinov2": "huggingface-dinov2", "hf_vit": "huggingface-vit",
    "hf_vit_model": "huggingface-vit", "hf_vit_sharded": "huggingface-vit",
    "instdisc": "instdisc", "invaspread": "invaspread", "lightly_byol": "lightly",
    "lightly_moco": "lightly", "mae_encoder": "mae", "mae_pretrain": "mae", "moco_v1": "moco",
    "moco_v2": "moco", "moco_v2_cifar": "moco", "moco_v3_resnet": "moco-v3",
    "moco_v3_vit": "moco-v3", "moco_v3_vit_conv": "moco-v3", "simsiam": "simsiam",
    "solo_backbone": "solo", "solo_encoder": "solo", "solo_vit": "solo", "swav": "swav",
    "timm_dinov2_style": "timm-vit", "timm_dinov2_style_no_registers": "timm-vit",
    "timm_dinov2_style_swiglu": "timm-vit", "timm_vit": "timm-vit", "timm_vit_avg_pool": "timm-vit",
    "timm_vit_bfloat16": "timm-vit", "timm_vit_float16": "timm-vit", "timm_vit_pth": "timm-vit",
    "torchvision_resnet18": "torchvision-resnet", "torchvision_resnet18_bfloat16": "torchvision-resnet",
    "torchvision_resnet18_cuda": "torchvision-resnet",
    "torchvision_resnet18_cuda_legacy": "torchvision-resnet",
    "torchvision_resnet18_float16": "torchvision-resnet",
    "torchvision_resnet18_legacy": "torchvision-resnet",
    "torchvision_resnet18_safetensors": "torchvision-resnet",
    "torchvision_resnet18_sharded": "torchvision-resnet", "torchvision_resnet50": "torchvision-resnet",
}

# One or two for each layout and each format.
CHOSEN = [
    "cmc", "dino_backbone", "dino_full", "dinov2_official", "hf_dinov2", "hf_vit_model",
    "hf_vit_sharded", "instdisc", "invaspread", "lightly_moco", "mae_encoder", "mae_pretrain",
    "moco_v2_cifar", "moco_v3_vit_conv", "simsiam", "solo_encoder", "swav",
    "timm_dinov2_style_swiglu", "timm_vit_avg_pool", "timm_vit_bfloat16",
    "torchvision_resnet18_cuda_legacy", "torchvision_resnet18_float16",
]


class Unpickler(pickle.Unpickler):
    """Makes empty classes of those that are not installed."""

    def find_class(self, module, name):
        try:
            return super().find_class(module, name)
        except (ImportError, AttributeError):
            parts = module.split(".")
            for i in range(len(parts)):
                whole = ".".join(parts[: i + 1])
                sys.modules.setdefault(whole, types.ModuleType(whole))
            made = sys.modules[module]
            base = torch.nn.Module if name.endswith("Average") else object
            kind = type(name, (base,), {"__module__": module})
            setattr(made, name, kind)
            return kind


def opened(path):
    tools = types.ModuleType("tools")
    tools.__dict__.update(pickle.__dict__)
    tools.Unpickler = Unpickler
    tools.load = lambda file, **more: Unpickler(file, **more).load()
    return torch.load(path, map_location="cpu", pickle_module=tools, weights_only=False)


def flat(value, name=""):
    join = lambda key: f"{name}.{key}" if name else str(key)
    if isinstance(value, torch.Tensor):
        yield name, value
    elif isinstance(value, torch.nn.Module):
        for key, tensor in value.state_dict().items():
            yield join(key), tensor
    elif isinstance(value, dict):
        for key, inner in value.items():
            if isinstance(key, (str, int)):
                yield from flat(inner, join(key))
    elif isinstance(value, (list, tuple)):
        for i, inner in enumerate(value):
            yield from flat(inner, join(i))


def tensors(files):
    found = {}
    for path in files:
        if path.suffix == ".safetensors":
            found.update(load_file(path))
        else:
            found.update(flat(opened(path)))
    return found


def digest(found):
    crc = 0
    for name in sorted(found, key=lambda name: name.encode()):
        value = found[name].detach().to(torch.float32).contiguous().numpy()
        head = name.encode() + b"\0" + ",".join(map(str, value.shape)).encode() + b"\0"
        crc = zlib.crc32(value.astype("<f4").tobytes(), zlib.crc32(head, crc))
    return {"tensors": len(found), "crc32": crc}


def of(source, name, about):
    names = about.get("files") or [about["file"]]
    if any(n.endswith(".index.json") for n in names):
        index = f"{name}.safetensors.index.json"
        shards = sorted(set(json.loads((source / index).read_text())["weight_map"].values()))
        return index, sorted({*names, index, *shards})
    return next(n for n in names if not n.endswith("json")), names


def copy(source, name, files):
    for file in [*files, f"{name}.json", f"{name}.features.safetensors"]:
        shutil.copyfile(source / file, OUT / file)
    main = next((f for f in files if not f.endswith((".json", ".safetensors"))), None)
    if main is None:
        return
    value = opened(source / main)
    if isinstance(value, dict) and value.get("optimizer", {}).get("state"):
        value["optimizer"]["state"] = {}
        torch.save(value, OUT / main)


def odd():
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    module.register_buffer("computed", torch.ones(2), persistent=False)
    for value in [*module.parameters(), *module.buffers()]:
        value.data.fill_(0.5)
    torch.save(module, OUT / "odd_module.pth")
    entries = collections.defaultdict(list, {"w": torch.full((2,), 0.5)})
    torch.save({"state_dict": entries}, OUT / "odd_defaultdict.pth")
    sparse = {"s": torch.eye(2).to_sparse(), "w": torch.full((3,), 0.5)}
    torch.save(sparse, OUT / "odd_sparse.pth")


def residual():
    """transformers' ResNet-18 of width 4, and the features that it gives. Seed 0."""
    import transformers

    name, width = "hf_resnet", 4
    torch.manual_seed(0)
    config = transformers.ResNetConfig(
        embedding_size=width, hidden_sizes=[width << stage for stage in range(4)],
        depths=[2, 2, 2, 2], layer_type="basic",
    )
    net = transformers.ResNetModel(config)
    for value in net.parameters():
        value.data += 0.1 * torch.randn_like(value)
    images = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        net.train()(torch.randn(16, 3, 64, 64))
        pooled = net.eval()(images).pooler_output.flatten(1)
    net.save_pretrained(OUT / name)
    for file, ending in [("model.safetensors", "safetensors"), ("config.json", "config.json")]:
        (OUT / name / file).rename(OUT / f"{name}.{ending}")
    (OUT / name).rmdir()
    save_file({"input": images, "pooled": pooled.contiguous()}, OUT / f"{name}.features.safetensors")
    about = {
        "name": name, "file": f"{name}.safetensors", "seed": 0,
        "official": {"package": f"transformers {transformers.__version__}", "class": "ResNetModel"},
        "architecture": "resnet18", "width": width, "stem": "imagenet", "image_size": 32,
        "features": {"input": list(images.shape), "pooled": list(pooled.shape)},
    }
    (OUT / f"{name}.json").write_text(json.dumps(about, indent=1) + "\n")
    copy = digest(tensors([OUT / f"{name}.safetensors"]))
    return {name: {"file": about["file"], "layout": "huggingface-resnet", "copy": copy}}


def write(expected):
    expected.update(residual())
    (OUT / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


def main():
    if len(sys.argv) == 1:
        return write(json.loads((OUT / "expected.json").read_text()))
    source = Path(sys.argv[1])
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir()
    expected = {}
    for name, layout in LAYOUTS.items():
        about = json.loads((source / f"{name}.json").read_text())
        main_file, files = of(source, name, about)
        weights = lambda at: [at / f for f in files if not f.endswith(".json")]
        row = {"file": main_file, "layout": layout, "whole": digest(tensors(weights(source)))}
        if name in CHOSEN:
            copy(source, name, files)
            row["copy"] = digest(tensors(weights(OUT)))
        expected[name] = row
    odd()
    for path in source.glob("hostile_*"):
        shutil.copyfile(path, OUT / path.name)
    write(expected)


main()
