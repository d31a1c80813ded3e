"""Tables of positions on other grids, and first layers for other numbers of channels, by torch and timm.

    python3 golden/weights_resize.py

Writes `weights_resize.safetensors`: `table` [35, 4], a grid of 5 rows and 7 columns; for each new grid
H x W `bicubic.HxW` (torch, `size=`), `nudged.HxW` (torch, `scale_factor=(new + 0.1) / old`, as DINO's and DINOv2's
`interpolate_pos_encoding`), `antialias.HxW` (torch, `size=`, `antialias=True`, as timm's `resample_abs_pos_embed`, which
is asked as well and must agree); `conv` [2, 3, 2, 2] and `conv.N` by timm's `adapt_input_conv`. Seed 0, all float32 from
float64 runs; torch 2.15.0, timm 1.0.31.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed
from timm.models._manipulate import adapt_input_conv

torch.manual_seed(0)
H, W, D = 5, 7, 4
table = torch.randn(H * W, D).double()
out = {"table": table.float()}
image = table.reshape(1, H, W, D).permute(0, 3, 1, 2)
flat = lambda x: x.permute(0, 2, 3, 1).reshape(-1, D).float()
for h, w in [(3, 4), (9, 8), (5, 9), (2, 14)]:
    name = f"{h}x{w}"
    plain = F.interpolate(image, size=(h, w), mode="bicubic")
    scale = ((h + 0.1) / H, (w + 0.1) / W)
    nudged = F.interpolate(image, scale_factor=scale, mode="bicubic")
    assert nudged.shape[-2:] == (h, w)
    smooth = F.interpolate(image, size=(h, w), mode="bicubic", antialias=True)
    timm = resample_abs_pos_embed(table.float()[None], [h, w], old_size=[H, W], num_prefix_tokens=0)
    assert torch.allclose(timm[0], flat(smooth), atol=1e-5)
    out |= {f"bicubic.{name}": flat(plain), f"nudged.{name}": flat(nudged), f"antialias.{name}": flat(smooth)}
conv = torch.randn(2, 3, 2, 2)
out["conv"] = conv
for channels in [1, 2, 4, 7]:
    out[f"conv.{channels}"] = adapt_input_conv(channels, conv.clone()).contiguous()
save_file({k: v.contiguous() for k, v in out.items()}, Path(__file__).parent / "weights_resize.safetensors")
