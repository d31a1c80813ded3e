"""Trained parameters of published networks, for `crates/moco/tests/it/recipes.rs`.

Counted on torch's meta device, which allocates nothing: torchvision's ResNets without `fc`, timm's
transformers without a head, and of the latter what is left without the position embedding, which is
not trained where it is made of sines and cosines. Prints the table that the test holds.

    python3 golden/parameters.py
"""

import timm
import torch
import torchvision

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


if __name__ == "__main__":
    main()
