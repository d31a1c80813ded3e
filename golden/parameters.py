"""Trained parameters of published networks, for `crates/moco/tests/it/recipes.rs`.

Counted on torch's meta device, which allocates nothing: torchvision's ResNets without `fc`, timm's
transformers without a head, and of the latter what is left without the position embedding, which is
not trained where it is made of sines and cosines; SimCLR v2's networks with selective kernels by the
published definition in `simclr_v2.py`. Prints the table that the test holds.

    python3 golden/parameters.py
"""

import timm
import torch
import torchvision

from simclr_v2 import Network

SELECTIVE = ((50, 64), (50, 128), (101, 64), (101, 128), (152, 64), (152, 128), (152, 192), (200, 64))
BLOCKS = {50: [3, 4, 6, 3], 101: [3, 4, 23, 3], 152: [3, 8, 36, 3], 200: [3, 24, 36, 3]}
RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
TRANSFORMERS = (
    "vit_tiny_patch16_224",
    "vit_small_patch16_224",
    "vit_small_patch8_224",
    "vit_base_patch16_224",
    "vit_base_patch8_224",
    "vit_large_patch16_224",
    "vit_huge_patch14_224",
)


def count(net: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def main() -> None:
    print(f"torch {torch.__version__}, torchvision {torchvision.__version__}, timm {timm.__version__}")
    with torch.device("meta"):
        for name in RESNETS:
            net = getattr(torchvision.models, name)(weights=None)
            print(f'("{name}", {count(net) - count(net.fc)}),')
        for name in TRANSFORMERS:
            net = timm.create_model(name, num_classes=0)
            print(f'("{name}", {count(net)}, {count(net) - net.pos_embed.numel()}),')
        for depth, width in SELECTIVE:
            net = Network(BLOCKS[depth], width, sk_ratio=0.0625, outputs=1)
            print(f'("resnet{depth}, width {width}, SK", {count(net) - count(net.fc)}),')


if __name__ == "__main__":
    main()
