"""Layers under PyTorch's autocast, and in float32: what 16 bits cost there is what they may cost us.

    pip install torch==2.9.0 safetensors==0.8.0
    python3 golden/half.py            # writes golden/half.safetensors

Two small networks on given tensors: `maps` is convolution, BatchNorm in training mode, ReLU, global
average, linear layer; `tokens` is LayerNorm, the qkv of two heads, attention, projection and skip,
then LayerNorm, linear layer, GELU. The loss is the sum of output times cotangent. `NET.in.NAME` are the
inputs; `NET.KIND.out` and `NET.KIND.NAME` the output and the gradient of each, for KIND in f32, bf16
and f16 (without a scaled loss, as no gradient here is small). torch 2.9.0, as that is the LibTorch the
test runs; the file's header says on which processor, since others sum in another order.

A ReLU near 0 that rounds to the other side moves a gradient before a BatchNorm by a tenth of its
largest value: `maps.KIND.flips` counts them. Without a flip the same gradient in f16 is 1e-3 off.
"""

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from common import SEED, normal, random, uniform

KINDS = {"f32": None, "bf16": torch.bfloat16, "f16": torch.float16}
HEADS = 2


def maps_inputs(rng: np.random.Generator) -> dict[str, Tensor]:
    return {
        "x": normal(rng, 4, 9, 9, 8),
        "conv": normal(rng, 16, 8, 3, 3, std=(2 / (16 * 9)) ** 0.5),
        "scale": uniform(rng, 16, low=0.5, high=1.5),
        "shift": normal(rng, 16, std=0.3),
        "linear": normal(rng, 12, 16, std=0.25),
        "cotangent": normal(rng, 4, 12),
    }


def maps(t: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """The output, and which ReLUs are open."""
    y = F.conv2d(t["x"].permute(0, 3, 1, 2), t["conv"], padding=1)
    y = F.relu(F.batch_norm(y, None, None, t["scale"], t["shift"], training=True))
    return F.linear(y.mean((2, 3), dtype=torch.float32), t["linear"]), y > 0


def tokens_inputs(rng: np.random.Generator) -> dict[str, Tensor]:
    c = 32
    inputs = {"x": normal(rng, 3, 17, c), "cotangent": normal(rng, 3, 17, 2 * c)}
    for name in ("one", "two"):
        inputs[f"{name}.scale"] = uniform(rng, c, low=0.5, high=1.5)
        inputs[f"{name}.shift"] = normal(rng, c, std=0.3)
    for name, outputs in (("qkv", 3 * c), ("proj", c), ("mlp", 2 * c)):
        inputs[f"{name}.weight"] = normal(rng, outputs, c, std=c**-0.5)
        inputs[f"{name}.bias"] = normal(rng, outputs, std=0.1)
    return inputs


def tokens(t: dict[str, Tensor]) -> tuple[Tensor, None]:
    n, length, c = t["x"].shape

    def norm(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, (c,), t[f"{name}.scale"], t[f"{name}.shift"], 1e-6)

    def linear(x: Tensor, name: str) -> Tensor:
        return F.linear(x, t[f"{name}.weight"], t[f"{name}.bias"])

    qkv = linear(norm(t["x"], "one"), "qkv").reshape(n, length, 3, HEADS, c // HEADS)
    y = F.scaled_dot_product_attention(*qkv.permute(2, 0, 3, 1, 4))
    x = t["x"] + linear(y.transpose(1, 2).reshape(n, length, c), "proj")
    return F.gelu(linear(norm(x, "two"), "mlp")), None


def results(net, inputs: dict[str, Tensor], kind: torch.dtype | None) -> tuple[dict, Tensor | None]:
    leaves = {name: value.clone().requires_grad_() for name, value in inputs.items()}
    with torch.autocast("cpu", kind) if kind else nullcontext():
        out, is_open = net(leaves)
    (out.float() * inputs["cotangent"]).sum().backward()
    gradients = {name: leaf.grad for name, leaf in leaves.items() if name != "cotangent"}
    return {"out": out.detach().float(), **gradients}, is_open


def main() -> None:
    torch.set_num_threads(1)
    tensors: dict[str, Tensor] = {}
    for stream, (name, draw, net) in enumerate(
        [("maps", maps_inputs, maps), ("tokens", tokens_inputs, tokens)]
    ):
        inputs = draw(random(900 + stream))
        tensors |= {f"{name}.in.{key}": value for key, value in inputs.items()}
        exact, exact_open = results(net, inputs, KINDS["f32"])
        for kind, dtype in KINDS.items():
            found, is_open = results(net, inputs, dtype)
            tensors |= {f"{name}.{kind}.{key}": value for key, value in found.items()}
            for key, value in found.items():
                off = (value - exact[key]).abs().max() / exact[key].abs().max()
                print(f"{name:7}{kind:5}{key:11}{off:.1e}")
            if is_open is not None:
                flips = (is_open != exact_open).sum()
                tensors[f"{name}.{kind}.flips"] = flips.reshape(1)
                print(f"{name:7}{kind:5}flips      {flips}")
    file = Path(__file__).parent / "half.safetensors"
    header = {"torch": torch.__version__, "seed": str(SEED), "cpu": torch.backends.cpu.get_cpu_capability()}
    save_file({name: t.contiguous() for name, t in tensors.items()}, file, metadata=header)


if __name__ == "__main__":
    main()
