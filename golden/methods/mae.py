"""MAE (He et al. 2022, arXiv 2111.06377): patchify, masking, both losses, and five steps.

Blocks are timm's, names the published code's. Where that code and the paper differ: the paper
normalises a target patch by its "standard deviation", the code by the unbiased variance plus
1e-6 (used here); the class token carries a zero position that training never moves, since both
position tables are fixed; weight decay spares one-dimensional parameters and biases only, so that
the class and mask tokens are decayed.
"""

import torch
from lightly.models import utils as lightly_utils
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from common import GoldenFile, in_both_precisions, nchw, nhwc, normal, random, single
from common import uniform
from methods.common import (
    ADAM_EPS,
    STEPS,
    initial,
    sgd_step,
    table,
    trajectory_file,
    views_of,
)
from optim import warm_cosine
from trajectory import pixels
from vit import build, gradients, mae_positions, random_state

BATCH = 6
SIZE, PATCH, MASK_RATIO = 16, 4, 0.75
ENCODER = {"dim": 24, "heads": 3, "depth": 2}
DECODER = {"dim": 16, "heads": 2, "depth": 2}
TOKENS = (SIZE // PATCH) ** 2
PEAK_LR, WEIGHT_DECAY, WARMUP = 2e-3, 0.05, 2


class Mae(nn.Module):
    """Encoder on the visible tokens, decoder on all of them."""

    def __init__(self):
        super().__init__()
        encoder = build(**ENCODER, size=SIZE, patch=PATCH)
        self.patch_embed, self.blocks, self.norm = encoder.patch_embed, encoder.blocks, encoder.norm
        self.cls_token = encoder.cls_token
        dim, side = DECODER["dim"], SIZE // PATCH
        self.register_buffer("pos_embed", mae_positions(side, side, ENCODER["dim"]))
        self.register_buffer("decoder_pos_embed", mae_positions(side, side, dim))
        self.decoder_embed = nn.Linear(ENCODER["dim"], dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.decoder_blocks = nn.ModuleList(
            Block(dim, DECODER["heads"], qkv_bias=True, norm_layer=type(self.norm))
            for _ in range(DECODER["depth"])
        )
        self.decoder_norm = type(self.norm)(dim)
        self.decoder_pred = nn.Linear(dim, PATCH * PATCH * 3)

    def encode(self, x: Tensor, keep: Tensor) -> Tensor:
        """Latent `[N, 1 + visible, D]` of the tokens whose indices `keep` [N, visible] holds."""
        tokens = self.patch_embed(x) + self.pos_embed[:, 1:]
        visible = torch.stack([t[k] for t, k in zip(tokens, keep)])
        cls = (self.cls_token + self.pos_embed[:, :1]).expand(len(x), -1, -1)
        return self.norm(self.blocks(torch.cat([cls, visible], dim=1)))

    def decode(self, latent: Tensor, ids_restore: Tensor) -> Tensor:
        """Predicted patches `[N, T, p * p * 3]`."""
        y = self.decoder_embed(latent)
        masks = self.mask_token.expand(len(y), TOKENS + 1 - y.shape[1], -1)
        shuffled = torch.cat([y[:, 1:], masks], dim=1)
        restored = torch.stack([s[r] for s, r in zip(shuffled, ids_restore)])
        y = torch.cat([y[:, :1], restored], dim=1) + self.decoder_pos_embed
        for block in self.decoder_blocks:
            y = block(y)
        return self.decoder_pred(self.decoder_norm(y))[:, 1:]


def patchify(images: Tensor) -> Tensor:
    """NHWC images to `[N, T, p * p * 3]`: patches row-major, in a patch row, column, channel."""
    n, rows, cols, _ = images.shape
    patches = [
        images[:, i : i + PATCH, j : j + PATCH].reshape(n, -1)
        for i in range(0, rows, PATCH)
        for j in range(0, cols, PATCH)
    ]
    return torch.stack(patches, dim=1)


def masking(noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Kept indices in the order of their noise, the restoring permutation, and the mask.

    The tokens of smallest noise stay. Row n of ids_restore says where in the shuffled sequence
    each token of sample n lies; the mask is 1 where a token was removed.
    """
    shuffle = noise.argsort(dim=1)
    restore = shuffle.argsort(dim=1)
    kept = int(TOKENS * (1 - MASK_RATIO))
    mask = (restore >= kept).to(torch.float32)
    return shuffle[:, :kept].contiguous(), restore, mask


def target_of(images: Tensor, norm_pix: bool) -> Tensor:
    """Patches, of zero mean and unit unbiased variance each if `norm_pix`."""
    target = patchify(images)
    if not norm_pix:
        return target
    mean, var = target.mean(-1, keepdim=True), target.var(-1, keepdim=True, unbiased=True)
    return (target - mean) / (var + 1e-6).sqrt()


def loss_of(pred: Tensor, images: Tensor, mask: Tensor, norm_pix: bool) -> Tensor:
    """Mean square within a patch, mean over the removed patches."""
    per_patch = (pred - target_of(images, norm_pix)).square().mean(-1)
    return (per_patch * mask).sum() / mask.sum()


def make() -> list[GoldenFile]:
    """`mae_loss`, `mae_network`, `mae_trajectory`."""
    return [loss_file(), network(), trajectory()]


def loss_file() -> GoldenFile:
    """Patches, masks and both losses on given predictions."""
    rng = random(900)
    inputs = {
        "x": normal(rng, 4, SIZE, SIZE, 3, mean=0.4),
        "noise": uniform(rng, 4, TOKENS, low=0, high=1),
        "pred": normal(rng, 4, TOKENS, PATCH * PATCH * 3),
    }
    keep, restore, mask = masking(inputs["noise"])

    def run(dtype: torch.dtype) -> dict[str, Tensor]:
        x = inputs["x"].to(dtype)
        results = {"patches": patchify(x), "target": target_of(x, norm_pix=True)}
        for name, norm_pix in (("pixels", False), ("norm_pix", True)):
            pred = inputs["pred"].to(dtype, copy=True).requires_grad_()
            loss = loss_of(pred, x, mask.to(dtype), norm_pix)
            loss.backward()
            results |= {f"{name}.loss": loss.detach(), f"{name}.grad_pred": pred.grad}
        return results

    exact, agreement = in_both_precisions(run)
    peer = lightly_utils.patchify(nchw(inputs["x"]).double(), PATCH)
    torch.testing.assert_close(exact["patches"], peer)
    masks = {"ids_keep": keep, "ids_restore": restore, "mask": mask}
    holds = (
        "MAE on images x (NHWC, 16 px, patch 4): patches [N, T, 48] (row, column, channel within "
        "a patch), target = patches of zero mean and unit unbiased variance (eps 1e-6 under the "
        "root), ids_keep (4 of 16, in the order of their noise), ids_restore and mask (1 = "
        "removed) from noise, and on given predictions pred the loss over removed patches against "
        "patches (pixels.*) and target (norm_pix.*) with its gradient for pred."
    )
    return GoldenFile("mae_loss", holds, inputs | masks | single(exact), agreement)


def network() -> GoldenFile:
    """Encoder and decoder in full, with all gradients of the norm_pix loss."""
    rng = random(901)
    state = random_state(Mae(), rng)
    inputs = {
        "x": normal(rng, 4, SIZE, SIZE, 3),
        "noise": uniform(rng, 4, TOKENS, low=0, high=1),
    }
    keep, restore, mask = masking(inputs["noise"])

    def run(dtype: torch.dtype) -> dict[str, Tensor]:
        net = Mae()
        net.load_state_dict(state, strict=False)
        net.to(dtype)
        x = nchw(inputs["x"]).to(dtype)
        latent = net.encode(x, keep)
        pred = net.decode(latent, restore)
        loss = loss_of(pred, nhwc(x), mask.to(dtype), norm_pix=True)
        loss.backward()
        results = {"latent": latent.detach(), "pred": pred.detach(), "loss": loss.detach()}
        with torch.no_grad():
            results["latent_all"] = net.encode(x, torch.arange(TOKENS).repeat(len(x), 1))
        return results | gradients(net, "grad")

    exact, agreement = in_both_precisions(run)
    holds = (
        f"{about()} state.* parameters in the published code's names; x (NHWC), noise; latent "
        "[N, 1 + 4, 24] after the encoder's norm, visible tokens in the order of their noise; "
        "pred [N, 16, 48]; norm_pix loss; grad.* of it for every parameter; latent_all = the "
        "encoder on all tokens in their order, as for evaluation."
    )
    tensors = inputs | {f"state.{k}": v for k, v in state.items()} | single(exact)
    return GoldenFile("mae_network", holds, tensors, agreement)


def about() -> str:
    """One sentence on the network."""
    return (
        "MAE: encoder dim 24, depth 2, heads 3, decoder dim 16, depth 2, heads 2, image 16, patch "
        "4, mask ratio 0.75, LayerNorm eps 1e-6, fixed sin-cos positions (vit_positions, mae)."
    )


def trajectory() -> GoldenFile:
    """Five steps of AdamW on the norm_pix loss."""
    rng = random(902)
    params = random_state(Mae(), rng)
    inputs = {
        "view": views_of(rng, BATCH, [SIZE])[0],
        "noise": uniform(rng, STEPS, BATCH, TOKENS, low=0, high=1),
        "lr": table(PEAK_LR * warm_cosine(t, STEPS, WARMUP) for t in range(STEPS)),
    }
    inputs |= initial({"mae": params})

    def run(dtype: torch.dtype) -> dict[str, Tensor]:
        net = Mae()
        net.load_state_dict(params, strict=False)
        net.to(dtype)
        named = list(net.named_parameters())
        groups = [
            {"params": [p for n, p in named if decays(n, p)], "weight_decay": WEIGHT_DECAY},
            {"params": [p for n, p in named if not decays(n, p)], "weight_decay": 0.0},
        ]
        optimiser = torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.95), eps=ADAM_EPS)
        losses = []
        for step in range(STEPS):
            x = pixels(inputs["view"][step]).to(dtype)
            keep, restore, mask = masking(inputs["noise"][step])
            loss = loss_of(net.decode(net.encode(x, keep), restore), nhwc(x), mask.to(dtype), True)
            sgd_step(optimiser, loss, [inputs["lr"][step].item()] * 2)
            losses.append(loss.detach())
        after = {f"final.mae.{name}": p.detach() for name, p in net.named_parameters()}
        return {"loss": torch.stack(losses)} | after

    holds = (
        f"{STEPS} steps of MAE on the norm_pix loss. {about()} Batch {BATCH}, input = (byte - 128) "
        f"/ 64; AdamW betas (0.9, 0.95), eps {ADAM_EPS}, decay {WEIGHT_DECAY} on parameters of "
        "more than one dimension that are not biases (cls_token and mask_token are decayed), rate "
        "lr[step] (2 steps of warm-up from 0, so the first step moves nothing, then cosine to 0). "
        "initial.mae.*, noise, loss per step, final.mae.*."
    )
    return trajectory_file("mae_trajectory", holds, inputs, run)


def decays(name: str, p: Tensor) -> bool:
    """MAE and DINO: everything but biases and one-dimensional parameters."""
    return p.ndim > 1 and not name.endswith("bias")
